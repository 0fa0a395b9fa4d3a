//! A controller and its network in two namespaces of their own, joined by veth pairs, with a real DHCP server. Nothing outside them is touched.

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything takes on a busy machine.
pub(crate) const WAIT: Duration = Duration::from_secs(60);
/// Longest that a daemon takes to stop which waits for nobody: not for a server that answers a question, nor for what is sent without end.
pub(crate) const STOPS: Duration = Duration::from_secs(5);
/// Tells the test program that it is to be something else than a test.
pub(crate) const ROLE: &str = "UBMC_NETMGR_ROLE";
/// The file that role reads.
pub(crate) const ROLE_FILE: &str = "UBMC_NETMGR_ROLE_FILE";

/// The two namespaces.
pub(crate) struct Lab {
    pub(crate) bmc: String,
    pub(crate) net: String,
    pub(crate) dir: TempDir,
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in [&self.bmc, &self.net] {
            let _ = Command::new("ip").args(["netns", "del", namespace]).output();
        }
    }
}

impl Lab {
    /// Makes the namespaces. `None`, having said why, where that is not possible.
    pub(crate) fn new() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        for tool in ["ip", "dnsmasq"] {
            let found = Command::new(tool).arg("--version").output().is_ok()
                || Command::new(tool).arg("-V").output().is_ok();
            if !found {
                println!("SKIP: {tool} is not there (Debian: iproute2, dnsmasq-base)");
                return None;
            }
        }
        let tag = format!("ubmc-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let lab =
            Self { bmc: format!("{tag}-bmc"), net: format!("{tag}-net"), dir: tempfile::tempdir().unwrap() };
        for namespace in [&lab.bmc, &lab.net] {
            let made = Command::new("ip").args(["netns", "add", namespace]).output().unwrap();
            if !made.status.success() {
                let why = String::from_utf8_lossy(&made.stderr).trim().to_owned();
                println!("SKIP: no network namespaces here (needs root): {why}");
                return None;
            }
            ip(namespace, "link set lo up");
        }
        Some(lab)
    }

    /// Joins `eth` of the controller and `lan` of the network.
    pub(crate) fn cable(&self, eth: &str, lan: &str, mac: &str) {
        ip(&self.net, &format!("link add {lan} type veth peer name {eth} address {mac} netns {}", self.bmc));
        ip(&self.net, &format!("link set {lan} up"));
    }

    /// An address of the network's end.
    pub(crate) fn address(&self, lan: &str, address: &str) {
        let flags = if address.contains(':') { " nodad" } else { "" };
        ip(&self.net, &format!("addr add {address} dev {lan}{flags}"));
    }

    /// Starts a DHCP server.
    pub(crate) fn server(&self, options: &[&str]) -> Server {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let file = |what: &str| self.dir.path().join(format!("{what}-{number}"));
        let log = file("dnsmasq-log");
        let out = fs::File::create(&log).unwrap();
        let child = Command::new("ip")
            .args([
                "netns",
                "exec",
                &self.net,
                "dnsmasq",
                "--keep-in-foreground",
                "--log-facility=-",
                "--log-dhcp",
            ])
            .args(["--conf-file=/dev/null", "--port=0", "--user=root", "--group=root", "--no-ping"])
            .args(["--dhcp-authoritative", "--bind-dynamic", "--no-hosts", "--no-resolv"])
            .arg(format!("--pid-file={}", file("pid").display()))
            .arg(format!("--dhcp-leasefile={}", file("leases").display()))
            .args(options)
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap();
        Server { child, log }
    }

    /// Starts an SNTP server that says what `script` says: one word per answer, the last one for ever.
    pub(crate) fn clock(&self, script: &str) -> Process {
        let file = self.dir.path().join("clock");
        fs::write(&file, script).unwrap();
        Process::start(&self.net, "clock", &file)
    }

    /// Sends broken DHCP answers to everybody, as fast as it can.
    pub(crate) fn flood(&self) -> Process {
        let file = self.dir.path().join("flood");
        fs::write(&file, "").unwrap();
        Process::start(&self.net, "flood", &file)
    }

    /// Starts the daemon with this `[netmgr]` table.
    pub(crate) fn daemon(&self, config: &str) -> Process {
        let resolv = self.dir.path().join("resolv.conf");
        let run_dir = self.dir.path().join("run");
        fs::create_dir_all(&run_dir).unwrap();
        let file = self.dir.path().join("config.toml");
        fs::write(&file, format!("[netmgr]\nresolv_conf = {resolv:?}\n{config}")).unwrap();
        let daemon = Process::start(&self.bmc, "daemon", &file);
        daemon.wait("READY");
        daemon
    }

    pub(crate) fn resolv_conf(&self) -> String {
        fs::read_to_string(self.dir.path().join("resolv.conf")).unwrap_or_default()
    }

    /// The addresses of an interface of the controller, with their prefixes; no link-local ones.
    pub(crate) fn addresses(&self, eth: &str) -> Vec<String> {
        let found = json(&self.bmc, &format!("-j addr show dev {eth}"));
        let infos = found[0]["addr_info"].as_array().cloned().unwrap_or_default();
        infos
            .iter()
            .filter(|info| info["scope"] == "global" && info["tentative"] != true)
            .map(|info| format!("{}/{}", info["local"].as_str().unwrap(), info["prefixlen"]))
            .collect()
    }

    /// `GATEWAY dev ETH metric N` of each default route of the controller.
    pub(crate) fn default_routes(&self, family: &str) -> Vec<String> {
        let found = json(&self.bmc, &format!("{family} -j route show default"));
        let routes = found.as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        routes
            .iter()
            .map(|r| format!("{} dev {} metric {}", text(&r["gateway"]), text(&r["dev"]), r["metric"]))
            .collect()
    }

    /// Waits until `holds`.
    pub(crate) fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let start = Instant::now();
        while !holds() {
            if start.elapsed() > WAIT {
                let state = Command::new("ip").args(["-n", &self.bmc, "addr"]).output().unwrap();
                panic!("never: {what}\n{}", String::from_utf8_lossy(&state.stdout));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Writes down every change of an address of the controller from now on.
    pub(crate) fn watch(&self) -> Process {
        let child = Command::new("ip")
            .args(["-n", &self.bmc, "-o", "monitor", "address", "route"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Process::of(child)
    }
}

/// A DHCP server; ends when dropped.
pub(crate) struct Server {
    child: Child,
    log: std::path::PathBuf,
}

impl Server {
    pub(crate) fn count(&self, word: &str) -> usize {
        fs::read_to_string(&self.log).unwrap_or_default().matches(word).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("{}", fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}

/// A process whose lines are read.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
    heard: RefCell<Vec<String>>,
}

impl Process {
    /// This program in another role, in a namespace.
    fn start(namespace: &str, role: &str, file: &Path) -> Self {
        let child = Command::new("ip")
            .args(["netns", "exec", namespace])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "another_role_when_asked_for", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .env(ROLE_FILE, file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self::of(child)
    }

    fn of(mut child: Child) -> Self {
        let out = child.stdout.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                println!("  {line}");
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines, heard: RefCell::default() }
    }

    /// Waits for a line with `text` in it, now or since the last [`Process::forget`], and returns it.
    pub(crate) fn wait(&self, text: &str) -> String {
        let mut heard = self.heard.borrow_mut();
        if let Some(line) = heard.iter().find(|line| line.contains(text)) {
            return line.clone();
        }
        let start = Instant::now();
        while let Some(left) = WAIT.checked_sub(start.elapsed()) {
            let Ok(line) = self.lines.recv_timeout(left) else { break };
            heard.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
        panic!("never said: {text}");
    }

    /// Only what it says from now on counts. Returns what it said before.
    pub(crate) fn forget(&self) -> Vec<String> {
        let mut heard = self.heard.borrow_mut();
        heard.extend(self.lines.try_iter());
        std::mem::take(&mut heard)
    }

    /// Has it do something, as its role knows it.
    pub(crate) fn say(&self, line: &str) {
        let mut to = self.child.stdin.as_ref().unwrap();
        writeln!(to, "{line}").unwrap();
    }

    /// Orders it to stop and says how long that took.
    pub(crate) fn stop(mut self) -> Duration {
        let start = Instant::now();
        drop(self.child.stdin.take());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
        start.elapsed()
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `ip` in a namespace.
pub(crate) fn ip(namespace: &str, args: &str) -> String {
    let out = Command::new("ip").args(["-n", namespace]).args(args.split(' ')).output().unwrap();
    assert!(out.status.success(), "ip -n {namespace} {args}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

fn json(namespace: &str, args: &str) -> Value {
    serde_json::from_str(&ip(namespace, args)).unwrap_or_default()
}
