//! Requests of the machine itself.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use board::{Board, SimHost};
use gate::{Caller, Peer};
use ipmi::vm;
use ipmi::{Action, Completion, Level, Request, RequestId, SessionInfo};

use super::{Seat, Shell};
use crate::config::Config;
use crate::host::{self, Asked, Came, Host, Interface};

/// Where a way out to others begins: what the LAN parameters say is of that interface (RFC 5737).
const OUTWARD: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// The ways there are. One that cannot be opened is told, and the others are served.
pub(super) fn open(config: &Config, board: Option<&Board>, folder: &Path) -> Host {
    let mut host = Host::new(config.host_interface);
    if config.host_interface == Interface::Off {
        return host;
    }
    let tell = |what: &dyn std::fmt::Display, opened: std::io::Result<()>| {
        if let Err(error) = opened {
            tracing::error!(%error, way = %what, "cannot open the machine's way to IPMI");
        }
    };
    let guests = board.filter(|board| board.sim.as_ref().is_some_and(|sim| sim.host == SimHost::Qemu));
    for one in guests.into_iter().flat_map(|board| &board.hosts) {
        tell(&one.id, host.listen(folder, one.id.as_str()));
    }
    for (paths, is_bt) in [(&config.kcs, false), (&config.bt, true)] {
        for path in paths {
            tell(&path.display(), host.open(path, is_bt));
        }
    }
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
            Came::Connected => return self.host.connected(way),
            Came::Gone => return,
            Came::Requests(found) => found,
        };
        for asked in found {
            if let Asked::Command(id, row, data) = self.host.ask(way, vm::Request::clone(&asked)) {
                let session = SessionInfo {
                    id: host::SESSION,
                    account: String::new(),
                    from: SocketAddr::from((OUTWARD, 9)),
                    level: Level::Administrator,
                };
                let request = Request { id, session, command: row.command, lun: asked.lun, data };
                self.request(request, out);
            }
        }
    }

    /// The answer to a request, whoever asked.
    pub(super) fn replied(
        &mut self,
        id: RequestId,
        answer: Result<Vec<u8>, Completion>,
        out: &mut Vec<Action>,
    ) {
        if !self.host.replied(id, &answer) {
            self.server.replied(self.clock.now(), id, answer, out);
        }
    }
}
