//! Serial over LAN with clients that we did not write, also over a network that loses a tenth of all datagrams.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UdpSocket;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinSet;

use super::*;

/// How long what is awaited may take, with a tenth of all datagrams lost.
const SAID: Duration = Duration::from_secs(120);
const PROMPT: &str = "ann@twin:~$ ";

/// A program that shows a console.
struct Terminal {
    child: Child,
    to: ChildStdin,
    from: ChildStdout,
    /// What it said and nobody has taken.
    heard: String,
}

impl Terminal {
    fn start(program: &str, args: &[&str]) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.kill_on_drop(true).spawn()?;
        let (to, from) = (child.stdin.take().context("no input")?, child.stdout.take().context("no output")?);
        Ok(Self { child, to, from, heard: String::new() })
    }

    async fn types(&mut self, text: &str) -> Result {
        self.to.write_all(text.as_bytes()).await?;
        Ok(self.to.flush().await?)
    }

    /// What it says up to this text, and with it.
    async fn says(&mut self, text: &str) -> Result<String> {
        let wait = async {
            let mut buffer = [0; 4096];
            loop {
                if let Some(at) = self.heard.find(text) {
                    let rest = self.heard.split_off(at + text.len());
                    return Ok(std::mem::replace(&mut self.heard, rest));
                }
                let count = self.from.read(&mut buffer).await?;
                anyhow::ensure!(count > 0, "it ended and never said {text:?}, but {:?}", self.heard);
                self.heard.push_str(&String::from_utf8_lossy(buffer.get(..count).unwrap_or_default()));
            }
        };
        let found = tokio::time::timeout(SAID, wait).await;
        let tail =
            || self.heard.chars().rev().take(300).collect::<Vec<_>>().into_iter().rev().collect::<String>();
        match found {
            Ok(found) => found,
            Err(_) => anyhow::bail!("never said {text:?}, last: {:?}", tail()),
        }
    }

    /// From the login to the prompt.
    async fn log_in(&mut self) -> Result {
        self.types("\r").await?;
        for (wanted, typed) in [("twin login: ", "ann\r"), ("Password: ", "secret\r")] {
            self.says(wanted).await?;
            self.types(typed).await?;
        }
        self.says(PROMPT).await.map(drop)
    }

    /// Waits for its end.
    async fn ends(mut self) -> Result<bool> {
        Ok(tokio::time::timeout(FOLLOW, self.child.wait()).await??.success())
    }
}

/// Passes datagrams on; when it is to, it loses a tenth of all. None overtakes another: FreeIPMI knows the last number it took alone, so a copy of an
/// older one that came behind would be shown again, whatever a server does. What it draws is the same in each run as far as the order is the same.
struct Relay {
    seen: Arc<Seen>,
    _task: JoinSet<()>,
}

/// What became of datagrams.
#[derive(Default)]
struct Seen {
    is_bad: AtomicBool,
    drawn: AtomicU64,
    lost: AtomicUsize,
}

/// One direction of the relay to one client.
struct Direction {
    seen: Arc<Seen>,
}

impl Direction {
    /// Passes a datagram on to there; not to any address where the socket has one.
    async fn pass(&self, socket: &UdpSocket, to: Option<SocketAddr>, datagram: &[u8]) {
        let next = |mut x: u64| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x
        };
        let drawn = self.seen.drawn.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |x| Some(next(x)));
        let (drawn, is_bad) = (drawn.unwrap_or(0), self.seen.is_bad.load(Ordering::SeqCst));
        if is_bad && drawn.is_multiple_of(10) {
            self.seen.lost.fetch_add(1, Ordering::SeqCst);
            return;
        }
        let _ = match to {
            Some(to) => socket.send_to(datagram, to).await,
            None => socket.send(datagram).await,
        };
    }
}

impl Relay {
    /// At another address and the same port, which clients compare with what they are told.
    async fn start(port: u16) -> Result<Self> {
        let front = Arc::new(UdpSocket::bind(("127.0.0.2", port)).await?);
        let seen = Arc::new(Seen { drawn: AtomicU64::new(0x2545_f491_4f6c_dd1d), ..Seen::default() });
        let direction = {
            let seen = Arc::clone(&seen);
            move || Direction { seen: Arc::clone(&seen) }
        };
        let mut task = JoinSet::new();
        task.spawn(async move {
            let (mut backs, mut ways) = (HashMap::<SocketAddr, _>::new(), JoinSet::new());
            let mut buffer = [0; 2048];
            while let Ok((length, from)) = front.recv_from(&mut buffer).await {
                if let Entry::Vacant(place) = backs.entry(from) {
                    let Ok(back) = UdpSocket::bind("127.0.0.1:0").await else { return };
                    if back.connect(("127.0.0.1", port)).await.is_err() {
                        return;
                    }
                    let back = Arc::new(back);
                    let (front, there, answers) = (Arc::clone(&front), direction(), Arc::clone(&back));
                    ways.spawn(async move {
                        let mut buffer = [0; 2048];
                        while let Ok(length) = answers.recv(&mut buffer).await {
                            there.pass(&front, Some(from), buffer.get(..length).unwrap_or_default()).await;
                        }
                    });
                    place.insert((back, direction()));
                }
                if let Some((back, here)) = backs.get(&from) {
                    here.pass(back, None, buffer.get(..length).unwrap_or_default()).await;
                }
            }
        });
        Ok(Self { seen, _task: task })
    }
}

/// A client's network of its own, behind a pair of interfaces at which the kernel's netem loses and delays.
struct Netem {
    namespace: String,
    near: String,
    /// The controller's address there, and the client's: each process has a network of its own (RFC 2544).
    here: Ipv4Addr,
    there: Ipv4Addr,
}

impl Netem {
    fn does(words: &[&str]) -> bool {
        let done = std::process::Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output();
        done.is_ok_and(|done| done.status.success())
    }

    /// `None` where it takes another user, `ip`, `tc` or another kernel.
    fn make() -> Option<Self> {
        Self::clear();
        let process = std::process::id();
        let first = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + process % (1 << 14) * 4;
        let netem = Self {
            namespace: format!("ubmc-sol-{process}"),
            near: format!("sol{process}"),
            here: Ipv4Addr::from(first + 1),
            there: Ipv4Addr::from(first + 2),
        };
        let Self { namespace, near, here, there } = &netem;
        let ip = |words: &str| Self::does(&[&["ip"][..], &words.split(' ').collect::<Vec<_>>()].concat());
        let is_made = ip(&format!("netns add {namespace}"))
            && ip(&format!("link add {near} type veth peer name far netns {namespace}"))
            && ip(&format!("address add {here}/30 dev {near}"))
            && ip(&format!("link set {near} up"))
            && ip(&format!("-n {namespace} address add {there}/30 dev far"))
            && ip(&format!("-n {namespace} link set far up"))
            && netem.set(true);
        (is_made && netem.set(false)).then_some(netem)
    }

    /// Removes what tests have left that were killed.
    fn clear() {
        let Ok(found) = std::fs::read_dir("/run/netns") else { return };
        for entry in found.flatten() {
            let namespace = entry.file_name().to_string_lossy().into_owned();
            let Some(process) = namespace.strip_prefix("ubmc-sol-") else { continue };
            if process.parse::<u32>().is_ok() && !std::path::Path::new("/proc").join(process).exists() {
                Self::remove(&namespace, &format!("sol{process}"));
            }
        }
    }

    fn remove(namespace: &str, near: &str) {
        Self::does(&["ip", "link", "del", near]);
        Self::does(&["ip", "netns", "del", namespace]);
    }

    /// Switches it on in both directions, or off.
    fn set(&self, is_bad: bool) -> bool {
        let how = "root netem limit 1000 delay 8ms loss 10%";
        let how: Vec<&str> = if is_bad { how.split(' ').collect() } else { vec!["root"] };
        let what = if is_bad { "replace" } else { "del" };
        let near = [&["tc", "qdisc", what, "dev", &self.near][..], &how].concat();
        let far = [&["tc", "-n", &self.namespace, "qdisc", what, "dev", "far"][..], &how].concat();
        Self::does(&near) && Self::does(&far)
    }

    /// How many it has lost since it was switched on.
    fn lost(&self) -> usize {
        let shown = |words: &[&str]| {
            let shown = std::process::Command::new("tc").args(words).output();
            let shown =
                shown.map(|shown| String::from_utf8_lossy(&shown.stdout).into_owned()).unwrap_or_default();
            let dropped = shown.split_once("(dropped ").and_then(|(_, rest)| rest.split_once(','));
            dropped.and_then(|(count, _)| count.parse::<usize>().ok()).unwrap_or(0)
        };
        shown(&["-s", "qdisc", "show", "dev", &self.near])
            + shown(&["-s", "-n", &self.namespace, "qdisc", "show", "dev", "far"])
    }
}

impl Drop for Netem {
    /// Its interfaces go with it.
    fn drop(&mut self) {
        Self::remove(&self.namespace, &self.near);
    }
}

/// A network that is bad when it is to be: the kernel's, where it can be, or a relay that is the same.
enum Network {
    Netem(Netem),
    Relay(Relay),
}

impl Network {
    /// The address of the controller there.
    fn host(&self) -> String {
        match self {
            Self::Netem(netem) => netem.here.to_string(),
            Self::Relay(_) => "127.0.0.2".to_owned(),
        }
    }

    /// A program that shows a console, at its other end.
    fn terminal(&self, program: &str, args: &[&str]) -> Result<Terminal> {
        match self {
            Self::Netem(netem) => {
                Terminal::start("ip", &[&["netns", "exec", &netem.namespace, program][..], args].concat())
            }
            Self::Relay(_) => Terminal::start(program, args),
        }
    }

    fn set(&self, is_bad: bool) -> Result {
        match self {
            Self::Netem(netem) => anyhow::ensure!(netem.set(is_bad), "tc fails"),
            Self::Relay(relay) => relay.seen.is_bad.store(is_bad, Ordering::SeqCst),
        }
        Ok(())
    }

    /// Whether it was bad, since it was told to be.
    fn was_bad(&self) -> Result {
        let lost = match self {
            Self::Netem(netem) => netem.lost(),
            Self::Relay(relay) => relay.seen.lost.swap(0, Ordering::SeqCst),
        };
        anyhow::ensure!(lost > 5, "only {lost} datagrams were lost");
        Ok(())
    }
}

impl Bmc {
    /// A console by ipmitool.
    fn ipmitool_sol(&self, host: &str, login: Login<'_>) -> Result<Terminal> {
        self.ipmitool_sol_by(Terminal::start, host, login)
    }

    /// The same, started by something else.
    fn ipmitool_sol_by(
        &self,
        start: impl Fn(&str, &[&str]) -> Result<Terminal>,
        host: &str,
        (user, level, password): Login<'_>,
    ) -> Result<Terminal> {
        let port = self.port.to_string();
        let args =
            ["-I", "lanplus", "-H", host, "-p", &port, "-C", "17", "-U", user, "-P", password, "-L", level];
        start("ipmitool", &[&args[..], &["sol", "activate"]].concat())
    }

    /// A console by FreeIPMI, which wants a terminal.
    fn ipmiconsole(&self, network: &Network) -> Result<Terminal> {
        let (host, port) = (network.host(), self.port);
        let command = format!("ipmiconsole -h {host}:{port} -u boss -p {PASSWORD} -l ADMIN -I 17");
        network.terminal("script", &["-qefc", &command, "/dev/null"])
    }

    /// Waits until the console is active, or is not.
    async fn is_active(&self, wanted: bool) -> Result {
        let shown = if wanted { "01 01 00" } else { "01 00 00" };
        self.shows(&["raw", "0x06", "0x4a", "0x01"], shown).await
    }

    async fn on(&self) -> Result {
        self.tool(&["chassis", "power", "on"]).await?;
        eventually("host is on", FOLLOW, || async { Ok(self.host().await? == "HOST_STATUS_ON") }).await
    }

    /// The kinds of what sessions of consoles did.
    async fn sessions(&self) -> Result<Vec<String>> {
        let path = "/api/v1alpha1/events?domain=console&page_size=100";
        let said = self.suite.admin().get(path).await?.json()?;
        let events = said["events"].as_array().into_iter().flatten();
        let kind =
            |event: &serde_json::Value| event["consoleSessionChange"]["kind"].as_str().map(str::to_owned);
        Ok(events.filter_map(kind).collect())
    }
}

#[tokio::test]
async fn one_session_has_the_console_and_its_settings_stay() -> Result {
    let Some(bmc) = Bmc::with("ipmitool", &[]).await? else { return Ok(()) };
    // Before the host is on: what it prints from the first byte on is shown.
    let mut sol = bmc.ipmitool_sol("127.0.0.1", BOSS)?;
    bmc.is_active(true).await?;
    bmc.on().await?;
    sol.says("SOL Session operational").await?;
    sol.says("Twin BIOS").await?;
    sol.log_in().await?;
    sol.types("echo one two\r").await?;
    let said = sol.says(PROMPT).await?;
    anyhow::ensure!(said == format!("echo one two\r\none two\r\n{PROMPT}"), "{said:?}");
    let said = bmc.refused(BOSS, &["sol", "activate"]).await?;
    anyhow::ensure!(said.contains("SOL payload already active on another session"), "{said}");
    bmc.refused(GUEST, &["sol", "activate"]).await?;
    sol.types("\r~B").await?;
    eventually("a break is told", FOLLOW, || async {
        Ok(bmc.sessions().await?.iter().any(|kind| kind.ends_with("BREAK")))
    })
    .await?;
    let info = bmc.tool(&["sol", "info", "1"]).await?;
    let shows = |info: &str, name: &str, value: &str| {
        let line = info.lines().find(|line| line.starts_with(name));
        let found = line.and_then(|line| line.split_once(':')).map(|(_, found)| found.trim().to_owned());
        anyhow::ensure!(found.as_deref() == Some(value), "{name} is not {value}: {info}");
        Ok(())
    };
    shows(&info, "Enabled", "true")?;
    shows(&info, "Privilege Level", "OPERATOR")?;
    shows(&info, "Retry Count", "7")?;
    shows(&info, "Volatile Bit Rate (kbps)", "115.2")?;
    shows(&info, "Payload Port", &bmc.port.to_string())?;
    bmc.tool(&["sol", "set", "retry-count", "5", "1"]).await?;
    bmc.tool(&["sol", "set", "character-send-threshold", "40", "1"]).await?;
    let number = account(&bmc.suite.admin(), "worker").await?["ipmiUser"].to_string();
    bmc.tool(&["sol", "payload", "disable", "1", &number]).await?;
    let said = bmc.tool(&["sol", "payload", "status", "1", &number]).await?;
    anyhow::ensure!(said.contains("disabled"), "{said}");
    // Another ends it, and its client is told.
    bmc.tool(&["sol", "deactivate"]).await?;
    bmc.is_active(false).await?;
    drop(sol);
    bmc.refused(WORKER, &["sol", "activate"]).await?;
    bmc.restart().await?;
    bmc.shows(&["sol", "info", "1"], "Retry Count                     : 5").await?;
    bmc.refused(WORKER, &["sol", "activate"]).await?;
    bmc.tool(&["sol", "payload", "enable", "1", &number]).await?;
    let mut sol = bmc.ipmitool_sol("127.0.0.1", WORKER)?;
    sol.types("\r").await?;
    sol.says(PROMPT).await?;
    sol.types("\r~.").await?;
    anyhow::ensure!(sol.ends().await?, "ipmitool ends badly");
    bmc.is_active(false).await?;
    bmc.tool(&["sol", "set", "enabled", "false", "1"]).await?;
    let said = bmc.refused(BOSS, &["sol", "activate"]).await?;
    anyhow::ensure!(said.contains("SOL payload disabled"), "{said}");
    bmc.suite.stop().await
}

#[tokio::test]
async fn the_console_is_open_to_accounts_that_consoles_are_for_alone() -> Result {
    let Some(bmc) = Bmc::with("ipmitool", &[]).await? else { return Ok(()) };
    let give = async |types: &[&str]| {
        let body = json!({ "user": { "accountTypes": types } }).to_string();
        let headers = [("content-type", "application/json")];
        let path = "/api/v1alpha1/users/worker";
        let reply = bmc.suite.admin().send(Method::PATCH, path, &headers, body.into()).await?;
        anyhow::ensure!(reply.status == 200, "{types:?}: {}", reply.text());
        Ok::<(), anyhow::Error>(())
    };
    // IPMI is open to it, and the console is not.
    give(&["ACCOUNT_TYPE_IPMI", "ACCOUNT_TYPE_REDFISH", "ACCOUNT_TYPE_KVMIP"]).await?;
    let (fine, said) = bmc.ipmitool(17, WORKER, &["mc", "info"]).await?;
    anyhow::ensure!(fine, "{said}");
    bmc.refused(WORKER, &["sol", "activate"]).await?;
    bmc.is_active(false).await?;
    let sessions = bmc.sessions().await?;
    anyhow::ensure!(sessions.is_empty(), "{sessions:?}");

    give(&["ACCOUNT_TYPE_IPMI", "ACCOUNT_TYPE_HOST_CONSOLE"]).await?;
    // What it prints it shows only when the machine prints as well, which is off.
    let sol = bmc.ipmitool_sol("127.0.0.1", WORKER)?;
    bmc.is_active(true).await?;
    // What is open ends with the type.
    give(&["ACCOUNT_TYPE_IPMI"]).await?;
    bmc.is_active(false).await?;
    drop(sol);
    bmc.refused(WORKER, &["sol", "activate"]).await?;
    bmc.suite.stop().await
}

#[tokio::test]
async fn every_byte_comes_once_and_in_order_over_a_network_that_loses_a_tenth() -> Result {
    if !has("ipmiconsole") {
        skip("ipmiconsole");
        return Ok(());
    }
    anyhow::ensure!(has("script") && has("ipmitool"), "ipmiconsole is there; script or ipmitool is not");
    let netem = Netem::make();
    let bmc = Bmc::start_at(
        &netem.as_ref().map_or_else(|| "127.0.0.1".to_owned(), |netem| netem.here.to_string()),
        &[],
    )
    .await?;
    let network = match netem {
        Some(netem) => Network::Netem(netem),
        None => Network::Relay(Relay::start(bmc.port).await?),
    };
    let body = json!({ "action": "HOST_ACTION_ON" });
    let reply = bmc.suite.admin().post("/api/v1alpha1/hosts/system/state", &body).await?;
    anyhow::ensure!(reply.status == 200, "{}", reply.text());
    eventually("host is on", FOLLOW, || async { Ok(bmc.host().await? == "HOST_STATUS_ON") }).await?;
    let lines = |last: u32| (1..=last).map(|number| format!("line {number}\r\n")).collect::<String>();
    // FreeIPMI sends what is not acknowledged again with the same number: both directions are held to it.
    let mut console = bmc.ipmiconsole(&network)?;
    console.says("[SOL established]").await?;
    console.log_in().await?;
    network.set(true)?;
    console.types("count 2000\r").await?;
    let said = console.says(PROMPT).await?;
    anyhow::ensure!(said == format!("count 2000\r\n{}{PROMPT}", lines(2000)), "{said}");
    let text = |number: u32| format!("{number} of many that are typed at once and each of which is to come");
    let typed: String = (0..30).map(|number| format!("echo {}\r", text(number))).collect();
    console.types(&typed).await?;
    for number in 0..30 {
        let said = console.says(PROMPT).await?;
        let text = text(number);
        anyhow::ensure!(said == format!("echo {text}\r\n{text}\r\n{PROMPT}"), "{said:?}");
    }
    network.was_bad()?;
    network.set(false)?;
    // Another takes it: FreeIPMI ends whoever has it.
    let mut thief = bmc.ipmiconsole(&network)?;
    thief.says("[SOL established]").await?;
    console.says("SOL session stolen").await?;
    console.ends().await?;
    thief.types("&.").await?;
    thief.ends().await?;
    // ipmitool gives what it sends again another number, and so may type it twice: it is held to what it shows.
    let start = |program: &str, args: &[&str]| network.terminal(program, args);
    let mut sol = bmc.ipmitool_sol_by(start, &network.host(), BOSS)?;
    sol.types("\r").await?;
    sol.says(PROMPT).await?;
    sol.types("count 4000\r").await?;
    sol.says("line 1\r\n").await?;
    network.set(true)?;
    let said = sol.says(PROMPT).await?;
    let expected = lines(4000);
    anyhow::ensure!(format!("line 1\r\n{said}") == format!("{expected}{PROMPT}"), "{said}");
    network.was_bad()?;
    bmc.suite.stop().await
}

#[tokio::test]
async fn pyghmi_has_a_console() -> Result {
    let Some(python) = testkit::python("UBMC_TEST_PYTHON", Some("python3"), "pyghmi") else {
        skip("Python with pyghmi (cargo xtask test ipmi installs one)");
        return Ok(());
    };
    let bmc = Bmc::start(&[]).await?;
    let body = json!({ "action": "HOST_ACTION_ON" });
    let reply = bmc.suite.admin().post("/api/v1alpha1/hosts/system/state", &body).await?;
    anyhow::ensure!(reply.status == 200, "{}", reply.text());
    eventually("host is on", FOLLOW, || async { Ok(bmc.host().await? == "HOST_STATUS_ON") }).await?;
    let file = bmc.suite.scratch().join("password");
    std::fs::write(&file, PASSWORD)?;
    let script = testkit::root().join("tests/clients/ipmi_pyghmi_sol.py").display().to_string();
    let (port, file) = (bmc.port.to_string(), file.display().to_string());
    let args = [&script, "127.0.0.1", &port, "--user", "boss", "--password-file", &file];
    let (fine, said) = bmc.run(&python, &args).await?;
    anyhow::ensure!(fine, "{said}");
    anyhow::ensure!(said.contains("echo three\r\nthree\r\n") || said.contains("three\\r\\nthree"), "{said}");
    eventually("a break is told", FOLLOW, || async {
        Ok(bmc.sessions().await?.iter().any(|kind| kind.ends_with("BREAK")))
    })
    .await?;
    bmc.suite.stop().await
}
