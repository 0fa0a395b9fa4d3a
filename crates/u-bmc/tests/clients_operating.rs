//! `docs/operating.md`, from the first login to the backup: every command of its blocks does what the page says, in its order.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use testkit::Suite;

/// The binary under test; the client is built beside it.
const U_BMC: &str = env!("CARGO_BIN_EXE_u-bmc");
const ADMIN: &str = "seven-brass-doorknobs-1";
const OPERATOR: &str = "four-tin-whistles-2";

type Result<T = ()> = anyhow::Result<T>;

/// The commands of the page, block by block, with what stands behind the fence.
fn blocks() -> Result<Vec<(String, Vec<String>)>> {
    let page = std::fs::read_to_string(testkit::root().join("docs/operating.md"))?;
    let mut blocks: Vec<(String, Vec<String>)> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        if let Some(kind) = line.strip_prefix("```") {
            inside = !inside;
            if inside {
                blocks.push((kind.to_owned(), Vec::new()));
            }
        } else if inside && let Some((_, lines)) = blocks.last_mut() {
            lines.push(line.to_owned());
        }
    }
    let run: Vec<&String> = blocks.iter().flat_map(|(_, lines)| lines).collect();
    // A command in the text is one of a block.
    for named in page.split('`').filter(|text| text.starts_with("ubmcctl ")) {
        ensure!(
            run.iter().any(|line| line.starts_with(named)),
            "the page names `{named}` and runs it nowhere"
        );
    }
    Ok(blocks)
}

/// A person at a shell: a home of their own, and the client on the path.
struct Person {
    home: PathBuf,
    /// What stands on the page, and what it is here.
    here: Vec<(&'static str, String)>,
}

impl Person {
    fn line(&self, line: &str) -> String {
        self.here.iter().fold(line.to_owned(), |line, (page, here)| line.replace(page, here))
    }

    fn shell(&self, line: &str) -> Command {
        let bin = Path::new(U_BMC).parent().unwrap_or(Path::new("/"));
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("sh");
        command.args(["-euc", &format!("exec {line}")]).current_dir(&self.home).stdin(Stdio::null());
        command.env_clear().env("PATH", path).env("HOME", &self.home);
        command
    }

    /// Runs a line that has to succeed, and returns what it says.
    fn runs(&self, line: &str) -> Result<String> {
        let line = self.line(line);
        let output = self.shell(&line).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{line}: {}\n{said}{errors}", output.status);
        if (line.contains(" list") || line.contains("system status")) && !line.contains("json") {
            let shown = self.on_a_terminal(&line)?;
            let wide = shown.lines().find(|text| text.chars().count() > 80);
            ensure!(!shown.is_empty() && wide.is_none(), "{line}: wider than a terminal: {wide:?}");
        }
        Ok(said)
    }

    /// What a line shows on a terminal, which `script` of Debian's bsdutils makes; it has 80 columns as long as nobody says otherwise.
    fn on_a_terminal(&self, line: &str) -> Result<String> {
        let mut command = self.shell(&format!("script --quiet --return --command '{line}' /dev/null"));
        let output = command.env("NO_COLOR", "1").output()?;
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{line} on a terminal: {}\n{shown}", output.status);
        Ok(shown.replace('\r', ""))
    }

    /// Runs a line until it has said something, and interrupts it. Something happens meanwhile, again and again: nobody knows when it listens.
    fn follows(&self, line: &str) -> Result {
        let mut child = self.shell(&self.line(line)).stdout(Stdio::piped()).spawn()?;
        let mut out = BufReader::new(child.stdout.take().context("no output")?);
        let (said, heard) = std::sync::mpsc::channel();
        let reader = std::thread::spawn(move || {
            let mut first = String::new();
            let read = out.read_line(&mut first);
            // Gone when nobody waits for it any more.
            drop(said.send(read.map(|_| first)));
            out
        });
        let mut first = None;
        for switch in ["on", "off"].iter().cycle().take(100) {
            self.runs(&format!("ubmcctl chassis identify {switch}"))?;
            if let Ok(line) = heard.recv_timeout(Duration::from_millis(300)) {
                first = Some(line?);
                break;
            }
        }
        ensure!(Command::new("kill").args(["-INT", &child.id().to_string()]).status()?.success());
        let status = child.wait()?;
        drop(reader.join());
        ensure!(first.is_some_and(|line| !line.is_empty()), "{line} says nothing");
        ensure!(status.code() == Some(130), "{line}: {status}");
        Ok(())
    }

    /// Five wrong passwords of one account, and the id of the lock that follows.
    fn locked_out(&self, user: &str) -> Result<String> {
        for number in 0..5 {
            std::fs::write(self.home.join("wrong"), format!("wrong-as-can-be-{number}"))?;
            let line = format!("ubmcctl --context lab --user {user} --password-file wrong host list");
            let code = self.shell(&line).stderr(Stdio::null()).status()?.code();
            ensure!(code == Some(4), "{line}: {code:?}");
        }
        let list: serde_json::Value = serde_json::from_str(&self.runs("ubmcctl lockout list -o json")?)?;
        let id = list["lockouts"][0]["id"].as_str().context("nobody is locked out")?;
        Ok(id.to_owned())
    }
}

/// Goes through the page but for what is done when the BMC is stopped, which is returned.
fn walk(person: &mut Person) -> Result<Vec<String>> {
    let mut ran = 0;
    let mut stopped = Vec::new();
    for (kind, lines) in blocks()? {
        if lines.iter().any(|line| line.ends_with("lockout delete ID")) {
            let id = person.locked_out("op")?;
            person.here.push(("lockout delete ID", format!("lockout delete {id}")));
        }
        for line in lines {
            ran += 1;
            match kind.as_str() {
                "sh" => drop(person.runs(&line)?),
                "sh follow" => person.follows(&line)?,
                "sh stopped" => stopped.push(line),
                other => anyhow::bail!("a block of {other:?}, which nothing runs"),
            }
        }
    }
    ensure!(ran > 50, "{ran} commands");
    Ok(stopped)
}

#[tokio::test]
async fn every_command_of_the_page_for_operators_does_what_it_says() -> Result {
    let dir = tempfile::tempdir()?;
    let (state, home, restored) =
        (dir.path().join("state"), dir.path().join("home"), dir.path().join("restored"));
    std::fs::create_dir(&restored)?;
    std::fs::create_dir(&home)?;
    // The cheapest hash that may be set: the page logs in often.
    let suite = Suite::builder(U_BMC)
        .first_boot()
        .state_dir(&state)
        .set("usermgr.password.memory_kib=4096")
        .set("usermgr.password.passes=3")
        .start()
        .await?;
    suite.wait_log("  sha256:").await?;
    let console = suite.log();
    let shown = |before: &str| {
        console.iter().find_map(|line| line.split_once(before)?.1.split(' ').next().map(str::to_owned))
    };
    let first = shown("│   password  ").context("the console shows no first password")?;
    let fingerprint = shown("  sha256:").context("the console shows no fingerprint")?;
    for (file, secret) in
        [("first-password", first.as_str()), ("admin-password", ADMIN), ("op-password", OPERATOR)]
    {
        std::fs::write(home.join(file), format!("{secret}\n"))?;
    }
    let here = vec![
        ("https://10.0.0.7", format!("https://{}", suite.https())),
        ("sha256:…", format!("sha256:{fingerprint}")),
        ("/var/lib/u-bmc", state.display().to_string()),
    ];
    let mut person = Person { home, here };
    let walked = tokio::task::spawn_blocking(move || walk(&mut person).map(|stopped| (person, stopped)));
    let (mut person, stopped) = walked.await??;
    suite.stop().await?;
    for line in stopped {
        person.runs(&line)?;
    }

    // The copy is the BMC as it was.
    let archive = person.home.join("backup.tar");
    ensure!(Command::new("tar").arg("-C").arg(&restored).arg("-xf").arg(archive).status()?.success());
    let again = Suite::builder(U_BMC).first_boot().state_dir(&restored).start().await?;
    person.here[0].1 = format!("https://{}", again.https());
    let read = tokio::task::spawn_blocking(move || {
        person.runs(
            "ubmcctl --server https://10.0.0.7 --fingerprint sha256:… --user admin --password-file admin-password host get",
        )
    });
    let host = read.await??;
    ensure!(host.contains("rack 7"), "{host}");
    again.stop().await
}
