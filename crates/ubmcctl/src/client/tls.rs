//! Which certificate is good enough.
//!
//! Three ways, and in each the server must prove that it holds the certificate's key (the signature of the handshake is always
//! checked): signed by a CA we trust and made out to the name we call; exactly the one we pinned; or, with `--insecure`, any.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use data_encoding::HEXLOWER;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::failure::Failure;

/// Where systems keep the CAs they trust.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// SHA-256 of a certificate, written `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Fingerprint(pub(crate) [u8; 32]);

impl Fingerprint {
    fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(Sha256::digest(certificate.as_ref()).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Fingerprint {
    type Err = String;

    /// Takes what openssl prints too: upper case, with colons.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "a fingerprint is sha256: and 64 hexadecimal digits".to_owned();
        let lower = text.trim().to_ascii_lowercase();
        let lower = lower.strip_prefix("sha256 fingerprint=").unwrap_or(&lower);
        let lower = lower.strip_prefix("sha256:").unwrap_or(lower);
        let digits: Vec<u8> = lower.bytes().filter(|byte| *byte != b':').collect();
        let bytes = HEXLOWER.decode(&digits).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(wrong)
    }
}

/// How to tell a good certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trust {
    /// The CAs of this machine.
    System,
    /// The CAs in a PEM file, and no other.
    Ca(std::path::PathBuf),
    /// One certificate, whatever name and dates it has.
    Pin(Fingerprint),
    /// Any.
    Insecure,
}

#[derive(Debug)]
enum Rule {
    /// `None` when this machine trusts no CA at all.
    Roots(Option<Arc<WebPkiServerVerifier>>),
    Pin(Fingerprint),
    Any,
}

/// The verifier; remembers what the server showed, for messages and for pinning.
#[derive(Debug)]
pub(crate) struct Verifier {
    rule: Rule,
    provider: Arc<CryptoProvider>,
    seen: Mutex<Option<Fingerprint>>,
}

impl Verifier {
    pub(crate) fn new(trust: &Trust) -> Result<Arc<Self>, Failure> {
        let provider = Arc::new(ring::default_provider());
        let rule = match trust {
            Trust::System => Rule::Roots(roots(&system_roots(), &provider)?),
            Trust::Ca(path) => {
                let store =
                    store(path).map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
                if store.is_empty() {
                    return Err(Failure::Usage(format!("{} holds no certificate", path.display())));
                }
                Rule::Roots(roots(&store, &provider)?)
            }
            Trust::Pin(fingerprint) => Rule::Pin(*fingerprint),
            Trust::Insecure => Rule::Any,
        };
        Ok(Arc::new(Self { rule, provider, seen: Mutex::new(None) }))
    }

    /// What the server showed last.
    pub(crate) fn seen(&self) -> Option<Fingerprint> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pin, when there is one.
    pub(crate) fn pin(&self) -> Option<Fingerprint> {
        match self.rule {
            Rule::Pin(pin) => Some(pin),
            _ => None,
        }
    }

    pub(crate) fn client_config(self: &Arc<Self>, alpn: &[&[u8]]) -> Result<ClientConfig, Failure> {
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| Failure::Local(format!("TLS: {error}")))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::<Self>::clone(self))
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Ok(config)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let fingerprint = Fingerprint::of(end_entity);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(fingerprint);
        match &self.rule {
            Rule::Roots(Some(verifier)) => {
                verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
            Rule::Roots(None) => Err(CertificateError::UnknownIssuer.into()),
            Rule::Pin(pin) if bool::from(pin.0.ct_eq(&fingerprint.0)) => Ok(ServerCertVerified::assertion()),
            Rule::Pin(_) => Err(CertificateError::ApplicationVerificationFailure.into()),
            Rule::Any => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn roots(
    store: &RootCertStore,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<WebPkiServerVerifier>>, Failure> {
    if store.is_empty() {
        return Ok(None);
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(store.clone()), Arc::clone(provider))
        .build()
        .map(Some)
        .map_err(|error| Failure::Local(format!("trusted CAs: {error}")))
}

fn system_roots() -> RootCertStore {
    let chosen = std::env::var_os("SSL_CERT_FILE").map(std::path::PathBuf::from);
    let paths = chosen.into_iter().chain(BUNDLES.iter().map(std::path::PathBuf::from));
    paths
        .filter_map(|path| store(&path).ok())
        .find(|store| !store.is_empty())
        .unwrap_or_else(RootCertStore::empty)
}

fn store(path: &Path) -> Result<RootCertStore, rustls::pki_types::pem::Error> {
    let mut store = RootCertStore::empty();
    let certificates: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(path)?.collect::<Result<_, _>>()?;
    // A bundle may hold a certificate webpki does not take; the others still count.
    store.add_parsable_certificates(certificates);
    Ok(store)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_read_what_people_paste() {
        let plain = "ab".repeat(32);
        let expected = Fingerprint([0xab; 32]);
        let colons = vec!["AB"; 32].join(":");
        for text in
            [plain.clone(), format!("sha256:{plain}"), colons.clone(), format!("sha256 Fingerprint={colons}")]
        {
            assert_eq!(text.parse::<Fingerprint>(), Ok(expected), "{text}");
        }
        assert_eq!(expected.to_string(), format!("sha256:{plain}"));
        let wrong = [
            "",
            "sha256:",
            &plain[2..],
            &format!("{plain}ab"),
            &"zz".repeat(32),
            &"+a".repeat(32),
            &"é".repeat(32),
        ];
        for text in wrong {
            assert!(text.parse::<Fingerprint>().is_err(), "{text}");
        }
    }

    fn certificate(name: &str) -> CertificateDer<'static> {
        rcgen::generate_simple_self_signed([name.to_owned()]).unwrap().cert.der().clone()
    }

    fn accepts(verifier: &Verifier, certificate: &CertificateDer<'_>) -> bool {
        let name = ServerName::try_from("bmc.example").unwrap();
        verifier.verify_server_cert(certificate, &[], &name, &[], UnixTime::now()).is_ok()
    }

    #[test]
    fn a_pin_accepts_one_certificate_and_remembers_what_it_saw() {
        let (ours, other) = (certificate("bmc.example"), certificate("bmc.example"));
        let verifier = Verifier::new(&Trust::Pin(Fingerprint::of(&ours))).unwrap();
        assert!(accepts(&verifier, &ours));
        assert!(!accepts(&verifier, &other));
        assert_eq!(verifier.seen(), Some(Fingerprint::of(&other)));
        // The pin is on the certificate, not on the name it was made out to.
        let elsewhere = certificate("elsewhere.example");
        assert!(accepts(&Verifier::new(&Trust::Pin(Fingerprint::of(&elsewhere))).unwrap(), &elsewhere));
    }

    #[test]
    fn a_ca_file_accepts_what_it_signed_for_the_name_we_call_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = params.self_signed(&ca_key).unwrap();
        std::fs::write(&file, ca.pem()).unwrap();
        let issuer = rcgen::Issuer::new(params, ca_key);
        let signed = |name: &str| {
            let key = rcgen::KeyPair::generate().unwrap();
            rcgen::CertificateParams::new([name.to_owned()])
                .unwrap()
                .signed_by(&key, &issuer)
                .unwrap()
                .der()
                .clone()
        };
        let verifier = Verifier::new(&Trust::Ca(file)).unwrap();
        assert!(accepts(&verifier, &signed("bmc.example")));
        assert!(!accepts(&verifier, &signed("other.example")));
        assert!(!accepts(&verifier, &certificate("bmc.example")));
    }

    #[test]
    fn a_file_without_a_certificate_is_a_usage_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("empty.pem");
        std::fs::write(&file, "nothing").unwrap();
        for path in [file, dir.path().join("missing")] {
            assert_eq!(Verifier::new(&Trust::Ca(path)).unwrap_err().exit_code(), 2);
        }
    }

    #[test]
    fn insecure_accepts_any_certificate_but_no_signature() {
        let verifier = Verifier::new(&Trust::Insecure).unwrap();
        assert!(accepts(&verifier, &certificate("other.example")));
        assert!(!verifier.supported_verify_schemes().is_empty());
    }
}
