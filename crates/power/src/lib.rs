//! The power machine of a host and the machine of its desired state, without I/O.
//!
//! ```text
//!  request(op, action) ──►┌───────────────┐──► drive a line (button, reset, NMI, held level)
//!  power-good level ─────►│ Machine       │──► answer: accepted | already so | denied(reason)
//!  panel button ─────────►│ one per host  │──► finished(op): done | failed(reason) | superseded
//!  a line failed ────────►│ (powermgr)    │──► state changed, restarted(cause)
//!  deadline ─────────────►└───────────────┘
//!
//!  request from a client ►┌───────────────┐──► apply(op, action) to the Machine's daemon
//!  apply answered / lost ►│ Desired       │──► persist(intent)
//!  stored / not stored ──►│ one per host  │──► answer to the client: after accepted *and* stored
//!  state, op finished ───►│ (statemgr)    │──► ended(op): done | failed(reason) | superseded
//!  booted, deadline ─────►└───────────────┘──► last state to remember for the restore policy
//! ```
//!
//! Both decide and never do: time is an argument, effects are returned, a failed effect comes back as an event. Both
//! may be dropped and made anew at any moment; [`Machine::new`] starts from what the pins say (I-2).
//!
//! Terms. *Power-good*: the wire that is active while the host's supply is up; here it is the only truth about power.
//! *Operation*: one request with an id, which ends exactly once (I-1). *Hold*: a button being pressed; there is at most
//! one, and it always has an end.
//!
//! An operation is done once, whoever dies meanwhile: [`Progress`] says how for each action.
//!
//! Never: presses a button because the daemon started, unless an accepted operation is to go on; presses one a second time for what the
//! first press may have done; holds one longer than [`Timings::force_off_hold`]; believes a
//! state the pins deny; turns a graceful shutdown into a forced one by itself; retries a supply that tripped.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice
    )
)]

mod cause;
mod line;
mod machine;
mod on_time;
mod record;
mod request;
mod state;
mod timings;
mod wire;

pub mod desired;

pub use cause::{Causes, RestartCause};
pub use line::{Button, Control, Line};
pub use machine::{Action, Actions, Config, Event, Machine, Note, Pins};
pub use on_time::PowerOnTime;
pub use record::{Past, Progress, Step};
pub use request::{Answer, BadOpId, Denial, Failure, HostAction, OpId, OpStatus, Outcome, Request};
pub use state::{State, Status};
pub use timings::Timings;
pub use wire::Ended;
