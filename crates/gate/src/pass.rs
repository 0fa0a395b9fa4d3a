//! The steps in their order.

use std::sync::Arc;
use std::time::Duration;

use auth::{AccountType, AccountTypes};
use bytes::Bytes;
use ipc::{CallContext, Client, Code, Principal, Status};
use prost::Message as _;
use prost_reflect::{DynamicMessage, ReflectMessage as _, Value};
use schema::v1alpha1::Privilege;
use schema::{FieldOrigin, MethodInfo};
use tokio::sync::watch;

use crate::access;
use crate::audit::{Entry, Level, Recorder};
use crate::authenticator::{Authenticator, Change, Found, Policy};
use crate::caller::{Caller, Peer};
use crate::credential::Credential;
use crate::field::{field_path, set_at};

/// A daemon that was killed is back within 0.3 s; a call waits that long before it says "not running".
const PATIENCE: Duration = Duration::from_millis(500);
/// What is kept of the name of a client's program, characters.
const USER_AGENT_MAX: usize = 256;

/// Where requests from outside go in.
#[derive(Clone, Debug)]
pub struct Gate {
    bus: Client,
    authenticator: Authenticator,
    recorder: Arc<Recorder>,
}

impl Gate {
    /// # Errors
    /// The kernel gives no random bytes for the key under which credentials are remembered.
    pub fn new(bus: Client, policy: Policy) -> Result<Self, getrandom::Error> {
        let recorder = Arc::new(Recorder::new(bus.clone()));
        Ok(Self { authenticator: Authenticator::new(bus.clone(), policy)?, bus, recorder })
    }

    /// Tells of a request that is over: a line of the daemon's log, and a record of what was to be changed, in the event log.
    pub fn audit(&self, entry: &Entry<'_>, level: Level) {
        self.recorder.write(entry, level);
    }

    /// Whose credential it is, after all changes that were announced. Waits for usermgr until the context's deadline, at most 10 s.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` when usermgr says so, with its reason; `RESOURCE_EXHAUSTED` with the reason `TOO_MANY_LOGINS` when too many are being
    /// checked, and as usermgr says it; `UNAVAILABLE` naming usermgr when it does not answer in time. Never open.
    pub async fn authenticate(
        &self,
        credential: &Credential,
        peer: Peer,
        context: &CallContext,
    ) -> Result<Arc<Caller>, Status> {
        self.authenticator.verify(credential, peer, context).await.map(|found| found.caller)
    }

    /// The same, with what it takes to find out later whether it still holds.
    ///
    /// # Errors
    /// As [`Self::authenticate`].
    pub async fn login(
        &self,
        credential: Credential,
        peer: Peer,
        context: &CallContext,
    ) -> Result<Login, Status> {
        let Found { caller, since } = self.authenticator.verify(&credential, peer, context).await?;
        Ok(Login { credential, peer, caller, since })
    }

    /// The login as it is now, if a change since may concern its caller; `None` when it is as it was. To be asked between whatever was waited
    /// for and [`Self::forward`]: a right that was taken away meanwhile must not be used any more. What was decided about the request is to be
    /// decided again then ([`Checked::by`]).
    ///
    /// # Errors
    /// As [`Self::authenticate`].
    pub async fn renewed(&self, login: &Login, context: &CallContext) -> Result<Option<Login>, Status> {
        if !self.concerns(login.since, &login.caller) {
            return Ok(None);
        }
        self.login(login.credential.clone(), login.peer, context).await.map(Some)
    }

    /// Forgets what a change concerns ([`Change::of_event`]).
    pub fn forget(&self, change: Change) {
        self.authenticator.forget(change);
    }

    /// The number of the latest change: [`Self::concerns`] tells whether a caller has to be authenticated again.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.authenticator.changes()
    }

    /// Whether a change after number `since` may concern this caller.
    #[must_use]
    pub fn concerns(&self, since: u64, caller: &Caller) -> bool {
        self.authenticator.concerns(since, caller)
    }

    /// Hands a request to the owner of its method, for its caller, and waits for the answer until the context's deadline or the method's.
    ///
    /// # Errors
    /// `DEADLINE_EXCEEDED` when the time is over already: nothing was done then. Else as [`ipc::Client::call`].
    pub async fn forward(&self, request: Checked, context: CallContext) -> Result<Bytes, Status> {
        if context.remaining().is_some_and(|left| left.is_zero()) {
            return Err(Status::deadline_exceeded("the client's timeout leaves no time"));
        }
        let Checked { method, principal, bytes } = request;
        let context = context.with_principal(principal).with_patience(PATIENCE);
        let taken = Change::of_request(method, &bytes);
        let answer = self.bus.raw_call(method.subject, bytes, &context).await;
        let may_be_done = match &answer {
            Ok(_) => true,
            Err(status) => matches!(status.code, Code::Unavailable | Code::DeadlineExceeded),
        };
        // The event of it may come after the answer: who asked must find the rights gone that it took.
        if let Some(change) = taken.filter(|_| may_be_done) {
            self.forget(change);
        }
        answer
    }
}

/// A caller, and the credential by which it is one. Keeps the credential, which is wiped when this is dropped.
#[derive(Clone, Debug)]
pub struct Login {
    credential: Credential,
    peer: Peer,
    caller: Arc<Caller>,
    since: u64,
}

impl Login {
    /// Who it is.
    #[must_use]
    pub fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }

    /// What was shown.
    #[must_use]
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    /// The number of the latest change that is in it, for [`Gate::concerns`].
    #[must_use]
    pub fn since(&self) -> u64 {
        self.since
    }
}

/// What the way in knows about a request besides its message.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// Where it comes from.
    pub peer: Peer,
    /// What the client's program calls itself; empty when it is not known.
    pub user_agent: &'a str,
}

/// Decides what can be decided before the request is read: a refusal here spares reading it.
///
/// # Errors
/// `UNIMPLEMENTED` for a method that is for the bus only; `UNAUTHENTICATED` when nobody in particular asks and the method is not for everybody;
/// `PERMISSION_DENIED` as [`access::before_request`].
pub fn authorise(method: &'static MethodInfo, caller: Option<Arc<Caller>>) -> Result<Admitted, Status> {
    if method.internal {
        return Err(Status::unimplemented(format!("{} is not a method", method.full_name)));
    }
    match &caller {
        Some(caller) => access::before_request(method, &caller.access())?,
        None if method.privilege == Privilege::None => {}
        None => return Err(Status::unauthenticated("log in first")),
    }
    Ok(Admitted { method, caller })
}

/// Whether a caller may come in by a door that is for accounts of this type, whatever is asked for behind it.
///
/// # Errors
/// `PERMISSION_DENIED` with the reason `ACCOUNT_TYPE`.
pub fn enter(kind: AccountType, caller: &Caller) -> Result<(), Status> {
    access::for_any(caller.types, AccountTypes::of(&[kind])).map_err(Status::from)
}

/// A caller may call this method; with which request is not known yet.
#[derive(Clone, Debug)]
pub struct Admitted {
    method: &'static MethodInfo,
    caller: Option<Arc<Caller>>,
}

impl Admitted {
    /// The second half of authorisation, what is known about the request's origin filled in, and the rules of its fields. `wire` are the
    /// message's bytes, if it came as protobuf: then it goes on as it came, unless a field was filled in.
    ///
    /// A message may take thirty times its bytes, so it is given back and not kept.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` as [`access::with_request`]; `INVALID_ARGUMENT` with one violation for each field, or for a field mask.
    pub fn check(
        self,
        mut message: DynamicMessage,
        wire: Option<Bytes>,
        origin: &Origin<'_>,
    ) -> Result<(Checked, DynamicMessage), Status> {
        let Self { method, caller } = self;
        if let Some(caller) = &caller {
            access::with_request(method, &caller.access(), &message)?;
        }
        for (name, kind) in method.origins {
            let text = match kind {
                FieldOrigin::ClientAddress => origin.peer.to_string(),
                FieldOrigin::UserAgent => origin.user_agent.chars().take(USER_AGENT_MAX).collect(),
            };
            let path = field_path(&message.descriptor(), name)
                .ok_or_else(|| Status::internal(format!("{} has no field {name}", method.input_name)))?;
            set_at(&mut message, &path, Value::String(text));
        }
        schema::mask::check(&message)?;
        let broken = schema::validate(&message);
        if !broken.is_empty() {
            return Err(Status::bad_fields(broken.into_iter().map(|v| (v.field, v.message)).collect()));
        }
        let bytes = match wire {
            Some(bytes) if method.origins.is_empty() => bytes,
            _ => message.encode_to_vec().into(),
        };
        // A caller who is not logged in is nobody, not the way in itself: the principal is present and has no name and no privileges.
        let principal = caller.map_or_else(
            || Principal { address: origin.peer.to_string(), ..Principal::default() },
            |caller| caller.principal.clone(),
        );
        Ok((Checked { method, principal, bytes }, message))
    }
}

/// A request its caller may make, and that keeps the rules of its fields.
#[derive(Clone)]
pub struct Checked {
    method: &'static MethodInfo,
    principal: Principal,
    bytes: Bytes,
}

impl Checked {
    /// The same request by its caller as it is now.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` as [`access::with_request`].
    pub fn by(self, caller: &Caller) -> Result<Self, Status> {
        let message = DynamicMessage::decode(self.method.input(), self.bytes.clone())
            .map_err(|error| Status::internal(format!("a request that was decoded cannot be: {error}")))?;
        access::with_request(self.method, &caller.access(), &message)?;
        Ok(Self { principal: caller.principal.clone(), ..self })
    }
}

/// Without the request: it may hold a password.
impl std::fmt::Debug for Checked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checked")
            .field("method", &self.method.full_name)
            .field("by", &self.principal.username)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLEET: Peer = Peer::Link("fleet");

    fn outsider(role: Option<auth::Role>) -> Arc<Caller> {
        Arc::new(Caller::without_account("fleet", role, FLEET))
    }

    fn public() -> impl Iterator<Item = &'static MethodInfo> {
        schema::methods().iter().filter(|method| !method.internal && method.privilege != Privilege::None)
    }

    /// Whether an empty request may be made; what else may be wrong with it does not matter.
    fn allowed(method: &'static MethodInfo, caller: &Arc<Caller>) -> bool {
        let origin = Origin { peer: FLEET, user_agent: "" };
        let outcome = authorise(method, Some(Arc::clone(caller)))
            .and_then(|admitted| admitted.check(DynamicMessage::new(method.input()), None, &origin));
        outcome.map_or_else(|status| status.code != ipc::Code::PermissionDenied, |_| true)
    }

    fn request(method: &str, fields: &[(&str, &str)]) -> (&'static MethodInfo, DynamicMessage) {
        let method = schema::method(method).unwrap();
        let mut message = DynamicMessage::new(method.input());
        for (name, text) in fields {
            let path = field_path(&message.descriptor(), name).unwrap();
            set_at(&mut message, &path, Value::String((*text).to_owned()));
        }
        (method, message)
    }

    #[test]
    fn an_outsider_who_only_reads_changes_nothing_by_any_method_of_the_contract() {
        let caller = outsider(Some(auth::Role::ReadOnly));
        for method in public() {
            let expected = matches!(method.privilege, Privilege::Login | Privilege::ViewScreens);
            assert_eq!(allowed(method, &caller), expected, "{}", method.full_name);
        }
    }

    #[test]
    fn an_outsider_is_nobody_s_account_even_when_one_has_its_name() {
        let (method, message) = request("rpc.UserService.GetUser", &[("id", "fleet")]);
        let origin = Origin { peer: FLEET, user_agent: "" };
        let outcome = authorise(method, Some(outsider(Some(auth::Role::ReadOnly))))
            .and_then(|admitted| admitted.check(message, None, &origin));
        assert_eq!(outcome.unwrap_err().code, ipc::Code::PermissionDenied);
    }

    #[test]
    fn an_expired_password_opens_only_what_is_marked() {
        let mut caller = Caller::without_account("fleet", Some(auth::Role::Administrator), FLEET);
        caller.password_change_required = true;
        let caller = Arc::new(caller);
        for method in public() {
            if allowed(method, &caller) {
                assert!(method.with_expired_password, "{}", method.full_name);
            }
        }
    }

    #[test]
    fn nobody_passes_but_to_what_is_for_everybody_and_nobody_to_what_is_for_the_bus() {
        let everything = outsider(Some(auth::Role::Administrator));
        for method in schema::methods() {
            let (known, unknown) =
                (authorise(method, Some(Arc::clone(&everything))), authorise(method, None));
            if method.internal {
                let codes = (known.unwrap_err().code, unknown.unwrap_err().code);
                assert_eq!(
                    codes,
                    (ipc::Code::Unimplemented, ipc::Code::Unimplemented),
                    "{}",
                    method.full_name
                );
                continue;
            }
            assert!(known.is_ok(), "{}", method.full_name);
            match unknown {
                Ok(_) => assert_eq!(method.privilege, Privilege::None, "{}", method.full_name),
                Err(status) => assert_eq!(status.code, ipc::Code::Unauthenticated, "{}", method.full_name),
            }
        }
    }

    #[test]
    fn what_the_gate_fills_in_is_what_it_knows_whatever_the_client_says() {
        let (method, mut message) = request(
            "rpc.SessionService.CreateSession",
            &[("username", "ann"), ("password", "secret-enough")],
        );
        let origin = Origin { peer: Peer::Address([192, 0, 2, 1].into()), user_agent: &"x".repeat(500) };
        for (name, _) in method.origins {
            let path = field_path(&message.descriptor(), name).unwrap();
            set_at(&mut message, &path, Value::String("forged".into()));
        }
        let wire = Bytes::from(message.encode_to_vec());
        let admitted = authorise(method, None).unwrap();
        let (checked, _) = admitted.check(message, Some(wire), &origin).unwrap();
        assert_eq!(
            (checked.principal.username.as_str(), checked.principal.address.as_str()),
            ("", "192.0.2.1")
        );
        let sent = DynamicMessage::decode(method.input(), checked.bytes).unwrap();
        for (name, kind) in method.origins {
            let path = field_path(&sent.descriptor(), name).unwrap();
            let text = crate::field::string_at(&sent, &path).unwrap();
            match kind {
                FieldOrigin::ClientAddress => assert_eq!(text, "192.0.2.1"),
                FieldOrigin::UserAgent => assert_eq!(text.len(), USER_AGENT_MAX),
            }
        }
    }

    #[test]
    fn a_request_that_breaks_a_rule_names_each_field_and_has_no_effect() {
        let (method, message) = request("rpc.HostService.GetHost", &[("name", "")]);
        let origin = Origin { peer: FLEET, user_agent: "" };
        let caller = outsider(Some(auth::Role::ReadOnly));
        let refused = authorise(method, Some(caller)).unwrap().check(message, None, &origin).unwrap_err();
        assert_eq!(refused.code, ipc::Code::InvalidArgument);
        let fields: Vec<String> = refused.fields().into_iter().map(|(field, _)| field).collect();
        assert_eq!(fields, ["name"], "{refused}");
    }

    #[test]
    fn a_request_is_decided_again_for_its_caller_as_it_is_now() {
        let (method, message) =
            request("rpc.HostService.UpdateHost", &[("host_name", "system"), ("host.description", "x")]);
        let origin = Origin { peer: FLEET, user_agent: "" };
        let admitted = authorise(method, Some(outsider(Some(auth::Role::Administrator)))).unwrap();
        let (checked, _) = admitted.check(message, None, &origin).unwrap();
        let operator = checked.clone().by(&outsider(Some(auth::Role::Operator))).unwrap();
        assert_eq!(operator.principal.role, "Operator", "the owner is told who it is now");
        assert_eq!(operator.bytes, checked.bytes);
        let refused = checked.by(&outsider(Some(auth::Role::ReadOnly))).unwrap_err();
        assert_eq!(refused.reason(), "MISSING_PRIVILEGE");
        // What is one's own by its name in the request alone.
        let own = |user_id: &str| {
            let mut caller = Caller::without_account("ann", Some(auth::Role::ReadOnly), FLEET);
            caller.principal.user_id = user_id.to_owned();
            Arc::new(caller)
        };
        let (method, message) = request(
            "rpc.UserService.ChangePassword",
            &[("id", "u1"), ("current_password", "x"), ("new_password", "secret-enough")],
        );
        let (checked, _) = authorise(method, Some(own("u1"))).unwrap().check(message, None, &origin).unwrap();
        assert!(checked.clone().by(&own("u1")).is_ok());
        assert!(checked.by(&own("u2")).is_err());
    }

    #[tokio::test]
    async fn what_has_no_time_left_is_not_handed_on() {
        let bus = busd::testing::Bus::start().await;
        let mut owner = bus.client("statemgr").await.serve(&["HostService"]).await.unwrap();
        let policy = Policy { basic_cache: Duration::ZERO, token_cache: Duration::ZERO, logins: 1 };
        let gate = Gate::new(bus.client("websrv").await, policy).unwrap();
        let (method, message) = request("rpc.HostService.GetHost", &[("name", "system")]);
        let origin = Origin { peer: FLEET, user_agent: "" };
        let caller = outsider(Some(auth::Role::ReadOnly));
        let (checked, _) = authorise(method, Some(caller)).unwrap().check(message, None, &origin).unwrap();
        let late = CallContext { deadline: Some(tokio::time::Instant::now()), ..CallContext::new() };
        let refused = gate.forward(checked.clone(), late).await.unwrap_err();
        assert_eq!(refused.code, ipc::Code::DeadlineExceeded);
        let answer = tokio::spawn(async move { gate.forward(checked, CallContext::new()).await });
        let first = owner.next().await.unwrap();
        assert_eq!(first.context.principal.as_ref().unwrap().username, "fleet", "the first is the second");
        drop(first);
        assert_eq!(answer.await.unwrap().unwrap_err().code, ipc::Code::Internal);
    }
}
