//! What a host shall be: the intent behind each accepted request, reconciled with what is.
//!
//! The machine that presses buttons may die with everything it knows, and so may the daemon this machine lives in. An
//! intent outlives both: it is stored before its client is told "accepted", and it ends exactly once, by the result the
//! power machine reports, by the state found to be as wished, or by its deadline (I-1, I-4).
//!
//! Which of two clients wins is decided here and at once: one intent per host, and only a force-off replaces another. Who asks
//! for what is under way already joins it.
//!
//! A refusal has no effect. "It did not happen" is said only when no call is under way that could still make it happen, and what the
//! refused request would have replaced (a restore policy, another operation, its stored intent) is then as it was.

use units::{Millis, Mono};

use crate::Timings;
use crate::request::{Failure, HostAction, OpId, OpStatus, Outcome};
use crate::state::Status;

/// How long a client is kept waiting for a daemon that drives power to come back; no call is begun for it later. With the last call
/// the answer takes at most [`CALL_WITHIN`] longer, which is below the gateway's 10 s.
const ANSWER_WITHIN: Millis = Millis::from_secs(6);
/// How long one call to the daemon that drives power may take: it answers within milliseconds or not at all. The daemon refuses a
/// call that it reads later than that.
pub const CALL_WITHIN: Millis = Millis::new(1_500);
/// A call must have come back by this long after its end; a caller that loses one is told so here.
const CALL_GRACE: Millis = Millis::new(1_000);
/// Pause before a call that did not get through is made again. A killed daemon is back in about 200 ms.
const CALL_AGAIN: Millis = Millis::new(50);
/// Pause before a look that was not answered is taken again.
const LOOK_AGAIN: Millis = Millis::new(500);
/// Pause before a policy that waits for the end of a lock looks again.
const HELD_AGAIN: Millis = Millis::from_secs(5);
/// A look that was asked for and not heard of again is asked for anew.
const LOOK_LOST: Millis = Millis::from_secs(5);
/// How long an intent that was stored, and whose time is over, waits after a restart for a look that tells how it ended.
const LOOK_LATE: Millis = Millis::from_secs(10);
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
/// How many clients may wait for one operation, its own aside. Clients repeat a request once or twice; more are told that it is under way.
const JOINED_MAX: usize = 32;

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

/// Whether power is locked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Lock {
    /// It is not.
    #[default]
    Open,
    /// Somebody may have locked it: what is known of that was lost. Nothing is switched but off by force, which is for emergencies.
    Presumed,
    /// Somebody has locked it.
    Set,
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
    /// What was asked for.
    pub asked: HostAction,
    /// What is left to do: of a cycle whose first half is done it is "on".
    pub action: HostAction,
    /// Who wants it.
    pub origin: Origin,
    /// How often it has been begun.
    pub attempt: u32,
    /// When it must have ended.
    pub deadline: Mono,
    /// The host was off when it was asked for, as far as known. An "off" that is found later is then no half of a restart.
    pub was_off: bool,
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
    /// Nobody got it, and nobody will.
    Unreachable,
    /// There was no answer: it may have been begun or not, but is not begun any more after the call's end.
    Unknown,
}

/// What is told to the client of a request. Exactly once per request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Under way and stored.
    Accepted,
    /// As [`Answer::Accepted`], by this operation, which somebody asked for before.
    Joined(OpId),
    /// Already so.
    Already,
    /// Another operation is in the way.
    Busy(OpId),
    /// Power is locked while firmware is updated.
    Maintenance,
    /// The daemon that drives power refused this operation; the shell has its reason.
    Refused(OpId),
    /// A force-off took over before it began.
    Superseded(OpId),
    /// The daemon that drives power did not answer in time.
    Unreachable,
    /// It is under way as this operation, and could not be stored: a restart may forget it. No refusal: it takes effect.
    NotStored(OpId),
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
    Applied {
        /// The operation.
        op: OpId,
        /// Number of the call.
        call: u64,
        /// The answer.
        reply: Reply,
    },
    /// An [`Action::Persist`] of this intent ended, well or not.
    Stored(OpId, bool),
    /// The host's status changed.
    Status(Status),
    /// The power machine told how an operation ended.
    Finished(OpId, Outcome),
    /// The power machine has done an operation that switches off and that was not asked for here, such as the cut of a host that is too hot.
    Cut,
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
    Maintenance(Lock),
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
        /// What to do, which need not be what was asked for: half of it may be done already.
        action: HostAction,
        /// Number of the call. Each is one message: it is not repeated by whoever makes it, so calls arrive in the order in which
        /// they were asked for.
        call: u64,
        /// When the call ends. What is read later is not begun.
        until: Mono,
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

/// What an intent that was stored may still make happen after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resumed {
    /// Whatever it wishes: the controller has been up all the time.
    SameBoot,
    /// The controller has booted since. A running host is not touched because of that (I-2): what is left of the intent is done only
    /// if it is to switch on.
    OtherBoot,
    /// Nothing: its time is over. A look tells how it ended.
    Expired,
}

/// A call under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Call {
    number: u64,
    until: Mono,
}

/// How far an intent has come.
#[derive(Debug, Clone)]
struct Active {
    intent: Intent,
    since: Mono,
    /// When it was last begun.
    begun: Mono,
    calling: Option<Call>,
    /// The power machine has it, as far as known: a look tells about it. Otherwise it is to be called.
    applied: bool,
    /// It was begun, or may have been: nobody may be told that it did not happen.
    maybe: bool,
    /// It is known to have been begun.
    taken: bool,
    storing: bool,
    stored: bool,
    /// Something of it may be in the store, whatever was answered.
    persisted: bool,
    answered: bool,
    /// More clients who wait for the answer, the first of them since then.
    joined: Vec<OpId>,
    joined_at: Mono,
    again: Option<Mono>,
    /// `None` when it was asked for in this life.
    resumed: Option<Resumed>,
}

impl Active {
    /// Says to all who wait what became of their request; to those who joined, of whose operation.
    fn answer(&mut self, answer: Answer, out: &mut Vec<Action>) {
        let op = self.intent.op;
        if !self.answered {
            self.answered = true;
            out.push(Action::Answer(op, answer));
        }
        let joined = if answer == Answer::Accepted { Answer::Joined(op) } else { answer };
        out.extend(self.joined.drain(..).map(|client| Action::Answer(client, joined)));
    }

    fn waits(&self) -> bool {
        !self.answered || !self.joined.is_empty()
    }

    /// "Accepted" is said when it is both begun and stored (I-4); when it cannot be stored, that is said, as it is under way all the same.
    fn answer_if_known(&mut self, out: &mut Vec<Action>) {
        if self.maybe && !self.storing && self.waits() {
            let op = self.intent.op;
            self.answer(if self.stored { Answer::Accepted } else { Answer::NotStored(op) }, out);
        }
    }

    fn persist(&mut self, out: &mut Vec<Action>) {
        self.storing = true;
        self.persisted = true;
        out.push(Action::Persist(self.intent));
    }

    fn call(&mut self, now: Mono, number: u64, out: &mut Vec<Action>) {
        let until = (now + CALL_WITHIN).min(self.intent.deadline);
        self.begun = now;
        self.again = None;
        self.calling = Some(Call { number, until });
        out.push(Action::Apply { op: self.intent.op, action: self.intent.action, call: number, until });
    }

    /// When its clients are to be answered although it is not known to be begun and stored.
    fn answer_at(&self) -> Option<Mono> {
        let since = if self.answered { self.joined_at } else { self.since };
        self.waits().then(|| since + ANSWER_WITHIN)
    }

    fn deadline(&self) -> Option<Mono> {
        match self.calling {
            // Nothing is decided while it could still be begun.
            Some(call) => Some(call.until + CALL_GRACE),
            None => [Some(self.intent.deadline), self.again, self.answer_at()].into_iter().flatten().min(),
        }
    }
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
    /// The longest an operation takes, and one that does not wait for an operating system.
    longest: Millis,
    forced: Millis,
    settle: Millis,
    status: Option<Status>,
    /// The status as it was last known, however long ago.
    last_status: Option<Status>,
    active: Option<Active>,
    /// What a force-off is about to replace. It comes back when the force-off is refused.
    replaced: Option<Active>,
    calls: u64,
    lock: Lock,
    restore: Option<Restore>,
    /// The client's intent that has taken the policy's place.
    overruled: Option<OpId>,
    remembered: Option<bool>,
    /// When "off" becomes the remembered state.
    off_at: Option<Mono>,
}

impl Desired {
    /// Nothing is known and nothing is wished.
    pub fn new(timings: &Timings) -> Self {
        let forced = Timings { graceful_off_timeout: Millis::ZERO, ..*timings };
        Self {
            longest: timings.longest_operation(),
            forced: forced.longest_operation(),
            settle: timings.press + timings.power_good_timeout,
            status: None,
            last_status: None,
            active: None,
            replaced: None,
            calls: 0,
            lock: Lock::Open,
            restore: None,
            overruled: None,
            remembered: None,
            off_at: None,
        }
    }

    /// Takes up a stored intent after a restart, and after [`Event::MainsRestored`] if there is one. What became of it is found out by
    /// the first look.
    pub fn resume(&mut self, now: Mono, intent: Intent, resumed: Resumed) {
        if is_off(intent.action) {
            // It was the last wish: the loss of mains only was faster than the host.
            self.restore.take_if(|restore| restore.origin == Origin::PolicyRestore);
        }
        if intent.origin != Origin::Client {
            // The policy has acted already; it died before it could say so.
            self.restore = None;
        }
        let resumed = if intent.deadline <= now { Resumed::Expired } else { resumed };
        let deadline = match resumed {
            Resumed::Expired => now + LOOK_LATE,
            Resumed::SameBoot | Resumed::OtherBoot => {
                intent.deadline.min(now + self.budget(intent.asked, intent.origin))
            }
        };
        self.active = Some(Active {
            intent: Intent { deadline, ..intent },
            since: now,
            begun: now,
            calling: None,
            applied: true,
            maybe: true,
            taken: false,
            storing: false,
            stored: true,
            persisted: true,
            answered: true,
            joined: Vec::new(),
            joined_at: now,
            again: None,
            resumed: Some(resumed),
        });
    }

    /// The active intent.
    pub fn intent(&self) -> Option<&Intent> {
        self.active.as_ref().map(|active| &active.intent)
    }

    /// Whether this operation has not ended: it is the active intent, or one that a force-off is about to replace.
    pub fn is_open(&self, op: OpId) -> bool {
        [self.active.as_ref(), self.replaced.as_ref()].into_iter().flatten().any(|one| one.intent.op == op)
    }

    /// The status, as far as known: `None` while the power machine is out of reach.
    pub fn status(&self) -> Option<Status> {
        self.status
    }

    /// Whether the restore policy still has to act after a loss of mains power: its operation is neither known to be begun nor stored so that
    /// it is taken up again. To be kept over restarts until it is not.
    pub fn is_restoring(&self) -> bool {
        let acts = |active: &Active| {
            active.intent.origin != Origin::Client && !active.taken && !(active.maybe && active.stored)
        };
        // What overrules it is stored first: a controller that dies in between would have neither.
        let overrules = |active: &Active| active.storing && self.overruled == Some(active.intent.op);
        self.restore.is_some()
            || [&self.active, &self.replaced]
                .into_iter()
                .flatten()
                .any(|active| acts(active) || overrules(active))
    }

    /// Whether power is locked.
    pub fn in_maintenance(&self) -> bool {
        self.lock != Lock::Open
    }

    /// How long an intent may take, restarts of the daemons included.
    pub fn budget(&self, asked: HostAction, origin: Origin) -> Millis {
        let graceful = matches!(asked, HostAction::GracefulOff | HostAction::GracefulRestart);
        // Nobody asks a second time for what a policy owes.
        let longest = if graceful || origin != Origin::Client { self.longest } else { self.forced };
        longest + MARGIN
    }

    /// When to call [`Desired::step`] with [`Event::Deadline`] at the latest.
    pub fn deadline(&self) -> Option<Mono> {
        let active = self.active.as_ref().and_then(Active::deadline);
        let replaced = self.replaced.as_ref().and_then(|replaced| match replaced.calling {
            Some(_) => replaced.deadline(),
            None => [Some(replaced.intent.deadline), replaced.answer_at()].into_iter().flatten().min(),
        });
        let restore = self.restore.filter(|_| self.can_restore()).map(|restore| restore.at);
        let off = self.off_at.filter(|_| !self.is_coming_up());
        [active, replaced, restore, off].into_iter().flatten().min()
    }

    /// Lets `event` happen at `now`.
    pub fn step(&mut self, now: Mono, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Request { op, action } => self.request(now, op, action, out),
            Event::Applied { op, call, reply } => self.applied(now, op, call, reply, out),
            Event::Stored(op, stored) => self.stored(op, stored, out),
            Event::Status(status) => self.observed(now, status),
            Event::Finished(op, outcome) => {
                if let Some(active) = self.active.as_mut().filter(|active| active.intent.op == op) {
                    active.maybe = true;
                    self.decided(out);
                    self.end(now, outcome, true, out);
                } else if let Some(mut replaced) = self.replaced.take_if(|replaced| replaced.intent.op == op)
                {
                    // However it ended, it was begun.
                    replaced.answer(Answer::Accepted, out);
                    self.forget_replaced(&replaced, out);
                    out.push(Action::Ended { intent: replaced.intent, outcome, told: true });
                }
            }
            Event::Cut => {
                // Somebody decided it, so it is the last state at once, and no policy undoes it.
                self.restore = None;
                if self.off_at.is_some() {
                    self.off_at = Some(now);
                }
            }
            Event::Look(None) => {
                self.status = None;
                if let Some(active) =
                    self.active.as_mut().filter(|active| active.applied && active.calling.is_none())
                {
                    active.again = Some(now + LOOK_AGAIN);
                }
            }
            Event::Look(Some(seen)) => {
                self.observed(now, seen.status);
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
            Event::Maintenance(lock) => self.lock = lock,
            Event::Deadline => {}
        }
        self.due(now, out);
    }

    /// Whether the lock keeps this from being begun.
    fn is_locked(&self, action: HostAction) -> bool {
        match self.lock {
            Lock::Open => false,
            Lock::Presumed => action != HostAction::ForceOff,
            Lock::Set => true,
        }
    }

    /// Whether a call is under way that may still make something happen. Under a lock no other one follows.
    pub fn is_calling(&self) -> bool {
        [&self.active, &self.replaced].into_iter().flatten().any(|active| active.calling.is_some())
    }

    /// What waits to be begun, or to be begun anew, while power is locked: a client is refused if nothing of it can have happened, else it
    /// has failed; a policy waits until power is not locked any more.
    fn hold(&mut self, now: Mono, out: &mut Vec<Action>) {
        let Some(active) = self.active.as_ref().filter(|active| active.calling.is_none()) else { return };
        let budget = self.budget(active.intent.asked, active.intent.origin);
        let Some(active) = &mut self.active else { return };
        if active.intent.origin != Origin::Client && !active.taken {
            active.answer(Answer::Maintenance, out);
            if !active.maybe {
                let restore = Restore { at: now, op: active.intent.op, origin: active.intent.origin };
                self.drop_active(out);
                self.restore = Some(restore);
                return;
            }
            // It is stored, and taken up from there after a restart.
            active.again = Some(now + HELD_AGAIN);
            if active.intent.deadline < now + Millis::new(budget.get() / 2) {
                active.intent.deadline = now + budget;
                active.persist(out);
            }
        } else if active.maybe || active.answered {
            self.end(now, Outcome::Failed(Failure::Locked), false, out);
        } else {
            self.refuse(Answer::Maintenance, now, out);
        }
    }

    fn request(&mut self, now: Mono, op: OpId, action: HostAction, out: &mut Vec<Action>) {
        if self.is_locked(action) {
            out.push(Action::Answer(op, Answer::Maintenance));
            return;
        }
        let Some(active) = &mut self.active else {
            // Stored once it is taken: what is refused never reaches the store, from which it could come true after a loss of power.
            self.begin(now, op, action, Origin::Client, false, out);
            return;
        };
        if action == active.intent.asked && active.joined.len() < JOINED_MAX {
            // The same wish again: there is one intent, and whoever shares it gets its answer.
            if active.joined.is_empty() {
                active.joined_at = now;
            }
            active.joined.push(op);
            active.answer_if_known(out);
            return;
        }
        if action != HostAction::ForceOff || active.intent.asked == HostAction::ForceOff {
            out.push(Action::Answer(op, Answer::Busy(active.intent.op)));
            return;
        }
        // What it replaces goes on until the force-off is known to be taken, and is stored as before until then.
        self.replaced = self.active.take();
        self.begin(now, op, action, Origin::Client, false, out);
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
        let deadline = now + self.budget(action, origin);
        let was_off = self.last_status == Some(Status::Off);
        let mut active = Active {
            intent: Intent { op, asked: action, action, origin, attempt: 1, deadline, was_off },
            since: now,
            begun: now,
            calling: None,
            applied: false,
            maybe: false,
            taken: false,
            storing: false,
            stored: false,
            persisted: false,
            answered: origin != Origin::Client,
            joined: Vec::new(),
            joined_at: now,
            again: None,
            resumed: None,
        };
        self.calls += 1;
        active.call(now, self.calls, out);
        if storing {
            active.persist(out);
        }
        self.active = Some(active);
    }

    fn applied(&mut self, now: Mono, op: OpId, call: u64, reply: Reply, out: &mut Vec<Action>) {
        let answers = |active: &Active| {
            active.intent.op == op && active.calling.is_some_and(|calling| calling.number == call)
        };
        if self.active.as_ref().is_some_and(answers) {
            self.active_applied(now, op, reply, out);
        } else if let Some(mut replaced) = self.replaced.take_if(|replaced| answers(replaced)) {
            if replaced_applied(&mut replaced, op, reply, out) {
                self.replaced = Some(replaced);
            } else {
                self.forget_replaced(&replaced, out);
            }
        }
    }

    fn active_applied(&mut self, now: Mono, op: OpId, reply: Reply, out: &mut Vec<Action>) {
        let Some(active) = &mut self.active else { return };
        active.calling = None;
        match reply {
            // From "unknown" on it is as if the daemon had begun it and died: a look finds out. The wish is kept either way, so
            // the client is told that it is accepted once it is stored.
            Reply::Accepted | Reply::Unknown => {
                active.applied = true;
                active.maybe = true;
                active.taken |= reply == Reply::Accepted;
                if reply == Reply::Unknown {
                    active.again = Some(now + CALL_AGAIN);
                    self.status = None;
                }
                self.decided(out);
                if let Some(active) = &mut self.active {
                    if !active.storing && !active.stored {
                        active.persist(out);
                    }
                    active.answer_if_known(out);
                }
            }
            Reply::Ended(outcome) => {
                active.maybe = true;
                self.decided(out);
                self.end(now, outcome, true, out);
            }
            Reply::Already if active.maybe || active.answered => {
                active.maybe = true;
                self.decided(out);
                self.end(now, Outcome::Done, false, out);
            }
            Reply::Already => {
                self.decided(out);
                self.refuse(Answer::Already, now, out);
            }
            Reply::Denied if !active.maybe && !active.answered => self.refuse(Answer::Refused(op), now, out),
            // The policy is not a client who could decide anew, and a later attempt may meet the host in between states.
            Reply::Denied if active.intent.attempt < ATTEMPTS => {
                active.intent.attempt += 1;
                active.applied = false;
                active.again = Some(now + REFUSED_AGAIN);
            }
            Reply::Denied => self.end(now, Outcome::Failed(Failure::Refused), false, out),
            Reply::Unreachable => {
                self.status = None;
                // Begun before: a look finds out what is left to do.
                active.applied = active.maybe;
                active.again = Some(now + CALL_AGAIN);
            }
        }
    }

    /// A client's request counts from here on: what it replaces is over, and so is the policy, as somebody has decided.
    fn decided(&mut self, out: &mut Vec<Action>) {
        // By the policy itself, by its operation, or by what has overruled it and is not stored yet.
        let owed = self.is_restoring();
        let Some(active) = &mut self.active else { return };
        if active.intent.origin == Origin::Client && active.resumed.is_none() {
            self.restore = None;
            if owed {
                self.overruled = Some(active.intent.op);
            }
        }
        if let Some(mut replaced) = self.replaced.take() {
            let op = active.intent.op;
            // A press may have been given already, or be given by a call whose answer is still on its way: then that it was taken over is its
            // end, and no refusal.
            let maybe = replaced.maybe || replaced.calling.is_some();
            let answer = match (maybe, replaced.stored) {
                (true, true) => Answer::Accepted,
                // Neither it nor its successor is stored yet.
                (true, false) => Answer::NotStored(replaced.intent.op),
                (false, _) => Answer::Superseded(op),
            };
            replaced.answer(answer, out);
            active.persisted |= replaced.persisted;
            let (intent, outcome) = (replaced.intent, Outcome::Superseded(op));
            out.push(Action::Ended { intent, outcome, told: maybe });
        }
    }

    /// The active request is answered and leaves nothing behind; what it would have replaced goes on.
    fn refuse(&mut self, answer: Answer, now: Mono, out: &mut Vec<Action>) {
        if let Some(active) = &mut self.active {
            active.answer(answer, out);
        }
        self.drop_active(out);
        self.active = self.replaced.take().map(|mut replaced| {
            if replaced.calling.is_none() {
                replaced.again = Some(now);
            }
            replaced
        });
    }

    fn stored(&mut self, op: OpId, stored: bool, out: &mut Vec<Action>) {
        let both = [self.active.as_mut(), self.replaced.as_mut()];
        if let Some(active) = both.into_iter().flatten().find(|active| active.intent.op == op) {
            active.storing = false;
            active.stored = stored;
            active.answer_if_known(out);
        }
    }

    fn end(&mut self, now: Mono, outcome: Outcome, told: bool, out: &mut Vec<Action>) {
        let Some(active) = &mut self.active else { return };
        // It was done before its storing was confirmed; there is nothing left that could be lost.
        active.answer(if active.maybe { Answer::Accepted } else { Answer::Unreachable }, out);
        let intent = active.intent;
        // Before it is told, so that an end that was told is not stored as open.
        self.drop_active(out);
        out.push(Action::Ended { intent, outcome, told });
        if is_off(intent.action) && outcome == Outcome::Done && self.off_at.is_some() {
            // Wished for, so it is the last state at once.
            self.off_at = Some(now);
        }
    }

    fn drop_active(&mut self, out: &mut Vec<Action>) {
        if let Some(active) = self.active.take()
            && active.persisted
        {
            out.push(Action::Forget(active.intent.op));
        }
    }

    /// What was to be replaced has ended by itself. Its stored form goes, unless its successor's has taken the place.
    fn forget_replaced(&self, replaced: &Active, out: &mut Vec<Action>) {
        if replaced.persisted && self.active.as_ref().is_none_or(|active| !active.persisted) {
            out.push(Action::Forget(replaced.intent.op));
        }
    }

    fn observed(&mut self, now: Mono, status: Status) {
        let before = self.status.replace(status);
        self.last_status = Some(status);
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
        let Some(active) = &mut self.active else { return };
        if !active.applied || active.calling.is_some() {
            return;
        }
        active.again = None;
        match seen.operation {
            Some((op, OpStatus::Running)) if op == active.intent.op => {
                active.taken = true;
                return;
            }
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
            // It is delivered with the edge, before it is accepted. Of one that may have been refused the power machine knows what became.
            (HostAction::Nmi, _) if active.taken => return self.end(now, Outcome::Done, false, out),
            // The first half is done. Of a host that was off all the time nothing is: it is asked for again, and refused.
            (
                HostAction::GracefulRestart | HostAction::ForceRestart | HostAction::PowerCycle,
                Status::Off,
            ) if !active.intent.was_off => HostAction::On,
            (action, _) => action,
        };
        match active.resumed {
            None | Some(Resumed::SameBoot) => {}
            Some(Resumed::OtherBoot) if action == HostAction::On => {}
            Some(Resumed::OtherBoot) => return self.end(now, Outcome::Failed(Failure::Lost), false, out),
            Some(Resumed::Expired) => return self.end(now, Outcome::Failed(Failure::Expired), false, out),
        }
        // A short press may have been given before its daemon died. A second one would be the opposite wish to a host that
        // is about to come up or to go down, so the first gets the time to show.
        let short = matches!(action, HostAction::On | HostAction::GracefulOff | HostAction::GracefulRestart);
        let ripe = active.begun + self.settle;
        if short && now < ripe {
            active.again = Some(ripe);
            return;
        }
        if active.intent.attempt >= ATTEMPTS {
            return self.end(now, Outcome::Failed(Failure::Lost), false, out);
        }
        if active.intent.deadline <= now {
            return;
        }
        if self.is_locked(action) {
            return self.hold(now, out);
        }
        let Some(active) = &mut self.active else { return };
        active.intent.attempt += 1;
        // A restart of which only "on" is left is an "on" from now on: a later look must not begin it again.
        active.intent.action = action;
        self.calls += 1;
        active.call(now, self.calls, out);
        active.persist(out);
    }

    /// While the host is to be switched on, by the policy or anybody, "off" is not what is to be remembered: mains may fail again before
    /// it is up.
    fn is_coming_up(&self) -> bool {
        self.restore.is_some()
            || self.active.as_ref().is_some_and(|active| active.intent.action == HostAction::On)
    }

    fn can_restore(&self) -> bool {
        self.active.is_none()
            && !self.in_maintenance()
            && matches!(self.status, Some(Status::Off | Status::On))
    }

    fn due(&mut self, now: Mono, out: &mut Vec<Action>) {
        self.active_due(now, out);
        self.replaced_due(now, out);
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

    fn active_due(&mut self, now: Mono, out: &mut Vec<Action>) {
        let Some(active) = &mut self.active else { return };
        let op = active.intent.op;
        match active.calling {
            Some(call) if call.until + CALL_GRACE <= now => self.active_applied(now, op, Reply::Unknown, out),
            Some(_) => return,
            None => {}
        }
        let is_locked = self.active.as_ref().is_some_and(|active| self.is_locked(active.intent.action));
        let Some(active) = &mut self.active else { return };
        if active.intent.deadline <= now {
            let failure = if active.maybe { Failure::Expired } else { Failure::Unreachable };
            self.end(now, Outcome::Failed(failure), false, out);
        } else if active.answer_at().is_some_and(|at| at <= now) {
            if active.maybe {
                active.answer(Answer::NotStored(op), out);
            } else if active.answered {
                // The policy keeps trying; who joined it is not kept waiting for that.
                active.answer(Answer::Busy(op), out);
            } else {
                // No call is under way, and none will be: it does not happen later either.
                self.refuse(Answer::Unreachable, now, out);
            }
        } else if !active.applied && is_locked {
            self.hold(now, out);
        } else if active.again.is_some_and(|again| again <= now) {
            if active.applied {
                active.again = Some(now + LOOK_LOST);
                out.push(Action::Look);
            } else {
                self.calls += 1;
                active.call(now, self.calls, out);
            }
        }
    }

    /// What is to be replaced is not called again, but its clients are not kept waiting and it does not outlast its time.
    fn replaced_due(&mut self, now: Mono, out: &mut Vec<Action>) {
        let Some(mut replaced) = self.replaced.take() else { return };
        let op = replaced.intent.op;
        let mut stays = true;
        if replaced.calling.is_some_and(|call| call.until + CALL_GRACE <= now) {
            stays = replaced_applied(&mut replaced, op, Reply::Unknown, out);
        }
        if stays && replaced.calling.is_none() {
            if replaced.intent.deadline <= now {
                replaced.answer(if replaced.maybe { Answer::Accepted } else { Answer::Unreachable }, out);
                let (intent, outcome) = (replaced.intent, Outcome::Failed(Failure::Expired));
                out.push(Action::Ended { intent, outcome, told: false });
                stays = false;
            } else if replaced.answer_at().is_some_and(|at| at <= now) {
                if replaced.maybe {
                    replaced.answer(Answer::NotStored(replaced.intent.op), out);
                } else {
                    replaced.answer(Answer::Unreachable, out);
                    stays = false;
                }
            }
        }
        if stays {
            self.replaced = Some(replaced);
        } else {
            self.forget_replaced(&replaced, out);
        }
    }
}

/// The answer to the last call of an intent that a force-off is about to replace. Whether it goes on.
fn replaced_applied(replaced: &mut Active, op: OpId, reply: Reply, out: &mut Vec<Action>) -> bool {
    replaced.calling = None;
    match reply {
        Reply::Accepted | Reply::Unknown => {
            replaced.applied = true;
            replaced.maybe = true;
            replaced.taken |= reply == Reply::Accepted;
            if !replaced.storing && !replaced.stored {
                replaced.persist(out);
            }
            replaced.answer_if_known(out);
            true
        }
        Reply::Ended(outcome) => {
            replaced.answer(Answer::Accepted, out);
            out.push(Action::Ended { intent: replaced.intent, outcome, told: true });
            false
        }
        Reply::Already | Reply::Denied if !replaced.maybe && !replaced.answered => {
            replaced.answer(if reply == Reply::Already { Answer::Already } else { Answer::Refused(op) }, out);
            false
        }
        Reply::Already | Reply::Denied => {
            replaced.applied = true;
            true
        }
        Reply::Unreachable => true,
    }
}

fn is_off(action: HostAction) -> bool {
    matches!(action, HostAction::GracefulOff | HostAction::ForceOff)
}

#[cfg(test)]
mod tests;
