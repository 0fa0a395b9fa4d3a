//! The Connect protocol over TLS and HTTP/1.1: one POST per call, one POST with a framed answer per stream.

mod race;
mod status;
mod tls;

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HOST, USER_AGENT};
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use prost::Message;
use rustls::pki_types::ServerName;
use schema::v1alpha1::{Event, WatchEventsRequest};
use schema::{Idempotency, Method, MethodInfo};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use crate::failure::{Code, Failure};
use crate::output::note;
use tls::Verifier;
pub(crate) use tls::{Fingerprint, Trust};

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
    connector: TlsConnector,
    credential: std::sync::Mutex<Option<HeaderValue>>,
    renewal: Option<Renewal>,
    deadline: Duration,
    /// Name of the context with the pin, for messages.
    context: Option<String>,
    idle: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl Client {
    pub(crate) fn new(
        endpoint: Endpoint,
        trust: &Trust,
        credential: &Credential,
        deadline: Duration,
    ) -> Result<Self, Failure> {
        let verifier = Verifier::new(trust)?;
        let connector = TlsConnector::from(Arc::new(verifier.client_config()?));
        Ok(Self {
            endpoint,
            verifier,
            connector,
            credential: std::sync::Mutex::new(credential.header()?),
            renewal: None,
            deadline,
            context: None,
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
        self.in_time(async { self.connect().await.map(drop) }).await?;
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

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let address = (self.endpoint.host.as_str(), self.endpoint.port);
        let addresses = tokio::net::lookup_host(address).await.map_err(|error| self.unreachable(error))?;
        let stream = race::first(addresses, TcpStream::connect).await;
        let stream = stream.map_err(|error| self.unreachable(error))?;
        stream.set_nodelay(true).map_err(|error| self.unreachable(error))?;
        // A stream of events may be silent for days: a BMC that is gone without a word is noticed in a minute.
        keep_alive(&stream).map_err(|error| self.unreachable(error))?;
        let name =
            ServerName::try_from(self.endpoint.host.clone()).map_err(|error| self.unreachable(error))?;
        let stream = self.connector.connect(name, stream).await.map_err(|error| self.tls_failure(&error))?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.unreachable(error))?;
        // Its errors come back to whoever waits for an answer.
        tokio::spawn(connection);
        Ok(sender)
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

    fn request(
        &self,
        method: &MethodInfo,
        content_type: &'static str,
        body: Bytes,
        credential: Option<HeaderValue>,
        left: Duration,
    ) -> Result<Request<Full<Bytes>>, Failure> {
        let mut request = Request::post(method.path)
            .header(HOST, self.endpoint.authority())
            .header(USER_AGENT, concat!("ubmcctl/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, content_type)
            .header(ACCEPT, content_type)
            .header("connect-protocol-version", "1");
        if let Some(credential) = credential {
            request = request.header(AUTHORIZATION, credential);
        }
        if !method.server_streaming {
            request =
                request.header("connect-timeout-ms", left.as_millis().clamp(1, 9_999_999_999).to_string());
        }
        request.body(Full::new(body)).map_err(|error| Failure::Local(format!("request: {error}")))
    }

    /// Sends on a connection that is open, or on a new one.
    async fn send(
        &self,
        method: &MethodInfo,
        content_type: &'static str,
        body: Bytes,
        credential: Option<HeaderValue>,
    ) -> Result<(Response<Incoming>, SendRequest<Full<Bytes>>), Failure> {
        let end = Instant::now() + self.deadline - LAST_WORD.min(self.deadline / 10);
        let kept = self.idle.lock().await.take().filter(SendRequest::is_ready);
        let reused = kept.is_some();
        let mut sender = match kept {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        let left = end.saturating_duration_since(Instant::now());
        let request = self.request(method, content_type, body, credential, left)?;
        match sender.try_send_request(request).await {
            Ok(response) => Ok((response, sender)),
            Err(mut error) => match error.take_message() {
                // The server closed a kept connection before it took the request: that one alone is safe to send again.
                Some(request) if reused => {
                    let mut sender = self.connect().await?;
                    let response =
                        sender.send_request(request).await.map_err(|error| self.unreachable(error))?;
                    Ok((response, sender))
                }
                _ => Err(self.unreachable(error.into_error())),
            },
        }
    }

    /// Calls a unary method with encoded messages.
    pub(crate) async fn raw(&self, method: &'static MethodInfo, body: Bytes) -> Result<Bytes, Failure> {
        let attempt = async |credential| {
            let (response, sender) = self.send(method, "application/proto", body.clone(), credential).await?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, MAX_REPLY)
                .collect()
                .await
                .map_err(|error| self.unreachable(error))?
                .to_bytes();
            *self.idle.lock().await = Some(sender);
            if let Some(date) = parts.headers.get(DATE).and_then(|date| date.to_str().ok()) {
                crate::text::server_says(date);
            }
            let content_type =
                parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
            if parts.status.is_success() && content_type.starts_with("application/proto") {
                return Ok(body);
            }
            if parts.status.is_success() || parts.status.is_redirection() {
                return Err(self.unreachable(format!(
                    "this is no u-bmc: it answered {} {content_type:?}",
                    parts.status
                )));
            }
            Err(Failure::Status(Box::new(status::from_http(parts.status, &body, method))))
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
    pub(crate) async fn watch(&self, request: &WatchEventsRequest) -> Result<Events, Failure> {
        let method = schema::method("schema.v1alpha1.EventService.WatchEvents")
            .ok_or_else(|| Failure::Local("the contract has no WatchEvents".into()))?;
        let message = request.encode_to_vec();
        let mut body = BytesMut::with_capacity(message.len() + 5);
        body.extend_from_slice(&[0]);
        body.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
        body.extend_from_slice(&message);
        let body = body.freeze();
        let open = async |credential| {
            let (response, sender) =
                self.send(method, "application/connect+proto", body.clone(), credential).await?;
            if response.status().is_success() {
                return Ok((response, sender));
            }
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_EVENT).collect().await;
            let body = body.map_err(|error| self.unreachable(error))?.to_bytes();
            Err(Failure::Status(Box::new(status::from_http(status, &body, method))))
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
        let (response, sender) = opened.await?;
        let begin =
            response.headers().get("event-sequence").and_then(|begin| begin.to_str().ok()?.parse().ok());
        Ok(Events {
            server: self.endpoint.given.clone(),
            method,
            credential,
            begin,
            body: response.into_body(),
            buffer: BytesMut::new(),
            _sender: sender,
        })
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
pub(crate) struct Events {
    server: String,
    method: &'static MethodInfo,
    /// What it was opened with.
    credential: Option<HeaderValue>,
    /// After which number of the event log it begins; servers before this had no such header.
    begin: Option<u64>,
    body: Incoming,
    buffer: BytesMut,
    /// Dropping it would end the connection.
    _sender: SendRequest<Full<Bytes>>,
}

impl Events {
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
    /// Cancel safe: bytes already read stay in the buffer.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, Failure> {
        loop {
            if let Some((flags, message)) = self.frame()? {
                if flags & 2 != 0 {
                    return match status::from_end_of_stream(&message, self.method) {
                        Some(status) => Err(Failure::Status(Box::new(status))),
                        None => Ok(None),
                    };
                }
                let event = Event::decode(message)
                    .map_err(|error| Failure::Local(format!("event not understood: {error}")))?;
                return Ok(Some(event));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
                Some(Err(error)) => return Err(self.broken(error)),
                None => return Err(self.broken("the stream broke off")),
            }
        }
    }

    fn broken(&self, cause: impl ToString) -> Failure {
        Failure::Unreachable { server: self.server.clone(), cause: cause.to_string() }
    }

    fn frame(&mut self) -> Result<Option<(u8, Bytes)>, Failure> {
        let Some((head, _)) = self.buffer.split_first_chunk::<5>() else { return Ok(None) };
        let [flags, length @ ..] = *head;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > MAX_EVENT || flags & 1 != 0 {
            return Err(self.broken("the stream is not what was asked for"));
        }
        if self.buffer.len() < 5 + length {
            return Ok(None);
        }
        self.buffer.advance(5);
        Ok(Some((flags, self.buffer.split_to(length).freeze())))
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
