//! What a value is worth, and what a whole domain is.

/// What a value is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quality {
    /// True now, as far as its owner knows.
    Good,
    /// The last known one: its owner is gone, says nothing, or says so itself.
    Stale,
    /// There is nothing to know: what it speaks of is off or not there.
    Unavailable,
    /// What it comes from does not work.
    Failed,
}

impl Quality {
    /// As one word, for logs and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Stale => "stale",
            Self::Unavailable => "unavailable",
            Self::Failed => "failed",
        }
    }
}

/// Reason what is known of a domain is not known to be true any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The owner is not there.
    Gone,
    /// The owner has not answered or told anything within its time.
    Overdue,
    /// Something it told may have been lost; it is being asked.
    Missed,
    /// The bus is away.
    BusAway,
}

impl Reason {
    /// As a few words, for logs and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "daemon not there",
            Self::Overdue => "overdue",
            Self::Missed => "messages missed",
            Self::BusAway => "bus away",
        }
    }
}

/// How a domain stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Its owner has not answered yet: nothing is known, which is not the same as that there is nothing. Over HTTP it is a 503.
    Starting,
    /// Filled, and followed.
    Live,
    /// Filled once; what is there is the last known.
    Stale(Reason),
    /// Its owner is no part of this controller: there is nothing of the kind.
    Absent,
}

impl State {
    /// What a value of this quality is worth in a domain that stands so.
    pub(crate) const fn over(self, quality: Quality) -> Quality {
        match (self, quality) {
            (Self::Live, quality) => quality,
            (_, Quality::Good) => Quality::Stale,
            (_, quality) => quality,
        }
    }
}
