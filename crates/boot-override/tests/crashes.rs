//! A controller that dies at any step, a host that boots at any, and clients that choose: what is for one boot is used by one.

use std::collections::{HashMap, VecDeque};

use boot_override::{Enabled, Mailbox, Mode, Next, Order, Setting, Target, next};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    /// A client chooses; the store takes it.
    Choose(Target, Enabled),
    /// The controller looks into the mailbox, and decides.
    Look,
    /// What it decided first is done.
    Do,
    /// It dies: what it decided and has not done is not done.
    Die,
    /// The host begins a boot.
    Boot,
}

/// What is left to do, in the order it was decided.
enum Work {
    Store(Setting),
    Put(Option<Order>),
}

#[derive(Default)]
struct World {
    stored: Setting,
    mailbox: Mailbox,
    work: VecDeque<Work>,
    /// How often each order was used, by whether it was for one boot.
    uses: HashMap<String, (bool, u32)>,
    chosen: u32,
}

impl World {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Choose(target, enabled) => {
                // One update of a host at a time: what takes an override back is one.
                if self.work.iter().any(|work| matches!(work, Work::Store(_))) {
                    return;
                }
                self.chosen += 1;
                let wanted = Setting { target: *target, enabled: *enabled, ..Setting::default() };
                let id = self.chosen.to_string();
                let made = self.stored.choose(wanted, "", &Target::ALL, &Mode::CHOICES, id);
                self.stored = made.expect("it can be");
                self.work.push_back(Work::Put(self.stored.order()));
            }
            Step::Look => {
                if self.work.is_empty() {
                    match next(&self.stored, &self.mailbox) {
                        Next::Nothing => {}
                        Next::Store(setting) => self.work.push_back(Work::Store(setting)),
                        Next::Put(order) => self.work.push_back(Work::Put(order)),
                    }
                }
            }
            Step::Do => match self.work.pop_front() {
                Some(Work::Store(setting)) => self.stored = setting,
                Some(Work::Put(order)) => self.mailbox.put(order),
                None => {}
            },
            Step::Die => self.work.clear(),
            Step::Boot => {
                if let Some(order) = self.mailbox.boot() {
                    self.uses.entry(order.id).or_insert((order.once, 0)).1 += 1;
                }
            }
        }
    }

    /// The controller is left alone until it has nothing to do.
    fn settle(&mut self) {
        for _ in 0..self.work.len() + 8 {
            self.step(&Step::Do);
            self.step(&Step::Look);
        }
        assert!(self.work.is_empty(), "it comes to rest");
    }
}

fn step() -> impl Strategy<Value = Step> {
    let target = prop::sample::select(vec![Target::None, Target::Pxe, Target::Hdd, Target::Cd, Target::Usb]);
    let enabled =
        prop::sample::select(vec![Enabled::Disabled, Enabled::Once, Enabled::Once, Enabled::Continuous]);
    prop_oneof![
        2 => (target, enabled).prop_map(|(target, enabled)| Step::Choose(target, enabled)),
        4 => Just(Step::Look),
        4 => Just(Step::Do),
        2 => Just(Step::Die),
        3 => Just(Step::Boot),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn once_is_once_whatever_dies(steps in prop::collection::vec(step(), 0..80)) {
        let mut world = World::default();
        for step in &steps {
            world.step(step);
            for (id, (once, uses)) in &world.uses {
                prop_assert!(!once || *uses == 1, "order {id} was used {uses} times");
            }
        }
        world.settle();
        // What is stored is true: one that counts has not been used, and is used by the next boot.
        let stored = world.stored.clone();
        let uses = world.uses.get(&stored.id).map_or(0, |(_, uses)| *uses);
        if stored.enabled == Enabled::Once {
            prop_assert_eq!(uses, 0);
        }
        prop_assert_eq!(world.mailbox.pending().cloned(), stored.order());
        let booted = world.mailbox.clone().boot();
        prop_assert_eq!(booted, stored.order());
        world.step(&Step::Boot);
        world.settle();
        if stored.enabled == Enabled::Once {
            prop_assert_eq!(&world.stored, &stored.used_up());
            prop_assert_eq!(world.mailbox.boot(), None);
        } else {
            prop_assert_eq!(&world.stored, &stored);
        }
    }
}
