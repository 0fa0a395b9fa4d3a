//! `cargo xtask bench web`: what a request costs the processor by each protocol over each version of HTTP, and an answer that is always the
//! same beside nginx.
//!
//! `UBMC` names the program; with `UBMC_BEFORE`, an older one, both are measured in turns in the same run, and each row ends with their ratio.
//! A number is the median of `--rounds N` (7) rounds of `--requests N` (2000) requests, one after the other on one connection: the time websrv
//! ran, in all its threads, by the scheduler's own account. Where there are two processors the servers have the first.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::{Buf as _, Bytes};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use serde_json::json;
use testkit::{Client, Credential, Suite, bench};
use tokio::net::TcpStream;

const GET_HOST: &str = "/schema.v1alpha1.HostService/GetHost";
/// `GetHostRequest { name: "system" }`.
const MESSAGE: &[u8] = b"\x0a\x06system";
const JSON: &str = r#"{"name":"system"}"#;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, otherwise: usize| -> Result<usize> {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)).map_or(Ok(otherwise), |text| Ok(text.parse()?))
    };
    let (rounds, requests) = (number("--rounds", 7)?, number("--requests", 2000)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(rounds, requests))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    H1,
    H2,
    H3,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    ConnectJson,
    ConnectProto,
    Grpc,
    Rest,
    /// What is here, in words: an answer of the size of a Redfish service root that asks nobody.
    Static,
}

const PROTOCOLS: [Protocol; 5] =
    [Protocol::ConnectJson, Protocol::ConnectProto, Protocol::Grpc, Protocol::Rest, Protocol::Static];

impl Protocol {
    fn request(self, authority: &str, token: &str) -> Result<Request<Bytes>> {
        let uri = |path: &str| format!("https://{authority}{path}");
        let post = |kind: &str, body: Bytes| {
            let request = Request::post(uri(GET_HOST)).header("content-type", kind);
            request.header("authorization", format!("Bearer {token}")).body(body)
        };
        Ok(match self {
            Self::ConnectJson => post("application/json", JSON.into())?,
            Self::ConnectProto => post("application/proto", Bytes::from_static(MESSAGE))?,
            Self::Grpc => {
                let mut framed = vec![0, 0, 0, 0, u8::try_from(MESSAGE.len())?];
                framed.extend_from_slice(MESSAGE);
                let mut request = post("application/grpc", framed.into())?;
                request.headers_mut().insert("te", "trailers".parse()?);
                request
            }
            Self::Rest => Request::get(uri("/api/v1alpha1/hosts/system"))
                .header("authorization", format!("Bearer {token}"))
                .body(Bytes::new())?,
            Self::Static => Request::get(uri("/")).body(Bytes::new())?,
        })
    }
}

/// A connection of one version.
enum Peer {
    H1(http1::SendRequest<Full<Bytes>>),
    H2(http2::SendRequest<Full<Bytes>>),
    H3(
        h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>,
        #[expect(dead_code, reason = "held open")] quinn::Endpoint,
    ),
}

struct Answer {
    status: u16,
    trailers: HeaderMap,
    body: Bytes,
}

impl Peer {
    async fn connect(version: Version, to: SocketAddr) -> Result<Self> {
        if version == Version::H3 {
            let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(testkit::tls_config(b"h3"))?;
            let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse()?)?;
            endpoint.set_default_client_config(quinn::ClientConfig::new(std::sync::Arc::new(crypto)));
            let connection = endpoint.connect(to, "localhost")?.await?;
            let (mut driver, send) = h3::client::new(h3_quinn::Connection::new(connection)).await?;
            tokio::spawn(async move { std::future::poll_fn(|cx| driver.poll_close(cx)).await });
            return Ok(Self::H3(send, endpoint));
        }
        let tcp = TcpStream::connect(to).await?;
        tcp.set_nodelay(true)?;
        let protocol: &[u8] = if version == Version::H1 { b"http/1.1" } else { b"h2" };
        let tls = tokio_rustls::TlsConnector::from(std::sync::Arc::new(testkit::tls_config(protocol)))
            .connect(ServerName::try_from("localhost")?, tcp)
            .await?;
        ensure!(tls.get_ref().1.alpn_protocol() == Some(protocol), "{version:?} is not spoken at {to}");
        let io = TokioIo::new(tls);
        Ok(if version == Version::H1 {
            let (send, driver) = http1::handshake(io).await?;
            tokio::spawn(driver);
            Self::H1(send)
        } else {
            let (send, driver) = http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(driver);
            Self::H2(send)
        })
    }

    async fn ask(&mut self, mut request: Request<Bytes>) -> Result<Answer> {
        let response = match self {
            Self::H1(send) => {
                let host = request.uri().authority().context("no authority")?.as_str().parse()?;
                request.headers_mut().insert("host", host);
                *request.uri_mut() = request.uri().path().parse()?;
                send.ready().await?;
                send.send_request(request.map(Full::new)).await?
            }
            Self::H2(send) => {
                send.ready().await?;
                send.send_request(request.map(Full::new)).await?
            }
            Self::H3(send, _) => {
                let (parts, body) = request.into_parts();
                let mut stream = send.send_request(Request::from_parts(parts, ())).await?;
                if !body.is_empty() {
                    stream.send_data(body).await?;
                }
                stream.finish().await?;
                let head = stream.recv_response().await?;
                let mut body = Vec::new();
                while let Some(mut data) = stream.recv_data().await? {
                    body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
                }
                let trailers = stream.recv_trailers().await?.unwrap_or_default();
                return Ok(Answer { status: head.status().as_u16(), trailers, body: body.into() });
            }
        };
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        Ok(Answer { status, trailers, body: body.to_bytes() })
    }
}

/// Something that is measured.
struct Subject {
    address: SocketAddr,
    token: String,
    pid: u32,
}

impl Subject {
    /// Microseconds of a processor for each of so many requests.
    async fn cost(&self, protocol: Protocol, version: Version, requests: usize) -> Result<f64> {
        let mut peer = Peer::connect(version, self.address).await?;
        let request = protocol.request(&format!("localhost:{}", self.address.port()), &self.token)?;
        let mut asked = async |times: usize| -> Result<()> {
            for _ in 0..times {
                let answer = peer.ask(request.clone()).await?;
                ensure!(answer.status == 200, "{protocol:?} {version:?}: HTTP {}", answer.status);
                if protocol == Protocol::Grpc {
                    let status = answer.trailers.get("grpc-status").context("no grpc-status")?;
                    ensure!(status == "0" && answer.body.len() > 5, "{protocol:?} {version:?}: {status:?}");
                }
                ensure!(!answer.body.is_empty(), "{protocol:?} {version:?}: an empty answer");
            }
            Ok(())
        };
        asked(requests / 10 + 1).await?;
        let before = processor(self.pid)?;
        asked(requests).await?;
        let used = processor(self.pid)?.saturating_sub(before);
        let requests = u32::try_from(requests).context("too many requests")?;
        Ok(used.as_secs_f64() * 1e6 / f64::from(requests))
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

fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or(f64::NAN)
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its result")]
fn say(line: &str) {
    println!("{line}");
}

async fn start(binary: std::ffi::OsString) -> Result<(Suite, Subject)> {
    bench::run_with(true);
    let suite = Suite::builder(binary).start().await?;
    bench::run_with(false);
    let body = json!({ "username": "admin", "password": testkit::ADMIN_PASSWORD });
    let session = suite.client(Credential::None).post("/api/v1alpha1/sessions", &body).await?.json()?;
    let token = session["token"].as_str().with_context(|| format!("no token: {session}"))?.to_owned();
    let pid = suite.pid_of("websrv").context("websrv does not run")?;
    let subject = Subject { address: suite.https().parse()?, token, pid };
    Ok((suite, subject))
}

async fn measure(rounds: usize, requests: usize) -> Result<()> {
    let (suite, now) = start(std::env::var_os("UBMC").context("UBMC names the program to measure")?).await?;
    let before = match std::env::var_os("UBMC_BEFORE").filter(|name| !name.is_empty()) {
        Some(binary) => Some(start(binary).await?),
        None => None,
    };
    let subjects: Vec<&Subject> = before.iter().map(|(_, subject)| subject).chain([&now]).collect();
    say(&format!(
        "microseconds of websrv's processor time a request, median of {rounds} rounds of {requests}"
    ));
    say(&match subjects.len() {
        1 => format!("{:24} {:>8}", "", "now"),
        _ => format!("{:24} {:>8} {:>8}   ratio", "", "before", "now"),
    });
    let mut static_cost = Vec::new();
    for protocol in PROTOCOLS {
        for version in [Version::H1, Version::H2, Version::H3] {
            if protocol == Protocol::Grpc && version == Version::H1 {
                continue;
            }
            let mut samples = vec![Vec::new(); subjects.len()];
            for _ in 0..rounds {
                for (subject, samples) in subjects.iter().zip(&mut samples) {
                    samples.push(subject.cost(protocol, version, requests).await?);
                }
            }
            let costs: Vec<f64> = samples.iter_mut().map(|samples| median(samples)).collect();
            let columns: String = costs.iter().map(|cost| format!(" {cost:8.1}")).collect();
            let ratio = match costs.as_slice() {
                [before, now] => format!("   {:.2}", now / before),
                _ => String::new(),
            };
            let name = format!("{protocol:?} {version:?}");
            say(&format!("{name:24}{columns}{ratio}"));
            if protocol == Protocol::Static {
                static_cost.push((version, costs.last().copied().unwrap_or(f64::NAN)));
            }
        }
    }
    nginx(&suite, &now, &static_cost, rounds, requests).await?;
    if let Some((suite, _)) = before {
        suite.stop().await?;
    }
    suite.stop().await
}

/// nginx with the same certificate and the same bytes.
async fn nginx(
    suite: &Suite,
    ours: &Subject,
    costs: &[(Version, f64)],
    rounds: usize,
    requests: usize,
) -> Result<()> {
    let Some(program) = std::env::var_os("NGINX").filter(|name| !name.is_empty()) else {
        say("nginx: NGINX does not name it");
        return Ok(());
    };
    let text = Client::new(&ours.address.to_string(), Credential::None).get("/").await?.text();
    let dir = suite.scratch().join("nginx");
    std::fs::create_dir_all(dir.join("www"))?;
    std::fs::write(dir.join("www/index.html"), &text)?;
    let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let tls = suite.state_dir().join("websrv/tls");
    std::fs::write(dir.join("nginx.conf"), configuration(&dir, &tls, address))?;
    bench::run_with(true);
    let (mut child, _) = bench::nginx(Path::new(&program), &dir, address).await?;
    bench::run_with(false);
    let pid = child.id().context("nginx ended")?;
    let nginx = Subject { address, token: String::new(), pid };
    say(&format!("the same {} bytes by nginx, and ours to that", text.len()));
    // HTTP/3 is not in Debian's nginx.
    for (version, ours) in costs.iter().filter(|(version, _)| *version != Version::H3) {
        let mut samples = Vec::new();
        for _ in 0..rounds {
            samples.push(nginx.cost(Protocol::Static, *version, requests).await?);
        }
        let cost = median(&mut samples);
        say(&format!("{:24} {cost:8.1} {ours:8.1}   {:.2}", format!("nginx {version:?}"), ours / cost));
    }
    child.kill().await?;
    Ok(())
}

fn configuration(dir: &Path, tls: &Path, to: SocketAddr) -> String {
    let (dir, tls) = (dir.display(), tls.display());
    format!(
        "worker_processes 1; master_process off; pid {dir}/pid; error_log /dev/null;\n\
         events {{ worker_connections 300; }}\n\
         http {{ access_log off; keepalive_requests 1000000; client_body_temp_path {dir}/body;\n\
         proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;\n\
         server {{ listen {to} ssl http2; ssl_certificate {tls}/cert.pem; ssl_certificate_key {tls}/key.pem;\n\
         default_type text/plain; root {dir}/www; }} }}\n"
    )
}
