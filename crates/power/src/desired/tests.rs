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
        self.reply(op, Reply::Accepted).event(Event::Stored(op, true))
    }

    /// Answers the last call for this operation.
    fn reply(&mut self, op: OpId, reply: Reply) -> &mut Self {
        let mut calls = self.log.iter().filter_map(|action| match action {
            Action::Apply { op: called, call, .. } if *called == op => Some(*call),
            _ => None,
        });
        let call = calls.next_back().expect("it was called");
        self.event(Event::Applied { op, call, reply })
    }

    /// The daemon that drives power is away for `ms`, counted from its next call, or from now.
    fn away(&mut self, ms: u64) -> &mut Self {
        let end = self.now + Millis::new(ms);
        let mut called = self.log.len();
        loop {
            let open = self.log[called..].iter().find_map(|action| match action {
                Action::Apply { op, call, .. } => Some((*op, *call)),
                _ => None,
            });
            called = self.log.len();
            if let Some((op, call)) = open {
                self.event(Event::Applied { op, call, reply: Reply::Unreachable });
                continue;
            }
            match self.desired.deadline().filter(|deadline| *deadline <= end) {
                Some(deadline) => self.now = deadline.max(self.now),
                None => break,
            }
            self.event(Event::Deadline);
        }
        self.now = end;
        self
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
    let mut bench = Bench::new(Status::Off);
    let op = bench.ask(HostAction::On);
    bench.reply(op, Reply::Accepted);
    assert_eq!(bench.answers(), []);
    bench.event(Event::Stored(op, true));
    assert_eq!(bench.answers(), [(op, Answer::Accepted)]);
    bench.event(Event::Finished(op, Outcome::Done));
    assert_eq!(bench.ends(), [(op, Outcome::Done, true)]);
    assert!(bench.log.contains(&Action::Forget(op)));
}

#[test]
fn the_pin_does_not_wait_for_the_store() {
    let mut bench = Bench::new(Status::Off);
    let op = bench.ask(HostAction::On);
    assert!(matches!(bench.log[..], [Action::Apply { action: HostAction::On, .. }]));
    bench.reply(op, Reply::Accepted);
    assert!(matches!(bench.log[1..], [Action::Persist(_)]));
}

#[test]
fn what_is_refused_never_reaches_the_store() {
    for status in [Status::Off, Status::On, Status::Transitioning] {
        for action in HostAction::ALL {
            for reply in [Reply::Already, Reply::Denied, Reply::Unreachable] {
                let mut bench = Bench::new(status);
                let op = bench.ask(action);
                bench.reply(op, reply).away(8_000);
                assert_eq!(bench.answers().len(), 1);
                assert!(!bench.log.iter().any(|a| matches!(a, Action::Persist(_) | Action::Forget(_))));
            }
        }
    }
}

#[test]
fn a_refusal_is_passed_on_and_nothing_is_left() {
    let mut bench = Bench::new(Status::On);
    let op = bench.ask(HostAction::Nmi);
    bench.reply(op, Reply::Denied);
    assert_eq!(bench.answers(), [(op, Answer::Refused(op))]);
    assert_eq!(bench.desired.intent(), None);
}

#[test]
fn power_is_locked_during_maintenance_even_for_force_off() {
    let mut bench = Bench::new(Status::On);
    bench.event(Event::Maintenance(Lock::Set));
    for action in HostAction::ALL {
        let op = bench.ask(action);
        assert_eq!(bench.answers().last(), Some(&(op, Answer::Maintenance)));
    }
    assert_eq!(bench.applies(), []);
    bench.event(Event::Maintenance(Lock::Open));
    bench.ask(HostAction::ForceOff);
    assert_eq!(bench.applies(), [HostAction::ForceOff]);
}

#[test]
fn a_lock_that_is_only_presumed_does_not_hold_an_emergency_up() {
    let mut bench = Bench::new(Status::On);
    bench.event(Event::Maintenance(Lock::Presumed));
    for action in HostAction::ALL.into_iter().filter(|action| *action != HostAction::ForceOff) {
        let op = bench.ask(action);
        assert_eq!(bench.answers().last(), Some(&(op, Answer::Maintenance)), "{action}");
    }
    assert_eq!(bench.applies(), []);
    bench.ask(HostAction::ForceOff);
    assert_eq!(bench.applies(), [HostAction::ForceOff]);
}

#[test]
fn a_daemon_that_is_away_for_a_moment_costs_only_time() {
    let mut bench = Bench::new(Status::Off);
    let op = bench.ask(HostAction::On);
    bench.event(Event::Stored(op, true)).reply(op, Reply::Unreachable).wait(100);
    assert_eq!(bench.applies().len(), 2);
    bench.reply(op, Reply::Accepted);
    assert_eq!(bench.answers(), [(op, Answer::Accepted)]);
}

#[test]
fn a_daemon_that_stays_away_is_the_answer_and_the_wish_is_dropped() {
    let mut bench = Bench::new(Status::Off);
    let op = bench.ask(HostAction::On);
    bench.event(Event::Stored(op, true)).reply(op, Reply::Unreachable).away(10_000);
    assert_eq!(bench.answers(), [(op, Answer::Unreachable)]);
    assert_eq!(bench.desired.intent(), None, "told that it did not happen, so it must not happen later");
}

#[test]
fn a_wish_that_could_not_be_stored_is_under_way_and_said_to_be_at_risk() {
    let mut bench = Bench::new(Status::Off);
    let op = bench.ask(HostAction::On);
    bench.reply(op, Reply::Accepted).event(Event::Stored(op, false));
    assert_eq!(bench.answers(), [(op, Answer::NotStored(op))]);
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
    bench.reply(op, Reply::Already);
    assert_eq!(bench.ends(), [(op, Outcome::Done, false)]);
    assert_eq!(bench.answers(), [(op, Answer::Accepted)], "answered once");
}

#[test]
fn of_a_lost_power_cycle_only_the_missing_half_is_done() {
    let mut bench = Bench::new(Status::On);
    let op = bench.ask(HostAction::PowerCycle);
    bench.accept(op).wait(8_200).look(Status::Off, None);
    assert_eq!(bench.applies(), [HostAction::PowerCycle, HostAction::On]);
    bench.reply(op, Reply::Accepted).look(Status::On, None);
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
        bench.look(Status::On, None).reply(op, Reply::Accepted);
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
        asked: HostAction::GracefulOff,
        action: HostAction::GracefulOff,
        origin: Origin::Client,
        attempt: 1,
        deadline: Mono::MAX,
        was_off: false,
    };
    let mut running = Bench::new(Status::On);
    running.desired.resume(running.now, intent, Resumed::SameBoot);
    running.look(Status::Transitioning, Some((intent.op, OpStatus::Running)));
    assert_eq!(running.applies(), []);
    running.event(Event::Finished(intent.op, Outcome::Done));
    assert_eq!(running.ends(), [(intent.op, Outcome::Done, true)]);

    let mut lost = Bench::new(Status::On);
    lost.desired.resume(lost.now, intent, Resumed::SameBoot);
    lost.look(Status::On, None).wait(8_200).look(Status::On, None);
    assert_eq!(lost.applies(), [HostAction::GracefulOff]);

    let mut expires = Bench::new(Status::On);
    expires.desired.resume(expires.now, intent, Resumed::SameBoot);
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

/// Who dies in between has one of the two: the policy, or what overrules it.
#[test]
fn what_overrules_a_policy_is_stored_before_that_is_over() {
    for reply in [Reply::Accepted, Reply::Unknown] {
        // The policy has begun, and is not stored yet.
        let mut bench = restored(RestorePolicy::AlwaysOn, false, Status::Off);
        let force = bench.ask(HostAction::ForceOff);
        bench.reply(force, reply);
        assert!(bench.desired.is_restoring(), "{reply:?}");
        bench.event(Event::Stored(force, true));
        assert!(!bench.desired.is_restoring(), "{reply:?}");
        // It was overruled by one that is not stored yet.
        let mut bench = Bench::new(Status::Off);
        let (at, op) = (bench.now + Millis::from_secs(60), OpId::from_bits(99));
        bench.event(Event::MainsRestored { policy: RestorePolicy::AlwaysOn, was_on: false, at, op });
        let on = bench.ask(HostAction::On);
        bench.reply(on, Reply::Accepted);
        assert!(bench.desired.is_restoring());
        let force = bench.ask(HostAction::ForceOff);
        bench.reply(force, reply);
        assert!(bench.desired.is_restoring(), "{reply:?}");
        bench.event(Event::Stored(force, true));
        assert!(!bench.desired.is_restoring(), "{reply:?}");
    }
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
    bench.reply(op, Reply::Already).wait(60_000);
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
            let op = OpId::from_bits(7);
            let intent = Intent { op, asked: action, action, origin, attempt: 1, deadline, was_off: false };
            bench.desired.resume(bench.now, intent, Resumed::OtherBoot);
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
    assert!(bench.remembered().is_empty());
    bench.wait(1);
    assert_eq!(bench.remembered(), [false]);
}

#[test]
fn a_host_that_was_cut_off_by_others_is_remembered_as_off_at_once_and_not_restored() {
    let mut bench = Bench::new(Status::On);
    bench.event(Event::Status(Status::Off)).event(Event::Cut);
    assert_eq!(bench.remembered(), [false]);
    // While the policy waits, too.
    let mut bench = Bench::new(Status::On);
    let (at, op) = (bench.now + Millis::from_secs(30), OpId::from_bits(99));
    bench.event(Event::MainsRestored { policy: RestorePolicy::Last, was_on: true, at, op });
    bench.event(Event::Status(Status::Off)).event(Event::Cut).wait(60_000);
    assert_eq!(bench.remembered().last(), Some(&false));
    assert!(bench.applies().is_empty(), "the policy does not undo it");
}

#[test]
fn a_cut_that_supersedes_what_was_asked_for_is_remembered_at_once() {
    let mut bench = Bench::new(Status::Off);
    let (on, cut) = (bench.ask(HostAction::On), OpId::from_bits(77));
    bench.accept(on).event(Event::Status(Status::On));
    bench.event(Event::Finished(on, Outcome::Superseded(cut)));
    bench.event(Event::Status(Status::Off)).event(Event::Cut);
    assert_eq!(bench.remembered(), [true, false]);
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
    bench.event(Event::Stored(op, true)).reply(op, Reply::Unknown);
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
fn of_two_clients_with_different_wishes_the_second_is_told_of_the_first() {
    let mut bench = Bench::new(Status::Off);
    let first = bench.ask(HostAction::On);
    let second = bench.ask(HostAction::PowerCycle);
    assert_eq!(bench.answers(), [(second, Answer::Busy(first))]);
}

#[test]
fn the_same_wish_again_shares_the_operation_and_its_answer() {
    for (reply, stored, first, again) in [
        (Reply::Accepted, true, Answer::Accepted, Answer::Joined(OpId::from_bits(1))),
        (
            Reply::Accepted,
            false,
            Answer::NotStored(OpId::from_bits(1)),
            Answer::NotStored(OpId::from_bits(1)),
        ),
        (Reply::Unknown, true, Answer::Accepted, Answer::Joined(OpId::from_bits(1))),
        (Reply::Already, true, Answer::Already, Answer::Already),
        (Reply::Denied, true, Answer::Refused(OpId::from_bits(1)), Answer::Refused(OpId::from_bits(1))),
    ] {
        let mut bench = Bench::new(Status::Off);
        let (one, two) = (bench.ask(HostAction::On), bench.ask(HostAction::On));
        assert_eq!(bench.answers(), [], "not before the first");
        bench.reply(one, reply).event(Event::Stored(one, stored));
        assert_eq!(bench.answers(), [(one, first), (two, again)]);
        assert_eq!(bench.applies().len(), 1);
    }
    // After the answer: at once.
    let mut bench = Bench::new(Status::On);
    let one = bench.ask(HostAction::PowerCycle);
    bench.accept(one);
    let two = bench.ask(HostAction::PowerCycle);
    assert_eq!(bench.answers(), [(one, Answer::Accepted), (two, Answer::Joined(one))]);
    // Also when half of it is done.
    bench.wait(8_200).look(Status::Off, None);
    let three = bench.ask(HostAction::PowerCycle);
    bench.event(Event::Stored(one, true));
    assert_eq!(bench.answers().last(), Some(&(three, Answer::Joined(one))));
}

#[test]
fn those_who_join_are_bounded_and_answered_in_time() {
    let mut bench = Bench::new(Status::Off);
    let one = bench.ask(HostAction::On);
    for _ in 0..JOINED_MAX {
        bench.ask(HostAction::On);
    }
    let over = bench.ask(HostAction::On);
    assert_eq!(bench.answers(), [(over, Answer::Busy(one))]);
    bench.reply(one, Reply::Unreachable).away(6_000);
    assert_eq!(bench.answers().len(), JOINED_MAX + 2);
    assert!(bench.answers().iter().skip(1).all(|(_, answer)| *answer == Answer::Unreachable));
}

#[test]
fn who_joins_a_policy_that_cannot_act_is_told_what_is_in_the_way() {
    let mut bench = Bench::new(Status::Off);
    let (at, op) = (bench.now, OpId::from_bits(99));
    bench.event(Event::MainsRestored { policy: RestorePolicy::AlwaysOn, was_on: false, at, op });
    bench.reply(op, Reply::Denied);
    let client = bench.ask(HostAction::On);
    for _ in 0..5 {
        bench.wait(1_200).reply(op, Reply::Denied);
    }
    bench.wait(600);
    assert_eq!(bench.answers(), [(client, Answer::Busy(op))]);
    assert!(bench.desired.intent().is_some(), "the policy goes on");
}

#[test]
fn nothing_is_answered_while_a_call_may_still_make_it_happen() {
    let mut bench = Bench::new(Status::Off);
    let op = bench.ask(HostAction::On);
    bench.reply(op, Reply::Unreachable).away(5_940).wait(60);
    let calls = bench.applies().len();
    bench.wait(1_400);
    assert_eq!(bench.answers(), [], "a call is under way");
    bench.event(Event::Stored(op, true)).reply(op, Reply::Accepted);
    assert_eq!(bench.answers(), [(op, Answer::Accepted)]);
    assert_eq!(bench.applies().len(), calls, "nor is one begun so late");

    // A call that nobody hears of again is one that may have been heard.
    let mut bench = Bench::new(Status::Off);
    let op = bench.ask(HostAction::On);
    bench.event(Event::Stored(op, true)).wait(2_600);
    assert_eq!(bench.answers(), [(op, Answer::Accepted)]);
    assert!(bench.log.contains(&Action::Look));
}

#[test]
fn a_late_answer_to_an_earlier_call_says_nothing_about_the_present_one() {
    let mut bench = Bench::new(Status::Off);
    let op = bench.ask(HostAction::On);
    bench.reply(op, Reply::Unreachable).wait(50);
    bench.event(Event::Applied { op, call: 1, reply: Reply::Denied });
    assert_eq!(bench.answers(), []);
    bench.accept(op);
    assert_eq!(bench.answers(), [(op, Answer::Accepted)]);
}

#[test]
fn a_call_says_when_it_is_too_late() {
    let mut bench = Bench::new(Status::Off);
    bench.ask(HostAction::On);
    let until = bench.now + CALL_WITHIN;
    assert!(matches!(bench.log[0], Action::Apply { until: at, .. } if at == until));
}

#[test]
fn a_force_off_takes_over_once_it_is_taken() {
    for reply in [Reply::Accepted, Reply::Unknown] {
        let mut bench = Bench::new(Status::On);
        let graceful = bench.ask(HostAction::GracefulOff);
        bench.accept(graceful);
        let force = bench.ask(HostAction::ForceOff);
        assert_eq!(bench.ends(), [], "it may be refused");
        bench.reply(force, reply);
        assert_eq!(bench.ends(), [(graceful, Outcome::Superseded(force), true)]);
        bench.event(Event::Stored(force, true));
        assert_eq!(bench.answers().last(), Some(&(force, Answer::Accepted)));
        // The first one's end, as its machine tells it, changes nothing any more.
        bench.event(Event::Finished(graceful, Outcome::Superseded(force)));
        assert_eq!(bench.desired.intent().map(|intent| intent.op), Some(force));
    }
}

#[test]
fn a_client_overtaken_before_anything_began_is_told_so() {
    let mut bench = Bench::new(Status::Off);
    let on = bench.ask(HostAction::On);
    // Nobody got its call, and no other is under way.
    bench.reply(on, Reply::Unreachable);
    let force = bench.ask(HostAction::ForceOff);
    bench.reply(force, Reply::Accepted);
    assert_eq!(bench.answers(), [(on, Answer::Superseded(force))]);
    assert_eq!(bench.ends(), [(on, Outcome::Superseded(force), false)]);
}

#[test]
fn a_client_overtaken_when_it_may_have_begun_is_not_told_that_it_did_not() {
    // Its call is under way; or was taken, and is not stored yet.
    for is_taken in [false, true] {
        let mut bench = Bench::new(Status::On);
        let restart = bench.ask(HostAction::ForceRestart);
        if is_taken {
            bench.reply(restart, Reply::Accepted);
        }
        let force = bench.ask(HostAction::ForceOff);
        bench.reply(force, Reply::Accepted);
        assert_eq!(bench.answers(), [(restart, Answer::NotStored(restart))]);
        assert_eq!(bench.ends(), [(restart, Outcome::Superseded(force), true)]);
    }
    // The power machine tells its end first: it began, or there would be none.
    let mut bench = Bench::new(Status::On);
    let restart = bench.ask(HostAction::ForceRestart);
    let force = bench.ask(HostAction::ForceOff);
    bench.event(Event::Finished(restart, Outcome::Superseded(force)));
    assert_eq!(bench.answers(), [(restart, Answer::Accepted)]);
    bench.reply(force, Reply::Accepted);
    assert_eq!(bench.ends(), [(restart, Outcome::Superseded(force), true)]);
}

#[test]
fn a_force_off_that_is_refused_leaves_what_it_would_have_replaced() {
    for reply in [Reply::Denied, Reply::Unreachable] {
        let mut bench = Bench::new(Status::On);
        let graceful = bench.ask(HostAction::GracefulOff);
        bench.accept(graceful);
        let force = bench.ask(HostAction::ForceOff);
        bench.reply(force, reply).away(6_000);
        let answer = bench.answers().last().copied();
        assert!(matches!(answer, Some((op, Answer::Refused(_) | Answer::Unreachable)) if op == force));
        assert_eq!(bench.ends(), []);
        assert_eq!(bench.desired.intent().map(|intent| intent.op), Some(graceful));
        let kept = |a: &Action| {
            !matches!(a, Action::Forget(_)) && !matches!(a, Action::Persist(intent) if intent.op == force)
        };
        assert!(bench.log.iter().all(kept), "its stored form is as it was");
        bench.event(Event::Finished(graceful, Outcome::Done));
        assert_eq!(bench.ends(), [(graceful, Outcome::Done, true)]);
    }
}

#[test]
fn what_is_to_be_replaced_may_end_meanwhile_and_is_answered_in_time() {
    let mut bench = Bench::new(Status::On);
    let graceful = bench.ask(HostAction::GracefulOff);
    let force = bench.ask(HostAction::ForceOff);
    bench.reply(graceful, Reply::Accepted).event(Event::Stored(graceful, true));
    assert_eq!(bench.answers(), [(graceful, Answer::Accepted)]);
    bench.event(Event::Finished(graceful, Outcome::Done)).reply(force, Reply::Already);
    assert_eq!(bench.ends(), [(graceful, Outcome::Done, true)]);
    assert_eq!(bench.answers().last(), Some(&(force, Answer::Already)));

    let mut bench = Bench::new(Status::On);
    let graceful = bench.ask(HostAction::GracefulOff);
    bench.reply(graceful, Reply::Unreachable).away(1_000);
    let calls = bench.applies().len();
    let force = bench.ask(HostAction::ForceOff);
    bench.reply(force, Reply::Unreachable).away(4_900);
    assert!(bench.answers().is_empty());
    bench.away(100);
    assert_eq!(bench.answers(), [(graceful, Answer::Unreachable)]);
    assert!(bench.applies()[calls..].iter().all(|action| *action == HostAction::ForceOff));
    assert_eq!(bench.desired.intent().map(|intent| intent.op), Some(force));
}

#[test]
fn a_superseded_wish_does_not_stay_stored() {
    // Its successor may be answered "already", and is then not worth storing; what it replaced must go all the same.
    let mut bench = Bench::new(Status::Off);
    let on = bench.ask(HostAction::On);
    bench.accept(on);
    let force = bench.ask(HostAction::ForceOff);
    bench.reply(force, Reply::Already);
    assert_eq!(bench.log.last(), Some(&Action::Forget(force)));
}

#[test]
fn a_refused_request_leaves_the_restore_policy() {
    for reply in [Reply::Denied, Reply::Unreachable] {
        let mut bench = Bench::new(Status::Off);
        let at = bench.now + Millis::from_secs(30);
        bench.event(Event::MainsRestored {
            policy: RestorePolicy::AlwaysOn,
            was_on: true,
            at,
            op: OpId::from_bits(99),
        });
        let nmi = bench.ask(HostAction::Nmi);
        bench.reply(nmi, reply).away(6_000);
        assert!(bench.desired.is_restoring());
        bench.event(Event::Status(Status::Off)).wait(60_000);
        assert_eq!(bench.desired.intent().map(|intent| intent.op), Some(OpId::from_bits(99)), "{reply:?}");
    }
}

#[test]
fn a_restart_of_a_host_that_was_off_does_not_switch_it_on() {
    // powermgr died with the call: whether it was refused is not known, and the client was told that it is under way.
    for action in [HostAction::ForceRestart, HostAction::PowerCycle] {
        let mut bench = Bench::new(Status::Off);
        let op = bench.ask(action);
        bench.reply(op, Reply::Unknown).event(Event::Stored(op, true));
        assert_eq!(bench.answers(), [(op, Answer::Accepted)]);
        bench.look(Status::Off, None);
        assert_eq!(bench.applies().last(), Some(&action));
        for _ in 0..ATTEMPTS {
            bench.reply(op, Reply::Denied).wait(600);
        }
        assert_eq!(bench.ends(), [(op, Outcome::Failed(Failure::Refused), false)]);
        assert!(!bench.applies().contains(&HostAction::On));

        // The same when both daemons died, and when the controller booted.
        let intent = Intent { was_off: true, ..stored(action, action, Mono::MAX) };
        let mut bench = Bench::new(Status::Off);
        bench.desired.resume(bench.now, intent, Resumed::SameBoot);
        bench.look(Status::Off, None);
        assert_eq!(bench.applies(), [action]);
        let mut bench = Bench::new(Status::Off);
        bench.desired.resume(bench.now, intent, Resumed::OtherBoot);
        bench.look(Status::Off, None);
        assert_eq!(bench.ends(), [(intent.op, Outcome::Failed(Failure::Lost), false)]);
    }
}

#[test]
fn an_nmi_is_done_only_where_it_is_known_to_be_begun() {
    let mut bench = Bench::new(Status::On);
    let op = bench.ask(HostAction::Nmi);
    bench.event(Event::Stored(op, true)).reply(op, Reply::Accepted).look(Status::On, None);
    assert_eq!(bench.ends(), [(op, Outcome::Done, false)]);

    // No answer: the power machine may have refused it. It is asked, by the same name.
    let mut bench = Bench::new(Status::On);
    let op = bench.ask(HostAction::Nmi);
    bench.event(Event::Stored(op, true)).reply(op, Reply::Unknown).look(Status::On, None);
    assert_eq!(bench.ends(), []);
    assert_eq!(bench.applies(), [HostAction::Nmi, HostAction::Nmi]);
    let interrupted = Outcome::Failed(Failure::Interrupted);
    bench.reply(op, Reply::Ended(interrupted));
    assert_eq!(bench.ends(), [(op, interrupted, true)]);
}

#[test]
fn the_policy_is_owed_until_its_operation_is_known_to_be_begun_or_is_stored() {
    let op = OpId::from_bits(99);
    let restoring = || {
        let mut bench = Bench::new(Status::Off);
        let event = Event::MainsRestored { policy: RestorePolicy::AlwaysOn, was_on: true, at: bench.now, op };
        bench.event(event).event(Event::Status(Status::Off));
        assert_eq!(bench.desired.intent().map(|intent| intent.op), Some(op));
        bench
    };
    // No answer and no store: a restart would know nothing of it.
    let mut bench = restoring();
    bench.event(Event::Stored(op, false)).reply(op, Reply::Unknown);
    assert!(bench.desired.is_restoring());
    bench.look(Status::Off, Some((op, OpStatus::Running)));
    assert!(!bench.desired.is_restoring());

    let mut bench = restoring();
    bench.event(Event::Stored(op, true)).reply(op, Reply::Unknown);
    assert!(!bench.desired.is_restoring());

    let mut bench = restoring();
    bench.event(Event::Stored(op, false)).reply(op, Reply::Accepted);
    assert!(!bench.desired.is_restoring());

    // A force-off that may still be refused decides nothing.
    let mut bench = restoring();
    bench.event(Event::Stored(op, false)).reply(op, Reply::Unreachable);
    let force = bench.ask(HostAction::ForceOff);
    assert!(bench.desired.is_restoring());
    bench.accept(force);
    assert!(!bench.desired.is_restoring());
}

#[test]
fn an_end_that_is_heard_before_the_answer_is_an_acceptance() {
    let mut bench = Bench::new(Status::Off);
    let op = bench.ask(HostAction::On);
    bench.event(Event::Finished(op, Outcome::Done));
    assert_eq!(bench.answers(), [(op, Answer::Accepted)]);
}

#[test]
fn an_intent_that_could_not_be_stored_is_forgotten_all_the_same() {
    // A store that did not answer may have it.
    let mut bench = Bench::new(Status::Off);
    let op = bench.ask(HostAction::On);
    bench
        .event(Event::Stored(op, false))
        .reply(op, Reply::Accepted)
        .event(Event::Finished(op, Outcome::Done));
    assert!(bench.log.contains(&Action::Forget(op)));
}

fn stored(asked: HostAction, left: HostAction, deadline: Mono) -> Intent {
    Intent {
        op: OpId::from_bits(9),
        asked,
        action: left,
        origin: Origin::Client,
        attempt: 1,
        deadline,
        was_off: false,
    }
}

#[test]
fn a_boot_of_the_controller_touches_no_running_host() {
    for action in HostAction::ALL.into_iter().filter(|action| *action != HostAction::On) {
        let mut bench = Bench::new(Status::On);
        bench.desired.resume(bench.now, stored(action, action, Mono::MAX), Resumed::OtherBoot);
        bench.look(Status::On, None).wait(60_000);
        assert_eq!(bench.applies(), [], "{action}");
        assert_eq!(bench.ends(), [(OpId::from_bits(9), Outcome::Failed(Failure::Lost), false)], "{action}");
    }
    // What is left of a wish to have it on is done.
    for asked in [HostAction::On, HostAction::PowerCycle] {
        let mut bench = Bench::new(Status::Off);
        bench.desired.resume(bench.now, stored(asked, asked, Mono::MAX), Resumed::OtherBoot);
        bench.look(Status::Off, None).wait(8_200).look(Status::Off, None);
        assert_eq!(bench.applies(), [HostAction::On], "{asked}");
    }
}

#[test]
fn a_stored_intent_whose_time_is_over_is_not_done_but_its_end_is_told() {
    let deadline = Mono::from_millis(500);
    for (status, seen, outcome) in [
        (Status::On, None, Outcome::Failed(Failure::Expired)),
        (Status::Off, None, Outcome::Done),
        (Status::On, Some(OpStatus::Ended(Outcome::Done)), Outcome::Done),
    ] {
        let mut bench = Bench::new(status);
        let intent = stored(HostAction::ForceOff, HostAction::ForceOff, deadline);
        bench.desired.resume(bench.now, intent, Resumed::SameBoot);
        bench.event(Event::Maintenance(Lock::Open)).look(status, seen.map(|seen| (intent.op, seen)));
        assert_eq!(
            (bench.applies(), bench.ends()),
            (vec![], vec![(intent.op, outcome, outcome == Outcome::Done && seen.is_some())])
        );
    }
}
