//! The certificate and the TLS set-up shared by TCP and QUIC.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use schema::v1alpha1::CertificateSource;
use service::Folder;
use tracing::{error, info, warn};

use crate::config::{Profile, Tls};
use crate::error::TlsError;
use crate::served::{Identity, Served};

/// The self-signed certificate is valid in these years, whatever the clock says: a BMC without a battery boots in 1970, and a
/// `not before` taken from its clock (or a short life) locks clients out at the next power cut. Clients pin it or replace it.
const VALID_YEARS: (i32, i32) = (2025, 2050);

/// No file of a chain or key is longer, bytes.
const FILE_MAX: usize = 1024 * 1024;

/// Key and chain that were set, in the folder of certificates.
pub(crate) const INSTALLED: &str = "installed.pem";

/// Where certificates and keys are.
pub(crate) fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join("tls")
}

/// The configured certificate, or the one that was set; where there is none, or it cannot be used, the self-signed one of this BMC, made at first
/// start. The management interface must come up: through another door nobody could mend the files. A stored certificate that cannot be read is replaced, and one
/// that cannot be stored is served from memory; each is logged, and told in `complaint`.
///
/// # Errors
/// [`TlsError`] when a self-signed certificate cannot be made.
pub(crate) fn identity(config: &Tls, state_dir: &Path, bound: IpAddr) -> Result<Identity, TlsError> {
    let mut complaint = None;
    if let (Some(cert), Some(key)) = (&config.cert_file, &config.key_file) {
        match load(cert, key).and_then(|id| check(&id).map(|()| id)) {
            Ok(identity) => return Ok(Identity { source: CertificateSource::Configured, ..identity }),
            Err(error) => {
                error!(
                    error = &error as &dyn std::error::Error,
                    cert = %cert.display(),
                    key = %key.display(),
                    "cannot use configured certificate: serving self-signed one"
                );
                let why = service::ErrorChain(&error);
                complaint = Some(format!("serves its self-made certificate, not the configured one: {why}"));
            }
        }
    }
    let installed = folder(state_dir).join(INSTALLED);
    if config.cert_file.is_none() && installed.exists() {
        match load(&installed, &installed).and_then(|id| check(&id).map(|()| id)) {
            Ok(identity) => return Ok(Identity { source: CertificateSource::Installed, ..identity }),
            Err(error) => {
                error!(
                    error = &error as &dyn std::error::Error,
                    path = %installed.display(),
                    "cannot use certificate that was set: serving self-signed one"
                );
                let why = service::ErrorChain(&error);
                complaint =
                    Some(format!("serves its self-made certificate, not the one that was set: {why}"));
            }
        }
    }
    let mut identity = self_made(config, state_dir, bound)?;
    identity.complaint = complaint.or(identity.complaint);
    Ok(identity)
}

/// The self-signed certificate.
///
/// # Errors
/// [`TlsError`] when there is none and none can be made.
pub(crate) fn self_made(config: &Tls, state_dir: &Path, bound: IpAddr) -> Result<Identity, TlsError> {
    let dir = folder(state_dir);
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    let mut findings = Vec::new();
    if cert.exists() || key.exists() {
        match load(&cert, &key).and_then(|id| check(&id).map(|()| id)) {
            Ok(identity) => return Ok(identity),
            Err(error) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "stored certificate unusable: generating new one; clients that pinned the old one must accept it"
                );
                let why = service::ErrorChain(&error);
                findings.push((
                    "tls",
                    format!(
                        "{why}; a new certificate is made, clients that pinned the old one have to accept it"
                    ),
                ));
            }
        }
    }
    let names = names(config, bound);
    let (mut identity, pems) = make(&names)?;
    match store(&pems, &dir, &cert, &key) {
        Ok(()) => info!(names = ?names, path = %cert.display(), "generated self-signed certificate"),
        Err(error) => {
            warn!(
                error = &error as &dyn std::error::Error,
                "cannot store self-signed certificate: next start generates another"
            );
            let why = service::ErrorChain(&error);
            let complaint = format!("its certificate is not stored and changes at each start: {why}");
            findings.push(("tls", complaint.clone()));
            identity.complaint = Some(complaint);
        }
    }
    identity.findings = findings;
    Ok(identity)
}

fn load(cert: &Path, key: &Path) -> Result<Identity, TlsError> {
    let read = |path: &Path| {
        service::read_path(path, FILE_MAX).map_err(|source| TlsError::File {
            action: "read",
            path: path.into(),
            source,
        })
    };
    let pem = |what, path: &Path| {
        let path = path.to_path_buf();
        move |source| TlsError::Pem { what, path, source }
    };
    let chain = CertificateDer::pem_slice_iter(&read(cert)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(pem("certificate", cert))?;
    if chain.is_empty() {
        return Err(pem("certificate", cert)(rustls::pki_types::pem::Error::NoItemsFound));
    }
    let key = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(pem("private key", key))?;
    Ok(Identity::new(chain, key))
}

/// Whether certificate and key belong together.
fn check(identity: &Identity) -> Result<(), TlsError> {
    builder(Profile::Modern)?.with_single_cert(identity.chain.clone(), identity.key.clone_key())?;
    Ok(())
}

/// A certificate and its key as PEM.
struct Pems {
    cert: String,
    key: String,
}

/// Makes a self-signed certificate.
fn make(names: &[String]) -> Result<(Identity, Pems), TlsError> {
    // P-256: the cheapest handshake on small ARM cores of all curves every client knows.
    let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, names.first().map_or("u-bmc", String::as_str));
    params.distinguished_name.push(DnType::OrganizationName, "u-bmc self-signed");
    params.not_before = rcgen::date_time_ymd(VALID_YEARS.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(VALID_YEARS.1, 1, 1);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.self_signed(&pair)?;
    let pems = Pems { cert: certificate.pem(), key: pair.serialize_pem() };
    let key = PrivateKeyDer::Pkcs8(pair.serialize_der().into());
    Ok((Identity::new(vec![certificate.der().clone()], key), pems))
}

fn store(pems: &Pems, dir: &Path, cert: &Path, key: &Path) -> Result<(), TlsError> {
    let folder =
        Folder::create(dir).map_err(|source| TlsError::File { action: "make", path: dir.into(), source })?;
    // Each is the old file, the new one or none after a loss of power, never half of one; a folder in its place is put aside.
    let write = |path: &Path, bytes: &[u8], mode| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let failed = |source| TlsError::File { action: "write", path: path.into(), source };
        folder.replace_durably(&name, bytes, mode).map_err(failed)
    };
    // The key first: a certificate without its key would be found unusable and replaced, but never the other way round.
    write(key, pems.key.as_bytes(), 0o600)?;
    write(cert, pems.cert.as_bytes(), 0o644)
}

/// What clients may call this machine.
pub(crate) fn names(config: &Tls, bound: IpAddr) -> Vec<String> {
    let mut names = Vec::new();
    let mut add = |name: String| {
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    };
    if let Ok(host) = std::fs::read_to_string("/proc/sys/kernel/hostname") {
        let host = host.trim();
        if host != "(none)" && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b)) {
            add(host.to_owned());
        }
    }
    add("localhost".to_owned());
    add(Ipv4Addr::LOCALHOST.to_string());
    add(Ipv6Addr::LOCALHOST.to_string());
    for ip in [Some(bound), outward(Ipv4Addr::UNSPECIFIED.into()), outward(Ipv6Addr::UNSPECIFIED.into())] {
        if let Some(ip) = ip.filter(|ip| !ip.is_unspecified()) {
            add(ip.to_string());
        }
    }
    for name in &config.names {
        add(name.clone());
    }
    names
}

/// The address this machine has towards its default route. Connecting a UDP socket sends nothing; the destinations are
/// documentation addresses (RFC 5737, RFC 3849).
fn outward(any: IpAddr) -> Option<IpAddr> {
    let to: SocketAddr = match any {
        IpAddr::V4(_) => (Ipv4Addr::new(192, 0, 2, 1), 9).into(),
        IpAddr::V6(_) => (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 9).into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(to).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

type Builder = rustls::ConfigBuilder<rustls::ServerConfig, rustls::server::WantsServerCert>;

fn builder(profile: Profile) -> Result<Builder, TlsError> {
    let mut provider = rustls::crypto::ring::default_provider();
    // Both profiles: AEAD with forward secrecy only. rustls has nothing else, but what it gains later is not ours by default.
    provider.cipher_suites.retain(|suite| {
        use rustls::CipherSuite as S;
        matches!(
            suite.suite(),
            S::TLS13_AES_128_GCM_SHA256
                | S::TLS13_AES_256_GCM_SHA384
                | S::TLS13_CHACHA20_POLY1305_SHA256
                | S::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
                | S::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
                | S::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
                | S::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
                | S::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
                | S::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
        )
    });
    let versions: &[&rustls::SupportedProtocolVersion] = match profile {
        Profile::Modern => &[&rustls::version::TLS13],
        Profile::Intermediate => &[&rustls::version::TLS13, &rustls::version::TLS12],
    };
    Ok(rustls::ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)?
        .with_no_client_auth())
}

/// TLS over TCP: HTTP/2 and 1.1 by ALPN, stateless session tickets.
pub(crate) fn tcp(served: &Arc<Served>, profile: Profile) -> Result<Arc<rustls::ServerConfig>, TlsError> {
    let mut config = builder(profile)?
        .with_cert_resolver(Arc::clone(served) as Arc<dyn rustls::server::ResolvesServerCert>);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // A client that opens a connection per request pays the signature once: tickets are sealed with a key that lives in this
    // process and rotates, so resumption costs no memory here.
    config.ticketer = rustls::crypto::ring::Ticketer::new()?;
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

/// TLS 1.3 inside QUIC. 0-RTT stays off: its data can be replayed, and a replayed "power off" is a power off.
pub(crate) fn quic(served: &Arc<Served>) -> Result<Arc<quinn::crypto::rustls::QuicServerConfig>, TlsError> {
    let mut config = builder(Profile::Modern)?
        .with_cert_resolver(Arc::clone(served) as Arc<dyn rustls::server::ResolvesServerCert>);
    config.alpn_protocols = vec![b"h3".to_vec()];
    config.ticketer = rustls::crypto::ring::Ticketer::new()?;
    config.send_tls13_tickets = 1;
    Ok(Arc::new(quinn::crypto::rustls::QuicServerConfig::try_from(config)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// Over both.
    fn serves(identity: Identity) {
        let served = Served::new(identity).unwrap();
        tcp(&served, Profile::Modern).unwrap();
        tcp(&served, Profile::Intermediate).unwrap();
        quic(&served).unwrap();
    }

    #[test]
    fn the_first_start_makes_a_certificate_and_the_second_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = identity(&Tls::default(), dir.path(), HERE).unwrap();
        let second = identity(&Tls::default(), dir.path(), HERE).unwrap();
        assert_eq!(first.chain, second.chain);
        let mode = std::fs::metadata(dir.path().join("tls/key.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        serves(first);
    }

    #[test]
    fn an_unusable_certificate_is_remade() {
        let dir = tempfile::tempdir().unwrap();
        let first = identity(&Tls::default(), dir.path(), HERE).unwrap();
        let path = dir.path().join("tls/cert.pem");
        std::fs::write(&path, "torn").unwrap();
        let second = identity(&Tls::default(), dir.path(), HERE).unwrap();
        assert_ne!(first.chain, second.chain);
        assert!(first.findings.is_empty());
        assert_eq!(second.findings.len(), 1, "{:?}", second.findings);
        assert!(identity(&Tls::default(), dir.path(), HERE).unwrap().findings.is_empty(), "it is told once");

        let other = dir.path().join("other");
        identity(&Tls::default(), &other, HERE).unwrap();
        std::fs::copy(other.join("tls/key.pem"), dir.path().join("tls/key.pem")).unwrap();
        let third = identity(&Tls::default(), dir.path(), HERE).unwrap();
        assert_ne!(second.chain, third.chain, "a key of another certificate is no use");
    }

    #[test]
    fn a_folder_in_the_place_of_a_file_is_put_aside_and_told_once() {
        let dir = tempfile::tempdir().unwrap();
        identity(&Tls::default(), dir.path(), HERE).unwrap();
        for name in ["cert.pem", "key.pem"] {
            let path = dir.path().join("tls").join(name);
            std::fs::remove_file(&path).unwrap();
            std::fs::create_dir(&path).unwrap();
            std::fs::write(path.join("inside"), name).unwrap();
            let made = identity(&Tls::default(), dir.path(), HERE).unwrap();
            assert!(made.complaint.is_none() && made.findings.len() == 1, "{name}: {:?}", made.findings);
            let again = identity(&Tls::default(), dir.path(), HERE).unwrap();
            assert!(again.findings.is_empty() && again.chain == made.chain, "{name}: {:?}", again.findings);
            let aside = dir.path().join("tls").join(format!("{name}.damaged/inside"));
            assert_eq!(std::fs::read_to_string(aside).unwrap(), name);
        }
    }

    #[test]
    fn a_configured_certificate_that_cannot_be_used_gives_way_to_the_self_made_one() {
        let dir = tempfile::tempdir().unwrap();
        let own = identity(&Tls::default(), dir.path(), HERE).unwrap();
        let file = |name: &str| dir.path().join(name);
        let other = |name: &str| {
            identity(&Tls::default(), &file(name), HERE).unwrap();
            (file(name).join("tls/cert.pem"), file(name).join("tls/key.pem"))
        };
        let ((cert, key), (_, key_of_another)) = (other("site"), other("another"));
        let torn = file("torn.pem");
        std::fs::write(&torn, "torn").unwrap();
        let empty = file("empty.pem");
        std::fs::write(&empty, "").unwrap();
        let unusable = [
            (file("none.pem"), key.clone()),
            (cert.clone(), file("none.key")),
            (cert.clone(), key_of_another),
            (key.clone(), cert.clone()),
            (torn.clone(), key.clone()),
            (cert.clone(), torn),
            (empty, key.clone()),
            (dir.path().to_owned(), key.clone()),
        ];
        for (cert_file, key_file) in unusable {
            let config = Tls {
                cert_file: Some(cert_file.clone()),
                key_file: Some(key_file.clone()),
                ..Tls::default()
            };
            let got = identity(&config, dir.path(), HERE).unwrap();
            assert_eq!(got.chain, own.chain, "{} {}", cert_file.display(), key_file.display());
            assert!(got.complaint.as_ref().is_some_and(|text| text.contains("self-made certificate")));
            serves(got);
        }
        let config = Tls { cert_file: Some(cert), key_file: Some(key), ..Tls::default() };
        let got = identity(&config, dir.path(), HERE).unwrap();
        assert!(got.chain != own.chain && got.complaint.is_none());
    }

    #[test]
    fn a_certificate_that_cannot_be_stored_is_served_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        // A file where the directory should be: nobody can write below it, whoever runs the test.
        let state = dir.path().join("state");
        std::fs::write(&state, "").unwrap();
        let got = identity(&Tls::default(), &state, HERE).unwrap();
        assert!(got.complaint.as_ref().is_some_and(|text| text.contains("not stored")));
        assert!(got.findings.iter().any(|(_, text)| text.contains("not stored")));
        serves(got);
    }

    #[test]
    fn the_certificate_names_this_machine_and_what_was_asked_for() {
        let config = Tls { names: vec!["bmc-7.example.net".into(), "192.0.2.7".into()], ..Tls::default() };
        let names = names(&config, HERE);
        for name in ["localhost", "127.0.0.1", "::1", "bmc-7.example.net", "192.0.2.7"] {
            assert!(names.iter().any(|n| n == name), "{name}");
        }
    }
}
