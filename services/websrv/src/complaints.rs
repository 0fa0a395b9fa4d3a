//! What is wrong, as the daemon's status tells it: each part says its own, and all of it is told.

/// Who says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The certificate that was asked for is not the one that is served.
    Certificate,
    /// Viewers are not served although they shall be, or nobody knows whether they shall.
    Viewers,
    /// Nobody knows whether the redirect from HTTP shall be open.
    Redirect,
}

/// How many there are.
const PARTS: usize = Part::Redirect as usize + 1;

impl service::Part for Part {
    fn place(self) -> usize {
        self as usize
    }
}

/// All of it.
pub(crate) type Complaints = service::Complaints<Part, PARTS>;
