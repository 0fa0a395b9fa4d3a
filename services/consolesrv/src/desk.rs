//! One console: what its port, its sessions and its log share.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use data_encoding::HEXLOWER;
use serial::frame::Notice;
use serial::{
    Allowances, Audit, Batch, Holder, Log, Outgoing, RING, Rate, Redaction, Refused, Ring, SessionId,
    Sessions, Typed,
};
use service::Clock;
use tokio::sync::{Notify, watch};
use units::Mono;

/// What may be logged of one console: two boots of a chatty server at once, and then 22 MB a day.
const LOG_RATE: Rate = Rate { burst: 128 * 1024, per_second: 256 };
/// What is said to who does too often what makes an event.
pub(crate) const TOO_OFTEN: &str = "take-overs and breaks are too many: one more is let through each 10 s";
/// A port that took nothing of what is to be written for this time does not take it: who types is told so. 4 KiB at 9600 bit/s take 4.3 s.
const STUCK: Duration = Duration::from_secs(5);
/// A break waits so long for what was typed before it.
const BREAK_AFTER: Duration = Duration::from_secs(1);

/// What is kept on the medium of a console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// What the host prints.
    Printed,
    /// What is typed, where that is kept.
    Typed,
}

/// What all share, under a lock that nobody holds while he waits.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) ring: Ring,
    pub(crate) sessions: Sessions,
    log: Log,
    /// What is kept of what is typed, where it is.
    audit: Option<Audit>,
    pub(crate) outgoing: Outgoing,
    pub(crate) allowances: Allowances,
    /// Of those who come and go: each time is told, and kept on flash.
    comings: Allowances,
    /// The port does not take what is typed.
    stuck: bool,
    pub(crate) connected: bool,
    pub(crate) fault: String,
}

impl State {
    /// The lines to be written now, if it is time.
    pub(crate) fn take(&mut self, what: Kept, now: Mono) -> Option<Batch> {
        match what {
            Kept::Printed => self.log.take(now),
            Kept::Typed => self.audit.as_mut()?.take(now),
        }
    }

    /// When there are some without more coming.
    pub(crate) fn due(&self, what: Kept) -> Option<Mono> {
        match what {
            Kept::Printed => self.log.due(),
            Kept::Typed => self.audit.as_ref()?.due(),
        }
    }

    /// All that there is: the daemon ends.
    pub(crate) fn finish(&mut self, what: Kept, now: Mono) -> Option<Batch> {
        match what {
            Kept::Printed => self.log.finish(now),
            Kept::Typed => self.audit.as_mut()?.finish(now),
        }
    }
}

/// One console.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) name: String,
    /// In which the ring's bytes are counted: another each time the daemon starts.
    pub(crate) run: String,
    pub(crate) clock: Clock,
    state: Mutex<State>,
    /// Counts changes of the state.
    changed: watch::Sender<u64>,
    /// Something is there to be written.
    more: Notify,
    /// What is to be written has changed.
    room: Notify,
}

impl Desk {
    /// A console, whose port is not open yet.
    #[cfg(test)]
    pub(crate) fn new(name: &str, clock: Clock) -> Self {
        Self::audited(name, clock, None)
    }

    /// One where what is typed is kept, but for what `redaction` says.
    pub(crate) fn audited(name: &str, clock: Clock, redaction: Option<Redaction>) -> Self {
        let state = State {
            ring: Ring::new(RING),
            sessions: Sessions::default(),
            log: Log::new(LOG_RATE),
            audit: redaction.map(Audit::new),
            outgoing: Outgoing::default(),
            allowances: Allowances::default(),
            comings: Allowances::default(),
            stuck: false,
            connected: false,
            fault: "it is not open yet".to_owned(),
        };
        Self {
            name: name.to_owned(),
            run: run(clock),
            clock,
            state: Mutex::new(state),
            changed: watch::Sender::new(0),
            more: Notify::new(),
            room: Notify::new(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes who looks at it.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
        result
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The host printed something.
    pub(crate) fn printed(&self, bytes: &[u8]) {
        let (now, wall) = (self.clock.now(), self.wall());
        self.change(|state| {
            state.ring.push(bytes);
            state.log.push(bytes, now, wall);
            if let Some(audit) = &mut state.audit {
                audit.printed(bytes);
            }
        });
    }

    /// Something about the port that who looks here and who reads the log later has to know. It stands in both, on a line of its own.
    pub(crate) fn mark(&self, text: &str) {
        let (now, wall) = (self.clock.now(), self.wall());
        let line = format!("[{text}]");
        self.change(|state| {
            state.ring.push(format!("\r\n{line}\r\n").as_bytes());
            // What the host printed before it is a line, whether it ended or not.
            state.log.push(b"\n", now, wall);
            state.log.put(line.as_bytes(), now, wall);
        });
    }

    /// The keyboard is nobody's.
    pub(crate) fn free(&self) {
        let now = self.clock.now();
        self.change(|state| {
            if let Some(writer) = state.sessions.writer() {
                state.sessions.release(writer);
            }
            if let Some(audit) = &mut state.audit {
                audit.end(now);
            }
        });
    }

    /// The port is open. What was typed before is for nobody.
    pub(crate) fn opened(&self) {
        self.change(|state| {
            state.outgoing.clear();
            state.stuck = false;
            state.connected = true;
            state.fault.clear();
        });
    }

    /// The port is not open; whether for another reason than before.
    pub(crate) fn closed(&self, fault: &str) -> bool {
        let is_new = self.change(|state| {
            state.outgoing.clear();
            state.connected = false;
            let is_new = state.fault != fault;
            fault.clone_into(&mut state.fault);
            is_new
        });
        self.room.notify_waiters();
        is_new
    }

    /// Whether what this session types can reach the host: it may type, and there is a port.
    ///
    /// # Errors
    /// What the client is told.
    pub(crate) fn may_type(&self, id: SessionId) -> Result<(), String> {
        let state = self.lock();
        state.sessions.may_type(id).map_err(|refused| refused.to_string())?;
        if state.connected { Ok(()) } else { Err("the port is not open".to_owned()) }
    }

    /// Whether it is told that this account comes, and how often before it was not. `is_new` is false for what is asked again.
    pub(crate) fn is_told(&self, account: &str, is_new: bool) -> Option<u32> {
        let now = self.clock.now();
        self.lock().comings.tell(account, is_new, now)
    }

    /// A session that has not the keyboard types: a free one is its from now on.
    ///
    /// # Errors
    /// [`Refused`]
    pub(crate) fn typed(&self, id: SessionId) -> Result<(), Refused> {
        self.change(|state| {
            state.sessions.typed(id)?;
            if state.stuck {
                // Who had it before has left it to a port that took nothing: that is not what the next one begins with.
                state.outgoing.keep_only(id);
            }
            Ok(())
        })?;
        self.room.notify_waiters();
        Ok(())
    }

    /// Gives the keyboard to a session; who had it, if somebody else did. What that one typed and the host has not got is not what it reads next.
    ///
    /// # Errors
    /// What the client is told.
    pub(crate) fn take_over(&self, id: SessionId, username: &str) -> Result<Option<String>, String> {
        let now = self.clock.now();
        let from = self.change(|state| {
            let from = state.sessions.writer().filter(|from| *from != id);
            // Who may not at all is told that, and spends nothing.
            if from.is_some() && state.sessions.may_write(id) && !state.allowances.take(username, now) {
                return Err(TOO_OFTEN.to_owned());
            }
            state.sessions.take_over(id).map_err(|refused| refused.to_string())?;
            Ok(from.map(|from| {
                if let Some(audit) = &mut state.audit {
                    audit.end(now);
                }
                state.outgoing.keep_only(id);
                state.sessions.who(from).to_owned()
            }))
        })?;
        self.room.notify_waiters();
        Ok(from)
    }

    /// Hands over what the session that has the keyboard types. Waits for room while the port takes some, and no longer: its socket has to be read.
    ///
    /// # Errors
    /// What the client is told: it does not reach the host.
    pub(crate) async fn send(&self, id: SessionId, mut typed: Typed) -> Result<(), String> {
        let mut room = std::pin::pin!(self.room.notified());
        loop {
            room.as_mut().enable();
            {
                let mut state = self.lock();
                if !state.connected {
                    return Err("the port is not open".to_owned());
                }
                if let Some(writer) = state.sessions.writer().filter(|writer| *writer != id) {
                    return Err(Refused::Busy(state.sessions.who(writer).to_owned()).to_string());
                }
                if state.stuck && matches!(typed, Typed::Bytes(_)) {
                    return Err("the host does not take what is typed".to_owned());
                }
                let kept = match (&state.audit, &typed) {
                    (Some(_), Typed::Bytes(bytes)) => bytes.clone(),
                    _ => Vec::new(),
                };
                match state.outgoing.push(id, typed) {
                    Ok(()) => {
                        let has_ended = self.keep_typed(&mut state, id, &kept);
                        drop(state);
                        self.more.notify_one();
                        if has_ended {
                            self.changed.send_modify(|count| *count = count.wrapping_add(1));
                        }
                        return Ok(());
                    }
                    Err(back) => typed = back,
                }
            }
            room.as_mut().await;
            room.set(self.room.notified());
        }
    }

    /// Takes down what a session typed, where that is kept; whether lines ended.
    fn keep_typed(&self, state: &mut State, id: SessionId, bytes: &[u8]) -> bool {
        let State { audit, sessions, .. } = state;
        let Some(audit) = audit.as_mut().filter(|_| !bytes.is_empty()) else { return false };
        let account = sessions.account(id);
        // As the others are told who it is: the account, and where from in brackets.
        let address = sessions.who(id).strip_prefix(account).unwrap_or_default();
        audit.typed(
            id,
            [account, address.trim_matches([' ', '(', ')'])],
            bytes,
            self.clock.now(),
            self.wall(),
        )
    }

    /// Whether what is typed here is kept.
    pub(crate) fn is_audited(&self) -> bool {
        self.lock().audit.is_some()
    }

    /// A session gives back the keyboard, if it has it.
    pub(crate) fn release(&self, id: SessionId) {
        let now = self.clock.now();
        self.change(|state| {
            if state.sessions.release(id).is_some()
                && let Some(audit) = &mut state.audit
            {
                audit.end(now);
            }
        });
    }

    /// A session has ended.
    pub(crate) fn leave(&self, id: SessionId) {
        let now = self.clock.now();
        self.change(|state| {
            if state.sessions.writer() == Some(id)
                && let Some(audit) = &mut state.audit
            {
                audit.end(now);
            }
            state.sessions.leave(id);
        });
    }

    /// What is to be written next, and for [`Desk::given_up`] since when.
    pub(crate) async fn next_typed(&self) -> (Typed, u64) {
        loop {
            {
                let mut state = self.lock();
                if let Some(typed) = state.outgoing.pop() {
                    self.room.notify_waiters();
                    return (typed, state.outgoing.voided());
                }
                // Nothing is left that the port would not take.
                state.stuck = false;
            }
            self.more.notified().await;
        }
    }

    /// Returns when what is being written since `voided` is to be given up.
    pub(crate) async fn given_up(&self, voided: u64) {
        let mut changed = std::pin::pin!(self.room.notified());
        loop {
            changed.as_mut().enable();
            if self.lock().outgoing.voided() != voided {
                return;
            }
            changed.as_mut().await;
            changed.set(self.room.notified());
        }
    }

    /// The port took some of what is to be written.
    pub(crate) fn took(&self) {
        self.lock().stuck = false;
    }

    /// The port has taken nothing for this time; whether what is being written is to be given up, as a break waits.
    pub(crate) fn stalled(&self, time: Duration) -> bool {
        let mut state = self.lock();
        if time >= BREAK_AFTER && state.outgoing.has_break() {
            state.outgoing.skip_to_break();
            drop(state);
            self.room.notify_waiters();
            return true;
        }
        if time >= STUCK && !state.stuck {
            state.stuck = true;
            drop(state);
            tracing::info!(console = self.name, "serial port does not take what is typed");
            self.room.notify_waiters();
        }
        false
    }

    /// What a session is told of how things are.
    pub(crate) fn notice(&self, id: SessionId) -> Notice {
        let state = self.lock();
        let writer = state.sessions.writer();
        Notice::State {
            console: self.name.clone(),
            writer: writer.map(|writer| state.sessions.who(writer).to_owned()).unwrap_or_default(),
            you_write: writer == Some(id),
            may_write: state.sessions.may_write(id),
            sessions: state.sessions.count(),
            connected: state.connected,
        }
    }

    /// Lets a session in.
    ///
    /// # Errors
    /// [`Refused`]: its account has its share, or there is no place.
    pub(crate) fn join(&self, who: &str, holder: Holder, may_write: bool) -> Result<SessionId, Refused> {
        self.change(|state| state.sessions.join(who, holder, may_write))
    }

    fn wall(&self) -> i64 {
        let since = self.clock.wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}

/// A name for a run that no other has. Without random bytes the time has to do: who is led astray by it sees some of what was printed twice, or not again.
fn run(clock: Clock) -> String {
    let mut bytes = [0; 8];
    if getrandom::fill(&mut bytes).is_err() {
        let since = clock.wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        bytes = u64::try_from(since.as_nanos()).unwrap_or_default().to_be_bytes();
    }
    HEXLOWER.encode(&bytes)
}
