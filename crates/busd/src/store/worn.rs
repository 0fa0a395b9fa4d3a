//! The machine on media that give only part of what is on them, or have no room left.

use std::path::PathBuf;

use nats::js::store::{Condition, StoreReport};
use serde_json::json;

use super::StoreLimits;
use super::sim::{Random, SimDisk};
use super::tests::{Bench, ROOT, begin, bucket, kv, small, spoil};

#[test]
fn a_segment_with_an_unreadable_page_is_cleaned_and_the_stream_stays_bounded() {
    let limits = StoreLimits { max_bytes: 256 * 1024, headroom: 0, segment_bytes: 16 * 1024 };
    let disk = SimDisk::new();
    let mut bench = Bench::open(&disk, limits, begin());
    bench.api("STREAM.CREATE.KV_b", bucket());
    bench.publish("$KV.b.first", b"x");
    bench.publish("$KV.b.lock", &[5; 6000]);
    bench.publish("$KV.b.other", &[6; 9000]);
    bench.publish("$KV.b.last", b"y");
    // At run time and over a restart.
    disk.make_byte_unreadable(Some(("/KV_b/00000001.seg", 9_000)));
    for turn in 0..2 {
        for n in 0..400_u32 {
            let answer = bench.publish("$KV.b.busy", &n.to_le_bytes().repeat(500));
            assert!(answer.get("error").is_none(), "{turn} {n}: {answer}");
        }
        for key in ["first", "last"] {
            let value = bench.value("KV_b", &format!("$KV.b.{key}")).unwrap();
            assert_eq!(value, if key == "first" { b"x" } else { b"y" });
        }
        drop(bench);
        bench = Bench::open(&disk, limits, begin());
    }
}

#[test]
fn a_lost_value_stays_lost_when_its_segment_is_emptied() {
    let disk = SimDisk::new();
    let mut bench = Bench::open(&disk, small(), begin());
    bench.api("STREAM.CREATE.KV_b", bucket());
    bench.publish("$KV.b.lock", b"locked");
    bench.publish("$KV.b.other", &[1; 3900]);
    bench.publish("$KV.b.last", b"x");
    bench.machine.close(bench.now);
    drop(bench);
    let path = PathBuf::from(ROOT).join("streams/KV_b/00000001.seg");
    let mut records = Vec::new();
    super::scan_segment(1, &disk.files()[&path], &mut |_, found| records.push(found));
    disk.edit(&path, |b| spoil(&mut b[records[0].offset + records[0].size - 1]));
    // The damaged segment cannot be written anew when it is found.
    disk.refuse(Some(std::io::ErrorKind::StorageFull));
    let mut bench = Bench::open(&disk, small(), begin());
    disk.refuse(None);
    bench.now.mono += 10_000;
    bench.commit();
    // Everything else in it dies.
    for n in 0..4_u32 {
        bench.publish("$KV.b.other", &n.to_le_bytes().repeat(900));
    }
    for _ in 0..50 {
        bench.commit();
    }
    drop(bench);
    let mut bench = Bench::open(&disk, small(), begin());
    assert_eq!(bench.value("KV_b", "$KV.b.lock").as_deref(), Some(&b""[..]), "it reads as lost");
}

#[test]
fn on_a_full_partition_values_find_room_and_all_can_be_purged() {
    let disk = SimDisk::new();
    let mut bench = Bench::open(&disk, small(), begin());
    bench.api("STREAM.CREATE.KV", kv(1));
    let events = json!({"name": "EVENTS", "subjects": ["event.>"], "metadata": {"_ubmc.sync": "interval"}});
    bench.api("STREAM.CREATE.EVENTS", events);
    for n in 0..80_u8 {
        bench.publish(&format!("event.{n}"), &[n; 1000]);
    }
    bench.now.mono += 2_000;
    bench.commit();
    let before = bench.state("EVENTS")["messages"].as_u64().unwrap();
    disk.set_room(Some(100));
    let answer = bench.publish("kv.1", &[1; 2000]);
    assert!(answer.get("error").is_none(), "events make room: {answer}");
    assert!(bench.state("EVENTS")["messages"].as_u64().unwrap() < before);
    // Now with nothing left to discard.
    bench.api("STREAM.DELETE.EVENTS", json!(null));
    bench.send("r", "$JS.API.STREAM.DELETE.EVENTS", b"", b"");
    bench.commit();
    disk.set_room(Some(0));
    assert!(bench.publish("kv.2", &[2; 3000]).get("error").is_some());
    let answer = bench.api("STREAM.PURGE.KV", json!({}));
    assert_eq!(answer["success"], true, "{answer}");
    assert!(bench.value("KV", "kv.1").is_none());
    for disk in [disk.copy(), disk.after_power_loss(&mut Random::new(5))] {
        let mut bench = Bench::open(&disk, small(), begin());
        assert!(bench.value("KV", "kv.1").is_none());
        let answer = bench.publish("kv.3", b"new");
        assert!(answer["seq"].as_u64().unwrap() > 1, "{answer}");
    }
}

#[test]
fn on_a_full_partition_the_only_segment_of_events_makes_room_too() {
    let disk = SimDisk::new();
    let limits = StoreLimits { segment_bytes: 256 * 1024, ..small() };
    let mut bench = Bench::open(&disk, limits, begin());
    bench.api("STREAM.CREATE.KV", kv(1));
    let events = json!({"name": "EVENTS", "subjects": ["event.>"], "metadata": {"_ubmc.sync": "interval"}});
    bench.api("STREAM.CREATE.EVENTS", events);
    for n in 0..40_u8 {
        bench.publish(&format!("event.{n}"), &[n; 2000]);
    }
    disk.set_room(Some(0));
    let answer = bench.publish("kv.1", &[1; 700]);
    assert!(answer.get("error").is_none(), "{answer}");
    let state = bench.state("EVENTS");
    assert_eq!((&state["messages"], &state["last_seq"]), (&json!(0), &json!(40)));
    disk.set_room(None);
    assert_eq!(bench.publish("event.99", b"x")["seq"], 41);
    bench.machine.close(bench.now);
    let mut bench = Bench::open(&disk, limits, begin());
    assert_eq!(
        (bench.state("EVENTS")["messages"].as_u64(), bench.value("KV", "kv.1")),
        (Some(1), Some(vec![1; 700]))
    );
    assert!(bench.reports.is_empty(), "{:?}", bench.reports);
}

#[test]
fn on_a_full_partition_no_event_is_lost_for_nothing() {
    let events = json!({"name": "EVENTS", "subjects": ["event.>"], "metadata": {"_ubmc.sync": "interval"}});
    let limits = StoreLimits { segment_bytes: 16 * 1024, ..small() };
    // A block that stays with its file is not freed by emptying it.
    let disk = SimDisk::new();
    let mut bench = Bench::open(&disk, limits, begin());
    bench.api("STREAM.CREATE.KV", kv(1));
    bench.api("STREAM.CREATE.EVENTS", events.clone());
    for n in 0..2_u8 {
        bench.publish(&format!("event.{n}"), &[n; 500]);
    }
    disk.set_room(Some(0));
    for _ in 0..3 {
        assert!(bench.publish("kv.1", &[1; 700]).get("error").is_some());
        assert_eq!(bench.state("EVENTS")["messages"], 2);
    }
    // A stream that took nothing a moment ago takes writes again once there is some room: all events together have less, or more, or what is
    // missing beside what is free.
    for (count, free, enough) in [(6_u8, 0, false), (48, 0, true), (16, 20_000, false), (16, 50_000, true)] {
        let disk = SimDisk::new();
        let mut bench = Bench::open(&disk, limits, begin());
        bench.api("STREAM.CREATE.KV", kv(1));
        bench.api("STREAM.CREATE.EVENTS", events.clone());
        disk.set_room(Some(0));
        assert!(bench.publish("kv.1", &[1; 700]).get("error").is_some());
        disk.set_room(None);
        for n in 0..count {
            bench.publish(&format!("event.{n}"), &[n; 2000]);
        }
        disk.set_room(Some(free));
        let answer = bench.publish("kv.1", &[1; 700]);
        assert_eq!(answer.get("error").is_none(), enough, "{count} {free}: {answer}");
        let kept = bench.state("EVENTS")["messages"].as_u64().unwrap();
        assert_eq!(kept == u64::from(count), !enough, "{kept} of {count}, {free}");
    }
}

#[test]
fn on_a_full_partition_a_small_event_log_is_not_given_up_for_a_write_or_two() {
    let events = json!({"name": "EVENTS", "subjects": ["event.>"], "metadata": {"_ubmc.sync": "interval"}});
    let limits = StoreLimits { segment_bytes: 256 * 1024, ..small() };
    // With what is free beside it, all of it brings what a stream has to find, or it does not.
    for (free, goes) in [(0, false), (300, false), (20_000, false), (50_000, true)] {
        let disk = SimDisk::new();
        let mut bench = Bench::open(&disk, limits, begin());
        bench.api("STREAM.CREATE.KV", kv(1));
        bench.api("STREAM.CREATE.EVENTS", events.clone());
        for n in 0..97_u8 {
            bench.publish(&format!("event.{n}"), &[n; 200]);
        }
        disk.set_room(Some(free));
        // No stream has met the full medium before; an event and a value come in one turn, as when a light is switched.
        for turn in 0..20_u8 {
            bench.send("e", "event.light", b"", &[turn; 400]);
            bench.send("v", "kv.light", b"", &vec![turn; free + 400]);
            bench.commit();
            bench.now.mono += 300;
        }
        let kept = (bench.state("EVENTS")["messages"].as_u64().unwrap(), bench.reports.iter().any(dropped));
        assert_eq!((kept.0 < 97, kept.1), (goes, goes), "{free}: {kept:?} {:?}", bench.reports);
    }
}

fn dropped(report: &StoreReport) -> bool {
    matches!(report, StoreReport::Dropped { .. })
}

#[test]
fn a_store_that_cannot_be_made_yet_starts_refuses_and_heals() {
    for kind in [std::io::ErrorKind::ReadOnlyFilesystem, std::io::ErrorKind::StorageFull] {
        let disk = SimDisk::new();
        disk.refuse(Some(kind));
        let mut bench = Bench::open(&disk, small(), begin());
        let condition = |bench: &Bench| {
            bench.reports.iter().rev().find_map(|r| match r {
                StoreReport::Condition { condition, .. } => Some(*condition),
                _ => None,
            })
        };
        assert!(condition(&bench).is_some_and(|c| c != Condition::Ok), "{kind:?}");
        assert!(bench.api("STREAM.CREATE.KV", kv(1)).get("error").is_some());
        disk.refuse(None);
        for _ in 0..20 {
            bench.now.mono += 1_000;
            bench.commit();
        }
        assert_eq!(condition(&bench), Some(Condition::Ok), "{kind:?}");
        assert!(bench.api("STREAM.CREATE.KV", kv(1)).get("error").is_none());
        bench.publish("kv.1", b"x");
        drop(bench);
        let disk = disk.after_power_loss(&mut Random::new(3));
        assert_eq!(Bench::open(&disk, small(), begin()).value("KV", "kv.1").unwrap(), b"x");
    }
}

#[test]
fn a_bucket_that_cannot_be_made_yet_is_served_empty_refuses_and_is_made() {
    for kind in [std::io::ErrorKind::ReadOnlyFilesystem, std::io::ErrorKind::StorageFull] {
        let disk = SimDisk::new();
        // An older store: one bucket is there, the other one is new with this release.
        let mut bench = Bench::open(&disk, small(), begin());
        let old = json!({"name": "KV_old", "subjects": ["$KV.old.>"], "max_msgs_per_subject": 1, "allow_direct": true});
        bench.api("STREAM.CREATE.KV_old", old.clone());
        bench.publish("$KV.old.key", b"kept");
        drop(bench);
        disk.refuse(Some(kind));
        let mut bench = Bench::open(&disk, small(), begin());
        bench.machine.serve_unstored(["KV_b".to_owned(), "KV_old".to_owned()]);
        assert!(bench.api("STREAM.CREATE.KV_old", old.clone()).get("error").is_none());
        assert_eq!(bench.value("KV_old", "$KV.old.key").unwrap(), b"kept");
        assert!(bench.api("STREAM.CREATE.KV", kv(1)).get("error").is_some(), "nobody said it may be");
        // Asked for twice, as after a restart of its maker.
        for _ in 0..2 {
            let made = bench.api("STREAM.CREATE.KV_b", bucket());
            assert!(made.get("error").is_none(), "{made}");
        }
        assert!(
            bench.reports.iter().any(
                |r| matches!(r, StoreReport::Condition { condition, .. } if *condition != Condition::Ok)
            )
        );
        for _ in 0..4 {
            assert!(bench.value("KV_b", "$KV.b.key").is_none());
            let refused = bench.publish("$KV.b.key", b"x");
            assert!(refused.get("error").is_some(), "{refused}");
            assert_eq!(bench.state("KV_b")["messages"], 0);
            bench.now.mono += 700;
        }
        disk.refuse(None);
        bench.now.mono += 5_000;
        bench.commit();
        let stored = bench.publish("$KV.b.key", b"x");
        assert_eq!(stored["seq"], 1, "{stored}");
        bench.machine.close(bench.now);
        drop(bench);
        let mut bench = Bench::open(&disk.after_power_loss(&mut Random::new(9)), small(), begin());
        assert_eq!(bench.value("KV_b", "$KV.b.key").unwrap(), b"x");
        assert!(bench.reports.is_empty(), "{:?}", bench.reports);
    }
}

#[test]
fn a_bucket_that_was_there_is_not_taken_for_a_new_one_on_a_medium_that_refuses() {
    let disk = SimDisk::new();
    let mut bench = Bench::open(&disk, small(), begin());
    bench.api("STREAM.CREATE.KV_b", bucket());
    bench.publish("$KV.b.key", b"x");
    drop(bench);
    for (lose, unreadable) in [(true, None), (false, None), (true, Some("/streams")), (true, Some("/made"))] {
        let disk = disk.copy();
        disk.make_unreadable(unreadable);
        for path in disk.files().into_keys() {
            let path_text = path.to_str().unwrap();
            if path_text.contains("/KV_b/") {
                match lose {
                    true => super::disk::Disk::remove_file(&disk, &path).unwrap(),
                    false if path_text.contains("meta") => disk.edit(&path, |bytes| bytes.fill(0)),
                    false => {}
                }
            }
        }
        disk.refuse(Some(std::io::ErrorKind::ReadOnlyFilesystem));
        let mut bench = Bench::open(&disk, small(), begin());
        bench.machine.serve_unstored(["KV_b".to_owned()]);
        let made = bench.api("STREAM.CREATE.KV_b", bucket());
        assert!(made.get("error").is_some(), "{lose}: {made}");
    }
}

#[test]
fn a_stream_that_is_not_made_yet_can_be_deleted_and_does_not_come_back() {
    let disk = SimDisk::new();
    disk.refuse(Some(std::io::ErrorKind::ReadOnlyFilesystem));
    let mut bench = Bench::open(&disk, small(), begin());
    bench.machine.serve_unstored(["KV_b".to_owned()]);
    bench.api("STREAM.CREATE.KV_b", bucket());
    assert_eq!(bench.api("STREAM.PURGE.KV_b", json!({})).get("success"), None);
    bench.send("r", "$JS.API.STREAM.DELETE.KV_b", b"", b"");
    let answers = bench.commit();
    assert!(String::from_utf8_lossy(&answers["r"].1).contains("\"success\":true"));
    disk.refuse(None);
    bench.now.mono += 10_000;
    bench.commit();
    assert!(disk.files().keys().all(|path| !path.to_str().unwrap().contains("KV_b")));
}

#[test]
fn a_file_in_the_place_of_a_folder_is_put_aside_and_costs_what_was_in_the_folder() {
    use super::disk::Disk as _;
    for place in ["streams/KV_b", "streams"] {
        let disk = SimDisk::new();
        let mut bench = Bench::open(&disk, small(), begin());
        bench.api("STREAM.CREATE.KV_b", bucket());
        bench.publish("$KV.b.key", b"x");
        bench.machine.close(bench.now);
        drop(bench);
        let path = PathBuf::from(ROOT).join(place);
        disk.rename(&path, &PathBuf::from("/elsewhere")).unwrap();
        disk.open(&path, true).unwrap().write_at(b"stray", 0).unwrap();
        let mut bench = Bench::open(&disk, small(), begin());
        let made = bench.api("STREAM.CREATE.KV_b", bucket());
        assert!(made.get("error").is_none(), "{place}: {made}");
        assert!(bench.value("KV_b", "$KV.b._damaged").is_some(), "{place}: it is not taken for a new one");
        let stored = bench.publish("$KV.b.key", b"y");
        assert!(stored["seq"].as_u64().unwrap() > 1, "{place}: {stored}");
        let aside = |report: &StoreReport| matches!(report, StoreReport::Found { set_aside: Some(_), .. });
        assert!(bench.reports.iter().any(aside), "{place}: {:?}", bench.reports);
        let kept = disk.files().into_iter().find(|(path, _)| path.starts_with("/store/damaged"));
        assert_eq!(kept.unwrap().1, b"stray", "{place}");
        bench.machine.close(bench.now);
        drop(bench);
        let mut bench = Bench::open(&disk, small(), begin());
        assert_eq!(bench.value("KV_b", "$KV.b.key").unwrap(), b"y", "{place}");
    }
}

#[test]
fn events_that_were_refused_are_counted_when_the_store_takes_writes_again() {
    let disk = SimDisk::new();
    let mut bench = Bench::open(&disk, small(), begin());
    let events = json!({"name": "EVENTS", "subjects": ["event.>"], "metadata": {"_ubmc.sync": "interval"}});
    bench.api("STREAM.CREATE.EVENTS", events);
    bench.api("STREAM.CREATE.KV_b", bucket());
    bench.publish("event.one", b"x");
    disk.refuse(Some(std::io::ErrorKind::StorageFull));
    // The first meets the full medium, the others are turned away. Who writes a value is told, and writes it again.
    for _ in 0..5 {
        assert!(bench.publish("event.lost", b"x").get("error").is_some());
        assert!(bench.publish("$KV.b.key", b"x").get("error").is_some());
    }
    disk.refuse(None);
    for _ in 0..3 {
        bench.now.mono += 10_000;
        bench.commit();
    }
    let last = bench.reports.iter().rev().find_map(|r| match r {
        StoreReport::Condition { condition, why } => Some((*condition, why.as_str())),
        _ => None,
    });
    assert_eq!(last, Some((Condition::Ok, "5 messages of EVENTS were refused meanwhile and are lost")));
}
