//! One drive of a host: what is in it, what is being done with it, and what has to be done next.
//!
//! ```text
//!          insert              opened, kept, attached
//!  Empty ─────────► Inserting ───────────────────────► Inserted ◄──► NotReady     the source is gone, and back
//!    ▲                  │ it failed, or took too long      │             │
//!    └── forgotten, out ┴───────────── Ejecting ◄──────────┴─────────────┘        eject: always, whatever the source does
//! ```
//!
//! What was inserted is kept before the host sees it, so that a daemon that died offers again what the host still has in its drive. An ejection is over when the
//! medium is forgotten and out. Neither a drive nor a store that does not answer keeps anybody from ejecting: both are tried until they do, and what was not
//! forgotten in time is said. A drive of which nothing is known, after a start, is emptied.

use serde::{Deserialize, Serialize};
use units::{Allowance, Millis, Mono};

/// How long a medium may take from the request to the host's drive.
pub const INSERT_WITHIN: Millis = Millis::from_secs(20);
/// How long an ejection may take before it is told as done: what is left to do is done later.
pub const EJECT_WITHIN: Millis = Millis::from_secs(5);
/// The same for what could not be inserted: with [`INSERT_WITHIN`] it is less than who asked for it waits.
const GIVE_UP_WITHIN: Millis = Millis::from_secs(3);
/// When what could not be kept is kept again: while somebody waits for it, and later.
const KEEP_AGAIN: Millis = Millis::from_secs(1);
const KEEP_LATER: Millis = Millis::from_secs(5);
/// A source that comes and goes is told so often at once, and then once in this time.
const TOLD_AT_ONCE: u32 = 10;
const TOLD_EACH: Millis = Millis::from_secs(60);

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
    /// What its server tells this version by, good for `If-Range` (RFC 9110, 13.1.5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validator: Option<String>,
}

/// What a source was found to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Bytes.
    pub size: u64,
    /// What its server tells this version by.
    pub validator: Option<String>,
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
/// ejection is passed over by who performs, and of what was to be kept all but the last.
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
    NotReady {
        /// For people.
        why: String,
        /// How often it was ready, or not, before this and since that was told last.
        untold: u32,
    },
    /// It gives again.
    Ready {
        /// As that of [`Change::NotReady`].
        untold: u32,
    },
    /// The daemon was started anew, and offers again what the host has in its drive.
    Reattached {
        /// Its server tells no versions: it may be another one of the same size.
        is_unsure: bool,
    },
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

/// Why a drive is being emptied.
#[derive(Clone, Debug)]
enum Leaving {
    /// By an account, or by the host.
    Ejected(Option<String>),
    /// What was to be inserted cannot be.
    Failed(String),
    /// Nothing is known to be in it.
    Emptied,
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
    leaving: Option<Leaving>,
    /// The drive has given back what is being ejected, or said that it cannot.
    is_out: bool,
    /// The drive may still have what was taken out.
    is_stale: bool,
    /// What is to be remembered is not, yet.
    is_unkept: bool,
    /// Why.
    keep_fault: Option<String>,
    keep_at: Option<Mono>,
    /// It was put back at the start, and that is to be told.
    is_reattaching: bool,
    /// The last insertion that is over failed with this.
    outcome: Result<(), String>,
    telling: Telling,
}

/// What was told of whether it is ready.
#[derive(Debug)]
struct Telling {
    allowance: Allowance,
    was_ready: bool,
    untold: u32,
    at: Option<Mono>,
}

impl Slot {
    /// A drive of which nothing is known: it is emptied before something is put into it.
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
            leaving: None,
            is_out: false,
            is_stale: true,
            is_unkept: false,
            keep_fault: None,
            keep_at: None,
            is_reattaching: false,
            outcome: Ok(()),
            telling: Telling {
                allowance: Allowance::new(TOLD_AT_ONCE, 1, TOLD_EACH),
                was_ready: true,
                untold: 0,
                at: None,
            },
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
        let is_there = match self.state {
            State::Empty | State::Ejecting => false,
            // Before that it is only asked for.
            State::Inserting => self.step != Step::Opening || self.is_reattaching,
            State::Inserted | State::NotReady => true,
        };
        self.medium.as_ref().filter(|_| is_there)
    }

    /// What is in it after a restart, too: what is to be remembered, and is.
    #[must_use]
    pub fn remembered(&self) -> Option<&Medium> {
        self.to_keep().filter(|_| !self.is_unkept)
    }

    /// Why it is not ready, why the last insertion failed, or why it is not forgotten what was ejected.
    #[must_use]
    pub fn fault(&self) -> &str {
        let unkept = self.keep_fault.as_ref().filter(|_| self.state == State::Empty && self.fault.is_empty());
        self.source_fault.as_ref().or(self.drive_fault.as_ref()).or(unkept).unwrap_or(&self.fault)
    }

    /// What could not be inserted last: what [`Slot::fault`] of an empty drive is about. Its `inserted_ms` is when that was asked for.
    #[must_use]
    pub fn tried(&self) -> Option<&Medium> {
        self.last.as_ref().filter(|_| self.state == State::Empty && !self.fault.is_empty())
    }

    /// What became of the last insertion that is over.
    ///
    /// # Errors
    /// Why it failed.
    pub fn outcome(&self) -> Result<(), String> {
        self.outcome.clone()
    }

    /// Whether an empty drive is one after a restart, too.
    ///
    /// # Errors
    /// Why what was in it cannot be forgotten.
    pub fn forgotten(&self) -> Result<(), String> {
        let late = || "the state partition does not answer".to_owned();
        if self.is_unkept { Err(self.keep_fault.clone().unwrap_or_else(late)) } else { Ok(()) }
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

    /// Whether the drive may have what was ejected, or what nobody knows of.
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
        // To empty it would be a disc that is changed under the host.
        self.is_stale = false;
        self.until = Some(now + INSERT_WITHIN);
        out.push(Effect::Open);
    }

    /// The source was looked at.
    pub fn opened(&mut self, result: Result<Opened, String>, now: Mono, out: &mut Vec<Effect>) {
        if self.state != State::Inserting || self.step != Step::Opening {
            return;
        }
        let Some(medium) = &mut self.medium else { return };
        let before = medium.size;
        match result {
            Ok(Opened { size: 0, .. }) => self.failed("it is empty".to_owned(), now, out),
            // What the host has in its drive does not change under it.
            Ok(Opened { size, .. }) if self.is_reattaching && before != size => {
                self.failed(format!("it has {size} bytes and not {before} any more"), now, out);
            }
            // It is kept already.
            Ok(_) if self.is_reattaching => {
                self.step = Step::Attaching;
                out.push(Effect::Attach);
            }
            Ok(Opened { size, validator }) => {
                medium.size = size;
                medium.validator = validator;
                self.step = Step::Keeping;
                self.keep(out);
            }
            // It may come back; the host keeps its drive.
            Err(why) if self.is_reattaching => {
                self.source_fault = Some(why);
                self.step = Step::Attaching;
                out.push(Effect::Attach);
            }
            Err(why) => self.failed(why, now, out),
        }
    }

    fn keep(&mut self, out: &mut Vec<Effect>) {
        self.is_unkept = true;
        self.keep_at = None;
        out.push(Effect::Keep);
    }

    /// What was to be remembered last is, or is not.
    pub fn kept(&mut self, result: Result<(), String>, now: Mono, out: &mut Vec<Effect>) {
        self.is_unkept = result.is_err();
        self.keep_fault = result.as_ref().err().map(|why| {
            format!("cannot forget what was in it: {why}: it is inserted again at a restart until that works")
        });
        match (self.state, result) {
            (State::Inserting, result) if self.step == Step::Keeping => match result {
                Ok(()) => {
                    self.step = Step::Attaching;
                    out.push(Effect::Attach);
                }
                Err(why) => self.failed(format!("cannot remember it: {why}"), now, out),
            },
            (State::Ejecting, Ok(())) => self.end_if_left(out),
            (State::Ejecting, Err(_)) => self.keep_at = Some(now + KEEP_AGAIN),
            (State::Empty, Err(_)) => self.keep_at = Some(now + KEEP_LATER),
            _ => {}
        }
    }

    /// The host's drive has it, or does not take it.
    pub fn attached(&mut self, result: Result<(), String>, now: Mono, out: &mut Vec<Effect>) {
        if matches!(self.state, State::Inserted | State::NotReady) {
            // It was put there again.
            self.drive_fault = result.err();
            self.settle(now, out);
            return;
        }
        if self.state != State::Inserting || self.step != Step::Attaching {
            // It came too late: whoever gave up wants it out.
            self.is_stale |= self.state == State::Empty && result.is_ok();
            return;
        }
        match result {
            // It was there before, and is tried again until the drive is there, too.
            Err(why) if !self.is_reattaching => return self.failed(why, now, out),
            Err(why) => self.drive_fault = Some(why),
            Ok(()) => {}
        }
        self.until = None;
        self.is_stale = false;
        self.outcome = Ok(());
        self.state = State::Inserted;
        let is_unsure = self
            .medium
            .as_ref()
            .is_some_and(|medium| matches!(medium.source, Source::Url { .. }) && medium.validator.is_none());
        let told = if self.is_reattaching { Change::Reattached { is_unsure } } else { Change::Inserted };
        self.is_reattaching = false;
        self.telling.was_ready = true;
        (self.telling.untold, self.telling.at) = (0, None);
        out.push(Effect::Tell(told));
        self.settle(now, out);
    }

    /// Something that was given up was put into the drive all the same: an empty one has to be emptied.
    pub fn attached_late(&mut self) {
        self.is_stale |= self.state == State::Empty;
    }

    /// It is ready while both its source and its drive are.
    fn settle(&mut self, now: Mono, out: &mut Vec<Effect>) {
        let is_ready = self.source_fault.is_none() && self.drive_fault.is_none();
        self.state = match (self.state, is_ready) {
            (State::Inserted, false) => State::NotReady,
            (State::NotReady, true) => State::Inserted,
            _ => return,
        };
        // What comes and goes all the time would fill the log.
        if self.telling.at.is_none() && self.telling.allowance.take(now) {
            return self.tell_ready(out);
        }
        self.telling.untold = self.telling.untold.saturating_add(1);
        self.telling.at.get_or_insert(now + TOLD_EACH);
    }

    fn tell_ready(&mut self, out: &mut Vec<Effect>) {
        let untold = std::mem::take(&mut self.telling.untold);
        self.telling.was_ready = self.state == State::Inserted;
        out.push(Effect::Tell(if self.telling.was_ready {
            Change::Ready { untold }
        } else {
            Change::NotReady { why: self.fault().to_owned(), untold }
        }));
    }

    fn failed(&mut self, why: String, now: Mono, out: &mut Vec<Effect>) {
        // Until it was opened there is nothing to forget, and nothing in the drive.
        if self.step == Step::Opening && !self.is_reattaching {
            out.push(Effect::Close);
            self.leaving = Some(Leaving::Failed(why));
            return self.end(out);
        }
        self.leave(Leaving::Failed(why), now + GIVE_UP_WITHIN, out);
    }

    /// Somebody wants it out.
    pub fn eject(&mut self, by: &str, now: Mono, out: &mut Vec<Effect>) -> Answer {
        match self.state {
            State::Empty if !self.is_stale && !self.is_unkept => return Answer::AlreadySo,
            State::Empty => self.leave(Leaving::Emptied, now + EJECT_WITHIN, out),
            State::Ejecting => {}
            State::Inserting | State::Inserted | State::NotReady => {
                self.leave(Leaving::Ejected(Some(by.to_owned())), now + EJECT_WITHIN, out);
            }
        }
        Answer::Begun
    }

    /// The host took it out of its drive.
    pub fn ejected_by_host(&mut self, now: Mono, out: &mut Vec<Effect>) {
        if matches!(self.state, State::Inserted | State::NotReady) {
            self.leave(Leaving::Ejected(None), now + EJECT_WITHIN, out);
        }
    }

    fn leave(&mut self, leaving: Leaving, until: Mono, out: &mut Vec<Effect>) {
        self.state = State::Ejecting;
        self.leaving = Some(leaving);
        self.is_out = false;
        self.is_reattaching = false;
        self.until = Some(until);
        self.keep(out);
        out.extend([Effect::Close, Effect::Detach]);
    }

    /// The drive gave it back, or does not answer.
    pub fn detached(&mut self, result: Result<(), String>, out: &mut Vec<Effect>) {
        self.is_stale = result.is_err();
        if self.state == State::Ejecting {
            self.is_out = true;
            self.end_if_left(out);
        }
    }

    fn end_if_left(&mut self, out: &mut Vec<Effect>) {
        if self.is_out && !self.is_unkept {
            self.end(out);
        }
    }

    fn end(&mut self, out: &mut Vec<Effect>) {
        self.state = State::Empty;
        self.until = None;
        (self.source_fault, self.drive_fault) = (None, None);
        self.telling.at = None;
        match self.leaving.take() {
            Some(Leaving::Ejected(by)) => {
                self.outcome = Ok(());
                self.fault.clear();
                out.push(Effect::Tell(Change::Ejected(by)));
            }
            Some(Leaving::Failed(why)) => {
                self.outcome = Err(why.clone());
                self.fault.clone_from(&why);
                out.push(Effect::Tell(Change::Failed(why)));
            }
            Some(Leaving::Emptied) | None => {}
        }
        self.last = self.medium.take().or(self.last.take());
    }

    /// The source gives nothing.
    pub fn lost(&mut self, why: &str, now: Mono, out: &mut Vec<Effect>) {
        if matches!(self.state, State::Inserted | State::NotReady) {
            self.source_fault = Some(why.to_owned());
            self.settle(now, out);
        }
    }

    /// The source gives again.
    pub fn back(&mut self, now: Mono, out: &mut Vec<Effect>) {
        if matches!(self.state, State::Inserted | State::NotReady) {
            self.source_fault = None;
            self.settle(now, out);
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
        [self.until, self.keep_at, self.telling.at].into_iter().flatten().min()
    }

    /// Time passed.
    pub fn tick(&mut self, now: Mono, out: &mut Vec<Effect>) {
        let is_due = |at: Option<Mono>| at.is_some_and(|at| at <= now);
        if is_due(self.keep_at) {
            self.keep(out);
        }
        if is_due(self.telling.at) {
            self.telling.at = None;
            let is_ready = self.state == State::Inserted;
            // What is so again as it was told before is told with what is told next.
            if is_ready != self.telling.was_ready && self.telling.allowance.take(now) {
                self.telling.untold = self.telling.untold.saturating_sub(1);
                self.tell_ready(out);
            }
        }
        if !is_due(self.until) {
            return;
        }
        match self.state {
            State::Inserting => {
                let what = match self.step {
                    Step::Opening => "its source does not answer",
                    Step::Keeping => "the store does not answer",
                    Step::Attaching => "the host's drive does not answer",
                };
                self.failed(what.to_owned(), now, out);
            }
            State::Ejecting => {
                self.is_stale |= !self.is_out;
                self.end(out);
            }
            State::Empty | State::Inserted | State::NotReady => self.until = None,
        }
    }
}

#[cfg(test)]
mod tests;
