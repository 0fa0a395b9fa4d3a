//! Calls of the contract, each with all that the gate asks of it and a line in the audit.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use gate::audit::{Entry, Level};
use gate::{Caller, Credential, Gate, Login, Origin};
use ipc::{CallContext, Code, Status};
use prost::Message;
use prost_reflect::DynamicMessage;
use schema::MethodInfo;
use schema::v1alpha1 as v1;
use service::Clock;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::admission::Admission;
use crate::config::Config;

/// How long usermgr may take over a login: it waits in line there.
const LOGIN: Duration = Duration::from_secs(20);
/// How long an owner may take over another call.
const CALL: Duration = Duration::from_secs(10);
/// Longest name and password that are passed on, bytes. usermgr takes less.
const SECRET_MAX: usize = 1024;
/// What a session of usermgr says of the client's program: there is nothing else to be known before the login.
const USER_AGENT: &str = "SSH";

/// What the connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) gate: Gate,
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    /// Where consolesrv has its socket.
    pub(crate) run_dir: PathBuf,
    /// The first one is the one that is meant without a name.
    pub(crate) consoles: Vec<String>,
    pub(crate) admission: Mutex<Admission>,
    /// Becomes true when all connections shall end.
    pub(crate) stop: watch::Receiver<bool>,
}

impl Shared {
    pub(crate) fn admission(&self) -> MutexGuard<'_, Admission> {
        self.admission.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs in: a session of usermgr, as any other way in makes one. The password is not kept; what is kept is the session's token.
    ///
    /// # Errors
    /// As usermgr and the gate say it.
    pub(crate) async fn sign_in(
        &self,
        username: &str,
        password: &str,
        peer: IpAddr,
    ) -> Result<Login, Status> {
        if username.len() > SECRET_MAX || password.len() > SECRET_MAX {
            return Err(Status::unauthenticated("no name or password is that long"));
        }
        let context = CallContext::new().with_timeout(LOGIN);
        let request = v1::CreateSessionRequest {
            username: username.to_owned(),
            password: password.to_owned(),
            ..v1::CreateSessionRequest::default()
        };
        let method = method("rpc.SessionService.CreateSession")?;
        let answer = self.call(method, None, &request, peer, &context).await?;
        let answer = v1::CreateSessionResponse::decode(answer)
            .map_err(|_| Status::internal("usermgr gave a session that is none"))?;
        let login = self.gate.login(Credential::token(&answer.token), peer.into(), &context).await;
        if login.is_err() {
            // Nobody will use it.
            let id = answer.session.map(|session| session.id).unwrap_or_default();
            self.end_session(Credential::token(&answer.token), id, peer).await;
        }
        login
    }

    /// Ends the session of a login; one that is over already is not missed.
    pub(crate) async fn sign_out(&self, login: &Login, peer: IpAddr) {
        let id = login.caller().principal.session_id.clone();
        self.end_session(login.credential().clone(), id, peer).await;
    }

    async fn end_session(&self, credential: Credential, id: String, peer: IpAddr) {
        let context = CallContext::new().with_timeout(CALL);
        let request = v1::DeleteSessionRequest { id };
        let ended = async {
            let caller = self.gate.authenticate(&credential, peer.into(), &context).await?;
            self.call(method("rpc.SessionService.DeleteSession")?, Some(caller), &request, peer, &context)
                .await
        };
        if let Err(status) = ended.await {
            tracing::debug!(%status, "the session of a login was over already");
        }
    }

    /// Whether whoever this is may open a console at all.
    ///
    /// # Errors
    /// As [`gate::authorise`].
    pub(crate) fn may_open(&self, caller: &Arc<Caller>) -> Result<(), Status> {
        gate::authorise(open_console()?, Some(Arc::clone(caller))).map(drop)
    }

    /// A ticket for a session of a console, for the account as it is now.
    ///
    /// # Errors
    /// As the gate and consolesrv say it.
    pub(crate) async fn open(
        &self,
        login: &Login,
        request: &v1::OpenConsoleRequest,
        peer: IpAddr,
    ) -> Result<String, Status> {
        let context = CallContext::new().with_timeout(CALL);
        let caller = self.gate.authenticate(login.credential(), peer.into(), &context).await?;
        let answer = self.call(open_console()?, Some(caller), request, peer, &context).await?;
        let answer = v1::OpenConsoleResponse::decode(answer);
        Ok(answer.map_err(|_| Status::internal("consolesrv gave a ticket that is none"))?.ticket)
    }

    async fn call(
        &self,
        method: &'static MethodInfo,
        caller: Option<Arc<Caller>>,
        request: &impl Message,
        peer: IpAddr,
        context: &CallContext,
    ) -> Result<Bytes, Status> {
        let begun = Instant::now();
        let by = caller.as_ref().map(|caller| caller.principal.username.clone());
        let asked = async {
            let admitted = gate::authorise(method, caller)?;
            let message = DynamicMessage::decode(method.input(), request.encode_to_vec().as_slice())
                .map_err(|error| Status::internal(format!("a request of SSH's is none: {error}")))?;
            let origin = Origin { peer: peer.into(), user_agent: USER_AGENT };
            let (checked, _) = admitted.check(message, None, &origin)?;
            self.gate.forward(checked, context.clone()).await
        };
        let answer = asked.await;
        let entry = Entry {
            context,
            peer: peer.into(),
            by: by.as_deref(),
            verb: Some("SSH"),
            path: method.full_name,
            status: None,
            code: answer.as_ref().map_or_else(|status| status.code, |_| Code::Ok),
            took: begun.elapsed(),
        };
        self.gate.audit(&entry, Level::of(method));
        answer
    }
}

fn open_console() -> Result<&'static MethodInfo, Status> {
    method("rpc.ConsoleService.OpenConsole")
}

fn method(name: &str) -> Result<&'static MethodInfo, Status> {
    schema::method(name).ok_or_else(|| Status::internal(format!("the contract has no {name}")))
}
