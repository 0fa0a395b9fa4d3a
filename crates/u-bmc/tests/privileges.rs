//! What each daemon may do, as the kernel tells it: needs root to be started as.

#![allow(clippy::print_stderr, reason = "a test that is skipped says so")]

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use anyhow::Context as _;
use roster::{Daemon, I2C_GROUP, SHARED_GROUP};
use testkit::Suite;

type Result<T = ()> = anyhow::Result<T>;

const U_BMC: &str = env!("CARGO_BIN_EXE_u-bmc");
/// Longest wait for what is certain to come.
const FOLLOW: Duration = Duration::from_secs(90);

/// Every daemon that has a user of its own, but netmgr, which a test of its own gives a network.
fn daemons() -> Vec<Daemon> {
    let own = Daemon::ALL.iter().filter(|daemon| daemon.row().user.is_some() && **daemon != Daemon::Netmgr);
    own.copied().collect()
}

/// A suite in which they all run: IPMI and SSH are switched on, and a fleet's server named, where nobody listens.
fn everybody() -> testkit::Builder {
    Suite::builder(U_BMC)
        .arg("--ipmi")
        .arg("127.0.0.1:0")
        .set("sshsrv.listen=127.0.0.1:0")
        .set("fleet.nats.url=nats://127.0.0.1:1")
}

/// The process of a daemon that runs.
fn process(suite: &Suite, daemon: Daemon) -> Result<u32> {
    suite.pid_of(daemon.name()).with_context(|| format!("{} does not run", daemon.name()))
}

/// The fields of `/proc/PID/status`.
fn status(pid: u32) -> Result<BTreeMap<String, Vec<String>>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, rest)| (key.to_owned(), rest.split_whitespace().map(str::to_owned).collect()))
        .collect())
}

/// Whether the kernel has Landlock with all that is asked of it, and filters of system calls: without them the controller says so and runs on.
async fn kernel_confines(suite: &Suite) -> Result<bool> {
    let info = suite.admin().get("/api/v1alpha1/system/info").await?.json()?.to_string();
    Ok(info.contains("files and TCP ports (Landlock), system calls (seccomp)"))
}

/// Whoever runs it.
#[tokio::test]
async fn each_daemon_is_held_to_its_files_and_system_calls() -> Result {
    let suite = everybody().start().await?;
    for daemon in daemons() {
        let pid = process(&suite, daemon)?;
        let about = status(pid)?;
        assert_eq!(about["NoNewPrivs"], ["1"], "{daemon:?}");
        assert_eq!(about["Seccomp"], ["2"], "{daemon:?}");
        // No thread was left out.
        for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            let thread: u32 = thread?.file_name().to_string_lossy().parse()?;
            // One that has ended since it was listed can do nothing any more.
            let Ok(about) = status(thread) else { continue };
            assert_eq!(
                (&about["Seccomp"][..], &about["NoNewPrivs"][..]),
                (&["2".to_owned()][..], &["1".to_owned()][..])
            );
        }
    }
    if kernel_confines(&suite).await? {
        let health = suite.admin().get("/api/v1alpha1/system/health").await?.json()?.to_string();
        assert!(!health.contains("confinement"), "{health}");
    } else {
        eprintln!("SKIP: this kernel lacks Landlock, or a part of it");
        suite.wait_log("daemon confinement incomplete").await?;
    }
    suite.stop().await
}

#[tokio::test]
async fn confinement_can_be_switched_off_and_that_is_told() -> Result {
    let suite = Suite::builder(U_BMC).set("operator.confinement=false").start().await?;
    let about = status(suite.pid_of("websrv").unwrap_or_default())?;
    assert_eq!(about["Seccomp"], status(std::process::id())?["Seccomp"]);
    let info = suite.admin().get("/api/v1alpha1/system/info").await?.json()?.to_string();
    assert!(info.contains("none: switched off"), "{info}");
    suite.stop().await
}

#[tokio::test]
async fn as_root_each_daemon_has_a_user_of_its_own_and_the_rights_of_its_row() -> Result {
    if status(std::process::id())?["Uid"][1] != "0" {
        eprintln!("SKIP: the operator gives daemons their own users as root only");
        return Ok(());
    }
    let suite = everybody().start().await?;
    let mut users = BTreeSet::new();
    for daemon in daemons() {
        let (pid, row) = (process(&suite, daemon)?, daemon.row());
        let about = status(pid)?;
        let user = row.user.map(|user| user.to_string()).unwrap_or_default();
        for key in ["Uid", "Gid"] {
            assert_eq!(about[key], [user.as_str(); 4], "{daemon:?} {key}");
        }
        assert_ne!(user, "0", "{daemon:?}");
        // LEDs on lines are reached as powermgr's are; the buses' group is of those who speak to devices on I2C.
        let joined = row.joins.iter().filter_map(|daemon| daemon.row().user);
        let buses = row.i2c.then_some(I2C_GROUP);
        let groups: Vec<String> =
            std::iter::once(SHARED_GROUP).chain(joined).chain(buses).map(|group| group.to_string()).collect();
        assert_eq!(about["Groups"], groups, "{daemon:?}");
        for key in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            let held = u64::from_str_radix(&about[key][0], 16)?;
            assert_eq!(held & !row.capabilities.bits(), 0, "{daemon:?} {key}");
        }
        assert_eq!(u64::from_str_radix(&about["CapEff"][0], 16)?, row.capabilities.bits(), "{daemon:?}");
        assert_eq!(about["NoNewPrivs"], ["1"], "{daemon:?}");
        users.insert(user);
    }
    assert_eq!(users.len(), daemons().len());
    // The roster is what these follow; whom it gives more than nothing is said here once more.
    let able: Vec<_> = daemons().into_iter().filter(|daemon| !daemon.row().capabilities.is_empty()).collect();
    assert_eq!(able, [Daemon::Ipmisrv, Daemon::Sshsrv]);
    let joining: Vec<_> = daemons().into_iter().filter(|daemon| !daemon.row().joins.is_empty()).collect();
    assert_eq!(joining, [Daemon::Ledmgr]);
    // What inventorymgr writes is handed over, as it may do no more than others.
    let eeprom = std::fs::metadata(suite.run_dir().join("sys/bus/i2c/devices/4-0050/eeprom"))?;
    assert_eq!((eeprom.gid(), eeprom.mode() & 0o777), (64_011, 0o660));
    suite.stop().await
}

/// A file with a second name may be root's: it stays root's, and that is told. It is no reason to run anybody as root.
#[tokio::test]
async fn what_cannot_be_given_to_a_daemon_is_told_and_nobody_runs_as_root_for_it() -> Result {
    if status(std::process::id())?["Uid"][1] != "0" {
        eprintln!("SKIP: the operator gives daemons their own users as root only");
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    testkit::open_to_all(dir.path())?;
    let folder = dir.path().join("statemgr");
    std::fs::create_dir(&folder)?;
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "root's")?;
    std::fs::hard_link(&secret, folder.join("planted"))?;
    let suite = everybody().state_dir(dir.path()).start().await?;
    for daemon in daemons() {
        let about = status(process(&suite, daemon)?)?;
        assert_ne!(about["Uid"][0], "0", "{daemon:?}");
    }
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&secret)?), 0);
    let admin = suite.admin();
    let health = admin.get("/api/v1alpha1/system/health").await?.json()?.to_string();
    assert!(health.contains("privileges") && health.contains("planted"), "{health}");
    testkit::eventually("it is in the event log", FOLLOW, || async {
        let events = admin.get("/api/v1alpha1/events?domain=system").await?.json()?.to_string();
        Ok(events.contains("not_given"))
    })
    .await?;
    suite.stop().await
}

/// Who has lost every password puts a file there as root and restarts usermgr, or only waits for its next start.
#[tokio::test]
async fn a_recovery_password_put_there_by_root_is_used_at_a_restart_of_usermgr_alone() -> Result {
    if status(std::process::id())?["Uid"][1] != "0" {
        eprintln!("SKIP: the operator gives daemons their own users as root only");
        return Ok(());
    }
    let suite = Suite::builder(U_BMC).start().await?;
    let file = suite.state_dir().join("usermgr/recovery-password");
    std::fs::write(&file, "nine copper kettles\n")?;
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    suite.kill_daemon("usermgr")?;
    let body = serde_json::json!({ "username": "admin", "password": "nine copper kettles" });
    let stranger = suite.client(testkit::Credential::None);
    testkit::eventually("a login with it", FOLLOW, || async {
        Ok(stranger.post("/api/v1alpha1/sessions", &body).await?.status == 200)
    })
    .await?;
    assert!(!file.exists(), "it is used once");
    let admin = suite.admin().get("/api/v1alpha1/hosts").await?;
    assert_eq!(admin.status, 401, "the password before it is over at once");
    suite.stop().await
}

/// A program that runs under websrv's row, and tries what would do harm.
struct TakenOver {
    child: std::process::Child,
    dir: tempfile::TempDir,
}

impl TakenOver {
    fn start() -> Result<Self> {
        // Where all may walk: the daemons have users of their own.
        let dir = tempfile::tempdir()?;
        testkit::open_to_all(dir.path())?;
        std::fs::copy(testkit::root().join("targets/sim/board.toml"), dir.path().join("board.toml"))?;
        std::fs::write(dir.path().join("password"), "correct-horse-battery-1")?;
        std::fs::create_dir_all(dir.path().join("state/usermgr"))?;
        std::fs::write(dir.path().join("state/usermgr/secret"), "secret")?;
        let program = std::path::Path::new(U_BMC).with_file_name("examples").join("taken_over");
        let log = std::fs::File::create(dir.path().join("log"))?;
        let mut command = std::process::Command::new(program);
        command.arg("operator").arg(dir.path()).stdin(std::process::Stdio::null());
        let child = command.stdout(log.try_clone()?).stderr(log).spawn()?;
        Ok(Self { child, dir })
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).unwrap_or_default()
    }
}

impl Drop for TakenOver {
    fn drop(&mut self) {
        // Its children see the end of their stdin and follow.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_daemon_that_was_taken_over_gets_at_nothing_that_is_not_its_own() -> Result {
    let mut all = TakenOver::start()?;
    testkit::eventually("the program has tried everything", 2 * FOLLOW, || {
        let (ended, is_ready) = (all.child.try_wait(), all.dir.path().join("ready").exists());
        let log = if is_ready { String::new() } else { all.read("log") };
        async move {
            anyhow::ensure!(ended?.is_none(), "the operator ended:\n{log}");
            Ok(is_ready)
        }
    })
    .await?;
    let (health, log) = (all.read("state/websrv/health.json"), all.read("log"));
    if health.contains("the kernel has no") || health.contains("an older one") {
        eprintln!("SKIP: this kernel does not confine daemons whole");
        return Ok(());
    }
    let tried: Vec<(String, String)> = serde_json::from_str(&all.read("state/websrv/report.json"))?;
    assert!(tried.len() > 35, "{tried:?}");
    for (what, said) in &tried {
        let refused = ["PermissionDenied", "Unsupported", "-ERR 'Permissions Violation"];
        // What is handed over is there only where daemons have users of their own.
        let is_gone = what.contains("/handed/") && said.starts_with("NotFound");
        assert!(
            is_gone || refused.iter().any(|answer| said.starts_with(answer)),
            "{what}: {said}\n{tried:?}"
        );
    }
    // What nobody does who means well ended it, each time, and it is told.
    for stage in 0..4 {
        assert_eq!(all.read(&format!("state/websrv/lived-{stage}")), "", "{log}");
    }
    let told = "websrv was killed 4 times for a system call it must never make";
    assert!(health.contains(told), "{health}\n{log}");
    assert!(log.contains("it may have been taken over") && log.contains("SIGSYS"), "{log}");
    assert!(log.contains("bus client exceeded its permissions: refused") && log.contains("by=\"websrv\""));
    Ok(())
}

/// Where netmgr runs beside the others, in a network and with a host name of its own.
#[tokio::test]
async fn netmgr_cares_for_a_network_without_the_rights_of_root() -> Result {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let able = std::process::Command::new("unshare").args(["--net", "--uts", "ip", "link"]).output();
    if status(std::process::id())?["Uid"][1] != "0" || !able.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIP: networks of its own are made by root, with `unshare` and `ip`");
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    testkit::open_to_all(dir.path())?;
    let program = dir.path().join("u-bmc");
    let script = "ip link set lo up && ip link add mgmt0 type veth peer name far && ip link set far up && exec \"$0\" \"$@\"";
    std::fs::write(
        &program,
        format!("#!/bin/sh\nexec unshare --net --uts sh -c '{script}' {U_BMC} \"$@\"\n"),
    )?;
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
    let (config, names) = (dir.path().join("config.toml"), dir.path().join("names/resolv.conf"));
    let interface = "ipv4 = { address = \"192.0.2.5/24\" }\nipv6 = \"off\"\ndns = [\"192.0.2.53\"]";
    let table = format!("hostname = \"confined-1\"\nresolv_conf = {names:?}");
    std::fs::write(&config, format!("[netmgr]\n{table}\n[netmgr.interfaces.mgmt0]\n{interface}\n"))?;
    let suite = Suite::builder(program).arg("--config").arg(config.display().to_string()).start().await?;
    let pid = suite.pid_of("netmgr").unwrap_or_default();
    let about = status(pid)?;
    assert_eq!((about["Uid"][0].as_str(), about["Seccomp"][0].as_str()), ("64005", "2"));
    // Ports, interfaces, sockets of devices, the clock.
    for key in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(u64::from_str_radix(&about[key][0], 16)?, 1 << 10 | 1 << 12 | 1 << 13 | 1 << 25, "{key}");
    }
    suite.wait_log("host name set").await?;
    testkit::eventually("the address and the name server", FOLLOW, || async {
        let addresses = std::fs::read_to_string(format!("/proc/{pid}/net/fib_trie"))?;
        let servers = std::fs::read_to_string(&names).unwrap_or_default();
        Ok(addresses.contains("192.0.2.5") && servers.contains("nameserver 192.0.2.53"))
    })
    .await?;
    assert_eq!(std::fs::metadata(dir.path().join("names"))?.uid(), 64_005, "the folder was made for it");
    let complaints: Vec<_> =
        suite.log().into_iter().filter(|line| line.contains("netmgr") && line.contains("WARN")).collect();
    assert!(complaints.is_empty(), "{complaints:?}");
    suite.stop().await
}
