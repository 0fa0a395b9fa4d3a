//! Whether what is packed runs: both packages are made, unpacked, started from where they are then, asked and stopped
//! (`cargo xtask test --long --part package`). Nothing of it goes to a network.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::{BOARDS, NAME, SHIPPED, make};
use crate::count::Count;
use crate::{need, sh};

/// How often something is looked at that has no event to wait for.
const LOOK: Duration = Duration::from_millis(20);
/// Looks until it serves: a minute.
const READY_LOOKS: u32 = 3_000;
/// Looks until it has ended, which the operator promises within 5 s.
const END_LOOKS: u32 = 750;
/// A line that each board's systems show.
const SYSTEM: &str = "/redfish/v1/Systems/system";

/// A simulator that runs. However its proof goes, it is ended.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended by itself is neither killed nor waited for twice.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Makes both packages and proves each.
pub(crate) fn run(count: &mut Count) -> Result<()> {
    need::tools(&[need::DPKG])?;
    // What is started has another folder than this program.
    let folder = std::path::absolute(sh::target_dir().join("package-proof"))?;
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    let (deb, layout) = make(&folder)?;
    let installed = folder.join("installed");
    sh::run(sh::command("dpkg-deb").arg("--extract").arg(&deb).arg(&installed))?;
    for board in SHIPPED {
        let state = folder.join("state").join(board);
        serves(launcher(&installed, board, &state)?, &installed, &state)
            .with_context(|| format!("{} on {board}", deb.display()))?;
        count.passed += 1;
    }
    let image = folder.join("image");
    let entry = unpack(&layout, &image)?;
    finds_its_libraries(&image)?;
    let state = folder.join("state/image");
    serves(entry_point(&entry, &image, &state)?, &image, &state)
        .with_context(|| layout.display().to_string())?;
    count.passed += 1;
    Ok(())
}

/// The script of the Debian package, told where all of it is: its own paths are those of what is installed.
fn launcher(root: &Path, board: &str, state: &Path) -> Result<Command> {
    let programs = root.join("usr/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(programs.clone()).chain(std::env::split_paths(&path)))?;
    let mut command = Command::new(programs.join(NAME));
    command
        .env("PATH", path)
        .env("UBMC_BOARD", root.join(BOARDS).join(board))
        .env("UBMC_STATE", state)
        .env("UBMC_HTTPS", "127.0.0.1:0");
    Ok(command)
}

/// What the image starts, with its paths below where it is unpacked, its state elsewhere and a port that is free.
fn entry_point(arguments: &[String], root: &Path, state: &Path) -> Result<Command> {
    let arguments: Vec<PathBuf> = arguments
        .iter()
        .map(|argument| match argument.as_str() {
            "/tmp/u-bmc" => state.to_owned(),
            "0.0.0.0:8443" => "127.0.0.1:0".into(),
            other => {
                other.strip_prefix("/usr/").map_or_else(|| other.into(), |rest| root.join("usr").join(rest))
            }
        })
        .collect();
    let (program, arguments) = arguments.split_first().context("the image has no entry point")?;
    ensure!(arguments.iter().any(|argument| argument == state), "its state is elsewhere: {arguments:?}");
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(command)
}

/// Unpacks the layers of an image; its entry point and the arguments.
fn unpack(layout: &Path, root: &Path) -> Result<Vec<String>> {
    let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes);
    let blob = |descriptor: &Value| -> Result<Vec<u8>> {
        let digest = descriptor["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:"));
        let path = layout.join("blobs/sha256").join(digest.context("a descriptor has no digest")?);
        fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let index = json(&fs::read(layout.join("index.json"))?)?;
    let manifest = json(&blob(&index["manifests"][0])?)?;
    fs::create_dir_all(root)?;
    for layer in manifest["layers"].as_array().context("the image has no layers")? {
        let packed = blob(layer)?;
        tar::Archive::new(flate2::read::GzDecoder::new(packed.as_slice())).unpack(root)?;
    }
    let config = json(&blob(&manifest["config"])?)?;
    let words = |name: &str| config["config"][name].as_array().cloned().unwrap_or_default();
    let all = [words("Entrypoint"), words("Cmd")].concat();
    Ok(all.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect())
}

/// Its programs run with the loader and the libraries of the image alone: a container has no others.
fn finds_its_libraries(root: &Path) -> Result<()> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let loader = files.iter().find(|path| name(path).starts_with("ld-")).context("it has no loader")?;
    let libraries: BTreeSet<&Path> =
        files.iter().filter(|path| name(path).contains(".so")).filter_map(|path| path.parent()).collect();
    let mut listing = Command::new(loader);
    listing.arg("--library-path").arg(std::env::join_paths(libraries)?).arg("--list");
    let listed = sh::output(listing.arg(root.join("usr/bin/u-bmc")))?;
    // `libc.so.6 => /…/image/lib/…/libc.so.6 (0x…)`
    for line in listed.lines() {
        if let Some((library, found)) = line.split_once(" => ") {
            let inside = Path::new(found.trim()).starts_with(root);
            ensure!(inside, "{} is not of the image: {found}", library.trim());
        }
    }
    Ok(())
}

/// Starts it, asks it for the root of Redfish and for its systems by the `ubmcctl` beside it, and ends it as a user does.
fn serves(mut command: Command, root: &Path, state: &Path) -> Result<()> {
    fs::create_dir_all(state)?;
    let (ready, password, log) =
        (state.join("ready.json"), state.join("password"), state.join("simulator.log"));
    fs::write(&password, "measured-Pa55phrase\n")?;
    let said = File::create(&log)?;
    command
        .current_dir("/")
        .arg("--admin-password-file")
        .arg(&password)
        .arg("--ready-file")
        .arg(&ready)
        .stdin(Stdio::null())
        .stdout(said.try_clone()?)
        .stderr(said);
    sh::say(&format!("$ {command:?}"));
    let mut running = Running(command.spawn().context("it could not be started")?);
    let mut looks = 0;
    while !ready.exists() {
        if let Some(status) = running.0.try_wait()? {
            bail!("it ended at its start ({status}): {}", log.display());
        }
        looks += 1;
        ensure!(looks < READY_LOOKS, "it is not ready after a minute: {}", log.display());
        std::thread::sleep(LOOK);
    }
    let bound: Value = serde_json::from_slice(&fs::read(&ready)?)?;
    let https = bound["https"].as_str().context("it does not say where it serves")?;
    let ask = |path: &str| {
        let mut client = Command::new(root.join("usr/bin/ubmcctl"));
        client
            .args(["--server", &format!("https://{https}"), "--insecure", "--user", "admin"])
            .arg("--password-file")
            .arg(&password)
            .arg("--config")
            .arg(state.join("ubmcctl.toml"))
            .args(["--output", "json", "redfish", "get", path]);
        sh::output(&mut client)
    };
    for (path, shows) in [("/redfish/v1/", "RedfishVersion"), ("/redfish/v1/Systems", SYSTEM)] {
        let shown = ask(path)?;
        ensure!(shown.contains(shows), "{path} does not show {shows}: {shown}");
    }
    sh::run(sh::command("sh").args(["-c", &format!("kill -TERM {}", running.0.id())]))?;
    for _ in 0..END_LOOKS {
        if let Some(status) = running.0.try_wait()? {
            ensure!(status.success(), "it ended with {status}: {}", log.display());
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
    bail!("it does not end: {}", log.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_point_of_an_image_is_started_where_it_is_unpacked() {
        let dir = tempfile::tempdir().unwrap();
        let layout = dir.path().join("layout");
        let files = [super::super::File::new("usr/bin/u-bmc", 0o755, "program")];
        super::super::oci::write(&layout, &files, "1.2.3", "amd64").unwrap();
        let (root, state) = (dir.path().join("root"), dir.path().join("state"));
        let entry = unpack(&layout, &root).unwrap();
        assert_eq!(fs::read(root.join("usr/bin/u-bmc")).unwrap(), b"program");
        let command = entry_point(&entry, &root, &state).unwrap();
        assert_eq!(command.get_program(), root.join("usr/bin/u-bmc"));
        let arguments: Vec<&std::ffi::OsStr> = command.get_args().collect();
        for wanted in
            [state.as_os_str(), "127.0.0.1:0".as_ref(), root.join(BOARDS).join("board.toml").as_ref()]
        {
            assert!(arguments.contains(&wanted), "{wanted:?} is not in {arguments:?}");
        }
        assert!(arguments.iter().all(|argument| *argument != "0.0.0.0:8443" && *argument != "/tmp/u-bmc"));
    }
}
