//! `cargo xtask bench redfish`: what Redfish costs over TLS, kept alive and with a new connection for each request, with 1, 16 and 256 connections, beside
//! sushy-tools' emulator and an nginx with the same bytes, in one run.
//!
//! `UBMC` names the program; `NGINX` nginx, and `SUSHY` the Python that has sushy-tools: without them their rows are left out. A row is `--requests N` (4000)
//! requests, of which a tenth are not counted, by so many connections that each ask one after the other: requests in a second, what they would be on a
//! processor of the server's own, the median and the 99th percentile of their times, and the processor time of the server, by the scheduler's own account.
//! Where there are two processors the servers have the first. At the end: 300 sensors in one answer, and the memory of websrv before and after all of it.

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

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let at = arguments.iter().position(|argument| argument == "--requests");
    let requests = at.and_then(|at| arguments.get(at + 1)).map_or(Ok(4000), |text| text.parse())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(requests))
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
}

type Sender = http1::SendRequest<Empty<Bytes>>;

impl Subject {
    async fn connect(&self, tls: &tokio_rustls::TlsConnector) -> Result<Sender> {
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        let tls = tls.connect(ServerName::try_from("localhost")?, tcp).await?;
        let (send, driver) = http1::handshake(TokioIo::new(tls)).await?;
        tokio::spawn(driver);
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
            for _ in 0..connections.min(requests) {
                let (subject, tls, left, path) =
                    (self.clone(), tls.clone(), Arc::clone(&left), path.to_owned());
                all.spawn(async move {
                    let mut times = Vec::new();
                    let mut open = if kept { Some(subject.connect(&tls).await?) } else { None };
                    while left
                        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                        .is_ok()
                    {
                        let begin = Instant::now();
                        let mut send = match open.take() {
                            Some(send) => send,
                            None => subject.connect(&tls).await?,
                        };
                        subject.ask(&mut send, &path).await?;
                        times.push(begin.elapsed().as_secs_f64() * 1e3);
                        open = kept.then_some(send);
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
        let (begin, before) = (Instant::now(), processor(self.pid)?);
        let mut times = run(requests).await?;
        let (took, used) = (begin.elapsed().as_secs_f64(), processor(self.pid)?.saturating_sub(before));
        let count = times.len() as f64;
        let cost = used.as_secs_f64() * 1e6 / count;
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

/// How long the threads of a process have run.
fn processor(pid: u32) -> Result<Duration> {
    let mut sum = 0_u64;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        sum += text.split(' ').next().context("no schedstat")?.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(sum))
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
    let subject = Subject { name: "u-bmc", address: suite.https().parse()?, token, pid };
    Ok((suite, subject))
}

async fn measure(requests: usize) -> Result<()> {
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
         events {{ worker_connections 600; }}\n\
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
    Ok(Some((Subject { name: "nginx", address, token: String::new(), pid }, child)))
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
    Ok(Some((Subject { name: "sushy", address, token: String::new(), pid }, child, path)))
}
