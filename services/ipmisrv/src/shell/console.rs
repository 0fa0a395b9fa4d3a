//! Serial over LAN in the loop: who opens the console, its bytes, its end.

use ipc::Status;
use ipmi::sol::deactivated;
use ipmi::{Action, Completion, Request, RequestId, SessionInfo};
use prost::Message as _;
use schema::rpc::console_service::{GET_CONSOLE, OPEN_CONSOLE};
use schema::v1alpha1 as v1;
use serial::frame::Notice;
use tokio::net::UnixStream;

use super::{CALL, Done, Shell, ask};
use crate::sol::{Bridge, Owner, SOCKET, Said, connect};
use crate::users;
use crate::{commands, payloads};

impl Shell {
    /// Asks for the console, as who is logged in, and for its keyboard: IPMI has no other way to ask for that.
    pub(super) fn open_console(&mut self, request: &Request, host_name: String) -> Result<(), Completion> {
        let caller = self.caller(request)?;
        let (session, id, peer) = (request.session.id, request.id, request.session.from.ip());
        let name = request.command.row().map_or("IPMI", |row| row.name);
        let (gate, path) = (self.gate.clone(), self.run_dir.join(SOCKET));
        self.sol.owner = Some(Owner { session, since: self.clock.now(), is_open: false });
        self.calls.spawn(async move {
            let open = v1::OpenConsoleRequest {
                name: host_name,
                take_over: true,
                ..v1::OpenConsoleRequest::default()
            };
            let bytes = open.encode_to_vec().into();
            let asked = ask(&gate, OPEN_CONSOLE.info, bytes, caller, peer.into(), name, CALL).await;
            let opened = async {
                let answer = v1::OpenConsoleResponse::decode(asked?)
                    .map_err(|_| Status::internal("consolesrv gave a ticket that is none"))?;
                connect(&path, answer.ticket.as_bytes()).await.map_err(|error| {
                    tracing::warn!(path = %path.display(), %error, "cannot connect to consolesrv");
                    Status::unavailable("consolesrv does not take the session")
                })
            };
            let opened = opened.await.map_err(|status| commands::completion(status.code));
            Done::Console(session, id, opened)
        });
        Ok(())
    }

    /// The speed of a console's port.
    pub(super) fn ask_bit_rate(&mut self, request: &Request, host_name: String) -> Result<(), Completion> {
        let caller = self.caller(request)?;
        let (session, id, peer) = (request.session.id, request.id, request.session.from.ip());
        let name = request.command.row().map_or("IPMI", |row| row.name);
        let gate = self.gate.clone();
        self.calls.spawn(async move {
            let bytes = v1::GetConsoleRequest { name: host_name }.encode_to_vec().into();
            let asked = ask(&gate, GET_CONSOLE.info, bytes, caller, peer.into(), name, CALL).await;
            let answer = asked.map_err(|status| commands::completion(status.code)).and_then(|answer| {
                let answer = v1::GetConsoleResponse::decode(answer).map_err(|_| Completion::UNSPECIFIED)?;
                Ok(payloads::bit_rate(answer.console.map_or(0, |console| console.bit_rate)))
            });
            Done::Replied(session, id, answer)
        });
        Ok(())
    }

    /// The console is open, or not.
    pub(super) fn console(
        &mut self,
        session: u32,
        id: RequestId,
        opened: Result<UnixStream, Completion>,
        out: &mut Vec<Action>,
    ) {
        let now = self.clock.now();
        let is_wanted = self.sol.owner.is_some_and(|owner| owner.session == session && !owner.is_open);
        let opened = opened.and_then(|stream| {
            // Its session may have ended meanwhile.
            if !is_wanted {
                return Err(Completion::UNSPECIFIED);
            }
            Ok(Bridge::new(session, self.sol.kept()?.settings(), stream))
        });
        let answer = match opened {
            Ok(bridge) => {
                self.sol.owner = Some(Owner { session, since: now, is_open: true });
                self.bridge = Some(bridge);
                tracing::info!(session, "console opened over IPMI");
                Ok(payloads::activated(self.port()))
            }
            Err(why) => {
                if is_wanted {
                    self.sol.owner = None;
                }
                Err(why)
            }
        };
        self.replied(id, answer, out);
    }

    /// Ends it, and tells its client so.
    pub(super) fn close_console(&mut self, why: &str, out: &mut Vec<Action>) {
        let Some(bridge) = self.bridge.take() else { return };
        self.sol.owner = None;
        tracing::info!(session = bridge.session, why, "console over IPMI closed");
        self.server.sol(bridge.session, &deactivated(0), out);
    }

    /// Settings are others: whoever may not have the console any more has it no longer.
    pub(super) fn close_forbidden(&mut self, out: &mut Vec<Action>) {
        let Some(bridge) = &self.bridge else { return };
        let Ok(kept) = self.sol.kept() else { return };
        let principal = self.seats.get(&bridge.session).map(|seat| &seat.caller.principal);
        let may = principal.is_some_and(|principal| {
            let level = users::level(&principal.privileges);
            level.is_some_and(|level| level >= kept.level()) && !kept.denied.contains(&principal.user_id)
        });
        if !kept.enabled || !may {
            self.close_console("its settings were changed", out);
        }
    }

    /// A session of IPMI is over, and its console with it.
    pub(super) fn session_ended(&mut self, session: u32) {
        self.sol.ended(session);
        if let Some(bridge) = self.bridge.take_if(|bridge| bridge.session == session) {
            tracing::info!(session = bridge.session, why = "session ended", "console over IPMI closed");
        }
    }

    /// What consolesrv says.
    pub(super) fn said(&mut self, said: Option<Said>, out: &mut Vec<Action>) {
        let now = self.clock.now();
        let Some(bridge) = &mut self.bridge else { return };
        match said {
            None => return self.close_console("consolesrv ended it", out),
            Some(Said::Told(Notice::End { reason })) => return self.close_console(&reason, out),
            Some(Said::Printed(characters)) => bridge.link.print(now, &characters),
            Some(Said::Told(Notice::Lost { .. })) => bridge.link.lost(),
            Some(Said::Told(Notice::State { writer, you_write, may_write, connected, .. })) => {
                let is_free = you_write || (may_write && writer.is_empty());
                bridge.link.set_available(connected && is_free);
            }
            // Too many breaks, or somebody else took the keyboard a moment ago.
            Some(Said::Told(Notice::Refused { reason })) => {
                tracing::debug!(reason, "console refused what was typed over IPMI");
                if let Some(packet) = bridge.link.refused() {
                    self.server.sol(bridge.session, &packet, out);
                }
            }
            Some(Said::Told(Notice::Begin { .. } | Notice::TakenOver { .. } | Notice::Pong { .. })) => {}
        }
        self.show(out);
    }

    /// Sends what is due.
    pub(super) fn show(&mut self, out: &mut Vec<Action>) {
        let now = self.clock.now();
        let Some(bridge) = &mut self.bridge else { return };
        if let Some(packet) = bridge.link.due(now) {
            self.server.sol(bridge.session, &packet, out);
        }
    }

    /// A packet of a client.
    pub(super) fn typed(&mut self, session: &SessionInfo, packet: &[u8], out: &mut Vec<Action>) {
        let now = self.clock.now();
        let Some(bridge) = self.bridge.as_mut().filter(|bridge| bridge.session == session.id) else {
            let number = packet.first().map_or(0, |number| number & 0xf);
            // What only acknowledges is not answered.
            if number != 0 {
                self.server.sol(session.id, &deactivated(number), out);
            }
            return;
        };
        let room = bridge.room();
        let typed = bridge.link.input(now, packet, room);
        if typed.flush {
            bridge.flush();
        }
        if typed.is_break {
            bridge.sends_break();
        }
        if !typed.characters.is_empty() {
            bridge.types(&typed.characters);
        }
        if let Some(answer) = typed.answer {
            self.server.sol(session.id, &answer, out);
        }
        self.show(out);
    }
}
