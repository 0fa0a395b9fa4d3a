//! One drive of a host: what is in it, what is being done with it, and what has to be done next.
//!
//! ```text
//!          insert              opened, kept, attached
//!  Empty ─────────► Inserting ───────────────────────► Inserted ◄──► NotReady     the source is gone, and back
//!    ▲                  │ it failed, or took too long      │             │
//!    └──────────────────┴───────────── Ejecting ◄──────────┴─────────────┘        eject: always, whatever the source does
//! ```
//!
//! What was inserted is kept before the host sees it, so that a daemon that died offers again what the host still has in its drive. An ejected medium is
//! forgotten first and taken out then; that the drive does not answer keeps nobody from ejecting: it is tried until it does.

use serde::{Deserialize, Serialize};
use units::{Millis, Mono};

/// How long a medium may take from the request to the host's drive.
pub const INSERT_WITHIN: Millis = Millis::from_secs(20);
/// How long a drive may take to give a medium back before that is told as done: it is taken out later.
pub const EJECT_WITHIN: Millis = Millis::from_secs(5);

/// What a drive is to its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A drive of CDs and DVDs, which cannot be written.
    Cd,
    /// A USB stick.
    Usb,
}

/// Where a medium's bytes are.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// At a server.
    Url {
        /// Where.
        url: String,
        /// Whether the server's certificate is verified.
        verify: bool,
        /// Name for HTTP Basic; empty for none.
        username: String,
        /// Its password.
        password: String,
    },
    /// At whoever serves it by a session. Another session with the same takes over where one ended.
    Session {
        /// Of what file, that another is not taken for it: its size and when it was changed.
        size: u64,
        /// Milliseconds since 1970; 0 where it is not known.
        modified_ms: u64,
    },
    /// In the store of uploaded media, by its name there.
    Store,
}

/// Without the password.
impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Url { url, verify, .. } => {
                f.debug_struct("Url").field("url", url).field("verify", verify).finish_non_exhaustive()
            }
            Self::Session { size, .. } => {
                f.debug_struct("Session").field("size", size).finish_non_exhaustive()
            }
            Self::Store => f.write_str("Store"),
        }
    }
}

/// A medium: what it is made of, and for whom it was inserted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Medium {
    /// Where it comes from.
    pub source: Source,
    /// What it is called: a file's name, for people.
    pub name: String,
    /// The host may not write.
    pub is_read_only: bool,
    /// Whose it is.
    pub account: String,
    /// Milliseconds since 1970.
    pub inserted_ms: u64,
    /// Bytes; 0 until it is known.
    pub size: u64,
}

impl Medium {
    /// Whether the other is the same medium, so that to insert it again changes nothing.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let is_source_same = match (&self.source, &other.source) {
            // A session is one by itself.
            (Source::Session { .. }, _) | (_, Source::Session { .. }) => false,
            (one, other) => one == other,
        };
        is_source_same && self.name == other.name && self.is_read_only == other.is_read_only
    }

    /// Whether a session with the other may go on where the one of this ended.
    #[must_use]
    pub fn goes_on_with(&self, other: &Self) -> bool {
        matches!((&self.source, &other.source), (Source::Session { .. }, Source::Session { .. }))
            && self.source == other.source
            && self.name == other.name
            && self.account == other.account
            && self.is_read_only == other.is_read_only
    }
}

/// How a drive is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing is in it.
    Empty,
    /// A medium is being put into it.
    Inserting,
    /// The host sees a medium.
    Inserted,
    /// The host sees a medium whose source gives nothing.
    NotReady,
    /// The medium is being taken out.
    Ejecting,
}

/// What has to be done. Each but [`Effect::Tell`] and [`Effect::Close`] is told back; what comes back of something that was begun before the last insertion or
/// ejection is passed over by who performs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// See whether the source has it, and how large it is: [`Slot::opened`].
    Open,
    /// Remember what is in the drive, or that nothing is: [`Slot::kept`].
    Keep,
    /// Put it into the host's drive: [`Slot::attached`].
    Attach,
    /// Take it out: [`Slot::detached`].
    Detach,
    /// The source is of no more use; whoever reads gets errors.
    Close,
    /// Tell what happened.
    Tell(Change),
}

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The host sees a medium.
    Inserted,
    /// It could not be inserted.
    Failed(String),
    /// It was taken out, by this account; by the host where nobody is named.
    Ejected(Option<String>),
    /// Its source gives nothing.
    NotReady(String),
    /// It gives again.
    Ready,
    /// The daemon was started anew, and offers again what the host has in its drive.
    Reattached,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is begun.
    Begun,
    /// It is so already.
    AlreadySo,
    /// It is not done.
    Refused(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Opening,
    Keeping,
    Attaching,
}

/// One drive.
#[derive(Debug)]
pub struct Slot {
    kind: Kind,
    state: State,
    step: Step,
    medium: Option<Medium>,
    /// What was in it last.
    last: Option<Medium>,
    /// Why the last insertion failed.
    fault: String,
    /// Why its source gives nothing.
    source_fault: Option<String>,
    /// Why the host's drive does not have it, though it was there before.
    drive_fault: Option<String>,
    /// When what is being done has to be over.
    until: Option<Mono>,
    /// Who ejects.
    ejector: Option<String>,
    /// The drive may still have what was taken out.
    is_stale: bool,
    /// It was put back at the start, and that is to be told.
    is_reattaching: bool,
    /// The last operation failed with this.
    outcome: Result<(), String>,
}

impl Slot {
    /// An empty drive.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            state: State::Empty,
            step: Step::Opening,
            medium: None,
            last: None,
            fault: String::new(),
            source_fault: None,
            drive_fault: None,
            until: None,
            ejector: None,
            is_stale: false,
            is_reattaching: false,
            outcome: Ok(()),
        }
    }

    /// What it is to its host.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How it is.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// What is in it, or on its way there.
    #[must_use]
    pub fn medium(&self) -> Option<&Medium> {
        self.medium.as_ref()
    }

    /// What [`Effect::Tell`] is about: what is in it, or was last.
    #[must_use]
    pub fn subject(&self) -> Option<&Medium> {
        self.medium.as_ref().or(self.last.as_ref())
    }

    /// What is to be remembered: what the host has in its drive, or is about to.
    #[must_use]
    pub fn to_keep(&self) -> Option<&Medium> {
        self.medium.as_ref().filter(|_| self.state != State::Ejecting && self.state != State::Empty)
    }

    /// Why it is not ready, or why the last insertion failed.
    #[must_use]
    pub fn fault(&self) -> &str {
        self.source_fault.as_ref().or(self.drive_fault.as_ref()).unwrap_or(&self.fault)
    }

    /// What became of the last request that was begun and is over.
    ///
    /// # Errors
    /// Why it failed.
    pub fn outcome(&self) -> Result<(), String> {
        self.outcome.clone()
    }

    /// Hundredths of what has to be done until it is inserted.
    #[must_use]
    pub fn percent(&self) -> u32 {
        match (self.state, self.step) {
            (State::Inserting, Step::Opening) => 10,
            (State::Inserting, Step::Keeping) => 60,
            (State::Inserting, Step::Attaching) => 80,
            (State::Ejecting, _) => 50,
            _ => 100,
        }
    }

    /// Whether something is being done with it.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(self.state, State::Inserting | State::Ejecting)
    }

    /// Whether the drive may have what was ejected.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.is_stale
    }

    /// Somebody wants a medium inserted.
    pub fn insert(&mut self, medium: Medium, now: Mono, out: &mut Vec<Effect>) -> Answer {
        if let Some(present) = &self.medium
            && self.state != State::Ejecting
        {
            if present.is_same(&medium) {
                return Answer::AlreadySo;
            }
            return Answer::Refused(format!("{} is inserted: eject it first", present.name));
        }
        if self.is_busy() {
            return Answer::Refused("a medium is being ejected: ask again".to_owned());
        }
        if self.kind == Kind::Cd && !medium.is_read_only {
            return Answer::Refused("a CD cannot be written: insert it write-protected".to_owned());
        }
        if !medium.is_read_only && medium.source != Source::Store {
            return Answer::Refused(
                "only media of the store can be written: insert it write-protected, or upload it first"
                    .to_owned(),
            );
        }
        self.medium = Some(medium);
        self.state = State::Inserting;
        self.step = Step::Opening;
        self.fault.clear();
        (self.source_fault, self.drive_fault) = (None, None);
        self.until = Some(now + INSERT_WITHIN);
        out.push(Effect::Open);
        Answer::Begun
    }

    /// The daemon was started anew, and the host has this in its drive, as far as is known.
    pub fn restore(&mut self, medium: Medium, now: Mono, out: &mut Vec<Effect>) {
        self.medium = Some(medium);
        self.state = State::Inserting;
        self.step = Step::Opening;
        self.is_reattaching = true;
        self.until = Some(now + INSERT_WITHIN);
        out.push(Effect::Open);
    }

    /// The source was looked at: how many bytes it has.
    pub fn opened(&mut self, result: Result<u64, String>, out: &mut Vec<Effect>) {
        if self.state != State::Inserting || self.step != Step::Opening {
            return;
        }
        let Some(medium) = &mut self.medium else { return };
        let before = medium.size;
        match result {
            Ok(0) => self.failed("it is empty".to_owned(), out),
            // What the host has in its drive does not change under it.
            Ok(size) if self.is_reattaching && before != size => {
                self.failed(format!("it has {size} bytes and not {before} any more"), out);
            }
            // It is kept already.
            Ok(_) if self.is_reattaching => {
                self.step = Step::Attaching;
                out.push(Effect::Attach);
            }
            Ok(size) => {
                medium.size = size;
                self.step = Step::Keeping;
                out.push(Effect::Keep);
            }
            // It may come back; the host keeps its drive.
            Err(why) if self.is_reattaching => {
                self.source_fault = Some(why);
                self.step = Step::Attaching;
                out.push(Effect::Attach);
            }
            Err(why) => self.failed(why, out),
        }
    }

    /// What was to be remembered is, or is not.
    pub fn kept(&mut self, result: Result<(), String>, out: &mut Vec<Effect>) {
        if self.state != State::Inserting || self.step != Step::Keeping {
            return;
        }
        match result {
            Ok(()) => {
                self.step = Step::Attaching;
                out.push(Effect::Attach);
            }
            Err(why) => self.failed(format!("cannot remember it: {why}"), out),
        }
    }

    /// The host's drive has it, or does not take it.
    pub fn attached(&mut self, result: Result<(), String>, out: &mut Vec<Effect>) {
        if matches!(self.state, State::Inserted | State::NotReady) {
            // It was put there again.
            match result {
                Ok(()) => {
                    self.drive_fault = None;
                    self.settle(out);
                }
                Err(why) => self.drive_lost(why, out),
            }
            return;
        }
        if self.state != State::Inserting || self.step != Step::Attaching {
            // It came too late: whoever gave up wants it out.
            self.is_stale |= self.state == State::Empty && result.is_ok();
            return;
        }
        match result {
            // It was there before, and is tried again until the drive is there, too.
            Err(why) if !self.is_reattaching => return self.failed(why, out),
            Err(why) => self.drive_fault = Some(why),
            Ok(()) => {}
        }
        self.until = None;
        self.is_stale = false;
        self.outcome = Ok(());
        self.state = State::Inserted;
        let told = if self.is_reattaching { Change::Reattached } else { Change::Inserted };
        self.is_reattaching = false;
        out.push(Effect::Tell(told));
        self.settle(out);
    }

    /// Something that was given up was put into the drive all the same: an empty one has to be emptied.
    pub fn attached_late(&mut self) {
        self.is_stale |= self.state == State::Empty;
    }

    /// It is ready while both its source and its drive are.
    fn settle(&mut self, out: &mut Vec<Effect>) {
        let fault = self.source_fault.clone().or_else(|| self.drive_fault.clone());
        match (self.state, fault) {
            (State::Inserted, Some(why)) => {
                self.state = State::NotReady;
                out.push(Effect::Tell(Change::NotReady(why)));
            }
            (State::NotReady, None) => {
                self.state = State::Inserted;
                out.push(Effect::Tell(Change::Ready));
            }
            _ => {}
        }
    }

    fn drive_lost(&mut self, why: String, out: &mut Vec<Effect>) {
        self.drive_fault = Some(why);
        self.settle(out);
    }

    fn failed(&mut self, why: String, out: &mut Vec<Effect>) {
        self.is_stale |= self.step == Step::Attaching || self.is_reattaching;
        self.is_reattaching = false;
        self.state = State::Empty;
        self.last = self.medium.take();
        self.until = None;
        (self.source_fault, self.drive_fault) = (None, None);
        self.fault.clone_from(&why);
        self.outcome = Err(why.clone());
        out.push(Effect::Close);
        // Nothing is in it now, whatever was remembered.
        out.push(Effect::Keep);
        out.push(Effect::Tell(Change::Failed(why)));
        if self.is_stale {
            out.push(Effect::Detach);
        }
    }

    /// Somebody wants it out.
    pub fn eject(&mut self, by: &str, now: Mono, out: &mut Vec<Effect>) -> Answer {
        match self.state {
            State::Empty => Answer::AlreadySo,
            State::Ejecting => Answer::Begun,
            State::Inserting | State::Inserted | State::NotReady => {
                self.leave(Some(by.to_owned()), now, out);
                Answer::Begun
            }
        }
    }

    /// The host took it out of its drive.
    pub fn ejected_by_host(&mut self, now: Mono, out: &mut Vec<Effect>) {
        if matches!(self.state, State::Inserted | State::NotReady) {
            self.leave(None, now, out);
        }
    }

    fn leave(&mut self, ejector: Option<String>, now: Mono, out: &mut Vec<Effect>) {
        self.state = State::Ejecting;
        self.ejector = ejector;
        self.is_reattaching = false;
        self.until = Some(now + EJECT_WITHIN);
        out.extend([Effect::Keep, Effect::Close, Effect::Detach]);
    }

    /// The drive gave it back, or does not answer.
    pub fn detached(&mut self, result: Result<(), String>, out: &mut Vec<Effect>) {
        self.is_stale = result.is_err();
        if self.state == State::Ejecting {
            self.end_of_ejection(out);
        }
    }

    fn end_of_ejection(&mut self, out: &mut Vec<Effect>) {
        self.state = State::Empty;
        self.until = None;
        self.outcome = Ok(());
        self.fault.clear();
        (self.source_fault, self.drive_fault) = (None, None);
        out.push(Effect::Tell(Change::Ejected(self.ejector.take())));
        self.last = self.medium.take();
    }

    /// The source gives nothing.
    pub fn lost(&mut self, why: &str, out: &mut Vec<Effect>) {
        if matches!(self.state, State::Inserted | State::NotReady) {
            self.source_fault = Some(why.to_owned());
            self.settle(out);
        }
    }

    /// The source gives again.
    pub fn back(&mut self, out: &mut Vec<Effect>) {
        if matches!(self.state, State::Inserted | State::NotReady) {
            self.source_fault = None;
            self.settle(out);
        }
    }

    /// What was put into the drive is not there any more: who plays the host was started anew.
    pub fn vanished(&mut self, out: &mut Vec<Effect>) {
        if matches!(self.state, State::Inserted | State::NotReady) {
            out.push(Effect::Attach);
        }
    }

    /// When [`Self::tick`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Mono> {
        self.until
    }

    /// Time passed.
    pub fn tick(&mut self, now: Mono, out: &mut Vec<Effect>) {
        if self.until.is_none_or(|until| until > now) {
            return;
        }
        match self.state {
            State::Inserting => {
                let what = match self.step {
                    Step::Opening => "its source does not answer",
                    Step::Keeping => "the store does not answer",
                    Step::Attaching => "the host's drive does not answer",
                };
                self.failed(what.to_owned(), out);
            }
            State::Ejecting => {
                self.is_stale = true;
                self.end_of_ejection(out);
            }
            State::Empty | State::Inserted | State::NotReady => self.until = None,
        }
    }
}

#[cfg(test)]
mod tests;
