//! `cargo xtask bench ipmi`: IPMI over LAN beside OpenIPMI's `ipmi_sim`, with ipmitool as the client of both: a list of all sensors by one client and
//! by eight at once, Get Device ID one after the other, and what fifteen sessions that poll take of a processor and of memory.
//!
//! ipmitool sleeps for 100 us after each request that it sends (1.8.19, `usleep` in lanplus.c), which the kernel makes 150 and more: that is most of what a list takes
//! with it, and no server changes it. So a client of our own asks the same once more without a pause, which is what the server takes.
//!
//! Both have as many sensors with the same records, and speak suite 3, which is the only one the simulator has in common with us; ours is measured with
//! suite 17 as well. The simulator shows values that nobody measures. At the end ours is flooded from many addresses of loopback with what
//! strangers can send, while a session works on. `--sensors N` is how many there are (200), `--seconds N` how long is polled (10).

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use ipmi::Suite as Cipher;
use ipmi::scale::Scale;
use ipmi::sdr::{Full, Thresholds};
use ipmi::testing::Client;
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
/// Bytes of a record that ipmitool asks for at once, behind the five of its head.
const PIECE: u8 = 32;
/// Datagrams of the flood, and addresses that they come from.
const FLOOD: u32 = 400_000;
const STRANGERS: u32 = 500;
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

/// By `stdbuf` where each line is waited for.
fn ipmitool(peer: Peer<'_>, account: usize, before: &[&str], words: &[&str]) -> Command {
    let mut program = before.iter().chain(&["ipmitool"]);
    let mut command = Command::new(program.next().copied().unwrap_or_default());
    let port = peer.port.to_string();
    let name = ACCOUNTS.get(account % ACCOUNTS.len()).copied().unwrap_or_default();
    command
        .args(program)
        .args(["-I", "lanplus", "-H", "127.0.0.1", "-p", &port, "-C", peer.suite])
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
    let output = ipmitool(peer, account, &[], &["sdr", "elist", "full"]).output().await?;
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
        let mut child = ipmitool(peer, account, &["stdbuf", "-oL"], &["shell"])
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

/// A session of our own, which does not pause.
struct Session {
    socket: UdpSocket,
    client: Client,
}

/// What is answered to a datagram.
fn exchange(socket: &UdpSocket, bytes: &[u8]) -> Vec<u8> {
    let mut answer = [0; 1024];
    // Once more where nothing came: a benchmark is not about loss.
    for _ in 0..5 {
        if socket.send(bytes).is_ok()
            && let Ok(count) = socket.recv(&mut answer)
        {
            return answer.get(..count).unwrap_or_default().to_vec();
        }
    }
    Vec::new()
}

impl Session {
    fn open(peer: Peer<'_>, account: usize) -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(("127.0.0.1", peer.port))?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        let cipher = if peer.suite == "3" { Cipher::Sha1 } else { Cipher::Sha256 };
        let mut client = Client::new(socket.local_addr()?, cipher);
        let name = ACCOUNTS.get(account % ACCOUNTS.len()).copied().unwrap_or_default();
        let who = (name.as_bytes(), PASSWORD.as_bytes());
        let status = client.log_in_over(4, who, &mut |bytes| exchange(&socket, bytes));
        ensure!(status == 0, "a login ends with {status:02x}h");
        Ok(Self { socket, client })
    }

    /// The data of an answer, which has to be one.
    fn ask(&mut self, function: u8, command: u8, data: &[u8]) -> Result<Vec<u8>> {
        let bytes = self.client.next(function, command, data);
        let said = self.client.read(&exchange(&self.socket, &bytes));
        ensure!(said.first() == Some(&0), "{function:02x} {command:02x} ends with {said:02x?}");
        Ok(said.get(1..).unwrap_or_default().to_vec())
    }

    /// What `ipmitool sdr elist full` asks for: each record, first its head and then the rest in pieces, and each value. How many sensors, and how many
    /// requests.
    fn list(&mut self) -> Result<(usize, u32)> {
        let held = self.ask(0x0a, 0x22, &[])?;
        let (mut id, mut sensors, mut requests) = ([0, 0], 0, 1);
        while id != [0xff, 0xff] {
            let mut get = |offset: u8, count: u8| {
                requests += 1;
                self.ask(0x0a, 0x23, &[&held[..], &id, &[offset, count]].concat())
            };
            let head = get(0, 5)?;
            let [low, high, _, _, _, kind, length] = head[..] else { anyhow::bail!("a head of {head:02x?}") };
            let mut record = Vec::new();
            while record.len() < usize::from(length) {
                let at = u8::try_from(record.len())?;
                record.extend_from_slice(get(5 + at, PIECE.min(length - at))?.get(2..).unwrap_or_default());
            }
            if kind == 1 {
                let number = record.get(2).copied().context("a number")?;
                self.ask(0x04, 0x2d, &[number])?;
                (sensors, requests) = (sensors + 1, requests + 1);
            }
            id = [low, high];
        }
        Ok((sensors, requests))
    }
}

/// What strangers can send, from many addresses, as fast as it goes, with packets of a session that were heard; a session asks in between.
fn flood(peer: Peer<'_>) -> Result<()> {
    let mut own = Session::open(peer, 0)?;
    let before = bench::memory(&[peer.pid]);
    let heard = own.client.next(0x06, 0x01, &[]);
    let mut sockets = Vec::new();
    for at in 0..STRANGERS {
        let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 1)) + at);
        let socket = UdpSocket::bind((address, 0))?;
        socket.connect(("127.0.0.1", peer.port))?;
        socket.set_nonblocking(true)?;
        sockets.push(socket);
    }
    let from = SocketAddr::from(([127, 0, 0, 1], 1));
    let (mut sent, mut most, mut times) = (0_u32, before, Vec::new());
    let begun = Instant::now();
    let mut answer = [0; 1024];
    while sent < FLOOD {
        for socket in &sockets {
            let mut one = Client::new(from, Cipher::Sha256);
            (one.session, one.id) = (sent, sent);
            // The number of a login that was opened comes back.
            while let Ok(count) = socket.recv(&mut answer) {
                if let Some(number) = answer.get(24..28).filter(|_| count == 52) {
                    one.session = u32::from_le_bytes(number.try_into()?);
                }
            }
            let name = ACCOUNTS.first().copied().unwrap_or_default();
            for bytes in [one.open(), one.rakp1(4, name.as_bytes()), one.rakp3(&[7; 32]), heard.clone()] {
                // What the kernel has no room for is lost, as on a network.
                let _ = socket.send(&bytes);
                sent += 1;
            }
        }
        let asked = Instant::now();
        own.ask(0x06, 0x01, &[])?;
        times.push(asked.elapsed().as_secs_f64() * 1e3);
        most = most.max(bench::memory(&[peer.pid]));
    }
    let took = begun.elapsed().as_secs_f64();
    // The flood is over, and what it took is given back.
    own.ask(0x06, 0x01, &[])?;
    print(&format!(
        "u-bmc, flooded           {sent} datagrams from {STRANGERS} addresses in {took:.1} s: PSS {before} KiB before, {most} KiB at most, {} KiB after   Get Device ID in between p50 {:.1} ms, p99 {:.1} ms",
        bench::memory(&[peer.pid]),
        bench::rank(&mut times, 50),
        bench::rank(&mut times, 99),
    ));
    Ok(())
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

    let mut own = Session::open(peer, 1)?;
    let (mut lists, mut single) = (Vec::new(), Vec::new());
    let mut requests = 0;
    for _ in 0..LISTS {
        let asked = Instant::now();
        let (found, took) = own.list()?;
        ensure!(found >= sensors, "{name}: {found} of {sensors} sensors");
        requests = took;
        lists.push(asked.elapsed().as_secs_f64());
    }
    for _ in 0..ASKED {
        let asked = Instant::now();
        own.ask(0x06, 0x01, &[])?;
        single.push(asked.elapsed().as_secs_f64() * 1e6);
    }
    drop(own);
    print(&format!(
        "{name:24} without ipmitool's pauses: the {requests} requests of such a list {:.3} s   Get Device ID p50 {:.0} us, p99 {:.0} us",
        bench::rank(&mut lists, 50),
        bench::rank(&mut single, 50),
        bench::rank(&mut single, 99),
    ));

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
    flood(Peer { suite: "17", ..ours })?;
    suite.stop().await
}
