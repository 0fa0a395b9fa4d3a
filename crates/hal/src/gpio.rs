//! GPIO lines: what a wire is, and how it is driven, read and watched.

use std::fmt;
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;

use crate::Error;

/// Which line is meant. Names survive a new kernel's numbering of chips, so board files prefer them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum LineId {
    /// The line's name (`gpio-line-names` in the device tree), unique over all chips.
    Name(String),
    /// A chip and the line's offset on it.
    Offset {
        /// The chip: its device (`gpiochip0`) or its label (`1e780000.gpio`).
        chip: String,
        /// The line on the chip, from 0.
        offset: u32,
    },
}

impl fmt::Display for LineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name:?}"),
            Self::Offset { chip, offset } => write!(f, "{chip}:{offset}"),
        }
    }
}

/// The pull resistor inside the chip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Bias {
    /// Leave it as the firmware or the device tree set it.
    #[default]
    AsIs,
    /// No pull.
    Disabled,
    /// Pull up.
    PullUp,
    /// Pull down.
    PullDown,
}

/// A line as it is wired: which one, its polarity, its pull, and how long an input must be stable to count.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Line {
    /// Which line.
    pub id: LineId,
    /// The wire is active when low.
    pub active_low: bool,
    /// The pull resistor.
    pub bias: Bias,
    /// How long a level must hold before an edge is reported; zero for none. Inputs only.
    pub debounce: Duration,
}

impl Line {
    /// An active-high line by name, without pull or debounce.
    pub fn named(name: impl Into<String>) -> Self {
        Self { id: LineId::Name(name.into()), active_low: false, bias: Bias::AsIs, debounce: Duration::ZERO }
    }
}

/// The level an output starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Initial {
    /// Keep the level the pin has now. The only right choice for a line that holds a host's power (I-2).
    AsIs,
    /// Drive it to this logical level.
    Level(bool),
}

/// A change of an input's level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// The logical level after the change.
    pub active: bool,
    /// When it happened: the system's `CLOCK_MONOTONIC`, stamped by the kernel (or by the twin, from the same clock).
    pub at: Duration,
}

/// Opens lines.
///
/// An implementer owes:
/// - one owner per line: a second request of a held line fails with [`Error::Busy`] naming the holder;
/// - no line is touched before it is requested, and requesting one never changes any other;
/// - `owner` is a label for people (`gpioinfo` shows it), at most 31 bytes are kept.
#[async_trait]
pub trait Gpio: Send + Sync + fmt::Debug {
    /// Requests a line to drive it.
    ///
    /// With [`Initial::AsIs`] the wire's level does not change, not even for a moment, and [`OutputLine::get`] then
    /// tells what it is. With [`Initial::Level`] the line becomes an output at that level in one step.
    async fn output(&self, line: &Line, initial: Initial, owner: &str) -> Result<Box<dyn OutputLine>, Error>;

    /// Requests a line to read and watch it. Edges count from here on: one that happens after this call returned is
    /// never missed altogether (see [`InputLine::poll_edge`] on coalescing).
    async fn input(&self, line: &Line, owner: &str) -> Result<Box<dyn InputLine>, Error>;
}

/// A line being driven.
///
/// Dropping it gives up ownership and does not touch the wire: a daemon that dies while it holds a button leaves the
/// button held, as the GPIO of a SoC does. Whoever requests the line next finds that level and lets go. (The kernel
/// leaves it to the driver of the chip what a line without an owner does; a chip that lets go is harmless here.)
#[async_trait]
pub trait OutputLine: Send + Sync + fmt::Debug {
    /// Drives the logical level. When this returns the wire has it.
    async fn set(&self, active: bool) -> Result<(), Error>;

    /// The logical level the wire has now, read back and not remembered.
    async fn get(&self) -> Result<bool, Error>;

    /// Which line it is.
    fn id(&self) -> &LineId;
}

/// A line being watched.
#[async_trait]
pub trait InputLine: Send + Sync + fmt::Debug {
    /// The logical level now. The truth: decide on this, and take edges as the sign that it is time to look.
    async fn get(&self) -> Result<bool, Error>;

    /// Polls for the next change; cancel-safe, nothing is lost by dropping the future around it.
    ///
    /// Edges come in order. They may coalesce: a reader that falls behind sees fewer, but the last one reported always
    /// agrees with the level the line settled on. After [`Error::Unavailable`] the line stays usable: when the device
    /// is back, an edge with its present level follows, whether or not it changed meanwhile.
    fn poll_edge(&mut self, cx: &mut Context<'_>) -> Poll<Result<Edge, Error>>;

    /// Which line it is.
    fn id(&self) -> &LineId;
}

/// Waits for the next change of one line. Cancel-safe.
pub async fn next_edge(line: &mut dyn InputLine) -> Result<Edge, Error> {
    poll_fn(|cx| line.poll_edge(cx)).await
}

/// Waits for the next change of any of `lines` and says which by its index; for ever if there are none. Cancel-safe.
///
/// Lines are asked in order, so when several changed at once the first wins; the others are reported by the next call.
pub async fn next_edge_of(lines: &mut [Box<dyn InputLine>]) -> (usize, Result<Edge, Error>) {
    poll_fn(|cx| {
        for (index, line) in lines.iter_mut().enumerate() {
            if let Poll::Ready(edge) = line.poll_edge(cx) {
                return Poll::Ready((index, edge));
            }
        }
        Poll::Pending
    })
    .await
}
