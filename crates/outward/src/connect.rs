//! A connection to a destination: to an address that was judged, with a certificate that was, if that is wanted.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::client::TlsStream;

use crate::destination::{Destination, is_elsewhere, is_own};
use crate::refused;

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;
/// How long one of them may be silent while there is another: the question is asked twice in that (RFC 6298 2), and four leave some time for the answer.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// Connects.
#[derive(Debug)]
pub struct Connector {
    allow_local: bool,
    ca_file: Option<PathBuf>,
    /// The setting that names `ca_file`, for who has to mend it.
    setting: &'static str,
    verified: OnceCell<Arc<ClientConfig>>,
    unverified: OnceCell<Arc<ClientConfig>>,
}

impl Connector {
    /// One that trusts the authorities in `ca_file` in place of the system's, and reaches the controller's own addresses only where that is allowed.
    #[must_use]
    pub fn new(allow_local: bool, ca_file: Option<PathBuf>, setting: &'static str) -> Self {
        Self { allow_local, ca_file, setting, verified: OnceCell::new(), unverified: OnceCell::new() }
    }

    /// Whether a destination may be had at all; of a name only its addresses tell, each time.
    #[must_use]
    pub fn may(&self, destination: &Destination) -> bool {
        // RFC 6761 6.3.
        let name = destination.host.trim_end_matches('.').to_ascii_lowercase();
        let is_local_name = name == "localhost" || name.ends_with(".localhost");
        let is_fine = |address| is_elsewhere(address) && !is_own(address);
        self.allow_local || !is_local_name && destination.address().is_none_or(is_fine)
    }

    /// A connection. It has no time-out but that of one address among several.
    ///
    /// # Errors
    /// Why there is none, for people.
    pub async fn connect(&self, to: &Destination, verify: bool) -> Result<Stream, String> {
        let stream = self.reach(to).await?;
        if !to.tls {
            return Ok(Stream::Plain(stream));
        }
        let config = if verify {
            self.verified.get_or_try_init(async || verifying(self.ca_file.as_deref(), self.setting)).await?
        } else {
            self.unverified.get_or_try_init(async || trusting()).await?
        };
        let name =
            ServerName::try_from(to.host.clone()).map_err(|_| "its host is no name for TLS".to_owned())?;
        let stream = tokio_rustls::TlsConnector::from(Arc::clone(config)).connect(name, stream).await;
        Ok(Stream::Tls(Box::new(stream.map_err(|error| refused::words(&error))?)))
    }

    async fn reach(&self, to: &Destination) -> Result<TcpStream, String> {
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

/// A connection with or without TLS.
#[derive(Debug)]
pub enum Stream {
    /// Without.
    Plain(TcpStream),
    /// With.
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
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

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, String> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS: {error}"))
}

fn verifying(ca_file: Option<&std::path::Path>, setting: &str) -> Result<Arc<ClientConfig>, String> {
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
        return Err(format!("no certificate of an authority is known ({setting})"));
    }
    Ok(Arc::new(builder()?.with_root_certificates(roots).with_no_client_auth()))
}

fn trusting() -> Result<Arc<ClientConfig>, String> {
    let any = Arc::new(AnyCertificate(Arc::new(ring::default_provider())));
    Ok(Arc::new(builder()?.dangerous().with_custom_certificate_verifier(any).with_no_client_auth()))
}

/// Takes any certificate, as whoever named the destination asked for; the server still has to have its key.
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

    /// What who connects gives all of it.
    const WITHIN: Duration = Duration::from_secs(15);

    #[test]
    fn names_of_the_controller_itself_are_refused_before_they_are_looked_up() {
        let may = |allow, text: &str| {
            Connector::new(allow, None, "ca_file").may(&Destination::parse(text).unwrap())
        };
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
        let connector = Connector::new(false, None, "ca_file");
        assert!(!connector.may(&to), "{own}");
        let why = connector.connect(&to, true).await.unwrap_err();
        assert!(why.contains("of the controller itself"), "{why}");
        let why = Connector::new(true, None, "ca_file").connect(&to, true).await.unwrap_err();
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
