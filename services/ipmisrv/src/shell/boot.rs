//! Boot flags in the loop: who sets them, and what takes them back.

use std::sync::Arc;

use gate::{Caller, Peer};
use ipc::Code;
use ipmi::{Completion, Request};
use prost::Message as _;
use schema::MethodInfo;
use schema::rpc::host_service::UPDATE_HOST;

use super::{CALL, Done, Shell, ask, heard, host};
use crate::{boot_flags, commands};

/// As whom boot flags are taken back, which is no name of an account.
const BOOT_FLAGS: &str = "boot flags of IPMI";

impl Shell {
    /// Asks the machine's owner to set its override.
    pub(super) fn ask_boot_flags(
        &mut self,
        request: &Request,
        method: &'static MethodInfo,
        bytes: Vec<u8>,
        host_name: String,
    ) -> Result<(), Completion> {
        let caller = self.caller(request)?;
        let (gate, model) = (self.gate.clone(), self.model.clone());
        let name = request.command.row().map_or("IPMI", |row| row.name);
        let (id, session, peer) = (request.id, request.session.id, host::peer(&request.session));
        self.calls.spawn(async move {
            let was = boot_flags::shown(&model.snapshot(), &host_name);
            let asked = ask(&gate, method, bytes.into(), caller, peer, name, CALL).await;
            model.refresh(method.owner);
            let may_be_done = asked.as_ref().err().is_some_and(|status| is_unsure(status.code));
            if asked.is_ok() || may_be_done {
                heard(model.clone(), method.owner).await;
            }
            let set = match &asked {
                Ok(answer) => boot_flags::set_by(answer),
                // Who did not say in time may have done it all the same.
                Err(_) if may_be_done => {
                    boot_flags::shown(&model.snapshot(), &host_name).filter(|is| Some(is) != was.as_ref())
                }
                Err(_) => None,
            };
            let answer = asked.map(drop).map_err(|status| match status.code {
                // Nothing brings it to this host.
                Code::Unimplemented => Completion::PARAMETER_NOT_SUPPORTED,
                code => commands::completion(code),
            });
            Done::Boot(session, id, host_name, set, answer)
        });
        Ok(())
    }

    /// Boot flags whose client sent no Chassis Control are not valid any more. Who set them may be gone: it is asked in nobody's name.
    pub(super) fn boot_flags(&mut self) {
        let Some(request) = self.boot.due(self.clock.now()) else { return };
        let gate = self.gate.clone();
        self.calls.spawn(async move {
            let peer = Peer::Link(BOOT_FLAGS);
            let caller = Arc::new(Caller::without_account(BOOT_FLAGS, Some(auth::Role::Operator), peer));
            let bytes = request.encode_to_vec().into();
            match ask(&gate, UPDATE_HOST.info, bytes, caller, peer, BOOT_FLAGS, CALL).await {
                Ok(_) => Done::TakenBack,
                // Somebody has set them since, or there is no such machine: nothing is to be taken back.
                Err(status)
                    if status.reason() == "BOOT_OVERRIDE_CHANGED" || status.code == Code::NotFound =>
                {
                    tracing::info!(%status, "boot flags of IPMI are not taken back");
                    Done::TakenBack
                }
                Err(status) => {
                    tracing::warn!(%status, "cannot take back boot flags of IPMI: retrying");
                    Done::NotTakenBack(Box::new(request))
                }
            }
        });
    }
}

/// Whether an owner that says so may have done it, or still does.
fn is_unsure(code: Code) -> bool {
    matches!(
        code,
        Code::DeadlineExceeded | Code::Unavailable | Code::Cancelled | Code::Unknown | Code::Internal
    )
}
