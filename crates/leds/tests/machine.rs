//! Which claim is shown: tables, and properties against a slow reference.

use leds::{
    Alarm, Brightness, Claim, Condition, Config, Denial, Fact, Group, Hand, HostPower, LONGEST_TEST,
    LedConfig, Machine, Member, Owner, STALE_AFTER, Show, Source, State,
};
use proptest::prelude::*;
use units::{Millis, Mono};

fn at(ms: u64) -> Mono {
    Mono::from_millis(ms)
}

fn group(when: &[Condition], priority: u8, members: &[(usize, State)]) -> Group {
    let members = members.iter().map(|(led, state)| Member { led: *led, show: Show::full(*state) }).collect();
    Group { when: when.to_vec(), host: None, priority, members }
}

const POWER: usize = 0;
const STATUS: usize = 1;
const FAULT: usize = 2;
const IDENTIFY: usize = 3;

/// The four LEDs of a server as a board file has them; status may be set by hand.
fn server() -> Machine {
    use Condition as C;
    let groups = vec![
        group(&[C::HostOn], 10, &[(POWER, State::On)]),
        group(&[C::HostTransitioning], 20, &[(POWER, State::Blink)]),
        group(&[C::HostUnknown], 30, &[(POWER, State::Fast)]),
        group(&[C::Always], 1, &[(STATUS, State::On)]),
        group(&[C::ThermalWarning, C::ControllerWarning], 20, &[(STATUS, State::Blink)]),
        group(&[C::Fault], 30, &[(FAULT, State::On), (STATUS, State::Fast)]),
        group(&[C::Identify], 50, &[(IDENTIFY, State::Blink)]),
    ];
    let led = |settable| LedConfig { settable };
    let leds = vec![led(false), led(true), led(false), led(false)];
    Machine::new(Config { hosts: 1, leds, groups })
}

fn states(machine: &Machine) -> [State; 4] {
    [POWER, STATUS, FAULT, IDENTIFY].map(|led| machine.shown(led).unwrap().show.state)
}

#[test]
fn a_server_tells_how_it_is() {
    use State::{Blink, Fast, Off, On};
    let mut machine = server();
    assert_eq!(states(&machine), [Fast, On, Off, Off], "nobody has told of the host");
    for (fact, shown) in [
        (Fact::Host(0, HostPower::Off), [Off, On, Off, Off]),
        (Fact::Host(0, HostPower::Transitioning), [Blink, On, Off, Off]),
        (Fact::Host(0, HostPower::On), [On, On, Off, Off]),
        (Fact::Identify(true), [On, On, Off, Blink]),
        (Fact::Thermal(Alarm::Warning), [On, Blink, Off, Blink]),
        (Fact::Thermal(Alarm::Critical), [On, Fast, On, Blink]),
        (Fact::Thermal(Alarm::None), [On, On, Off, Blink]),
        (Fact::Controller(Alarm::Critical), [On, Fast, On, Blink]),
        (Fact::Controller(Alarm::Warning), [On, Blink, Off, Blink]),
        (Fact::Controller(Alarm::None), [On, On, Off, Blink]),
        (Fact::Identify(false), [On, On, Off, Off]),
        (Fact::Host(0, HostPower::Error), [Off, Fast, On, Off]),
        (Fact::Host(7, HostPower::On), [Off, Fast, On, Off]),
    ] {
        machine.learn(at(0), fact);
        assert_eq!(states(&machine), shown, "{fact:?}");
    }
}

#[test]
fn a_host_that_nobody_tells_of_any_more_is_not_shown_as_on() {
    let mut machine = server();
    machine.heard(at(1_000), Owner::Hosts);
    machine.learn(at(1_000), Fact::Host(0, HostPower::On));
    assert_eq!(machine.deadline(), Some(at(1_000) + STALE_AFTER));
    machine.heard(at(5_000), Owner::Hosts);
    machine.tick(at(16_000));
    assert_eq!(machine.shown(POWER).unwrap().show.state, State::On, "told again");
    let changes = machine.tick(at(5_000) + STALE_AFTER);
    assert_eq!(changes.len(), 1);
    assert_eq!(machine.shown(POWER).unwrap().show.state, State::Fast);
    assert_eq!(machine.deadline(), None);
}

#[test]
fn what_an_led_shows_is_old_while_who_it_goes_by_is_silent() {
    let mut machine = server();
    let stale =
        |machine: &Machine, ms: u64| [POWER, STATUS, FAULT, IDENTIFY].map(|led| machine.stale(at(ms), led));
    let (hosts, chassis, thermal) = (Some(Owner::Hosts), Some(Owner::Chassis), Some(Owner::Thermal));
    // That the host is not known is known; all else may be otherwise.
    assert_eq!(stale(&machine, 0), [None, thermal, hosts, chassis]);
    for owner in Owner::ALL {
        machine.heard(at(0), owner);
        assert!(machine.was_heard(owner));
    }
    machine.learn(at(0), Fact::Host(0, HostPower::On));
    assert_eq!(stale(&machine, 0), [None; 4]);
    for owner in [Owner::Hosts, Owner::Controller] {
        machine.heard(at(5_000), owner);
    }
    let silent = STALE_AFTER.get();
    assert_eq!(stale(&machine, silent - 1), [None; 4]);
    assert_eq!(stale(&machine, silent), [None, thermal, thermal, chassis]);
    // What is known to hold, and over which nothing can win, is not old.
    machine.learn(at(silent), Fact::Controller(Alarm::Critical));
    machine.learn(at(silent), Fact::Identify(true));
    machine.heard(at(silent), Owner::Thermal);
    assert_eq!(
        stale(&machine, silent),
        [None, None, None, chassis],
        "identify was asked for, and may be over"
    );
    let hand = machine.check(at(silent), STATUS, State::On, None, None).unwrap();
    machine.set(at(silent), STATUS, Some(hand));
    assert_eq!(stale(&machine, 60_000), [hosts, None, hosts, chassis], "what is set is known");
    machine.tick(at(60_000));
    assert_eq!(stale(&machine, 60_000), [None, None, hosts, chassis]);
    assert_eq!(machine.stale(at(0), 9), None);
}

#[test]
fn conditions_are_of_their_host_or_of_all() {
    let of = |when, host| Group { host, ..group(&[when], 1, &[(0, State::On)]) };
    for (when, host, lit) in [
        (Condition::HostOn, None, true),
        (Condition::HostOn, Some(0), true),
        (Condition::HostOn, Some(1), false),
        (Condition::HostOff, None, false),
        (Condition::HostOff, Some(1), true),
        (Condition::HostUnknown, Some(1), false),
        (Condition::HostUnknown, Some(2), true),
        (Condition::HostUnknown, Some(9), false),
    ] {
        let leds = vec![LedConfig { settable: false }];
        let mut machine = Machine::new(Config { hosts: 3, leds, groups: vec![of(when, host)] });
        machine.learn(at(0), Fact::Host(0, HostPower::On));
        machine.learn(at(0), Fact::Host(1, HostPower::Off));
        assert_eq!(machine.shown(0).unwrap().show.state == State::On, lit, "{when:?} {host:?}");
    }
}

#[test]
fn a_lamp_test_lights_all_and_leaves_what_was() {
    let mut machine = server();
    machine.learn(at(0), Fact::Host(0, HostPower::Off));
    machine.learn(at(0), Fact::Identify(true));
    let before = states(&machine);
    machine.test(at(0), Some(Millis::from_secs(10))).unwrap();
    assert_eq!(states(&machine), [State::On; 4]);
    machine.learn(at(5_000), Fact::Host(0, HostPower::On));
    assert_eq!((machine.deadline(), machine.tick(at(9_999)).len()), (Some(at(10_000)), 0));
    machine.tick(at(10_000));
    assert_eq!(states(&machine), [State::On, before[1], before[2], before[3]], "and what came meanwhile");
    machine.test(at(20_000), Some(LONGEST_TEST)).unwrap();
    machine.test(at(21_000), None).unwrap();
    assert_eq!(states(&machine)[IDENTIFY], State::Blink, "it can be ended");
}

#[test]
fn what_is_refused_changes_nothing() {
    let mut machine = server();
    machine.opened(STATUS, 1);
    machine.test(at(0), Some(Millis::from_secs(10))).unwrap();
    let before = states(&machine);
    let dim = Brightness::new(50);
    let long = Some(Millis::MAX);
    for (led, brightness, lasts, denial) in [
        (9, None, None, Denial::NoLed),
        (POWER, None, None, Denial::NotSettable),
        (STATUS, dim, None, Denial::NoBrightness),
        (STATUS, None, Some(Millis::ZERO), Denial::BadTime),
        (STATUS, None, long, Denial::BadTime),
    ] {
        assert_eq!(machine.check(at(0), led, State::On, brightness, lasts), Err(denial));
    }
    assert_eq!(machine.test(at(0), long), Err(Denial::BadTestTime));
    assert_eq!(machine.test(at(0), Some(Millis::ZERO)), Err(Denial::BadTestTime));
    // The test goes on as it was.
    assert_eq!((states(&machine), machine.deadline()), (before, Some(at(10_000))));
    // Whatever a caller makes of it, a person does not set what the board shows.
    let hand = Hand { show: Show::full(State::Off), until: None };
    assert!(machine.set(at(0), POWER, Some(hand)).is_empty());
}

#[test]
fn a_brightness_is_never_dark() {
    assert_eq!((Brightness::new(0), Brightness::new(101)), (None, None));
    for (percent, max, steps) in
        [(100, 255, 255), (1, 255, 3), (50, 255, 128), (1, 1, 1), (100, u32::MAX, u32::MAX), (1, 0, 1)]
    {
        assert_eq!(Brightness::new(percent).unwrap().steps(max), steps, "{percent} % of {max}");
    }
}

#[derive(Debug, Clone)]
enum Do {
    Learn(Fact),
    Set(usize, State, Option<u64>),
    Release(usize),
    Test(Option<u64>),
    Pass(u64),
}

fn state() -> impl Strategy<Value = State> {
    prop_oneof![Just(State::Off), Just(State::On), Just(State::Blink), Just(State::Fast)]
}

fn alarm() -> impl Strategy<Value = Alarm> {
    prop_oneof![Just(Alarm::None), Just(Alarm::Warning), Just(Alarm::Critical)]
}

fn power() -> impl Strategy<Value = HostPower> {
    use HostPower as P;
    prop_oneof![Just(P::Unknown), Just(P::Off), Just(P::On), Just(P::Transitioning), Just(P::Error)]
}

fn step() -> impl Strategy<Value = Do> {
    prop_oneof![
        (0..2usize, power()).prop_map(|(host, power)| Do::Learn(Fact::Host(host, power))),
        any::<bool>().prop_map(|on| Do::Learn(Fact::Identify(on))),
        alarm().prop_map(|alarm| Do::Learn(Fact::Controller(alarm))),
        alarm().prop_map(|alarm| Do::Learn(Fact::Thermal(alarm))),
        (0..4usize, state(), proptest::option::of(1_000..20_000u64)).prop_map(|(l, s, t)| Do::Set(l, s, t)),
        (0..4usize).prop_map(Do::Release),
        proptest::option::of(1_000..20_000u64).prop_map(Do::Test),
        (0..10_000u64).prop_map(Do::Pass),
    ]
}

fn config() -> impl Strategy<Value = Config> {
    let condition = proptest::sample::select(Condition::ALL.to_vec());
    let member = (0..4usize, state()).prop_map(|(led, state)| Member { led, show: Show::full(state) });
    let group = (
        proptest::collection::vec(condition, 1..3),
        proptest::option::of(0..2usize),
        1..6u8,
        proptest::collection::vec(member, 1..4),
    )
        .prop_map(|(when, host, priority, members)| Group { when, host, priority, members });
    (proptest::collection::vec(group, 0..8), proptest::collection::vec(any::<bool>(), 4)).prop_map(
        |(groups, settable)| Config {
            hosts: 2,
            leds: settable.into_iter().map(|settable| LedConfig { settable }).collect(),
            groups,
        },
    )
}

/// What is asked of the machine, written down plainly.
struct Reference {
    config: Config,
    hosts: [HostPower; 2],
    identify: bool,
    controller: Alarm,
    thermal: Alarm,
    hands: [Option<Hand>; 4],
    test: Option<Mono>,
}

impl Reference {
    fn holds(&self, when: Condition, host: Option<usize>) -> bool {
        let hosts: Vec<HostPower> = self
            .hosts
            .iter()
            .enumerate()
            .filter(|(n, _)| host.is_none_or(|h| h == *n))
            .map(|(_, p)| *p)
            .collect();
        match when {
            Condition::Always => true,
            Condition::HostOn => hosts.contains(&HostPower::On),
            Condition::HostOff => hosts.iter().all(|power| *power == HostPower::Off),
            Condition::HostTransitioning => hosts.contains(&HostPower::Transitioning),
            Condition::HostError => hosts.contains(&HostPower::Error),
            Condition::HostUnknown => hosts.contains(&HostPower::Unknown),
            Condition::Identify => self.identify,
            Condition::ControllerWarning => self.controller != Alarm::None,
            Condition::ControllerCritical => self.controller == Alarm::Critical,
            Condition::ThermalWarning => self.thermal != Alarm::None,
            Condition::ThermalCritical => self.thermal == Alarm::Critical,
            Condition::Fault => {
                hosts.contains(&HostPower::Error)
                    || self.controller == Alarm::Critical
                    || self.thermal == Alarm::Critical
            }
        }
    }

    fn shown(&self, now: Mono, led: usize) -> (Show, Source) {
        if self.test.is_some_and(|until| now < until) {
            return (Show::full(State::On), Source::Test);
        }
        if let Some(hand) = self.hands[led]
            && hand.until.is_none_or(|until| now < until)
        {
            return (hand.show, Source::Hand);
        }
        let mut claims = Vec::new();
        for (index, group) in self.config.groups.iter().enumerate() {
            if group.when.iter().any(|when| self.holds(*when, group.host)) {
                // Of a group that names an LED twice the first counts.
                if let Some(member) = group.members.iter().find(|member| member.led == led) {
                    claims.push((group.priority, index, member.show));
                }
            }
        }
        claims.sort_by_key(|(priority, index, _)| (std::cmp::Reverse(*priority), *index));
        claims.first().map_or((Show::OFF, Source::Nobody), |(_, index, show)| (*show, Source::Group(*index)))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_highest_claim_is_shown_and_ends_at_its_time(config in config(), steps in proptest::collection::vec(step(), 1..40)) {
        let mut machine = Machine::new(config.clone());
        let mut reference = Reference {
            config: config.clone(),
            hosts: [HostPower::Unknown; 2],
            identify: false,
            controller: Alarm::None,
            thermal: Alarm::None,
            hands: [None; 4],
            test: None,
        };
        let mut now = at(0);
        let compare = |machine: &Machine, reference: &Reference, now| {
            for led in 0..4 {
                let Claim { show, source, .. } = machine.shown(led).unwrap();
                prop_assert_eq!((show, source), reference.shown(now, led), "led {}", led);
            }
            Ok(())
        };
        for step in steps {
            let changes = match step {
                Do::Learn(fact) => {
                    match fact {
                        Fact::Host(host, power) => reference.hosts[host] = power,
                        Fact::Identify(on) => reference.identify = on,
                        Fact::Controller(alarm) => reference.controller = alarm,
                        Fact::Thermal(alarm) => reference.thermal = alarm,
                    }
                    machine.learn(now, fact)
                }
                Do::Set(led, state, lasts) => match machine.check(now, led, state, None, lasts.map(Millis::new)) {
                    Ok(hand) => {
                        reference.hands[led] = Some(hand);
                        machine.set(now, led, Some(hand))
                    }
                    Err(denial) => {
                        prop_assert_eq!(denial, Denial::NotSettable);
                        prop_assert!(!config.leds[led].settable);
                        Vec::new()
                    }
                },
                Do::Release(led) => {
                    if config.leds[led].settable {
                        reference.hands[led] = None;
                    }
                    machine.set(now, led, None)
                }
                Do::Test(lasts) => {
                    reference.test = lasts.map(|lasts| now + Millis::new(lasts));
                    machine.test(now, lasts.map(Millis::new)).unwrap()
                }
                Do::Pass(ms) => {
                    let end = now + Millis::new(ms);
                    // The deadline is told before it comes, and nothing changes without one.
                    while let Some(deadline) = machine.deadline().filter(|deadline| *deadline <= end) {
                        prop_assert!(deadline > now);
                        let just_before = Mono::from_millis(deadline.as_millis() - 1);
                        prop_assert!(machine.tick(just_before).is_empty());
                        compare(&machine, &reference, just_before)?;
                        machine.tick(deadline);
                        compare(&machine, &reference, deadline)?;
                        now = deadline;
                    }
                    now = end;
                    let late = machine.tick(now);
                    prop_assert!(late.is_empty());
                    late
                }
            };
            for change in &changes {
                prop_assert!(change.before != change.after);
                prop_assert_eq!(Some(change.after), machine.shown(change.led));
            }
            compare(&machine, &reference, now)?;
        }
    }
}
