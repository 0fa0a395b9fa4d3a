//! What outlives this daemon, on the medium: the profile, the zones whose emergency nobody has cleared, and what was told last.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use service::{ErrorChain, Folder};
use thermal::Profile;

use crate::told::Told;

pub(crate) const PROFILE: &str = "profile";
/// No word is longer.
const PROFILE_MAX: usize = 64;
/// How many lines, and then those: one for each zone, each [`COPIES`] times. A file that was cut does not count as none, nor one with a turned letter as
/// that of another zone. Releases before wrote each line once, and read this as well: what is there several times is there.
pub(crate) const EMERGENCIES: &str = "emergencies";
/// More than all zones a board may have.
const EMERGENCIES_MAX: usize = 65_536;
/// How often each line is written. With two of them one turned letter would make two zones of the only one.
const COPIES: usize = 3;
/// Behind the name of a zone whose hosts are to be cut off, and are not known to be off yet. No name has a blank.
const UNCUT: &str = " uncut";
pub(crate) const TOLD: &str = "told";
/// A line for each sensor, fan and zone that a board may have.
const TOLD_MAX: usize = 65_536;
const MODE: u32 = 0o600;

/// The word for a profile.
pub(crate) fn word(profile: Profile) -> &'static str {
    match profile {
        Profile::Quiet => "quiet",
        Profile::Balanced => "balanced",
        Profile::Performance => "performance",
    }
}

/// What a file holds, `None` without one; the error is for people.
fn read(dir: &Path, name: &str, max: usize) -> Result<Option<String>, String> {
    match Folder::open(dir).and_then(|folder| folder.read(name, max)) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("it cannot be read: {}", ErrorChain(&error))),
    }
}

fn keep(dir: &Path, name: &str, text: &str) -> io::Result<()> {
    Folder::create(dir)?.replace_durably(name, text.as_bytes(), MODE)
}

/// The profile that was kept, and what is wrong with its file, for people. What cannot be read counts as the default: noise and heat are
/// both in bounds then.
pub(crate) fn profile(dir: &Path) -> (Profile, Option<String>) {
    let found = read(dir, PROFILE, PROFILE_MAX).and_then(|text| {
        let Some(text) = text else { return Ok(Profile::default()) };
        let found = Profile::ALL.into_iter().find(|profile| word(*profile) == text.trim());
        found.ok_or_else(|| "it is damaged".to_owned())
    });
    match found {
        Ok(profile) => (profile, None),
        Err(what) => {
            let what = format!("{what}; the fans run by the profile {}", word(Profile::default()));
            tracing::warn!(what, "saved profile unusable: using the default");
            (Profile::default(), Some(what))
        }
    }
}

/// Keeps the profile: when this returns it is on the medium. Waits for that.
pub(crate) fn keep_profile(dir: &Path, profile: Profile) -> io::Result<()> {
    keep(dir, PROFILE, &format!("{}\n", word(profile)))
}

/// A zone whose emergency is latched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Latched {
    pub(crate) zone: String,
    /// Its hosts are to be cut off, and are not known to be off yet.
    pub(crate) uncut: bool,
}

/// The zones of the board whose emergency was latched, and what is wrong with their file, for people. What cannot be read counts as all
/// of them: their fans run at full speed until somebody has looked (I-3). So does what is latched of a zone that the board does not have: it may have another
/// name now. Nobody's power is cut for either, nor for what a release wrote that did not say whether it was: that may be long ago.
pub(crate) fn emergencies(dir: &Path, zones: &[String]) -> (Vec<Latched>, Option<String>) {
    let all = || zones.iter().map(|zone| Latched { zone: zone.clone(), uncut: false });
    let found = read(dir, EMERGENCIES, EMERGENCIES_MAX).and_then(|text| {
        let Some(text) = text else { return Ok(Vec::new()) };
        let mut lines = text.lines();
        let count = lines.next().and_then(|line| line.parse::<usize>().ok());
        let names: Vec<&str> = lines.collect();
        if count != Some(names.len()) || !text.ends_with('\n') {
            return Err("it is damaged".to_owned());
        }
        let names = distinct(&names).ok_or_else(|| "it is damaged".to_owned())?;
        let is_uncut = |zone: &str| names.iter().any(|name| name.strip_suffix(UNCUT) == Some(zone));
        let of = names.iter().filter(|name| !name.ends_with(UNCUT));
        Ok(of.map(|zone| Latched { zone: (*zone).to_owned(), uncut: is_uncut(zone) }).collect())
    });
    let (latched, what) = match found {
        Ok(latched) => (latched, None),
        Err(what) => (Vec::new(), Some(what)),
    };
    let unknown: Vec<&str> = latched
        .iter()
        .map(|of| of.zone.as_str())
        .filter(|zone| !zones.iter().any(|known| known == zone))
        .collect();
    let what = what.or_else(|| {
        let names = unknown.join(", ");
        (!unknown.is_empty())
            .then(|| format!("the board has no zone {names}, which it may call otherwise now"))
    });
    let Some(what) = what else {
        // In the order of the board.
        let of = |zone: &String| latched.iter().find(|latched| latched.zone == *zone).cloned();
        return (zones.iter().filter_map(of).collect(), None);
    };
    let what =
        format!("{what}; the emergency of every zone counts as latched, and its fans run at full speed");
    tracing::error!(what, "saved emergencies unusable: all zones count as latched");
    let uncut = |zone: &Latched| latched.iter().any(|of| of.zone == zone.zone && of.uncut);
    (all().map(|zone| Latched { uncut: uncut(&zone), ..zone }).collect(), Some(what))
}

/// The lines, each once; `None` where they are not all there as often as they are written: once by releases before, or [`COPIES`] times.
fn distinct<'a>(lines: &[&'a str]) -> Option<Vec<&'a str>> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for line in lines {
        *counts.entry(*line).or_default() += 1;
    }
    let all = |wanted: usize| counts.values().all(|count| *count == wanted);
    (all(1) || all(COPIES)).then(|| counts.into_keys().collect())
}

/// Keeps the zones whose emergency is latched: when this returns they are on the medium. Waits for that. A zone whose hosts are to be cut off has a line of
/// its own for that, so that a release that knows no such lines knows the zone.
pub(crate) fn keep_emergencies(dir: &Path, latched: &[Latched]) -> io::Result<()> {
    let mut lines = Vec::new();
    for Latched { zone, uncut } in latched {
        lines.push(format!("{zone}\n"));
        if *uncut {
            lines.push(format!("{zone}{UNCUT}\n"));
        }
    }
    keep(dir, EMERGENCIES, &format!("{}\n{}", lines.len() * COPIES, lines.concat().repeat(COPIES)))
}

/// What was told last; none without such a file. What is wrong with it is for people: it is told again then.
pub(crate) fn told(dir: &Path) -> (Option<Told>, Option<String>) {
    let found = read(dir, TOLD, TOLD_MAX).and_then(|text| {
        let Some(text) = text else { return Ok(None) };
        Told::parse(&text).map(Some).ok_or_else(|| "it is damaged".to_owned())
    });
    match found {
        Ok(told) => (told, None),
        Err(what) => {
            let what = format!("{what}; what lasts of sensors, fans and zones is told again");
            tracing::warn!(what, "cannot read what was told last: telling it again");
            (None, Some(what))
        }
    }
}

/// Keeps what was told last. Waits for the medium.
pub(crate) fn keep_told(dir: &Path, told: &Told) -> io::Result<()> {
    keep(dir, TOLD, &told.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_that_was_kept_is_read_and_what_is_damaged_is_the_default() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("thermalmgr");
        assert_eq!(profile(&state), (Profile::Balanced, None));
        for wanted in Profile::ALL {
            keep_profile(&state, wanted).unwrap();
            assert_eq!(profile(&state), (wanted, None));
        }
        for damaged in [&[0xff, 0, 7][..], b"", &[b'x'; 100]] {
            std::fs::write(state.join(PROFILE), damaged).unwrap();
            let (profile, what) = profile(&state);
            assert_eq!(profile, Profile::Balanced);
            assert!(what.is_some_and(|what| what.ends_with("; the fans run by the profile balanced")));
        }
    }

    #[test]
    fn emergencies_that_were_kept_are_read_and_what_is_damaged_counts_as_all() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("thermalmgr");
        let zones = ["cpu", "air", "drives"].map(str::to_owned);
        let of = |uncut: bool| zones.clone().map(|zone| Latched { zone, uncut });
        assert_eq!(emergencies(&state, &zones), (Vec::new(), None));
        let mixed = [of(true)[0].clone(), of(false)[2].clone()];
        for wanted in [&of(true)[..], &of(false)[..], &of(true)[1..2], &mixed, &[]] {
            keep_emergencies(&state, wanted).unwrap();
            assert_eq!(emergencies(&state, &zones), (wanted.to_vec(), None));
        }
        // As the release before wrote and reads it: the names are there, and nobody's power is cut.
        std::fs::write(state.join(EMERGENCIES), "1\nair\n").unwrap();
        assert_eq!(emergencies(&state, &zones), (of(false)[1..2].to_vec(), None));
        keep_emergencies(&state, &mixed).unwrap();
        let lines = "cpu\ncpu uncut\ndrives\n".repeat(3);
        assert_eq!(std::fs::read_to_string(state.join(EMERGENCIES)).unwrap(), format!("9\n{lines}"));
        let large = "9".repeat(EMERGENCIES_MAX + 1);
        for damaged in ["", "1\n", "2\ncpu\n", "1\ncpu", "\0\0", "cpu\n", "-1\n", "1\ncpu\nair\n", &large] {
            std::fs::write(state.join(EMERGENCIES), damaged).unwrap();
            let (latched, what) = emergencies(&state, &zones);
            assert_eq!(latched, of(false), "nobody's power is cut for it: {damaged:?}");
            assert!(what.is_some_and(|what| what.ends_with(
                "; the emergency of every zone counts as latched, and its fans run at full speed"
            )));
        }
    }

    #[test]
    fn no_turned_letter_takes_a_latch_from_one_zone_to_another() {
        let dir = tempfile::tempdir().unwrap();
        let zones = ["cpu0", "cpu1", "air"].map(str::to_owned);
        let all = zones.clone().map(|zone| Latched { zone, uncut: false });
        let path = dir.path().join(EMERGENCIES);
        for latched in [&all[..1], &all[..2], &all[..], &[Latched { uncut: true, ..all[0].clone() }]] {
            keep_emergencies(dir.path(), latched).unwrap();
            assert_eq!(emergencies(dir.path(), &zones), (latched.to_vec(), None));
            let whole = std::fs::read(&path).unwrap();
            for bit in 0..whole.len() * 8 {
                let mut turned = whole.clone();
                turned[bit / 8] ^= 1 << (bit % 8);
                std::fs::write(&path, &turned).unwrap();
                let (found, what) = emergencies(dir.path(), &zones);
                assert!(found == all && what.is_some(), "{bit}: {}", String::from_utf8_lossy(&turned));
            }
        }
        // The release before looks for each name among the lines, and at their number.
        keep_emergencies(dir.path(), &all[1..2]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let (count, names) = text.split_once('\n').unwrap();
        assert_eq!(count.parse(), Ok(names.lines().count()));
        assert!(names.lines().all(|name| name == "cpu1"));
    }

    #[test]
    fn folders_in_the_place_of_the_files_are_told_and_keep_nothing_from_being_set() {
        let dir = tempfile::tempdir().unwrap();
        let zones = ["cpu".to_owned()];
        for name in [PROFILE, EMERGENCIES, TOLD] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        assert!(profile(dir.path()).1.is_some() && told(dir.path()).1.is_some());
        let (latched, what) = emergencies(dir.path(), &zones);
        assert!(latched.len() == 1 && what.is_some());
        keep_profile(dir.path(), Profile::Quiet).unwrap();
        keep_emergencies(dir.path(), &[]).unwrap();
        assert_eq!(profile(dir.path()), (Profile::Quiet, None));
        assert_eq!(emergencies(dir.path(), &zones), (Vec::new(), None));
        assert!(dir.path().join("emergencies.damaged").is_dir());
    }

    #[test]
    fn a_zone_that_was_renamed_does_not_lose_its_latch() {
        let dir = tempfile::tempdir().unwrap();
        let zones = ["cpus", "air"].map(str::to_owned);
        let latched = |zone: &str, uncut| Latched { zone: zone.to_owned(), uncut };
        keep_emergencies(dir.path(), &[latched("cpu", true), latched("air", true)]).unwrap();
        let (found, what) = emergencies(dir.path(), &zones);
        assert_eq!(found, [latched("cpus", false), latched("air", true)]);
        assert!(what.is_some_and(|what| what.starts_with("the board has no zone cpu, ")));
    }
}
