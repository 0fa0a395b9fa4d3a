//! The official clients of Connect, gRPC and gRPC-Web against the whole suite: each unary and streaming, with gzip, deadlines and the details of
//! errors. What runs by Node.js is in `tests/clients/rpc_matrix.mjs`, what runs by Python in `web_matrix.py`; tonic and `buf curl` are here.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use prost_types::Any;
use schema::google::rpc as google;
use schema::v1alpha1 as api;
use serde_json::{Value, json};
use testkit::{ADMIN_PASSWORD, Credential, Suite};
use tonic::codec::CompressionEncoding;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

const U_BMC: &str = env!("CARGO_BIN_EXE_u-bmc");
const GET_HOST: &str = "/schema.v1alpha1.HostService/GetHost";
const WATCH: &str = "/schema.v1alpha1.EventService/WatchEvents";
/// Longest any call here may take.
const PATIENCE: Duration = Duration::from_secs(60);

type Result<T = (), E = anyhow::Error> = std::result::Result<T, E>;

/// Node.js, and the folder with the clients for it.
fn node() -> Option<(PathBuf, PathBuf)> {
    Some((std::env::var_os("UBMC_TEST_NODE")?.into(), std::env::var_os("UBMC_TEST_NODE_CLIENTS")?.into()))
}

#[expect(clippy::print_stdout, reason = "a skip is counted by what it prints")]
fn skip() {
    println!("SKIP: no Node.js with the RPC clients (cargo xtask test installs them)");
}

fn certificate(suite: &Suite) -> PathBuf {
    suite.state_dir().join("websrv/tls/cert.pem")
}

/// As the certificate names it.
fn url(suite: &Suite) -> Result<String> {
    let port = suite.https().rsplit(':').next().context("no port")?;
    Ok(format!("https://localhost:{port}"))
}

async fn token(suite: &Suite) -> Result<String> {
    let body = json!({ "username": "admin", "password": ADMIN_PASSWORD });
    let session = suite.client(Credential::None).post("/api/v1alpha1/sessions", &body).await?.json()?;
    Ok(session["token"].as_str().with_context(|| format!("no token: {session}"))?.to_owned())
}

/// Whether a program ended well, and what it said.
async fn run(mut command: tokio::process::Command) -> Result<(bool, String, String)> {
    let out = command.stdin(Stdio::null()).kill_on_drop(true).output().await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((out.status.success(), text(&out.stdout), text(&out.stderr)))
}

#[tokio::test]
async fn connect_node_connect_web_and_grpc_web_are_served() -> Result {
    let Some((node, clients)) = node() else {
        skip();
        return Ok(());
    };
    let suite = Suite::builder(U_BMC).start().await?;
    let descriptors = suite.scratch().join("schema.binpb");
    std::fs::write(&descriptors, schema::FILE_DESCRIPTOR_SET)?;
    let mut command = tokio::process::Command::new(node);
    command
        .arg(testkit::root().join("tests/clients/rpc_matrix.mjs"))
        .arg(url(&suite)?)
        .args([&descriptors, &clients])
        .env("UBMC_PASSWORD", ADMIN_PASSWORD)
        .env("NODE_EXTRA_CA_CERTS", certificate(&suite));
    let (good, out, err) = run(command).await?;
    assert!(good, "{out}{err}");
    suite.stop().await
}

/// `buf curl`, which learns the schema by reflection.
struct Buf<'a> {
    node: &'a Path,
    clients: &'a Path,
    certificate: PathBuf,
    url: String,
    token: String,
}

impl Buf<'_> {
    async fn call(
        &self,
        protocol: &str,
        method: &str,
        data: &Value,
        more: &[&str],
    ) -> Result<(bool, String, String)> {
        let mut command = tokio::process::Command::new(self.node);
        command
            .arg(self.clients.join("node_modules/@bufbuild/buf/bin/buf"))
            .args(["curl", "--protocol", protocol, "--cacert"])
            .arg(&self.certificate)
            .args(["--header", &format!("authorization: Bearer {}", self.token)])
            .args(["--reflect-header", &format!("authorization: Bearer {}", self.token)])
            .args(["--data", &data.to_string()])
            .args(more)
            .arg(format!("{}{method}", self.url));
        run(command).await
    }
}

#[tokio::test]
async fn buf_curl_is_served_by_each_of_its_protocols() -> Result {
    let Some((node, clients)) = node() else {
        skip();
        return Ok(());
    };
    let suite = Suite::builder(U_BMC).start().await?;
    let buf = Buf {
        node: &node,
        clients: &clients,
        certificate: certificate(&suite),
        url: url(&suite)?,
        token: token(&suite).await?,
    };
    for protocol in ["connect", "grpc", "grpcweb"] {
        let (good, out, err) = buf.call(protocol, GET_HOST, &json!({ "name": "system" }), &[]).await?;
        ensure!(good, "{protocol}: {err}");
        let reply: Value = serde_json::from_str(&out)?;
        assert_eq!(reply["host"]["name"], "system", "{protocol}");

        let (good, _, err) = buf.call(protocol, GET_HOST, &json!({ "name": "" }), &[]).await?;
        let error: Value = serde_json::from_str(&err).with_context(|| format!("{protocol}: {err}"))?;
        assert!(!good && error["code"] == "invalid_argument", "{protocol}: {err}");
        assert_eq!(error["details"][0]["type"], "google.rpc.BadRequest", "{protocol}: {err}");

        // From the first event on, until the time is over, of which a busy machine takes a part before the first one is told.
        let (good, out, err) =
            buf.call(protocol, WATCH, &json!({ "afterSequence": "0" }), &["--timeout", "8s"]).await?;
        let first: Value =
            serde_json::Deserializer::from_str(&out).into_iter().next().context("no event")??;
        assert!(first["sequence"].is_string(), "{protocol}: {first}");
        assert!(!good && err.contains("deadline_exceeded"), "{protocol}: {err}");
    }
    let (good, out, err) = buf.call("grpc", GET_HOST, &json!({ "name": "system" }), &["--http3"]).await?;
    ensure!(good && out.contains("\"system\""), "over HTTP/3: {out}{err}");
    suite.stop().await
}

/// tonic, by the path alone.
struct Tonic {
    grpc: tonic::client::Grpc<Channel>,
    token: String,
}

impl Tonic {
    fn request<T>(&self, message: T) -> Result<Request<T>> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", format!("Bearer {}", self.token).parse()?);
        Ok(request)
    }

    async fn get_host(
        &mut self,
        request: Request<api::GetHostRequest>,
    ) -> Result<api::GetHostResponse, Status> {
        self.ready().await?;
        let codec = ProstCodec::<api::GetHostRequest, api::GetHostResponse>::default();
        let path = http::uri::PathAndQuery::from_static(GET_HOST);
        Ok(self.grpc.unary(request, path, codec).await?.into_inner())
    }

    async fn watch(
        &mut self,
        request: Request<api::WatchEventsRequest>,
    ) -> Result<tonic::Streaming<api::Event>, Status> {
        self.ready().await?;
        let codec = ProstCodec::<api::WatchEventsRequest, api::Event>::default();
        let path = http::uri::PathAndQuery::from_static(WATCH);
        Ok(self.grpc.server_streaming(request, path, codec).await?.into_inner())
    }

    async fn ready(&mut self) -> Result<(), Status> {
        self.grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))
    }
}

fn host(name: &str) -> api::GetHostRequest {
    api::GetHostRequest { name: name.into(), ..api::GetHostRequest::default() }
}

/// The fields an error's details complain about.
fn violations(status: &Status) -> Result<Vec<String>> {
    let status = <google::Status as prost::Message>::decode(status.details())?;
    let of = |any: &Any| -> Result<Vec<String>> {
        assert_eq!(any.type_url, "type.googleapis.com/google.rpc.BadRequest");
        let bad = <google::BadRequest as prost::Message>::decode(&any.value[..])?;
        Ok(bad.field_violations.into_iter().map(|violation| violation.field).collect())
    };
    Ok(status.details.iter().map(of).collect::<Result<Vec<_>>>()?.concat())
}

#[tokio::test]
async fn tonic_is_served() -> Result {
    let suite = Suite::builder(U_BMC).start().await?;
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(std::fs::read(certificate(&suite))?))
        .domain_name("localhost");
    let channel = Endpoint::from_shared(url(&suite)?)?.tls_config(tls)?.connect().await?;
    let grpc = tonic::client::Grpc::new(channel).accept_compressed(CompressionEncoding::Gzip);
    let mut tonic = Tonic { grpc, token: token(&suite).await? };

    let request = tonic.request(host("system"))?;
    let reply = tonic.get_host(request).await?;
    assert_eq!(reply.host.map(|host| host.name).as_deref(), Some("system"));

    let request = tonic.request(host(""))?;
    let error = tonic.get_host(request).await.unwrap_err();
    assert_eq!((error.code(), violations(&error)?), (Code::InvalidArgument, vec!["name".to_owned()]));
    let error = tonic.get_host(Request::new(host("system"))).await.unwrap_err();
    assert_eq!(error.code(), Code::Unauthenticated);
    let mut request = tonic.request(host("system"))?;
    request.metadata_mut().insert("grpc-timeout", "1n".parse()?);
    let error = tonic.get_host(request).await.unwrap_err();
    // tonic keeps the time as well, and has a word of its own for it.
    assert!(matches!(error.code(), Code::DeadlineExceeded | Code::Cancelled), "{error}");

    // Events from the first one on; the server ends the stream when its time is over, which is long enough for those there are.
    let from_first =
        api::WatchEventsRequest { after_sequence: Some(0), ..api::WatchEventsRequest::default() };
    let mut request = tonic.request(from_first)?;
    request.metadata_mut().insert("grpc-timeout", "8S".parse()?);
    let mut stream = tonic.watch(request).await?;
    let mut numbers = Vec::new();
    let end = loop {
        match tokio::time::timeout(PATIENCE, stream.message()).await? {
            Ok(Some(event)) => numbers.push(event.sequence),
            Ok(None) => anyhow::bail!("the stream ended as if all were told"),
            Err(status) => break status,
        }
    };
    assert!(numbers.len() > 2 && numbers.is_sorted(), "{numbers:?}");
    assert_eq!(end.code(), Code::DeadlineExceeded, "{end}");

    let request = tonic.request(api::WatchEventsRequest {
        domain: "not a token".into(),
        ..api::WatchEventsRequest::default()
    })?;
    let error = tonic.watch(request).await.unwrap_err();
    assert_eq!((error.code(), violations(&error)?), (Code::InvalidArgument, vec!["domain".to_owned()]));

    // What cannot be read is refused in a way the client knows.
    tonic.grpc = tonic.grpc.send_compressed(CompressionEncoding::Gzip);
    let request = tonic.request(host("system"))?;
    let error = tonic.get_host(request).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented, "{error}");
    suite.stop().await
}
