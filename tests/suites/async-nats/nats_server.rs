//! Starts servers for the tests of async-nats, by the names they use: the program that `SUITE_SERVER` names, with the flags of
//! `nats-server`.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long a server may take until it listens.
const START: Duration = Duration::from_secs(20);

/// A running server; it ends when this is dropped.
pub struct Server {
    child: Mutex<Child>,
    flags: Vec<String>,
    port: Option<String>,
    dir: PathBuf,
}

fn program() -> String {
    std::env::var("SUITE_SERVER").unwrap_or_else(|_| "nats-server".into())
}

fn fresh_dir() -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("nats-suite-{}-{n}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a folder for the server");
    dir
}

fn start(flags: &[String], port: Option<&str>, dir: &Path) -> Child {
    std::fs::remove_file(dir.join("log")).ok();
    Command::new(program())
        .arg("--store_dir")
        .arg(dir.join("store"))
        .args(["-p", port.unwrap_or("-1")])
        .arg("-l")
        .arg(dir.join("log"))
        .arg("-P")
        .arg(dir.join("pid"))
        .args(flags)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the server starts")
}

impl Server {
    fn run(config: &str, port: Option<&str>, more: &[String]) -> Self {
        let dir = fresh_dir();
        let mut flags = more.to_vec();
        if !config.is_empty() {
            flags.extend(["-c".to_owned(), config.to_owned()]);
        }
        let child = start(&flags, port, &dir);
        Server { child: Mutex::new(child), flags, port: port.map(str::to_owned), dir }
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Child> {
        self.child.lock().expect("nobody panics with it")
    }

    fn stop(&self) {
        let mut child = self.child();
        child.kill().ok();
        child.wait().ok();
    }

    /// Kills it and starts it again on its port with what it stored.
    pub fn restart(&mut self) {
        assert!(self.port.is_some(), "only a server with a fixed port comes back where it was");
        self.stop();
        *self.child() = start(&self.flags, self.port.as_deref(), &self.dir);
    }

    /// What it says about itself to a client; waits until it does.
    fn info(&self) -> serde_json::Value {
        let end = Instant::now() + START;
        loop {
            let log = std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
            if let Some((_, rest)) = log.split_once("client connections on ") {
                let address = rest.lines().next().unwrap_or_default().trim().replace("0.0.0.0", "127.0.0.1");
                if let Ok(stream) = TcpStream::connect(&address) {
                    let mut line = String::new();
                    BufReader::new(stream).read_line(&mut line).expect("the server speaks first");
                    return serde_json::from_str(line.trim_start_matches("INFO ")).expect("INFO is JSON");
                }
            }
            assert!(self.child().try_wait().is_ok_and(|ended| ended.is_none()), "the server does not start");
            assert!(Instant::now() < end, "the server does not listen; its log: {log}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn client_port(&self) -> u16 {
        self.info()["port"].as_u64().and_then(|port| port.try_into().ok()).expect("a port")
    }

    pub fn client_url(&self) -> String {
        let info = self.info();
        let scheme = if info["tls_required"].as_bool() == Some(true) { "tls" } else { "nats" };
        format!("{scheme}://localhost:{}", info["port"])
    }

    fn url_with(&self, user: &str, password: Option<&str>) -> String {
        let mut url = url::Url::parse(&self.client_url()).expect("a URL");
        url.set_username(user).expect("a URL takes a user");
        url.set_password(password).expect("a URL takes a password");
        url.to_string()
    }

    pub fn client_url_with(&self, user: &str, password: &str) -> String {
        self.url_with(user, Some(password))
    }

    pub fn client_url_with_token(&self, token: &str) -> String {
        self.url_with(token, None)
    }

    pub fn client_pid(&self) -> usize {
        self.child().id() as usize
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        std::fs::remove_dir_all(&self.dir).ok();
    }
}

pub fn run_basic_server() -> Server {
    Server::run("", None, &[])
}

pub fn run_server(config: &str) -> Server {
    Server::run(config, None, &[])
}

pub fn run_server_with_port(config: &str, port: Option<&str>) -> Server {
    Server::run(config, port, &[])
}

pub fn is_port_available(port: usize) -> bool {
    u16::try_from(port).is_ok_and(|port| TcpListener::bind(("127.0.0.1", port)).is_ok())
}

/// Tells a server to send its clients elsewhere.
pub fn set_lame_duck_mode(server: &Server) {
    let signal = format!("ldm={}", server.client_pid());
    assert!(Command::new(program()).args(["--signal", &signal]).status().expect("it starts").success());
}

/// Three servers that know each other.
pub struct Cluster {
    pub servers: Vec<Server>,
}

impl Cluster {
    pub fn client_url(&self) -> String {
        self.servers[0].client_url()
    }
}

/// Starts three servers with the same configuration as a cluster.
pub fn run_cluster(config: &str) -> Cluster {
    let free = || TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
    let routes = [free(), free(), free()];
    let others = routes.map(|port| format!("nats://127.0.0.1:{port}")).join(",");
    let server = |n: usize| {
        let flags = [
            "--routes".to_owned(),
            others.clone(),
            "--cluster".to_owned(),
            format!("nats://127.0.0.1:{}", routes[n]),
            "--cluster_name".to_owned(),
            "cluster".to_owned(),
            "-n".to_owned(),
            format!("node{n}"),
        ];
        Server::run(config, Some(&free().to_string()), &flags)
    };
    let servers: Vec<Server> = (0..3).map(server).collect();
    for server in &servers {
        server.info();
    }
    // Which of them leads is settled among themselves, unseen from outside.
    std::thread::sleep(Duration::from_secs(2));
    Cluster { servers }
}

/// What one test asks the internet for; here it gets nothing, and is in the list as such.
pub async fn get(url: String) -> Result<Response, String> {
    Err(format!("{url} is outside"))
}

/// Nobody makes one.
pub struct Response(());

impl Response {
    pub async fn json(self) -> Result<serde_json::Value, String> {
        Err("nothing was fetched".into())
    }
}

/// Stands where the same test checks what it fetched.
pub struct JSONSchema(());

impl JSONSchema {
    pub fn compile(_schema: &serde_json::Value) -> Result<Self, String> {
        Err("nothing to check with".into())
    }

    pub fn validate(&self, _data: &serde_json::Value) -> Result<(), std::vec::IntoIter<String>> {
        Err(Vec::new().into_iter())
    }
}
