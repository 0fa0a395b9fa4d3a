//! gRPC over TLS and HTTP/2, by tonic. Where HTTP/2 is not agreed on or the answer is not gRPC, as behind some proxies, Connect in JSON over
//! HTTP/1.1 from then on.

mod connect;
mod get;
mod grpc;
mod race;
mod socket;
mod status;
mod tls;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http_body_util::Full;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use rustls::pki_types::ServerName;
use schema::v1alpha1::{Event, WatchEventsRequest};
use schema::{Idempotency, Method, MethodInfo};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::Streaming;

use crate::failure::{Code, Failure};
use crate::output::note;
use grpc::Refusal;
pub(crate) use socket::Socket;
use tls::Verifier;
pub(crate) use tls::{Fingerprint, Trust};

const AGENT: &str = concat!("ubmcctl/", env!("CARGO_PKG_VERSION"));
const H2: &[u8] = b"h2";
const H1: &[u8] = b"http/1.1";
/// An answer larger than this is not one of ours.
const MAX_REPLY: usize = 16 << 20;
/// A streamed message larger than this is not one of ours.
const MAX_EVENT: usize = 1 << 20;
/// What is left of the time of a call for the server's word that it is over: a tenth, and not more than this.
const LAST_WORD: Duration = Duration::from_millis(500);

/// Where the API is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// As given, for messages.
    pub(crate) given: String,
    host: String,
    port: u16,
}

impl Endpoint {
    /// `https://host[:port]`, or without the scheme.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = |why: &str| Failure::Usage(format!("`{text}` is no server: {why}"));
        let full = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let uri: http::Uri = full.parse().map_err(|_| wrong("write https://host[:port]"))?;
        if uri.scheme_str() != Some("https") {
            return Err(wrong("only https is spoken, so that no password crosses the network in the clear"));
        }
        if uri.path_and_query().is_some_and(|path| path.as_str() != "/") {
            return Err(wrong("it must not have a path"));
        }
        let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("name the user with --user"));
        }
        // A port that is no number is dropped by the parser, not refused.
        if authority.port_u16().is_none() && authority.as_str() != authority.host() {
            return Err(wrong("the port must be a number up to 65535"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() || ServerName::try_from(host.clone()).is_err() {
            return Err(wrong("it names no host"));
        }
        Ok(Self { given: text.to_owned(), host, port: authority.port_u16().unwrap_or(443) })
    }

    /// As a context keeps it.
    pub(crate) fn url(&self) -> String {
        let host = self.bracketed();
        if self.port == 443 { format!("https://{host}") } else { format!("https://{host}:{}", self.port) }
    }

    /// A name for a context made from it: two BMCs behind one address have two.
    pub(crate) fn name(&self) -> String {
        match self.port {
            443 => self.host.clone(),
            // With a colon one could not tell the port from the address.
            port if self.host.contains(':') => format!("{}-{port}", self.host),
            port => format!("{}:{port}", self.host),
        }
    }

    fn bracketed(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }

    fn authority(&self) -> String {
        if self.port == 443 { self.bracketed() } else { format!("{}:{}", self.bracketed(), self.port) }
    }
}

/// How we prove who we are.
#[derive(Clone, Default)]
pub(crate) enum Credential {
    #[default]
    None,
    Token(String),
    Basic {
        user: String,
        password: String,
    },
}

impl Credential {
    fn header(&self) -> Result<Option<HeaderValue>, Failure> {
        use base64::Engine as _;
        let text = match self {
            Self::None => return Ok(None),
            Self::Token(token) => format!("Bearer {token}"),
            Self::Basic { user, password } => {
                if user.contains(':') {
                    return Err(Failure::Usage("a user name cannot hold a colon".into()));
                }
                format!(
                    "Basic {}",
                    base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"))
                )
            }
        };
        let mut value = HeaderValue::from_str(&text)
            .map_err(|_| Failure::Usage("the token holds characters no header can carry".into()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// The token of the context as it is now; `None` when there is none for this BMC and account.
pub(crate) type Renewal = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// A BMC we talk to.
pub(crate) struct Client {
    endpoint: Endpoint,
    verifier: Arc<Verifier>,
    /// Offers HTTP/2 and HTTP/1.1.
    either: TlsConnector,
    /// Offers HTTP/1.1 alone.
    h1: TlsConnector,
    /// Whether gRPC is known not to get through.
    is_plain: AtomicBool,
    credential: std::sync::Mutex<Option<HeaderValue>>,
    renewal: Option<Renewal>,
    deadline: Duration,
    /// Name of the context with the pin, for messages.
    context: Option<String>,
    /// Shared by all calls.
    open: Mutex<Option<http2::SendRequest<tonic::body::Body>>>,
    /// For one call at a time.
    idle: Mutex<Option<http1::SendRequest<Full<Bytes>>>>,
}

impl Client {
    pub(crate) fn new(
        endpoint: Endpoint,
        trust: &Trust,
        credential: &Credential,
        deadline: Duration,
    ) -> Result<Self, Failure> {
        let verifier = Verifier::new(trust)?;
        let connector =
            |alpn: &[&[u8]]| verifier.client_config(alpn).map(|config| TlsConnector::from(Arc::new(config)));
        Ok(Self {
            endpoint,
            either: connector(&[H2, H1])?,
            h1: connector(&[H1])?,
            verifier,
            is_plain: AtomicBool::new(false),
            credential: std::sync::Mutex::new(credential.header()?),
            renewal: None,
            deadline,
            context: None,
            open: Mutex::new(None),
            idle: Mutex::new(None),
        })
    }

    /// Names the context in what is said about its pin.
    pub(crate) fn of_context(self, context: Option<String>) -> Self {
        Self { context, ..self }
    }

    /// Goes on with another token when the session has ended meanwhile, as a login elsewhere ends it.
    pub(crate) fn renewed_by(self, renewal: Renewal) -> Self {
        Self { renewal: Some(renewal), ..self }
    }

    fn credential(&self) -> Option<HeaderValue> {
        self.credential.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether what failed with the credential `used`, because its session has ended, is worth another attempt with the one there is now.
    pub(crate) fn renew(&self, failure: &Failure, used: Option<&HeaderValue>) -> bool {
        let Failure::Status(status) = failure else { return false };
        // A stream whose session ends gives no reason. A wrong password or a locked account is another matter.
        if status.code != Code::Unauthenticated || !matches!(status.reason.as_str(), "" | "INVALID_TOKEN") {
            return false;
        }
        let Some(renewal) = &self.renewal else { return false };
        let mut credential = self.credential.lock().unwrap_or_else(PoisonError::into_inner);
        if credential.as_ref() != used {
            return true;
        }
        let Some(Ok(Some(now))) = renewal().map(|token| Credential::Token(token).header()) else {
            return false;
        };
        if Some(&now) == used {
            return false;
        }
        *credential = Some(now);
        note("the session has ended; going on with the one that its context has now");
        true
    }

    /// Connects and returns the fingerprint of the certificate the server proved to hold.
    pub(crate) async fn fingerprint(&self) -> Result<Fingerprint, Failure> {
        self.in_time(async { Box::pin(self.connect(&self.either)).await.map(drop) }).await?;
        self.verifier.seen().ok_or_else(|| self.unreachable("the server showed no certificate"))
    }

    fn unreachable(&self, cause: impl ToString) -> Failure {
        Failure::Unreachable { server: self.endpoint.given.clone(), cause: cause.to_string() }
    }

    /// Everything a call is made of shares its time: looking up the name, connecting, the handshake, the answer to its last byte.
    async fn in_time<T>(&self, call: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let limit = self.deadline;
        let over = || self.unreachable(format!("no answer in {} s (--timeout)", limit.as_secs_f32()));
        timeout(limit, call).await.map_err(|_| over())?
    }

    /// When the server shall have said that the time is over, if a call begins now.
    fn last_word(&self) -> Instant {
        Instant::now() + self.deadline - LAST_WORD.min(self.deadline / 10)
    }

    async fn connect(&self, connector: &TlsConnector) -> Result<TlsStream<TcpStream>, Failure> {
        let address = (self.endpoint.host.as_str(), self.endpoint.port);
        let addresses = tokio::net::lookup_host(address).await.map_err(|error| self.unreachable(error))?;
        let stream = race::first(addresses, TcpStream::connect).await;
        let stream = stream.map_err(|error| self.unreachable(error))?;
        stream.set_nodelay(true).map_err(|error| self.unreachable(error))?;
        // A stream of events may be silent for days: a BMC that is gone without a word is noticed in a minute.
        keep_alive(&stream).map_err(|error| self.unreachable(error))?;
        let name =
            ServerName::try_from(self.endpoint.host.clone()).map_err(|error| self.unreachable(error))?;
        connector.connect(name, stream).await.map_err(|error| self.tls_failure(&error))
    }

    /// A new connection for Connect.
    async fn connected_h1(&self) -> Result<http1::SendRequest<Full<Bytes>>, Failure> {
        self.over_h1(Box::pin(self.connect(&self.h1)).await?).await
    }

    async fn over_h1(
        &self,
        stream: TlsStream<TcpStream>,
    ) -> Result<http1::SendRequest<Full<Bytes>>, Failure> {
        let made = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = made.map_err(|error| self.unreachable(error))?;
        // Its errors come back to whoever waits for an answer.
        tokio::spawn(connection);
        Ok(sender)
    }

    /// A new connection for gRPC; `None` when the server wants HTTP/1.1, and what is asked from now on is asked by Connect.
    async fn connected_h2(&self) -> Result<Option<http2::SendRequest<tonic::body::Body>>, Failure> {
        let stream = Box::pin(self.connect(&self.either)).await?;
        if stream.get_ref().1.alpn_protocol() != Some(H2) {
            self.is_plain.store(true, Ordering::Relaxed);
            *self.idle.lock().await = Some(self.over_h1(stream).await?);
            return Ok(None);
        }
        let made = Box::pin(http2::handshake(TokioExecutor::new(), TokioIo::new(stream))).await;
        let (sender, connection) = made.map_err(|error| self.unreachable(error))?;
        tokio::spawn(connection);
        *self.open.lock().await = Some(sender.clone());
        Ok(Some(sender))
    }

    /// A call by gRPC on the connection that is open or a new one; `None` when it is for Connect.
    async fn channel(
        &self,
        method: &'static MethodInfo,
        credential: Option<HeaderValue>,
    ) -> Result<Option<grpc::Channel<'_>>, Failure> {
        if self.is_plain.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let kept = self.open.lock().await.clone().filter(|sender| !sender.is_closed());
        let reused = kept.is_some();
        let sender = match kept {
            Some(sender) => Some(sender),
            None => self.connected_h2().await?,
        };
        Ok(sender.map(|sender| grpc::Channel { client: self, sender, reused, credential, method }))
    }

    /// Whether what gRPC did not bring about is to be asked by Connect.
    ///
    /// # Errors
    /// The failure, when it is final.
    fn otherwise(&self, method: &MethodInfo, refusal: Refusal) -> Result<(), Failure> {
        match refusal {
            Refusal::Foreign { is_untouched, .. }
                if is_untouched || method.idempotency == Idempotency::NoSideEffects =>
            {
                self.is_plain.store(true, Ordering::Relaxed);
                Ok(())
            }
            Refusal::Foreign { failure, .. } | Refusal::Told(failure) => Err(failure),
        }
    }

    fn tls_failure(&self, error: &std::io::Error) -> Failure {
        let server = self.endpoint.given.clone();
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match (tls, self.verifier.seen()) {
            // Shown, but not held: no pin and no CA makes that good.
            (Some(rustls::Error::InvalidCertificate(rustls::CertificateError::BadSignature)), _) => {
                self.unreachable("the server does not hold the key of the certificate it shows")
            }
            (Some(rustls::Error::InvalidCertificate(cause)), Some(found)) => match self.verifier.pin() {
                Some(pin) => Failure::PinMismatch {
                    server,
                    context: self.context.clone(),
                    expected: pin.to_string(),
                    found: found.to_string(),
                },
                None => Failure::Untrusted {
                    server,
                    context: self.context.clone(),
                    fingerprint: found.to_string(),
                    cause: certificate_words(cause),
                },
            },
            (Some(error), _) => self.unreachable(format!("TLS: {error}")),
            (None, _) => self.unreachable(error),
        }
    }

    /// Calls a unary method with encoded messages.
    pub(crate) async fn raw(&self, method: &'static MethodInfo, body: Bytes) -> Result<Bytes, Failure> {
        let attempt = async |credential: Option<HeaderValue>| {
            let end = self.last_word();
            if let Some(channel) = self.channel(method, credential.clone()).await? {
                let left = end.saturating_duration_since(Instant::now());
                match Box::pin(channel.unary(body.clone(), left)).await {
                    Ok(reply) => return Ok(reply),
                    Err(refusal) => self.otherwise(method, refusal)?,
                }
            }
            Box::pin(connect::unary(self, method, &body, credential)).await
        };
        let used = self.credential();
        self.in_time(async {
            match attempt(used.clone()).await {
                // What changes something is for whoever asked to ask again.
                Err(failure)
                    if method.idempotency == Idempotency::NoSideEffects
                        && self.renew(&failure, used.as_ref()) =>
                {
                    attempt(self.credential()).await
                }
                answer => answer,
            }
        })
        .await
    }

    /// Calls a unary method.
    pub(crate) async fn call<Req, Resp>(
        &self,
        method: Method<Req, Resp>,
        request: &Req,
    ) -> Result<Resp, Failure>
    where
        Req: Message,
        Resp: Message + Default,
    {
        let reply = self.raw(method.info, request.encode_to_vec().into()).await?;
        Resp::decode(reply)
            .map_err(|error| Failure::Local(format!("{}: answer not understood: {error}", method.method)))
    }

    /// Opens a stream of events; returns once the server has accepted it.
    pub(crate) async fn watch(&self, request: &WatchEventsRequest) -> Result<Events<Event>, Failure> {
        self.stream("schema.v1alpha1.EventService.WatchEvents", request).await
    }

    /// Opens a stream of a method; returns once the server has accepted it.
    pub(crate) async fn stream<M: Message + Default>(
        &self,
        method: &str,
        request: &impl Message,
    ) -> Result<Events<M>, Failure> {
        let method =
            schema::method(method).ok_or_else(|| Failure::Local(format!("the contract has no {method}")))?;
        let message = Bytes::from(request.encode_to_vec());
        let open = async |credential: Option<HeaderValue>| {
            if let Some(channel) = self.channel(method, credential.clone()).await? {
                match Box::pin(channel.stream(message.clone())).await {
                    Ok((messages, begin)) => return Ok((Messages::Grpc(Box::new(messages)), begin)),
                    Err(refusal) => self.otherwise(method, refusal)?,
                }
            }
            let (frames, begin) = Box::pin(connect::stream(self, method, &message, credential)).await?;
            Ok((Messages::Connect(frames), begin))
        };
        let mut credential = self.credential();
        // The start of the stream has its time; the stream itself goes on.
        let opened = self.in_time(async {
            match open(credential.clone()).await {
                Err(failure) if self.renew(&failure, credential.as_ref()) => {
                    credential = self.credential();
                    open(credential.clone()).await
                }
                answer => answer,
            }
        });
        let (messages, begin) = opened.await?;
        let server = self.endpoint.given.clone();
        Ok(Events { server, method, credential, begin, messages, _message: std::marker::PhantomData })
    }
}

fn keep_alive(stream: &TcpStream) -> std::io::Result<()> {
    use rustix::net::sockopt;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, Duration::from_secs(30))?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(10))?;
    Ok(sockopt::set_tcp_keepcnt(stream, 3)?)
}

fn certificate_words(cause: &rustls::CertificateError) -> String {
    use rustls::CertificateError as E;
    match cause {
        E::UnknownIssuer => "it is not signed by a CA this machine trusts".to_owned(),
        E::Expired | E::ExpiredContext { .. } => "it has expired".to_owned(),
        E::NotValidYet | E::NotValidYetContext { .. } => "it is not valid yet (is a clock wrong?)".to_owned(),
        E::NotValidForName | E::NotValidForNameContext { .. } => "it is made out to another name".to_owned(),
        other => other.to_string(),
    }
}

/// A stream of events.
pub(crate) struct Events<M> {
    server: String,
    method: &'static MethodInfo,
    /// What it was opened with.
    credential: Option<HeaderValue>,
    /// After which number of the event log it begins; servers before this had no such header.
    begin: Option<u64>,
    messages: Messages,
    _message: std::marker::PhantomData<M>,
}

enum Messages {
    Grpc(Box<Streaming<Bytes>>),
    Connect(connect::Frames),
}

impl<M: Message + Default> Events<M> {
    /// The number to go on after when it breaks before any event has come.
    pub(crate) fn begin(&self) -> Option<u64> {
        self.begin
    }

    /// What it was opened with.
    pub(crate) fn credential(&self) -> Option<&HeaderValue> {
        self.credential.as_ref()
    }

    /// The next event; `None` when the server ended the stream without an error.
    ///
    /// Cancel safe: bytes already read stay where they are.
    pub(crate) async fn next(&mut self) -> Result<Option<M>, Failure> {
        let message = match &mut self.messages {
            Messages::Connect(frames) => frames.next().await?,
            Messages::Grpc(messages) => {
                messages.message().await.map_err(|status| grpc::ended(&self.server, self.method, &status))?
            }
        };
        message
            .map(M::decode)
            .transpose()
            .map_err(|error| Failure::Local(format!("event not understood: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::{Credential, Endpoint};

    #[test]
    fn servers_are_https_hosts() {
        for (text, url, authority) in [
            ("bmc", "https://bmc", "bmc"),
            ("bmc.example:8443", "https://bmc.example:8443", "bmc.example:8443"),
            ("https://bmc/", "https://bmc", "bmc"),
            ("https://10.0.0.7", "https://10.0.0.7", "10.0.0.7"),
            ("https://[fd00::1]:8443", "https://[fd00::1]:8443", "[fd00::1]:8443"),
        ] {
            let endpoint = Endpoint::parse(text).unwrap();
            assert_eq!((endpoint.url().as_str(), endpoint.authority().as_str()), (url, authority), "{text}");
        }
        for text in
            ["", "http://bmc", "https://bmc/x", "https://a@bmc", "https://", "bmc:99999", "a b", "ftp://x"]
        {
            assert_eq!(Endpoint::parse(text).unwrap_err().exit_code(), 2, "{text}");
        }
    }

    #[test]
    fn credentials_are_headers_that_are_not_shown() {
        let basic =
            Credential::Basic { user: "admin".into(), password: "p:w".into() }.header().unwrap().unwrap();
        assert_eq!(basic.as_bytes(), b"Basic YWRtaW46cDp3");
        assert_eq!(format!("{basic:?}"), "Sensitive");
        assert!(Credential::None.header().unwrap().is_none());
        assert!(Credential::Token("a\nb".into()).header().is_err());
        assert!(Credential::Basic { user: "a:b".into(), password: String::new() }.header().is_err());
    }
}
