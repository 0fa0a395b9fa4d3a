//! Intents, as a table of stories.

use units::{Millis, Mono};

use super::*;

struct Bench {
    desired: Desired,
    now: Mono,
    log: Vec<Action>,
    next: u128,
}

impl Bench {
    fn new(status: Status) -> Self {
        let mut bench = Self {
            desired: Desired::new(&Timings::default()),
            now: Mono::from_millis(1_000),
            log: Vec::new(),
            next: 0,
        };
        bench.look(status, None);
        bench.log.clear();
        bench
    }

    fn event(&mut self, event: Event) -> &mut Self {
        self.desired.step(self.now, event, &mut self.log);
        self
    }

    fn wait(&mut self, ms: u64) -> &mut Self {
        let end = self.now + Millis::new(ms);
        let mut turns = 0;
        while let Some(deadline) = self.desired.deadline().filter(|deadline| *deadline <= end) {
            turns += 1;
            assert!(turns < 1_000, "a busy loop: {:?}", self.desired);
            self.now = deadline.max(self.now);
            self.event(Event::Deadline);
        }
        self.now = end;
        self
    }

    fn ask(&mut self, action: HostAction) -> OpId {
        self.next += 1;
        let op = OpId::from_bits(self.next);
        self.event(Event::Request { op, action });
        op
    }

    fn accept(&mut self, op: OpId) -> &mut Self {
        self.event(Event::Applied(op, Reply::Accepted)).event(Event::Stored(op, true))
    }

    fn look(&mut self, status: Status, operation: Option<(OpId, OpStatus)>) -> &mut Self {
        self.event(Event::Look(Some(Seen { status, operation })))
    }

    fn answers(&self) -> Vec<(OpId, Answer)> {
        self.log
            .iter()
            .filter_map(|a| if let Action::Answer(op, answer) = a { Some((*op, *answer)) } else { None })
            .collect()
    }

    fn applies(&self) -> Vec<HostAction> {
        self.log
            .iter()
            .filter_map(|a| if let Action::Apply { action, .. } = a { Some(*action) } else { None })
            .collect()
    }

    fn ends(&self) -> Vec<(OpId, Outcome, bool)> {
        self.log
            .iter()
            .filter_map(|a| match a {
                Action::Ended { intent, outcome, told } => Some((intent.op, *outcome, *told)),
                _ => None,
            })
            .collect()
    }

    fn remembered(&self) -> Vec<bool> {
        self.log
            .iter()
            .filter_map(|a| if let Action::Remember { on } = a { Some(*on) } else { None })
            .collect()
    }
}

#[test]
fn a_request_is_accepted_when_it_is_begun_and_stored() {
    for stored_first in [false, true] {
        let mut bench = Bench::new(Status::Off);
        let op = bench.ask(HostAction::On);
        let (stored, applied) = (Event::Stored(op, true), Event::Applied(op, Reply::Accepted));
        let (first, second) = if stored_first { (stored, applied) } else { (applied, stored) };
        bench.event(first);
        assert_eq!(bench.answers(), []);
        bench.event(second);
        assert_eq!(bench.answers(), [(op, Answer::Accepted)]);
        bench.event(Event::Finished(op, Outcome::Done));
        assert_eq!(bench.ends(), [(op, Outcome::Done, true)]);
        assert!(bench.log.contains(&Action::Forget(op)));
    }
}

#[test]
fn the_pin_does_not_wait_for_the_store() {
    let mut bench = Bench::new(Status::Off);
    let op = bench.ask(HostAction::On);
    assert_eq!(bench.log[0], Action::Apply { op, action: HostAction::On });
    assert!(matches!(bench.log[1], Action::Persist(_)));
}

#[test]
fn what_will_likely_be_refused_is_not_written_to_flash() {
    for (status, action) in [
        (Status::Off, HostAction::GracefulOff),
        (Status::On, HostAction::On),
        (Status::Transitioning, HostAction::On),
    ] {
        let mut bench = Bench::new(status);
        let op = bench.ask(action);
        bench.event(Event::Applied(op, Reply::Already));
        assert_eq!(bench.answers(), [(op, Answer::Already)]);
        assert!(!bench.log.iter().any(|a| matches!(a, Action::Persist(_) | Action::Forget(_))));
    }
}

#[test]
fn a_refusal_is_passed_on_and_nothing_is_left() {
    let mut bench = Bench::new(Status::On);
    let op = bench.ask(HostAction::Nmi);
    bench.event(Event::Applied(op, Reply::Denied));
    assert_eq!(bench.answers(), [(op, Answer::Refused)]);
    assert!(bench.log.contains(&Action::Forget(op)));
    assert_eq!(bench.desired.intent(), None);
}

#[test]
fn of_two_clients_the_second_is_told_of_the_first() {
    let mut bench = Bench::new(Status::Off);
    let first = bench.ask(HostAction::On);
    let second = bench.ask(HostAction::On);
    assert_eq!(bench.answers(), [(second, Answer::Busy(first))]);
}

#[test]
fn a_force_off_takes_over_from_anything_but_a_force_off() {
    let mut bench = Bench::new(Status::On);
    let graceful = bench.ask(HostAction::GracefulOff);
    bench.accept(graceful);
    let force = bench.ask(HostAction::ForceOff);
    assert_eq!(bench.ends(), [(graceful, Outcome::Superseded(force), true)]);
    let again = bench.ask(HostAction::ForceOff);
    assert_eq!(bench.answers().last(), Some(&(again, Answer::Busy(force))));
    // The first one's end, as its machine tells it, changes nothing any more.
    bench.event(Event::Finished(graceful, Outcome::Superseded(force)));
    assert_eq!(bench.desired.intent().map(|intent| intent.op), Some(force));
}

#[test]
fn a_client_overtaken_before_its_answer_is_told_so() {
    let mut bench = Bench::new(Status::Off);
    let on = bench.ask(HostAction::On);
    let force = bench.ask(HostAction::ForceOff);
    assert_eq!(bench.answers(), [(on, Answer::Superseded(force))]);
}

#[test]
fn power_is_locked_during_maintenance_even_for_force_off() {
    let mut bench = Bench::new(Status::On);
    bench.event(Event::Maintenance(true));
    for action in HostAction::ALL {
        let op = bench.ask(action);
        assert_eq!(bench.answers().last(), Some(&(op, Answer::Maintenance)));
    }
    assert_eq!(bench.applies(), []);
    bench.event(Event::Maintenance(false));
    bench.ask(HostAction::ForceOff);
    assert_eq!(bench.applies(), [HostAction::ForceOff]);
}

#[test]
fn a_daemon_that_is_away_for_a_moment_costs_only_time() {
    let mut bench = Bench::new(Status::Off);
    let op = bench.ask(HostAction::On);
    bench.event(Event::Stored(op, true)).event(Event::Applied(op, Reply::Unreachable)).wait(100);
    assert_eq!(bench.applies().len(), 2);
    bench.event(Event::Applied(op, Reply::Accepted));
    assert_eq!(bench.answers(), [(op, Answer::Accepted)]);
}

#[test]
fn a_daemon_that_stays_away_is_the_answer_and_the_wish_is_dropped() {
    let mut bench = Bench::new(Status::Off);
    let op = bench.ask(HostAction::On);
    bench.event(Event::Stored(op, true)).event(Event::Applied(op, Reply::Unreachable));
    for _ in 0..100 {
        bench.wait(100);
        if bench.desired.intent().is_some() {
            bench.event(Event::Applied(op, Reply::Unreachable));
        }
    }
    assert_eq!(bench.answers(), [(op, Answer::Unreachable)]);
    assert_eq!(bench.desired.intent(), None, "told that it did not happen, so it must not happen later");
    assert!(bench.log.contains(&Action::Forget(op)));
}

#[test]
fn a_wish_that_could_not_be_stored_is_under_way_and_said_to_be_at_risk() {
    let mut bench = Bench::new(Status::Off);
    let op = bench.ask(HostAction::On);
    bench.event(Event::Applied(op, Reply::Accepted)).event(Event::Stored(op, false));
    assert_eq!(bench.answers(), [(op, Answer::NotStored)]);
    bench.event(Event::Finished(op, Outcome::Done));
    assert_eq!(bench.ends(), [(op, Outcome::Done, true)]);
}

#[test]
fn a_lost_operation_whose_aim_is_reached_is_done() {
    let lost = [
        (HostAction::On, Status::On),
        (HostAction::GracefulOff, Status::Off),
        (HostAction::ForceOff, Status::Off),
        (HostAction::Nmi, Status::On),
    ];
    for (action, status) in lost {
        let before = if action == HostAction::On { Status::Off } else { Status::On };
        let mut bench = Bench::new(before);
        let op = bench.ask(action);
        bench.accept(op).look(status, None);
        assert_eq!(bench.ends(), [(op, Outcome::Done, false)], "{action}");
        assert_eq!(bench.applies().len(), 1);
    }
}

#[test]
fn a_lost_operation_whose_aim_is_not_reached_is_begun_again_with_the_same_id() {
    let mut bench = Bench::new(Status::On);
    let op = bench.ask(HostAction::GracefulOff);
    bench.accept(op).look(Status::On, None);
    assert_eq!(bench.applies(), [HostAction::GracefulOff], "the press may have been given");
    bench.wait(8_200).look(Status::On, None);
    assert_eq!(bench.applies(), [HostAction::GracefulOff; 2]);
    bench.event(Event::Applied(op, Reply::Already));
    assert_eq!(bench.ends(), [(op, Outcome::Done, false)]);
    assert_eq!(bench.answers(), [(op, Answer::Accepted)], "answered once");
}

#[test]
fn of_a_lost_power_cycle_only_the_missing_half_is_done() {
    let mut bench = Bench::new(Status::On);
    let op = bench.ask(HostAction::PowerCycle);
    bench.accept(op).wait(8_200).look(Status::Off, None);
    assert_eq!(bench.applies(), [HostAction::PowerCycle, HostAction::On]);
    bench.event(Event::Applied(op, Reply::Accepted)).look(Status::On, None);
    assert_eq!(bench.ends(), [(op, Outcome::Done, false)]);
}

#[test]
fn an_operation_that_still_runs_is_left_alone() {
    let mut bench = Bench::new(Status::On);
    let op = bench.ask(HostAction::GracefulOff);
    bench.accept(op).look(Status::Transitioning, Some((op, OpStatus::Running)));
    assert_eq!(bench.applies().len(), 1);
}

#[test]
fn an_end_that_was_not_heard_is_found_by_looking() {
    let mut bench = Bench::new(Status::On);
    let op = bench.ask(HostAction::GracefulOff);
    let outcome = Outcome::Failed(Failure::GracefulOffTimeout);
    bench.accept(op).look(Status::On, Some((op, OpStatus::Ended(outcome))));
    assert_eq!(bench.ends(), [(op, outcome, true)]);
}

#[test]
fn an_operation_lost_again_and_again_fails_with_that_reason() {
    let mut bench = Bench::new(Status::On);
    let op = bench.ask(HostAction::ForceOff);
    bench.accept(op);
    for _ in 0..10 {
        bench.look(Status::On, None).event(Event::Applied(op, Reply::Accepted));
    }
    assert_eq!(bench.ends(), [(op, Outcome::Failed(Failure::Lost), false)]);
}

#[test]
fn an_intent_ends_with_its_deadline_whatever_happens() {
    let mut bench = Bench::new(Status::On);
    let op = bench.ask(HostAction::GracefulOff);
    bench.accept(op).wait(400_000);
    assert_eq!(bench.ends(), [(op, Outcome::Failed(Failure::Expired), false)]);
}

#[test]
fn a_stored_intent_goes_on_after_a_restart() {
    let intent = Intent {
        op: OpId::from_bits(9),
        action: HostAction::GracefulOff,
        origin: Origin::Client,
        attempt: 1,
        deadline: Mono::MAX,
    };
    let mut running = Bench::new(Status::On);
    running.desired.resume(running.now, intent);
    running.look(Status::Transitioning, Some((intent.op, OpStatus::Running)));
    assert_eq!(running.applies(), []);
    running.event(Event::Finished(intent.op, Outcome::Done));
    assert_eq!(running.ends(), [(intent.op, Outcome::Done, true)]);

    let mut lost = Bench::new(Status::On);
    lost.desired.resume(lost.now, intent);
    lost.look(Status::On, None).wait(8_200).look(Status::On, None);
    assert_eq!(lost.applies(), [HostAction::GracefulOff]);

    let mut expires = Bench::new(Status::On);
    expires.desired.resume(expires.now, intent);
    expires.wait(400_000);
    assert_eq!(expires.ends().len(), 1, "a deadline from a clock that jumped is cut to the budget");
}

fn restored(policy: RestorePolicy, was_on: bool, status: Status) -> Bench {
    let mut bench = Bench::new(status);
    let at = bench.now + Millis::new(500);
    bench.event(Event::MainsRestored { policy, was_on, at, op: OpId::from_bits(99) });
    assert_eq!(bench.applies(), [], "not before its time");
    bench.wait(500);
    bench
}

#[test]
fn the_restore_policy_switches_on_what_it_should() {
    use RestorePolicy::{AlwaysOff, AlwaysOn, Last};
    for (policy, was_on, expect) in [
        (AlwaysOn, false, true),
        (AlwaysOn, true, true),
        (AlwaysOff, true, false),
        (Last, true, true),
        (Last, false, false),
    ] {
        let bench = restored(policy, was_on, Status::Off);
        let wanted: &[HostAction] = if expect { &[HostAction::On] } else { &[] };
        assert_eq!(bench.applies(), wanted, "{policy:?}, was on: {was_on}");
        if expect {
            let origin = if policy == AlwaysOn { Origin::PolicyOn } else { Origin::PolicyRestore };
            assert_eq!(bench.desired.intent().map(|intent| intent.origin), Some(origin));
        }
    }
}

#[test]
fn the_restore_policy_never_touches_a_running_host() {
    for policy in [RestorePolicy::AlwaysOn, RestorePolicy::AlwaysOff, RestorePolicy::Last] {
        for was_on in [false, true] {
            let mut bench = restored(policy, was_on, Status::On);
            bench.event(Event::Status(Status::Off)).wait(60_000);
            assert_eq!(bench.applies(), [], "nor later, when somebody switches it off");
        }
    }
}

#[test]
fn the_restore_policy_waits_until_the_state_is_known() {
    let mut bench = Bench::new(Status::Unknown);
    let at = bench.now;
    bench.event(Event::MainsRestored {
        policy: RestorePolicy::AlwaysOn,
        was_on: true,
        at,
        op: OpId::from_bits(9),
    });
    bench.wait(60_000);
    assert_eq!(bench.applies(), []);
    bench.event(Event::Status(Status::Off));
    assert_eq!(bench.applies(), [HostAction::On]);
}

#[test]
fn a_client_decides_before_the_restore_policy() {
    let mut bench = Bench::new(Status::Off);
    let at = bench.now + Millis::from_secs(30);
    bench.event(Event::MainsRestored {
        policy: RestorePolicy::AlwaysOn,
        was_on: true,
        at,
        op: OpId::from_bits(9),
    });
    let op = bench.ask(HostAction::ForceOff);
    bench.event(Event::Applied(op, Reply::Already)).wait(60_000);
    assert_eq!(bench.applies(), [HostAction::ForceOff]);
}

#[test]
fn an_off_acknowledged_before_the_loss_comes_before_the_last_state_but_not_before_always_on() {
    for (policy, action, expect) in [
        (RestorePolicy::Last, HostAction::GracefulOff, false),
        (RestorePolicy::Last, HostAction::ForceOff, false),
        (RestorePolicy::Last, HostAction::PowerCycle, true),
        (RestorePolicy::AlwaysOn, HostAction::ForceOff, true),
    ] {
        for left in [0, 60_000] {
            let mut bench = Bench::new(Status::Unknown);
            bench.desired = Desired::new(&Timings::default());
            let at = bench.now;
            bench.event(Event::MainsRestored { policy, was_on: true, at, op: OpId::from_bits(99) });
            let deadline = bench.now + Millis::new(left);
            let origin = Origin::Client;
            bench
                .desired
                .resume(bench.now, Intent { op: OpId::from_bits(7), action, origin, attempt: 1, deadline });
            bench.look(Status::Off, None).wait(60_000);
            let on = bench.applies().contains(&HostAction::On);
            assert_eq!(on, expect, "{policy:?} after {action:?} with {left} ms left");
        }
    }
}

#[test]
fn mains_that_fail_again_while_the_host_comes_up_do_not_make_off_the_last_state() {
    let mut bench = Bench::new(Status::Off);
    let at = bench.now + Millis::from_secs(30);
    let op = OpId::from_bits(99);
    bench.event(Event::MainsRestored { policy: RestorePolicy::Last, was_on: true, at, op });
    bench.wait(30_000).accept(op).wait(7_000);
    assert_eq!((bench.applies(), bench.remembered()), (vec![HostAction::On], vec![]));
    bench.event(Event::Status(Status::On)).event(Event::Finished(op, Outcome::Done));
    assert_eq!(bench.remembered(), [true]);
}

#[test]
fn a_host_that_did_not_come_up_is_remembered_as_off() {
    let mut bench = Bench::new(Status::Off);
    let (at, op) = (bench.now, OpId::from_bits(99));
    bench.event(Event::MainsRestored { policy: RestorePolicy::Last, was_on: true, at, op });
    bench.wait(0).accept(op).event(Event::Finished(op, Outcome::Failed(Failure::PowerGoodTimeout)));
    bench.wait(7_000);
    assert_eq!(bench.remembered(), [false]);
}

#[test]
fn a_power_loss_is_remembered_as_off_only_when_the_bmc_survives_it() {
    let mut bench = Bench::new(Status::On);
    bench.event(Event::Status(Status::Off)).wait(6_999);
    assert_eq!(bench.remembered(), []);
    bench.wait(1);
    assert_eq!(bench.remembered(), [false]);
}

#[test]
fn a_wished_power_off_is_remembered_at_once() {
    let mut bench = Bench::new(Status::On);
    let op = bench.ask(HostAction::ForceOff);
    bench.accept(op).event(Event::Status(Status::Off)).event(Event::Finished(op, Outcome::Done));
    assert_eq!(bench.remembered(), [false]);
    bench.event(Event::Status(Status::On));
    assert_eq!(bench.remembered(), [false, true]);
}

#[test]
fn a_call_without_an_answer_is_kept_and_looked_after() {
    let mut bench = Bench::new(Status::Off);
    let op = bench.ask(HostAction::On);
    bench.event(Event::Stored(op, true)).event(Event::Applied(op, Reply::Unknown));
    assert_eq!(bench.answers(), [(op, Answer::Accepted)]);
    bench.wait(100);
    assert!(bench.log.contains(&Action::Look));
    bench.look(Status::Transitioning, Some((op, OpStatus::Running)));
    bench.event(Event::Finished(op, Outcome::Done));
    assert_eq!(bench.ends(), [(op, Outcome::Done, true)]);
    assert_eq!(bench.applies().len(), 1);
}

#[test]
fn a_host_that_may_be_coming_up_is_not_pressed_again() {
    let mut bench = Bench::new(Status::Off);
    let op = bench.ask(HostAction::On);
    bench.accept(op).wait(500).look(Status::Off, None).wait(1_000).look(Status::On, None);
    assert_eq!(bench.applies().len(), 1);
    assert_eq!(bench.ends(), [(op, Outcome::Done, false)]);
}

#[test]
fn a_superseded_wish_does_not_stay_stored() {
    // Its successor may be answered "already", and is then not worth storing; what it replaced must go all the same.
    let mut bench = Bench::new(Status::Off);
    let on = bench.ask(HostAction::On);
    bench.accept(on);
    let force = bench.ask(HostAction::ForceOff);
    assert!(bench.log.iter().any(|a| matches!(a, Action::Persist(intent) if intent.op == force)));
    bench.event(Event::Applied(force, Reply::Already));
    assert_eq!(bench.log.last(), Some(&Action::Forget(force)));
}
