//! Segments that are cut, emptied, zeroed or missing: never an older or an empty stream without a word; and a loss of power that tore
//! what nobody was told of is no damage.

use std::path::{Path, PathBuf};

use nats::js::store::StoreReport;
use serde_json::json;

use super::reached::Reached;
use super::sim::{Random, SimDisk};
use super::tests::{Bench, ROOT, begin, bucket, small};
use super::{Disk as _, StoreLimits};

const KEYS: u64 = 12;

/// How a server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Orderly,
    Killed,
}

/// A bucket that was locked last.
fn locked(end: End, limits: StoreLimits) -> SimDisk {
    let disk = SimDisk::new();
    let mut bench = Bench::open(&disk, limits, begin());
    bench.api("STREAM.CREATE.KV_b", bucket());
    bench.publish("$KV.b.lock", b"open");
    for n in 0..KEYS {
        bench.publish(&format!("$KV.b.{n}"), &[7; 250]);
    }
    bench.publish("$KV.b.lock", b"locked");
    if end == End::Orderly {
        bench.now.mono += 5_000;
        bench.machine.close(bench.now);
    }
    drop(bench);
    disk
}

fn segments(disk: &SimDisk) -> Vec<PathBuf> {
    disk.files().into_keys().filter(|p| p.extension().is_some_and(|e| e == "seg")).collect()
}

fn is_told(bench: &Bench) -> bool {
    bench.reports.iter().any(|r| match r {
        StoreReport::Damaged { stream, .. } | StoreReport::Found { stream, .. } => stream == "KV_b",
        _ => false,
    })
}

/// The revision of a key's value; `None`: it has none.
fn revision(bench: &mut Bench, key: &str) -> Option<u64> {
    let answer = bench.api("STREAM.MSG.GET.KV_b", json!({"last_by_subj": format!("$KV.b.{key}")}));
    answer["message"]["seq"].as_u64()
}

/// Bytes of all segments.
fn used(disk: &SimDisk) -> u64 {
    let files = disk.files();
    segments(disk).iter().map(|path| files[path].len() as u64).sum()
}

type Change = fn(&mut Vec<u8>);

/// Whatever of the newest segment is gone: it is told, in the bucket too, above all that is left, once, and it lasts.
#[test]
fn a_newest_segment_that_falls_short_is_told_in_its_bucket() {
    let cut: [(&str, Change); 9] = [
        ("zeroed", |b| b.fill(0)),
        ("zeroed behind its header", |b| b[32..].fill(0)),
        ("emptied", Vec::clear),
        ("cut in its header", |b| b.truncate(20)),
        ("cut to its header", |b| b.truncate(32)),
        ("cut in half", |b| b.truncate(b.len() / 2)),
        ("the last record cut", |b| {
            let at = last_lock(b);
            b.truncate(at);
        }),
        ("the last record zeroed", |b| {
            let at = last_lock(b);
            b[at..].fill(0);
        }),
        ("another file", |b| *b = b"#!/bin/sh\necho this is not a store\n".to_vec()),
    ];
    for end in [End::Orderly, End::Killed] {
        let disk = locked(end, StoreLimits { segment_bytes: 1 << 20, ..small() });
        let path = PathBuf::from(ROOT).join("streams/KV_b/00000001.seg");
        for (what, change) in
            cut.iter().map(|(what, change)| (*what, Some(*change))).chain([("removed", None)])
        {
            let disk = disk.copy();
            match change {
                Some(change) => disk.edit(&path, change),
                None => disk.remove_file(&path).unwrap(),
            }
            let mut bench = Bench::open(&disk, small(), begin());
            assert!(is_told(&bench), "{what} {end:?}: {:?}", bench.reports);
            let told = revision(&mut bench, "_damaged").unwrap_or_else(|| panic!("{what} {end:?}: not told"));
            assert!(revision(&mut bench, "lock").is_none_or(|lock| lock < told), "{what} {end:?}");
            assert!(told > KEYS + 2, "{what} {end:?}: {told} was given out before");
            drop(bench);
            // The power goes right after: it is still told. Otherwise once.
            let mut bench = Bench::open(&disk.after_power_loss(&mut Random::new(3)), small(), begin());
            assert!(revision(&mut bench, "_damaged").is_some(), "{what} {end:?}");
            let mut bench = Bench::open(&disk, small(), begin());
            assert!(bench.reports.is_empty(), "{what} {end:?}: {:?}", bench.reports);
            assert_eq!(revision(&mut bench, "_damaged"), Some(told), "{what} {end:?}");
            // What is stored from now on is above it.
            assert!(bench.publish("$KV.b.lock", b"open")["seq"].as_u64() > Some(told), "{what} {end:?}");
        }
    }
}

/// Where the record begins that locked it.
fn last_lock(bytes: &[u8]) -> usize {
    let mut at = 0;
    let mut subject_at = |needle: &[u8]| {
        at = bytes.windows(needle.len()).rposition(|w| w == needle).unwrap();
    };
    subject_at(b"$KV.b.lock");
    at - 32
}

/// An older segment that was emptied is told in the bucket as well.
#[test]
fn an_older_segment_that_was_emptied_is_told_in_its_bucket() {
    let changes: [Change; 3] = [Vec::clear, |b| b.truncate(20), |b| b.fill(0)];
    for change in changes {
        let disk = locked(End::Orderly, StoreLimits { segment_bytes: 4096, ..small() });
        let mut bench = Bench::open(&disk, small(), begin());
        bench.publish("$KV.b.last", &[1; 4000]);
        bench.machine.close(bench.now);
        drop(bench);
        assert!(segments(&disk).len() > 1);
        disk.edit(&segments(&disk)[0], change);
        let mut bench = Bench::open(&disk, small(), begin());
        assert!(is_told(&bench));
        assert!(revision(&mut bench, "_damaged").is_some());
        assert!(revision(&mut bench, "last").is_some());
    }
}

/// On a medium that takes nothing it is told all the same, at each start.
#[test]
fn a_shortfall_on_a_read_only_medium_is_told_too() {
    let disk = locked(End::Orderly, StoreLimits { segment_bytes: 1 << 20, ..small() });
    let path = PathBuf::from(ROOT).join("streams/KV_b/00000001.seg");
    for change in [Vec::clear as Change, |b| b.truncate(b.len() / 2), |b| b.fill(0)] {
        for kind in [std::io::ErrorKind::ReadOnlyFilesystem, std::io::ErrorKind::StorageFull] {
            let disk = disk.copy();
            disk.edit(&path, change);
            disk.refuse(Some(kind));
            for _ in 0..2 {
                let mut bench = Bench::open(&disk, small(), begin());
                assert!(is_told(&bench), "{kind:?}");
                assert!(revision(&mut bench, "_damaged").is_some(), "{kind:?}");
            }
            disk.refuse(None);
            let mut bench = Bench::open(&disk, small(), begin());
            assert!(revision(&mut bench, "_damaged").is_some(), "{kind:?}");
        }
    }
}

/// A segment the medium does not give may be back at the next start; until then nobody takes what is left for all there was.
#[test]
fn an_unreadable_segment_is_told_in_its_bucket_while_it_lasts() {
    let disk = locked(End::Orderly, StoreLimits { segment_bytes: 1 << 20, ..small() });
    disk.make_unreadable(Some("/KV_b/00000001.seg"));
    let mut bench = Bench::open(&disk, small(), begin());
    assert!(is_told(&bench) && revision(&mut bench, "_damaged").is_some());
    bench.publish("$KV.b.other", b"x");
    drop(bench);
    disk.make_unreadable(None);
    let mut bench = Bench::open(&disk, small(), begin());
    assert_eq!(revision(&mut bench, "_damaged"), None);
    assert_eq!(bench.value("KV_b", "$KV.b.lock").unwrap(), b"locked");
    assert_eq!(bench.value("KV_b", "$KV.b.other").unwrap(), b"x");
}

/// A segment that was being begun when the power went, on a medium that takes nothing at first: it goes before another one follows, and is
/// never taken for one that was emptied.
#[test]
fn a_torn_beginning_that_could_not_be_removed_is_no_damage_later() {
    let limits = StoreLimits { segment_bytes: 4096, ..small() };
    for (bytes, end) in [(0, End::Orderly), (20, End::Orderly), (0, End::Killed), (20, End::Killed)] {
        for kind in [std::io::ErrorKind::ReadOnlyFilesystem, std::io::ErrorKind::StorageFull] {
            for stop in [None].into_iter().chain((0..14).map(Some)) {
                let what = format!("{bytes} bytes, {end:?}, {kind:?}, the power goes {stop:?}");
                let disk = locked(end, limits);
                let torn = PathBuf::from(ROOT).join("streams/KV_b/00000002.seg");
                assert_eq!(segments(&disk).len(), 1);
                disk.open(&torn, true).unwrap().write_at(&vec![0; bytes], 0).unwrap();
                disk.sync_dir(torn.parent().unwrap()).unwrap();
                disk.refuse(Some(kind));
                let mut bench = Bench::open(&disk, limits, begin());
                assert!(bench.publish("$KV.b.lock", b"open").get("error").is_some(), "{what}");
                disk.refuse(None);
                disk.fail_after(stop);
                for _ in 0..20 {
                    bench.now.mono += 1_000;
                    bench.commit();
                }
                bench.send("r", "$KV.b.other", b"", &[1; 3900]);
                let stored = bench.commit();
                assert!(stop.is_some() || stored["r"].1.starts_with(br#"{"stream":"#), "{what}");
                drop(bench);
                for disk in [disk.copy(), disk.after_power_loss(&mut Random::new(5))] {
                    let mut bench = Bench::open(&disk, limits, begin());
                    assert!(!is_told(&bench), "{what}: {:?}", bench.reports);
                    assert_eq!(revision(&mut bench, "_damaged"), None, "{what}");
                    assert_eq!(bench.value("KV_b", "$KV.b.lock").unwrap(), b"locked", "{what}");
                }
            }
        }
    }
}

/// A segment that is given up for its room will not be back: what was told for this start lasts then, whenever the power goes.
#[test]
fn an_unreadable_segment_that_is_given_up_stays_told() {
    let limits = StoreLimits { max_bytes: 48 * 1024, headroom: 0, segment_bytes: 8192 };
    let stops = || [None].into_iter().chain((0..40).map(Some));
    for (newest, stop) in [false, true].into_iter().flat_map(|newest| stops().map(move |stop| (newest, stop)))
    {
        let what = format!("newest {newest}, the power goes {stop:?}");
        let disk = locked(End::Orderly, limits);
        if !newest {
            let mut bench = Bench::open(&disk, limits, begin());
            bench.publish("$KV.b.first", &[1; 5000]);
            bench.publish("$KV.b.last", &[1; 5000]);
            bench.machine.close(bench.now);
        }
        let lost = segments(&disk)[0].clone();
        assert_eq!(segments(&disk).len() > 1, !newest);
        disk.make_unreadable(lost.to_str());
        let mut bench = Bench::open(&disk, limits, begin());
        let told = revision(&mut bench, "_damaged").expect("told while it is not read");
        // Until its room is needed.
        let mut n = 0;
        while used(&disk) < 3 * limits.max_bytes / 4 - 4000 {
            assert!(bench.publish(&format!("$KV.b.{n}"), &[9; 2000]).get("error").is_none(), "{what}");
            n += 1;
        }
        disk.fail_after(stop);
        for _ in 0..8 {
            bench.send("r", &format!("$KV.b.{n}"), b"", &[9; 2000]);
            bench.commit();
            n += 1;
        }
        let given_up = !disk.files().contains_key(&lost);
        assert!(given_up || stop.is_some(), "{what}");
        if stop.is_none() {
            assert_eq!(revision(&mut bench, "_damaged"), Some(told), "{what}");
            assert_eq!(bench.value("KV_b", "$KV.b._damaged").as_deref(), Some(&b""[..]), "{what}");
        }
        drop(bench);
        let mut disks = vec![disk.after_power_loss(&mut Random::new(11))];
        disks.extend(stop.is_none().then(|| disk.copy()));
        for disk in disks {
            let there = disk.files().contains_key(&lost);
            let mut bench = Bench::open(&disk, limits, begin());
            let now = revision(&mut bench, "_damaged");
            assert!(there || now == Some(told), "{what}: {now:?}, {told} was told");
            // What is back is the newest again, or was told for good.
            let lock = revision(&mut bench, "lock");
            assert!(!there || lock.is_some() || now.is_some(), "{what}");
        }
    }
}

/// A first segment that gives nothing is given up although the one behind it has holes, and stays told whenever the power goes.
#[test]
fn an_unreadable_first_segment_is_given_up_past_holes() {
    let limits = StoreLimits { max_bytes: 48 * 1024, headroom: 0, segment_bytes: 8192 };
    for stop in [None].into_iter().chain((0..40).map(Some)) {
        let what = format!("the power goes {stop:?}");
        let disk = locked(End::Orderly, limits);
        let mut bench = Bench::open(&disk, limits, begin());
        for n in 0..6 {
            bench.publish(&format!("$KV.b.more{n}"), &[1; 3000]);
        }
        bench.machine.close(bench.now);
        drop(bench);
        let (lost, holed) = (segments(&disk)[0].clone(), segments(&disk)[1].clone());
        assert!(segments(&disk).len() > 2);
        disk.make_unreadable(lost.to_str());
        disk.make_byte_unreadable(Some((holed.to_str().unwrap(), 5000)));
        let mut bench = Bench::open(&disk, limits, begin());
        let told = revision(&mut bench, "_damaged").expect("told while it is not read");
        let mut n = 0;
        while used(&disk) < 3 * limits.max_bytes / 4 - 4000 {
            assert!(bench.publish(&format!("$KV.b.{n}"), &[9; 2000]).get("error").is_none(), "{what}");
            n += 1;
        }
        disk.fail_after(stop);
        for _ in 0..8 {
            bench.send("r", &format!("$KV.b.{n}"), b"", &[9; 2000]);
            bench.commit();
            n += 1;
        }
        assert!(!disk.files().contains_key(&lost) || stop.is_some(), "{what}: it is not given up");
        drop(bench);
        let mut disks = vec![disk.after_power_loss(&mut Random::new(11))];
        disks.extend(stop.is_none().then(|| disk.copy()));
        for disk in disks {
            let there = disk.files().contains_key(&lost);
            let mut bench = Bench::open(&disk, limits, begin());
            let now = revision(&mut bench, "_damaged");
            assert!(there || now >= Some(told), "{what}: {now:?}, {told} was told");
            let lock = revision(&mut bench, "lock");
            assert!(!there || lock.is_some() || now.is_some(), "{what}");
        }
    }
}

/// Whenever the power goes, and whatever of what nobody was told of is left, nothing is damaged. `POWER_LOSSES` sets how many stores are
/// tried (100 without it).
#[test]
fn a_loss_of_power_is_never_taken_for_damage() {
    let limits = StoreLimits { segment_bytes: 4096, ..small() };
    let seeds = std::env::var("POWER_LOSSES").ok().and_then(|n| n.parse().ok()).unwrap_or(100_u64);
    for seed in 0..seeds {
        let mut disk = SimDisk::new();
        let mut random = Random::new(seed * 7919 + 1);
        let mut exists = false;
        for round in 0..4 {
            let mut bench = Bench::open(&disk, limits, begin());
            assert!(!is_told(&bench), "{seed} {round}: {:?}", bench.reports);
            assert_eq!(revision(&mut bench, "_damaged"), None, "{seed} {round}");
            if !exists {
                bench.api("STREAM.CREATE.KV_b", bucket());
                exists = true;
            }
            disk.fail_after(Some(random.below(90)));
            for n in 0..60 {
                for more in 0..=n % 3 {
                    let subject = format!("$KV.b.{}", random.below(5) + more);
                    bench.send(&format!("r{more}"), &subject, b"", &vec![7; 40 + random.below(900)]);
                }
                if n % 17 == 16 {
                    bench.send("p", "$JS.API.STREAM.PURGE.KV_b", b"", br#"{"filter":"$KV.b.1"}"#);
                }
                bench.commit();
                if bench.reports.iter().any(|r| matches!(r, StoreReport::Failed { .. })) {
                    break;
                }
            }
            if random.below(3) == 0 {
                bench.machine.close(bench.now);
            }
            drop(bench);
            disk = disk.after_power_loss(&mut random);
        }
    }
}

/// A purge and what a full medium takes away are no damage either.
#[test]
fn what_goes_by_will_is_not_missed() {
    for room in [None, Some(0)] {
        let disk = locked(End::Killed, StoreLimits { segment_bytes: 1 << 20, ..small() });
        let mut bench = Bench::open(&disk, small(), begin());
        disk.set_room(room);
        assert_eq!(bench.api("STREAM.PURGE.KV_b", json!({}))["success"], true);
        drop(bench);
        for disk in [disk.copy(), disk.after_power_loss(&mut Random::new(9))] {
            let mut bench = Bench::open(&disk, small(), begin());
            assert!(!is_told(&bench), "{room:?}: {:?}", bench.reports);
            assert_eq!((revision(&mut bench, "_damaged"), revision(&mut bench, "lock")), (None, None));
        }
    }
}

/// A mark that is damaged costs nothing and is told; without one, as earlier releases left it, all is read as it is.
#[test]
fn a_damaged_mark_costs_nothing() {
    let disk = locked(End::Orderly, small());
    let mark = Path::new(ROOT).join("streams/KV_b/mark");
    let changes: [Change; 3] = [|b| b[40] ^= 0x7e, Vec::clear, |b| b.fill(0)];
    for change in changes {
        let disk = disk.copy();
        disk.edit(&mark, change);
        let mut bench = Bench::open(&disk, small(), begin());
        assert!(is_told(&bench));
        assert_eq!(bench.value("KV_b", "$KV.b.lock").unwrap(), b"locked");
        assert_eq!(revision(&mut bench, "_damaged"), None);
        drop(bench);
        assert!(Bench::open(&disk, small(), begin()).reports.is_empty());
    }
    disk.remove_file(&mark).unwrap();
    let mut bench = Bench::open(&disk, small(), begin());
    assert_eq!((bench.reports.len(), bench.value("KV_b", "$KV.b.lock").unwrap()), (0, b"locked".to_vec()));
    drop(bench);
    assert!(disk.files().contains_key(&mark));
    assert!(!segments(&disk).is_empty());
}

/// A release that knows no marks leaves them as they are, begins segments and writes the marked one anew, shorter: that is no damage.
#[test]
fn an_older_release_that_went_on_from_a_mark_did_no_damage() {
    let limits = StoreLimits { segment_bytes: 4096, ..small() };
    for end in [End::Orderly, End::Killed] {
        let disk = locked(end, limits);
        let marks: Vec<(PathBuf, Vec<u8>)> =
            disk.files().into_iter().filter(|(path, _)| is_mark(path)).collect();
        assert!(!marks.is_empty());
        let marked = segments(&disk).pop().unwrap();
        let size = disk.files()[&marked].len();
        let mut bench = Bench::open(&disk, limits, begin());
        // Of what the marked segment holds one value goes on living: it is cleaned, or its messages are in an earlier one.
        for n in 0..300_u64 {
            bench.publish(&format!("$KV.b.{}", n % KEYS), &[8; 700]);
        }
        bench.machine.close(bench.now);
        drop(bench);
        assert!(disk.files().get(&marked).is_none_or(|bytes| bytes.len() < size), "it was cleaned");
        for path in disk.files().into_keys().filter(|path| is_mark(path)) {
            disk.remove_file(&path).unwrap();
        }
        for (path, bytes) in &marks {
            disk.open(path, true).unwrap().write_at(bytes, 0).unwrap();
        }
        // Also where the marked segment is still there, and shorter.
        for shorter in [false, true] {
            let disk = disk.copy();
            let first = segments(&disk).remove(0);
            if shorter {
                let id = super::segment_id(first.file_name().unwrap().to_str().unwrap()).unwrap();
                let bytes = disk.files()[&first].len() as u64;
                let stale = super::reached::encode(Reached { segment: id, next: 9, bytes: bytes + 500 });
                for (path, _) in &marks {
                    disk.edit(path, |b| b.clone_from(&stale));
                }
            }
            let mut bench = Bench::open(&disk, limits, begin());
            assert!(bench.reports.is_empty(), "{end:?} {shorter}: {:?}", bench.reports);
            assert_eq!(revision(&mut bench, "_damaged"), None, "{end:?} {shorter}");
            assert_eq!(bench.value("KV_b", "$KV.b.lock").unwrap(), b"locked");
        }
    }
}

fn is_mark(path: &Path) -> bool {
    super::reached::MARKS.iter().any(|mark| path.ends_with(mark))
}

/// A newest segment that a start wrote anew, shorter, is damaged once, also where the mark still tells its old length.
#[test]
fn what_a_start_mended_is_not_missed_by_the_next() {
    let disk = locked(End::Orderly, StoreLimits { segment_bytes: 1 << 20, ..small() });
    let path = PathBuf::from(ROOT).join("streams/KV_b/00000001.seg");
    let mark = PathBuf::from(ROOT).join("streams/KV_b/mark");
    // The value of a key in the middle; all else is sound.
    disk.edit(&path, |b| {
        let at = b.windows(7).position(|w| w == b"$KV.b.5").unwrap();
        super::tests::spoil(&mut b[at + 60]);
    });
    let (old, size) = (disk.files()[&mark].clone(), disk.files()[&path].len());
    let mut bench = Bench::open(&disk, small(), begin());
    assert!(is_told(&bench));
    assert_eq!(bench.value("KV_b", "$KV.b.5").as_deref(), Some(&b""[..]), "it reads as lost");
    bench.publish("$KV.b.other", b"x");
    drop(bench);
    assert!(disk.files()[&path].len() < size);
    // The start was killed before it replaced the mark.
    disk.edit(&mark, |b| *b = old);
    let mark_2 = PathBuf::from(ROOT).join("streams/KV_b/mark.2");
    if disk.files().contains_key(&mark_2) {
        disk.remove_file(&mark_2).unwrap();
    }
    let mut bench = Bench::open(&disk, small(), begin());
    assert!(bench.reports.is_empty(), "{:?}", bench.reports);
    assert_eq!(revision(&mut bench, "_damaged"), None);
    assert_eq!(bench.value("KV_b", "$KV.b.lock").unwrap(), b"locked");
    assert_eq!(bench.value("KV_b", "$KV.b.other").unwrap(), b"x");
}

/// An idle store writes nothing, however often it is started.
#[test]
fn a_start_after_an_orderly_end_writes_nothing() {
    let disk = locked(End::Orderly, small());
    let before = disk.files();
    for _ in 0..2 {
        let mut bench = Bench::open(&disk, small(), begin());
        bench.now.mono += 5_000;
        bench.machine.close(bench.now);
    }
    assert_eq!(disk.files(), before);
}

/// Turns two bits of the record that holds `needle` at `offset` from it: more than can be corrected.
fn wear(disk: &SimDisk, path: &Path, needle: &[u8], nth: usize, offset: isize) {
    disk.edit(path, |bytes| {
        let found = bytes.windows(needle.len()).enumerate().filter(|(_, w)| *w == needle).map(|(at, _)| at);
        let at = found.collect::<Vec<_>>()[nth].checked_add_signed(offset).unwrap();
        bytes[at] ^= 1;
        bytes[at + 2] ^= 1;
    });
}

/// A removal that does not read any more has no number of its own: what it removed shows again, which is told above all.
#[test]
fn a_lost_removal_is_told() {
    let disk = SimDisk::new();
    let mut bench = Bench::open(&disk, small(), begin());
    bench.api("STREAM.CREATE.KV_b", bucket());
    bench.publish("$KV.b.bob", b"first");
    let carol = bench.publish("$KV.b.carol", b"here")["seq"].as_u64().unwrap();
    bench.api("STREAM.PURGE.KV_b", json!({"filter": "$KV.b.carol"}));
    bench.publish("$KV.b.bob", b"second");
    bench.machine.close(bench.now);
    drop(bench);
    let path = segments(&disk)[0].clone();
    // The range that was removed.
    let range: Vec<u8> = [carol.to_le_bytes(), carol.to_le_bytes()].concat();
    wear(&disk, &path, &range, 0, 0);
    let mut bench = Bench::open(&disk, small(), begin());
    let (told, bob) = (revision(&mut bench, "_damaged"), revision(&mut bench, "bob"));
    assert!(is_told(&bench) && told > bob && told > revision(&mut bench, "carol"), "{told:?} {bob:?}");
    // Once: what is stored now counts, at the next start too.
    let new = bench.publish("$KV.b.carol", b"again")["seq"].as_u64();
    bench.machine.close(bench.now);
    drop(bench);
    let mut bench = Bench::open(&disk, small(), begin());
    assert!(revision(&mut bench, "_damaged") < new && revision(&mut bench, "carol") == new);
}

/// What stands in the place of lost values goes with a removal that meant one of them; that the others are lost is told all the same.
#[test]
fn a_removal_does_not_hide_a_loss() {
    let disk = SimDisk::new();
    let mut bench = Bench::open(&disk, small(), begin());
    bench.api("STREAM.CREATE.KV_b", bucket());
    bench.publish("$KV.b.dave", b"old");
    let carol = bench.publish("$KV.b.carol", b"here")["seq"].as_u64().unwrap();
    bench.publish("$KV.b.dave", b"new");
    bench.publish("$KV.b.bob", b"first");
    bench.api("STREAM.PURGE.KV_b", json!({"filter": "$KV.b.carol"}));
    bench.publish("$KV.b.bob", b"second");
    bench.machine.close(bench.now);
    drop(bench);
    let path = segments(&disk)[0].clone();
    // Carol's record and the one behind it.
    disk.edit(&path, |bytes| {
        let find = |needle: &[u8]| bytes.windows(needle.len()).position(|w| w == needle).unwrap();
        let (from, to) = (find(b"$KV.b.carol") - 32, find(b"$KV.b.bob") - 32);
        bytes[from..to].fill(0);
    });
    let mut bench = Bench::open(&disk, small(), begin());
    assert_eq!(revision(&mut bench, "carol"), None);
    let told = revision(&mut bench, "_damaged");
    assert!(told > Some(carol) && told > revision(&mut bench, "dave"), "{told:?}");
    assert!(bench.publish("$KV.b.dave", b"newer")["seq"].as_u64() > told);
    drop(bench);
    // Once.
    let mut bench = Bench::open(&disk, small(), begin());
    assert_eq!(revision(&mut bench, "_damaged"), told);
    assert!(told < revision(&mut bench, "dave"));
}

/// While a segment cannot be read, what was stored after it counts: its loss is told in its place, at each start, and when it is given up.
#[test]
fn what_is_stored_after_a_segment_became_unreadable_counts() {
    let limits = StoreLimits { max_bytes: 48 * 1024, headroom: 0, segment_bytes: 8192 };
    let disk = locked(End::Orderly, limits);
    disk.make_unreadable(Some("/KV_b/00000001.seg"));
    let mut bench = Bench::open(&disk, limits, begin());
    let told = revision(&mut bench, "_damaged");
    assert!(told.is_some());
    let new = bench.publish("$KV.b.lock", b"open")["seq"].as_u64();
    bench.machine.close(bench.now);
    drop(bench);
    for _ in 0..3 {
        let mut bench = Bench::open(&disk, limits, begin());
        assert_eq!(revision(&mut bench, "_damaged"), told);
        assert!(told < new && revision(&mut bench, "lock") == new);
        bench.now.mono += 5_000;
        bench.machine.close(bench.now);
    }
    // Its room is needed.
    let mut bench = Bench::open(&disk, limits, begin());
    let lost = PathBuf::from(ROOT).join("streams/KV_b/00000001.seg");
    for n in 0..40 {
        bench.send("r", &format!("$KV.b.{}", n % 16), b"", &[9; 2000]);
        bench.commit();
    }
    assert!(!disk.files().contains_key(&lost), "it is not given up");
    assert_eq!(revision(&mut bench, "_damaged"), told);
    bench.machine.close(bench.now);
    drop(bench);
    let mut bench = Bench::open(&disk, limits, begin());
    assert_eq!(revision(&mut bench, "_damaged"), told, "it lasts");
    assert_eq!(bench.value("KV_b", "$KV.b.lock").unwrap(), b"open");
    assert_eq!(revision(&mut bench, "lock"), new);
}
