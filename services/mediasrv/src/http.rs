//! An image at a server: found once, read by ranges (RFC 9110, 14), always the same one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HOST, IF_RANGE, LAST_MODIFIED,
    LOCATION, RANGE, USER_AGENT,
};
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use media::{Failure, Opened};
use outward::{Connector, Destination};

/// How long a look for an image may take, with all redirects.
const OPEN_WITHIN: Duration = Duration::from_secs(15);
/// How long a range may take: less than a host waits.
const FETCH_WITHIN: Duration = Duration::from_secs(12);
/// Redirects that are followed: mirrors and release pages have one or two.
const REDIRECTS_MAX: usize = 4;
/// Bytes of what tells versions at most: it is kept with the medium.
const VALIDATOR_MAX: usize = 256;
/// Connections that are kept open between two ranges.
const IDLE_MAX: usize = 4;

type Connection = SendRequest<Empty<Bytes>>;

/// What is asked for.
#[derive(Clone)]
pub(crate) struct Wanted {
    pub(crate) url: String,
    pub(crate) verify: bool,
    pub(crate) username: String,
    pub(crate) password: String,
}

/// Without the password.
impl std::fmt::Debug for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wanted").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Who may be asked.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) connector: Connector,
    pub(crate) allow_http: bool,
}

impl Servers {
    /// Where a URL leads, if that may be had.
    ///
    /// # Errors
    /// Why not, for people.
    pub(crate) fn judge(&self, url: &str) -> Result<Destination, &'static str> {
        let to = Destination::parse(url)?;
        if !to.tls && !self.allow_http {
            return Err("plain HTTP is not allowed (mediasrv.allow_http)");
        }
        if !self.connector.may(&to) {
            return Err("it is an address of the controller itself or of its link");
        }
        Ok(to)
    }
}

/// Where an image really is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    to: Destination,
    /// Its size, and what tells another version from it.
    size: u64,
    validator: Option<String>,
}

/// All of an image, on its way.
pub(crate) struct Whole {
    /// Its bytes, as the server says.
    pub(crate) size: u64,
    pub(crate) body: Incoming,
    /// What it comes by.
    _connection: Connection,
}

/// An image at a server.
#[derive(Debug)]
pub(crate) struct HttpImage {
    servers: Arc<Servers>,
    wanted: Wanted,
    /// Looked for again when it was not found, or where it was is not good any more.
    found: tokio::sync::Mutex<Option<Found>>,
    /// What it has to be, once it is known: a host does not get another image under its feet.
    identity: Mutex<Option<Opened>>,
    idle: Mutex<VecDeque<(Destination, Connection)>>,
}

impl HttpImage {
    /// One that is looked for with the first bytes that are wanted of it; `known` is what it was before.
    pub(crate) fn new(servers: Arc<Servers>, wanted: Wanted, known: Option<Opened>) -> Self {
        Self {
            servers,
            wanted,
            found: tokio::sync::Mutex::default(),
            identity: Mutex::new(known),
            idle: Mutex::default(),
        }
    }

    /// Looks for it: its size, and what tells its versions.
    pub(crate) async fn open(&self) -> Result<Opened, String> {
        let looking = tokio::time::timeout(OPEN_WITHIN, self.find()).await;
        let late = |_| Err(format!("the server did not answer within {} s", OPEN_WITHIN.as_secs()));
        looking.unwrap_or_else(late).map(|Found { size, validator, .. }| Opened { size, validator })
    }

    async fn find(&self) -> Result<Found, String> {
        let mut known = self.found.lock().await;
        if let Some(found) = &*known {
            return Ok(found.clone());
        }
        let found = self.look().await?;
        let mut identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        match &*identity {
            Some(Opened { size, .. }) if *size != found.size => {
                return Err(format!("it has {} bytes and not {size} any more", found.size));
            }
            Some(Opened { validator: Some(validator), .. })
                if found.validator.as_ref() != Some(validator) =>
            {
                return Err("the server has another version of it now".to_owned());
            }
            _ => *identity = Some(Opened { size: found.size, validator: found.validator.clone() }),
        }
        drop(identity);
        *known = Some(found.clone());
        Ok(found)
    }

    async fn look(&self) -> Result<Found, String> {
        let first = self.servers.judge(&self.wanted.url)?;
        let mut to = first.clone();
        for _ in 0..=REDIRECTS_MAX {
            let (response, connection) = self.ask(&to, &first, Some((0, 0)), None).await?;
            match response.status() {
                StatusCode::PARTIAL_CONTENT => {
                    let (_, _, size) = content_range(response.headers())
                        .ok_or("the server does not say how large it is (Content-Range)")?;
                    let validator = validator(response.headers());
                    if read(response, 1).await.is_ok() {
                        self.keep(to.clone(), connection);
                    }
                    return Ok(Found { to, size, validator });
                }
                StatusCode::OK => {
                    return Err(
                        "the server serves no ranges of it: have it copied into the store (copy)".to_owned()
                    );
                }
                StatusCode::RANGE_NOT_SATISFIABLE => return Err("it is empty".to_owned()),
                status if status.is_redirection() => to = self.next(&to, &response)?,
                status => return Err(refusal(status)),
            }
        }
        Err(format!("the server leads on more than {REDIRECTS_MAX} times"))
    }

    /// Bytes of it.
    pub(crate) async fn fetch(&self, offset: u64, length: u32) -> Result<Vec<u8>, Failure> {
        let fetching = tokio::time::timeout(FETCH_WITHIN, self.fetch_range(offset, length)).await;
        fetching.unwrap_or_else(|_| {
            Err(Failure {
                why: format!("the server did not answer within {} s", FETCH_WITHIN.as_secs()),
                is_final: false,
            })
        })
    }

    async fn fetch_range(&self, offset: u64, length: u32) -> Result<Vec<u8>, Failure> {
        let failed = |why: String| Failure { why, is_final: false };
        let last = |why: String| Failure { why, is_final: true };
        let found = self.find().await.map_err(failed)?;
        let first = self.servers.judge(&self.wanted.url).map_err(|why| last(why.to_owned()))?;
        let end = offset + u64::from(length).saturating_sub(1);
        let asked = self.ask(&found.to, &first, Some((offset, end)), found.validator.as_deref()).await;
        let (response, connection) = asked.map_err(failed)?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                if content_range(response.headers()) != Some((offset, end, found.size)) {
                    return Err(last("the server sent another range than was asked for".to_owned()));
                }
                let most = usize::try_from(length).unwrap_or(0);
                let bytes = read(response, most).await.map_err(failed)?;
                self.keep(found.to, connection);
                Ok(bytes)
            }
            // With `If-Range` that is the whole of another version.
            StatusCode::OK => {
                *self.found.lock().await = None;
                Err(last("the server has another version of it now".to_owned()))
            }
            status => {
                // A place that a redirect led to may be good for a while only.
                *self.found.lock().await = None;
                Err(last(refusal(status)))
            }
        }
    }

    /// Asks for all of it at once, from a server that need not know ranges: how large it is, and its bytes. It is over with the connection.
    ///
    /// # Errors
    /// Why it is not to be had, for people.
    pub(crate) async fn whole(&self) -> Result<Whole, String> {
        let late = |_| Err(format!("the server did not answer within {} s", OPEN_WITHIN.as_secs()));
        tokio::time::timeout(OPEN_WITHIN, self.ask_for_all()).await.unwrap_or_else(late)
    }

    async fn ask_for_all(&self) -> Result<Whole, String> {
        let first = self.servers.judge(&self.wanted.url)?;
        let mut to = first.clone();
        for _ in 0..=REDIRECTS_MAX {
            let (response, connection) = self.ask(&to, &first, None, None).await?;
            match response.status() {
                StatusCode::OK => {
                    let length = response.headers().get(CONTENT_LENGTH);
                    let size = length.and_then(|size| size.to_str().ok()?.parse().ok());
                    let size = size.ok_or("the server does not say how large it is (Content-Length)")?;
                    return Ok(Whole { size, body: response.into_body(), _connection: connection });
                }
                status if status.is_redirection() => to = self.next(&to, &response)?,
                status => return Err(refusal(status)),
            }
        }
        Err(format!("the server leads on more than {REDIRECTS_MAX} times"))
    }

    /// Where a server leads on to.
    fn next(&self, from: &Destination, response: &Response<Incoming>) -> Result<Destination, String> {
        let next = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let next =
            next.ok_or_else(|| format!("the server answered {} without a place", response.status()))?;
        let next = self.servers.judge(&absolute(from, next)?);
        let next = next.map_err(|why| format!("the server leads on to where nothing is read from: {why}"))?;
        if from.tls && !next.tls {
            return Err("the server leads from HTTPS to HTTP".to_owned());
        }
        Ok(next)
    }

    /// Asks for a range or all, by a connection that is there or a new one. Credentials go to the server that was named and to no other.
    async fn ask(
        &self,
        to: &Destination,
        first: &Destination,
        range: Option<(u64, u64)>,
        validator: Option<&str>,
    ) -> Result<(Response<Incoming>, Connection), String> {
        let build = || {
            let mut request = Request::get(to.path.as_str())
                .header(HOST, to.authority.as_str())
                .header(USER_AGENT, "u-bmc")
                .header(ACCEPT_ENCODING, "identity");
            if let Some((begin, end)) = range {
                request = request.header(RANGE, format!("bytes={begin}-{end}"));
            }
            if let Some(validator) = validator {
                request = request.header(IF_RANGE, validator);
            }
            let is_first = (to.tls, &to.host, to.port) == (first.tls, &first.host, first.port);
            if is_first && !self.wanted.username.is_empty() {
                let pair = format!("{}:{}", self.wanted.username, self.wanted.password);
                request = request.header(AUTHORIZATION, format!("Basic {}", BASE64_STANDARD.encode(pair)));
            }
            request.body(Empty::new()).map_err(|_| "the URL is no target of a request".to_owned())
        };
        while let Some(mut connection) = self.idle(to) {
            // The server may have closed it meanwhile.
            if connection.ready().await.is_ok()
                && let Ok(response) = connection.send_request(build()?).await
            {
                return Ok((response, connection));
            }
        }
        let stream = self.servers.connector.connect(to, self.wanted.verify).await?;
        let broke = |error: hyper::Error| format!("the connection broke: {error}");
        let (mut connection, driver) = handshake(TokioIo::new(stream)).await.map_err(broke)?;
        tokio::spawn(driver);
        let response = connection.send_request(build()?).await.map_err(broke)?;
        Ok((response, connection))
    }

    fn idle(&self, to: &Destination) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let at = idle.iter().position(|(of, _)| of == to)?;
        idle.remove(at).map(|(_, connection)| connection)
    }

    fn keep(&self, to: Destination, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while idle.len() >= IDLE_MAX {
            idle.pop_front();
        }
        idle.push_back((to, connection));
    }
}

async fn read(response: Response<Incoming>, most: usize) -> Result<Vec<u8>, String> {
    let body = Limited::new(response.into_body(), most).collect().await;
    Ok(body.map_err(|error| format!("the connection broke: {error}"))?.to_bytes().to_vec())
}

/// First and last byte of a range, and of how many.
fn content_range(headers: &HeaderMap) -> Option<(u64, u64, u64)> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    let (range, size) = text.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?, size.parse().ok()?))
}

/// What tells one version from another, good for `If-Range`: a strong tag, or a date.
fn validator(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name)?.to_str().ok().filter(|text| text.len() <= VALIDATOR_MAX);
    let tag = text(ETAG).filter(|tag| tag.starts_with('"'));
    tag.or_else(|| text(LAST_MODIFIED)).map(str::to_owned)
}

/// A place that a server leads to, whole.
fn absolute(from: &Destination, place: &str) -> Result<String, String> {
    if place.starts_with("http://") || place.starts_with("https://") {
        return Ok(place.to_owned());
    }
    if place.starts_with('/') && !place.starts_with("//") {
        let scheme = if from.tls { "https" } else { "http" };
        return Ok(format!("{scheme}://{}{place}", from.authority));
    }
    Err("the server leads to a place that is none".to_owned())
}

fn refusal(status: StatusCode) -> String {
    match status {
        StatusCode::NOT_FOUND => "the server has no such file (404)".to_owned(),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            format!("the server does not give it ({}): see source_username", status.as_u16())
        }
        status => format!("the server answered {}", status.as_u16()),
    }
}

#[cfg(test)]
pub(crate) mod tests;
