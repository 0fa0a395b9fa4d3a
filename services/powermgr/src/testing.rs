//! A board in memory: lines wired to the host model, for tests of this crate and of its clients.
//!
//! The pins belong to the [`TwinBoard`] and not to whoever opened them: when a daemon is dropped while it holds a button,
//! the button stays held, as on the real chip.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use boot_override::{Mailbox, Order};
use hal::{BootMailbox, Edge, Error, Gpio, Initial, InputLine, Line, LineId, OutputLine};
use tokio::sync::Notify;
use twin::{Host, Input, Output};
use units::Mono;

/// Names of the lines, as in `targets/sim/board.toml`.
const POWER: &str = "power-button-out";
const RESET: &str = "reset-button-out";
const NMI: &str = "nmi-out";
const POWER_GOOD: &str = "power-chassis-good";
const POWER_IN: &str = "power-button";
const RESET_IN: &str = "reset-button";

/// A board file with one host whose lines are those of [`TwinBoard`].
pub const BOARD: &str = r#"
[board]
name = "model"
vendor = "u-bmc"
model = "Board in memory"
hal = "sim"

[chassis]
name = "Chassis in memory"

[[hosts]]
id = "system"
name = "Host in memory"

[hosts.power]
kind = "buttons"
power = "power-button-out"
reset = "reset-button-out"
nmi = "nmi-out"
power_good = "power-chassis-good"
power_button_in = "power-button"
reset_button_in = "reset-button"

[hosts.timings]
cycle_off_ms = 1000
graceful_off_timeout_ms = 10000

[hosts.restore]
policy = "last"
"#;

/// The board of [`BOARD`].
///
/// # Panics
///
/// When the text above is not a board any more.
pub fn board() -> board::Board {
    let report = board::parse(std::path::Path::new("model.toml"), BOARD, &[]);
    assert!(report.problems().is_empty(), "{:?}", report.problems());
    report.into_board().expect("a board without problems")
}

#[derive(Debug)]
struct Pins {
    host: Host,
    levels: HashMap<String, bool>,
    watchers: Vec<Arc<Watcher>>,
    owners: HashMap<String, u64>,
    next_owner: u64,
    /// Sets of the power button since the start: (level, when).
    presses: Vec<(bool, Duration)>,
    failing: bool,
    missing: std::collections::HashSet<String>,
    slow: Duration,
    mailbox_lost: bool,
}

#[derive(Debug)]
struct Watcher {
    name: String,
    edges: Mutex<(VecDeque<Edge>, Option<Waker>)>,
}

/// Lines wired to a [`twin::Host`]. Clones share the board.
#[derive(Debug, Clone)]
pub struct TwinBoard {
    pins: Arc<Mutex<Pins>>,
    changed: Arc<Notify>,
    start: tokio::time::Instant,
}

impl TwinBoard {
    /// A board around this host. Must be called within a runtime, which then moves the host's time.
    pub fn new(config: twin::Config) -> Self {
        let pins = Pins {
            host: Host::new(config),
            levels: HashMap::new(),
            watchers: Vec::new(),
            owners: HashMap::new(),
            next_owner: 0,
            presses: Vec::new(),
            failing: false,
            missing: std::collections::HashSet::new(),
            slow: Duration::ZERO,
            mailbox_lost: false,
        };
        let board = Self {
            pins: Arc::new(Mutex::new(pins)),
            changed: Arc::default(),
            start: tokio::time::Instant::now(),
        };
        tokio::spawn(board.clone().keep_time(Arc::downgrade(&board.pins)));
        board
    }

    /// Lets the world act on the host: a finger, a fault.
    pub fn input(&self, input: Input) {
        let mut pins = self.lock();
        self.step(&mut pins, input);
    }

    /// Whether power-good is on the wire.
    pub fn power_good(&self) -> bool {
        self.lock().host.power_good()
    }

    /// Looks at the host.
    pub fn with_host<T>(&self, look: impl FnOnce(&Host) -> T) -> T {
        look(&self.lock().host)
    }

    /// Whether the power button is pressed by the BMC now.
    pub fn button_held(&self) -> bool {
        self.lock().levels.get(POWER).copied().unwrap_or(false)
    }

    /// Presses the power button as a daemon would that died doing it.
    pub fn leave_button_held(&self) {
        self.drive(POWER, true);
    }

    /// Every level the power button line was set to, and when.
    pub fn presses(&self) -> Vec<(bool, Duration)> {
        self.lock().presses.clone()
    }

    /// From now on, outputs refuse to be driven, or not.
    pub fn fail_outputs(&self, fail: bool) {
        self.lock().failing = fail;
    }

    /// From now on a line with this name cannot be opened, or can.
    pub fn remove_line(&self, name: &str, gone: bool) {
        let mut pins = self.lock();
        if gone {
            pins.missing.insert(name.to_owned());
        } else {
            pins.missing.remove(name);
        }
    }

    /// From now on each reading and driving of a line takes this long.
    pub fn slow_lines(&self, slow: Duration) {
        self.lock().slow = slow;
    }

    /// From now on the mailbox of the firmware does not answer, or does again.
    pub fn lose_mailbox(&self, lost: bool) {
        self.lock().mailbox_lost = lost;
    }

    fn reachable(&self) -> Result<(), Error> {
        if self.lock().mailbox_lost {
            return Err(Error::Unavailable { what: "the mailbox".to_owned() });
        }
        Ok(())
    }

    async fn slowly(&self) {
        let slow = self.lock().slow;
        if !slow.is_zero() {
            tokio::time::sleep(slow).await;
        }
    }

    /// Waits until the host's power-good has this level.
    pub async fn wait_power_good(&self, level: bool) {
        loop {
            let changed = self.changed.notified();
            if self.power_good() == level {
                return;
            }
            changed.await;
        }
    }

    /// Waits until the host is so.
    pub async fn wait_host(&self, is_so: impl Fn(&Host) -> bool) {
        loop {
            let changed = self.changed.notified();
            if self.with_host(&is_so) {
                return;
            }
            changed.await;
        }
    }

    /// Waits until the power button line has this level.
    pub async fn wait_button(&self, level: bool) {
        loop {
            let changed = self.changed.notified();
            if self.button_held() == level {
                return;
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pins> {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn mono(&self) -> Mono {
        Mono::from_millis(u64::try_from(self.now().as_millis()).unwrap_or(u64::MAX))
    }

    fn step(&self, pins: &mut Pins, input: Input) {
        let mut out = Vec::new();
        pins.host.step(self.mono(), input, &mut out);
        let at = self.now();
        for output in out {
            let (name, active) = match output {
                Output::PowerGood(level) => (POWER_GOOD, level),
                Output::ButtonIn(twin::Button::Power, down) => (POWER_IN, down),
                Output::ButtonIn(twin::Button::Reset, down) => (RESET_IN, down),
                Output::Serial(_) | Output::Guest(_) | Output::Mailbox => continue,
            };
            for watcher in pins.watchers.iter().filter(|watcher| watcher.name == name) {
                let mut edges = watcher.edges.lock().unwrap_or_else(PoisonError::into_inner);
                edges.0.push_back(Edge { active, at });
                if let Some(waker) = edges.1.take() {
                    waker.wake();
                }
            }
        }
        self.changed.notify_waiters();
    }

    fn drive(&self, name: &str, active: bool) {
        let mut pins = self.lock();
        pins.levels.insert(name.to_owned(), active);
        let at = self.now();
        if name == POWER {
            pins.presses.push((active, at));
        }
        self.step(
            &mut pins,
            match name {
                POWER => Input::PowerButton(active),
                RESET => Input::ResetButton(active),
                _ => Input::Nmi(active),
            },
        );
    }

    async fn keep_time(self, alive: std::sync::Weak<Mutex<Pins>>) {
        let (changed, start) = (self.changed.clone(), self.start);
        drop(self);
        loop {
            let notified = changed.notified();
            let Some(pins) = alive.upgrade() else { return };
            let board = Self { pins, changed: changed.clone(), start };
            let deadline = board.lock().host.deadline();
            let now = board.mono();
            if deadline.is_some_and(|deadline| deadline <= now) {
                let mut pins = board.lock();
                board.step(&mut pins, Input::Tick);
                continue;
            }
            drop(board);
            // Wakes now and then to see whether the board is still there.
            let wait =
                deadline.map_or(Duration::from_secs(1), |deadline| Duration::from(now.until(deadline)));
            tokio::select! {
                () = notified => {}
                () = tokio::time::sleep(wait.min(Duration::from_secs(1))) => {}
            }
        }
    }

    fn own(&self, line: &Line) -> Result<(String, u64), Error> {
        let LineId::Name(name) = &line.id else { return Err(Error::NotFound { line: line.id.clone() }) };
        if ![POWER, RESET, NMI, POWER_GOOD, POWER_IN, RESET_IN].contains(&name.as_str()) {
            return Err(Error::NotFound { line: line.id.clone() });
        }
        let mut pins = self.lock();
        if pins.missing.contains(name) {
            return Err(Error::NotFound { line: line.id.clone() });
        }
        if pins.owners.contains_key(name) {
            return Err(Error::Busy { line: line.id.clone(), owner: crate::NAME.to_owned() });
        }
        pins.next_owner += 1;
        let owner = pins.next_owner;
        pins.owners.insert(name.clone(), owner);
        Ok((name.clone(), owner))
    }
}

#[async_trait]
impl Gpio for TwinBoard {
    async fn output(
        &self,
        line: &Line,
        initial: Initial,
        _owner: &str,
    ) -> Result<Box<dyn OutputLine>, Error> {
        let (name, _) = self.own(line)?;
        if let Initial::Level(level) = initial {
            self.drive(&name, level);
        }
        Ok(Box::new(DrivenLine { board: self.clone(), name, id: line.id.clone() }))
    }

    async fn input(&self, line: &Line, _owner: &str) -> Result<Box<dyn InputLine>, Error> {
        let (name, _) = self.own(line)?;
        let watcher = Arc::new(Watcher { name: name.clone(), edges: Mutex::default() });
        self.lock().watchers.push(watcher.clone());
        Ok(Box::new(WatchedLine { board: self.clone(), watcher, id: line.id.clone() }))
    }
}

#[async_trait]
impl BootMailbox for TwinBoard {
    async fn look(&self) -> Result<Mailbox, Error> {
        self.slowly().await;
        self.reachable()?;
        Ok(self.with_host(|host| host.mailbox().clone()))
    }

    async fn put(&self, order: Option<Order>) -> Result<Mailbox, Error> {
        self.slowly().await;
        self.reachable()?;
        let mut pins = self.lock();
        pins.host.put_order(order);
        Ok(pins.host.mailbox().clone())
    }
}

#[derive(Debug)]
struct DrivenLine {
    board: TwinBoard,
    name: String,
    id: LineId,
}

#[async_trait]
impl OutputLine for DrivenLine {
    async fn set(&self, active: bool) -> Result<(), Error> {
        self.board.slowly().await;
        if self.board.lock().failing {
            return Err(Error::Unavailable { what: self.name.clone() });
        }
        self.board.drive(&self.name, active);
        Ok(())
    }

    async fn get(&self) -> Result<bool, Error> {
        self.board.slowly().await;
        Ok(self.board.lock().levels.get(&self.name).copied().unwrap_or(false))
    }

    fn id(&self) -> &LineId {
        &self.id
    }
}

impl Drop for DrivenLine {
    fn drop(&mut self) {
        self.board.lock().owners.remove(&self.name);
    }
}

#[derive(Debug)]
struct WatchedLine {
    board: TwinBoard,
    watcher: Arc<Watcher>,
    id: LineId,
}

#[async_trait]
impl InputLine for WatchedLine {
    async fn get(&self) -> Result<bool, Error> {
        self.board.slowly().await;
        let pins = self.board.lock();
        Ok(match self.watcher.name.as_str() {
            POWER_GOOD => pins.host.power_good(),
            POWER_IN => pins.host.button_in(twin::Button::Power),
            _ => pins.host.button_in(twin::Button::Reset),
        })
    }

    fn poll_edge(&mut self, cx: &mut Context<'_>) -> Poll<Result<Edge, Error>> {
        let mut edges = self.watcher.edges.lock().unwrap_or_else(PoisonError::into_inner);
        match edges.0.pop_front() {
            Some(edge) => Poll::Ready(Ok(edge)),
            None => {
                edges.1 = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn id(&self) -> &LineId {
        &self.id
    }
}

impl Drop for WatchedLine {
    fn drop(&mut self) {
        let mut pins = self.board.lock();
        pins.owners.remove(&self.watcher.name);
        pins.watchers.retain(|watcher| !Arc::ptr_eq(watcher, &self.watcher));
    }
}
