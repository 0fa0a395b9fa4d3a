//! Requests from the fleet: taken out of the messages of NATS, and put to the gate like those of every other way in.

use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use gate::audit::{self, Level};
use gate::{Caller, Credential, Gate, Origin, Peer, Policy};
use ipc::{CallContext, Client, Code, Status};
use prost_reflect::DynamicMessage;
use schema::MethodInfo;
use schema::v1alpha1::Privilege;
use tokio::time::Instant;

use crate::config::OutsideRole;
use crate::room::{AT_ONCE, REQUEST_MAX};

/// Name of whoever asks from outside without credentials.
const FLEET: &str = "fleet";
/// The address of the other side is not known here; all attempts of the fleet count as one address.
const PEER: Peer = Peer::Link(FLEET);

/// What a request from outside is answered with.
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Bytes,
}

/// Answers requests from outside.
#[derive(Clone)]
pub(crate) struct Answerer {
    gate: Gate,
    id: String,
    role: OutsideRole,
}

impl Answerer {
    pub(crate) fn new(bus: Client, id: String, role: OutsideRole) -> Result<Self, getrandom::Error> {
        let policy = Policy {
            // Asked each time: no change of an account is heard here.
            basic_cache: Duration::ZERO,
            token_cache: Duration::ZERO,
            // One address gets a quarter, and all come from one: as many as requests are let in.
            logins: 4 * AT_ONCE,
        };
        Ok(Self { gate: Gate::new(bus, policy)?, id, role })
    }

    /// Answers a request on `ubmc.<id>.rpc.<Service>.<Method>` or `ubmc.all.rpc.<Service>.<Method>`. Of one that was too long there is
    /// nothing but its subject.
    pub(crate) async fn answer(&self, subject: &str, request: Option<(Option<HeaderMap>, Bytes)>) -> Answer {
        let subject = subject.splitn(3, '.').nth(2).unwrap_or_default();
        let mut call = Call { context: CallContext::new(), caller: None, level: Level::Record };
        let arrived = Instant::now();
        let outcome = self.pass(subject, request, &mut call).await;
        let entry = audit::Entry {
            context: &call.context,
            peer: PEER,
            by: call.caller.as_ref().map(|caller| caller.principal.username.as_str()),
            verb: None,
            path: subject,
            status: None,
            code: outcome.as_ref().map_or_else(|status| status.code, |_| Code::Ok),
            took: arrived.elapsed(),
        };
        self.gate.audit(&entry, call.level);
        let (mut headers, payload) = match outcome {
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
        call: &mut Call,
    ) -> Result<Bytes, Status> {
        let method = schema::method(subject)
            .filter(|method| !method.internal && subject == method.subject)
            .ok_or_else(|| Status::unimplemented(format!("{subject} is not a method")))?;
        call.level = Level::of(method);
        let Some((headers, payload)) = request else {
            return Err(Status::resource_exhausted(format!(
                "the request is longer than {REQUEST_MAX} bytes"
            )));
        };
        let caller = self.authenticate(headers.as_ref(), method, &call.context).await?;
        call.caller = Some(Arc::clone(&caller));
        let admitted = gate::authorise(method, Some(caller))?;
        if method.server_streaming {
            return Err(Status::unimplemented(format!(
                "{} is a stream; subscribe to ubmc.{}.event.> instead",
                method.full_name, self.id
            )));
        }
        // Decoded, it takes many times its bytes, and here is no waiting: with one thread there is one decoded request at a time, and none
        // while an owner is asked.
        let checked = {
            let message = DynamicMessage::decode(method.input(), payload.clone()).map_err(|error| {
                Status::invalid_argument(format!("{} cannot be decoded: {error}", method.input_name))
            })?;
            admitted.check(message, Some(payload), &Origin { peer: PEER, user_agent: "" })?.0
        };
        self.gate.forward(checked, call.context.clone()).await
    }

    /// Who asks: the account whose credentials the request brings, or nobody in particular with the configured role.
    async fn authenticate(
        &self,
        headers: Option<&HeaderMap>,
        method: &MethodInfo,
        context: &CallContext,
    ) -> Result<Arc<Caller>, Status> {
        let Some(line) = headers.and_then(|map| map.get("Authorization")) else {
            return outsider(self.role, method).map(Arc::new);
        };
        let credential = Credential::from_authorization(line.as_str(), true)
            .map_err(|_| Status::unauthenticated("the Authorization header is neither Basic nor Bearer"))?;
        self.gate.authenticate(&credential, PEER, context).await
    }
}

/// A request that is being answered, as far as it is known.
struct Call {
    context: CallContext,
    caller: Option<Arc<Caller>>,
    level: Level,
}

fn outsider(role: OutsideRole, method: &MethodInfo) -> Result<Caller, Status> {
    let role = match role {
        OutsideRole::None if method.privilege == Privilege::None => None,
        OutsideRole::None => {
            return Err(Status::unauthenticated(
                "this BMC wants credentials of one of its accounts from its fleet (fleet.role = \"None\")",
            ));
        }
        OutsideRole::ReadOnly => Some(auth::Role::ReadOnly),
        OutsideRole::Operator => Some(auth::Role::Operator),
        OutsideRole::Administrator => Some(auth::Role::Administrator),
    };
    Ok(Caller::without_account(FLEET, role, PEER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_role_an_outsider_is_let_in_to_what_is_for_everybody_only() {
        for method in schema::methods().iter().filter(|method| !method.internal) {
            let let_in = outsider(OutsideRole::None, method)
                .and_then(|caller| gate::authorise(method, Some(Arc::new(caller))));
            assert_eq!(let_in.is_ok(), method.privilege == Privilege::None, "{}", method.full_name);
            let administrator = outsider(OutsideRole::Administrator, method).unwrap();
            assert!(gate::authorise(method, Some(Arc::new(administrator))).is_ok(), "{}", method.full_name);
        }
    }
}
