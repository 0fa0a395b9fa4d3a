//! A small HTTPS client: one connection kept alive, any certificate accepted (the tests made it a second ago).

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

/// Longest wait for a reply.
const REPLY_LIMIT: Duration = Duration::from_secs(60);

/// Who a client is.
#[derive(Clone)]
pub enum Credential {
    /// Nobody.
    None,
    /// HTTP Basic: name and password.
    Basic(String, String),
    /// A session's token.
    Token(String),
}

impl Credential {
    /// What the header `authorization` says of it.
    #[must_use]
    pub fn header(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Basic(name, password) => {
                let pair = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{password}"));
                Some(format!("Basic {pair}"))
            }
            Self::Token(token) => Some(format!("Bearer {token}")),
        }
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Basic(..) => "Basic",
            Self::Token(_) => "Token",
        })
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Reply {
    /// The body as JSON.
    ///
    /// # Errors
    /// When it is not JSON; the error shows the body.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("{}: not JSON: {}", self.status, self.text()))
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A client of one BMC.
#[derive(Debug)]
pub struct Client {
    address: String,
    credential: Credential,
    tls: Arc<ClientConfig>,
    connection: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl Client {
    /// A client of the BMC at `address:port`.
    ///
    /// # Panics
    /// When the TLS library refuses its own defaults.
    #[must_use]
    pub fn new(address: &str, credential: Credential) -> Self {
        let tls = tls();
        Self { address: address.into(), credential, tls, connection: Mutex::new(None) }
    }

    /// The same BMC as somebody else.
    #[must_use]
    pub fn with(&self, credential: Credential) -> Self {
        Self::new(&self.address, credential)
    }

    /// The same client on a connection of its own.
    #[must_use]
    pub fn again(&self) -> Self {
        Self::new(&self.address, self.credential.clone())
    }

    /// GET.
    ///
    /// # Errors
    /// When no answer came.
    pub async fn get(&self, path: &str) -> Result<Reply> {
        self.send(Method::GET, path, &[], Bytes::new()).await
    }

    /// POST of JSON.
    ///
    /// # Errors
    /// When no answer came.
    pub async fn post(&self, path: &str, body: &serde_json::Value) -> Result<Reply> {
        self.send(Method::POST, path, &[("content-type", "application/json")], body.to_string().into()).await
    }

    /// A Connect unary call with JSON: `service/method` without the package.
    ///
    /// # Errors
    /// When no answer came.
    pub async fn call(&self, method: &str, body: &serde_json::Value) -> Result<Reply> {
        self.post(&format!("/schema.v1alpha1.{method}"), body).await
    }

    /// Any request; asks again once on a fresh connection when a kept one turns out to be closed.
    ///
    /// # Errors
    /// When no answer came.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Reply> {
        let attempt = async {
            let mut kept = self.connection.lock().await;
            if let Some(connection) = kept.as_mut().filter(|c| !c.is_closed()) {
                if let Ok(reply) = self.exchange(connection, &method, path, headers, body.clone()).await {
                    return Ok(reply);
                }
                *kept = None;
            }
            let mut connection = self.connect().await?;
            let reply = self.exchange(&mut connection, &method, path, headers, body.clone()).await?;
            *kept = Some(connection);
            Ok(reply)
        };
        tokio::time::timeout(REPLY_LIMIT, attempt)
            .await
            .with_context(|| format!("{method} {path}: no answer in {REPLY_LIMIT:?}"))?
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let tcp = TcpStream::connect(&self.address)
            .await
            .with_context(|| format!("cannot connect to {}", self.address))?;
        tcp.set_nodelay(true)?;
        let tls = tokio_rustls::TlsConnector::from(Arc::clone(&self.tls))
            .connect(ServerName::try_from("localhost")?, tcp)
            .await
            .context("TLS")?;
        let (connection, driver) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await?;
        tokio::spawn(driver);
        Ok(connection)
    }

    async fn exchange(
        &self,
        connection: &mut SendRequest<Full<Bytes>>,
        method: &Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Reply> {
        let mut request = Request::builder().method(method).uri(path).header("host", &self.address);
        if let Some(authorization) = self.credential.header() {
            request = request.header("authorization", authorization);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        connection.ready().await?;
        let reply = connection.send_request(request.body(Full::new(body))?).await?;
        let (head, body) = reply.into_parts();
        Ok(Reply {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.collect().await?.to_bytes(),
        })
    }
}

fn tls() -> Arc<ClientConfig> {
    Arc::new(tls_config(b"http/1.1"))
}

/// A TLS client that accepts any certificate and speaks this protocol, by its name in ALPN.
///
/// # Panics
/// When the TLS library refuses its own defaults.
#[must_use]
pub fn tls_config(protocol: &[u8]) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("the defaults of the TLS library")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything(provider)))
        .with_no_client_auth();
    tls.alpn_protocols = vec![protocol.to_vec()];
    tls
}

/// Connects to `to` from an address of the loopback network, for bytes that are no sound requests.
///
/// # Errors
/// When there is no connection.
pub async fn connect_from(to: SocketAddr, from: Ipv4Addr) -> Result<TcpStream> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    Ok(socket.connect(to).await?)
}

/// The same with TLS over it.
///
/// # Errors
/// When there is no connection, or TLS fails.
pub async fn tls_from(to: SocketAddr, from: Ipv4Addr) -> Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let tcp = connect_from(to, from).await?;
    Ok(tokio_rustls::TlsConnector::from(tls()).connect(ServerName::try_from("localhost")?, tcp).await?)
}

/// Accepts any certificate, but checks that the server holds its key.
#[derive(Debug)]
struct Anything(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
