//! The boot record: its frozen bytes, and the rules by which it chooses a slot.

use std::collections::BTreeSet;

use boot::{Fault, Found, GRANTED_TRIES, PATIENCE, RECORD_LEN, Record, SlotId, SlotState, Tried, Write};
use proptest::prelude::*;

use SlotId::{A, B};

/// Counts a boot in which every slot verifies that is not in `broken`, as stage0 does it.
fn boot(record: &mut Record, broken: &[(SlotId, Fault)]) -> Option<SlotId> {
    let mut tried = Tried::default();
    while let Some(attempt) = record.begin_boot(tried) {
        let Some((_, fault)) = broken.iter().find(|(slot, _)| *slot == attempt.slot) else {
            return Some(attempt.slot);
        };
        record.mark_bad(attempt.slot, *fault);
        tried.add(attempt.slot);
    }
    None
}

fn confirmed_both() -> Record {
    let mut record = Record::default();
    record.confirm(B);
    let _ = record.advance();
    record.confirm(A);
    let _ = record.advance();
    record
}

#[test]
fn the_bytes_are_frozen() {
    let mut record = Record::default();
    record.confirm(A);
    record.mark_bad(B, Fault::Verity);
    record.request_factory_reset();
    let _ = record.advance();
    assert_eq!(record.begin_boot(Tried::default()).map(|attempt| attempt.slot), Some(A));
    let write = record.advance();
    assert_eq!((write.copy, write.offset), (0, 0));
    let mut expected = Vec::new();
    expected.extend(b"UBMCBOOT");
    expected.extend([1, 0, 0, 0, 1, 0, 0, 0]);
    expected.extend([2, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend([0, 0, 0, 0, 1, 0, 0, 0]);
    expected.extend([2, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend([3, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    expected.resize(124, 0);
    expected.extend([0x88, 0xf2, 0x49, 0x49]);
    assert_eq!(write.bytes.as_slice(), expected);
    assert_eq!(Record::decode(&write.bytes), Some(record));
}

#[test]
fn no_valid_copy_is_no_record() {
    assert_eq!(Record::newest(&[], &[0xff; 512]), None);
    assert_eq!(Record::newest(&[0; RECORD_LEN], &[0; RECORD_LEN]), None);
}

#[test]
fn each_copy_is_read_by_itself() {
    let mut record = Record::default();
    record.confirm(A);
    let older = record.advance().bytes;
    let newer = record.advance().bytes;
    let mut next_version = newer;
    next_version[8] = 2;
    let crc = crc32fast::hash(&next_version[..124]);
    next_version[124..].copy_from_slice(&crc.to_le_bytes());
    let mut torn = newer;
    torn[16] ^= 1;
    let old = Found::Known(Record::decode(&older).unwrap());
    let new = Found::Known(Record::decode(&newer).unwrap());
    let erased: &[u8] = &[0xff; RECORD_LEN];
    let rows: [([Option<&[u8]>; 2], Found); 10] = [
        ([Some(&older), Some(&newer)], new),
        ([Some(&newer), Some(&older)], new),
        ([Some(&older), None], old),
        ([None, Some(&older)], old),
        ([Some(&older), Some(&torn)], old),
        ([Some(erased), Some(erased)], Found::New),
        ([Some(erased), None], Found::Unreadable),
        ([None, Some(&torn)], Found::Unreadable),
        ([None, None], Found::Unreadable),
        ([Some(&older), Some(&next_version)], Found::Newer),
    ];
    for (number, (copies, found)) in rows.into_iter().enumerate() {
        assert_eq!(Record::found(copies), found, "row {number}");
    }
}

#[test]
fn after_a_write_that_failed_the_other_copy_is_next() {
    let mut record = Record::default();
    let first = record.advance();
    let second = record.advance();
    assert_ne!(first.copy, second.copy);
    assert_eq!(Record::newest(&first.bytes, &second.bytes), Some(record));
}

#[test]
fn a_fresh_bmc_tries_a_three_times_then_b_three_times_then_takes_turns() {
    let mut record = Record::default();
    let order: Vec<_> = (0..10).filter_map(|_| boot(&mut record, &[])).collect();
    assert_eq!(order, [A, A, A, B, B, B, A, B, A, B]);
    assert_eq!(record.slot(A).fault, Some(Fault::Tries));
}

#[test]
fn a_new_slot_that_is_confirmed_stays() {
    let mut record = confirmed_both();
    record.activate(B);
    assert_eq!(boot(&mut record, &[]), Some(B));
    record.confirm(B);
    for _ in 0..20 {
        assert_eq!(boot(&mut record, &[]), Some(B));
        record.confirm(B);
    }
    assert_eq!(record.slot(B).failures, 0);
    assert_eq!(record.slot(A).state, SlotState::Confirmed);
}

#[test]
fn a_new_slot_that_is_never_confirmed_gives_way_after_its_tries() {
    let mut record = confirmed_both();
    record.activate(B);
    let order: Vec<_> = (0..5).filter_map(|_| boot(&mut record, &[])).collect();
    assert_eq!(order, [B, B, B, A, A]);
    assert_eq!((record.slot(B).state, record.slot(B).fault), (SlotState::Bad, Some(Fault::Tries)));
}

#[test]
fn the_boot_that_falls_back_says_from_which_slot_and_why() {
    let mut record = confirmed_both();
    record.activate(B);
    for _ in 0..GRANTED_TRIES {
        let attempt = record.begin_boot(Tried::default()).unwrap();
        assert_eq!((attempt.slot, attempt.fell_back), (B, None));
    }
    let attempt = record.begin_boot(Tried::default()).unwrap();
    assert_eq!((attempt.slot, attempt.fell_back), (A, Some((B, Fault::Tries))));
    assert_eq!(record.begin_boot(Tried::default()).unwrap().fell_back, None);
}

#[test]
fn a_confirmed_slot_out_of_patience_gives_way_to_a_confirmed_one_and_they_take_turns() {
    let mut record = confirmed_both();
    let runs: Vec<_> = (0..usize::from(PATIENCE) * 3).filter_map(|_| boot(&mut record, &[])).collect();
    assert_eq!(runs, [[A; 5], [B; 5], [A; 5]].concat());
    assert_eq!(record.slot(B).state, SlotState::Confirmed);
}

#[test]
fn a_confirmed_slot_out_of_patience_stays_where_the_other_is_not_confirmed() {
    let mut record = Record::default();
    record.confirm(A);
    for _ in 0..300 {
        assert_eq!(boot(&mut record, &[]), Some(A));
    }
    assert_eq!(record.slot(A).state, SlotState::Confirmed);
}

#[test]
fn a_slot_that_does_not_verify_gives_way_in_the_same_boot() {
    let mut record = confirmed_both();
    assert_eq!(boot(&mut record, &[(A, Fault::Manifest)]), Some(B));
    assert_eq!(record.slot(A).fault, Some(Fault::Manifest));
    assert_eq!(record.active(), B);
}

#[test]
fn with_nothing_good_the_most_recently_confirmed_slot_is_tried_first() {
    let mut record = confirmed_both();
    assert_eq!(boot(&mut record, &[(A, Fault::Verity), (B, Fault::Verity)]), None);
    // A read error that went away: A was confirmed last.
    let attempt = record.begin_boot(Tried::default()).unwrap();
    assert_eq!((attempt.slot, attempt.last_resort), (A, true));
    record.confirm(A);
    assert_eq!(boot(&mut record, &[]), Some(A));
}

#[test]
fn an_empty_slot_is_the_last_resort_only() {
    let mut record = Record::default();
    record.confirm(A);
    record.clear(B);
    assert_eq!(record.active(), A);
    assert_eq!(boot(&mut record, &[]), Some(A));
    assert_eq!(boot(&mut record, &[(A, Fault::Verity)]), Some(B));
}

#[test]
fn a_slot_is_read_whole_unless_its_last_boot_was_well() {
    let mut record = Record::default();
    assert!(record.begin_boot(Tried::default()).unwrap().wants_full_check());
    record.confirm(A);
    assert!(!record.begin_boot(Tried::default()).unwrap().wants_full_check());
    assert!(record.begin_boot(Tried::default()).unwrap().wants_full_check());
}

/// What can happen to a record.
#[derive(Debug, Clone)]
enum Step {
    Boot([Option<Fault>; 2]),
    Confirm,
    Activate(SlotId),
    Clear(SlotId),
    Reset(bool),
}

fn slot() -> impl Strategy<Value = SlotId> {
    prop_oneof![Just(A), Just(B)]
}

fn step() -> impl Strategy<Value = Step> {
    let fault =
        || prop_oneof![3 => Just(None), 1 => Just(Some(Fault::Verity)), 1 => Just(Some(Fault::Manifest))];
    prop_oneof![
        6 => [fault(), fault()].prop_map(Step::Boot),
        2 => Just(Step::Confirm),
        1 => slot().prop_map(Step::Activate),
        1 => slot().prop_map(Step::Clear),
        1 => any::<bool>().prop_map(Step::Reset),
    ]
}

fn apply(record: &mut Record, step: &Step) -> Write {
    match step {
        Step::Boot(faults) => {
            let broken: Vec<_> = SlotId::ALL
                .into_iter()
                .zip(faults)
                .filter_map(|(slot, fault)| Some((slot, (*fault)?)))
                .collect();
            let booted = boot(record, &broken);
            // Never a dead end: a slot that verifies is found, whatever the record says of it.
            assert_eq!(booted.is_some(), broken.len() < 2);
        }
        Step::Confirm => {
            if let Some(slot) = record.last_booted() {
                record.confirm(slot);
            }
        }
        Step::Activate(slot) => record.activate(*slot),
        Step::Clear(slot) => record.clear(*slot),
        Step::Reset(true) => record.request_factory_reset(),
        Step::Reset(false) => record.clear_factory_reset(),
    }
    let write = record.advance();
    assert_eq!(Record::decode(&write.bytes).as_ref(), Some(&*record));
    write
}

proptest! {
    #[test]
    fn a_slot_that_verifies_is_always_found(steps in prop::collection::vec(step(), 0..60)) {
        let mut record = Record::default();
        for step in &steps {
            apply(&mut record, step);
        }
    }

    #[test]
    fn a_confirmed_slot_is_not_lost_because_the_other_one_is_bad(
        steps in prop::collection::vec(step(), 0..40), good in slot(), fault in prop_oneof![Just(Some(Fault::Verity)), Just(None)]
    ) {
        let mut record = Record::default();
        for step in &steps {
            apply(&mut record, step);
        }
        record.confirm(good);
        record.activate(good.other());
        // The other one never verifies, or verifies and is never confirmed: its tries are all it can cost.
        let broken: Vec<_> = fault.into_iter().map(|fault| (good.other(), fault)).collect();
        for _ in 0..GRANTED_TRIES {
            boot(&mut record, &broken);
        }
        for _ in 0..20 {
            prop_assert_eq!(boot(&mut record, &broken), Some(good));
            prop_assert_eq!(record.slot(good).state, SlotState::Confirmed);
        }
    }

    #[test]
    fn tries_are_never_more_than_granted(steps in prop::collection::vec(step(), 0..40), new in slot()) {
        let mut record = Record::default();
        for step in &steps {
            apply(&mut record, step);
        }
        record.confirm(new.other());
        record.activate(new);
        let booted = (0..50).filter(|_| boot(&mut record, &[]) == Some(new)).count();
        prop_assert_eq!(booted, usize::from(GRANTED_TRIES));
    }

    #[test]
    fn a_torn_write_costs_only_what_it_was_about_to_say(
        steps in prop::collection::vec(step(), 1..20), cut in 0..RECORD_LEN, garbage in any::<u8>()
    ) {
        let mut copies = [[0; RECORD_LEN]; 2];
        let mut record = Record::default();
        let [last, earlier @ ..] = steps.as_slice() else { return Ok(()) };
        for step in earlier {
            let write = apply(&mut record, step);
            copies[write.copy] = write.bytes;
        }
        let before = Record::newest(&copies[0], &copies[1]);
        let write = apply(&mut record, last);
        let new = write.bytes;
        let torn = &mut copies[write.copy];
        let old = *torn;
        torn[..cut].copy_from_slice(&new[..cut]);
        torn[cut..].fill(garbage);
        // All of it, none of it, or the older copy: nothing in between.
        let found = Record::newest(&copies[0], &copies[1]);
        prop_assert!(found == before || found == Some(record) , "{old:?}");
    }

    #[test]
    fn any_bytes_are_a_record_or_none(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Some(record) = Record::decode(&bytes) {
            prop_assert_eq!(Record::decode(&record.encode()), Some(record));
        }
    }

    #[test]
    fn one_wrong_bit_is_noticed(steps in prop::collection::vec(step(), 1..10), bit in 0..RECORD_LEN * 8) {
        let mut record = Record::default();
        for step in &steps {
            apply(&mut record, step);
        }
        let mut bytes = record.encode();
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(Record::decode(&bytes), None);
    }
}

#[test]
fn every_fault_keeps_its_number() {
    let mut seen = BTreeSet::new();
    for fault in [
        Fault::Unreadable,
        Fault::Manifest,
        Fault::Mismatch,
        Fault::Verity,
        Fault::Root,
        Fault::Tries,
        Fault::NoConfirmation,
        Fault::Other(200),
    ] {
        let mut record = Record::default();
        record.mark_bad(A, fault);
        let bytes = record.encode();
        assert!(seen.insert(bytes[35]));
        assert_eq!(Record::decode(&bytes).unwrap().slot(A).fault, Some(fault));
    }
}
