//! Requests from the fleet: authenticated, authorised and checked as the web gateway does, then passed to their owner.

use async_nats::HeaderMap;
use base64::Engine as _;
use bytes::Bytes;
use ipc::{CallContext, Client, Principal, Status};
use prost::Message as _;
use prost_reflect::DynamicMessage;
use schema::rpc::auth_service::{VERIFY_PASSWORD, VERIFY_TOKEN};
use schema::v1alpha1::{self, Privilege};
use schema::{FieldOrigin, MethodInfo};

use crate::config::OutsideRole;
use crate::room::REQUEST_MAX;

/// Name and address of whoever asks from outside without credentials.
const FLEET: &str = "fleet";

/// What a request from outside is answered with.
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Bytes,
}

/// Passes requests from outside on, or refuses them.
#[derive(Clone)]
pub(crate) struct Gate {
    bus: Client,
    id: String,
    role: OutsideRole,
}

impl Gate {
    pub(crate) fn new(bus: Client, id: String, role: OutsideRole) -> Self {
        Self { bus, id, role }
    }

    /// Answers a request on `ubmc.<id>.rpc.<Service>.<Method>` or `ubmc.all.rpc.<Service>.<Method>`. Of one that was too long there is
    /// nothing but its subject.
    pub(crate) async fn answer(&self, subject: &str, request: Option<(Option<HeaderMap>, Bytes)>) -> Answer {
        let (mut headers, payload) = match self.pass(subject, request).await {
            Ok(payload) => (HeaderMap::new(), payload),
            Err(status) => (status.reply_headers(), status.encode().into()),
        };
        // Who answers, for a question that was put to all.
        headers.insert("Ubmc-Id", self.id.as_str());
        Answer { headers, payload }
    }

    async fn pass(
        &self,
        subject: &str,
        request: Option<(Option<HeaderMap>, Bytes)>,
    ) -> Result<Bytes, Status> {
        let local = subject.splitn(3, '.').nth(2).unwrap_or_default();
        let method = schema::method(local)
            .filter(|method| !method.internal && local == method.subject)
            .ok_or_else(|| Status::unimplemented(format!("{local} is not a method")))?;
        let Some((headers, payload)) = request else {
            return Err(Status::resource_exhausted(format!(
                "the request is longer than {REQUEST_MAX} bytes"
            )));
        };
        let context = CallContext::new();
        let caller = self.authenticate(headers.as_ref(), method, &context).await?;
        if method.server_streaming {
            return Err(Status::unimplemented(format!(
                "{} is a stream; subscribe to ubmc.{}.event.> instead",
                method.full_name, self.id
            )));
        }
        let payload = checked(method, &caller, payload)?;
        self.bus.raw_call(method.subject, payload, &context.with_principal(caller.principal)).await
    }

    /// Who asks: the account whose credentials the request brings, or nobody in particular with the configured role.
    async fn authenticate(
        &self,
        headers: Option<&HeaderMap>,
        method: &MethodInfo,
        context: &CallContext,
    ) -> Result<Caller, Status> {
        let Some(line) = headers.and_then(|map| map.get("Authorization")).map(|value| value.as_str()) else {
            return self.outsider(method);
        };
        let malformed = || {
            Status::new(ipc::Code::Unauthenticated, "the Authorization header is neither Basic nor Bearer")
        };
        let (scheme, value) = line.split_once(' ').ok_or_else(malformed)?;
        // The address of the other side is not known here; all attempts of the fleet count as one address.
        let address = FLEET.to_string();
        let found = if scheme.eq_ignore_ascii_case("Bearer") {
            let request = v1alpha1::VerifyTokenRequest { token: value.trim().into(), address };
            self.bus.call(VERIFY_TOKEN, &request, context).await?.principal
        } else if scheme.eq_ignore_ascii_case("Basic") {
            let pair =
                base64::engine::general_purpose::STANDARD.decode(value.trim()).map_err(|_| malformed())?;
            let pair = String::from_utf8(pair).map_err(|_| malformed())?;
            let (username, password) = pair.split_once(':').ok_or_else(malformed)?;
            let request = v1alpha1::VerifyPasswordRequest {
                username: username.into(),
                password: password.into(),
                address,
            };
            self.bus.call(VERIFY_PASSWORD, &request, context).await?.principal
        } else {
            return Err(malformed());
        };
        let found = found.ok_or_else(|| Status::internal("usermgr let somebody in without saying whom"))?;
        Ok(Caller {
            expired_password: found.password_change_required,
            principal: Principal {
                username: found.username,
                user_id: found.user_id,
                role: found.role,
                privileges: found.privileges,
                session_id: found.session_id,
                address: FLEET.into(),
            },
        })
    }

    fn outsider(&self, method: &MethodInfo) -> Result<Caller, Status> {
        let role = match self.role {
            OutsideRole::None if method.privilege == Privilege::None => None,
            OutsideRole::None => {
                return Err(Status::new(
                    ipc::Code::Unauthenticated,
                    "this BMC wants credentials of one of its accounts from its fleet (fleet.role = \"None\")",
                ));
            }
            OutsideRole::ReadOnly => Some(auth::Role::ReadOnly),
            OutsideRole::Operator => Some(auth::Role::Operator),
            OutsideRole::Administrator => Some(auth::Role::Administrator),
        };
        Ok(Caller {
            expired_password: false,
            principal: Principal {
                username: FLEET.into(),
                role: role.map(|role| role.name().to_string()).unwrap_or_default(),
                privileges: role.map(privilege_numbers).unwrap_or_default(),
                address: FLEET.into(),
                ..Principal::default()
            },
        })
    }
}

/// Who asks.
struct Caller {
    principal: Principal,
    expired_password: bool,
}

fn privilege_numbers(role: auth::Role) -> Vec<i32> {
    role.privileges()
        .iter()
        .map(|privilege| match privilege {
            auth::Privilege::Login => Privilege::Login,
            auth::Privilege::ConfigureSelf => Privilege::ConfigureSelf,
            auth::Privilege::ConfigureComponents => Privilege::ConfigureComponents,
            auth::Privilege::ConfigureManager => Privilege::ConfigureManager,
            auth::Privilege::ConfigureUsers => Privilege::ConfigureUsers,
        })
        .map(i32::from)
        .collect()
}

/// The request as its owner gets it. Decoded, it takes many times its bytes, and here is no waiting: with one thread there is one decoded
/// request at a time, and none while an owner is asked.
fn checked(method: &MethodInfo, caller: &Caller, payload: Bytes) -> Result<Bytes, Status> {
    let mut request = DynamicMessage::decode(method.input(), payload).map_err(|error| {
        Status::invalid_argument(format!("{} cannot be decoded: {error}", method.input_name))
    })?;
    authorise(method, caller, &request)?;
    for (field, origin) in method.origins {
        let known = match origin {
            FieldOrigin::ClientAddress => FLEET,
            FieldOrigin::UserAgent => "",
        };
        request.set_field_by_name(field, prost_reflect::Value::String(known.into()));
    }
    let violations = schema::validate(&request);
    if let Some(first) = violations.first() {
        return Err(Status::invalid_argument(format!("{}: {}", first.field, first.message)));
    }
    Ok(request.encode_to_vec().into())
}

/// Whether the caller may do this: the rules of every way in.
fn authorise(method: &MethodInfo, caller: &Caller, request: &DynamicMessage) -> Result<(), Status> {
    let who = &caller.principal;
    let caller = schema::access::Caller {
        user_id: &who.user_id,
        username: &who.username,
        session_id: &who.session_id,
        role: &who.role,
        privileges: &who.privileges,
        password_expired: caller.expired_password,
    };
    schema::access::with_request(method, &caller, request)
        .map_err(|denied| Status::permission_denied(denied.message).with_reason(denied.reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outsider(role: auth::Role) -> Caller {
        Caller {
            expired_password: false,
            principal: Principal {
                username: FLEET.into(),
                role: role.name().into(),
                privileges: privilege_numbers(role),
                ..Principal::default()
            },
        }
    }

    fn allowed(method: &MethodInfo, caller: &Caller) -> bool {
        authorise(method, caller, &DynamicMessage::new(method.input())).is_ok()
    }

    #[test]
    fn an_outsider_who_only_reads_changes_nothing_by_any_method_of_the_contract() {
        let caller = outsider(auth::Role::ReadOnly);
        for method in schema::methods().iter().filter(|m| !m.internal && m.privilege != Privilege::None) {
            assert_eq!(
                allowed(method, &caller),
                method.privilege == Privilege::Login,
                "{}",
                method.full_name
            );
        }
    }

    #[test]
    fn an_outsider_is_nobody_s_account_even_when_one_has_its_name() {
        let caller = outsider(auth::Role::ReadOnly);
        let method = schema::method("rpc.UserService.GetUser").unwrap();
        let mut request = DynamicMessage::new(method.input());
        request.set_field_by_name("id", prost_reflect::Value::String(FLEET.into()));
        assert!(authorise(method, &caller, &request).is_err());
    }

    #[test]
    fn an_expired_password_opens_only_what_is_marked() {
        let mut caller = outsider(auth::Role::Administrator);
        caller.expired_password = true;
        for method in schema::methods().iter().filter(|m| !m.internal && m.privilege != Privilege::None) {
            if allowed(method, &caller) {
                assert!(method.with_expired_password, "{}", method.full_name);
            }
        }
    }
}
