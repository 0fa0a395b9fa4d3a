//! Screens for desktop viewers that come by RFB over TCP, with TLS and a login inside it (VeNCrypt, rfbproto), where that is switched on.
//!
//! ```text
//!  viewer ──► version, security VeNCrypt 0.2, X509Plain ──► TLS ──► name, password ──► the gate: OpenKvm, or else ViewScreen ──► kvm.sock
//!         ◄──────────────── RFB, as it comes from the daemon, from the viewer's ClientInit on ───────────────────────────────────┘
//! ```
//!
//! Nothing is said of the BMC before TLS but that it speaks this, and nothing of its screens before the login. A login is HTTP Basic's: it counts for the lock-out,
//! and the session is watched as every other. What is read of a stranger has a fixed length, or one that is checked first.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::AUTHORIZATION;
use http::{Request, StatusCode};
use ipc::{Code, Status};
use serial::frame::{HEAD, Kind, PAYLOAD_MAX, PICTURE_MAX, encode, head_within};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;

use crate::admission::{Conn, HttpVersion};
use crate::call::{Asked, Call};
use crate::gateway::{API, Gateway};
use crate::guard::Guard;
use crate::host_socket::{KVM, VIEW, Way, over, plain};
use crate::listener::{Metered, accept};
use crate::status::Failure;
use crate::transport::{Handle, Shared, stopped};

/// The only version (RFC 6143, 7.1.1): the older ones cannot say why somebody is refused.
const VERSION: &[u8; 12] = b"RFB 003.008\n";
/// The kind of security (rfbproto, "VeNCrypt"), its version, and of its kinds the one with a certificate, a name and a password.
const VENCRYPT: u8 = 19;
const VENCRYPT_VERSION: [u8; 2] = [0, 2];
const X509_PLAIN: u32 = 262;
/// Bytes of a name and of a password: usermgr takes fewer.
const LOGIN_MAX: u32 = 256;
/// How long somebody may take to type them.
const LOGIN_WITHIN: Duration = Duration::from_secs(60);
/// What the daemon says to a viewer that has just come, which is answered here: its version, that there is no security, that this is so.
const SPOKEN: [u8; 18] = *b"RFB 003.008\n\x01\x01\0\0\0\0";
/// And the answers.
const ANSWERED: [u8; 13] = *b"RFB 003.008\n\x01";
/// How long a viewer may take nothing: a screen moves, and who does not take its picture may not be there any more.
const STUCK: Duration = Duration::from_secs(90);
/// Bytes of a viewer at a time.
const PIECE: usize = 16 * 1024;

/// Serves viewers until told to stop (`viewers`). `first` is the host that is meant without a name.
pub(crate) async fn serve<H: Handle>(
    listener: Arc<TcpListener>,
    tls: Arc<rustls::ServerConfig>,
    gateway: Arc<Gateway>,
    first: String,
    shared: Shared<H>,
) {
    let (acceptor, first) = (TlsAcceptor::from(tls), Arc::<str>::from(first));
    accept(&listener, shared, move |tcp, ticket, shared| {
        let (acceptor, gateway, first) = (acceptor.clone(), Arc::clone(&gateway), Arc::clone(&first));
        async move {
            let (conn, mut stop) = (Arc::clone(ticket.conn()), shared.stop.clone());
            let viewing = view(tcp, &conn, &acceptor, &gateway, &first, shared.limits.handshake());
            let ended = tokio::select! {
                ended = viewing => ended,
                () = conn.evicted() => Ok(()),
                () = stopped(&mut stop) => Ok(()),
            };
            if let Err(error) = ended {
                tracing::debug!(peer = %conn.peer(), %error, "connection of viewer ended");
            }
        }
    })
    .await;
}

/// One viewer, to its end.
async fn view(
    mut tcp: TcpStream,
    conn: &Arc<Conn>,
    acceptor: &TlsAcceptor,
    gateway: &Arc<Gateway>,
    first: &str,
    within: Duration,
) -> io::Result<()> {
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    keep_alive(&tcp)?;
    let beginning = async {
        greet(&mut tcp).await?;
        acceptor.accept(Metered::new(tcp, Arc::clone(conn))).await
    };
    let mut stream = timeout(within, beginning).await.map_err(late)??;
    let (name, password) = timeout(LOGIN_WITHIN, credentials(&mut stream)).await.map_err(late)??;
    // Not before: somebody who only knocks gives way before who is coming.
    let _active = conn.begin();
    let opened = open(gateway, conn, &name, &password, first).await;
    drop(password);
    match opened {
        Ok((daemon, guard)) => {
            stream.write_all(&0_u32.to_be_bytes()).await?;
            stream.flush().await?;
            relay(stream, daemon, guard).await
        }
        Err(status) => {
            let reason = status.message.as_bytes();
            stream.write_all(&1_u32.to_be_bytes()).await?;
            stream.write_all(&u32::try_from(reason.len()).unwrap_or(0).to_be_bytes()).await?;
            stream.write_all(reason).await?;
            stream.shutdown().await
        }
    }
}

/// A viewer that is gone without a word is found within 90 s, as RFB has no ping.
fn keep_alive(tcp: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;

    sockopt::set_tcp_keepidle(tcp, Duration::from_secs(30))?;
    sockopt::set_tcp_keepintvl(tcp, Duration::from_secs(15))?;
    sockopt::set_tcp_keepcnt(tcp, 4)?;
    Ok(sockopt::set_socket_keepalive(tcp, true)?)
}

/// What is said before TLS.
async fn greet(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    let other = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidData, what.to_owned()));
    stream.write_all(VERSION).await?;
    let mut version = [0; 12];
    stream.read_exact(&mut version).await?;
    if version != *VERSION {
        return other("it speaks another version");
    }
    stream.write_all(&[1, VENCRYPT]).await?;
    if stream.read_u8().await? != VENCRYPT {
        return other("it wants another kind of security");
    }
    stream.write_all(&VENCRYPT_VERSION).await?;
    let mut version = [0; 2];
    stream.read_exact(&mut version).await?;
    if version != VENCRYPT_VERSION {
        stream.write_all(&[0xff]).await?;
        return other("it speaks another version of VeNCrypt");
    }
    // It is good; there is one kind; this.
    stream.write_all(&[0, 1]).await?;
    stream.write_all(&X509_PLAIN.to_be_bytes()).await?;
    if stream.read_u32().await? != X509_PLAIN {
        stream.write_all(&[0]).await?;
        return other("it wants another kind of VeNCrypt");
    }
    stream.write_all(&[1]).await?;
    stream.flush().await
}

/// Name and password, as they come inside TLS (rfbproto, "Plain").
async fn credentials(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(String, Secret)> {
    let lengths = [stream.read_u32().await?, stream.read_u32().await?];
    if lengths.iter().any(|length| *length > LOGIN_MAX) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no name or password is that long"));
    }
    let [name, password] = lengths.map(|length| vec![0; usize::try_from(length).unwrap_or(0)]);
    let (mut name, mut password) = (name, Secret(password));
    stream.read_exact(&mut name).await?;
    stream.read_exact(&mut password.0).await?;
    let name = String::from_utf8(name).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok((name, password))
}

/// A password. It is shown nowhere.
struct Secret(Vec<u8>);

/// The account and the host that a name means: `admin`, or `admin@node2`. No account has an `@` in its name.
fn meant<'n>(name: &'n str, first: &'n str) -> Result<(&'n str, &'n str), Status> {
    let (account, host) = name.split_once('@').unwrap_or((name, first));
    // It becomes a part of a path.
    let is_id = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if host.is_empty() || host.len() > 64 || !host.bytes().all(is_id) {
        return Err(Status::invalid_argument("a name is ACCOUNT or ACCOUNT@HOST"));
    }
    Ok((account, host))
}

/// What became of one way to a screen.
struct Attempt {
    asked: Asked,
    call: Call,
    opened: Result<(UnixStream, Guard), Failure>,
}

impl Attempt {
    /// Whether the account may not type, and so may look if anything. All else that it is refused for keeps it from looking as well.
    fn may_not_type(&self) -> bool {
        let lacks = |failure: &Failure| {
            let status = &failure.status;
            status.code == Code::PermissionDenied && status.reason().as_str() == "MISSING_PRIVILEGE"
        };
        self.opened.as_ref().is_err_and(lacks)
    }

    /// What came of it, with its line in the audit.
    fn end(mut self, gateway: &Gateway) -> Result<(UnixStream, Guard), Status> {
        let status = self.opened.as_ref().map_or_else(|failure| failure.http_status(), |_| StatusCode::OK);
        if let Err(failure) = &self.opened {
            self.call.code = failure.status.code;
        }
        self.asked.log(&gateway.gate, &self.call, status);
        self.opened.map_err(|failure| failure.status)
    }
}

/// A session to look and type, or for who may not type to look. A viewer leaves one line in the audit: of the way that it was let in by, or refused at last.
async fn open(
    gateway: &Arc<Gateway>,
    conn: &Arc<Conn>,
    name: &str,
    password: &Secret,
    first: &str,
) -> Result<(UnixStream, Guard), Status> {
    let (account, host) = meant(name, first)?;
    let to_type = open_by(gateway, conn, (account, password), host, ("kvm", &KVM)).await?;
    let attempt = if to_type.may_not_type() {
        drop(to_type);
        open_by(gateway, conn, (account, password), host, ("view", &VIEW)).await?
    } else {
        to_type
    };
    attempt.end(gateway)
}

/// As a request of REST for the same would be.
async fn open_by(
    gateway: &Arc<Gateway>,
    conn: &Arc<Conn>,
    (account, password): (&str, &Secret),
    host: &str,
    (last, way): (&str, &'static Way),
) -> Result<Attempt, Status> {
    let shown = [account.as_bytes(), b":", &password.0].concat();
    let request = Request::get(format!("{API}/screens/{host}/{last}?bytesOnly=true"))
        .header(AUTHORIZATION, format!("Basic {}", BASE64_STANDARD.encode(shown)))
        .body(())
        .map_err(|_| Status::invalid_argument("that is no name and password"))?;
    let (parts, ()) = request.into_parts();
    let asked = Asked::of(&parts);
    let mut call = Call::new(&parts, Arc::clone(conn), HttpVersion::H1, Instant::now());
    let opened = plain(gateway, &parts, &mut call, way).await;
    Ok(Attempt { asked, call, opened })
}

/// Lets RFB through until either side ends it, or the session may not go on.
async fn relay(stream: impl AsyncRead + AsyncWrite, daemon: UnixStream, mut guard: Guard) -> io::Result<()> {
    if guard.check().await.is_err() {
        return Ok(());
    }
    let (mut from_viewer, mut to_viewer) = tokio::io::split(stream);
    let (mut from_daemon, mut to_daemon) = daemon.into_split();
    to_daemon.write_all(&encode(Kind::Data, &ANSWERED)).await?;
    tokio::select! {
        ended = show(&mut from_daemon, &mut to_viewer) => ended,
        ended = listen(&mut from_viewer, &mut to_daemon) => ended,
        status = over(&mut guard) => {
            tracing::debug!(%status, "session of viewer is over");
            Ok(())
        }
    }
}

/// What the daemon sends, to the viewer.
async fn show(from: &mut OwnedReadHalf, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let mut spoken = 0;
    loop {
        let mut begin = [0; HEAD];
        from.read_exact(&mut begin).await?;
        let (kind, length) = head_within(begin, PICTURE_MAX)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "kvmsrv is not understood"))?;
        let mut bytes = vec![0; length];
        from.read_exact(&mut bytes).await?;
        // What is told beside pictures is for clients that know it.
        if kind != Kind::Data {
            continue;
        }
        let rest = unspoken(&mut spoken, &bytes)?;
        let take = async {
            to.write_all(rest).await?;
            to.flush().await
        };
        timeout(STUCK, take).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    }
}

/// What the viewer sends, to the daemon.
async fn listen(from: &mut (impl AsyncRead + Unpin), to: &mut OwnedWriteHalf) -> io::Result<()> {
    let mut bytes = vec![0; PIECE];
    loop {
        let count = from.read(&mut bytes).await?;
        if count == 0 {
            return Ok(());
        }
        for piece in bytes.get(..count).unwrap_or_default().chunks(PAYLOAD_MAX) {
            to.write_all(&encode(Kind::Data, piece)).await?;
        }
    }
}

/// What of the daemon's bytes the viewer has not been told already; `spoken` counts those that it has.
fn unspoken<'b>(spoken: &mut usize, bytes: &'b [u8]) -> io::Result<&'b [u8]> {
    let left = SPOKEN.get(*spoken..).unwrap_or_default();
    let count = left.len().min(bytes.len());
    let (said, rest) = bytes.split_at(count);
    if !left.starts_with(said) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "kvmsrv is not understood"));
    }
    *spoken += count;
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    /// What a viewer says, byte for byte.
    const HELLO: &[u8] = b"RFB 003.008\n\x13\0\x02\0\0\x01\x06";

    async fn greeted(said: &[u8]) -> (io::Result<()>, Vec<u8>) {
        let (mut near, far) = duplex(1024);
        near.write_all(said).await.unwrap();
        let (mut from, to) = tokio::io::split(near);
        let greeting = async move {
            let mut far = far;
            let greeted = greet(&mut far).await;
            drop(far);
            greeted
        };
        let mut heard = Vec::new();
        let reading = async {
            // What comes is read until the other end goes, and nothing more is said.
            let _ = from.read_to_end(&mut heard).await;
            drop(to);
        };
        let (greeted, ()) = tokio::join!(greeting, reading);
        (greeted, heard)
    }

    #[tokio::test]
    async fn a_viewer_is_told_the_one_way_there_is_and_another_is_refused() {
        let (greeting, heard) = greeted(HELLO).await;
        greeting.unwrap();
        assert_eq!(heard, b"RFB 003.008\n\x01\x13\0\x02\0\x01\0\0\x01\x06\x01");
        for (at, byte, last) in [(9, b'3', b'\n'), (12, 1, VENCRYPT), (14, 1, 0xff), (18, 7, 0)] {
            let mut said = HELLO.to_vec();
            said[at] = byte;
            let (greeting, heard) = greeted(&said).await;
            assert!(greeting.is_err(), "{at}");
            assert_eq!(heard.last(), Some(&last), "{at}");
        }
    }

    #[tokio::test]
    async fn a_login_is_read_within_its_bounds() {
        let said = |lengths: [u32; 2], rest: &[u8]| {
            [&lengths[0].to_be_bytes()[..], &lengths[1].to_be_bytes(), rest].concat()
        };
        let (name, password) = credentials(&mut &said([5, 3], b"adminabc")[..]).await.unwrap();
        assert_eq!((name.as_str(), &password.0[..]), ("admin", &b"abc"[..]));
        assert!(credentials(&mut &said([5, 3], b"admin")[..]).await.is_err(), "cut short");
        assert!(credentials(&mut &said([257, 0], &[b'a'; 300])[..]).await.is_err());
        assert!(credentials(&mut &said([0, u32::MAX], b"")[..]).await.is_err());
        assert!(credentials(&mut &said([1, 0], b"\xff")[..]).await.is_err());
    }

    #[test]
    fn a_name_may_say_which_host() {
        assert_eq!(meant("admin", "system").unwrap(), ("admin", "system"));
        assert_eq!(meant("admin@node2", "system").unwrap(), ("admin", "node2"));
        for wrong in ["admin@", "admin@a/b", "admin@..%2f", "a@b@c"] {
            assert!(meant(wrong, "system").is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_was_answered_here_is_not_said_twice_however_it_is_cut() {
        let all = [&SPOKEN[..], b"rest"].concat();
        for size in 1..=all.len() {
            let (mut spoken, mut heard) = (0, Vec::<u8>::new());
            for piece in all.chunks(size) {
                heard.extend(unspoken(&mut spoken, piece).unwrap());
            }
            assert_eq!(heard, b"rest", "{size}");
        }
        assert!(unspoken(&mut 0, b"HTTP").is_err());
    }
}
