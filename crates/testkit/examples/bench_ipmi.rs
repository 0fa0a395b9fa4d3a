//! `cargo xtask bench ipmi`: IPMI over LAN beside OpenIPMI's `ipmi_sim`, with ipmitool as the client of both: a list of all sensors by one client and
//! by eight at once, Get Device ID one after the other, and what fifteen sessions that poll take of a processor and of memory.
//!
//! Both have as many sensors with the same records, and speak suite 3, which is the only one the simulator has in common with us; ours is measured with
//! suite 17 as well. The simulator shows values that nobody measures. `--sensors N` is how many there are (200), `--seconds N` how long is polled (10).

use std::fmt::Write as _;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use ipmi::scale::Scale;
use ipmi::sdr::{Full, Thresholds};
use serde_json::json;
use testkit::{Suite, bench, eventually};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::Instant;

const PASSWORD: &str = "saxophone-quartet";
/// Administrators, each with at most five sessions.
const ACCOUNTS: [&str; 3] = ["boss0", "boss1", "boss2"];
const SESSIONS: usize = 15;
const PARALLEL: usize = 8;
const LISTS: usize = 5;
const ASKED: usize = 1000;
/// Channels of one simulated chip.
const CHANNELS: usize = 8;
const BUSES: usize = 4;

/// Where a server listens, and who it is.
#[derive(Clone, Copy)]
struct Peer<'a> {
    port: u16,
    suite: &'a str,
    pid: u32,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| arguments.iter().skip_while(|word| *word != name).nth(1);
    let seconds = value("--seconds").map_or(Ok(10), |word| word.parse())?;
    let sensors = value("--sensors").map_or(Ok(200), |word| word.parse())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(Duration::from_secs(seconds), sensors))
}

/// A board with so many temperatures.
fn board(sensors: usize) -> String {
    let mut text = String::from(
        "[board]\nname = \"sim-bench\"\nvendor = \"u-bmc\"\nmodel = \"Simulated board of a benchmark\"\nhal = \"sim\"\n\n\
         [[hosts]]\nid = \"system\"\n\n[hosts.power]\nkind = \"buttons\"\npower = { name = \"power-button-out\", active_low = true }\n\
         power_good = { name = \"power-chassis-good\", debounce_ms = 1 }\n\n[sim]\nhost = \"scripted\"\n\n",
    );
    for bus in 0..BUSES {
        let _ = writeln!(text, "[[i2c]]\nid = \"i2c{bus}\"\nnumber = {bus}\n");
    }
    for device in 0..sensors.div_ceil(CHANNELS) {
        let (bus, address) = (device % BUSES, 0x10 + device / BUSES);
        let _ =
            writeln!(text, "[[devices]]\nid = \"d{device}\"\nbus = \"i2c{bus}\"\naddress = {address:#04x}\n");
    }
    for sensor in 0..sensors {
        let (device, channel) = (sensor / CHANNELS, sensor % CHANNELS + 1);
        let _ = writeln!(
            text,
            "[[sensors]]\nid = \"s{sensor}\"\nsource = \"hwmon\"\ndevice = \"d{device}\"\nchannel = \"temp{channel}\"\nrate_ms = 1000\n"
        );
    }
    text
}

fn free_port() -> Result<u16> {
    Ok(UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The simulator with the same sensors.
fn simulator(dir: &Path, sensors: usize, port: u16) -> Result<Child> {
    let mut lan = format!(
        "name \"peer\"\nset_working_mc 0x20\nstartlan 1\naddr 127.0.0.1 {port}\npriv_limit admin\n\
         allowed_auths_admin none md2 md5 straight\nguid a123456789abcdefa123456789abcdef\nendlan\n"
    );
    for (number, name) in ACCOUNTS.iter().enumerate() {
        let _ = writeln!(
            lan,
            "user {} true \"{name}\" \"{PASSWORD}\" admin 10 none md2 md5 straight",
            number + 2
        );
    }
    let mut commands = String::from(
        "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02\nsel_enable 0x20 100 0x0a\n",
    );
    for sensor in 0..sensors {
        let number = u8::try_from(sensor + 1).context("the simulator has 255 sensors")?;
        let name = format!("s{sensor}");
        let full = Full {
            lun: 0,
            number,
            entity: 7,
            instance: 1,
            kind: 1,
            unit: 1,
            percent: false,
            scale: Scale::fit(-128.0, 127.0).context("a scale")?,
            thresholds: Thresholds { all: [None; 6] },
            hysteresis: 0.0,
            name: &name,
        };
        let bytes: Vec<String> =
            full.encode(u16::from(number)).iter().map(|byte| format!("{byte:#04x}")).collect();
        let _ = writeln!(commands, "main_sdr_add 0x20 {}", bytes.join(" "));
        let _ = writeln!(commands, "sensor_add 0x20 0 {number} 1 1");
        let _ = writeln!(commands, "sensor_set_value 0x20 0 {number} 40 0");
    }
    commands.push_str("mc_enable 0x20\n");
    std::fs::write(dir.join("lan.conf"), lan)?;
    std::fs::write(dir.join("peer.emu"), commands)?;
    let child = Command::new("ipmi_sim")
        .args(["-n", "-c", "lan.conf", "-f", "peer.emu", "-s", "."])
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("ipmi_sim (Debian: openipmi)")?;
    Ok(child)
}

fn ipmitool(peer: Peer<'_>, account: usize, words: &[&str]) -> Command {
    let mut command = Command::new("stdbuf");
    let port = peer.port.to_string();
    let name = ACCOUNTS.get(account % ACCOUNTS.len()).copied().unwrap_or_default();
    command
        .args(["-oL", "ipmitool", "-I", "lanplus", "-H", "127.0.0.1", "-p", &port, "-C", peer.suite])
        .args(["-U", name, "-P", PASSWORD, "-L", "ADMINISTRATOR"])
        .args(words)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    command
}

/// One list of all sensors: how long it took, seconds, and how many lines it had.
async fn list(peer: Peer<'_>, account: usize) -> Result<(f64, usize)> {
    let begun = Instant::now();
    let output = ipmitool(peer, account, &["sdr", "elist", "full"]).output().await?;
    let lines = String::from_utf8_lossy(&output.stdout).lines().count();
    ensure!(output.status.success(), "sdr elist fails");
    Ok((begun.elapsed().as_secs_f64(), lines))
}

/// A client that takes one command after the other.
struct Shell {
    child: Child,
    to: tokio::process::ChildStdin,
    said: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
}

impl Shell {
    fn start(peer: Peer<'_>, account: usize) -> Result<Self> {
        let mut child = ipmitool(peer, account, &["shell"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("ipmitool")?;
        let to = child.stdin.take().context("its input")?;
        let said = BufReader::new(child.stdout.take().context("its output")?).lines();
        Ok(Self { child, to, said })
    }

    /// Asks, and waits for a line of bytes, which may stand behind the shell's prompt.
    async fn ask(&mut self, command: &str) -> Result<()> {
        self.to.write_all(format!("{command}\n").as_bytes()).await?;
        let answered = async {
            while let Some(line) = self.said.next_line().await? {
                let bytes = line.rsplit("ipmitool>").next().unwrap_or_default().trim();
                let is_byte = |word: &str| word.len() == 2 && u8::from_str_radix(word, 16).is_ok();
                if !bytes.is_empty() && bytes.split(' ').all(is_byte) {
                    return Ok(());
                }
            }
            anyhow::bail!("the session ended")
        };
        tokio::time::timeout(Duration::from_secs(30), answered).await.context("no answer")?
    }

    async fn stop(mut self) -> Result<()> {
        self.to.write_all(b"exit\n").await?;
        drop(self.to);
        self.child.wait().await?;
        Ok(())
    }
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its result")]
fn print(text: &str) {
    println!("{text}");
}

/// All of it, of one server.
async fn serve(name: &str, peer: Peer<'_>, sensors: usize, seconds: Duration) -> Result<()> {
    let mut alone = Vec::new();
    for _ in 0..LISTS {
        let (took, lines) = list(peer, 0).await?;
        ensure!(lines >= sensors, "{name}: {lines} of {sensors} sensors");
        alone.push(took);
    }
    let begun = Instant::now();
    let many = futures_util::future::join_all((0..PARALLEL).map(|at| list(peer, at))).await;
    let all = begun.elapsed().as_secs_f64();
    // A server for which a reservation of one client ends that of another leaves lists unfinished: how many is part of the result.
    let whole = many.iter().filter(|list| list.as_ref().is_ok_and(|(_, lines)| *lines >= sensors)).count();

    let mut shell = Shell::start(peer, 0)?;
    let mut times = Vec::new();
    for _ in 0..ASKED {
        let asked = Instant::now();
        shell.ask("raw 0x06 0x01").await?;
        times.push(asked.elapsed().as_secs_f64() * 1e6);
    }
    shell.stop().await?;
    print(&format!(
        "{name:24} sdr elist of {sensors}: {:.3} s   {PARALLEL} at once: {all:.3} s, {whole} of them whole   Get Device ID p50 {:.0} us, p99 {:.0} us",
        bench::rank(&mut alone, 50),
        bench::rank(&mut times, 50),
        bench::rank(&mut times, 99),
    ));

    let mut shells = Vec::new();
    for at in 0..SESSIONS {
        let mut shell = Shell::start(peer, at)?;
        shell.ask("raw 0x06 0x01").await?;
        shells.push(shell);
    }
    let (before, begun) = (bench::processor(&[peer.pid]), Instant::now());
    let mut asked = 0_u32;
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    while begun.elapsed() < seconds {
        tick.tick().await;
        for shell in &mut shells {
            shell.ask("raw 0x04 0x2d 1").await?;
            asked += 1;
        }
    }
    let used = bench::processor(&[peer.pid]) - before;
    let share = 100.0 * used / begun.elapsed().as_secs_f64();
    print(&format!(
        "{name:24} {SESSIONS} sessions, {:.0} readings/s: {share:.1} % of a processor, {:.0} us each, PSS {} KiB",
        f64::from(asked) / begun.elapsed().as_secs_f64(),
        used * 1e6 / f64::from(asked.max(1)),
        bench::memory(&[peer.pid]),
    ));
    for shell in shells {
        shell.stop().await?;
    }
    Ok(())
}

async fn measure(seconds: Duration, sensors: usize) -> Result<()> {
    let binary = std::env::var_os("UBMC").context("UBMC names the binary to measure")?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("board.toml");
    std::fs::write(&file, board(sensors))?;
    bench::run_with(true);
    let port = free_port()?;
    let suite = Suite::builder(binary)
        .board(&file)
        .arg("--ipmi")
        .arg(format!("127.0.0.1:{port}"))
        .set("ipmisrv.suite_3=true")
        .start()
        .await?;
    let admin = suite.admin();
    for name in ACCOUNTS {
        let user = json!({"username": name, "role": "Administrator", "ipmi_access": true});
        let reply = admin.post("/api/v1alpha1/users", &json!({"user": user, "password": PASSWORD})).await?;
        ensure!(reply.status == 200, "{name}: {}", reply.text());
    }
    let peer_port = free_port()?;
    let child = simulator(dir.path(), sensors, peer_port)?;
    bench::run_with(false);
    let pid = suite.pid_of("ipmisrv").context("ipmisrv runs")?;
    let ours = Peer { port, suite: "3", pid };
    let theirs = Peer { port: peer_port, suite: "3", pid: child.id().context("ipmi_sim runs")? };
    for peer in [ours, theirs] {
        eventually("all sensors are listed", Duration::from_secs(60), || async {
            Ok(list(peer, 0).await.is_ok_and(|(_, lines)| lines >= sensors))
        })
        .await?;
    }
    serve("u-bmc, suite 3", ours, sensors, seconds).await?;
    serve("u-bmc, suite 17", Peer { suite: "17", ..ours }, sensors, seconds).await?;
    serve("ipmi_sim, suite 3", theirs, sensors, seconds).await?;
    suite.stop().await
}
