//! What is wrong, as the daemon's status tells it: each part says its own, and all of it is told.

/// Who says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// It cannot be served.
    Switch,
    /// It is not known whether it is switched on.
    Chosen,
    /// The store does not answer.
    Store,
    /// What is hidden of the SEL.
    Sel,
    /// What is set of Serial over LAN.
    Sol,
    /// What else clients set.
    Settings,
}

/// How many there are.
const PARTS: usize = Part::Settings as usize + 1;

impl service::Part for Part {
    fn place(self) -> usize {
        self as usize
    }
}

/// All of it.
pub(crate) type Faults = service::Complaints<Part, PARTS>;
