//! Folders in the place of files: put aside once, with what is in them, and told; no stream is unserved for one.

use std::path::{Path, PathBuf};

use nats::js::store::StoreReport;

use super::made::LISTS;
use super::reached::MARKS;
use super::sim::SimDisk;
use super::tests::{Bench, ROOT, begin, bucket, small, spoil};
use super::{Disk as _, FOLDERS_ASIDE, KEPT_ASIDE, Kind, METAS};

fn path(below: &str) -> PathBuf {
    Path::new(ROOT).join(below)
}

fn of_stream(file: &str) -> String {
    format!("streams/KV_b/{file}")
}

/// A bucket with a value in it, of a server that ended in order.
fn stored() -> SimDisk {
    let disk = SimDisk::new();
    let mut bench = Bench::open(&disk, small(), begin());
    bench.api("STREAM.CREATE.KV_b", bucket());
    bench.publish("$KV.b.key", b"x");
    bench.machine.close(bench.now);
    disk
}

/// Puts a folder with something in it in the place of a file.
fn put_folder(disk: &SimDisk, path: &Path) {
    let _ = disk.remove_file(path);
    disk.create_dir(path).unwrap();
    disk.open(&path.join("inside"), true).unwrap().write_at(b"mine", 0).unwrap();
}

/// What is in folders that were put aside.
fn aside(disk: &SimDisk) -> usize {
    let files = disk.files();
    let inside = files.iter().filter(|(at, _)| at.starts_with(path("damaged")) && at.ends_with("inside"));
    inside.inspect(|(at, bytes)| assert_eq!(bytes.as_slice(), b"mine", "{}", at.display())).count()
}

fn told_aside(bench: &Bench) -> usize {
    let is_aside = |report: &&StoreReport| matches!(report, StoreReport::Found { set_aside: Some(_), .. });
    bench.reports.iter().filter(is_aside).count()
}

#[test]
fn a_folder_in_the_place_of_any_small_file_is_put_aside_and_the_file_made_anew() {
    let all = |files: &[&str]| files.iter().map(|file| of_stream(file)).collect::<Vec<_>>();
    let lists = |files: &[&str]| files.iter().map(|file| (*file).to_owned()).collect::<Vec<_>>();
    let cases = [
        all(&METAS[..1]),
        all(&METAS[1..]),
        all(&METAS),
        all(&["meta", "meta.tmp"]),
        all(&MARKS[..1]),
        all(&MARKS[1..]),
        all(&MARKS),
        lists(&LISTS[..1]),
        lists(&LISTS[1..]),
        lists(&LISTS),
    ];
    for places in cases {
        let disk = stored();
        places.iter().for_each(|place| put_folder(&disk, &path(place)));
        let mut bench = Bench::open(&disk, small(), begin());
        if !bench.state("KV_b").is_object() {
            let made = bench.api("STREAM.CREATE.KV_b", bucket());
            assert!(made.get("error").is_none(), "{places:?}: {made}");
        }
        assert_eq!(bench.value("KV_b", "$KV.b.key").unwrap(), b"x", "{places:?}");
        let stored = bench.publish("$KV.b.key", b"y");
        assert!(stored["seq"].as_u64().is_some_and(|seq| seq > 1), "{places:?}: {stored}");
        assert_eq!(told_aside(&bench), places.len(), "{places:?}: {:?}", bench.reports);
        bench.machine.close(bench.now);
        drop(bench);
        // What was in them is there, and it is told once.
        assert_eq!(aside(&disk), places.len(), "{places:?}");
        let mut bench = Bench::open(&disk, small(), begin());
        assert!(bench.reports.is_empty(), "{places:?}: {:?}", bench.reports);
        assert_eq!(bench.value("KV_b", "$KV.b.key").unwrap(), b"y", "{places:?}");
    }
}

#[test]
fn the_copy_outside_of_the_store_is_made_anew_as_well() {
    use std::sync::Arc;

    let outside = Path::new("/store.streams");
    let open = |disk: &SimDisk| {
        let store = super::FileStore::on(Arc::new(disk.clone()), Path::new(ROOT), small()).unwrap();
        Bench::of(store.with_list_outside(outside), begin())
    };
    let disk = stored();
    put_folder(&disk, outside);
    let bench = open(&disk);
    assert_eq!(told_aside(&bench), 1, "{:?}", bench.reports);
    drop(bench);
    assert!(disk.kind(outside).unwrap() == Kind::File && aside(&disk) == 1);
    assert!(open(&disk).reports.is_empty());
}

#[test]
fn so_many_folders_are_kept_and_no_copy_of_what_is_damaged_displaces_one() {
    let disk = stored();
    let [first, second] = METAS.map(|meta| path(&of_stream(meta)));
    for turn in 1..=FOLDERS_ASIDE {
        put_folder(&disk, &first);
        drop(Bench::open(&disk, small(), begin()));
        assert_eq!((disk.kind(&first).unwrap(), aside(&disk)), (Kind::File, turn));
    }
    // Others go as they went before, the newest few are kept.
    for turn in 0..KEPT_ASIDE + 4 {
        disk.edit(&second, |bytes| spoil(&mut bytes[20 + turn]));
        let bench = Bench::open(&disk, small(), begin());
        assert_eq!(told_aside(&bench), 1, "{turn}: {:?}", bench.reports);
    }
    assert_eq!(aside(&disk), FOLDERS_ASIDE);
    let copies = disk.files().into_keys().filter(|at| at.parent() == Some(path("damaged").as_path())).count();
    assert_eq!(copies, KEPT_ASIDE);
    // One more stays where it is: the other copy counts, and it is told at each start.
    put_folder(&disk, &first);
    for _ in 0..2 {
        let mut bench = Bench::open(&disk, small(), begin());
        assert_eq!(bench.value("KV_b", "$KV.b.key").unwrap(), b"x");
        assert!(!bench.reports.is_empty() && disk.kind(&first).unwrap() == Kind::Dir);
    }
    assert_eq!(aside(&disk), FOLDERS_ASIDE);
}
