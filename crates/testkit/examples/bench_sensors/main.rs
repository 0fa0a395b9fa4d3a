//! `cargo xtask bench sensors`: 1,000 hwmon sensors that are read once a second, in the running suite: what sensormon, the bus and one reader
//! (websrv, whose model follows) take of a processor, when samples are taken, how soon a change is known to a subscriber; and when the fan loop runs, quiet and
//! while the bus is flooded by a daemon that was taken over. Beside it `sensors` of lm-sensors once a second over the same tree, which it sees
//! at `/sys/class` in a mount namespace of its own.
//!
//! The host is on, and no change is too small to be news, so that each message has nearly all that its bus measured: the worst that a board can ask for.
//! It fails when a goal is missed.
//!
//! When files are read is seen from outside: the tree is no sysfs but files, and inotify tells who reads them. `--seconds N` is the length
//! of each part (60), `--sensors N` how many there are (1,000), `--set KEY=VALUE` another setting than the default: `operator.limits=false` takes
//! the real-time priority from thermalmgr.

#[path = "../bench_flood/daemon.rs"]
mod daemon;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use prost::Message as _;
use rustix::fs::inotify;
use schema::v1alpha1::SensorReadings;
use testkit::bench::{self, memory, processor, rank};
use testkit::{Suite, eventually};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, sleep, timeout};

/// Who may hear all readings.
const LISTENER: &str = "websrv";
const SUBJECT: &str = "reading.sensors";
const BUSES: usize = 10;
const CHANNELS: usize = 20;
const FANS: usize = 8;
/// Longest a connection of the flood is kept.
const HOLD: Duration = Duration::from_secs(20);
/// What sensormon, the bus and a model's reader may take together, % of a processor, and how late the fan loop of a flooded controller may be, ms.
const PROCESSOR_GOAL: f64 = 2.0;
const FAN_LOOP_GOAL: f64 = 5.0;
/// Smaller than what the simulated machine's noise changes from one reading to the next.
const RESOLUTION: f64 = 1e-6;
/// The period of sensors, and of the fan loop, ms.
const SAMPLE: f64 = 1_000.0;
const FAN_LOOP: f64 = 100.0;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut words = arguments.iter().map(String::as_str);
    if words.next() == Some("as") {
        ensure!(words.next() == Some(daemon::TAKEN), "as whom?");
        let bus: SocketAddr = words.next().context("an address")?.parse()?;
        let password = words.next().context("a password")?.to_owned();
        return runtime.block_on(flood(bus, password));
    }
    let value = |name: &str| arguments.iter().skip_while(|word| *word != name).nth(1);
    let seconds = value("--seconds").map_or(Ok(60), |word| word.parse())?;
    let sensors = value("--sensors").map_or(Ok(1_000), |word| word.parse())?;
    let set = value("--set").cloned();
    runtime.block_on(measure(Duration::from_secs(seconds), sensors, set))
}

/// A board with so many sensors, on ten buses of several devices.
fn board(sensors: usize) -> String {
    let mut text = String::from(
        "[board]\nname = \"sim-bench\"\nvendor = \"u-bmc\"\nmodel = \"Simulated board of a benchmark\"\nhal = \"sim\"\n\n\
         [[hosts]]\nid = \"system\"\n\n[hosts.power]\nkind = \"buttons\"\npower = { name = \"power-button-out\", active_low = true }\n\
         power_good = { name = \"power-chassis-good\", debounce_ms = 1 }\n\n[sim]\nhost = \"scripted\"\n\n\
         [[devices]]\nid = \"fans\"\npath = \"platform/fan-controller\"\n\n",
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
        let (device, channel) = (sensor / CHANNELS, sensor % CHANNELS);
        // One whose value nobody moves but who measures.
        let (channel, played) = match channel {
            0 if sensor == 0 => ("curr1".to_owned(), "\nsim = { idle = 0, load = 0, off = 0 }"),
            0..8 => (format!("temp{}", channel + 1), ""),
            8..14 => (format!("in{}", channel - 7), ""),
            14..18 => (format!("curr{}", channel - 12), ""),
            _ => (format!("power{}", channel - 17), ""),
        };
        let _ = writeln!(
            text,
            "[[sensors]]\nid = \"s{sensor}\"\nsource = \"hwmon\"\ndevice = \"d{device}\"\nchannel = \"{channel}\"\nrate_ms = 1000\nresolution = {RESOLUTION}{played}\n"
        );
    }
    for fan in 0..FANS {
        let number = fan + 1;
        // Read by thermalmgr ten times a second; who else reads it would be taken for that.
        let _ = writeln!(
            text,
            "[[sensors]]\nid = \"fan{fan}\"\nsource = \"hwmon\"\ndevice = \"fans\"\nchannel = \"fan{number}\"\nrate_ms = 3600000\n\n\
             [[fans]]\nid = \"fan{fan}\"\ndevice = \"fans\"\noutput = \"pwm{number}\"\nrpm = 10000\n"
        );
    }
    let fans: Vec<String> = (0..FANS).map(|fan| format!("\"fan{fan}\"")).collect();
    let _ = writeln!(
        text,
        "[[zones]]\nid = \"all\"\ncontrol = \"curve\"\nsensors = [\"s1\"]\nfull_at = 85\ncritical = 95\nfans = [{}]\n\n[[zones.steps]]\nfrom = 30\nduty = 40\n",
        fans.join(", ")
    );
    text
}

/// Messages of one subject.
struct Subscription {
    from: BufReader<TcpStream>,
    line: String,
    body: Vec<u8>,
}

impl Subscription {
    async fn open(bus: SocketAddr, password: &str) -> Result<Self> {
        let mut tcp = bench::bus_connect(LISTENER, bus, password).await?;
        tcp.write_all(format!("SUB {SUBJECT} 1\r\n").as_bytes()).await?;
        Ok(Self { from: BufReader::new(tcp), line: String::new(), body: Vec::new() })
    }

    /// All that come, each with the time it came at.
    fn forward(mut self) -> UnboundedReceiver<(Instant, SensorReadings)> {
        let (tell, told) = unbounded_channel();
        tokio::spawn(async move {
            while let Ok(message) = self.next().await
                && tell.send((Instant::now(), message)).is_ok()
            {}
        });
        told
    }

    /// The next readings.
    async fn next(&mut self) -> Result<SensorReadings> {
        loop {
            self.line.clear();
            ensure!(self.from.read_line(&mut self.line).await? > 0, "the bus ended the connection");
            let words: Vec<&str> = self.line.split_whitespace().collect();
            let (headers, length): (usize, usize) = match words.as_slice() {
                ["PING"] => {
                    self.from.write_all(b"PONG\r\n").await?;
                    continue;
                }
                ["MSG", .., length] => (0, length.parse()?),
                ["HMSG", .., headers, length] => (headers.parse()?, length.parse()?),
                _ => continue,
            };
            self.body.resize(length + 2, 0);
            self.from.read_exact(&mut self.body).await?;
            let message = self.body.get(headers..length).unwrap_or_default();
            return Ok(SensorReadings::decode(message)?);
        }
    }
}

async fn flood(bus: SocketAddr, password: String) -> Result<()> {
    for (piece, count) in daemon::PIECES {
        for _ in 0..*count {
            let password = password.clone();
            tokio::spawn(async move {
                loop {
                    let _ = timeout(HOLD, daemon::one(*piece, bus, &password)).await;
                    tokio::task::yield_now().await;
                }
            });
        }
    }
    while_measured().await;
    Ok(())
}

/// Not longer than the one who measures.
async fn while_measured() {
    let measuring = std::os::unix::process::parent_id();
    while std::os::unix::process::parent_id() == measuring {
        sleep(Duration::from_secs(1)).await;
    }
}

fn start(who: &str, bus: &str, password: &str, niceness: &str) -> Result<tokio::process::Child> {
    let mut command = tokio::process::Command::new("nice");
    command.args(["-n", niceness]).arg(std::env::current_exe()?).args(["as", who, bus, password]);
    Ok(command.stdin(Stdio::null()).kill_on_drop(true).spawn()?)
}

/// Where a sensor of the board is in the tree.
fn file(sys: &Path, device: &str, name: &str) -> Result<PathBuf> {
    let devices = std::fs::read_dir(sys.join("class/hwmon"))?;
    for entry in devices {
        let folder = std::fs::canonicalize(entry?.path())?;
        let path = folder.join(name);
        if folder.to_string_lossy().contains(device) && path.exists() {
            return Ok(path);
        }
    }
    anyhow::bail!("there is no {name} of {device} below {}", sys.display())
}

/// Tells when files are read, until nobody listens.
fn watch(files: &[PathBuf]) -> Result<mpsc::Receiver<(usize, Instant)>> {
    let inotify = inotify::init(inotify::CreateFlags::CLOEXEC)?;
    let mut places = HashMap::new();
    for (place, file) in files.iter().enumerate() {
        places.insert(inotify::add_watch(&inotify, file, inotify::WatchFlags::ACCESS)?, place);
    }
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        come_forward();
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(inotify, &mut buffer);
        while let Ok(event) = reader.next() {
            let at = Instant::now();
            let Some(place) = places.get(&event.wd()) else { continue };
            if tell.send((*place, at)).is_err() {
                return;
            }
        }
    });
    Ok(told)
}

/// Has this thread see what happens when it happens: one that waits behind the flood would tell its own lateness.
fn come_forward() {
    let thread = std::fs::read_link("/proc/thread-self").unwrap_or_default();
    let Some(thread) = thread.file_name() else { return };
    let mut command = std::process::Command::new("chrt");
    command.args(["--fifo", "--pid", "2"]).arg(thread).stdout(Stdio::null()).stderr(Stdio::null());
    let _ = command.status();
}

/// By how much the times between two reads of a file are not the period, ms; of all files.
fn jitter(told: &mpsc::Receiver<(usize, Instant)>, period: f64) -> Vec<f64> {
    let mut last: HashMap<usize, Instant> = HashMap::new();
    let mut samples = Vec::new();
    for (place, at) in told.try_iter() {
        match last.get(&place) {
            // An attribute may be read in two pieces; that is one sample.
            Some(before) if at.duration_since(*before).as_secs_f64() * 1e3 < period / 10.0 => continue,
            Some(before) => samples.push((at.duration_since(*before).as_secs_f64() * 1e3 - period).abs()),
            None => {}
        }
        last.insert(place, at);
    }
    samples
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its result")]
fn say(line: &str) {
    println!("{line}");
}

fn row(what: &str, samples: &mut [f64], unit: &str) {
    say(&format!(
        "{what:52} n={:6}  p50 {:8.2}  p99 {:8.2}  max {:8.2} {unit}",
        samples.len(),
        rank(samples, 50),
        rank(samples, 99),
        rank(samples, 100)
    ));
}

/// Which processor this process, and what it starts, runs on. What measures goes before what floods.
fn run_with(server: bool) {
    if bench::run_with(server) {
        bench::tell("chrt", &["--reset-on-fork", "--fifo", "--pid", "1"]);
    }
}

async fn measure(span: Duration, sensors: usize, set: Option<String>) -> Result<()> {
    let binary = std::env::var_os("UBMC").context("UBMC names the binary to measure")?;
    let dir = tempfile::tempdir()?;
    let file_of_board = dir.path().join("board.toml");
    std::fs::write(&file_of_board, board(sensors))?;
    run_with(true);
    // An outward link that finds nobody, so that there is a daemon to take over.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut builder = Suite::builder(binary)
        .board(&file_of_board)
        .set(format!("fleet.nats.url=nats://{nobody}"))
        .set("fleet.id=bmc01");
    if let Some(set) = set {
        builder = builder.set(set);
    }
    let suite = builder.start().await?;
    run_with(false);
    let on = serde_json::json!({ "action": "HOST_ACTION_ON" });
    let reply = suite.admin().post("/api/v1alpha1/hosts/system/state", &on).await?;
    ensure!(reply.status == 200, "{}", reply.text());
    let bus = suite.ready.nats.clone().context("the bus has no address")?;
    let address: SocketAddr = bus.parse()?;
    let pid = |name: &str| suite.pid_of(name).with_context(|| format!("{name} does not run"));
    let (sensormon, thermalmgr, operator) = (pid("sensormon")?, pid("thermalmgr")?, suite.ready.pid);
    let websrv = pid("websrv")?;
    let taken = bench::bus_password(daemon::TAKEN, pid(daemon::TAKEN)?, address).await?;
    let listener = bench::bus_password(LISTENER, pid(LISTENER)?, address).await?;
    let sys = suite.run_dir().join("sys");

    let mut readings = Subscription::open(address, &listener).await?.forward();
    // The picture of all of them, once all have been read.
    let numbers = timeout(Duration::from_secs(90), async {
        loop {
            let (_, message) = readings.recv().await.context("the bus ended the connection")?;
            if message.full && message.values.iter().filter(|value| value.is_finite()).count() >= sensors {
                return anyhow::Ok(message.ids);
            }
        }
    })
    .await
    .context("not all sensors are read")??;
    let probe = numbers.iter().position(|id| id == "s0").context("there is no probe")?;
    let probe = u32::try_from(probe)?;
    eventually("the fans are controlled", Duration::from_secs(60), || async {
        let pwm = file(&sys, "fan-controller", "pwm1")?;
        Ok(!std::fs::read_to_string(pwm)?.starts_with("255"))
    })
    .await?;

    let sampled: Vec<PathBuf> = (1..=BUSES)
        .map(|bus| file(&sys, &format!("/{}-0010/", bus - 1), "temp2_input"))
        .collect::<Result<_>>()?;
    let turned: Vec<PathBuf> = (1..=FANS)
        .map(|fan| file(&sys, "fan-controller", &format!("fan{fan}_input")))
        .collect::<Result<_>>()?;
    let (samples, turns) = (watch(&sampled)?, watch(&turned)?);
    let moved = std::fs::OpenOptions::new().write(true).open(file(&sys, "/0-0010/", "curr1_input")?)?;

    say(&format!("{sensors} sensors at 1 Hz on {BUSES} buses, {FANS} fans, {} s a part", span.as_secs()));
    // Quiet.
    sleep(Duration::from_secs(2)).await;
    drop((jitter(&samples, SAMPLE), jitter(&turns, FAN_LOOP)));
    let parts = [
        ("sensormon", sensormon),
        ("operator with the bus", operator),
        ("websrv, whose model follows", websrv),
        ("thermalmgr", thermalmgr),
    ];
    let before: Vec<f64> = parts.iter().map(|(_, pid)| processor(&[*pid])).collect();
    let begun = Instant::now();
    let (mut latency, news) = latencies(&mut readings, &moved, probe, span).await?;
    let took = begun.elapsed().as_secs_f64();
    let used: Vec<f64> = parts
        .iter()
        .zip(&before)
        .map(|((_, pid), before)| (processor(&[*pid]) - before) / took * 100.0)
        .collect();
    for ((name, pid), used) in parts.iter().zip(&used) {
        let pss = f64::from(u32::try_from(memory(&[*pid]))?) / 1024.0;
        say(&format!("{name:52} {used:5.2} % of a processor  PSS {pss:5.1} MiB"));
    }
    let together = used.iter().take(3).sum::<f64>();
    say(&format!("{:52} {together:5.2} %", "sensormon, bus and model reader"));
    say(&format!("{:52} {:5.0} a second", "values told as news", news as f64 / took));
    row("sample, off its second", &mut jitter(&samples, SAMPLE), "ms");
    row("change in the tree -> subscriber", &mut latency, "ms");
    row("fan loop, off its 100 ms", &mut jitter(&turns, FAN_LOOP), "ms");

    // lm-sensors over the same tree.
    match lm_sensors(&sys, span).await {
        Ok((runs, used, lines)) => say(&format!(
            "{:52} {:5.2} % of a processor, {runs} runs, {lines} values",
            "`sensors` once a second",
            used / span.as_secs_f64() * 100.0
        )),
        Err(error) => say(&format!("`sensors` of lm-sensors: not measured: {error:#}")),
    }
    drop((jitter(&samples, SAMPLE), jitter(&turns, FAN_LOOP)));

    // The bus is flooded.
    let mut flood = start(daemon::TAKEN, &bus, &taken, "10")?;
    sleep(Duration::from_secs(2)).await;
    drop((jitter(&samples, SAMPLE), jitter(&turns, FAN_LOOP)));
    sleep(span).await;
    row("flood: sample, off its second", &mut jitter(&samples, SAMPLE), "ms");
    let mut late = jitter(&turns, FAN_LOOP);
    row("flood: fan loop, off its 100 ms", &mut late, "ms");
    flood.kill().await?;
    ensure!(suite.pid_of("thermalmgr") == Some(thermalmgr), "thermalmgr ended");
    ensure!(suite.pid_of("sensormon") == Some(sensormon), "sensormon ended");
    suite.stop().await?;
    ensure!(together <= PROCESSOR_GOAL, "more of a processor than the goal of {PROCESSOR_GOAL} %");
    ensure!(
        rank(&mut late, 99) <= FAN_LOOP_GOAL,
        "the fan loop is later than the goal of {FAN_LOOP_GOAL} ms"
    );
    Ok(())
}

/// How long from a change in the tree to the message that has it, ms: a change at each moment of the second in turn. And how many values all
/// messages had meanwhile.
async fn latencies(
    readings: &mut UnboundedReceiver<(Instant, SensorReadings)>,
    moved: &std::fs::File,
    probe: u32,
    span: Duration,
) -> Result<(Vec<f64>, usize)> {
    let begun = Instant::now();
    let mut samples = Vec::new();
    let mut news = 0;
    let mut turn = 0_u32;
    while begun.elapsed() < span {
        // Not in step with who reads.
        let pause = Duration::from_millis(u64::from(turn % 10) * 97);
        let end = Instant::now() + pause;
        while let Ok(message) = timeout(end.saturating_duration_since(Instant::now()), readings.recv()).await
        {
            let (_, message) = message.context("the bus ended the connection")?;
            news += message.values.len();
        }
        turn += 1;
        let milliamperes = if turn.is_multiple_of(2) { 1_000 } else { 2_000 };
        let wanted = f64::from(milliamperes) / 1_000.0;
        let changed = Instant::now();
        moved.write_all_at(format!("{milliamperes}\n").as_bytes(), 0)?;
        let known = async {
            loop {
                let (at, message) = readings.recv().await.context("the bus ended the connection")?;
                news += message.values.len();
                let values = message.numbers.iter().zip(&message.values);
                let told = values
                    .into_iter()
                    .any(|(number, value)| *number == probe && (*value - wanted).abs() < 1e-6);
                if told {
                    return anyhow::Ok(at);
                }
            }
        };
        let at = timeout(Duration::from_secs(10), known).await.context("a change is not told")??;
        samples.push(at.saturating_duration_since(changed).as_secs_f64() * 1e3);
    }
    Ok((samples, news))
}

/// `sensors` once a second: how often it ran, seconds of a processor it took, values it printed.
async fn lm_sensors(sys: &Path, span: Duration) -> Result<(u64, f64, usize)> {
    // libsensors wants /sys to be a sysfs, and reads below these two; links lead from the first into the second.
    let script = format!(
        "mount --bind '{0}/class' /sys/class && mount --bind '{0}/devices' /sys/devices && \
         echo $(sensors 2>/dev/null | grep -c ':  ') && while read -r _; do sensors >/dev/null 2>&1; echo; done",
        sys.display()
    );
    let mut child = tokio::process::Command::new("unshare")
        .args(["--mount", "sh", "-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let pid = child.id().context("it ended")?;
    let mut ask = child.stdin.take().context("no input")?;
    let mut answers = BufReader::new(child.stdout.take().context("no output")?);
    let mut line = String::new();
    ensure!(answers.read_line(&mut line).await? > 0, "no mount namespace");
    let values: usize = line.trim().parse()?;
    ensure!(values > 0, "`sensors` finds nothing in the tree");
    let before = children(pid);
    let begun = Instant::now();
    let (mut runs, mut turn) = (0, tokio::time::interval(Duration::from_secs(1)));
    while begun.elapsed() < span {
        turn.tick().await;
        ask.write_all(b"\n").await?;
        line.clear();
        ensure!(answers.read_line(&mut line).await? > 0, "`sensors` ended");
        runs += 1;
    }
    let used = children(pid) - before;
    drop(ask);
    child.wait().await?;
    Ok((runs, used, values))
}

/// What the children of a process that have ended used of a processor, seconds.
fn children(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let Some((_, rest)) = text.rsplit_once(") ") else { return 0.0 };
    // The 14th and 15th after the name, in hundredths of a second.
    rest.split(' ').skip(13).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}
