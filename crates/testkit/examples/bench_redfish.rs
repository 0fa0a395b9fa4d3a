//! `cargo xtask bench redfish`: what Redfish costs over TLS, kept alive and with a new connection for each request, with 1, 16 and 256 connections, beside
//! sushy-tools' emulator and an nginx with the same bytes, in one run.
//!
//! `UBMC` names the program; `NGINX` nginx, and `SUSHY` the Python that has sushy-tools: without them their rows are left out. A row is `--requests N` (4000)
//! requests, of which a tenth are not counted, by so many connections that each ask one after the other: requests in a second, what they would be on a
//! processor of the server's own, the median and the 99th percentile of their times, and the processor time of the server, in hundredths of a second, with
//! that of its threads that have ended.
//! Where there are two processors the servers have the first. Then 16 connections work while so many strangers as `--strangers N` says (5000) hold what they
//! get, each from an address of its own: every other one says nothing, the rest a byte of a handshake in a second. At the end: 300 sensors in one answer, and
//! the memory of websrv before and after all of it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::json;
use testkit::{Client, Credential, Suite, bench, eventually};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

const ROOT: &str = "/redfish/v1/";
const SYSTEM: &str = "/redfish/v1/Systems/system";
const SENSOR: &str = "/redfish/v1/Chassis/chassis/Sensors/inlet_temp";
const SENSORS: &str = "/redfish/v1/Chassis/chassis/Sensors?$expand=.";

/// How often a connection that is refused is asked for again at most.
const RETRIES: usize = 20;
/// Networks of loopback: what strangers hold at their addresses is not the clients' to answer for.
const STRANGERS: u8 = 1;
const CLIENTS: u8 = 2;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, otherwise: usize| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)).map_or(Ok(otherwise), |text| text.parse())
    };
    let (requests, strangers) = (number("--requests", 4000)?, number("--strangers", 5000)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(requests, strangers))
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its result")]
fn say(line: &str) {
    println!("{line}");
}

/// A server and how it is asked.
#[derive(Clone)]
struct Subject {
    name: &'static str,
    address: SocketAddr,
    token: String,
    pid: u32,
    /// How often a connection was refused and asked for again.
    retried: Arc<AtomicUsize>,
}

type Sender = http1::SendRequest<Empty<Bytes>>;

impl Subject {
    /// The connection of this number, from an address that four share: so many are put before those of strangers. One that is refused, or sent away before its
    /// first answer, as may happen among strangers, comes again, as clients do.
    async fn connect(&self, tls: &tokio_rustls::TlsConnector, number: usize, path: &str) -> Result<Sender> {
        let mut tried = 0;
        loop {
            match self.first(tls, number, path).await {
                Err(_) if tried < RETRIES => tried += 1,
                result => {
                    self.retried.fetch_add(tried, Ordering::Relaxed);
                    return result;
                }
            }
        }
    }

    /// A connection and its first answer.
    async fn first(&self, tls: &tokio_rustls::TlsConnector, number: usize, path: &str) -> Result<Sender> {
        let tcp = from_own_address(CLIENTS, number / 4, self.address).await?;
        tcp.set_nodelay(true)?;
        let tls = tls.connect(ServerName::try_from("localhost")?, tcp).await?;
        let (mut send, driver) = http1::handshake(TokioIo::new(tls)).await?;
        tokio::spawn(driver);
        self.ask(&mut send, path).await?;
        Ok(send)
    }

    async fn ask(&self, send: &mut Sender, path: &str) -> Result<usize> {
        let mut request = Request::get(path).header("host", format!("localhost:{}", self.address.port()));
        if !self.token.is_empty() {
            request = request.header("x-auth-token", &self.token);
        }
        send.ready().await?;
        let response = send.send_request(request.body(Empty::new())?).await?;
        ensure!(response.status() == 200, "{}: {path}: HTTP {}", self.name, response.status());
        Ok(response.into_body().collect().await?.to_bytes().len())
    }

    /// One row.
    async fn row(&self, path: &str, connections: usize, kept: bool, requests: usize) -> Result<()> {
        // With one configuration, so that a new connection resumes what an earlier one agreed on, as clients do.
        let tls = tokio_rustls::TlsConnector::from(Arc::new(testkit::tls_config(b"http/1.1")));
        let run = async |requests: usize| -> Result<Vec<f64>> {
            let left = Arc::new(AtomicUsize::new(requests));
            let mut all: JoinSet<Result<Vec<f64>>> = JoinSet::new();
            for number in 0..connections.min(requests) {
                let (subject, tls, left, path) =
                    (self.clone(), tls.clone(), Arc::clone(&left), path.to_owned());
                all.spawn(async move {
                    let mut times = Vec::new();
                    let mut open =
                        if kept { Some(subject.connect(&tls, number, &path).await?) } else { None };
                    while left
                        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                        .is_ok()
                    {
                        let begin = Instant::now();
                        match &mut open {
                            Some(send) => _ = subject.ask(send, &path).await?,
                            None => drop(subject.connect(&tls, number, &path).await?),
                        }
                        times.push(begin.elapsed().as_secs_f64() * 1e3);
                    }
                    Ok(times)
                });
            }
            let mut times = Vec::new();
            while let Some(one) = all.join_next().await {
                times.append(&mut one??);
            }
            Ok(times)
        };
        run(requests / 10 + connections).await?;
        let (begin, before) = (Instant::now(), bench::processor(&[self.pid]));
        let mut times = run(requests).await?;
        let (took, used) = (begin.elapsed().as_secs_f64(), bench::processor(&[self.pid]) - before);
        let count = times.len() as f64;
        let cost = used * 1e6 / count;
        say(&format!(
            "{:8} {:44} {:>4} {:>5} {:9.0} {:9.0} {:8.2} {:8.2} {:8.1}",
            self.name,
            path,
            connections,
            if kept { "kept" } else { "new" },
            count / took,
            1e6 / cost,
            bench::rank(&mut times, 50),
            bench::rank(&mut times, 99),
            cost,
        ));
        Ok(())
    }
}

async fn start(board: &str) -> Result<(Suite, Subject)> {
    let binary = std::env::var_os("UBMC").context("UBMC names the program to measure")?;
    bench::run_with(true);
    let suite = Suite::builder(binary).board(board).start().await?;
    bench::run_with(false);
    let body = json!({ "username": "admin", "password": testkit::ADMIN_PASSWORD });
    let session = suite.client(Credential::None).post("/api/v1alpha1/sessions", &body).await?.json()?;
    let token = session["token"].as_str().with_context(|| format!("no token: {session}"))?.to_owned();
    let pid = suite.pid_of("websrv").context("websrv does not run")?;
    let subject =
        Subject { name: "u-bmc", address: suite.https().parse()?, token, pid, retried: Arc::default() };
    Ok((suite, subject))
}

async fn measure(requests: usize, strangers: usize) -> Result<()> {
    let (suite, ours) = start("targets/sim/board.toml").await?;
    let memory = bench::memory(&[ours.pid]);
    say(&format!(
        "{:8} {:44} {:>4} {:>5} {:>9} {:>9} {:>8} {:>8} {:>8}",
        "", "", "conn", "", "req/s", "per core", "p50 ms", "p99 ms", "CPU us"
    ));
    let sushy = sushy(&suite).await?;
    let nginx = nginx(&suite).await?;
    for (connections, kept) in [(1, true), (16, true), (256, true), (1, false), (16, false)] {
        let requests = if kept { requests } else { requests / 4 };
        for path in [ROOT, SYSTEM, SENSOR] {
            ours.row(path, connections, kept, requests).await?;
        }
        if let Some((nginx, ..)) = &nginx {
            nginx.row("/redfish/v1/system", connections, kept, requests).await?;
        }
        // Python, so fewer of them; its server takes one connection at a time.
        if let Some((sushy, _, path)) = sushy.as_ref().filter(|_| connections <= 16) {
            sushy.row(ROOT, connections, false, (requests / 20).max(connections)).await?;
            sushy.row(path, connections, false, (requests / 20).max(connections)).await?;
        }
    }
    for subject in [Some(&ours), nginx.as_ref().map(|(nginx, ..)| nginx)].into_iter().flatten() {
        let path = if subject.name == "nginx" { "/redfish/v1/system" } else { SYSTEM };
        let crowd = Crowd::gather(subject.address, strangers).await?;
        say(&format!("{} with {}", subject.name, crowd.size()));
        subject.row(path, 16, true, requests).await?;
        subject.row(path, 16, false, requests / 4).await?;
        say(&format!(
            "{} afterwards, memory {} KiB, {} connections refused and asked for again",
            crowd.size(),
            bench::memory(&[subject.pid]),
            subject.retried.load(Ordering::Relaxed)
        ));
    }
    let after = bench::memory(&[ours.pid]);
    say(&format!("memory of websrv (PSS): {memory} KiB before, {after} KiB after"));
    drop((sushy, nginx));
    suite.stop().await?;
    let (suite, ours) = start("targets/sim/big.toml").await?;
    let admin = suite.admin();
    eventually("300 sensors", Duration::from_secs(30), || async {
        let sensors = admin.get("/redfish/v1/Chassis/chassis/Sensors").await?.json()?;
        Ok(sensors["Members@odata.count"].as_u64() >= Some(300))
    })
    .await?;
    ours.row(SENSORS, 1, true, (requests / 10).max(10)).await?;
    ours.row(SENSORS, 16, true, (requests / 10).max(16)).await?;
    suite.stop().await
}

/// Strangers who hold connections and ask for nothing.
struct Crowd {
    tasks: JoinSet<()>,
    open: Arc<AtomicUsize>,
}

impl Crowd {
    /// So many, once each of them has tried.
    async fn gather(server: SocketAddr, strangers: usize) -> Result<Self> {
        let (open, tried) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        for number in 0..strangers {
            let (open, tried) = (Arc::clone(&open), Arc::clone(&tried));
            tasks.spawn(async move {
                let mut has_tried = false;
                loop {
                    let connected = from_own_address(STRANGERS, number, server).await;
                    if !std::mem::replace(&mut has_tried, true) {
                        tried.fetch_add(1, Ordering::Relaxed);
                    }
                    if let Ok(stream) = connected {
                        open.fetch_add(1, Ordering::Relaxed);
                        hold(stream, number % 2 == 1).await;
                        open.fetch_sub(1, Ordering::Relaxed);
                    }
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            });
        }
        eventually("all strangers have tried", Duration::from_secs(60), || async {
            Ok(tried.load(Ordering::Relaxed) >= strangers)
        })
        .await?;
        Ok(Self { tasks, open })
    }

    fn size(&self) -> String {
        format!(
            "{} strangers, of whom {} hold a connection",
            self.tasks.len(),
            self.open.load(Ordering::Relaxed)
        )
    }
}

/// A connection from a loopback address that few share, in one of the networks.
async fn from_own_address(network: u8, number: usize, server: SocketAddr) -> Result<TcpStream> {
    let part = |number: usize| u8::try_from(number % 250 + 1);
    let own = std::net::Ipv4Addr::new(127, network, part(number / 250)?, part(number)?);
    testkit::connect_from(server, own).await
}

/// Holds a connection until the server ends it: in silence, or with a handshake that takes an hour.
async fn hold(mut stream: TcpStream, speaks: bool) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    // The head of a record of TLS with 512 bytes, and zeros.
    let mut bytes = [22, 3, 1, 2, 0, 1, 0, 1, 252].into_iter().chain(std::iter::repeat(0));
    let mut answer = [0; 256];
    let mut clock = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            read = stream.read(&mut answer) => {
                if !read.is_ok_and(|length| length > 0) {
                    return;
                }
            }
            _ = clock.tick(), if speaks => {
                let byte = bytes.next().unwrap_or_default();
                if stream.write_all(&[byte]).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// nginx with the same certificate and the bytes of our system.
async fn nginx(suite: &Suite) -> Result<Option<(Subject, tokio::process::Child)>> {
    let Some(program) = std::env::var_os("NGINX").filter(|name| !name.is_empty()) else {
        say("nginx: NGINX does not name it");
        return Ok(None);
    };
    let text = suite.admin().get(SYSTEM).await?.text();
    let dir = suite.scratch().join("nginx");
    std::fs::create_dir_all(dir.join("www/redfish/v1"))?;
    std::fs::write(dir.join("www/index.html"), "nginx")?;
    std::fs::write(dir.join("www/redfish/v1/system"), &text)?;
    let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let (at, tls) = (dir.display(), suite.state_dir().join("websrv/tls"));
    let tls = tls.display();
    let configuration = format!(
        "worker_processes 1; master_process off; pid {at}/pid; error_log /dev/null;\n\
         events {{ worker_connections 8192; }}\n\
         http {{ access_log off; keepalive_requests 1000000; client_body_temp_path {at}/body;\n\
         proxy_temp_path {at}/p; fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
         server {{ listen {address} ssl; ssl_certificate {tls}/cert.pem; ssl_certificate_key {tls}/key.pem;\n\
         ssl_session_tickets on; default_type application/json; root {at}/www; }} }}\n"
    );
    std::fs::write(dir.join("nginx.conf"), configuration)?;
    bench::run_with(true);
    let (child, _) = bench::nginx(Path::new(&program), &dir, address).await?;
    bench::run_with(false);
    let pid = child.id().context("nginx ended")?;
    Ok(Some((Subject { name: "nginx", address, token: String::new(), pid, retried: Arc::default() }, child)))
}

/// sushy-tools' emulator with machines it makes up, and the same certificate.
async fn sushy(suite: &Suite) -> Result<Option<(Subject, tokio::process::Child, String)>> {
    let Some(python) = std::env::var_os("SUSHY").filter(|name| !name.is_empty()) else {
        say("sushy-tools: SUSHY names no Python that has it");
        return Ok(None);
    };
    let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let program = Path::new(&python).with_file_name("sushy-emulator");
    let tls = suite.state_dir().join("websrv/tls");
    let dir = suite.scratch().join("sushy");
    std::fs::create_dir_all(&dir)?;
    bench::run_with(true);
    let child = tokio::process::Command::new(&python)
        .arg(program)
        .args(["--fake", "--interface", "127.0.0.1", "--port", &address.port().to_string()])
        .arg("--ssl-certificate")
        .arg(tls.join("cert.pem"))
        .arg("--ssl-key")
        .arg(tls.join("key.pem"))
        .current_dir(&dir)
        .env("TMPDIR", &dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    bench::run_with(false);
    let client = Client::new(&address.to_string(), Credential::None);
    eventually("sushy-tools answers", Duration::from_secs(20), || async {
        Ok(client.get(ROOT).await.is_ok())
    })
    .await?;
    let systems = client.get("/redfish/v1/Systems").await?.json()?;
    let path = systems["Members"][0]["@odata.id"].as_str().context("the emulator has no system")?.to_owned();
    let pid = child.id().context("the emulator ended")?;
    Ok(Some((
        Subject { name: "sushy", address, token: String::new(), pid, retried: Arc::default() },
        child,
        path,
    )))
}
