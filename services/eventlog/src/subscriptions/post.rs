//! One request to a destination: connected to an address that was judged, answered within its time, of whose answer only the status counts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;

use super::destination::{Destination, is_elsewhere, is_own};

/// All of it: name, connection, TLS, body and answer.
const WITHIN: Duration = Duration::from_secs(15);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;
/// How long one of them may be silent while there is another: the question is asked twice in that (RFC 6298 2), and four leave some time for the answer.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// What is read of an answer.
const ANSWER_MAX: usize = 8 * 1024;

/// Sends requests.
#[derive(Debug)]
pub(crate) struct Poster {
    allow_local: bool,
    ca_file: Option<PathBuf>,
    verified: OnceCell<Arc<ClientConfig>>,
    unverified: OnceCell<Arc<ClientConfig>>,
}

impl Poster {
    pub(crate) fn new(allow_local: bool, ca_file: Option<PathBuf>) -> Self {
        Self { allow_local, ca_file, verified: OnceCell::new(), unverified: OnceCell::new() }
    }

    /// Whether a destination may be had at all; of a name only its addresses tell, each time.
    pub(crate) fn may(&self, destination: &Destination) -> bool {
        // RFC 6761 6.3.
        let name = destination.host.trim_end_matches('.').to_ascii_lowercase();
        let is_local_name = name == "localhost" || name.ends_with(".localhost");
        let is_fine = |address| is_elsewhere(address) && !is_own(address);
        self.allow_local || !is_local_name && destination.address().is_none_or(is_fine)
    }

    /// Sends a body.
    ///
    /// # Errors
    /// Why it was not taken. That may be wrong the other way: it was taken, and the answer was lost.
    pub(crate) async fn post(
        &self,
        to: &Destination,
        verify: bool,
        headers: &[(String, String)],
        body: &[u8],
    ) -> Result<(), String> {
        match tokio::time::timeout(WITHIN, self.exchange(to, verify, headers, body)).await {
            Ok(result) => result,
            Err(_) => Err(format!("it did not answer within {} s", WITHIN.as_secs())),
        }
    }

    async fn exchange(
        &self,
        to: &Destination,
        verify: bool,
        headers: &[(String, String)],
        body: &[u8],
    ) -> Result<(), String> {
        let stream = self.connect(to).await?;
        if !to.tls {
            return speak(stream, to, headers, body).await;
        }
        let config = if verify {
            self.verified.get_or_try_init(async || verifying(self.ca_file.as_deref())).await?
        } else {
            self.unverified.get_or_try_init(async || trusting()).await?
        };
        let name =
            ServerName::try_from(to.host.clone()).map_err(|_| "its host is no name for TLS".to_owned())?;
        let stream = tokio_rustls::TlsConnector::from(Arc::clone(config)).connect(name, stream).await;
        speak(stream.map_err(|error| format!("TLS: {error}"))?, to, headers, body).await
    }

    async fn connect(&self, to: &Destination) -> Result<TcpStream, String> {
        let found: Vec<SocketAddr> = match to.address() {
            Some(address) => vec![(address, to.port).into()],
            None => tokio::net::lookup_host((to.host.as_str(), to.port))
                .await
                .map_err(|error| format!("its name was not found: {error}"))?
                .collect(),
        };
        let tried = found.get(..ADDRESSES_MAX).unwrap_or(&found);
        let allow_local = self.allow_local;
        first_of(tried, |address| connect_to(address, allow_local)).await
    }
}

/// The first of these addresses that takes a connection, in order; the last one has what is left of the time.
async fn first_of<T, F>(addresses: &[SocketAddr], connect: impl Fn(SocketAddr) -> F) -> Result<T, String>
where
    F: Future<Output = Result<T, String>>,
{
    let mut why = "its name has no address".to_owned();
    for (nth, address) in addresses.iter().enumerate() {
        let is_last = nth + 1 == addresses.len();
        let connected = if is_last {
            connect(*address).await
        } else {
            let silent = || format!("{} did not answer within {} s", address.ip(), CONNECT_WITHIN.as_secs());
            tokio::time::timeout(CONNECT_WITHIN, connect(*address)).await.unwrap_or_else(|_| Err(silent()))
        };
        match connected {
            Ok(stream) => return Ok(stream),
            Err(error) => why = error,
        }
    }
    Err(why)
}

async fn connect_to(address: SocketAddr, allow_local: bool) -> Result<TcpStream, String> {
    let own = || format!("{} is an address of the controller itself or of its link", address.ip());
    if !allow_local && (!is_elsewhere(address.ip()) || is_own(address.ip())) {
        return Err(own());
    }
    let broke = |error: std::io::Error| format!("cannot connect: {error}");
    let stream = TcpStream::connect(address).await.map_err(broke)?;
    // Who came from where it went never left the machine.
    if !allow_local && stream.local_addr().map_err(broke)?.ip() == address.ip() {
        return Err(own());
    }
    Ok(stream)
}

async fn speak(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    to: &Destination,
    headers: &[(String, String)],
    body: &[u8],
) -> Result<(), String> {
    let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let agent = if headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("user-agent")) {
        ""
    } else {
        "User-Agent: u-bmc\r\n"
    };
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\n{agent}Content-Type: application/json\r\nOData-Version: 4.0\r\n{more}\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        to.path,
        to.authority,
        body.len()
    );
    let broke = |error: std::io::Error| format!("the connection broke: {error}");
    stream.write_all(&[head.as_bytes(), body].concat()).await.map_err(broke)?;
    stream.flush().await.map_err(broke)?;
    let mut answer = Vec::new();
    // The head whole, as far as there is room for it: a server that is cut off while it writes may tell so to its people.
    while answer.len() < ANSWER_MAX && !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut answer).await.map_err(broke)? == 0 {
            break;
        }
    }
    match status(&answer) {
        Some(200..=299) => {
            // It has been taken; how the connection ends is nobody's concern.
            let _ = stream.shutdown().await;
            Ok(())
        }
        Some(status @ 300..=399) => Err(format!("it answered {status}, and redirects are not followed")),
        Some(status) => Err(format!("it answered {status}")),
        None => Err("its answer is no HTTP".to_owned()),
    }
}

/// The status of an answer's first line.
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.strip_prefix(b"HTTP/1.")?;
    match line {
        [b'0' | b'1', b' ', digits @ ..] => {
            let digits = digits.get(..3)?;
            let is_end = line.get(5).is_none_or(|next| matches!(next, b' ' | b'\r'));
            if !is_end || !digits.iter().all(u8::is_ascii_digit) {
                return None;
            }
            std::str::from_utf8(digits).ok()?.parse().ok()
        }
        _ => None,
    }
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, String> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS: {error}"))
}

fn verifying(ca_file: Option<&std::path::Path>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let found = CertificateDer::pem_file_iter(path).map_err(|error| format!("ca_file: {error}"))?;
            roots.add_parsable_certificates(found.filter_map(Result::ok));
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err("no certificate of an authority is known (subscriptions.ca_file)".to_owned());
    }
    Ok(Arc::new(builder()?.with_root_certificates(roots).with_no_client_auth()))
}

fn trusting() -> Result<Arc<ClientConfig>, String> {
    let any = Arc::new(AnyCertificate(Arc::new(ring::default_provider())));
    Ok(Arc::new(builder()?.dangerous().with_custom_certificate_verifier(any).with_no_client_auth()))
}

/// Takes any certificate, as whoever subscribed asked for; the server still has to have its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
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
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_status_is_read_or_nothing() {
        for (answer, wanted) in [
            ("HTTP/1.1 200 OK\r\n", Some(200)),
            ("HTTP/1.0 204\r\n\r\n", Some(204)),
            ("HTTP/1.1 302 Found", Some(302)),
            ("HTTP/1.1 20", None),
            ("HTTP/1.1 2000 OK", None),
            ("HTTP/1.1  200", None),
            ("HTTP/2 200", None),
            ("SSH-2.0-OpenSSH", None),
            ("", None),
        ] {
            assert_eq!(status(answer.as_bytes()), wanted, "{answer}");
        }
    }

    proptest! {
        #[test]
        fn any_answer_is_survived(answer in proptest::collection::vec(any::<u8>(), 0..64), tail in "HTTP/1\\.[01] [0-9]{0,5}.{0,9}") {
            for answer in [answer, tail.into_bytes()] {
                prop_assert!(status(&answer).is_none_or(|status| status <= 999));
            }
        }
    }

    #[test]
    fn names_of_the_controller_itself_are_refused_before_they_are_looked_up() {
        let may = |allow, text: &str| Poster::new(allow, None).may(&Destination::parse(text).unwrap());
        for text in [
            "http://localhost/",
            "https://x.LOCALHOST:1/",
            "http://127.0.0.1/",
            "http://[::1]/",
            "http://169.254.169.254/",
        ] {
            assert!(!may(false, text) && may(true, text), "{text}");
        }
        assert!(may(false, "http://192.0.2.1/") && may(false, "https://collector.example/"));
    }

    #[tokio::test]
    #[allow(clippy::print_stderr, reason = "a test that cannot run says so")]
    async fn an_address_of_the_controller_that_others_reach_is_refused_as_well() {
        // Which address it would be reached from; nothing is sent.
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        let routed = socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr());
        let Some(own) = routed.ok().map(|own| own.ip()).filter(|own| is_elsewhere(*own)) else {
            eprintln!("SKIP: this machine has no address that others reach");
            return;
        };
        let to = Destination::parse(&format!("http://{own}:9/")).unwrap();
        let poster = Poster::new(false, None);
        assert!(!poster.may(&to), "{own}");
        let why = poster.post(&to, true, &[], b"{}").await.unwrap_err();
        assert!(why.contains("of the controller itself"), "{why}");
        let why = Poster::new(true, None).post(&to, true, &[], b"{}").await.unwrap_err();
        assert!(!why.contains("of the controller itself"), "{why}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_is_silent_leaves_time_for_the_next() {
        let addresses: Vec<SocketAddr> =
            (1..=4).map(|n| format!("192.0.2.{n}:80").parse().unwrap()).collect();
        let answers = |which: usize| {
            let addresses = &addresses;
            move |address: SocketAddr| {
                let answers = addresses.get(which) == Some(&address);
                async move {
                    if !answers {
                        std::future::pending::<()>().await;
                    }
                    Ok::<_, String>(address)
                }
            }
        };
        for which in 0..4 {
            let begun = tokio::time::Instant::now();
            let found = tokio::time::timeout(WITHIN, first_of(&addresses, answers(which))).await;
            assert_eq!(found.unwrap().unwrap(), addresses[which]);
            assert_eq!(begun.elapsed(), CONNECT_WITHIN * u32::try_from(which).unwrap());
        }
        // What refuses costs no time, and the last one that failed is told.
        let refused =
            first_of(&addresses, |address| async move { Err::<(), _>(format!("{address} refused")) }).await;
        assert_eq!(refused.unwrap_err(), "192.0.2.4:80 refused");
        let none = first_of(&[], |_| async { Ok(()) }).await;
        assert!(none.unwrap_err().contains("no address"));
    }
}
