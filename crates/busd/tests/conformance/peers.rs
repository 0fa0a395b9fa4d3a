//! The two servers, each in the same setups.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use busd::{
    JetStreamConfig, Limits, Permissions, Responses, Rules, Server, ServerConfig, ServerHandle, User,
    jetstream,
};

/// How a server is set up. Both are given the same bounds, whatever their defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setup {
    /// No users, ordinary bounds.
    Open,
    /// Bounds small enough to run into.
    Tight,
    /// Users with permissions.
    Users,
    /// Little room for output.
    Slow,
    /// Pings soon.
    Silent,
    /// About to be told to leave.
    Leaving,
    /// With streams.
    Streams,
}

const MIB: usize = 1024 * 1024;

pub(crate) trait Peer {
    fn addr(&self) -> SocketAddr;
    /// Makes the server enter lame duck mode.
    fn lame_duck(&mut self);
    fn url(&self) -> String {
        format!("nats://{}", self.addr())
    }
}

/// The embedded server.
pub(crate) struct Ours {
    addr: SocketAddr,
    handle: Option<ServerHandle>,
    leaving: Option<std::thread::JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

fn list(subjects: &[&str]) -> Vec<String> {
    subjects.iter().map(|s| (*s).to_owned()).collect()
}

fn users() -> Vec<User> {
    let user = |name: &str, password: &str, permissions| User {
        name: name.to_owned(),
        password: password.to_owned(),
        permissions,
    };
    let limited = Permissions {
        publish: Rules { allow: list(&["a.>", "req.>"]), deny: list(&["a.secret"]) },
        subscribe: Rules {
            allow: list(&["a.>", "_INBOX.>", "q.* workers.*"]),
            deny: list(&["a.secret", "a.g hidden"]),
        },
        allow_responses: None,
    };
    let responder = Permissions {
        publish: Rules::default(),
        subscribe: Rules { allow: list(&["svc.>"]), deny: Vec::new() },
        allow_responses: Some(Responses { max: 2, ttl: 60_000 }),
    };
    vec![
        user("admin", "secret", None),
        user("limited", "pw", Some(limited)),
        user("responder", "pw", Some(responder)),
    ]
}

impl Ours {
    pub(crate) fn start(setup: Setup) -> Self {
        let limits = Limits { max_connections: 100, max_pending: 64 * MIB, ..Limits::default() };
        let limits = match setup {
            Setup::Open | Setup::Leaving | Setup::Streams => limits,
            Setup::Tight => Limits {
                max_payload: 100,
                max_control_line: 256,
                max_connections: 3,
                max_subscriptions: 3,
                ..limits
            },
            Setup::Users => Limits { auth_timeout: 1_000, ..limits },
            Setup::Slow => Limits { max_payload: 32 * 1024, max_pending: 64 * 1024, ..limits },
            Setup::Silent => Limits { ping_interval: 200, max_pings_out: 1, ..limits },
        };
        let users = if setup == Setup::Users { users() } else { Vec::new() };
        let dir = tempfile::tempdir().unwrap();
        let extensions = if setup == Setup::Streams {
            let dir = Some(dir.path().join("streams"));
            vec![jetstream(JetStreamConfig { dir, ..JetStreamConfig::default() })]
        } else {
            Vec::new()
        };
        let handle =
            Server::start(ServerConfig { limits, users, extensions, ..ServerConfig::default() }).unwrap();
        Ours { addr: handle.addr, handle: Some(handle), leaving: None, _dir: dir }
    }
}

impl Peer for Ours {
    fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn lame_duck(&mut self) {
        let handle = self.handle.take().unwrap();
        self.leaving = Some(std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            // It ends when the case's clients have left.
            runtime.block_on(handle.shutdown(Duration::from_secs(30)));
        }));
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        if let Some(leaving) = self.leaving.take() {
            leaving.join().unwrap();
        }
    }
}

/// `nats-server`.
pub(crate) struct Real {
    addr: SocketAddr,
    child: Child,
    _config: tempfile::TempDir,
}

impl Real {
    /// Where it is installed, if it is.
    pub(crate) fn find() -> Option<PathBuf> {
        let named = std::env::var_os("NATS_SERVER").map(PathBuf::from);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let candidates = named.into_iter().chain(std::env::split_paths(&path).map(|d| d.join("nats-server")));
        { candidates }.find(|path| {
            Command::new(path)
                .arg("--version")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        })
    }

    pub(crate) fn start(binary: &PathBuf, setup: Setup) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let streams = format!("jetstream {{store_dir: {:?}}}\n", dir.path().join("streams"));
        let specific = match setup {
            Setup::Open => "",
            Setup::Streams => &streams,
            Setup::Tight => {
                "max_payload: 100\nmax_control_line: 256\nmax_connections: 3\nmax_subscriptions: 3\n"
            }
            Setup::Slow => "max_payload: 32768\nmax_pending: 65536\n",
            Setup::Silent => "ping_interval: \"200ms\"\nping_max: 1\n",
            Setup::Leaving => "lame_duck_duration: \"30s\"\nlame_duck_grace_period: \"5s\"\n",
            Setup::Users => {
                r#"authorization {
                    timeout: 1
                    users: [
                        {user: admin, password: secret}
                        {user: limited, password: pw, permissions: {
                            publish: {allow: ["a.>", "req.>"], deny: ["a.secret"]}
                            subscribe: {allow: ["a.>", "_INBOX.>", "q.* workers.*"], deny: ["a.secret", "a.g hidden"]}
                        }}
                        {user: responder, password: pw, permissions: {
                            subscribe: ["svc.>"], allow_responses: {max: 2, expires: "1m"}
                        }}
                    ]
                }
                "#
            }
        };
        let path = dir.path().join("nats.conf");
        let mut file = std::fs::File::create(&path).unwrap();
        write!(file, "listen: \"127.0.0.1:-1\"\n{specific}").unwrap();
        let mut child = Command::new(binary)
            .arg("-c")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let (mut addr, mut seen) = (None, String::new());
        loop {
            let mut line = String::new();
            if log.read_line(&mut line).unwrap() == 0 {
                panic!("nats-server ended while starting:\n{seen}");
            }
            if let Some((_, at)) = line.split_once("Listening for client connections on ") {
                addr = at.trim().parse().ok();
            }
            if line.contains("Server is ready") {
                break;
            }
            seen.push_str(&line);
        }
        // Its log must be drained or it blocks.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Real { addr: addr.expect("the address is logged"), child, _config: dir }
    }
}

impl Peer for Real {
    fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn lame_duck(&mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("sh").args(["-c", &format!("kill -USR2 {pid}")]).status().unwrap().success());
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
