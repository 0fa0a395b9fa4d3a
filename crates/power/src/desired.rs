//! What a host shall be: the intent behind each accepted request, reconciled with what is.
//!
//! The machine that presses buttons may die with everything it knows, and so may the daemon this machine lives in. An
//! intent outlives both: it is stored before its client is told "accepted", and it ends exactly once, by the result the
//! power machine reports, by the state found to be as wished, or by its deadline (I-1, I-4).
//!
//! Which of two clients wins is decided here and at once: one intent per host, and only a force-off replaces another.

use units::{Millis, Mono};

use crate::Timings;
use crate::machine::Status;
use crate::request::{Failure, HostAction, OpId, OpStatus, Outcome};

/// How long a client is kept waiting for a daemon that drives power to come back. Below the gateway's 10 s.
const ANSWER_WITHIN: Millis = Millis::from_secs(6);
/// Pause before a call that did not get through is made again.
const CALL_AGAIN: Millis = Millis::new(100);
/// Pause before a look that was not answered is taken again.
const LOOK_AGAIN: Millis = Millis::new(500);
/// Pause before an operation refused at a later attempt is tried again: the host may be changing state by itself, which
/// takes at most the 500 ms of a warm-reset check at a time.
const REFUSED_AGAIN: Millis = Millis::new(600);
/// How often an operation is begun anew before it is given up as lost. The daemon is restarted with back-off up to 10 s,
/// so eight attempts are minutes of a daemon that dies at each press.
const ATTEMPTS: u32 = 8;
/// After the host went off unasked, this long until "off" is remembered as its last state: when mains fail, the host's
/// supply drops before the BMC's, and that must not count as a wish. `PowerOffSaveMs` of x86-power-control, 7 s.
const OFF_SAVE: Millis = Millis::from_secs(7);
/// On top of the longest an operation takes: restarts of the daemons in between.
const MARGIN: Millis = Millis::from_secs(30);

/// What is to become of a host when mains power comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestorePolicy {
    /// Switch it on.
    AlwaysOn,
    /// Leave it off.
    AlwaysOff,
    /// Switch it on if it was on.
    Last,
}

/// Who wants an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A client.
    Client,
    /// The restore policy, which is always-on.
    PolicyOn,
    /// The restore policy, which is last.
    PolicyRestore,
}

/// An accepted wish, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intent {
    /// The operation.
    pub op: OpId,
    /// What to do.
    pub action: HostAction,
    /// Who wants it.
    pub origin: Origin,
    /// How often it has been begun.
    pub attempt: u32,
    /// When it must have ended.
    pub deadline: Mono,
}

/// What the daemon that drives power answered to an apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// It is under way.
    Accepted,
    /// It has ended in this way.
    Ended(Outcome),
    /// The host is already so.
    Already,
    /// No, for a reason the shell keeps.
    Denied,
    /// Nobody got it.
    Unreachable,
    /// There was no answer: it may have been begun or not.
    Unknown,
}

/// What is told to the client of a request. Exactly once per request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Under way and stored.
    Accepted,
    /// Already so.
    Already,
    /// Another operation is in the way.
    Busy(OpId),
    /// Power is locked while firmware is updated.
    Maintenance,
    /// The daemon that drives power refused; the shell has its reason.
    Refused,
    /// A force-off took over before it began.
    Superseded(OpId),
    /// The daemon that drives power did not answer in time.
    Unreachable,
    /// It is under way, and could not be stored: a restart would forget it.
    NotStored,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A client's request. The operation id is new.
    Request {
        /// The operation.
        op: OpId,
        /// What to do.
        action: HostAction,
    },
    /// An [`Action::Apply`] was answered.
    Applied(OpId, Reply),
    /// An [`Action::Persist`] of this intent ended, well or not.
    Stored(OpId, bool),
    /// The host's status changed.
    Status(Status),
    /// The power machine told how an operation ended.
    Finished(OpId, Outcome),
    /// A look at the power machine: what it says now. `None` for no answer.
    Look(Option<Seen>),
    /// The BMC booted after a loss of mains power.
    MainsRestored {
        /// What to do.
        policy: RestorePolicy,
        /// How the host was.
        was_on: bool,
        /// When to do it at the earliest.
        at: Mono,
        /// The operation to do it with.
        op: OpId,
    },
    /// Power is locked, or not any more.
    Maintenance(bool),
    /// Time passed.
    Deadline,
}

/// What a look at the power machine shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The host's status.
    pub status: Status,
    /// The operation under way, else the last one, if it knows of any.
    pub operation: Option<(OpId, OpStatus)>,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Ask the power machine to do this.
    Apply {
        /// The operation.
        op: OpId,
        /// What to do, which need not be what the intent says: half of it may be done already.
        action: HostAction,
    },
    /// Store the intent; answered by [`Event::Stored`].
    Persist(Intent),
    /// Forget the stored intent.
    Forget(OpId),
    /// Answer a client.
    Answer(OpId, Answer),
    /// An intent ended.
    Ended {
        /// The intent.
        intent: Intent,
        /// How.
        outcome: Outcome,
        /// The power machine has told everyone, or is about to. For a superseded intent that is likely and not certain: it
        /// may have been lost before.
        told: bool,
    },
    /// Look at the power machine.
    Look,
    /// Remember this as the last state for the restore policy.
    Remember {
        /// The host is on.
        on: bool,
    },
}

/// How far the active intent has come.
#[derive(Debug, Clone, Copy)]
struct Active {
    intent: Intent,
    since: Mono,
    /// When it was last begun.
    begun: Mono,
    /// A call is under way.
    calling: bool,
    applied: bool,
    storing: bool,
    stored: bool,
    answered: bool,
    again: Option<Mono>,
}

#[derive(Debug, Clone, Copy)]
struct Restore {
    at: Mono,
    op: OpId,
    origin: Origin,
}

/// The desired state of one host.
#[derive(Debug)]
pub struct Desired {
    longest: Millis,
    settle: Millis,
    status: Option<Status>,
    active: Option<Active>,
    maintenance: bool,
    restore: Option<Restore>,
    remembered: Option<bool>,
    /// When "off" becomes the remembered state.
    off_at: Option<Mono>,
}

impl Desired {
    /// Nothing is known and nothing is wished.
    pub fn new(timings: &Timings) -> Self {
        Self {
            longest: timings.longest_operation(),
            settle: timings.press + timings.power_good_timeout,
            status: None,
            active: None,
            maintenance: false,
            restore: None,
            remembered: None,
            off_at: None,
        }
    }

    /// Takes up a stored intent after a restart, and after [`Event::MainsRestored`] if there is one. What became of it is found out by
    /// the first look.
    pub fn resume(&mut self, now: Mono, intent: Intent) {
        if is_off(intent.action) {
            // It was the last wish: the loss of mains only was faster than the host.
            self.restore.take_if(|restore| restore.origin == Origin::PolicyRestore);
        }
        let deadline = intent.deadline.min(now + self.budget());
        self.active = Some(Active {
            intent: Intent { deadline, ..intent },
            since: now,
            begun: now,
            calling: false,
            applied: true,
            storing: false,
            stored: true,
            answered: true,
            again: None,
        });
    }

    /// The active intent.
    pub fn intent(&self) -> Option<&Intent> {
        self.active.as_ref().map(|active| &active.intent)
    }

    /// The status, as far as known: `None` while the power machine is out of reach.
    pub fn status(&self) -> Option<Status> {
        self.status
    }

    /// Whether the restore policy still has to act after a loss of mains power. To be kept over restarts until it is not.
    pub fn is_restoring(&self) -> bool {
        self.restore.is_some()
    }

    /// Whether power is locked.
    pub fn in_maintenance(&self) -> bool {
        self.maintenance
    }

    /// How long an intent may take, restarts of the daemons included.
    pub fn budget(&self) -> Millis {
        self.longest + MARGIN
    }

    /// When to call [`Desired::step`] with [`Event::Deadline`] at the latest.
    pub fn deadline(&self) -> Option<Mono> {
        let active = self.active.and_then(|active| {
            let answer = (!active.answered).then(|| active.since + ANSWER_WITHIN);
            [Some(active.intent.deadline), active.again, answer].into_iter().flatten().min()
        });
        let restore = self.restore.filter(|_| self.can_restore()).map(|restore| restore.at);
        let off = self.off_at.filter(|_| !self.is_coming_up());
        [active, restore, off].into_iter().flatten().min()
    }

    /// Lets `event` happen at `now`.
    pub fn step(&mut self, now: Mono, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Request { op, action } => self.request(now, op, action, out),
            Event::Applied(op, reply) => self.applied(now, op, reply, out),
            Event::Stored(op, stored) => self.stored(op, stored, out),
            Event::Status(status) => self.observed(now, status, out),
            Event::Finished(op, outcome) => {
                if self.is_active(op) {
                    self.end(now, outcome, true, out);
                }
            }
            Event::Look(None) => {
                self.status = None;
                if let Some(active) = self.active.as_mut().filter(|active| active.applied && !active.calling)
                {
                    active.again = Some(now + LOOK_AGAIN);
                }
            }
            Event::Look(Some(seen)) => {
                self.observed(now, seen.status, out);
                self.reconcile(now, seen, out);
            }
            Event::MainsRestored { policy, was_on, at, op } => {
                let origin = match policy {
                    RestorePolicy::AlwaysOn => Some(Origin::PolicyOn),
                    RestorePolicy::Last if was_on => Some(Origin::PolicyRestore),
                    RestorePolicy::Last | RestorePolicy::AlwaysOff => None,
                };
                self.restore = origin.map(|origin| Restore { at, op, origin });
            }
            Event::Maintenance(locked) => self.maintenance = locked,
            Event::Deadline => {}
        }
        self.due(now, out);
    }

    fn is_active(&self, op: OpId) -> bool {
        self.active.is_some_and(|active| active.intent.op == op)
    }

    fn request(&mut self, now: Mono, op: OpId, action: HostAction, out: &mut Vec<Action>) {
        if self.maintenance {
            out.push(Action::Answer(op, Answer::Maintenance));
            return;
        }
        if let Some(active) = self.active {
            if action != HostAction::ForceOff || active.intent.action == HostAction::ForceOff {
                out.push(Action::Answer(op, Answer::Busy(active.intent.op)));
                return;
            }
            if !active.answered {
                out.push(Action::Answer(active.intent.op, Answer::Superseded(op)));
            }
            self.active = None;
            let (intent, outcome) = (active.intent, Outcome::Superseded(op));
            out.push(Action::Ended { intent, outcome, told: active.applied });
            // Its stored form must go in any case: overwritten by the new one, at once.
            self.begin(now, op, action, Origin::Client, true, out);
            return;
        }
        // Somebody decided: the policy has nothing to restore any more.
        self.restore = None;
        // Stored while it is being done. Only what will likely not be begun is not worth a write to flash.
        self.begin(now, op, action, Origin::Client, self.is_likely(action), out);
    }

    fn begin(
        &mut self,
        now: Mono,
        op: OpId,
        action: HostAction,
        origin: Origin,
        storing: bool,
        out: &mut Vec<Action>,
    ) {
        let intent = Intent { op, action, origin, attempt: 1, deadline: now + self.budget() };
        self.active = Some(Active {
            intent,
            since: now,
            begun: now,
            calling: true,
            applied: false,
            storing,
            stored: false,
            answered: origin != Origin::Client,
            again: None,
        });
        out.push(Action::Apply { op, action });
        if storing {
            out.push(Action::Persist(intent));
        }
    }

    fn is_likely(&self, action: HostAction) -> bool {
        match (self.status, action) {
            (Some(Status::Off), HostAction::On) => true,
            (Some(Status::Off), _) => false,
            (Some(Status::On), HostAction::On) => false,
            (Some(Status::On), _) => true,
            (_, HostAction::ForceOff) => true,
            (Some(Status::Transitioning | Status::Unknown) | None, _) => false,
        }
    }

    fn applied(&mut self, now: Mono, op: OpId, reply: Reply, out: &mut Vec<Action>) {
        let Some(active) = self.active.as_mut().filter(|active| active.intent.op == op) else { return };
        active.calling = false;
        match reply {
            Reply::Accepted => {
                active.applied = true;
                if !active.storing && !active.stored {
                    active.storing = true;
                    out.push(Action::Persist(active.intent));
                }
                self.answer_if_done(out);
            }
            Reply::Ended(outcome) => self.end(now, outcome, true, out),
            Reply::Already if !active.answered => {
                active.answered = true;
                out.push(Action::Answer(op, Answer::Already));
                self.drop_active(out);
            }
            Reply::Already => self.end(now, Outcome::Done, false, out),
            Reply::Denied if !active.answered => {
                active.answered = true;
                out.push(Action::Answer(op, Answer::Refused));
                self.drop_active(out);
            }
            // The policy is not a client who could decide anew, and a later attempt may meet the host in between states.
            Reply::Denied if active.intent.attempt < ATTEMPTS => {
                active.intent.attempt += 1;
                active.applied = false;
                active.again = Some(now + REFUSED_AGAIN);
            }
            Reply::Denied => self.end(now, Outcome::Failed(Failure::Refused), false, out),
            Reply::Unreachable => {
                self.status = None;
                active.again = Some(now + CALL_AGAIN);
            }
            // From here on it is as if the daemon had begun it and died: a look finds out. The wish is kept either way, so
            // the client is told that it is accepted once it is stored.
            Reply::Unknown => {
                self.status = None;
                active.applied = true;
                active.again = Some(now + CALL_AGAIN);
                if !active.storing && !active.stored {
                    active.storing = true;
                    out.push(Action::Persist(active.intent));
                }
                self.answer_if_done(out);
            }
        }
    }

    fn stored(&mut self, op: OpId, stored: bool, out: &mut Vec<Action>) {
        let Some(active) = self.active.as_mut().filter(|active| active.intent.op == op) else { return };
        active.storing = false;
        active.stored = stored;
        if stored {
            self.answer_if_done(out);
        } else if !active.answered {
            active.answered = true;
            out.push(Action::Answer(op, Answer::NotStored));
        }
    }

    /// "Accepted" is said when it is both begun and stored (I-4).
    fn answer_if_done(&mut self, out: &mut Vec<Action>) {
        if let Some(active) = &mut self.active
            && active.applied
            && active.stored
            && !active.answered
        {
            active.answered = true;
            out.push(Action::Answer(active.intent.op, Answer::Accepted));
        }
    }

    fn end(&mut self, now: Mono, outcome: Outcome, told: bool, out: &mut Vec<Action>) {
        let Some(active) = self.active else { return };
        if !active.answered {
            // It was done before its storing was confirmed; there is nothing left that could be lost.
            out.push(Action::Answer(active.intent.op, Answer::Accepted));
        }
        out.push(Action::Ended { intent: active.intent, outcome, told });
        self.drop_active(out);
        if is_off(active.intent.action) && outcome == Outcome::Done && self.off_at.is_some() {
            // Wished for, so it is the last state at once.
            self.off_at = Some(now);
        }
    }

    fn drop_active(&mut self, out: &mut Vec<Action>) {
        if let Some(active) = self.active.take()
            && (active.storing || active.stored)
        {
            out.push(Action::Forget(active.intent.op));
        }
    }

    fn observed(&mut self, now: Mono, status: Status, _out: &mut [Action]) {
        let before = self.status.replace(status);
        match status {
            Status::On => self.off_at = None,
            Status::Off if before != Some(Status::Off) && self.off_at.is_none() => {
                self.off_at = Some(now + OFF_SAVE);
            }
            Status::Off | Status::Transitioning | Status::Unknown => {}
        }
    }

    /// Compares the intent with what the power machine knows, after either side may have lost something.
    fn reconcile(&mut self, now: Mono, seen: Seen, out: &mut Vec<Action>) {
        let Some(active) = self.active else { return };
        if !active.applied || active.calling {
            return;
        }
        if let Some(active) = &mut self.active {
            active.again = None;
        }
        match seen.operation {
            Some((op, OpStatus::Running)) if op == active.intent.op => return,
            Some((op, OpStatus::Ended(outcome))) if op == active.intent.op => {
                return self.end(now, outcome, true, out);
            }
            _ => {}
        }
        // Lost: its daemon restarted. What is, decides what is left to do.
        let action = match (active.intent.action, seen.status) {
            (_, Status::Transitioning | Status::Unknown) => return,
            (HostAction::On, Status::On) | (HostAction::GracefulOff | HostAction::ForceOff, Status::Off) => {
                return self.end(now, Outcome::Done, false, out);
            }
            // It is delivered with the edge, before it is accepted.
            (HostAction::Nmi, _) => return self.end(now, Outcome::Done, false, out),
            // The first half is done.
            (
                HostAction::GracefulRestart | HostAction::ForceRestart | HostAction::PowerCycle,
                Status::Off,
            ) => HostAction::On,
            (action, _) => action,
        };
        // A short press may have been given before its daemon died. A second one would be the opposite wish to a host that
        // is about to come up or to go down, so the first gets the time to show.
        let short = matches!(action, HostAction::On | HostAction::GracefulOff | HostAction::GracefulRestart);
        let ripe = active.begun + self.settle;
        if short && now < ripe {
            if let Some(active) = &mut self.active {
                active.again = Some(ripe);
            }
            return;
        }
        if active.intent.attempt >= ATTEMPTS {
            return self.end(now, Outcome::Failed(Failure::Lost), false, out);
        }
        if let Some(active) = &mut self.active {
            active.intent.attempt += 1;
            active.begun = now;
            active.calling = true;
            // A restart of which only "on" is left is an "on" from now on: a later look must not begin it again.
            active.intent.action = action;
            out.push(Action::Apply { op: active.intent.op, action });
            out.push(Action::Persist(active.intent));
        }
    }

    /// While the host is to be switched on, by the policy or anybody, "off" is not what is to be remembered: mains may fail again before
    /// it is up.
    fn is_coming_up(&self) -> bool {
        self.restore.is_some() || self.active.is_some_and(|active| active.intent.action == HostAction::On)
    }

    fn can_restore(&self) -> bool {
        self.active.is_none() && !self.maintenance && matches!(self.status, Some(Status::Off | Status::On))
    }

    fn due(&mut self, now: Mono, out: &mut Vec<Action>) {
        if let Some(active) = &mut self.active {
            if active.intent.deadline <= now {
                let failure = if active.applied { Failure::Expired } else { Failure::Unreachable };
                if !active.answered {
                    active.answered = true;
                    out.push(Action::Answer(active.intent.op, Answer::Unreachable));
                }
                self.end(now, Outcome::Failed(failure), false, out);
            } else if !active.answered && active.since + ANSWER_WITHIN <= now {
                active.answered = true;
                let (op, applied) = (active.intent.op, active.applied);
                let answer = if applied { Answer::NotStored } else { Answer::Unreachable };
                out.push(Action::Answer(op, answer));
                if !applied {
                    // The client was told that it did not happen, so it must not happen later.
                    self.drop_active(out);
                }
            } else if active.again.is_some_and(|again| again <= now) {
                active.again = None;
                if active.applied {
                    out.push(Action::Look);
                } else {
                    active.begun = now;
                    active.calling = true;
                    out.push(Action::Apply { op: active.intent.op, action: active.intent.action });
                }
            }
        }
        if let Some(restore) = self.restore
            && restore.at <= now
            && self.can_restore()
        {
            self.restore = None;
            // A running host is never touched.
            if self.status == Some(Status::Off) {
                self.begin(now, restore.op, HostAction::On, restore.origin, true, out);
            }
        }
        let on = match self.status {
            Some(Status::On) => Some(true),
            _ if !self.is_coming_up() && self.off_at.is_some_and(|at| at <= now) => {
                self.off_at = None;
                Some(false)
            }
            _ => None,
        };
        if let Some(on) = on
            && self.remembered != Some(on)
        {
            self.remembered = Some(on);
            out.push(Action::Remember { on });
        }
    }
}

fn is_off(action: HostAction) -> bool {
    matches!(action, HostAction::GracefulOff | HostAction::ForceOff)
}

#[cfg(test)]
mod tests;
