//! The configuration of a controller that starts by itself: what is wrong in its files is left out and told, never a reason not to start.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use operator::Error;
use service::{Ignored, Settings};

use crate::daemons::check_settings;
use crate::settings::set_all;

/// Longest file taken. A configuration has some hundred bytes, and each daemon's part has to fit in its bootstrap line.
const FILE_MAX: u64 = 64 * 1024;

/// What a controller starts with.
#[derive(Debug, Default)]
pub(crate) struct Given {
    /// All that counts.
    pub(crate) settings: Settings,
    /// The same without the site's files.
    pub(crate) image: Settings,
    /// The daemons the site's files have settings for.
    pub(crate) site: BTreeSet<String>,
    /// What was left out of the files.
    pub(crate) ignored: Vec<Ignored>,
    /// The files that could not be read at all.
    pub(crate) unread: BTreeSet<PathBuf>,
    /// What is set over the board file.
    pub(crate) board_overrides: Vec<(String, String)>,
}

impl Given {
    /// Reads the image's own file, then the site's, each as far as the daemons take it. What the command line sets is strict: it is part
    /// of the image too, or a person's.
    ///
    /// # Errors
    ///
    /// A `--set` that is malformed or for a daemon there is none of.
    pub(crate) fn as_far_as_good(files: &[PathBuf], sets: &[String]) -> Result<Self, Error> {
        let mut given = Self::default();
        for (number, path) in files.iter().enumerate() {
            let file = path.display().to_string();
            let bytes = match read(path) {
                Ok(bytes) => bytes,
                Err(reason) => {
                    given.unread.insert(path.clone());
                    given.ignored.push(Ignored { place: file, key: String::new(), reason });
                    continue;
                }
            };
            let before = given.settings.clone();
            given.ignored.extend(given.settings.lay_over_as_far_as_good(&file, &bytes, &check_settings));
            if number == 0 {
                given.image = given.settings.clone();
            } else {
                let changed =
                    given.settings.daemons().filter(|name| before.of(name) != given.settings.of(name));
                given.site.extend(changed.map(str::to_owned));
            }
        }
        set_all(&mut given.image, sets)?;
        given.board_overrides = set_all(&mut given.settings, sets)?;
        given.settings.check_daemons(&roster::names().collect::<Vec<_>>())?;
        Ok(given)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    // A pipe would keep us waiting for ever.
    if !std::fs::metadata(path).map_err(|error| format!("it cannot be read: {error}"))?.is_file() {
        return Err("it is not a file".to_owned());
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("it cannot be read: {error}"))?;
    let fits = u64::try_from(bytes.len()).is_ok_and(|length| length <= FILE_MAX);
    if fits { Ok(bytes) } else { Err(format!("it is longer than {FILE_MAX} bytes")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Map;

    /// What is given to daemons after a site's file, and what is said of it.
    fn site(bytes: &[u8], sets: &[&str]) -> (Given, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        let files = ["image.toml", "config.toml"].map(|name| dir.path().join(name));
        std::fs::write(&files[0], "[websrv]\nhttp3 = false\n[netmgr.interfaces.eth0]\nipv4 = \"off\"\n")
            .unwrap();
        std::fs::write(&files[1], bytes).unwrap();
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        let given = Given::as_far_as_good(&files, &sets).unwrap();
        let prefix = format!("{}/", dir.path().display());
        let told = given.ignored.iter().map(|ignored| ignored.to_string().replace(&prefix, "")).collect();
        (given, told)
    }

    #[test]
    fn every_daemon_that_can_be_configured_is_checked() {
        for daemon in roster::names() {
            assert_eq!(check_settings(daemon, &Map::new()), Some(Ok(())), "{daemon}");
        }
        assert_eq!(check_settings("doormgr", &Map::new()), None);
    }

    #[test]
    fn a_mistake_of_the_site_costs_itself() {
        // What stands beside a good setting of each kind, and what is said of it.
        let rows = [
            ("[websrv]\nnonsense = 1\n", "config.toml:2:1: websrv.nonsense: "),
            ("[websrv.limits]\nconnections = 0\n", "config.toml:2:1: websrv.limits.connections: "),
            ("[websrv]\nhttps = \"nowhere\"\n", "config.toml:2:1: websrv.https: "),
            ("[websrv.tls]\ncert_file = \"/c.pem\"\n", "config.toml:2:1: websrv.tls.cert_file: "),
            ("[websrv.tls]\nnames = [\"bä mc\"]\n", "config.toml:2:1: websrv.tls.names: "),
            ("[operator]\nbus_url = \"nonsense\"\n", "config.toml:2:1: operator.bus_url: "),
            ("[usermgr.password]\nmin_length = 2\n", "config.toml:2:1: usermgr.password.min_length: "),
            ("[usermgr.login]\nparallel = 900\n", "config.toml:2:1: usermgr.login.parallel: "),
            ("[powermgr]\nlook_interval_ms = 1\n", "config.toml:2:1: powermgr.look_interval_ms: "),
            ("[statemgr]\nlook_interval_ms = \"x\"\n", "config.toml:2:1: statemgr.look_interval_ms: "),
            ("[operator]\nwatchdogs = true\n", "config.toml:2:1: operator.watchdogs: "),
            ("[netmgr.time]\nfloor = 9000000000000\n", "config.toml:2:1: netmgr.time.floor: "),
            ("[netmgr.interfaces.eth1]\nipv5 = \"dhcp\"\n", "config.toml:2:1: netmgr.interfaces.eth1.ipv5: "),
            ("[netmgr.interfaces.lo]\nmtu = 1500\n", "config.toml:2:1: netmgr.interfaces.lo.mtu: "),
            ("[fleet]\nrole = \"Operator\"\n", "config.toml:2:1: fleet.role: "),
            ("[doormgr]\nfps = 30\n", "config.toml:1:2: doormgr: "),
        ];
        let good = "[websrv.auth]\nbasic = false\n[netmgr]\nhostname = \"rack-4\"\n";
        for (wrong, place) in rows {
            let (given, told) = site(format!("{wrong}{good}").as_bytes(), &[]);
            // A second table of one name is TOML's own mistake, so these rows say the same thing twice only where they may.
            assert_eq!(told.len(), 1, "{wrong}{told:?}");
            assert!(told[0].starts_with(place), "{wrong}{told:?}");
            let websrv: websrv::Config = given.settings.typed("websrv").unwrap();
            assert!(!websrv.auth.basic && !websrv.http3, "{wrong}");
            let netmgr: netmgr::Config = given.settings.typed("netmgr").unwrap();
            assert_eq!(netmgr.hostname.as_deref(), Some("rack-4"), "{wrong}");
            assert!(netmgr.interfaces.contains_key("eth0"), "{wrong}");
            for daemon in roster::names() {
                assert_eq!(check_settings(daemon, &given.settings.of(daemon)), Some(Ok(())), "{wrong}");
            }
            let site: Vec<&str> = given.site.iter().map(String::as_str).collect();
            assert_eq!(site, ["netmgr", "websrv"], "{wrong}");
        }
    }

    #[test]
    fn the_command_line_wins_and_stays_strict() {
        let (given, told) = site(b"[websrv]\nhttp3 = 1\n", &["websrv.auth.basic=false", "sim.host=qemu"]);
        assert_eq!(told.len(), 1);
        assert_eq!(given.board_overrides, [("sim.host".to_owned(), "qemu".to_owned())]);
        assert_eq!(given.settings, given.image);
        for wrong in ["nonsense", "doormgr.fps=30"] {
            assert!(Given::as_far_as_good(&[], &[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_told_and_the_others_count() {
        let dir = tempfile::tempdir().unwrap();
        let good = dir.path().join("good.toml");
        std::fs::write(&good, "[websrv]\nhttp3 = false\n").unwrap();
        let long = dir.path().join("long.toml");
        std::fs::write(&long, vec![b'#'; 70_000]).unwrap();
        let pipe = dir.path().join("pipe.toml");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for bad in [dir.path().join("none.toml"), dir.path().to_owned(), long, pipe] {
            for files in [[bad.clone(), good.clone()], [good.clone(), bad.clone()]] {
                let given = Given::as_far_as_good(&files, &[]).unwrap();
                assert_eq!(given.ignored.len(), 1, "{}", bad.display());
                assert!(!given.settings.typed::<websrv::Config>("websrv").unwrap().http3);
            }
        }
    }
}
