//! Logins: what usermgr alone knows, asked beside the loop.

use std::time::Duration;

use gate::audit::Level;
use ipc::{CallContext, Code};
use ipmi::{Action, Challenge, Rejected, Verify};
use schema::rpc::auth_service::{CHALLENGE_IPMI, VERIFY_IPMI};
use schema::v1alpha1 as v1;

use super::{Done, LOGIN, LOGINS_MAX, Shell, admitted, audit};

impl Shell {
    /// What proves to the client that its password is known here.
    pub(super) fn challenge(&mut self, asked: Challenge, out: &mut Vec<Action>) {
        if self.logins.len() >= LOGINS_MAX {
            return self.server.challenged(asked.id, None, out);
        }
        let bus = self.bus.clone();
        self.logins.spawn(async move {
            let request = v1::ChallengeIpmiRequest {
                username: asked.username,
                cipher_suite: asked.suite.id().into(),
                data: asked.data,
            };
            let context = CallContext::new().with_timeout(LOGIN).with_patience(LOGIN);
            let answer = bus.call(CHALLENGE_IPMI, &request, &context).await;
            Done::Challenged(asked.id, answer.ok().map(|answer| answer.code))
        });
    }

    /// Whether the client has proved that it knows the password.
    pub(super) fn verify(&mut self, asked: Verify, out: &mut Vec<Action>) {
        if self.logins.len() >= LOGINS_MAX {
            let _ = self.server.verified(self.clock.now(), asked.id, Err(Rejected::Unavailable), out);
            return;
        }
        let since = *self.gate.changes().borrow();
        let (bus, model) = (self.bus.clone(), self.model.clone());
        self.logins.spawn(async move {
            let id = asked.id;
            let address = asked.from.ip().to_canonical().to_string();
            let request = v1::VerifyIpmiRequest {
                username: asked.username,
                cipher_suite: asked.suite.id().into(),
                data: asked.data,
                code: asked.code,
                session: asked.session,
                address: address.clone(),
                only_test: false,
            };
            let context = CallContext::new().with_timeout(LOGIN).with_patience(LOGIN);
            let answer = bus.call(VERIFY_IPMI, &request, &context).await;
            // Who logged in, or tried to, as on every other way in: the name of nobody is not.
            let by = answer.as_ref().ok().and_then(|answer| answer.principal.as_ref());
            let code = answer.as_ref().map_or_else(|status| status.code, |_| Code::Ok);
            let by = by.map(|by| by.username.as_str());
            let login = (by, asked.from.ip().into(), "login");
            audit(None, login, &CallContext::new(), code, Duration::ZERO, Level::Record);
            let verdict = match answer {
                Ok(answer) => admitted(answer, address, &model),
                Err(status) => Err(match status.code {
                    Code::Unauthenticated => Rejected::Wrong,
                    Code::PermissionDenied => Rejected::Forbidden,
                    _ => Rejected::Unavailable,
                }),
            };
            Done::Verified(id, since, Box::new(verdict))
        });
    }
}
