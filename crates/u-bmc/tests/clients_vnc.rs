//! Viewers of VNC that we did not write, at the screens of the whole suite, by `ubmcctl kvm vnc`: TigerVNC's, on a display of its own, and vncdotool, with which
//! scripts save pictures and type.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use testkit::{ADMIN_PASSWORD, Suite, eventually};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

const U_BMC: &str = env!("CARGO_BIN_EXE_u-bmc");
const FOLLOW: Duration = Duration::from_secs(60);
/// The test picture: its first bar, its last one.
const FIRST: u32 = 0x00c0_c0c0;
const LAST: u32 = 0x0010_1010;
const WIDTH: usize = 640;
/// Where it shows keys that are down.
const KEYS: (usize, usize) = (4, 410);

struct Bmc {
    suite: Suite,
    home: tempfile::TempDir,
}

impl Bmc {
    async fn start() -> Result<Self> {
        Self::with(Suite::builder(U_BMC)).await
    }

    async fn with(builder: testkit::Builder) -> Result<Self> {
        let bmc = Self { suite: builder.start().await?, home: tempfile::tempdir()? };
        std::fs::write(bmc.home.path().join("password"), ADMIN_PASSWORD)?;
        Ok(bmc)
    }

    fn ubmcctl(&self, words: &[&str]) -> Command {
        let program = Path::new(U_BMC).with_file_name("ubmcctl");
        let mut command = Command::new(program);
        command
            .args(["--server", &format!("https://{}", self.suite.https()), "--insecure"])
            .args(["--user", "admin", "--password-file"])
            .arg(self.home.path().join("password"))
            .args(words)
            .env("HOME", self.home.path())
            .env("XDG_CONFIG_HOME", self.home.path())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// A port for viewers, with these words beside.
    async fn port(&self, words: &[&str]) -> Result<(Child, String)> {
        let words = [&["kvm", "vnc", "--listen", "127.0.0.1:0"][..], words].concat();
        let mut child = self.ubmcctl(&words).stderr(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stderr.take().context("no stderr")?).lines();
        let mut said = String::new();
        while let Some(line) = lines.next_line().await? {
            if let Some(port) = line.strip_prefix("listening at 127.0.0.1:") {
                let port = port.split_whitespace().next().unwrap_or_default().to_owned();
                // What is said later is nobody's business, and holds up nobody.
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return Ok((child, port));
            }
            said.push_str(&line);
            said.push('\n');
        }
        bail!("ubmcctl did not listen: {said}")
    }

    async fn screen(&self) -> Result<Value> {
        Ok(self.suite.admin().get("/api/v1alpha1/screens/system").await?.json()?["screen"].clone())
    }

    async fn nobody_looks(&self) -> Result<()> {
        eventually("the viewer has gone", FOLLOW, || async {
            let screen = self.screen().await?;
            Ok(screen["viewers"].as_u64().unwrap_or(0) == 0
                && screen["inputHolder"].as_str().unwrap_or("").is_empty())
        })
        .await
    }
}

/// A display without a monitor: X's server keeps its pixels in a file.
struct Display {
    _server: Child,
    name: String,
    pixels: PathBuf,
}

impl Display {
    async fn start(folder: &Path) -> Result<Self> {
        let mut server = Command::new("Xvfb")
            .args(["-displayfd", "1", "-screen", "0", "800x600x24", "-nolisten", "tcp", "-fbdir"])
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start Xvfb")?;
        let mut lines = BufReader::new(server.stdout.take().context("no stdout")?).lines();
        let number = lines.next_line().await?.context("Xvfb has no display")?;
        Ok(Self { _server: server, name: format!(":{}", number.trim()), pixels: folder.join("Xvfb_screen0") })
    }

    /// Its rows of pixels (the file is an X window dump: lengths are big-endian numbers of its head).
    fn rows(&self) -> Result<Vec<Vec<u32>>> {
        let bytes = std::fs::read(&self.pixels)?;
        let number = |at: usize| -> Result<usize> {
            let word = bytes.get(at * 4..at * 4 + 4).context("a short head")?;
            Ok(usize::try_from(u32::from_be_bytes(word.try_into()?))?)
        };
        let (head, width, height) = (number(0)?, number(4)?, number(5)?);
        let (line, colours) = (number(12)?, number(19)?);
        let pixels = bytes.get(head + colours * 12..).context("no pixels")?;
        let row = |row: &[u8]| {
            let (all, _) = row.as_chunks::<4>();
            all.iter().take(width).map(|pixel| u32::from_le_bytes(*pixel) & 0x00ff_ffff).collect()
        };
        Ok(pixels.chunks(line).take(height).map(row).collect())
    }

    /// Where the test picture is: its first row begins and ends with its first and last bar.
    fn picture(&self) -> Result<Option<(usize, usize)>> {
        let rows = self.rows()?;
        let found = rows.iter().enumerate().find_map(|(y, row)| {
            let x = row.windows(WIDTH).position(|part| part[0] == FIRST && part[WIDTH - 1] == LAST)?;
            Some((x, y))
        });
        Ok(found)
    }

    /// The viewer, at a port of this machine.
    fn viewer(&self, bmc: &Bmc, port: &str) -> Command {
        let mut command = Command::new("xtigervncviewer");
        command
            .args(["-AlertOnFatalError=0", "-ReconnectOnError=0"])
            .arg(format!("127.0.0.1::{port}"))
            .env("DISPLAY", &self.name)
            .env("HOME", bmc.home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// No window manager gives the viewer's window the keyboard, without which it passes no key on.
    async fn focus(&self) -> Result<()> {
        let window = ["search", "--sync", "--onlyvisible", "--name", "TigerVNC", "windowfocus", "--sync"];
        let focused = tokio::time::timeout(FOLLOW, self.do_it(&window).status()).await;
        ensure!(focused.context("the viewer has no window")??.success());
        Ok(())
    }

    fn do_it(&self, words: &[&str]) -> Command {
        let mut command = Command::new("xdotool");
        command.args(words).env("DISPLAY", &self.name).stdin(Stdio::null()).kill_on_drop(true);
        command
    }
}

/// Whether there is a viewer, a display for it and what types there.
#[expect(clippy::print_stdout, reason = "a skip is counted by what it prints")]
fn has_viewer() -> bool {
    let programs = ["xtigervncviewer", "Xvfb", "xdotool"];
    let is_missing = |program: &&&str| {
        std::process::Command::new(program).arg("-version").stdin(Stdio::null()).output().is_err()
    };
    let missing = programs.iter().find(is_missing);
    if let Some(program) = missing {
        println!("SKIP: no {program} (Debian: tigervnc-viewer, xvfb, xdotool)");
    }
    missing.is_none()
}

#[tokio::test]
async fn tigervncs_viewer_shows_the_screen_and_types_there_in_two_encodings() -> Result<()> {
    if !has_viewer() {
        return Ok(());
    }
    let bmc = Bmc::start().await?;
    let display = Display::start(bmc.home.path()).await?;
    for encoding in ["Tight", "ZRLE"] {
        let (_ubmcctl, port) = bmc.port(&["--take-over"]).await?;
        let words = ["-AutoSelect=0", &format!("-PreferredEncoding={encoding}")];
        let viewer = display.viewer(&bmc, &port).args(words).spawn()?;
        eventually(encoding, FOLLOW, || async { Ok(display.picture()?.is_some()) }).await?;
        let (x, y) = display.picture()?.context("it was there")?;
        let key = || Ok::<_, anyhow::Error>(display.rows()?[y + KEYS.1][x + KEYS.0]);
        ensure!(key()? == 0, "no key is down");
        display.focus().await?;
        let at = [(x + 200).to_string(), (y + 200).to_string()];
        let done =
            display.do_it(&["mousemove", &at[0], &at[1], "click", "1", "keydown", "a"]).status().await?;
        ensure!(done.success());
        eventually("the key is shown", FOLLOW, || async { Ok(key()? != 0) }).await?;
        let screen = bmc.screen().await?;
        ensure!(screen["viewers"] == 1, "{screen}");
        ensure!(screen["inputHolder"].as_str().unwrap_or_default().starts_with("admin"), "{screen}");
        ensure!(display.do_it(&["keyup", "a"]).status().await?.success());
        eventually("the key is up", FOLLOW, || async { Ok(key()? == 0) }).await?;
        drop(viewer);
        bmc.nobody_looks().await?;
        eventually("its window is gone", FOLLOW, || async { Ok(display.picture()?.is_none()) }).await?;
    }
    bmc.suite.stop().await
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "a skip is counted by what it prints")]
async fn vncdotool_saves_the_whole_picture_and_types() -> Result<()> {
    let Some(python) = testkit::python("UBMC_TEST_PYTHON", None, "vncdotool") else {
        println!("SKIP: no Python with vncdotool (cargo xtask test clients installs one)");
        return Ok(());
    };
    let bmc = Bmc::start().await?;
    let (_ubmcctl, port) = bmc.port(&["--take-over"]).await?;
    let script = testkit::root().join("tests/clients/vncdotool_client.py");
    let mut command = Command::new(python);
    command.arg(script).arg(&port).stdin(Stdio::null()).kill_on_drop(true);
    let done = tokio::time::timeout(FOLLOW * 2, command.output()).await.context("vncdotool has no end")??;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    bmc.nobody_looks().await?;
    bmc.suite.stop().await
}
