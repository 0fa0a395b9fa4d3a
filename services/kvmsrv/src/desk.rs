//! One screen: what its source and its sessions share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rfb::{Deflater, Event, Input, Inputs, Screen, Server, Violation};
use serial::frame::Notice;
use serial::{Allowances, Holder, Refused, SessionId, Sessions};
use service::Clock;
use tokio::sync::{Notify, watch};

use crate::origin::Source;

/// What is said to who takes over too often.
const TOO_OFTEN: &str = "take-overs are too many: one more is let through each 10 s";
/// The size of a screen without a picture: what a viewer makes its window of.
const BLANK: (u16, u16) = (640, 480);

/// What all share, under a lock that nobody holds while he waits.
#[derive(Debug)]
pub(crate) struct State {
    screen: Screen,
    deflater: Deflater,
    pub(crate) sessions: Sessions,
    inputs: Inputs,
    allowances: Allowances,
    /// Pictures that are being taken.
    shots: usize,
    pub(crate) signal: bool,
    pub(crate) fault: String,
    /// Of the last picture.
    pub(crate) size: (u16, u16),
}

impl State {
    fn is_wanted(&self) -> bool {
        self.sessions.count() > 0 || self.shots > 0
    }

    fn blank(&mut self) {
        self.signal = false;
        // What was typed was for a host that is not there any more.
        self.inputs.clear();
        let _fits = self.screen.blank(BLANK.0, BLANK.1);
    }
}

/// One screen.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) name: String,
    pub(crate) source: Source,
    pub(crate) clock: Clock,
    state: Mutex<State>,
    /// Counts changes of the state.
    changed: watch::Sender<u64>,
    /// Something is there to be passed on to the host.
    typed: Notify,
}

impl Desk {
    /// A screen that nobody looks at yet.
    ///
    /// # Errors
    /// Never: the size of a blank screen is one that can be.
    pub(crate) fn new(name: &str, source: Source, clock: Clock) -> Result<Self, rfb::TooLarge> {
        let state = State {
            screen: Screen::new(BLANK.0, BLANK.1)?,
            deflater: Deflater::default(),
            sessions: Sessions::default(),
            inputs: Inputs::default(),
            allowances: Allowances::default(),
            shots: 0,
            signal: false,
            fault: String::new(),
            size: (0, 0),
        };
        Ok(Self {
            name: name.to_owned(),
            source,
            clock,
            state: Mutex::new(state),
            changed: watch::Sender::new(0),
            typed: Notify::new(),
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes who looks at it.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
        result
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Returns when somebody looks, or nobody does any more.
    pub(crate) async fn until_wanted(&self, wanted: bool) {
        let mut changes = self.changes();
        loop {
            changes.mark_unchanged();
            if self.lock().is_wanted() == wanted {
                return;
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// The source draws; who looks is woken by [`Desk::shown`].
    pub(crate) fn draw<T>(&self, draw: impl FnOnce(&mut Screen) -> T) -> T {
        draw(&mut self.lock().screen)
    }

    /// A picture is whole.
    pub(crate) fn shown(&self) {
        self.change(|state| {
            state.signal = true;
            state.fault.clear();
            state.size = state.screen.size();
        });
    }

    /// There is no picture; whether for another reason than before.
    pub(crate) fn lost(&self, fault: &str) -> bool {
        {
            let state = self.lock();
            if !state.signal && state.fault == fault {
                return false;
            }
        }
        self.change(|state| {
            state.blank();
            fault.clone_into(&mut state.fault);
        });
        true
    }

    /// Nobody looks: what is there is forgotten.
    pub(crate) fn stopped(&self) {
        self.change(|state| {
            state.blank();
            state.fault.clear();
        });
    }

    /// What is to be passed on to the host.
    pub(crate) fn next_input(&self) -> Option<Input> {
        self.lock().inputs.pop()
    }

    /// Returns when there is more to be passed on.
    pub(crate) async fn typed(&self) {
        self.typed.notified().await;
    }

    /// Lets a session in.
    ///
    /// # Errors
    /// [`Refused`]: its account has its share, or there is no place.
    pub(crate) fn join(&self, who: &str, holder: Holder, may_write: bool) -> Result<SessionId, Refused> {
        self.change(|state| state.sessions.join(who, holder, may_write))
    }

    /// A session has ended. What it held down is released.
    pub(crate) fn leave(&self, id: SessionId) {
        self.change(|state| {
            if state.sessions.writer() == Some(id) {
                state.inputs.release_all();
            }
            state.sessions.leave(id);
        });
        self.typed.notify_one();
    }

    /// Gives keyboard and mouse to a session; who had them, if somebody else did. What that one held down is released.
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
                state.inputs.release_all();
                state.sessions.who(from).to_owned()
            }))
        })?;
        self.typed.notify_one();
        Ok(from)
    }

    /// Keyboard and mouse are nobody's, if they were this session's.
    pub(crate) fn release(&self, id: SessionId) {
        self.change(|state| {
            if state.sessions.release(id).is_some() {
                state.inputs.release_all();
            }
        });
        self.typed.notify_one();
    }

    /// A session types or points; whether it has keyboard and mouse since then. Free ones are had by pressing something: by moving over a picture nobody takes them.
    ///
    /// # Errors
    /// What the client is told.
    pub(crate) fn input(&self, id: SessionId, input: Input) -> Result<bool, String> {
        let presses = match input {
            Input::Key { down, .. } => down,
            Input::Pointer { buttons, .. } => buttons != 0,
        };
        let (is_writer, signal) = {
            let state = self.lock();
            (state.sessions.writer() == Some(id), state.signal)
        };
        let passes = presses || (is_writer && signal);
        if !passes {
            return Ok(false);
        }
        if !is_writer {
            self.change(|state| state.sessions.typed(id)).map_err(|refused| refused.to_string())?;
        }
        if !signal {
            return Err("there is no host to take it".to_owned());
        }
        if !self.lock().inputs.push(input) && presses {
            return Err("the host does not take what is typed".to_owned());
        }
        self.typed.notify_one();
        Ok(!is_writer)
    }

    /// Takes bytes of a viewer.
    ///
    /// # Errors
    /// [`Violation`]
    pub(crate) fn hear(&self, server: &Mutex<Server>, bytes: &[u8]) -> Result<Vec<Event>, Violation> {
        let mut events = Vec::new();
        let state = self.lock();
        let mut server = server.lock().unwrap_or_else(PoisonError::into_inner);
        server.receive(bytes, &state.screen, &mut events)?;
        Ok(events)
    }

    /// What is to be sent to a viewer, which may be nothing.
    ///
    /// # Errors
    /// [`Violation`]
    pub(crate) fn show(&self, server: &Mutex<Server>) -> Result<Vec<u8>, Violation> {
        let mut state = self.lock();
        let State { screen, deflater, .. } = &mut *state;
        let mut server = server.lock().unwrap_or_else(PoisonError::into_inner);
        server.update(screen, deflater)?;
        Ok(server.take_output())
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
            connected: state.signal,
        }
    }

    /// Looks until the answer is dropped.
    pub(crate) fn look(&self) -> Look<'_> {
        self.change(|state| state.shots += 1);
        Look(self)
    }
}

/// Somebody who takes a picture.
pub(crate) struct Look<'a>(&'a Desk);

impl Look<'_> {
    /// What is on the screen, as soon as there is something.
    ///
    /// # Errors
    /// Why there is nothing.
    pub(crate) async fn screen(&self) -> Result<Screen, String> {
        let mut changes = self.0.changes();
        loop {
            changes.mark_unchanged();
            {
                let state = self.0.lock();
                if state.signal {
                    return Ok(state.screen.clone());
                }
                if !state.fault.is_empty() {
                    return Err(state.fault.clone());
                }
            }
            if changes.changed().await.is_err() {
                return Err("it is being stopped".to_owned());
            }
        }
    }
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        self.0.change(|state| state.shots = state.shots.saturating_sub(1));
    }
}
