//! The machine alone, as a table of stories. The closed loop with a modelled host is in `tests/closed_loop.rs`.

use units::{Millis, Mono};

use super::*;
use crate::request::{Denial, OpStatus};
use crate::state::Status;

struct Bench {
    machine: Machine,
    now: Mono,
    log: Vec<Action>,
    next: u128,
    record: Option<Progress>,
    /// A drive that fails.
    refuse: Option<(Line, bool)>,
    /// How long every drive takes.
    slow: Millis,
}

fn pins(good: bool) -> Pins {
    Pins { power_good: Some(good), power: Some(false), reset: Some(false), nmi: Some(false) }
}

fn config(control: Control) -> Config {
    Config { control, reset: true, nmi: true, timings: Timings::default() }
}

impl Bench {
    fn start(config: Config, pins: Pins) -> Self {
        let mut out = Actions::new();
        let now = Mono::from_millis(10_000);
        let machine = Machine::new(config, now, pins, &mut out);
        let slow = Millis::ZERO;
        let mut bench = Self { machine, now, log: Vec::new(), next: 0, record: None, refuse: None, slow };
        bench.perform(out);
        bench
    }

    fn off() -> Self {
        Self::start(config(Control::Buttons), pins(false))
    }

    fn on() -> Self {
        Self::start(config(Control::Buttons), pins(true))
    }

    /// Lets `event` happen, on lines that do at once what they are told.
    fn event(&mut self, event: Event) -> &mut Self {
        let mut out = Actions::new();
        self.machine.step(self.now, event, &mut out);
        self.perform(out)
    }

    fn perform(&mut self, mut out: Actions) -> &mut Self {
        while let Some(action) = out.pop() {
            self.log.push(action);
            match action {
                Action::Drive { line, active, .. } if self.refuse != Some((line, active)) => {
                    self.now += self.slow;
                    self.machine.step(self.now, Event::Driven { line, active }, &mut out);
                }
                Action::Drive { line, active, .. } => {
                    self.now += self.slow;
                    self.machine.step(self.now, Event::DriveFailed { line, active }, &mut out);
                }
                Action::Record(progress) => self.record = Some(progress),
                _ => {}
            }
            if let Action::Drive { record: Some(progress), .. } = action {
                self.record = Some(progress);
            }
        }
        self
    }

    /// The daemon dies and is back after `away`.
    fn restart(&mut self, away: u64, pins: Pins) -> &mut Self {
        self.now += Millis::new(away);
        let mut out = Actions::new();
        let ended = std::mem::take(&mut self.machine.ended).into();
        let running =
            self.record.filter(|record| self.machine.status_of(record.op) == Some(OpStatus::Running));
        let past = Past { running, ended, since: Some(Mono::ZERO) };
        self.machine = Machine::resume(self.machine.config, self.now, pins, past, &mut out);
        self.log.clear();
        self.perform(out)
    }

    /// Lets time pass the way a shell does: waking at each deadline.
    fn wait(&mut self, ms: u64) -> &mut Self {
        let end = self.now + Millis::new(ms);
        while let Some(deadline) = self.machine.deadline().filter(|d| *d <= end) {
            assert!(deadline > self.now || self.machine.deadline() != Some(deadline) || deadline == self.now);
            self.now = deadline.max(self.now);
            self.event(Event::Deadline);
        }
        self.now = end;
        self
    }

    fn good(&mut self, level: bool) -> &mut Self {
        self.event(Event::PowerGood(level))
    }

    fn ask(&mut self, action: HostAction) -> Answer {
        self.next += 1;
        self.ask_as(OpId::from_bits(self.next), action)
    }

    fn ask_as(&mut self, op: OpId, action: HostAction) -> Answer {
        self.event(Event::Request(Request::new(op, action)));
        let answers = self.log.iter().rev();
        answers
            .filter_map(|a| if let Action::Answer(id, answer) = a { Some((*id, *answer)) } else { None })
            .find(|(id, _)| *id == op)
            .map(|(_, answer)| answer)
            .expect("every request is answered at once")
    }

    fn drives(&self) -> Vec<(Line, bool)> {
        self.log
            .iter()
            .filter_map(|a| {
                if let Action::Drive { line, active, .. } = a { Some((*line, *active)) } else { None }
            })
            .collect()
    }

    fn outcomes(&self) -> Vec<Outcome> {
        self.log
            .iter()
            .filter_map(|a| if let Action::Finished { outcome, .. } = a { Some(*outcome) } else { None })
            .collect()
    }

    fn causes(&self) -> Vec<RestartCause> {
        self.log.iter().filter_map(|a| if let Action::Restarted(c) = a { Some(*c) } else { None }).collect()
    }

    fn state(&self) -> State {
        self.machine.state()
    }
}

const PRESS: [(Line, bool); 2] = [(Line::Power, true), (Line::Power, false)];

#[test]
fn power_on_presses_for_200_ms_and_is_done_when_power_good_is_steady() {
    let mut bench = Bench::off();
    assert_eq!(bench.ask(HostAction::On), Answer::Accepted);
    let Action::Drive { line: Line::Power, active: true, record: Some(record) } = bench.log[0] else {
        panic!("the pin comes first: {:?}", bench.log)
    };
    assert_eq!((record.step, record.since), (Step::Starting, bench.now));
    bench.wait(199);
    assert_eq!(bench.drives(), [(Line::Power, true)]);
    bench.wait(1);
    assert_eq!(bench.drives(), PRESS);
    bench.wait(1_000).good(true).wait(19);
    assert_eq!(bench.state(), State::WaitPowerGood);
    bench.wait(1);
    assert_eq!(bench.state(), State::On);
    assert_eq!(bench.outcomes(), [Outcome::Done]);
    assert_eq!(bench.causes(), [RestartCause::Command]);
}

#[test]
fn power_on_without_power_good_fails_after_8_s_and_the_host_is_off() {
    let mut bench = Bench::off();
    bench.ask(HostAction::On);
    bench.wait(7_999);
    assert_eq!(bench.state(), State::WaitPowerGood);
    bench.wait(1);
    assert_eq!(bench.state(), State::Off);
    assert_eq!(bench.outcomes(), [Outcome::Failed(Failure::PowerGoodTimeout)]);
}

#[test]
fn a_request_that_is_already_fulfilled_drives_nothing() {
    let mut off = Bench::off();
    assert_eq!(off.ask(HostAction::GracefulOff), Answer::Already);
    assert_eq!(off.ask(HostAction::ForceOff), Answer::Already);
    assert_eq!(off.drives(), []);
    let mut on = Bench::on();
    assert_eq!(on.ask(HostAction::On), Answer::Already);
    assert_eq!(on.drives(), []);
}

#[test]
fn what_needs_a_running_host_is_denied_while_it_is_off() {
    use HostAction::{ForceRestart, GracefulRestart, Nmi, PowerCycle};
    for action in [GracefulRestart, ForceRestart, PowerCycle, Nmi] {
        let mut bench = Bench::off();
        assert_eq!(bench.ask(action), Answer::Denied(Denial::HostOff));
        assert_eq!(bench.drives(), []);
    }
}

#[test]
fn a_graceful_off_that_is_not_heard_returns_to_on_and_says_so() {
    let mut bench = Bench::on();
    assert_eq!(bench.ask(HostAction::GracefulOff), Answer::Accepted);
    bench.wait(299_999);
    assert_eq!(bench.state(), State::GracefulOff);
    bench.wait(1);
    assert_eq!(bench.state(), State::On);
    assert_eq!(bench.outcomes(), [Outcome::Failed(Failure::GracefulOffTimeout)]);
    assert_eq!(bench.drives(), PRESS, "never forced by itself");
}

#[test]
fn a_graceful_off_is_done_when_power_stays_away() {
    let mut bench = Bench::on();
    bench.ask(HostAction::GracefulOff);
    bench.wait(4_000).good(false).wait(519);
    assert_eq!(bench.outcomes(), []);
    bench.wait(1);
    assert_eq!((bench.state(), bench.outcomes()), (State::Off, vec![Outcome::Done]));
}

#[test]
fn a_dip_during_a_shutdown_is_not_the_end_of_it() {
    let mut bench = Bench::on();
    bench.ask(HostAction::GracefulOff);
    bench.wait(1_000).good(false).wait(100).good(true).wait(100);
    assert_eq!(bench.state(), State::GracefulOff);
    bench.wait(300_000);
    assert_eq!(bench.outcomes(), [Outcome::Failed(Failure::GracefulOffTimeout)]);
    assert_eq!(bench.drives(), PRESS);
}

#[test]
fn force_off_lets_go_once_power_good_has_stayed_away() {
    let mut bench = Bench::on();
    assert_eq!(bench.ask(HostAction::ForceOff), Answer::Accepted);
    bench.wait(4_000).good(false).wait(19);
    assert_eq!(bench.drives(), [(Line::Power, true)]);
    bench.wait(500);
    assert_eq!((bench.drives(), bench.outcomes()), (vec![(Line::Power, true)], vec![]));
    bench.wait(1);
    assert_eq!(bench.drives(), PRESS);
    assert_eq!((bench.state(), bench.outcomes()), (State::Off, vec![Outcome::Done]));
}

#[test]
fn force_off_is_held_through_a_power_good_that_bounces() {
    for every in [25, 60, 200, 400, 499] {
        let mut bench = Bench::on();
        bench.ask(HostAction::ForceOff);
        bench.wait(4_000);
        for _ in 0..4 {
            bench.good(false).wait(every).good(true).wait(every);
        }
        assert_eq!(bench.drives(), [(Line::Power, true)], "{every} ms");
        bench.good(false).wait(520);
        assert_eq!((bench.drives(), bench.outcomes()), (PRESS.to_vec(), vec![Outcome::Done]), "{every} ms");
    }
}

#[test]
fn force_off_gives_up_after_15_s_and_says_the_host_is_still_on() {
    let mut bench = Bench::on();
    bench.ask(HostAction::ForceOff);
    bench.wait(14_999);
    assert!(bench.machine.held().is_some());
    bench.wait(1);
    assert_eq!(bench.drives(), PRESS);
    assert_eq!(bench.state(), State::On);
    assert_eq!(bench.outcomes(), [Outcome::Failed(Failure::StillOn)]);
}

#[test]
fn force_off_supersedes_a_graceful_off_and_is_not_held_longer_than_the_limit() {
    let mut bench = Bench::on();
    bench.ask(HostAction::GracefulOff);
    bench.wait(100);
    assert_eq!(bench.ask(HostAction::ForceOff), Answer::Accepted);
    assert_eq!(bench.outcomes(), [Outcome::Superseded(OpId::from_bits(2))]);
    assert_eq!(bench.drives(), [(Line::Power, true)], "the press goes on as a hold");
    bench.wait(14_900);
    assert!(bench.machine.held().is_none());
}

#[test]
fn a_second_client_gets_the_reason_and_the_operation_in_the_way() {
    let mut bench = Bench::on();
    bench.ask(HostAction::GracefulOff);
    let op = Some(OpId::from_bits(1));
    for action in HostAction::ALL.into_iter().filter(|a| *a != HostAction::ForceOff) {
        let denial = Denial::TransitionInProgress { state: State::GracefulOff, op };
        assert_eq!(bench.ask(action), Answer::Denied(denial), "{action}");
    }
}

#[test]
fn a_second_force_off_is_told_that_one_is_in_progress() {
    let mut bench = Bench::on();
    bench.ask(HostAction::ForceOff);
    let denial = Denial::TransitionInProgress { state: State::ForceOff, op: Some(OpId::from_bits(1)) };
    assert_eq!(bench.ask(HostAction::ForceOff), Answer::Denied(denial));
}

#[test]
fn the_same_operation_is_not_done_twice() {
    let mut bench = Bench::off();
    let op = OpId::from_bits(7);
    assert_eq!(bench.ask_as(op, HostAction::On), Answer::Accepted);
    assert_eq!(bench.ask_as(op, HostAction::On), Answer::Known(OpStatus::Running));
    bench.wait(300).good(true).wait(100);
    assert_eq!(bench.ask_as(op, HostAction::On), Answer::Known(OpStatus::Ended(Outcome::Done)));
    assert_eq!(bench.drives(), PRESS);
}

#[test]
fn a_power_cycle_cuts_waits_5_s_and_presses_again() {
    let mut bench = Bench::on();
    assert_eq!(bench.ask(HostAction::PowerCycle), Answer::Accepted);
    bench.wait(4_000).good(false).wait(520);
    assert_eq!(bench.state(), State::CycleOff);
    bench.wait(4_999);
    assert_eq!(bench.drives(), PRESS);
    bench.wait(1).wait(300).good(true).wait(20);
    assert_eq!((bench.state(), bench.outcomes()), (State::On, vec![Outcome::Done]));
    assert_eq!(bench.drives(), [PRESS, PRESS].concat());
    assert_eq!(bench.causes(), [RestartCause::PowerCycle]);
}

#[test]
fn a_graceful_restart_asks_waits_and_presses_again() {
    let mut bench = Bench::on();
    bench.ask(HostAction::GracefulRestart);
    assert_eq!(bench.state(), State::GracefulCycleOff);
    bench.wait(9_000).good(false).wait(520 + 5_000 + 300).good(true).wait(20);
    assert_eq!((bench.state(), bench.outcomes()), (State::On, vec![Outcome::Done]));
    assert_eq!(bench.causes(), [RestartCause::Command]);
}

#[test]
fn force_off_during_the_off_time_of_a_cycle_keeps_the_host_off() {
    let mut bench = Bench::on();
    bench.ask(HostAction::PowerCycle);
    bench.wait(4_000).good(false).wait(1_000);
    assert_eq!(bench.ask(HostAction::ForceOff), Answer::Accepted);
    bench.wait(60_000);
    assert_eq!(bench.state(), State::Off);
    assert_eq!(bench.outcomes(), [Outcome::Superseded(OpId::from_bits(2)), Outcome::Done]);
    assert_eq!(bench.drives(), PRESS);
}

#[test]
fn a_force_restart_presses_reset_for_500_ms() {
    let mut bench = Bench::on();
    assert_eq!(bench.ask(HostAction::ForceRestart), Answer::Accepted);
    bench.wait(500);
    assert_eq!(bench.drives(), [(Line::Reset, true), (Line::Reset, false)]);
    bench.wait(500);
    assert_eq!((bench.state(), bench.outcomes()), (State::On, vec![Outcome::Done]));
    assert_eq!(bench.causes(), [RestartCause::Command]);
}

#[test]
fn a_force_restart_without_a_reset_line_is_a_power_cycle() {
    let mut bench = Bench::start(Config { reset: false, ..config(Control::Buttons) }, pins(true));
    bench.ask(HostAction::ForceRestart);
    assert_eq!(bench.state(), State::ForceCycleOff);
}

#[test]
fn a_reset_that_takes_power_good_away_for_good_fails() {
    let mut bench = Bench::on();
    bench.ask(HostAction::ForceRestart);
    bench.wait(100).good(false).wait(900 + 8_000);
    assert_eq!(bench.state(), State::Off);
    assert_eq!(bench.outcomes(), [Outcome::Failed(Failure::PowerGoodTimeout)]);
}

#[test]
fn an_nmi_is_a_pulse_of_200_ms_and_the_host_counts_as_on() {
    let mut bench = Bench::on();
    assert_eq!(bench.ask(HostAction::Nmi), Answer::Accepted);
    assert_eq!(bench.state().status(), Status::On);
    bench.wait(200);
    assert_eq!(bench.drives(), [(Line::Nmi, true), (Line::Nmi, false)]);
    assert_eq!(bench.outcomes(), [Outcome::Done]);
}

#[test]
fn an_nmi_without_a_line_is_not_supported() {
    let mut bench = Bench::start(Config { nmi: false, ..config(Control::Buttons) }, pins(true));
    assert_eq!(bench.ask(HostAction::Nmi), Answer::Denied(Denial::NotSupported(HostAction::Nmi)));
}

#[test]
fn a_short_loss_of_power_good_is_a_soft_reset() {
    let mut bench = Bench::on();
    bench.good(false).wait(100);
    assert_eq!(bench.state(), State::CheckPowerLoss);
    bench.good(true).wait(100);
    assert_eq!(bench.state(), State::On);
    assert_eq!(bench.causes(), [RestartCause::SoftReset]);
}

#[test]
fn a_bounce_of_power_good_is_nothing() {
    let mut bench = Bench::on();
    bench.good(false).wait(5).good(true).wait(1_000);
    assert_eq!(bench.log, []);
}

#[test]
fn a_lasting_loss_of_power_good_is_told_and_nothing_is_pressed() {
    let mut bench = Bench::on();
    bench.good(false).wait(500);
    assert_eq!(bench.state(), State::Off);
    assert!(bench.log.contains(&Action::Note(Note::PowerLost)));
    assert_eq!(bench.drives(), []);
}

#[test]
fn force_off_while_power_good_is_in_doubt_waits_to_see_and_then_acts() {
    let mut gone = Bench::on();
    gone.good(false).wait(100);
    assert_eq!(gone.ask(HostAction::ForceOff), Answer::Accepted);
    gone.wait(1_000);
    assert_eq!((gone.state(), gone.outcomes(), gone.drives()), (State::Off, vec![Outcome::Done], vec![]));

    let mut back = Bench::on();
    back.good(false).wait(100);
    back.ask(HostAction::ForceOff);
    back.good(true).wait(20);
    assert_eq!(back.state(), State::ForceOff);
    assert_eq!(back.drives(), [(Line::Power, true)]);
}

#[test]
fn a_host_that_comes_on_by_itself_is_seen_with_the_button_as_its_cause() {
    let mut button = Bench::off();
    button.event(Event::Panel(Button::Power, true)).wait(150).event(Event::Panel(Button::Power, false));
    button.wait(300).good(true).wait(20);
    assert_eq!((button.state(), button.causes()), (State::On, vec![RestartCause::PowerButton]));
    let released = Note::ButtonReleased { button: Button::Power, held: Millis::new(150) };
    assert!(button.log.contains(&Action::Note(released)));

    let mut wake = Bench::off();
    wake.good(true).wait(20);
    assert_eq!((wake.state(), wake.causes()), (State::On, vec![RestartCause::Unknown]));
}

#[test]
fn the_machines_own_press_is_not_mistaken_for_a_finger() {
    let mut bench = Bench::off();
    bench.ask(HostAction::On);
    bench.event(Event::Panel(Button::Power, true)).wait(200).event(Event::Panel(Button::Power, false));
    assert!(!bench.log.iter().any(|a| matches!(a, Action::Note(_))));
}

#[test]
fn a_reset_button_on_the_panel_is_a_restart() {
    let mut bench = Bench::on();
    bench.event(Event::Panel(Button::Reset, true));
    assert_eq!(bench.causes(), [RestartCause::ResetButton]);
}

#[test]
fn the_start_believes_the_pins_and_drives_nothing() {
    for control in [Control::Buttons, Control::Level] {
        for good in [false, true] {
            let bench = Bench::start(
                config(control),
                Pins { power: Some(good && control == Control::Level), ..pins(good) },
            );
            assert_eq!(bench.state(), if good { State::On } else { State::Off });
            assert_eq!(bench.log, []);
        }
    }
}

#[test]
fn a_button_found_pressed_at_the_start_is_let_go() {
    let pins = Pins { power: Some(true), reset: Some(true), ..pins(true) };
    let bench = Bench::start(config(Control::Buttons), pins);
    assert_eq!(bench.drives(), [(Line::Power, false), (Line::Reset, false)]);
    assert_eq!(bench.state(), State::On);
}

#[test]
fn a_held_level_is_left_alone_at_the_start() {
    let bench = Bench::start(config(Control::Level), Pins { power: Some(true), ..pins(true) });
    assert_eq!(bench.drives(), []);
}

#[test]
fn a_start_under_way_is_waited_for_and_can_be_adopted() {
    let mut bench = Bench::start(config(Control::Level), Pins { power: Some(true), ..pins(false) });
    assert_eq!(bench.state(), State::WaitPowerGood);
    assert_eq!(bench.ask(HostAction::On), Answer::Accepted);
    assert_eq!(bench.drives(), []);
    bench.good(true).wait(20);
    assert_eq!((bench.state(), bench.outcomes()), (State::On, vec![Outcome::Done]));
}

#[test]
fn a_level_is_raised_held_and_dropped() {
    let mut bench = Bench::start(config(Control::Level), pins(false));
    bench.ask(HostAction::On);
    bench.wait(300).good(true).wait(10_000);
    assert_eq!(bench.drives(), [(Line::Power, true)]);
    bench.ask(HostAction::ForceOff);
    assert_eq!(bench.drives(), PRESS);
    bench.good(false).wait(1_000);
    assert_eq!((bench.state(), bench.outcomes()), (State::Off, vec![Outcome::Done, Outcome::Done]));
}

#[test]
fn a_supply_that_trips_under_a_held_level_is_not_retried() {
    let mut bench = Bench::start(config(Control::Level), Pins { power: Some(true), ..pins(true) });
    bench.good(false).wait(60_000);
    assert_eq!(bench.drives(), [(Line::Power, false)]);
    assert_eq!(bench.state(), State::Off);
}

#[test]
fn a_level_host_cannot_be_asked_to_shut_down() {
    let mut bench = Bench::start(config(Control::Level), pins(true));
    let denied = Answer::Denied(Denial::NotSupported(HostAction::GracefulOff));
    assert_eq!(bench.ask(HostAction::GracefulOff), denied);
}

#[test]
fn a_press_that_fails_fails_the_operation_and_lets_go() {
    let mut bench = Bench::off();
    bench.refuse = Some((Line::Power, true));
    bench.ask(HostAction::On);
    assert_eq!(bench.outcomes(), [Outcome::Failed(Failure::LineFailed(Line::Power))]);
    assert_eq!(bench.state(), State::Off);
    assert_eq!(bench.drives(), PRESS);
}

#[test]
fn a_button_that_cannot_be_let_go_is_tried_again_until_it_works() {
    let mut bench = Bench::off();
    bench.refuse = Some((Line::Power, false));
    bench.ask(HostAction::On);
    bench.wait(250);
    bench.refuse = None;
    bench.wait(50);
    assert_eq!(bench.drives().iter().filter(|d| !d.1).count(), 3);
    let before = bench.drives().len();
    bench.wait(1_000);
    assert_eq!(bench.drives().len(), before, "the third worked");
}

#[test]
fn without_power_good_only_force_off_is_possible_and_its_end_is_not_claimed() {
    let mut bench = Bench::start(config(Control::Buttons), Pins { power_good: None, ..pins(true) });
    assert_eq!(bench.state().status(), Status::Unknown);
    assert_eq!(bench.ask(HostAction::On), Answer::Denied(Denial::PowerGoodUnreadable));
    assert_eq!(bench.ask(HostAction::ForceOff), Answer::Accepted);
    bench.wait(15_000);
    assert_eq!(bench.outcomes(), [Outcome::Failed(Failure::PowerGoodUnreadable)]);
    assert_eq!(bench.state(), State::Unknown);
    bench.good(false);
    assert_eq!(bench.state(), State::Off);
}

#[test]
fn power_good_lost_from_sight_is_not_shown_as_good() {
    let mut bench = Bench::on();
    bench.event(Event::PowerGoodUnreadable);
    assert_eq!(bench.state(), State::Unknown);
    bench.good(true);
    assert_eq!(bench.state(), State::On);
}

#[test]
fn an_operation_ends_at_the_callers_deadline_if_that_is_earlier() {
    let mut bench = Bench::on();
    let (op, deadline) = (OpId::from_bits(1), Some(bench.now + Millis::from_secs(10)));
    bench
        .event(Event::Request(Request { deadline, ..Request::new(op, HostAction::GracefulOff) }))
        .wait(10_000);
    assert_eq!(bench.outcomes(), [Outcome::Failed(Failure::GracefulOffTimeout)]);
}

#[test]
fn what_was_not_begun_in_time_is_refused_and_drives_nothing() {
    for action in HostAction::ALL {
        for mut bench in [Bench::on(), Bench::off()] {
            let (late, later) = (bench.now.saturating_sub(Millis::new(1)), bench.now + Millis::from_secs(5));
            for (begin_by, deadline) in
                [(Some(late), None), (None, Some(bench.now)), (Some(late), Some(later))]
            {
                bench.next += 1;
                let op = OpId::from_bits(bench.next);
                bench.event(Event::Request(Request { begin_by, deadline, ..Request::new(op, action) }));
                assert_eq!(bench.log.last(), Some(&Action::Answer(op, Answer::Denied(Denial::TooLate))));
                assert_eq!((bench.drives(), bench.machine.status_of(op)), (vec![], None), "{action}");
            }
        }
    }
}

#[test]
fn a_late_timer_delays_and_does_not_confuse() {
    let mut bench = Bench::on();
    bench.ask(HostAction::PowerCycle);
    bench.now += Millis::from_secs(3_600);
    bench.good(false);
    bench.wait(60_000);
    assert_eq!(bench.outcomes(), [Outcome::Failed(Failure::StillOn)]);
    assert_eq!(bench.state(), State::Off);
}

#[test]
fn every_state_that_waits_has_a_limit() {
    for state in State::ALL {
        let waits = !matches!(state, State::Unknown | State::Off | State::On);
        assert_eq!(state.limit(&Timings::default()).is_some(), waits, "{state}");
    }
}

#[test]
fn a_pulse_on_a_line_that_fails_slowly_is_told_as_failed() {
    for (action, line) in [(HostAction::Nmi, Line::Nmi), (HostAction::ForceRestart, Line::Reset)] {
        for slow in [0, 100, 600, 2_000, 20_000] {
            let mut bench = Bench::on();
            (bench.slow, bench.refuse) = (Millis::new(slow), Some((line, true)));
            bench.ask(action);
            bench.wait(60_000);
            let failed = Outcome::Failed(Failure::LineFailed(line));
            assert_eq!(bench.outcomes(), [failed], "{action}, {slow} ms");
            assert_eq!(bench.causes(), [], "{action}, {slow} ms");
            assert_eq!(bench.drives(), [(line, true), (line, false)]);
        }
    }
}

#[test]
fn a_pulse_whose_line_cannot_be_let_go_is_told_as_failed_and_the_line_tried_again() {
    for (action, line) in [(HostAction::Nmi, Line::Nmi), (HostAction::ForceRestart, Line::Reset)] {
        let mut bench = Bench::on();
        bench.refuse = Some((line, false));
        bench.ask(action);
        bench.wait(6_000);
        assert_eq!(bench.outcomes(), [Outcome::Failed(Failure::LineFailed(line))]);
        bench.refuse = None;
        bench.wait(100);
        let before = bench.drives().len();
        bench.wait(60_000);
        assert_eq!((bench.drives().len(), bench.drives().last()), (before, Some(&(line, false))));
    }
}

#[test]
fn a_press_lasts_its_time_from_when_the_wire_has_the_level() {
    for (action, span) in
        [(HostAction::GracefulOff, 200), (HostAction::Nmi, 200), (HostAction::ForceRestart, 500)]
    {
        let mut bench = Bench::on();
        bench.slow = Millis::new(1_500);
        bench.ask(action);
        bench.wait(span - 1);
        assert_eq!(bench.drives().len(), 1, "{action}");
        bench.wait(1);
        assert_eq!(bench.drives().len(), 2, "{action}");
    }
}

/// The record of an operation with this step, taken now.
fn recorded(bench: &mut Bench, action: HostAction, step: Step) -> OpId {
    bench.next += 1;
    let (op, now) = (OpId::from_bits(bench.next), bench.now);
    let deadline = now + Millis::from_secs(400);
    bench.record = Some(Progress { op, action, step, since: now, begun: now, deadline });
    let request = Request::new(op, action);
    bench.machine.op = Some(Running { request, since: now, deadline, stored: None, first: None });
    op
}

#[test]
fn after_a_restart_nothing_is_pressed_for_what_may_have_been_done() {
    use HostAction::{ForceOff, ForceRestart, GracefulOff, GracefulRestart, Nmi, On, PowerCycle};
    use Step::{Off, Pressed, Pressing, Starting};
    let done = Outcome::Done;
    let failed = Outcome::Failed;
    let interrupted = failed(Failure::Interrupted);
    let timed_out = failed(Failure::PowerGoodTimeout);
    let unheard = failed(Failure::GracefulOffTimeout);
    let held = vec![(Line::Power, true), (Line::Power, false)];
    // What is recorded, whether the host is on when the daemon is back and stays so, what is driven, how it ends.
    let table = [
        (On, Starting, false, vec![], timed_out),
        (On, Starting, true, vec![], done),
        (GracefulOff, Pressing, true, vec![], unheard),
        (GracefulOff, Pressed, true, vec![], unheard),
        (GracefulOff, Pressed, false, vec![], done),
        (ForceOff, Pressing, true, held.clone(), failed(Failure::StillOn)),
        (ForceOff, Pressed, true, held.clone(), failed(Failure::StillOn)),
        (ForceOff, Pressed, false, vec![], done),
        (GracefulRestart, Pressed, true, vec![], unheard),
        (GracefulRestart, Pressed, false, held.clone(), timed_out),
        (GracefulRestart, Off, true, vec![], done),
        (GracefulRestart, Starting, false, vec![], timed_out),
        (GracefulRestart, Starting, true, vec![], done),
        (PowerCycle, Pressed, true, held.clone(), failed(Failure::StillOn)),
        (PowerCycle, Pressed, false, held.clone(), timed_out),
        (PowerCycle, Off, false, held.clone(), timed_out),
        (PowerCycle, Off, true, vec![], done),
        (PowerCycle, Starting, false, vec![], timed_out),
        (PowerCycle, Starting, true, vec![], done),
        (ForceRestart, Pressing, true, vec![], interrupted),
        (ForceRestart, Pressed, true, vec![], done),
        (ForceRestart, Pressed, false, vec![], timed_out),
        (ForceRestart, Starting, true, vec![], done),
        (Nmi, Pressing, true, vec![], interrupted),
        (Nmi, Pressed, true, vec![], done),
    ];
    for (action, step, on, drives, outcome) in table {
        for away in [0, 50, 1_000] {
            let mut bench = if on { Bench::on() } else { Bench::off() };
            let op = recorded(&mut bench, action, step);
            bench.restart(away, pins(on)).wait(500_000);
            let what = format!("{action}, {step:?}, on: {on}, away {away} ms");
            assert_eq!(bench.drives(), drives, "{what}");
            assert_eq!(bench.outcomes(), [outcome], "{what}");
            assert_eq!(bench.ask_as(op, action), Answer::Known(OpStatus::Ended(outcome)), "{what}");
            let state = if on { State::On } else { State::Off };
            assert_eq!(bench.state(), state, "{what}");
        }
    }
}

#[test]
fn a_button_found_pressed_for_an_operation_goes_on_being_pressed() {
    let found = |line| Pins {
        power: Some(line == Line::Power),
        reset: Some(line == Line::Reset),
        nmi: Some(line == Line::Nmi),
        ..pins(true)
    };
    for (action, line, span, outcome) in [
        (HostAction::ForceOff, Line::Power, 15_000, Outcome::Failed(Failure::StillOn)),
        (HostAction::GracefulOff, Line::Power, 150, Outcome::Failed(Failure::GracefulOffTimeout)),
        (HostAction::ForceRestart, Line::Reset, 450, Outcome::Done),
        (HostAction::Nmi, Line::Nmi, 150, Outcome::Done),
    ] {
        let mut bench = Bench::on();
        recorded(&mut bench, action, Step::Pressing);
        bench.restart(50, found(line)).wait(span - 1);
        assert_eq!(bench.drives(), [], "{action}");
        bench.wait(1);
        assert_eq!(bench.drives(), [(line, false)], "{action}");
        bench.wait(500_000);
        assert_eq!((bench.outcomes(), bench.drives().len()), (vec![outcome], 1), "{action}");
    }
}

#[test]
fn an_operation_whose_time_is_over_when_the_daemon_is_back_presses_nothing() {
    for action in HostAction::ALL {
        for step in [Step::Pressing, Step::Pressed, Step::Off, Step::Starting] {
            for on in [false, true] {
                let mut bench = if on { Bench::on() } else { Bench::off() };
                recorded(&mut bench, action, step);
                bench.restart(400_000, pins(on)).wait(500_000);
                assert_eq!(bench.drives(), [], "{action}, {step:?}");
                assert_eq!(bench.outcomes(), [Outcome::Failed(Failure::Expired)], "{action}, {step:?}");
            }
        }
    }
}

#[test]
fn an_operation_waits_for_pins_that_cannot_be_read_and_ends_in_time() {
    let blind = Pins { power_good: None, ..pins(false) };
    let mut bench = Bench::off();
    let op = recorded(&mut bench, HostAction::PowerCycle, Step::Starting);
    bench.restart(50, blind);
    assert_eq!(bench.machine.status_of(op), Some(OpStatus::Running));
    bench.wait(3_000).good(true).wait(20);
    assert_eq!((bench.outcomes(), bench.drives()), (vec![Outcome::Done], vec![]));

    let mut bench = Bench::off();
    recorded(&mut bench, HostAction::PowerCycle, Step::Off);
    bench.restart(50, blind).wait(500_000);
    assert_eq!(bench.outcomes(), [Outcome::Failed(Failure::PowerGoodUnreadable)]);
    assert_eq!(bench.drives(), []);
}

#[test]
fn what_cannot_be_recorded_and_must_be_is_not_begun() {
    for (action, on) in HostAction::ALL.into_iter().map(|action| (action, action != HostAction::On)) {
        let mut bench = if on { Bench::on() } else { Bench::off() };
        let mut out = Actions::new();
        bench.machine.step(bench.now, Event::Request(Request::new(OpId::from_bits(1), action)), &mut out);
        let Some(Action::Drive { line, record: Some(record), .. }) = out.pop() else { panic!("{action}") };
        let twice_does_harm =
            [HostAction::GracefulRestart, HostAction::ForceRestart, HostAction::PowerCycle, HostAction::Nmi];
        assert_eq!(record.is_vital(), twice_does_harm.contains(&action), "{action}");
        if record.is_vital() {
            bench.machine.step(bench.now, Event::NotRecorded { line }, &mut out);
            bench.perform(out).wait(500_000);
            assert_eq!(bench.drives(), [], "{action}");
            assert_eq!(bench.outcomes(), [Outcome::Failed(Failure::NotRecorded)], "{action}");
            assert_eq!(bench.state(), State::On);
        }
    }
}

#[test]
fn what_may_have_been_done_before_the_record_begins_is_not_done_again() {
    let old = |op, action| Request { first_asked: Some(Mono::ZERO), ..Request::new(op, action) };
    for action in HostAction::ALL {
        let op = OpId::from_bits(1);
        let restarts = !matches!(action, HostAction::On | HostAction::GracefulOff | HostAction::ForceOff);
        let mut on = Bench::on();
        on.event(Event::Request(old(op, action)));
        if restarts || action == HostAction::GracefulOff {
            assert_eq!(on.drives(), [], "{action}");
            let interrupted = OpStatus::Ended(Outcome::Failed(Failure::Interrupted));
            assert_eq!(on.machine.status_of(op), Some(interrupted), "{action}");
        }
        let mut off = Bench::off();
        off.event(Event::Request(old(op, action))).wait(300).good(true).wait(100);
        let starts = restarts && action != HostAction::Nmi || action == HostAction::On;
        assert_eq!(off.drives(), if starts { PRESS.to_vec() } else { vec![] }, "{action}");
        assert_eq!(off.state(), State::On);
    }
}

#[test]
fn a_missing_line_costs_what_needs_it_and_nothing_else() {
    use HostAction::{ForceOff, ForceRestart, GracefulOff, GracefulRestart, Nmi, On, PowerCycle};
    let missing = |line| Pins {
        power: (line != Line::Power).then_some(false),
        reset: (line != Line::Reset).then_some(false),
        nmi: (line != Line::Nmi).then_some(false),
        ..pins(true)
    };
    let needs = [
        (Line::Power, vec![GracefulOff, GracefulRestart, ForceOff, PowerCycle]),
        (Line::Reset, vec![ForceRestart]),
        (Line::Nmi, vec![Nmi]),
    ];
    for (line, actions) in needs {
        for action in HostAction::ALL.into_iter().filter(|action| *action != On) {
            let mut bench = Bench::start(config(Control::Buttons), missing(line));
            let denied = Answer::Denied(Denial::LineMissing(line));
            let wanted = if actions.contains(&action) { denied } else { Answer::Accepted };
            assert_eq!(bench.ask(action), wanted, "{action} without {line}");
        }
        let mut bench = Bench::start(config(Control::Buttons), missing(line));
        bench.event(Event::Line(line, Some(true)));
        assert_eq!(bench.drives(), [(line, false)], "found pressed and let go");
        assert_eq!(bench.ask(actions[0]), Answer::Accepted);
        bench.wait(500_000).event(Event::Line(line, None));
        assert_eq!(bench.ask(actions[0]), Answer::Denied(Denial::LineMissing(line)));
    }
}
