//! The fans while thermalmgr does not control them: at full speed (I-3).
//!
//! thermalmgr drives the fans while it is ready and its loop gives signs of life. When it is not started yet, has ended, or is silent for a second, the
//! operator drives them to what the board has for that, and goes on so until thermalmgr is back. thermalmgr tells its duties again each second,
//! so it needs nobody to hand them over.

use std::time::Duration;

use board::Board;
use hw::{Driven, Fans, SysRoot};
use ipc::EventBuilder;
use roster::Daemon;
use schema::v1alpha1 as pb;
use service::ErrorChain;
use supervise::State;
use tokio::sync::mpsc;
use units::{Lasting, Millis, Mono};

/// How often it is looked whether thermalmgr lives.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long its loop may be silent. It says that it lives four times in that time.
const SILENT: Millis = Millis::from_secs(1);
/// How often the fans are driven anew while nobody else does.
const AGAIN: Millis = Millis::from_secs(1);
/// How long driving them may fail before that is told.
const PATIENCE: Millis = Millis::from_secs(5);
/// How long they may take.
const WITHIN: Duration = Duration::from_millis(800);
/// Between two looks so far apart the operator itself stood still, and knows nothing of others' silence.
const SLEPT: Millis = Millis::new(600);
/// How long thermalmgr may be away without a word when that was expected: a stop and a start take less.
const EXPECTED_MAX: Millis = Millis::from_secs(10);

/// The fans of the board.
#[derive(Debug)]
pub(crate) struct Cooling {
    fans: Fans,
    tell: mpsc::Sender<Vec<Driven>>,
    told: mpsc::Receiver<Vec<Driven>>,
    busy: bool,
    driven: Option<Mono>,
    looked: Option<Mono>,
    /// The sign of life that was taken for a present one although it was old, as the operator stood still. Once.
    excused: Option<Mono>,
    /// Since when thermalmgr does not control them.
    unguarded: Option<Mono>,
    /// That was told, so its end is, too.
    told_unguarded: bool,
    /// That was not told, as it was expected; it is when it lasts.
    kept_back: bool,
    failing_since: Option<Mono>,
    failing: Lasting,
}

/// Who drives the fans, when that has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FanControl {
    /// The operator, from now on.
    Operator,
    /// thermalmgr again.
    Thermalmgr,
}

impl Cooling {
    /// The fans of this board, if it has any.
    pub(crate) fn of(board: &Board, run_dir: &std::path::Path) -> Option<Self> {
        if board.fans.is_empty() {
            return None;
        }
        let (tell, told) = mpsc::channel(8);
        Some(Self {
            fans: Fans::new(board, &SysRoot::of(board, run_dir)),
            tell,
            told,
            busy: false,
            driven: None,
            looked: None,
            excused: None,
            unguarded: None,
            told_unguarded: false,
            kept_back: false,
            failing_since: None,
            failing: Lasting::default(),
        })
    }

    /// Looks whether thermalmgr lives, and drives the fans if it does not. Tells when that begins and ends; again, where [`Self::told`] kept it back as
    /// expected, when thermalmgr has failed meanwhile or is away for 10 s.
    pub(crate) fn poll(&mut self, now: Mono, thermalmgr: Option<State>) -> Option<FanControl> {
        let slept = self.looked.replace(now).is_some_and(|last| now.since(last) > SLEPT);
        self.drain_results(now);
        let lives = match thermalmgr {
            Some(State::Ready { beat, .. }) if now.since(beat) < SILENT => true,
            Some(State::Ready { beat, .. }) => slept && self.excused.replace(beat) != Some(beat),
            _ => false,
        };
        if lives {
            (self.failing_since, self.kept_back) = (None, false);
            return self.unguarded.take().map(|_| FanControl::Thermalmgr);
        }
        let due = self.driven.is_none_or(|at| now.since(at) >= AGAIN) || self.unguarded.is_none();
        if due && !self.busy {
            self.drive(now);
        }
        let has_failed =
            matches!(thermalmgr, Some(State::Backoff { .. } | State::Degraded { .. } | State::Failed { .. }));
        self.lost(now, has_failed)
    }

    /// thermalmgr does not control the fans: whether that is to be told.
    fn lost(&mut self, now: Mono, has_failed: bool) -> Option<FanControl> {
        let begins = self.unguarded.is_none();
        let lasts = now.since(*self.unguarded.get_or_insert(now)) >= EXPECTED_MAX;
        (begins || self.kept_back && (has_failed || lasts)).then_some(FanControl::Operator)
    }

    /// What is told of a change. Who drives the fans at the start and at the end, and while thermalmgr takes new settings, is no news (`is_expected`).
    pub(crate) fn told(&mut self, change: FanControl, is_expected: bool) -> Option<EventBuilder> {
        let event = |severity, message: &str| {
            let event = EventBuilder::new(Daemon::Operator.name(), "system", "fans", "unguarded");
            event.severity(severity).message(message.to_owned())
        };
        match change {
            FanControl::Thermalmgr => {
                let message = "thermalmgr controls the fans";
                tracing::info!("{message}");
                std::mem::take(&mut self.told_unguarded).then(|| event(pb::EventSeverity::Info, message))
            }
            FanControl::Operator if is_expected => {
                if !std::mem::replace(&mut self.kept_back, true) {
                    tracing::info!("fans set to full speed until thermalmgr controls them");
                }
                None
            }
            FanControl::Operator => {
                let message = "thermalmgr is down: fans run at full speed";
                tracing::error!("{message}");
                (self.told_unguarded, self.kept_back) = (true, false);
                Some(event(pb::EventSeverity::Warning, message))
            }
        }
    }

    /// It has ended. Nothing is waited for: not for a look, nor for what is driven already. Tells when that begins, as [`Self::poll`] does: by the next look it
    /// may be there again. One that ends while it is still expected back is told at once, unless [`Self::told`] is said that this was expected, too.
    pub(crate) fn ended(&mut self, now: Mono) -> Option<FanControl> {
        self.drive(now);
        self.lost(now, true)
    }

    fn drive(&mut self, now: Mono) {
        self.busy = true;
        self.driven = Some(now);
        let (call, tell) = (self.fans.failsafe(WITHIN), self.tell.clone());
        tokio::spawn(async move {
            let _ = tell.send(call.await).await;
        });
    }

    fn drain_results(&mut self, now: Mono) {
        while let Ok(driven) = self.told.try_recv() {
            self.busy = false;
            match driven
                .iter()
                .find_map(|driven| driven.result.as_ref().err().map(|error| (driven.fan, error)))
            {
                Some((fan, error)) => {
                    // Drivers come late, as the simulated board does.
                    let since = *self.failing_since.get_or_insert(now);
                    if now.since(since) >= PATIENCE
                        && let Some(said) = self.failing.fails(now)
                    {
                        let error = ErrorChain(error);
                        let fan = self.fans.name(fan);
                        tracing::error!(fan, %error, times = said.times, "thermalmgr is down and fan cannot be set to full speed");
                    }
                }
                None => {
                    self.failing_since = None;
                    self.failing.works(now);
                }
            }
        }
    }

    /// The last thing: whoever ran them is gone.
    pub(crate) async fn leave(mut self) {
        let all = self.fans.failsafe(WITHIN).await;
        for driven in all {
            if let Err(error) = &driven.result {
                let fan = self.fans.name(driven.fan);
                tracing::warn!(fan, error = %ErrorChain(error), "cannot set fan to full speed at shutdown");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const BOARD: &str = r#"
[board]
name = "b"
vendor = "v"
model = "m"
hal = "sim"
[[hosts]]
id = "system"
[hosts.power]
kind = "buttons"
power = "p"
power_good = "g"
[[devices]]
id = "chip"
path = "platform/chip"
[[sensors]]
id = "cpu_temp"
source = "hwmon"
device = "chip"
channel = "temp1"
upper = { warning = 80 }
[[fans]]
id = "fan0"
device = "chip"
output = "pwm1"
[[fans]]
id = "fan1"
device = "chip"
output = "pwm2"
failsafe = 60
[[zones]]
id = "all"
control = "pid"
target = 60
sensors = ["cpu_temp"]
fans = ["fan0", "fan1"]
"#;

    fn at(ms: u64) -> Mono {
        Mono::from_millis(ms)
    }

    fn alive(beat: u64) -> Option<State> {
        Some(State::Ready { since: at(0), beat: at(beat) })
    }

    async fn settled(cooling: &mut Cooling, now: Mono) {
        let driven = cooling.told.recv().await.unwrap();
        cooling.tell.send(driven).await.unwrap();
        cooling.drain_results(now);
    }

    #[tokio::test]
    async fn fans_run_at_full_speed_while_thermalmgr_is_not_there_or_silent() {
        let dir = tempfile::tempdir().unwrap();
        let chip = dir.path().join("sys/devices/platform/chip");
        let folder = chip.join("hwmon/hwmon0");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::create_dir_all(dir.path().join("sys/class/hwmon")).unwrap();
        std::os::unix::fs::symlink("../../../chip", folder.join("device")).unwrap();
        let own = "../../devices/platform/chip/hwmon/hwmon0";
        std::os::unix::fs::symlink(own, dir.path().join("sys/class/hwmon/hwmon0")).unwrap();
        let put =
            |value: &str| ["pwm1", "pwm2"].map(|name| std::fs::write(folder.join(name), value).unwrap());
        let read = || {
            ["pwm1", "pwm2"].map(|name| std::fs::read_to_string(folder.join(name)).unwrap().trim().to_owned())
        };
        let board = board::parse(Path::new("b.toml"), BOARD, &[]).into_board().unwrap();
        let mut cooling = Cooling::of(&board, dir.path()).unwrap();
        put("40\n");
        // Before it is there.
        assert_eq!(cooling.poll(at(0), None), Some(FanControl::Operator));
        settled(&mut cooling, at(0)).await;
        assert_eq!(read(), ["255", "153"]);
        // It lives: nobody else touches them.
        assert_eq!(cooling.poll(at(250), alive(200)), Some(FanControl::Thermalmgr));
        put("40\n");
        for ms in [500, 750, 1_000] {
            assert_eq!(cooling.poll(at(ms), alive(200)), None);
        }
        assert!(!cooling.busy);
        // It is silent; later nobody has told yet that it is back.
        assert_eq!(cooling.poll(at(1_250), alive(200)), Some(FanControl::Operator));
        settled(&mut cooling, at(1_250)).await;
        assert_eq!(read(), ["255", "153"]);
        put("40\n");
        assert_eq!(cooling.poll(at(1_500), alive(200)), None);
        assert!(!cooling.busy, "not that often");
        assert_eq!(cooling.poll(at(2_000), alive(200)), None);
        assert_eq!(cooling.poll(at(2_300), alive(200)), None);
        settled(&mut cooling, at(2_300)).await;
        assert_eq!(read(), ["255", "153"]);
        // Who slept knows nothing of others' silence.
        assert_eq!(cooling.poll(at(9_000), alive(200)), Some(FanControl::Thermalmgr));
        assert_eq!(cooling.poll(at(9_250), alive(200)), Some(FanControl::Operator));
        // One whose looks always come late is not told for ever that all is well.
        assert_eq!(cooling.poll(at(10_000), alive(10_000)), Some(FanControl::Thermalmgr));
        assert_eq!(cooling.poll(at(10_700), alive(10_000)), None);
        assert_eq!(cooling.poll(at(11_400), alive(10_000)), None, "late, for once");
        assert_eq!(cooling.poll(at(12_100), alive(10_000)), Some(FanControl::Operator));
        // One that ends and is there again before the next look has left them alone all the same.
        assert_eq!(cooling.poll(at(12_350), alive(12_300)), Some(FanControl::Thermalmgr));
        assert_eq!(cooling.ended(at(12_400)), Some(FanControl::Operator));
        assert_eq!(cooling.ended(at(12_410)), None, "told already");
        assert_eq!(cooling.poll(at(12_600), alive(12_590)), Some(FanControl::Thermalmgr));
        cooling.leave().await;
        assert_eq!(read(), ["255", "153"]);
    }

    /// One look, or the end of thermalmgr.
    #[derive(Debug, Clone, Copy)]
    enum Seen {
        Look(Option<State>),
        Ended,
    }

    #[tokio::test]
    async fn an_absence_that_was_expected_is_told_once_when_it_lasts_or_thermalmgr_fails() {
        use Seen::{Ended, Look};
        use pb::EventSeverity::{Info, Warning};
        let until = at(60_000);
        let (stopping, starting) = (Some(State::Stopping { until }), Some(State::Starting { until }));
        let restart = [(0, Look(alive(0)), false), (250, Look(stopping), true), (300, Ended, true)];
        let with = |more: &[(u64, Seen, bool)]| [restart.as_slice(), more].concat();
        // When, what is seen, and whether it is expected; and what is told.
        let mut rows = vec![
            (vec![(0, Ended, false), (250, Look(starting), false)], vec![(0, Warning)]),
            (vec![(0, Look(None), true), (20_000, Look(starting), true)], vec![]),
            (vec![(0, Look(None), true), (9_000, Look(alive(9_000)), false)], vec![]),
            (with(&[(500, Look(starting), false), (5_000, Look(alive(5_000)), false)]), vec![]),
            // It hangs in its start, and is back after all.
            (
                with(&[
                    (10_000, Look(starting), false),
                    (10_250, Look(starting), false),
                    (10_500, Look(starting), false),
                    (30_000, Look(alive(30_000)), false),
                ]),
                vec![(10_250, Warning), (30_000, Info)],
            ),
            // It crashes in its start, again and again.
            (
                with(&[(500, Look(starting), false), (600, Ended, false), (900, Ended, false)]),
                vec![(600, Warning)],
            ),
            // It takes other settings before it is back.
            (
                with(&[(500, Look(starting), false), (600, Ended, true), (2_000, Look(alive(2_000)), false)]),
                vec![],
            ),
            // Everything stops meanwhile.
            (with(&[(500, Look(stopping), true), (600, Ended, true), (20_000, Look(None), true)]), vec![]),
            // One that was back is expected no more.
            (with(&[(1_000, Look(alive(1_000)), false), (1_250, Ended, false)]), vec![(1_250, Warning)]),
        ];
        for failed in [State::Backoff { until }, State::Degraded { until }, State::Failed { until }] {
            let seen = [(500, Look(Some(failed)), false), (750, Look(Some(failed)), false)];
            rows.push((with(&seen), vec![(500, Warning)]));
        }
        let board = board::parse(Path::new("b.toml"), BOARD, &[]).into_board().unwrap();
        for (seen, expected) in rows {
            let mut cooling = Cooling::of(&board, Path::new("/nonexistent")).unwrap();
            let mut told = Vec::new();
            for (ms, what, is_expected) in &seen {
                let change = match what {
                    Look(state) => cooling.poll(at(*ms), *state),
                    Ended => cooling.ended(at(*ms)),
                };
                let event = change.and_then(|change| cooling.told(change, *is_expected));
                told.extend(event.map(|event| (*ms, event.at_unix_ms(0, [0; 10]).severity())));
            }
            assert_eq!(told, expected, "{seen:?}");
        }
    }

    #[test]
    fn a_board_without_fans_has_nothing_to_guard() {
        let text = BOARD.split("[[fans]]").next().unwrap();
        let board = board::parse(Path::new("b.toml"), text, &[]).into_board().unwrap();
        assert!(Cooling::of(&board, Path::new("/nowhere")).is_none());
    }
}
