//! Who looks at a screen and at a console for a long time, beside others that are stuck: memory is bounded, and nobody is held up.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use rfb::Screen;
use testkit::{ADMIN_PASSWORD, Console, Credential, Kvm, Suite, bench};
use tokio::time::Instant;

const U_BMC: &str = env!("CARGO_BIN_EXE_u-bmc");
/// How long, in seconds, unless `SOAK_SECONDS` says so.
const SECONDS: u64 = 10;
/// What is stuck is ended after 90 s, as nobody knows whether it is there: others take its place before.
const STUCK: Duration = Duration::from_secs(60);
/// By how much a daemon's memory may grow from the first third to the end, KiB: what an allocator keeps.
const GROWTH: u64 = 4096;
const SCREEN: &str = "/api/v1alpha1/screens/system/view";
const CONSOLE: &str = "/api/v1alpha1/consoles/system/socket";

type Result<T = ()> = anyhow::Result<T>;

/// Memory that is a process's alone, KiB.
fn private_kib(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let of = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    Ok(of("Private_Clean:") + of("Private_Dirty:"))
}

/// Where the square of the test picture is.
fn square(screen: &Screen) -> Option<usize> {
    screen.row(330, 0, 640).iter().position(|pixel| *pixel == 0x00ff_ffff)
}

struct Bmc {
    suite: Suite,
    authorization: String,
}

impl Bmc {
    async fn viewer(&self) -> Result<Kvm> {
        let opened = Kvm::open(self.suite.https(), SCREEN, &[("authorization", &self.authorization)]).await?;
        opened.map_err(|status| anyhow::anyhow!("the screen is refused with {status}"))
    }

    async fn reader(&self, query: &str) -> Result<Console> {
        let path = format!("{CONSOLE}{query}");
        let opened =
            Console::open(self.suite.https(), &path, &[("authorization", &self.authorization)]).await?;
        opened.map_err(|status| anyhow::anyhow!("the console is refused with {status}"))
    }

    /// Two that look at the screen and four that look at the console, and never read what they are sent.
    async fn stuck(&self) -> Result<(Vec<Kvm>, Vec<Console>)> {
        let (mut viewers, mut readers) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            let mut viewer = self.viewer().await?;
            viewer.shows(|screen| square(screen).is_some()).await?;
            viewers.push(viewer);
        }
        for _ in 0..4 {
            let mut reader = self.reader("").await?;
            reader.told(|notice| notice["type"] == "state").await?;
            readers.push(reader);
        }
        Ok((viewers, readers))
    }
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "what was measured is shown")]
async fn four_viewers_and_eight_readers_of_which_half_are_stuck_cost_a_bound() -> Result {
    let seconds =
        std::env::var("SOAK_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(SECONDS);
    let login = Credential::Basic("admin".to_owned(), ADMIN_PASSWORD.to_owned());
    let authorization = login.header().context("a login")?;
    let bmc = Bmc { suite: Suite::builder(U_BMC).start().await?, authorization };
    let mut viewers = vec![bmc.viewer().await?, bmc.viewer().await?];
    let mut readers = vec![bmc.reader("").await?];
    let host = readers.first_mut().context("nobody")?;
    host.told(|notice| notice["type"] == "state" && notice["connected"] == true).await?;
    let body = serde_json::json!({ "action": "HOST_ACTION_ON" });
    let reply = bmc.suite.admin().post("/api/v1alpha1/hosts/system/state", &body).await?;
    ensure!(reply.status == 200, "{}", reply.text());
    host.says("twin login: ").await?;
    host.types("ann\r").await?;
    host.says("Password: ").await?;
    host.types("secret\r").await?;
    host.says("ann@twin:~$ ").await?;
    for _ in 0..3 {
        let mut reader = bmc.reader("?replayBytes=4096").await?;
        reader.says("ann@twin:~$ ").await?;
        readers.push(reader);
    }
    let mut stuck = bmc.stuck().await?;
    let mut stuck_since = Instant::now();
    let daemons = ["kvmsrv", "consolesrv", "websrv"];
    let pids: Vec<u32> = daemons.iter().filter_map(|daemon| bmc.suite.pid_of(daemon)).collect();
    ensure!(pids.len() == daemons.len(), "all of them run");
    let memory = || pids.iter().map(|pid| private_kib(*pid)).collect::<Result<Vec<u64>>>();
    let begun = Instant::now();
    let (mut early, mut rounds) = (None, 0_u32);
    // Of each daemon, KiB of PSS: what it shares with others counts by its part.
    let mut peaks = vec![0; pids.len()];
    while begun.elapsed() < Duration::from_secs(seconds) {
        readers.first_mut().context("nobody")?.types("count 1000\r").await?;
        let printed = futures_util::future::join_all(readers.iter_mut().map(|who| who.says("line 1000\r\n")));
        for text in printed.await {
            let text = text?;
            ensure!(
                text.lines().filter(|line| line.starts_with("line ")).count() == 1000,
                "round {rounds}: {}",
                text.len()
            );
        }
        for viewer in &mut viewers {
            let before = square(viewer.screen());
            viewer
                .shows(|screen| square(screen) != before)
                .await
                .with_context(|| format!("round {rounds}"))?;
        }
        rounds += 1;
        for (peak, pid) in peaks.iter_mut().zip(&pids) {
            *peak = bench::memory(&[*pid]).max(*peak);
        }
        if early.is_none() && begun.elapsed() >= Duration::from_secs(seconds / 3) {
            early = Some(memory()?);
        }
        if stuck_since.elapsed() >= STUCK {
            stuck_since = Instant::now();
            // Those before go first: there are places for so many and no more.
            drop(std::mem::take(&mut stuck));
            stuck = bmc.stuck().await?;
        }
    }
    let (early, late) = (early.context("it was too short")?, memory()?);
    for (((daemon, peak), early), late) in daemons.iter().zip(&peaks).zip(&early).zip(&late) {
        println!("FIGURE: soak: {daemon}: peak PSS {peak} KiB; its own memory from {early} to {late} KiB");
    }
    println!(
        "FIGURE: soak: 4 viewers and 8 readers, of which half are stuck, for {seconds} s: {rounds} rounds of 1,000 lines"
    );
    ensure!(peaks.iter().all(|peak| *peak > 0), "nothing was measured: {peaks:?}");
    for ((daemon, early), late) in daemons.iter().zip(early).zip(late) {
        ensure!(late < early + GROWTH, "{daemon} grew from {early} to {late} KiB");
    }
    for (daemon, pid) in daemons.iter().zip(&pids) {
        ensure!(bmc.suite.pid_of(daemon) == Some(*pid), "{daemon} was started anew");
    }
    drop(stuck);
    bmc.suite.stop().await
}
