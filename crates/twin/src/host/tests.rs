//! What a server does when its buttons are pressed, as a table of stories.

use host_firmware::{Stage, Value, Wishes};
use units::{Millis, Mono};

use super::*;

struct Bench {
    host: Host,
    now: Mono,
    out: Vec<Output>,
}

impl Bench {
    fn new(config: Config) -> Self {
        Self { host: Host::new(config), now: Mono::ZERO, out: Vec::new() }
    }

    fn off() -> Self {
        Self::new(Config::default())
    }

    fn on() -> Self {
        Self::new(Config { initially_on: true, ..Config::default() })
    }

    fn input(&mut self, input: Input) -> &mut Self {
        self.host.step(self.now, input, &mut self.out);
        self
    }

    fn wait(&mut self, ms: u64) -> &mut Self {
        self.now += Millis::new(ms);
        self.input(Input::Tick)
    }

    fn press(&mut self, ms: u64) -> &mut Self {
        self.input(Input::PowerButton(true)).wait(ms).input(Input::PowerButton(false))
    }

    fn edges(&self) -> Vec<bool> {
        self.out.iter().filter_map(|o| if let Output::PowerGood(l) = o { Some(*l) } else { None }).collect()
    }

    fn console(&self) -> String {
        self.out.iter().filter_map(|o| if let Output::Serial(t) = o { Some(*t) } else { None }).collect()
    }
}

#[test]
fn a_short_press_starts_a_host_that_is_off() {
    let mut bench = Bench::off();
    bench.press(200).wait(50);
    assert!(!bench.host.power_good());
    bench.wait(300);
    assert!(bench.host.power_good());
    assert_eq!(bench.edges(), [true]);
    bench.wait(2_000);
    assert_eq!(bench.host.os(), Os::Running);
    assert!(bench.console().ends_with("login: "), "{}", bench.console());
}

#[test]
fn a_press_shorter_than_the_debounce_is_not_seen() {
    let mut bench = Bench::off();
    bench.press(10).wait(5_000);
    assert!(!bench.host.power_good());
}

#[test]
fn a_short_press_on_a_running_host_shuts_the_operating_system_down() {
    let mut bench = Bench::on();
    bench.press(200).wait(1_000);
    assert!(bench.host.power_good(), "still shutting down");
    bench.wait(1_000);
    assert!(!bench.host.power_good());
    assert_eq!(bench.host.acpi_events(), 1);
    assert!(bench.console().contains("Power down"));
}

#[test]
fn a_hung_operating_system_ignores_the_button_but_not_a_long_hold() {
    let mut bench = Bench::on();
    bench.input(Input::Fault(Fault::OsHang(true))).press(200).wait(60_000);
    assert!(bench.host.power_good());
    bench.press(4_100);
    assert!(!bench.host.power_good());
    assert_eq!(bench.host.hard_offs(), 1);
}

#[test]
fn holding_on_after_the_hard_off_does_not_start_the_host_again() {
    let mut bench = Bench::on();
    bench.press(14_000).wait(10_000);
    assert!(!bench.host.power_good());
    assert_eq!(bench.host.starts(), 0);
}

#[test]
fn a_hold_that_begins_on_a_host_that_is_off_starts_it_and_kills_it() {
    let mut bench = Bench::off();
    bench.press(5_000).wait(1_000);
    assert_eq!((bench.host.starts(), bench.host.hard_offs()), (1, 1));
    assert_eq!(bench.edges(), [true, false]);
}

#[test]
fn ignored_presses_have_no_effect_and_are_counted_down() {
    let mut bench = Bench::off();
    bench.input(Input::Fault(Fault::IgnorePresses(1))).press(200).wait(5_000);
    assert!(!bench.host.power_good());
    bench.press(200).wait(5_000);
    assert!(bench.host.power_good());
}

#[test]
fn a_missing_power_good_leaves_the_host_off() {
    let mut bench = Bench::off();
    bench.input(Input::Fault(Fault::PowerGoodMissing(true))).press(200).wait(5_000);
    assert_eq!((bench.edges(), bench.host.supply()), (vec![], Supply::Off));
}

#[test]
fn bounces_end_on_the_right_level() {
    for toggles in 0..6 {
        let mut bench = Bench::off();
        let every = Millis::new(3);
        bench.input(Input::Fault(Fault::PowerGoodBounce { toggles, every })).press(200).wait(5_000);
        assert!(bench.host.power_good());
        assert_eq!(bench.edges().len(), 1 + usize::from(toggles.div_ceil(2)) * 2);
    }
}

#[test]
fn a_glitch_drops_the_wire_and_not_the_host() {
    let mut bench = Bench::on();
    bench.input(Input::Fault(Fault::Glitch(Millis::new(20)))).wait(100);
    assert_eq!(bench.edges(), [false, true]);
    assert_eq!(bench.host.os(), Os::Running);
}

#[test]
fn reset_reboots_without_dropping_power() {
    let mut bench = Bench::on();
    bench.input(Input::ResetButton(true)).wait(500).input(Input::ResetButton(false)).wait(3_000);
    assert_eq!((bench.edges(), bench.host.resets(), bench.host.os()), (vec![], 1, Os::Running));
}

#[test]
fn reset_may_show_on_power_good() {
    let config = Config { initially_on: true, reset_drops_power_good: Millis::new(100), ..Config::default() };
    let mut bench = Bench::new(config);
    bench.input(Input::ResetButton(true)).wait(500);
    assert_eq!(bench.edges(), [false, true]);
}

#[test]
fn a_held_level_powers_the_host_for_as_long_as_it_is_held() {
    let mut bench = Bench::off();
    bench.input(Input::PowerControl(true)).wait(500);
    assert!(bench.host.power_good());
    bench.input(Input::PowerControl(false)).wait(500);
    assert_eq!(bench.edges(), [true, false]);
}

#[test]
fn the_finger_is_shown_to_the_bmc_and_works_like_the_line() {
    let mut bench = Bench::off();
    bench
        .input(Input::Finger(Button::Power, true))
        .wait(100)
        .input(Input::Finger(Button::Power, false))
        .wait(1_000);
    assert!(bench.host.power_good());
    assert_eq!(
        bench.out[..2],
        [Output::ButtonIn(Button::Power, true), Output::ButtonIn(Button::Power, false)]
    );
}

#[test]
fn a_press_during_boot_does_what_the_board_says() {
    for (boot_press, expect_on) in
        [(BootPress::Ignore, true), (BootPress::Latch, false), (BootPress::PowerOff, false)]
    {
        let mut bench = Bench::new(Config { boot_press, ..Config::default() });
        bench.press(200).wait(400).press(200).wait(10_000);
        assert_eq!(bench.host.power_good(), expect_on, "{boot_press:?}");
    }
}

#[test]
fn an_external_guest_is_started_asked_and_killed() {
    let mut bench = Bench::new(Config { guest: Guest::External, ..Config::default() });
    bench.press(200).wait(1_000).press(200).wait(1_000).press(5_000).wait(100);
    let guest: Vec<_> =
        bench.out.iter().filter_map(|o| if let Output::Guest(a) = o { Some(*a) } else { None }).collect();
    use GuestAction::{Kill, PowerButton, Start};
    // A long hold begins like a short press: the guest sees it before it is killed.
    assert_eq!(guest, [Start, PowerButton, PowerButton, Kill]);
    assert!(!bench.host.power_good());
}

#[test]
fn an_external_guest_that_halts_takes_power_good_with_it() {
    let mut bench = Bench::new(Config { guest: Guest::External, initially_on: true, ..Config::default() });
    bench.input(Input::GuestHalted).wait(100);
    assert!(!bench.host.power_good());
}

#[test]
fn an_nmi_reaches_only_a_running_host() {
    let mut bench = Bench::off();
    bench.input(Input::Nmi(true)).input(Input::Nmi(false));
    assert_eq!(bench.host.nmis(), 0);
    let mut bench = Bench::on();
    bench.input(Input::Nmi(true)).wait(200).input(Input::Nmi(false));
    assert_eq!(bench.host.nmis(), 1);
}

fn order(id: &str, target: Target, once: bool) -> Option<Order> {
    Some(Order {
        id: id.to_owned(),
        target,
        once,
        mode: boot_override::Mode::Firmware,
        argument: String::new(),
    })
}

#[test]
fn a_boot_notes_its_order_before_power_good_tells_of_it() {
    let mut bench = Bench::off();
    bench.host.put_order(order("a", Target::Usb, true));
    bench.press(200).wait(400);
    let at = |wanted: Output| bench.out.iter().position(|output| *output == wanted);
    assert!(at(Output::Mailbox) < at(Output::PowerGood(true)) && at(Output::Mailbox).is_some());
    assert!(bench.host.mailbox().has_used("a"));
    bench.wait(3_000);
    assert!(bench.console().contains("Booting from USB stick"), "{}", bench.console());
    // It is for one boot, and gone with the power.
    bench.input(Input::OsReboot).wait(3_000);
    assert_eq!(bench.host.boot_order(), None);
    bench.host.put_order(order("b", Target::Hdd, false));
    for _ in 0..2 {
        bench.input(Input::OsReboot).wait(3_000);
        assert_eq!(bench.host.boot_order(), order("b", Target::Hdd, false).as_ref());
    }
    bench.input(Input::Fault(Fault::PowerLoss)).wait(1_000);
    assert_eq!(bench.host.boot_order(), None);
}

#[test]
fn in_set_up_nothing_boots_and_the_firmware_heeds_the_power_button() {
    let mut bench = Bench::on();
    bench.host.put_order(order("a", Target::BiosSetup, true));
    bench.input(Input::ResetButton(true)).wait(500).input(Input::ResetButton(false)).wait(60_000);
    assert_eq!(bench.host.os(), Os::Setup);
    bench.press(200).wait(100);
    assert_eq!((bench.host.supply(), bench.host.acpi_events()), (Supply::Off, 0));
}

fn wish(id: &str, attributes: &[(&str, Value)], order: &[&str]) -> Option<Wishes> {
    let order: Vec<String> = order.iter().map(|name| (*name).to_owned()).collect();
    Some(Wishes {
        id: id.to_owned(),
        attributes: attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        boot_order: (!order.is_empty()).then_some(order),
        ..Wishes::default()
    })
}

impl Bench {
    /// What is said from here until this time has passed.
    fn said_within(&mut self, ms: u64) -> String {
        self.out.clear();
        self.wait(ms).console()
    }

    fn stage(&self) -> Option<(u32, Stage)> {
        self.host.seen(self.now, 0).progress.map(|progress| (progress.boot, progress.stage))
    }
}

#[test]
fn firmware_takes_what_is_wished_before_the_boot_it_counts_for() {
    let mut bench = Bench::off();
    assert!(bench.host.seen(bench.now, 0).report.is_some(), "it was booted in the factory");
    bench.host.put_wishes(wish("a", &[("BootTimeout", Value::Integer(2))], &["Boot0003"]));
    assert_eq!(bench.host.changed_order(), None);
    assert!(bench.host.is_boot_awaited());
    bench.press(200).wait(400);
    let at = |wanted: Output| bench.out.iter().position(|output| *output == wanted);
    assert!(at(Output::Mailbox) < at(Output::PowerGood(true)) && at(Output::Mailbox).is_some());
    assert_eq!(bench.host.firmware().applied.as_ref().map(|applied| applied.id.as_str()), Some("a"));
    assert_eq!(bench.host.seen(bench.now, 1).revision, 2);
    assert!(!bench.host.is_boot_awaited());
    assert_eq!(bench.host.tries().first(), Some(&Target::Pxe));
    assert_eq!(bench.host.boot_order(), None, "nobody told it");
    // 500 ms and 2 s.
    bench.wait(1_500);
    assert!(matches!(bench.host.os(), Os::Post { .. }));
    bench.wait(3_000);
    assert!(bench.console().contains("Booting from network (PXE)"), "{}", bench.console());
    // An override goes before, for its boot; then the order that was set counts again.
    bench.host.put_order(order("b", Target::Cd, true));
    bench.input(Input::OsReboot);
    let said = bench.said_within(5_000);
    assert!(said.contains("Booting from CD/DVD"), "{said}");
    bench.input(Input::OsReboot);
    let said = bench.said_within(5_000);
    assert!(said.contains("Booting from network (PXE)"), "{said}");
    // A boot option by its name.
    let next = order("c", Target::UefiBootNext, true).unwrap();
    bench.host.put_order(Some(Order { argument: "Boot0002".to_owned(), ..next }));
    bench.input(Input::OsReboot);
    let said = bench.said_within(5_000);
    assert!(said.contains("Booting from USB stick"), "{said}");
    bench.input(Input::Fault(Fault::PowerLoss)).wait(1_000);
    assert!(bench.host.tries().is_empty());
}

#[test]
fn what_firmware_says_is_as_it_is_set() {
    let (yes, no) = (Value::Boolean(true), Value::Boolean(false));
    for (set, banner, memory, boots) in [
        (vec![], true, true, true),
        (vec![("QuietBoot", yes.clone())], true, false, true),
        (vec![("SerialRedirection", no.clone())], false, false, false),
        (vec![("SerialRedirection", no), ("QuietBoot", yes)], false, false, false),
    ] {
        let mut bench = Bench::off();
        bench.host.put_wishes(wish("a", &set, &[]));
        bench.press(200).wait(10_000);
        let said = bench.console();
        let says = |text: &str| said.contains(text);
        let told = (says("Twin BIOS"), says("Memory test"), says("Booting from hard disk"));
        assert_eq!(told, (banner, memory, boots), "{set:?}: {said}");
        assert!(said.ends_with("login: "), "the operating system is heard: {said}");
    }
}

#[test]
fn firmware_without_an_enabled_boot_option_stays_in_its_set_up() {
    let mut bench = Bench::off();
    let options = &bench.host.firmware().report.as_ref().unwrap().boot_options;
    let off = options.iter().map(|option| (option.name.clone(), false)).collect();
    bench.host.put_wishes(Some(Wishes { id: "a".to_owned(), boot_options: off, ..Wishes::default() }));
    bench.press(200).wait(60_000);
    assert_eq!((bench.host.os(), bench.stage()), (Os::Setup, Some((1, Stage::SetupEntered))));
    assert_eq!(bench.host.changed_order(), Some(vec![]));
    // It is still told by an override.
    bench.host.put_order(order("b", Target::Hdd, true));
    bench.input(Input::ResetButton(true)).wait(10_000);
    assert_eq!(bench.host.os(), Os::Running);
}

#[test]
fn a_boot_tells_how_far_it_is_in_order() {
    let mut bench = Bench::off();
    assert_eq!(bench.stage(), None);
    bench.press(200);
    let mut stages = Vec::new();
    for _ in 0..200 {
        bench.wait(10);
        stages.extend(bench.stage());
    }
    stages.dedup();
    let all = [
        Stage::PrimaryProcessor,
        Stage::Bus,
        Stage::Memory,
        Stage::SecondaryProcessor,
        Stage::PciResources,
        Stage::HardwareComplete,
        Stage::OsStarted,
        Stage::OsRunning,
    ];
    assert_eq!(stages, all.map(|stage| (1, stage)));
    bench.input(Input::OsReboot);
    assert_eq!(bench.stage(), Some((2, Stage::PrimaryProcessor)));
    bench.input(Input::Fault(Fault::PowerLoss));
    assert_eq!(bench.stage(), None);
    // What plays a guest knows nothing of that, and takes what is wished all the same.
    let mut bench = Bench::new(Config { guest: Guest::External, ..Config::default() });
    bench.host.put_wishes(wish("a", &[], &["Boot0001"]));
    bench.press(200).wait(10_000);
    assert_eq!((bench.host.os(), bench.stage()), (Os::Running, None));
    assert_eq!(bench.host.changed_order().and_then(|order| order.first().copied()), Some(Target::Cd));
    assert_eq!(bench.host.seen(bench.now, 0).report.unwrap().secure_boot, None);
}
