//! The machine alone, as a table of stories. The closed loop with a modelled host is in `tests/closed_loop.rs`.

use units::{Millis, Mono};

use super::*;
use crate::request::Denial;

struct Bench {
    machine: Machine,
    now: Mono,
    log: Vec<Action>,
    next: u128,
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
        Self { machine, now, log: out.drain().collect(), next: 0 }
    }

    fn off() -> Self {
        Self::start(config(Control::Buttons), pins(false))
    }

    fn on() -> Self {
        Self::start(config(Control::Buttons), pins(true))
    }

    fn event(&mut self, event: Event) -> &mut Self {
        let mut out = Actions::new();
        self.machine.step(self.now, event, &mut out);
        self.log.extend(out.drain());
        self
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
            .filter_map(
                |a| if let Action::Drive { line, active } = a { Some((*line, *active)) } else { None },
            )
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
    assert_eq!(bench.log[0], Action::Drive { line: Line::Power, active: true }, "the pin comes first");
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
fn force_off_lets_go_as_soon_as_power_good_has_dropped() {
    let mut bench = Bench::on();
    assert_eq!(bench.ask(HostAction::ForceOff), Answer::Accepted);
    bench.wait(4_000).good(false).wait(19);
    assert_eq!(bench.drives(), [(Line::Power, true)]);
    bench.wait(1);
    assert_eq!(bench.drives(), PRESS);
    bench.wait(500);
    assert_eq!((bench.state(), bench.outcomes()), (State::Off, vec![Outcome::Done]));
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
    bench.ask(HostAction::On);
    bench.event(Event::DriveFailed { line: Line::Power, active: true });
    assert_eq!(bench.outcomes(), [Outcome::Failed(Failure::LineFailed(Line::Power))]);
    assert_eq!(bench.state(), State::Off);
    assert_eq!(bench.drives(), PRESS);
}

#[test]
fn a_button_that_cannot_be_let_go_is_tried_again_until_it_works() {
    let mut bench = Bench::off();
    bench.ask(HostAction::On);
    bench.wait(200).event(Event::DriveFailed { line: Line::Power, active: false });
    bench.wait(50).event(Event::DriveFailed { line: Line::Power, active: false });
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
                bench.event(Event::Request(Request { op, action, begin_by, deadline }));
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
