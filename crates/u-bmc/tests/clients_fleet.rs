//! Many BMCs on one real `nats-server`: they are seen, asked all at once, and lose no event when the server is gone for a while.

#![allow(clippy::print_stderr, reason = "a test that is skipped says so")]

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_nats::jetstream::{self, stream};
use futures_util::StreamExt as _;
use serde_json::json;
use testkit::{Suite, eventually};

const U_BMC: &str = env!("CARGO_BIN_EXE_u-bmc");
/// Longest wait for anything here: a whole fleet starts on whatever machine this is.
const LIMIT: Duration = Duration::from_secs(120);

type Result<T = ()> = anyhow::Result<T>;

/// How many BMCs; `UBMC_TEST_BMCS` for more than CI has the cores for.
fn size() -> usize {
    std::env::var("UBMC_TEST_BMCS").ok().and_then(|n| n.parse().ok()).unwrap_or(4)
}

/// A real server with streams; killed when dropped.
///
/// It wants TLS, signed by a CA of its own, and a name with a password, as a server that a datacenter's machines reach must.
struct Server {
    child: Child,
    port: u16,
    binary: String,
    dir: tempfile::TempDir,
}

/// Name and password on the server.
const ACCOUNT: (&str, &str) = ("bmcs", "a-password-for-the-fleet");

impl Server {
    fn start() -> Result<Option<Self>> {
        let binary = std::env::var("NATS_SERVER").unwrap_or_else(|_| "nats-server".into());
        let port = testkit::free_port()?;
        let dir = tempfile::tempdir()?;
        certificates(dir.path())?;
        std::fs::write(dir.path().join("password"), ACCOUNT.1)?;
        match spawn(&binary, port, dir.path()) {
            Ok(child) => Ok(Some(Self { child, port, binary, dir })),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn kill(&mut self) -> Result {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn again(&mut self) -> Result {
        self.child = spawn(&self.binary, self.port, self.dir.path())?;
        Ok(())
    }

    fn url(&self) -> String {
        format!("tls://127.0.0.1:{}", self.port)
    }

    /// A file of its folder.
    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A CA in `ca.pem`, and what it signed for the server in `cert.pem` and `key.pem`.
fn certificates(dir: &std::path::Path) -> Result {
    let mut ca = rcgen::CertificateParams::new(Vec::new())?;
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = rcgen::CertifiedIssuer::self_signed(ca, rcgen::KeyPair::generate()?)?;
    let key = rcgen::KeyPair::generate()?;
    let server = rcgen::CertificateParams::new(vec!["127.0.0.1".into()])?.signed_by(&key, &ca)?;
    std::fs::write(dir.join("ca.pem"), ca.pem())?;
    std::fs::write(dir.join("cert.pem"), server.pem())?;
    std::fs::write(dir.join("key.pem"), key.serialize_pem())?;
    Ok(())
}

fn spawn(binary: &str, port: u16, dir: &std::path::Path) -> std::io::Result<Child> {
    Command::new(binary)
        .args(["-a", "127.0.0.1", "-p", &port.to_string(), "--user", ACCOUNT.0, "--pass", ACCOUNT.1])
        .args(["--tls", "--tlscert", "cert.pem", "--tlskey", "key.pem", "-js", "-sd", "store"])
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

async fn act(suite: &Suite, action: &str, end: &str) -> Result {
    let admin = suite.admin();
    let reply = admin.post("/api/v1alpha1/hosts/system/state", &json!({ "action": action })).await?;
    anyhow::ensure!(reply.status == 200, "{action}: {}", reply.text());
    eventually(end, LIMIT, || async {
        Ok(admin.get("/api/v1alpha1/hosts/system").await?.json()?["host"]["status"] == end)
    })
    .await
}

/// The numbers of the kept events of each BMC, in the order in which the stream has them.
async fn kept(stream: &stream::Stream) -> Result<BTreeMap<String, Vec<u64>>> {
    let mut by_bmc: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let last = stream.get_info().await?.state.last_sequence;
    if last == 0 {
        return Ok(by_bmc);
    }
    let consumer = stream.create_consumer(jetstream::consumer::pull::OrderedConfig::default()).await?;
    let mut messages = consumer.messages().await?;
    while let Some(message) = messages.next().await {
        let message = message?;
        let id = message.subject.split('.').nth(1).unwrap_or_default().to_string();
        let number = message
            .headers
            .as_ref()
            .and_then(|h| h.get("Ubmc-Sequence"))
            .and_then(|n| n.as_str().parse().ok())
            .unwrap_or(0);
        by_bmc.entry(id).or_default().push(number);
        if message.info().map(|info| info.pending).unwrap_or(0) == 0 {
            break;
        }
    }
    Ok(by_bmc)
}

fn ctl(server: &Server, args: &[&str]) -> Result<serde_json::Value> {
    let ctl = std::path::Path::new(U_BMC).with_file_name("ubmcctl");
    let out = Command::new(ctl)
        .args(["-o", "json", "fleet", "--nats", &server.url(), "--nats-ca", &server.file("ca.pem")])
        .args(["--nats-user", ACCOUNT.0, "--nats-password-file", &server.file("password")])
        .args(args)
        .output()?;
    anyhow::ensure!(out.status.success(), "ubmcctl: {}", String::from_utf8_lossy(&out.stderr));
    Ok(serde_json::from_slice(&out.stdout)?)
}

#[expect(clippy::print_stdout, reason = "a skip is counted by what it prints")]
fn skip(why: &str) {
    println!("SKIP: {why}");
}

#[tokio::test]
async fn a_fleet_is_seen_asked_and_loses_nothing_in_an_outage() -> Result {
    let Some(mut server) = Server::start()? else {
        skip("nats-server is not installed (NATS_SERVER names it)");
        return Ok(());
    };
    let client = async_nats::ConnectOptions::with_user_and_password(ACCOUNT.0.into(), ACCOUNT.1.into())
        .add_root_certificates(server.file("ca.pem").into())
        .retry_on_initial_connect()
        .connect(server.url())
        .await?;
    let context = jetstream::new(client.clone());
    let stream = {
        let mut made = None;
        eventually("the server keeps streams", LIMIT, || async { Ok(context.query_account().await.is_ok()) })
            .await?;
        made.get_or_insert(
            context
                .create_stream(stream::Config {
                    name: "FLEET".into(),
                    subjects: vec!["ubmc.*.event.>".into()],
                    allow_direct: true,
                    ..Default::default()
                })
                .await?,
        )
        .clone()
    };
    let mut suites = Vec::new();
    for n in 0..size() {
        let suite = Suite::builder(U_BMC)
            .set(format!("fleet.nats.url={}", server.url()))
            .set(format!("fleet.nats.ca_file={}", server.file("ca.pem")))
            .set(format!("fleet.nats.user={}", ACCOUNT.0))
            .set(format!("fleet.nats.password_file={}", server.file("password")))
            .set(format!("fleet.id=bmc{n:02}"))
            .set("fleet.heartbeat_s=1")
            .set("fleet.role=Operator")
            .start()
            .await?;
        suites.push(suite);
    }

    eventually("every BMC is listed and answers", LIMIT, || async {
        let listed = ctl(&server, &["ls"])?;
        let bmcs = listed["bmcs"].as_array().cloned().unwrap_or_default();
        Ok(bmcs.len() == size() && bmcs.iter().all(|bmc| bmc["answered"] == true))
    })
    .await?;

    // Events on both sides of an outage, and in it.
    for suite in &suites {
        act(suite, "HOST_ACTION_ON", "HOST_STATUS_ON").await?;
    }
    server.kill()?;
    for suite in &suites {
        act(suite, "HOST_ACTION_FORCE_RESTART", "HOST_STATUS_ON").await?;
    }
    server.again()?;
    for suite in &suites {
        act(suite, "HOST_ACTION_OFF", "HOST_STATUS_OFF").await?;
    }
    eventually("the fleet has every event of each BMC", LIMIT, || async {
        let Ok(kept) = kept(&stream).await else { return Ok(false) };
        for (n, suite) in suites.iter().enumerate() {
            let page = suite.admin().get("/api/v1alpha1/events?pageSize=1000").await?.json()?;
            let last = page["events"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|event| event["sequence"].as_str()?.parse::<u64>().ok())
                .max();
            let have = kept.get(&format!("bmc{n:02}")).cloned().unwrap_or_default();
            if last.is_none() || have.last().copied() < last {
                return Ok(false);
            }
        }
        Ok(true)
    })
    .await?;
    for (id, numbers) in kept(&stream).await? {
        let expected: Vec<u64> = (1..=numbers.len() as u64).collect();
        assert_eq!(numbers, expected, "{id}: a gap, a duplicate or a wrong order");
    }

    // One that is gone is shown as gone, not left out.
    if let Some(gone) = suites.pop() {
        let name = format!("bmc{:02}", suites.len());
        gone.crash().await?;
        let listed = ctl(&server, &["ls"])?;
        let bmcs = listed["bmcs"].as_array().cloned().unwrap_or_default();
        let line = bmcs.iter().find(|bmc| bmc["id"] == name.as_str()).cloned().unwrap_or_default();
        assert_eq!(line["answered"], false, "{listed}");
    }
    for suite in suites {
        suite.stop().await?;
    }
    Ok(())
}
