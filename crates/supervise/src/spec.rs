//! What is supervised.

use std::fmt;

use units::Millis;

/// A daemon, by its place in the list given to [`crate::Machine::new`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub usize);

/// A daemon to supervise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Its name.
    pub name: String,
    /// Daemons that must have settled (become ready, or failed to) before its first start. A restart waits for nobody: those that depend
    /// on a daemon outlive it, so it must cope with their presence and they with its absence.
    pub after: Vec<String>,
    /// Whether the watchdog is starved when it stays away.
    pub critical: bool,
    /// Whether it goes on when the rest is restarted: it is part of the world, not of the management software.
    pub lasting: bool,
    /// How long its loop may be silent; by default [`Policy::heartbeat_within`](crate::Policy::heartbeat_within).
    pub silent_at_most: Option<Millis>,
}

impl Spec {
    /// A daemon that is not critical.
    pub fn new(name: &str, after: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            after: after.iter().map(|name| (*name).to_owned()).collect(),
            critical: false,
            lasting: false,
            silent_at_most: None,
        }
    }

    /// Makes it go on over restarts of the rest.
    #[must_use]
    pub fn lasting(mut self) -> Self {
        self.lasting = true;
        self
    }

    /// Has its loop be silent for this long at most.
    #[must_use]
    pub fn silent_at_most(mut self, span: Millis) -> Self {
        self.silent_at_most = Some(span);
        self
    }

    /// Makes it critical.
    #[must_use]
    pub fn critical(mut self) -> Self {
        self.critical = true;
        self
    }
}

/// Why a list of daemons cannot be supervised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Two have one name.
    #[error("there are two daemons named {0}")]
    Duplicate(String),
    /// It waits for one that is not in the list.
    #[error("{daemon} starts after {missing}, which does not exist")]
    Unknown {
        /// The daemon.
        daemon: String,
        /// Whom it waits for.
        missing: String,
    },
    /// It waits for itself, directly or through others.
    #[error("{0} would wait for itself")]
    Cycle(String),
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Exit status 0.
    Ok,
    /// It refused its configuration (exit status 64): starting it again helps only if what it refused changes.
    Config,
    /// It asks to be tried again (exit status 75): something it needs is not there.
    Retry,
    /// Any other exit status.
    Code(i32),
    /// A signal killed it.
    Signal(i32),
    /// It could not be started at all.
    NotStarted,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::Ok => f.write_str("it ended by itself"),
            Ending::Config => f.write_str("it refused its configuration (exit status 64)"),
            Ending::Retry => f.write_str("something it needs was missing (exit status 75)"),
            Ending::Code(code) => write!(f, "exit status {code}"),
            Ending::Signal(signal) => match signal_name(*signal) {
                Some(name) => write!(f, "killed by {name}"),
                None => write!(f, "killed by signal {signal}"),
            },
            Ending::NotStarted => f.write_str("it could not be started"),
        }
    }
}

/// The names of the signals that end processes in practice; the numbers are those of all our architectures.
fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        31 => "SIGSYS",
        _ => return None,
    })
}

/// Checks names and that nobody waits for itself; returns for each daemon the ids it waits for.
pub(crate) fn resolve(specs: &[Spec]) -> Result<Vec<Vec<Id>>, SpecError> {
    let mut after = Vec::with_capacity(specs.len());
    for (index, spec) in specs.iter().enumerate() {
        if specs.iter().take(index).any(|other| other.name == spec.name) {
            return Err(SpecError::Duplicate(spec.name.clone()));
        }
        let mut ids = Vec::with_capacity(spec.after.len());
        for name in &spec.after {
            match specs.iter().position(|other| &other.name == name) {
                Some(position) => ids.push(Id(position)),
                None => {
                    return Err(SpecError::Unknown { daemon: spec.name.clone(), missing: name.clone() });
                }
            }
        }
        after.push(ids);
    }
    // Take away, again and again, whoever waits only for those already taken; what is left waits in a circle.
    let mut done = vec![false; specs.len()];
    loop {
        let next = after.iter().enumerate().position(|(index, ids)| {
            done.get(index) == Some(&false) && ids.iter().all(|id| done.get(id.0) == Some(&true))
        });
        match next.and_then(|index| done.get_mut(index)) {
            Some(slot) => *slot = true,
            None => break,
        }
    }
    match specs.iter().zip(&done).find(|(_, done)| !**done) {
        Some((spec, _)) => Err(SpecError::Cycle(spec.name.clone())),
        None => Ok(after),
    }
}
