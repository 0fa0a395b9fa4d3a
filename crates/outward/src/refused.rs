//! Why TLS came to nothing, in words for people: the one place where what rustls finds wrong with a certificate is told.

use std::io;

use rustls::{CertificateError, Error};

/// Why a handshake failed. An error of rustls about the certificate is told in plain words, any other as it is.
pub(crate) fn words(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidCertificate(cause)) => format!("TLS: the server's certificate {}", of(cause)),
        _ => format!("TLS: {error}"),
    }
}

/// What is wrong with a certificate; goes on after "the server's certificate".
fn of(cause: &CertificateError) -> String {
    use CertificateError as E;
    let words = match cause {
        E::UnknownIssuer => "is not signed by an authority that is trusted here",
        E::Expired | E::ExpiredContext { .. } => "has expired",
        E::NotValidYet | E::NotValidYetContext { .. } => {
            "is not valid yet, or the clock of the controller is wrong"
        }
        E::NotValidForName | E::NotValidForNameContext { .. } => "is made out to another name",
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => "is not made for a server",
        E::Revoked => "was revoked",
        E::BadSignature => "has a signature that is not good, or its key is not the server's",
        E::BadEncoding => "cannot be read",
        // What rustls has no variant for is an error of webpki, whose text is its variant's name.
        E::Other(other) => match other.to_string().as_str() {
            "CaUsedAsEndEntity" => "is an authority's (CA:TRUE), and a server needs one of its own",
            "UnsupportedCertVersion" => "is none of X.509 version 3",
            text => return format!("is not accepted: {text}"),
        },
        other => return format!("is not accepted: {other}"),
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::crypto::ring;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

    use super::*;

    /// When the certificates begin to be valid: 2026-11-30 14:55:00 UTC, in seconds since 1970.
    const BEGIN: u64 = 1_796_050_500;
    const DAY: u64 = 86_400;

    #[test]
    fn what_is_wrong_with_a_certificate_is_told_in_plain_words() {
        let found = CertificateDer::pem_slice_iter(include_bytes!("../tests/certificates.pem"));
        let found: Vec<_> = found.collect::<Result<_, _>>().unwrap();
        let [authority, server, client, old] = found.as_slice() else { panic!("{} found", found.len()) };
        let (name, now) = ("images.example", BEGIN + DAY);
        let rows = [
            (authority, server, name, now, None),
            (client, server, name, now, Some("is not signed by an authority that is trusted here")),
            (authority, server, name, BEGIN + 366 * DAY, Some("has expired")),
            (
                authority,
                server,
                name,
                BEGIN - DAY,
                Some("is not valid yet, or the clock of the controller is wrong"),
            ),
            (authority, server, "other.example", now, Some("is made out to another name")),
            (authority, client, name, now, Some("is not made for a server")),
            (
                authority,
                authority,
                name,
                now,
                Some("is an authority's (CA:TRUE), and a server needs one of its own"),
            ),
            (authority, old, name, now, Some("is none of X.509 version 3")),
        ];
        for (trusted, shown, name, at, wrong) in rows {
            let mut roots = RootCertStore::empty();
            roots.add(trusted.clone()).unwrap();
            let provider = Arc::new(ring::default_provider());
            let verifier =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            let at = UnixTime::since_unix_epoch(Duration::from_secs(at));
            let name = ServerName::try_from(name).unwrap();
            let told = verifier.verify_server_cert(shown, &[], &name, &[], at).map(drop);
            let told = told.map_err(|error| words(&io::Error::new(io::ErrorKind::InvalidData, error)));
            let wanted = wrong.map_or(Ok(()), |words| Err(format!("TLS: the server's certificate {words}")));
            assert_eq!(told, wanted);
        }
    }

    #[test]
    fn what_has_no_words_of_its_own_is_told_as_it_is() {
        let other = Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure);
        let told = words(&io::Error::other(other));
        assert!(told.starts_with("TLS: the server's certificate is not accepted: "), "{told}");
        assert_eq!(words(&io::Error::other("the line broke")), "TLS: the line broke");
        let alert = Error::AlertReceived(rustls::AlertDescription::HandshakeFailure);
        assert_eq!(words(&io::Error::other(alert.clone())), format!("TLS: {alert}"));
    }
}
