//! What comes of a request.

use std::net::Ipv4Addr;

use ipmi::{Completion, Reply, sel};
use model::{Domain, State};
use schema::v1alpha1 as v1;
use schema::{Method, MethodInfo};
use zeroize::Zeroizing;

use crate::sel::Hidden;
use crate::settings::Settings;
use crate::sol::Kept;
use crate::world::{Answer, World};

/// What comes of a request.
pub(crate) enum Outcome {
    Answer(Answer),
    /// A code that has data behind it.
    Partly(Reply),
    /// This is to be asked; the answer says `data` if it went well.
    Call {
        method: &'static MethodInfo,
        request: Vec<u8>,
        data: Vec<u8>,
    },
    /// It is about the controller's own network, of which netmgr tells.
    Network {
        /// The parameter.
        selector: u8,
        /// Which one of several.
        set: u8,
        /// It is to be this, as it can be no other.
        wanted: Option<Vec<u8>>,
    },
    /// This of the SEL is to be hidden; the answer says `data` if it is.
    Hide {
        hidden: Hidden,
        data: Vec<u8>,
    },
    /// This is to be set of Serial over LAN.
    Keep {
        kept: Kept,
    },
    /// This is to be set of what clients set here.
    Set {
        settings: Box<Settings>,
    },
    /// This record is to be on the SEL; the answer says its number, where the command has that.
    Add {
        severity: v1::EventSeverity,
        text: String,
        record: [u8; sel::LENGTH],
        is_numbered: bool,
    },
    /// A trap of this event is to be sent there.
    Alert {
        address: Ipv4Addr,
        record: [u8; sel::LENGTH],
    },
    /// Whether this is the password of that account.
    Test {
        username: String,
        password: Zeroizing<Vec<u8>>,
    },
    /// What this host boots from is to be set.
    Boot {
        method: &'static MethodInfo,
        request: Vec<u8>,
        host_name: String,
    },
    /// The console of this host is to be opened for the session.
    Activate {
        host_name: String,
    },
    /// Whoever has it does not any more.
    Deactivate,
    /// The speed of its port is wanted.
    BitRate {
        host_name: String,
    },
}

impl Outcome {
    /// A call whose answer says this if it went well; any other outcome is as it was.
    pub(crate) fn saying(self, data: Vec<u8>) -> Self {
        match self {
            Self::Call { method, request, .. } => Self::Call { method, request, data },
            other => other,
        }
    }
}

pub(crate) fn call<Req: prost::Message, Resp>(method: Method<Req, Resp>, request: &Req) -> Outcome {
    Outcome::Call { method: method.info, request: request.encode_to_vec(), data: Vec::new() }
}

/// The machine's name.
pub(crate) fn host_name(world: &World<'_>) -> Result<String, Completion> {
    is_known(world, Domain::Hosts)?;
    let view = world.snapshot.hosts().iter().next().ok_or(Completion::NOT_PRESENT)?;
    Ok(view.value.name.clone())
}

/// Until an owner has said anything, nothing is known: a client asks again.
pub(crate) fn is_known(world: &World<'_>, domain: Domain) -> Result<(), Completion> {
    if world.snapshot.status(domain).state == State::Starting { Err(Completion::BUSY) } else { Ok(()) }
}
