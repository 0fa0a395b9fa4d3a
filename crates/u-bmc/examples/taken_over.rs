//! A controller whose websrv has been taken over: what a test of privileges runs.
//!
//! `taken_over operator DIR` runs the daemons of the program beside it, all but websrv: under websrv's user, credential, files and filter runs what tries
//! everything that would do harm. What came of it is in its state folder, `report.json`; what ends the process is tried one at a time, start by start.

use std::ffi::OsStr;
use std::io::{self, BufRead as _, BufReader, IoSliceMut, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use ipc::{CallContext, ConnectConfig};
use nix::sys::ptrace;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid as NixPid;
use operator::{Listen, Options};
use rustix::mount::{MountFlags, mount};
use rustix::net::{AddressFamily, SocketType, socket};
use rustix::process::{Pid, Signal, getppid, kill_process, test_kill_process};
use schema::rpc::system_service::{GET_HEALTH, LIST_DAEMONS};
use schema::v1alpha1 as pb;
use serde_json::{Value, json};
use service::{BusAddress, Exit, Failure, LocalContext, LogConfig, Settings};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["operator", dir] => operate(Path::new(dir)),
        ["websrv"] => service::run_local("websrv", None, taken_over),
        [daemon] => {
            let error = Command::new(beside()).arg(daemon).exec();
            let _ = writeln!(io::stderr(), "{}: {error}", beside().display());
            ExitCode::FAILURE
        }
        _ => ExitCode::FAILURE,
    }
}

/// The program with the real daemons.
fn beside() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.parent().and_then(Path::parent).unwrap_or(Path::new("")).join("u-bmc")
}

fn operate(dir: &Path) -> ExitCode {
    let log = LogConfig::default();
    service::init_logs(&log);
    let mut settings = Settings::default();
    let state_dir = dir.join("state");
    if settings.set(&format!("websrv.root={}", dir.display())).is_err() {
        return Exit::Config.into();
    }
    let configuration =
        operator::Configuration { image_settings: settings.clone(), settings, ..Default::default() };
    let options = Options {
        daemons: operator::daemon_specs(
            operator::BoardKind { hal: board::HalKind::Sim, fans: false, media: false, screens: false },
            &["ipmisrv"],
            |_| false,
        ),
        program: std::env::current_exe().unwrap_or_default(),
        version: "test".to_owned(),
        board: board::Board::load(&dir.join("board.toml"), &[]).map_err(|error| error.to_string()),
        board_file: dir.join("board.toml"),
        run_dir: dir.join("run"),
        state_dir,
        https: Listen::Off,
        http: Listen::Off,
        ipmi: Listen::Off,
        admin_password_file: Some(dir.join("password")),
        ready_file: Some(dir.join("ready")),
        configuration: configuration.clone(),
        reread: operator::Reread::new(move || Ok(configuration.clone())),
        log,
    };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return Exit::Retry.into();
    };
    match runtime.block_on(operator::run(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "operator: {}", service::ErrorChain(&error));
            error.exit().into()
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unexpected(String);

impl Failure for Unexpected {
    fn exit(&self) -> Exit {
        Exit::Retry
    }
}

impl From<io::Error> for Unexpected {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

async fn taken_over(local: LocalContext, bus: Option<BusAddress>) -> Result<(), Unexpected> {
    let bus = bus.ok_or_else(|| Unexpected("no bus".to_owned()))?;
    let config =
        ConnectConfig::new(&bus.url, "websrv").with_credentials(bus.user.clone(), bus.password.clone());
    let client = ipc::Client::connect(&config).await.map_err(|error| Unexpected(error.to_string()))?;
    let context = CallContext::default();
    let failed = |status: ipc::Status| Unexpected(status.to_string());
    let list =
        client.call(LIST_DAEMONS, &pb::ListDaemonsRequest::default(), &context).await.map_err(failed)?;
    let usermgr = list.daemons.iter().find(|daemon| daemon.name == "usermgr").map_or(0, |daemon| daemon.pid);
    let usermgr = i32::try_from(usermgr).unwrap_or_default();

    let stage_file = local.state_dir.join("stage");
    let stage: u32 =
        std::fs::read_to_string(&stage_file).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    if stage == 0 {
        let root = local.settings.get("root").and_then(Value::as_str).unwrap_or_default();
        let mut tried = here(Path::new(root), &local.run_dir, usermgr);
        tried.extend(on_the_bus(&bus)?);
        std::fs::write(local.state_dir.join("report.json"), json!(tried).to_string())?;
    }
    // Before it is tried, as nothing is written afterwards.
    std::fs::write(&stage_file, (stage + 1).to_string())?;
    let outcome = match stage {
        0 => Command::new("/bin/sh").args(["-c", "true"]).exec(),
        1 => ptrace::attach(NixPid::from_raw(usermgr)).err().map_or(done(), io::Error::from),
        2 => {
            let mut bytes = [0; 8];
            let from = [RemoteIoVec { base: 4096, len: bytes.len() }];
            let read = process_vm_readv(NixPid::from_raw(usermgr), &mut [IoSliceMut::new(&mut bytes)], &from);
            read.err().map_or(done(), io::Error::from)
        }
        3 => mount("none", root_of(&local), "tmpfs", MountFlags::empty(), None)
            .err()
            .map_or(done(), io::Error::from),
        _ => {
            let health =
                client.call(GET_HEALTH, &pb::GetHealthRequest::default(), &context).await.map_err(failed)?;
            let told = health.health.unwrap_or_default().details.into_iter();
            let told: Vec<_> = told.map(|detail| json!([detail.component, detail.message])).collect();
            std::fs::write(local.state_dir.join("health.json"), json!(told).to_string())?;
            local.ready();
            local.shutdown.clone().wait().await;
            return Ok(());
        }
    };
    // It lived on.
    std::fs::write(local.state_dir.join(format!("lived-{stage}")), outcome.to_string())?;
    Ok(())
}

fn root_of(local: &LocalContext) -> &OsStr {
    local.state_dir.as_os_str()
}

fn done() -> io::Error {
    io::Error::other("done")
}

/// What is tried on this machine: what it was, and what was said to it (`done`, or the error).
fn here(root: &Path, run_dir: &Path, usermgr: i32) -> Vec<Value> {
    let operator = getppid();
    let user = Pid::from_raw(usermgr);
    let process = |pid: Option<Pid>| pid.ok_or_else(|| io::Error::other("no such process"));
    let other = TcpListener::bind("127.0.0.1:0");
    let mut tried = Vec::new();
    let mut attempt = |what: &str, result: io::Result<()>| {
        let said = match result {
            Ok(()) => "done".to_owned(),
            Err(error) => format!("{:?}: {error}", error.kind()),
        };
        tried.push(json!([what, said]));
    };
    let state = root.join("state");
    for folder in [state.join("usermgr"), state.join("bus"), state.clone(), root.to_owned(), "/proc".into()] {
        attempt(&format!("list {}", folder.display()), std::fs::read_dir(&folder).map(drop));
    }
    let handed = run_dir.join("handed/usermgr.admin_password_file");
    let secrets = [
        root.join("password"),
        handed,
        state.join("system-id"),
        state.join("usermgr/secret"),
        "/etc/passwd".into(),
        format!("/proc/{usermgr}/environ").into(),
        format!("/proc/{usermgr}/mem").into(),
        format!("/proc/{}/environ", operator.map_or(1, |pid| pid.as_raw_nonzero().get())).into(),
    ];
    for file in secrets {
        attempt(&format!("read {}", file.display()), std::fs::read(&file).map(drop));
    }
    for file in [state.join("usermgr/planted"), root.join("run/usermgr/planted"), "/tmp/planted".into()] {
        attempt(&format!("write {}", file.display()), std::fs::write(&file, "x"));
    }
    for (what, pid) in [("usermgr", user), ("the operator", operator)] {
        attempt(
            &format!("find {what} by a signal"),
            process(pid).and_then(|pid| Ok(test_kill_process(pid)?)),
        );
        attempt(&format!("end {what}"), process(pid).and_then(|pid| Ok(kill_process(pid, Signal::KILL)?)));
    }
    for (what, family, kind) in [
        ("packets", AddressFamily::PACKET, SocketType::RAW),
        ("raw IP", AddressFamily::INET, SocketType::RAW),
        ("netlink", AddressFamily::NETLINK, SocketType::RAW),
        ("the kernel's crypto", AddressFamily::from_raw(38), SocketType::SEQPACKET),
    ] {
        attempt(&format!("a socket for {what}"), socket(family, kind, None).map(drop).map_err(Into::into));
    }
    attempt("a port of its own", other.map(drop));
    attempt("a connection to SSH", TcpStream::connect("127.0.0.1:22").map(drop));
    attempt("a new process", Command::new("/bin/true").status().map(drop));
    attempt("another host name", rustix::system::sethostname(b"taken").map_err(Into::into));
    attempt(
        "the clock",
        rustix::time::clock_settime(
            rustix::time::ClockId::Realtime,
            rustix::time::clock_gettime(rustix::time::ClockId::Realtime),
        )
        .map_err(Into::into),
    );
    attempt("a link to a secret", std::os::unix::fs::symlink("/etc/passwd", run_dir.join("link")));
    tried
}

/// What is tried on the bus with websrv's credential.
fn on_the_bus(bus: &BusAddress) -> io::Result<Vec<Value>> {
    let stream = TcpStream::connect(bus.url.trim_start_matches("nats://"))?;
    let (mut out, mut lines) = (stream.try_clone()?, BufReader::new(stream).lines());
    let greeting = json!({ "verbose": false, "pedantic": false, "user": bus.user, "pass": bus.password });
    write!(out, "CONNECT {greeting}\r\n")?;
    let mut ask = |command: &str| -> io::Result<String> {
        write!(out, "{command}PING\r\n")?;
        let mut said = "done".to_owned();
        for line in lines.by_ref() {
            let line = line?;
            match line.as_str() {
                "PONG" => break,
                _ if line.starts_with("-ERR") => said = line,
                _ => {}
            }
        }
        Ok(said)
    };
    let mut tried = Vec::new();
    for subject in [
        "event.user.admin.created",
        "event.system.confinement.violated",
        "rpc.PowerService.Apply",
        "$KV.users.u.admin",
        "$KV.state.host",
        "$JS.API.STREAM.INFO.KV_users",
        "$JS.API.DIRECT.GET.KV_users.$KV.users.u.admin",
        "$JS.API.STREAM.DELETE.EVENTS",
        "_INBOX.usermgr.x",
    ] {
        tried.push(json!([format!("publish {subject}"), ask(&format!("PUB {subject} 1\r\nx\r\n"))?]));
    }
    for subject in
        [">", "_INBOX.>", "_INBOX.usermgr.>", "rpc.UserService.>", "rpc.SessionService.*", "$KV.users.>"]
    {
        tried.push(json!([format!("subscribe {subject}"), ask(&format!("SUB {subject} 1\r\n"))?]));
    }
    Ok(tried)
}
