//! What each LED shows, without I/O.
//!
//! ```text
//!  host power, identify, health, heat ►┌──────────────────────────────┐
//!  set by hand, given back ───────────►│ Machine                      │──► changes: LED, what it shows, who wants it
//!  lamp test ─────────────────────────►│  highest claim of each LED   │──► denied(reason)
//!  deadline ──────────────────────────►└──────────────────────────────┘
//!                                         ┌──────────────────────────┐
//!  what an LED shall show ───────────────►│ Lamp, one per LED        │──► one write to the hardware at a time
//!  a write went well | failed ───────────►│  blinks where the        │──► blinks by expiry where the hardware does not
//!  deadline ─────────────────────────────►└──────────────────────────┘
//! ```
//!
//! Terms. *Group*: LEDs that show something together while one of its conditions holds, as in phosphor-led-manager. *Claim*: what one group,
//! a person or the lamp test wants of one LED. The claim of the highest priority is shown, and when it ends the next one is, so nothing has to
//! be remembered to be restored: lamp test over by hand over groups, among groups the larger number, then the one that stands first.
//!
//! Never: shows a claim past its end; shows a host as on or off that nobody has told of for a while (I-8).
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

mod claim;
mod fact;
mod lamp;
mod machine;

pub use claim::{Brightness, Claim, Light, Show, Source, State};
pub use fact::{Alarm, Condition, Fact, HostPower, Owner};
pub use lamp::{Ability, Lamp};
pub use machine::{
    Change, Config, Denial, Group, Hand, LONGEST, LONGEST_TEST, LedConfig, MAX_GROUPS, MAX_LEDS, Machine,
    Member, SHORTEST, STALE_AFTER,
};
