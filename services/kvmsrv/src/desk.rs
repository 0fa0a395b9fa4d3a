//! One screen: what its source and its sessions share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipc::Status;
use rfb::{Deflater, Event, Input, Inputs, Leds, Piece, Screen, Server, Violation};
use serial::frame::Notice;
use serial::{Allowances, Holder, Refused, SessionId, Sessions};
use service::Clock;
use tokio::sync::{Notify, watch};

use crate::origin::Source;

/// What is said to who takes over too often.
const TOO_OFTEN: &str = "take-overs are too many: one more is let through each 10 s";
/// The size of a screen without a picture: what a viewer makes its window of.
const BLANK: (u16, u16) = (640, 480);
/// Texts that are being typed at one host.
const TEXTS_MAX: usize = 1;
/// How long a source stays for what the last viewer left to be released, where its host takes nothing. A key that stays down repeats itself, so it is not given up soon.
const RELEASED_WITHIN: Duration = Duration::from_secs(5);

/// What all share, under a lock that nobody holds while he waits.
#[derive(Debug)]
pub(crate) struct State {
    screen: Screen,
    deflater: Deflater,
    pub(crate) sessions: Sessions,
    inputs: Inputs,
    /// One of them is on its way to the host.
    passing: bool,
    allowances: Allowances,
    /// Of those who come, go and type: each time is told, and kept on flash.
    comings: Allowances,
    /// The text that is being typed.
    text: Option<Text>,
    texts: u64,
    /// Pictures that are being taken, and texts that are being typed where keys go by the capture.
    looks: usize,
    pub(crate) signal: bool,
    pub(crate) fault: String,
    /// The host takes what is typed, and if not, why.
    pub(crate) typable: Result<(), String>,
    /// Of the last picture.
    pub(crate) size: (u16, u16),
}

/// A text that is being typed.
#[derive(Debug)]
struct Text {
    account: String,
    /// No other has or had its number.
    id: u64,
}

impl State {
    fn is_wanted(&self) -> bool {
        self.sessions.count() > 0 || self.looks > 0
    }

    /// Ends the text of this session's account.
    fn stop_text_of(&mut self, id: SessionId) {
        self.text.take_if(|text| text.account == self.sessions.account(id));
    }

    /// `with_input`: what takes the picture's place takes what is typed, too.
    fn blank(&mut self, with_input: bool) {
        self.signal = false;
        if with_input {
            // What was typed was for a host that is not there any more.
            self.inputs.clear();
            self.passing = false;
        }
        let _fits = self.screen.blank(BLANK.0, BLANK.1);
    }

    fn show(&mut self) {
        self.signal = true;
        self.fault.clear();
        self.size = self.screen.size();
    }

    fn lose(&mut self, with_input: bool, fault: &str) {
        self.blank(with_input);
        fault.clone_into(&mut self.fault);
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
    /// Who captures. A driver may keep him in a call for a while, and the next one waits.
    pub(crate) camera: Arc<tokio::sync::Mutex<()>>,
    /// Texts that may be typed at a time.
    pub(crate) texts: Arc<tokio::sync::Semaphore>,
}

impl Desk {
    /// A screen that nobody looks at yet, whose picture is in this room.
    ///
    /// # Errors
    /// Never: the size of a blank screen is one that can be, and that each has for itself.
    pub(crate) fn new(
        name: &str,
        source: Source,
        clock: Clock,
        room: &rfb::Room,
    ) -> Result<Self, rfb::Unshown> {
        let state = State {
            screen: Screen::within(room, BLANK.0, BLANK.1)?,
            deflater: Deflater::default(),
            sessions: Sessions::default(),
            inputs: Inputs::default(),
            passing: false,
            allowances: Allowances::default(),
            comings: Allowances::default(),
            text: None,
            texts: 0,
            looks: 0,
            signal: false,
            fault: String::new(),
            typable: Err("there is no keyboard at this host".to_owned()),
            size: (0, 0),
        };
        Ok(Self {
            name: name.to_owned(),
            source,
            clock,
            state: Mutex::new(state),
            changed: watch::Sender::new(0),
            typed: Notify::new(),
            camera: Arc::default(),
            texts: Arc::new(tokio::sync::Semaphore::new(TEXTS_MAX)),
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
        self.until(|state| state.is_wanted() == wanted).await;
    }

    /// Returns when nobody looks any more, and what the last one held down is released at the host, or cannot be. Who comes meanwhile has the capture as it is:
    /// one that began anew would drop what waits, and have no picture for a moment.
    pub(crate) async fn until_left(&self) {
        loop {
            self.until_wanted(false).await;
            if self.source.takes_input() {
                let done =
                    self.until(|state| state.is_wanted() || (state.inputs.is_empty() && !state.passing));
                let _ = tokio::time::timeout(RELEASED_WITHIN, done).await;
            }
            if !self.lock().is_wanted() {
                return;
            }
        }
    }

    async fn until(&self, is_so: impl Fn(&State) -> bool) {
        let mut changes = self.changes();
        loop {
            changes.mark_unchanged();
            if is_so(&self.lock()) {
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

    /// As [`Desk::draw`], for who draws on another thread: nothing is drawn, and nothing is told, once `is_over` says so.
    pub(crate) fn draw_unless<T>(
        &self,
        is_over: impl Fn() -> bool,
        draw: impl FnOnce(&mut Screen) -> T,
    ) -> Option<T> {
        let mut state = self.lock();
        (!is_over()).then(|| draw(&mut state.screen))
    }

    /// A picture is whole, as [`Desk::shown`], or there is none, as [`Desk::lost`]; whether that is new.
    pub(crate) fn tell_unless(&self, is_over: impl Fn() -> bool, fault: Option<&str>) -> bool {
        let mut state = self.lock();
        let is_known = fault.is_some_and(|fault| !state.signal && state.fault == fault);
        if is_over() || is_known {
            return false;
        }
        match fault {
            None => state.show(),
            Some(fault) => state.lose(self.source.takes_input(), fault),
        }
        drop(state);
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
        true
    }

    /// A picture is whole.
    pub(crate) fn shown(&self) {
        self.tell_unless(|| false, None);
    }

    /// There is no picture; whether for another reason than before.
    pub(crate) fn lost(&self, fault: &str) -> bool {
        self.tell_unless(|| false, Some(fault))
    }

    /// Nobody looks: what is there is forgotten.
    pub(crate) fn stopped(&self) {
        self.change(|state| {
            state.blank(self.source.takes_input());
            state.fault.clear();
        });
    }

    /// What is to be passed on to the host. [`Desk::passed`] is to be called when it was.
    pub(crate) fn next_input(&self) -> Option<Input> {
        let mut state = self.lock();
        let input = state.inputs.pop();
        state.passing |= input.is_some();
        input
    }

    /// The host has what was to be passed on.
    pub(crate) fn passed(&self) {
        let is_waited_for = {
            let mut state = self.lock();
            std::mem::take(&mut state.passing) && !state.is_wanted()
        };
        if is_waited_for {
            self.change(|_| ());
        }
    }

    /// Whether the keyboard and pointer at the host's USB are taken by it. If not, what was typed is for nobody.
    pub(crate) fn typable(&self, typable: Result<(), &str>) {
        let typable = typable.map_err(str::to_owned);
        if self.lock().typable != typable {
            self.change(|state| {
                if typable.is_err() {
                    state.inputs.clear();
                    state.screen.set_leds(None);
                }
                state.typable = typable;
            });
        }
    }

    /// The host lights these lamps.
    pub(crate) fn lamps(&self, leds: Leds) {
        self.change(|state| state.screen.set_leds(Some(leds)));
    }

    /// Pixels of the picture, or of what stands for it.
    pub(crate) fn size(&self) -> (u16, u16) {
        self.lock().screen.size()
    }

    /// Whether it is told that this account comes or types, and how often before it was not. `is_new` is false for what is asked again.
    pub(crate) fn is_told(&self, account: &str, is_new: bool) -> Option<u32> {
        let now = self.clock.now();
        self.lock().comings.tell(account, is_new, now)
    }

    /// A session takes nothing, so that nobody knows whether its person is still there: what it holds down is released. It keeps keyboard and mouse.
    pub(crate) fn lift(&self, id: SessionId) {
        self.change(|state| {
            if state.sessions.writer() == Some(id) {
                state.inputs.release_all();
            }
        });
        self.typed.notify_one();
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
                state.stop_text_of(id);
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
                state.stop_text_of(id);
            }
        });
        self.typed.notify_one();
    }

    /// A session types or points; whether that is passed on. Free keyboard and mouse are had by pressing something: by moving over a picture nobody takes them.
    ///
    /// # Errors
    /// What the client is told. It has no effect then.
    pub(crate) fn input(&self, id: SessionId, input: Input) -> Result<bool, String> {
        let presses = match input {
            Input::Key { down, .. } => down,
            Input::Pointer { buttons, .. } => buttons != 0,
        };
        let mut state = self.lock();
        let is_writer = state.sessions.writer() == Some(id);
        let typable = self.typable_at(&state);
        if !presses && (!is_writer || typable.is_err()) {
            return Ok(false);
        }
        // Whether it may at all is told before whether there is a host.
        state.sessions.may_type(id).map_err(|refused| refused.to_string())?;
        typable?;
        if !state.inputs.push(input) {
            return if presses { Err("the host does not take what is typed".to_owned()) } else { Ok(false) };
        }
        // Who presses a key while his text is typed wants that to end.
        if presses && matches!(input, Input::Key { .. }) {
            state.stop_text_of(id);
        }
        let taken = if is_writer { Ok(()) } else { state.sessions.typed(id).map(|_| ()) };
        drop(state);
        if !is_writer {
            self.change(|_| ());
        }
        self.typed.notify_one();
        taken.map(|()| true).map_err(|refused| refused.to_string())
    }

    /// Whether keyboard and mouse are nobody's or this account's.
    ///
    /// # Errors
    /// `FAILED_PRECONDITION`: they are another's.
    pub(crate) fn may_have_keyboard(&self, account: &str) -> Result<(), Status> {
        let state = self.lock();
        if let Some(writer) = state.sessions.writer()
            && state.sessions.account(writer) != account
        {
            let text = format!("{} has the keyboard: take it over first", state.sessions.who(writer));
            return Err(Status::failed_precondition(text).with_reason("KEYBOARD_BUSY"));
        }
        Ok(())
    }

    /// Whether a text may be typed for this account: keyboard and mouse are nobody's or its own, and there is a host.
    ///
    /// # Errors
    /// `FAILED_PRECONDITION`
    pub(crate) fn may_paste(&self, account: &str) -> Result<(), Status> {
        self.may_have_keyboard(account)?;
        let typable = self.typable_at(&self.lock());
        typable.map_err(|why| Status::failed_precondition(why).with_reason("NO_HOST"))
    }

    /// Begins to type a text for this account: its number.
    pub(crate) fn begin_text(&self, account: &str) -> u64 {
        self.change(|state| {
            state.texts += 1;
            state.text = Some(Text { account: account.to_owned(), id: state.texts });
            state.texts
        })
    }

    /// Whether this text was begun and neither ended nor stopped since.
    pub(crate) fn is_begun(&self, id: u64) -> bool {
        self.lock().text.as_ref().is_some_and(|text| text.id == id)
    }

    /// A text is typed, as far as it was.
    pub(crate) fn end_text(&self, id: u64) {
        self.change(|state| state.text.take_if(|text| text.id == id));
    }

    /// Stops the text that is being typed, if it is such an account's; whose it was.
    pub(crate) fn stop_text(&self, is_meant: impl Fn(&str) -> bool) -> Option<String> {
        self.change(|state| state.text.take_if(|text| is_meant(&text.account)).map(|text| text.account))
    }

    /// A key of this text, for this account; whether it is passed on. A text that waits for the host holds up nobody else's keys.
    pub(crate) fn paste(&self, id: u64, account: &str, input: Input) -> bool {
        if self.may_paste(account).is_err() {
            return false;
        }
        let mut state = self.lock();
        let passed = state.text.as_ref().is_some_and(|text| text.id == id) && state.inputs.push(input);
        drop(state);
        self.typed.notify_one();
        passed
    }

    /// Whose text is being typed; empty while none is.
    pub(crate) fn text_holder(state: &State) -> String {
        state.text.as_ref().map(|text| text.account.clone()).unwrap_or_default()
    }

    /// A key of a text comes up, whoever has the keyboard by now.
    pub(crate) fn unpaste(&self, input: Input) {
        let _is_up = self.lock().inputs.push(input);
        self.typed.notify_one();
    }

    /// Whether the host takes what is typed, and if not, why.
    pub(crate) fn typable_at(&self, state: &State) -> Result<(), String> {
        match (self.source.takes_input(), state.signal) {
            (true, true) => Ok(()),
            (true, false) => Err("there is no host to take it".to_owned()),
            (false, _) => state.typable.clone(),
        }
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

    /// What is to be sent to a viewer, which may be nothing, and whether no more of the same update follows.
    ///
    /// # Errors
    /// [`Violation`]
    pub(crate) fn show(&self, server: &Mutex<Server>) -> Result<(Vec<Piece>, bool), Violation> {
        let mut state = self.lock();
        let State { screen, deflater, .. } = &mut *state;
        let mut server = server.lock().unwrap_or_else(PoisonError::into_inner);
        server.update(screen, deflater)?;
        Ok((server.take_pieces(), !server.is_amid_update()))
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
    pub(crate) fn look(self: &Arc<Self>) -> Look {
        self.change(|state| state.looks += 1);
        Look(Arc::clone(self))
    }
}

/// Somebody who takes a picture or types a text: the screen is captured while this is there.
pub(crate) struct Look(Arc<Desk>);

impl Look {
    /// What is on the screen, as soon as there is something.
    ///
    /// # Errors
    /// Why there is nothing.
    pub(crate) async fn screen(&self) -> Result<Screen, String> {
        self.until_shown(|state| state.screen.clone()).await
    }

    /// Returns as soon as there is something on the screen.
    ///
    /// # Errors
    /// Why there is nothing.
    pub(crate) async fn shown(&self) -> Result<(), String> {
        self.until_shown(|_| ()).await
    }

    async fn until_shown<T>(&self, of: impl Fn(&State) -> T) -> Result<T, String> {
        let mut changes = self.0.changes();
        loop {
            changes.mark_unchanged();
            {
                let state = self.0.lock();
                if state.signal {
                    return Ok(of(&state));
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

impl Drop for Look {
    fn drop(&mut self) {
        self.0.change(|state| state.looks = state.looks.saturating_sub(1));
    }
}
