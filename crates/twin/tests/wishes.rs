//! A twin that dies at any step, a host that boots at any, and a controller that wishes: each wish is taken by one boot.

use std::collections::HashMap;

use host_firmware::{FirmwareBox, Next, Value, Wishes, change, next};
use proptest::prelude::*;
use twin::{Config, Fault, Guest, Host, Input, Output};
use units::{Millis, Mono};

#[derive(Debug, Clone)]
enum Step {
    /// A client asks for another value of a switch or another first boot option.
    Wish(Wishes),
    /// The controller does what is next about what is stored and the mailbox.
    Controller,
    /// The same wishes are put there once more, by a controller that died before it knew that they are.
    PutAgain,
    /// The host is switched on, or restarts itself.
    Boot,
    /// Its power is lost.
    PowerLoss,
    /// The twin dies and is started anew.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let switch = ("(Smt|QuietBoot|SerialRedirection)", any::<bool>()).prop_map(|(name, value)| Wishes {
        attributes: [(name, Value::Boolean(value))].into(),
        ..Wishes::default()
    });
    let order = "Boot000[0-4]".prop_map(|name| Wishes { boot_order: Some(vec![name]), ..Wishes::default() });
    prop_oneof![
        prop_oneof![switch, order].prop_map(Step::Wish),
        Just(Step::Controller),
        Just(Step::Controller),
        Just(Step::PutAgain),
        Just(Step::Boot),
        Just(Step::Boot),
        Just(Step::PowerLoss),
        Just(Step::Restart),
    ]
}

struct World {
    guest: Guest,
    host: Host,
    now: Mono,
    /// What is in the file.
    file: FirmwareBox,
    stored: Option<Wishes>,
    last: Option<Wishes>,
    wishes: u32,
    taken: HashMap<String, u32>,
}

impl World {
    fn host(guest: Guest) -> Host {
        Host::new(Config { guest, ..Config::default() })
    }

    fn input(&mut self, input: Input, wait: u64) {
        let mut out = Vec::new();
        let pending = self.host.firmware().pending().cloned();
        let before = self.host.firmware().applied.clone();
        self.host.step(self.now, input, &mut out);
        self.now += Millis::new(wait);
        self.host.step(self.now, Input::Tick, &mut out);
        let boots = out.iter().filter(|output| **output == Output::Mailbox).count();
        assert!(boots <= 1);
        let after = self.host.firmware();
        match (boots, pending) {
            (1, Some(wishes)) => {
                assert_eq!(after.applied.as_ref().map(|applied| &applied.id), Some(&wishes.id));
                assert!(after.applied.as_ref().is_some_and(|applied| applied.not_taken.is_empty()));
                assert_eq!(after.pending(), None);
                let report = after.report.as_ref().unwrap();
                assert_eq!(report.check(), Ok(()));
                for (name, value) in &wishes.attributes {
                    assert_eq!(&report.attribute(name).unwrap().current, value);
                }
                if let Some(order) = &wishes.boot_order {
                    assert!(report.boot_order.starts_with(order));
                }
                *self.taken.entry(wishes.id).or_default() += 1;
            }
            // No boot, or nothing wished: nothing is taken.
            _ => assert_eq!(after.applied, before),
        }
        if boots > 0 {
            self.file = self.host.kept_firmware();
        }
    }

    fn put(&mut self, wishes: Option<Wishes>) {
        self.host.put_wishes(wishes.clone());
        self.last = wishes;
        self.file = self.host.kept_firmware();
    }

    fn controller(&mut self) {
        match next(self.stored.as_ref(), &[], &self.host.seen(self.now, 0)) {
            Next::Nothing => {}
            Next::Over(applied) => {
                assert_eq!(self.taken.get(&applied.id), Some(&1));
                self.stored = None;
            }
            Next::Put(wishes) => self.put(wishes),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Wish(wanted) => {
                // As a service does: what a boot has taken is over before more is wished.
                self.controller();
                self.wishes += 1;
                let report = self.host.firmware().report.clone().unwrap();
                let id = self.wishes.to_string();
                self.stored = change(&report, self.stored.as_ref(), wanted, id).unwrap();
            }
            Step::Controller => self.controller(),
            Step::PutAgain => {
                if let Some(last) = self.last.clone() {
                    self.put(Some(last));
                }
            }
            Step::Boot if self.host.power_good() => {
                self.input(Input::ResetButton(true), 100);
                self.input(Input::ResetButton(false), 10_000);
            }
            Step::Boot => self.input(Input::Fault(Fault::Wake), 10_000),
            Step::PowerLoss => self.input(Input::Fault(Fault::PowerLoss), 1_000),
            Step::Restart => {
                let boots = self.host.kept_firmware().progress;
                self.host = Self::host(self.guest);
                self.host.restore_firmware(self.file.clone());
                assert_eq!(self.host.kept_firmware().progress, boots, "boots are counted on");
            }
        }
    }
}

proptest! {
    #[test]
    fn a_wish_is_taken_by_one_boot(external: bool, steps in prop::collection::vec(step(), 0..60)) {
        let guest = if external { Guest::External } else { Guest::Scripted };
        let host = World::host(guest);
        let file = host.kept_firmware();
        let mut world = World {
            guest,
            host,
            now: Mono::ZERO,
            file,
            stored: None,
            last: None,
            wishes: 0,
            taken: HashMap::new(),
        };
        for step in steps {
            world.step(step);
        }
        prop_assert!(world.taken.values().all(|count| *count == 1), "{:?}", world.taken);
        // What is wished in the end is taken by the next boot.
        world.controller();
        world.controller();
        let wished = world.stored.as_ref().map(|wishes| wishes.id.clone());
        world.step(Step::Boot);
        world.controller();
        prop_assert_eq!(&world.stored, &None);
        if let Some(id) = wished {
            prop_assert_eq!(world.taken.get(&id), Some(&1));
        }
    }
}
