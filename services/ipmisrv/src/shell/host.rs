//! Requests of the machine itself.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use board::{Board, SimHost};
use gate::{Caller, Peer};
use ipmi::vm;
use ipmi::{Action, Command, Completion, Level, Reply, Request, RequestId, SessionInfo};

use super::{Seat, Shell, refused};
use crate::config::Config;
use crate::host::{self, Asked, Came, Host, Interface};
use crate::outcome::Outcome;

/// Where a way out to others begins: what the LAN parameters say is of that interface (RFC 5737).
const OUTWARD: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// The ways there are. One that cannot be opened is told, and the others are served.
pub(super) fn open(config: &Config, board: Option<&Board>, folder: &Path) -> Host {
    let mut host = Host::new(config.host_interface);
    if config.host_interface == Interface::Off {
        return host;
    }
    // What a command is about is the first host: another one's way would be a way to that.
    let hosts = board.map_or(1, |board| board.hosts.len());
    let guests = board.filter(|board| board.sim.as_ref().is_some_and(|sim| sim.host == SimHost::Qemu));
    if let Some(one) = guests.and_then(|board| board.hosts.first())
        && let Err(error) = host.listen(folder, one.id.as_str())
    {
        tracing::error!(%error, host = %one.id, "cannot listen for the guest's IPMI device");
    }
    for (paths, is_bt) in [(&config.kcs, false), (&config.bt, true)] {
        for path in paths {
            if hosts == 1 {
                host.add(path, is_bt);
            } else {
                tracing::error!(path = %path.display(), hosts, "not opened: a way of a machine is for boards with one host");
            }
        }
    }
    host.reopen();
    host
}

/// As whom the machine asks.
pub(super) fn seat(interface: Interface) -> Seat {
    let role = if interface == Interface::Full { auth::Role::Administrator } else { auth::Role::Operator };
    let caller = Caller::without_account(host::NAME, Some(role), Peer::Link(host::NAME));
    Seat { caller: Arc::new(caller), written: None }
}

/// From where somebody asks.
pub(super) fn peer(session: &SessionInfo) -> Peer {
    if session.id == host::SESSION { Peer::Link(host::NAME) } else { session.from.ip().into() }
}

impl Shell {
    /// Something came by a way of the machine.
    pub(super) fn came(&mut self, way: usize, came: Came, out: &mut Vec<Action>) {
        let found = match came {
            Came::Connected => {
                self.machine_ended();
                return self.host.connected(way);
            }
            Came::Gone => {
                self.host.gone(way);
                return self.machine_ended();
            }
            Came::Requests(found) => found,
        };
        for asked in found {
            match self.host.ask(way, vm::Request::clone(&asked)) {
                Asked::Command(id, row, data) => {
                    let session = SessionInfo {
                        id: host::SESSION,
                        account: String::new(),
                        from: SocketAddr::from((OUTWARD, 9)).into(),
                        level: Level::Administrator,
                    };
                    let (command, lun, generator) = (row.command, asked.lun, host::GENERATOR);
                    let request = Request { id, session, command, lun, generator, data };
                    self.request(request, out);
                }
                Asked::Refused(row) if self.refusals.take(self.clock.now()) => {
                    refused(&self.gate, Some(host::NAME), Peer::Link(host::NAME), Some(row));
                }
                Asked::Answered | Asked::Refused(_) => {}
            }
        }
    }

    /// The machine went off, began anew or is not there: what it was about to set, and what it wanted to hear, is over.
    pub(super) fn machine_ended(&mut self) {
        self.memory.ended(host::SESSION);
        self.boot.ended(host::SESSION);
        if let Some(seat) = self.seats.get_mut(&host::SESSION) {
            seat.written = None;
        }
        self.host.forget();
    }

    /// Whether what comes of a request may be done: nobody logged in on the machine, so what it changes, which is kept on flash and told, is bounded.
    pub(super) fn may_change(&mut self, session: &SessionInfo, outcome: &Outcome) -> bool {
        let changes = !matches!(outcome, Outcome::Answer(_) | Outcome::Partly(_) | Outcome::Network { .. });
        session.id != host::SESSION || !changes || self.changes.take(self.clock.now())
    }

    /// What else an answer ends with: boot flags are valid for longer after a Chassis Control that is done, and who is told to ask again goes on with what
    /// was written before.
    fn settle(&mut self, id: RequestId, code: Completion) {
        let Some(at) = self.before.iter().position(|(request, ..)| *request == id) else { return };
        let (_, session, command, before) = self.before.swap_remove(at);
        if command == Command::ChassisControl {
            if code == Completion::OK {
                self.boot.controlled(self.clock.now());
            }
        } else if [Completion::BUSY, Completion::TIMEOUT].contains(&code)
            && let Some(seat) = self.seats.get_mut(&session)
        {
            seat.written = before;
        }
    }

    /// The answer to a request, whoever asked.
    pub(super) fn replied(&mut self, id: RequestId, answer: impl Into<Reply>, out: &mut Vec<Action>) {
        let answer = answer.into();
        self.settle(id, answer.code);
        // What it says is so for the next process of this daemon as well.
        self.save_timers();
        if !self.host.replied(id, &answer) {
            self.server.replied_with(self.clock.now(), id, answer, out);
        }
    }
}
