//! A host that takes wishes whenever it likes, between any two steps of who looks, decides, stores and puts: each wish counts once.

use host_firmware::{
    Applied, Attribute, FirmwareBox, Kind, Next, Report, ResetKeys, SecureBoot, SecureBootMode, Superseded,
    Value, Wishes, change, next, over, settle, supersede,
};
use proptest::prelude::*;

const DEFAULT: i64 = -1;

fn report() -> Report {
    let kind = Kind::Integer { lower: DEFAULT, upper: 10_000, step: 1 };
    let attribute = |name: &str| Attribute::new(name, kind.clone(), Value::Integer(DEFAULT));
    Report {
        attributes: vec![attribute("A"), attribute("B")],
        secure_boot: Some(SecureBoot { enabled: true, active: true, mode: SecureBootMode::User }),
        ..Report::default()
    }
}

/// What a client does, and whether the mailbox answers then.
#[derive(Debug, Clone, Copy)]
enum Asks {
    /// Another value of the first or the second attribute.
    Set(bool),
    Defaults,
    Keys,
    Discard,
    /// Nothing: the controller looks.
    Look,
    /// Nothing: a boot comes while the controller is away.
    Boot,
}

fn asks() -> impl Strategy<Value = (Asks, bool)> {
    let asks = prop_oneof![
        3 => any::<bool>().prop_map(Asks::Set),
        1 => Just(Asks::Defaults),
        1 => Just(Asks::Keys),
        1 => Just(Asks::Discard),
        3 => Just(Asks::Look),
        1 => Just(Asks::Boot),
    ];
    (asks, prop::bool::weighted(0.8))
}

/// Both sides.
#[derive(Debug)]
struct Bench {
    host: FirmwareBox,
    pending: Option<Wishes>,
    superseded: Vec<Superseded>,
    /// Whether a boot comes at the next place where one can.
    boots: std::vec::IntoIter<bool>,
    ids: i64,
    /// How often a boot reset keys and settings.
    keys: usize,
    defaults: usize,
    /// The ids that boots have taken, and those that the controller has learned of.
    taken: Vec<String>,
    learned: Vec<String>,
}

impl Bench {
    fn new(boots: Vec<bool>) -> Self {
        Self {
            host: FirmwareBox { report: Some(report()), revision: 1, ..FirmwareBox::default() },
            pending: None,
            superseded: Vec::new(),
            boots: boots.into_iter(),
            ids: 0,
            keys: 0,
            defaults: 0,
            taken: Vec::new(),
            learned: Vec::new(),
        }
    }

    fn boot(&mut self) {
        let Some(wishes) = self.host.pending().cloned() else { return };
        assert!(self.host.boot());
        self.keys += usize::from(wishes.reset_keys.is_some());
        self.defaults += usize::from(wishes.to_defaults);
        self.taken.push(wishes.id);
    }

    /// A place where a boot can come.
    fn place(&mut self) {
        if self.boots.next() == Some(true) {
            self.boot();
        }
    }

    fn fresh(&mut self) -> String {
        self.ids += 1;
        self.ids.to_string()
    }

    fn learn(&mut self, applied: &Applied) {
        let fresh = self.fresh();
        let report = self.host.report.clone();
        let settled =
            settle(self.pending.as_ref(), &mut self.superseded, applied, report.as_ref(), fresh).unwrap();
        assert_eq!(settled.taken.wishes.id, applied.id);
        self.learned.push(applied.id.clone());
        self.pending = settled.pending;
    }

    /// Does what is next until nothing is, or the mailbox is away.
    fn tell(&mut self) {
        for _ in 0..64 {
            self.place();
            let seen = self.host.seen(0);
            self.place();
            match next(self.pending.as_ref(), &self.superseded, &seen) {
                Next::Nothing => return,
                Next::Over(applied) => self.learn(&applied),
                Next::Put(wishes) => {
                    self.place();
                    self.host.put(wishes);
                }
            }
        }
        panic!("it does not come to an end: {self:?}");
    }

    /// What a client asks for is judged by what the mailbox shows, stored, and put there.
    fn ask(&mut self, change_to: Option<Wishes>, reaches: bool) {
        if reaches {
            self.place();
            let seen = self.host.seen(0);
            let applied = over(self.pending.as_ref(), &self.superseded, &seen).cloned();
            if let Some(applied) = applied {
                self.learn(&applied);
            }
        }
        let fresh = self.fresh();
        let after = match change_to {
            None => None,
            Some(wanted) => {
                let report = self.host.report.clone().unwrap();
                change(&report, self.pending.as_ref(), wanted, fresh).unwrap()
            }
        };
        if after != self.pending {
            if let Some(before) = self.pending.take() {
                supersede(&mut self.superseded, before);
            }
            self.pending = after;
        }
        if reaches {
            self.tell();
        }
    }
}

fn number(host: &FirmwareBox, name: &str) -> i64 {
    let Value::Integer(number) = host.report.as_ref().unwrap().attribute(name).unwrap().current else {
        panic!("a number");
    };
    number
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn whenever_a_boot_comes_each_wish_counts_once(
        asked in prop::collection::vec(asks(), 0..24),
        boots in prop::collection::vec(prop::bool::weighted(0.3), 0..80),
    ) {
        let mut bench = Bench::new(boots);
        let (mut keys, mut defaults) = (0, 0);
        // What the client wants in the end; `None`: it discarded what may have been taken.
        let mut wanted = [Some(DEFAULT), Some(DEFAULT)];
        let is_discarded = asked.iter().any(|(asks, _)| matches!(asks, Asks::Discard));
        for (at, (asks, reaches)) in (0_i64..).zip(asked) {
            match asks {
                Asks::Set(is_first) => {
                    let name = if is_first { "A" } else { "B" };
                    // A number nobody wished before.
                    let attributes = [(name.to_owned(), Value::Integer(at))].into();
                    bench.ask(Some(Wishes { attributes, ..Wishes::default() }), reaches);
                    wanted[usize::from(!is_first)] = Some(at);
                }
                Asks::Defaults => {
                    bench.ask(Some(Wishes { to_defaults: true, ..Wishes::default() }), reaches);
                    defaults += 1;
                    wanted = [Some(DEFAULT); 2];
                }
                Asks::Keys => {
                    let reset_keys = Some(ResetKeys::DeleteAll);
                    bench.ask(Some(Wishes { reset_keys, ..Wishes::default() }), reaches);
                    keys += 1;
                }
                Asks::Discard => {
                    bench.ask(None, reaches);
                    wanted = [None; 2];
                }
                Asks::Look if reaches => bench.tell(),
                Asks::Look => bench.place(),
                Asks::Boot => bench.boot(),
            }
            prop_assert!(bench.keys <= keys, "keys were reset {} times for {keys} requests", bench.keys);
            prop_assert!(bench.defaults <= defaults, "settings were reset {} times for {defaults}", bench.defaults);
        }
        bench.boots = Vec::new().into_iter();
        bench.tell();
        bench.boot();
        bench.tell();
        prop_assert_eq!((&bench.pending, &bench.host.wishes), (&None, &None));
        prop_assert!(bench.keys <= keys && bench.defaults <= defaults);
        if !is_discarded {
            prop_assert!((bench.keys > 0) == (keys > 0) && (bench.defaults > 0) == (defaults > 0));
        }
        for (name, wanted) in ["A", "B"].into_iter().zip(wanted) {
            if let Some(wanted) = wanted {
                prop_assert_eq!(number(&bench.host, name), wanted, "{}", name);
            }
        }
        // The host notes the last that it took: that is learned whatever became of it since.
        if let Some(last) = bench.taken.last() {
            prop_assert!(bench.learned.contains(last));
        }
        let mut once = bench.learned.clone();
        once.sort();
        once.dedup();
        prop_assert_eq!(once.len(), bench.learned.len());
    }
}

#[test]
fn keys_are_reset_once_by_one_request_that_a_boot_takes_while_another_is_made() {
    // A boot at each of the places in turn, and at two of them.
    for place in 0..12_usize {
        for other in place..12_usize {
            let mut bench = Bench::new((0..12).map(|at| at == place || at == other).collect());
            let keys = Wishes { reset_keys: Some(ResetKeys::DeleteAll), ..Wishes::default() };
            bench.ask(Some(keys), true);
            let attributes = [("A".to_owned(), Value::Integer(7))].into();
            bench.ask(Some(Wishes { attributes, ..Wishes::default() }), true);
            bench.boots = Vec::new().into_iter();
            bench.tell();
            bench.boot();
            bench.tell();
            assert_eq!((bench.keys, number(&bench.host, "A")), (1, 7), "boots at {place} and {other}");
        }
    }
}
