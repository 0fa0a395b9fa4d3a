//! Lists past events, keeps which of them are resolved and up to where logs were cleared, sends them to who has subscribed, and keeps the room of the event log. It
//! has the metric reports and triggers that clients have made, too, as it sends those reports.
//!
//! ```text
//!  stream EVENTS ──► index (pure) ──► surplus ──► removed from the stream
//!                      │
//!  ListEvents ──► turns, a share per account ──► lists, several at once ──► stream EVENTS, by sequence
//!  ResolveEvents, ReopenEvents, ClearEvents ──► resolver ──► bucket `resolutions` ──► lists
//!  subscriptions ──► owner ──► bucket; a runner each ──► stream EVENTS from its cursor on ──► HTTP(S)
//!  definitions of reports, triggers ──► owner ──► bucket; maker ──► reports for runners, events
//! ```
//!
//! The log itself is the stream `EVENTS`: daemons publish into it and gateways serve watches from it, so that nothing is lost and no watch
//! ends while this daemon is away. Whoever keeps it then is the stream's own bound, which drops the oldest.
//!
//! Never: holds a list in memory beyond a page; speaks to the controller's own services for a subscriber; lets one account take the places of all, or one kind of events the room of another.
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

mod cleared;
mod index;
mod keeper;
mod lists;
mod refusing;
mod resolutions;
mod resolver;
mod shell;
mod subscriptions;
mod telemetry;
mod turns;

pub use service::StartError as Error;
pub use shell::run;
pub use subscriptions::Settings as Subscriptions;
pub use telemetry::Settings as Telemetry;

/// `[eventlog]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Events to destinations elsewhere.
    pub subscriptions: Subscriptions,
    /// Metric reports and triggers that clients have made.
    pub telemetry: Telemetry,
}

/// The daemon's name: on the bus, in logs, in the binary.
pub const NAME: &str = "eventlog";
