//! The way from the record to a slot that runs.

use boot::{Attempt, Fault, Manifest, Record, SlotId, Tried};

/// Why a slot was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// For the record.
    pub(crate) fault: Fault,
    /// For people.
    pub(crate) why: String,
}

/// What choosing needs of the machine.
pub(crate) trait Slots {
    /// Advances the record and makes it durable; says whether it is. A failure is told and lived with: a BMC that boots uncounted
    /// is better than none.
    fn write(&mut self, record: &mut Record) -> bool;
    /// Verifies and mounts a slot; a refused one leaves nothing behind.
    fn open(&mut self, attempt: &Attempt) -> Result<Manifest, Refused>;
    /// Tells.
    fn say(&mut self, text: &str);
}

/// The slot that is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) slot: SlotId,
    pub(crate) manifest: Manifest,
    /// Whether this boot was counted.
    pub(crate) counted: bool,
    /// The slot that was wanted in its place, and why it is not it.
    pub(crate) fell_back: Option<(SlotId, String)>,
}

/// Goes by the record until a slot is mounted. `None` when neither can be.
pub(crate) fn choose(record: &mut Record, slots: &mut impl Slots) -> Option<Chosen> {
    let mut tried = Tried::default();
    let wanted = record.active();
    let mut reason: Option<String> = None;
    while let Some(attempt) = record.begin_boot(tried) {
        // Before the slot is touched: a slot that hangs or kills the kernel has used up a try all the same.
        let counted = slots.write(record);
        if let Some((from, fault)) = attempt.fell_back {
            // What was tried and refused in this boot was told already.
            if !tried.has(from) {
                slots.say(&format!("slot {from} is passed over: {fault}"));
            }
            reason.get_or_insert_with(|| fault.to_string());
        }
        if attempt.last_resort {
            slots.say(&format!("slot {} is tried as a last resort", attempt.slot));
        }
        match slots.open(&attempt) {
            Ok(manifest) => {
                let fell_back = (attempt.slot != wanted).then(|| (wanted, reason.unwrap_or_default()));
                return Some(Chosen { slot: attempt.slot, manifest, counted, fell_back });
            }
            Err(refused) => {
                slots.say(&format!("slot {} is bad: {}", attempt.slot, refused.why));
                reason.get_or_insert(refused.why);
                record.mark_bad(attempt.slot, refused.fault);
                tried.add(attempt.slot);
            }
        }
    }
    slots.write(record);
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use boot::{Root, SlotState};
    use std::collections::BTreeMap;

    /// A machine whose broken slots are refused, and which remembers in which order things were done.
    #[derive(Default)]
    struct Fake {
        broken: BTreeMap<SlotId, Fault>,
        done: Vec<String>,
        written: Option<Record>,
    }

    fn manifest() -> Manifest {
        let root =
            Root { data_blocks: 1, hash_start_block: 1, hash_blocks: 1, root_hash: [0; 32], salt: [0; 32] };
        Manifest {
            board: "x/y".to_owned(),
            version: "1".to_owned(),
            kernel_release: "6".to_owned(),
            flavour: "release".to_owned(),
            epoch: 0,
            root,
        }
    }

    impl Slots for Fake {
        fn write(&mut self, record: &mut Record) -> bool {
            let write = record.advance();
            self.written = Record::decode(&write.bytes);
            self.done.push(format!("write {}", write.copy));
            true
        }

        fn open(&mut self, attempt: &Attempt) -> Result<Manifest, Refused> {
            self.done.push(format!("open {}", attempt.slot));
            match self.broken.get(&attempt.slot) {
                Some(fault) => Err(Refused { fault: *fault, why: fault.to_string() }),
                None => Ok(manifest()),
            }
        }

        fn say(&mut self, _: &str) {}
    }

    fn confirmed() -> Record {
        let mut record = Record::default();
        record.confirm(SlotId::B);
        let _ = record.advance();
        record.confirm(SlotId::A);
        record
    }

    #[test]
    fn the_attempt_is_durable_before_the_slot_is_touched() {
        let mut fake = Fake::default();
        let chosen = choose(&mut confirmed(), &mut fake).unwrap();
        assert_eq!((chosen.slot, chosen.fell_back), (SlotId::A, None));
        assert_eq!(fake.done, ["write 0", "open a"]);
        assert_eq!(fake.written.unwrap().slot(SlotId::A).failures, 1);
    }

    #[test]
    fn a_slot_that_does_not_verify_is_noted_and_the_other_one_boots_at_once() {
        let mut fake = Fake::default();
        fake.broken.insert(SlotId::A, Fault::Verity);
        let chosen = choose(&mut confirmed(), &mut fake).unwrap();
        assert_eq!(chosen.slot, SlotId::B);
        assert_eq!(chosen.fell_back, Some((SlotId::A, Fault::Verity.to_string())));
        assert_eq!(fake.done, ["write 0", "open a", "write 1", "open b"]);
        let written = fake.written.unwrap();
        assert_eq!((written.slot(SlotId::A).state, written.active()), (SlotState::Bad, SlotId::B));
    }

    #[test]
    fn with_neither_slot_the_end_is_written_and_told() {
        let mut fake = Fake::default();
        fake.broken.insert(SlotId::A, Fault::Manifest);
        fake.broken.insert(SlotId::B, Fault::Mismatch);
        assert_eq!(choose(&mut confirmed(), &mut fake), None);
        assert_eq!(fake.done, ["write 0", "open a", "write 1", "open b", "write 0"]);
        // A read error that went away: the next boot tries again.
        fake.broken.clear();
        let mut record = fake.written.take().unwrap();
        assert!(choose(&mut record, &mut fake).is_some());
    }

    #[test]
    fn a_slot_out_of_tries_gives_way_with_the_reason() {
        let mut record = confirmed();
        record.activate(SlotId::B);
        let mut fake = Fake::default();
        for _ in 0..3 {
            assert_eq!(choose(&mut record, &mut fake).unwrap().slot, SlotId::B);
        }
        let chosen = choose(&mut record, &mut fake).unwrap();
        assert_eq!(chosen.slot, SlotId::A);
        assert_eq!(chosen.fell_back, Some((SlotId::B, Fault::Tries.to_string())));
    }
}
