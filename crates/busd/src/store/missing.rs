//! Streams that are missing, as a whole or all that was in them: never new ones without a word; and neither a crash between making a
//! stream and listing it, nor a list that is damaged, is taken for such a loss.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nats::js::store::StoreReport;
use serde_json::{Value, json};

use super::made::LISTS;
use super::sim::{Random, SimDisk};
use super::tests::{Bench, ROOT, begin, bucket, small, spoil};
use super::{Disk as _, FileStore};

/// A copy of the list outside of the store.
const OUTSIDE: &str = "/store.streams";
const STREAM: &str = "streams/KV_b";

fn path(below: &str) -> PathBuf {
    Path::new(ROOT).join(below)
}

/// A bucket with a lock in it, and a stream beside it.
fn locked() -> SimDisk {
    let disk = SimDisk::new();
    let mut bench = Bench::open(&disk, small(), begin());
    bench.api("STREAM.CREATE.KV_b", bucket());
    bench.api("STREAM.CREATE.other", other());
    bench.publish("$KV.b.lock", b"locked");
    bench.publish("other.1", b"x");
    bench.machine.close(bench.now);
    drop(bench);
    disk
}

fn other() -> Value {
    json!({"name": "other", "subjects": ["other.>"], "allow_direct": true})
}

/// Removes the files of a folder for which `gone` holds, and the folder when nothing is left of it.
fn remove(disk: &SimDisk, dir: &Path, gone: impl Fn(&str) -> bool) {
    for file in disk.files().into_keys().filter(|p| p.starts_with(dir)) {
        if gone(file.file_name().unwrap().to_str().unwrap()) {
            disk.remove_file(&file).unwrap();
        }
    }
    let _ = disk.remove_dir(&dir.join("consumers")).and_then(|()| disk.remove_dir(dir));
    disk.sync_dir(dir.parent().unwrap()).unwrap();
    if disk.kind(dir).is_ok() {
        disk.sync_dir(dir).unwrap();
    }
}

fn told_of(bench: &Bench, what: &str) -> usize {
    bench.reports.iter().filter(|r| matches!(r, StoreReport::Found { stream, .. } if stream == what)).count()
}

fn is_list_told(bench: &Bench) -> bool {
    LISTS.iter().any(|list| told_of(bench, path(list).to_str().unwrap()) > 0)
}

/// The revision of a key's value; `None`: it has none.
fn revision(bench: &mut Bench, key: &str) -> Option<u64> {
    let answer = bench.api("STREAM.MSG.GET.KV_b", json!({"last_by_subj": format!("$KV.b.{key}")}));
    answer["message"]["seq"].as_u64()
}

type Gone = fn(&str) -> bool;

/// What may go of a stream.
const LOSSES: [(&str, Gone); 3] = [
    ("its folder", |_| true),
    ("its segments and marks", |file| !file.starts_with("meta")),
    ("its segments, marks and one copy of its metadata", |file| file != "meta.2"),
];

#[test]
fn a_bucket_of_which_nothing_is_left_is_told_in_it() {
    for (what, gone) in LOSSES {
        let disk = locked();
        remove(&disk, &path(STREAM), gone);
        let mut bench = Bench::open(&disk, small(), begin());
        assert!(bench.api("STREAM.CREATE.KV_b", bucket()).get("error").is_none(), "{what}");
        assert_eq!(told_of(&bench, "KV_b"), 1, "{what}: {:?}", bench.reports);
        let told = revision(&mut bench, "_damaged").unwrap_or_else(|| panic!("{what}: not told"));
        assert!(told > 1 && revision(&mut bench, "lock").is_none(), "{what}");
        assert_eq!(bench.value("other", "other.1").unwrap(), b"x");
        drop(bench);
        // It lasts, whatever comes next, and is told once.
        for disk in [disk.after_power_loss(&mut Random::new(3)), disk.copy()] {
            let mut bench = Bench::open(&disk, small(), begin());
            assert!(bench.reports.is_empty(), "{what}: {:?}", bench.reports);
            assert_eq!(revision(&mut bench, "_damaged"), Some(told), "{what}");
            assert!(bench.publish("$KV.b.lock", b"open")["seq"].as_u64() > Some(told), "{what}");
        }
    }
}

/// One that nobody makes again is told of at each start.
#[test]
fn a_stream_stays_missing_until_it_is_made_again() {
    let disk = locked();
    remove(&disk, &path("streams/other"), |_| true);
    for _ in 0..2 {
        let bench = Bench::open(&disk, small(), begin());
        assert_eq!((told_of(&bench, "other"), told_of(&bench, "KV_b")), (1, 0));
    }
    let mut bench = Bench::open(&disk, small(), begin());
    assert!(bench.api("STREAM.CREATE.other", other()).get("error").is_none());
    // No number is given out again soon.
    assert!(bench.publish("other.1", b"y")["seq"].as_u64() > Some(2));
    drop(bench);
    assert!(Bench::open(&disk, small(), begin()).reports.is_empty());
    // All of them, with their folder.
    let disk = locked();
    remove(&disk, &path(STREAM), |_| true);
    remove(&disk, &path("streams/other"), |_| true);
    disk.remove_dir(&path("streams")).unwrap();
    let bench = Bench::open(&disk, small(), begin());
    assert_eq!((told_of(&bench, "other"), told_of(&bench, "KV_b")), (1, 1));
}

/// Wherever the power goes, and whatever is refused, while a stream is made again: it is told, or will be.
#[test]
fn a_loss_is_told_wherever_the_power_goes_while_the_stream_is_made_again() {
    for (what, gone) in LOSSES {
        for stop in 0..40 {
            let disk = locked();
            remove(&disk, &path(STREAM), gone);
            disk.fail_after(Some(stop));
            let mut bench = Bench::open(&disk, small(), begin());
            bench.api("STREAM.CREATE.KV_b", bucket());
            drop(bench);
            for disk in [disk.copy(), disk.after_power_loss(&mut Random::new(stop as u64 * 31 + 7))] {
                let mut bench = Bench::open(&disk, small(), begin());
                bench.api("STREAM.CREATE.KV_b", bucket());
                assert!(revision(&mut bench, "_damaged").is_some(), "{what} {stop}: {:?}", bench.reports);
            }
        }
    }
}

#[test]
fn a_loss_on_a_medium_that_takes_nothing_is_told_at_each_start() {
    for (what, gone) in LOSSES {
        for kind in [std::io::ErrorKind::ReadOnlyFilesystem, std::io::ErrorKind::StorageFull] {
            let disk = locked();
            remove(&disk, &path(STREAM), gone);
            disk.refuse(Some(kind));
            for _ in 0..2 {
                let mut bench = Bench::open(&disk, small(), begin());
                assert!(told_of(&bench, "KV_b") > 0, "{what} {kind:?}");
                bench.api("STREAM.CREATE.KV_b", bucket());
                let is_there = bench.state("KV_b").is_object();
                assert!(!is_there || revision(&mut bench, "_damaged").is_some(), "{what} {kind:?}");
            }
            disk.refuse(None);
            let mut bench = Bench::open(&disk, small(), begin());
            bench.api("STREAM.CREATE.KV_b", bucket());
            assert!(revision(&mut bench, "_damaged").is_some(), "{what} {kind:?}");
        }
    }
}

/// Streams are made and deleted, and the power goes, or the medium refuses from there on for a while: nothing counts as lost, what was
/// answered is so, and what is there then is missed when it goes.
#[test]
fn making_and_deleting_a_stream_is_never_taken_for_a_loss() {
    for (deletes, refuses) in [(false, false), (true, false), (false, true), (true, true)] {
        for stop in 0..60 {
            let what = format!("deletes {deletes}, refuses {refuses}, stop {stop}");
            let disk = SimDisk::new();
            let mut bench = Bench::open(&disk, small(), begin());
            if deletes {
                bench.api("STREAM.CREATE.KV_b", bucket());
                bench.publish("$KV.b.lock", b"locked");
            }
            disk.fail_after(Some(stop));
            let answer = match deletes {
                true => bench.api("STREAM.DELETE.KV_b", json!({})),
                false => bench.api("STREAM.CREATE.KV_b", bucket()),
            };
            let open = answer["error"]["description"].as_str().is_some_and(|d| d.contains("a loss of power"));
            let done = answer.get("error").is_none();
            if refuses {
                disk.fail_after(None);
                for _ in 0..8 {
                    bench.now.mono += 2_000;
                    bench.commit();
                }
            }
            drop(bench);
            for (n, disk) in [disk.copy(), disk.after_power_loss(&mut Random::new(stop as u64 * 17 + 5))]
                .iter()
                .enumerate()
            {
                let mut bench = Bench::open(disk, small(), begin());
                assert_eq!(told_of(&bench, "KV_b"), 0, "{what} {n}: {:?}", bench.reports);
                assert!(!is_list_told(&bench), "{what} {n}: {:?}", bench.reports);
                let is_there = bench.state("KV_b").is_object();
                let expected = done != deletes;
                // What was neither answered nor taken back in time may be there or not.
                let settled = done || (refuses && !open);
                assert!(!settled || is_there == expected, "{what} {n}: {answer}");
                assert!(!is_there || revision(&mut bench, "_damaged").is_none(), "{what} {n}");
                drop(bench);
                if is_there {
                    remove(disk, &path(STREAM), |_| true);
                }
                let bench = Bench::open(disk, small(), begin());
                assert_eq!(told_of(&bench, "KV_b") > 0, is_there, "{what} {n}: {:?}", bench.reports);
            }
        }
    }
}

/// A store that is gone as a whole is no new one where the list is kept outside of it, too; where it is not, nobody can tell.
#[test]
fn a_store_that_is_gone_as_a_whole_is_told() {
    let open = |disk: &SimDisk| {
        let store = FileStore::on(Arc::new(disk.clone()), Path::new(ROOT), small()).unwrap();
        Bench::of(store.with_list_outside(Path::new(OUTSIDE)), begin())
    };
    let disk = locked();
    // One of an earlier release has none outside: it gets one.
    assert!(open(&disk).reports.is_empty());
    let whole = disk.files().into_keys().filter(|p| p.starts_with(ROOT)).collect::<Vec<_>>();
    let gone = |disk: &SimDisk| {
        remove(disk, &path(STREAM), |_| true);
        remove(disk, &path("streams/other"), |_| true);
        whole.iter().for_each(|file| drop(disk.remove_file(file)));
    };
    gone(&disk);
    for (outside, told) in [("sound", 1), ("missing", 0), ("damaged", 0)] {
        let disk = disk.copy();
        match outside {
            "missing" => disk.remove_file(Path::new(OUTSIDE)).unwrap(),
            "damaged" => disk.edit(Path::new(OUTSIDE), |b| spoil(&mut b[30])),
            _ => {}
        }
        let mut bench = open(&disk);
        assert_eq!(told_of(&bench, OUTSIDE), usize::from(outside == "damaged"), "{:?}", bench.reports);
        bench.api("STREAM.CREATE.KV_b", bucket());
        assert_eq!(
            (told_of(&bench, "KV_b"), told_of(&bench, "other")),
            (told, told),
            "{outside}: {:?}",
            bench.reports
        );
        assert_eq!(revision(&mut bench, "_damaged").is_some(), told == 1, "{outside}");
        // What was told and made again is not told again.
        drop(bench);
        let bench = open(&disk);
        assert_eq!(
            (told_of(&bench, "KV_b"), told_of(&bench, "other")),
            (0, told),
            "{outside}: {:?}",
            bench.reports
        );
    }
}

/// What an older release left has no list: nothing is alarmed, and from then on it is missed.
#[test]
fn a_store_without_a_list_is_listed_as_it_is() {
    let disk = locked();
    LISTS.iter().for_each(|list| disk.remove_file(&path(list)).unwrap());
    remove(&disk, &path("streams/other"), |_| true);
    let mut bench = Bench::open(&disk, small(), begin());
    assert!(bench.reports.is_empty(), "{:?}", bench.reports);
    assert_eq!(bench.value("KV_b", "$KV.b.lock").unwrap(), b"locked");
    drop(bench);
    remove(&disk, &path(STREAM), |_| true);
    let bench = Bench::open(&disk, small(), begin());
    assert_eq!((told_of(&bench, "KV_b"), told_of(&bench, "other")), (1, 0));
}

/// A list that is damaged, newer, not readable or in whose place something else is, is told, and costs no stream.
#[test]
fn a_damaged_list_costs_nothing() {
    type Change = fn(&mut Vec<u8>);
    let newer: Change = |b| *b = super::seal(br#"{"format":9,"streams":[]}"#);
    let changes: [(&str, Change); 5] = [
        ("turned", |b| spoil(&mut b[30])),
        ("emptied", Vec::clear),
        ("cut", |b| b.truncate(b.len() / 2)),
        ("zeroed", |b| b.fill(0)),
        ("newer", newer),
    ];
    for lists in [&LISTS[..1], &LISTS[1..], &LISTS[..]] {
        for (what, change) in changes {
            let disk = locked();
            lists.iter().for_each(|list| disk.edit(&path(list), change));
            let mut bench = Bench::open(&disk, small(), begin());
            assert!(is_list_told(&bench), "{what} {lists:?}");
            assert_eq!(bench.reports.len(), lists.len(), "{what} {lists:?}: {:?}", bench.reports);
            assert_eq!(bench.value("KV_b", "$KV.b.lock").unwrap(), b"locked");
            assert_eq!(revision(&mut bench, "_damaged"), None);
            drop(bench);
            // Once; and it holds again.
            assert!(Bench::open(&disk, small(), begin()).reports.is_empty(), "{what} {lists:?}");
            remove(&disk, &path(STREAM), |_| true);
            assert_eq!(told_of(&Bench::open(&disk, small(), begin()), "KV_b"), 1, "{what} {lists:?}");
        }
        // A folder in its place is put aside, and streams that are made then are missed again.
        let disk = locked();
        for list in lists {
            disk.remove_file(&path(list)).unwrap();
            disk.create_dir(&path(list).join("x")).unwrap();
        }
        let mut bench = Bench::open(&disk, small(), begin());
        assert!(is_list_told(&bench), "{lists:?}");
        assert_eq!(bench.value("KV_b", "$KV.b.lock").unwrap(), b"locked");
        let made = bench.api("STREAM.CREATE.n", json!({"name": "n", "subjects": ["n"]}));
        assert!(made.get("error").is_none(), "{lists:?}: {made}");
        drop(bench);
        remove(&disk, &path("streams/n"), |_| true);
        let bench = Bench::open(&disk, small(), begin());
        assert!(told_of(&bench, "n") == 1 && !is_list_told(&bench), "{lists:?}: {:?}", bench.reports);
    }
}

/// One copy is enough, and the newer of the two counts.
#[test]
fn one_copy_of_the_list_tells_it_too() {
    for gone in LISTS {
        let disk = locked();
        disk.edit(&path(gone), |b| spoil(&mut b[30]));
        remove(&disk, &path(STREAM), |_| true);
        let bench = Bench::open(&disk, small(), begin());
        assert!(is_list_told(&bench) && told_of(&bench, "KV_b") == 1, "{gone}: {:?}", bench.reports);
    }
}

/// Deleting is how room is made: it is done where there is none for the list, and is no loss wherever the power goes.
#[test]
fn a_stream_is_deleted_where_there_is_no_room_for_the_list() {
    for stop in [None].into_iter().chain((0..60).map(Some)) {
        let disk = locked();
        let mut bench = Bench::open(&disk, small(), begin());
        disk.set_room(Some(0));
        disk.fail_after(stop);
        let answer = bench.api("STREAM.DELETE.KV_b", json!({}));
        let done = answer.get("error").is_none();
        assert!(done || stop.is_some(), "{answer}");
        drop(bench);
        for (n, disk) in [disk.copy(), disk.after_power_loss(&mut Random::new(9))].into_iter().enumerate() {
            let what = format!("stop {stop:?} {n}");
            // The power goes at the start after, too.
            for again in (0..20).step_by(3) {
                let disk = disk.copy();
                disk.fail_after(Some(again));
                drop(Bench::open(&disk, small(), begin()));
                let disk = disk.after_power_loss(&mut Random::new(again as u64));
                let bench = Bench::open(&disk, small(), begin());
                assert_eq!(told_of(&bench, "KV_b"), 0, "{what} {again}: {:?}", bench.reports);
            }
            let mut bench = Bench::open(&disk, small(), begin());
            assert_eq!(told_of(&bench, "KV_b"), 0, "{what}: {:?}", bench.reports);
            let is_there = bench.state("KV_b").is_object();
            assert!(!(done && is_there), "{what}");
            let left = disk.files().into_keys().any(|p| p.to_str().unwrap().contains(".gone"));
            assert!(!left, "{what}: {:?}", disk.files().keys());
            // One that is made again is missed again.
            bench.api("STREAM.CREATE.KV_b", bucket());
            assert!(revision(&mut bench, "_damaged").is_none(), "{what}");
            drop(bench);
            remove(&disk, &path(STREAM), |_| true);
            assert_eq!(told_of(&Bench::open(&disk, small(), begin()), "KV_b"), 1, "{what}");
        }
    }
}

/// What somebody put into the folder of a stream that is deleted so stays, and hides no loss of one that is made again.
#[test]
fn a_stream_deleted_without_the_list_is_missed_when_it_was_made_again() {
    let disk = locked();
    let theirs = path(STREAM).join("theirs");
    disk.open(&theirs, true).unwrap().write_at(b"mine", 0).unwrap();
    let mut bench = Bench::open(&disk, small(), begin());
    disk.set_room(Some(0));
    assert!(bench.api("STREAM.DELETE.KV_b", json!({})).get("error").is_none());
    disk.set_room(None);
    assert!(bench.api("STREAM.CREATE.KV_b", bucket()).get("error").is_none());
    assert!(revision(&mut bench, "_damaged").is_none());
    drop(bench);
    assert!(disk.files().values().any(|bytes| bytes == b"mine"));
    remove(&disk, &path(STREAM), |_| true);
    assert_eq!(told_of(&Bench::open(&disk, small(), begin()), "KV_b"), 1);
}

/// The server ends while it makes a stream, and the power goes while it starts again: what it listed then was there to stay.
#[test]
fn a_stream_half_made_is_not_taken_for_a_loss_at_the_start_after() {
    for stop in 0..40 {
        for again in 0..30 {
            let disk = SimDisk::new();
            let mut bench = Bench::open(&disk, small(), begin());
            disk.fail_after(Some(stop));
            bench.api("STREAM.CREATE.KV_b", bucket());
            drop(bench);
            disk.fail_after(Some(again));
            drop(Bench::open(&disk, small(), begin()));
            for seed in 0..2 {
                let mut random = Random::new(stop as u64 * 17 + again as u64 * 131 + seed);
                let mut bench = Bench::open(&disk.after_power_loss(&mut random), small(), begin());
                let what = format!("{stop} {again} {seed}");
                assert_eq!(told_of(&bench, "KV_b"), 0, "{what}: {:?}", bench.reports);
                bench.api("STREAM.CREATE.KV_b", bucket());
                assert!(revision(&mut bench, "_damaged").is_none(), "{what}");
            }
        }
    }
}
