//! The certificate that is served: shown, asked for, replaced, taken back. A connection that is open keeps the one it began with.
//!
//! ```text
//!   GenerateCsr        ─► request.pem    a key that waits for its certificate
//!   ReplaceCertificate ─► installed.pem  key and chain in one file, so that they change together ─► Served ─► new connections
//!   ResetCertificate   ─► (removed)      the self-made one again                                 ─►
//! ```
//!
//! Never: shows a key; serves what does not fit; lets go of what is served before its successor is on the medium.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipc::{BadFields, Calls, EventBuilder, Outbox, Request, Status};
use rcgen::string::{Ia5String, PrintableString};
use rcgen::{
    CertificateParams, DnType, DnValue, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SignatureAlgorithm,
};
use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::ParsedCertificate;
use schema::server::CertificateServiceCall as Call;
use schema::v1alpha1 as v1;
use service::{Folder, Notifier};
use tracing::warn;

use crate::complaints::{Complaints, Part};
use crate::config::Tls;
use crate::error::TlsError;
use crate::served::{Current, Identity, Served};
use crate::tls::{self, INSTALLED};
use crate::x509::{self, Facts};

/// The key of a request.
const REQUESTED: &str = "request.pem";
/// Certificates of a chain at most.
const CHAIN_MAX: usize = 8;
/// Bytes of a file of a key at most.
const KEY_MAX: usize = 16 * 1024;
/// Bytes of a line of PEM, as text (RFC 7468, 2).
const PEM_LINE: usize = 64;

/// What happens to the certificate.
#[derive(Debug)]
pub(crate) struct Keeper {
    config: Tls,
    state_dir: PathBuf,
    /// Where HTTPS listens.
    bound: IpAddr,
    served: Arc<Served>,
}

impl Keeper {
    pub(crate) fn new(config: Tls, state_dir: PathBuf, bound: IpAddr, served: Arc<Served>) -> Self {
        Self { config, state_dir, bound, served }
    }

    fn path(&self, name: &str) -> PathBuf {
        tls::folder(&self.state_dir).join(name)
    }

    /// The one that is served.
    ///
    /// # Errors
    /// For one that cannot be read, which is served all the same.
    fn shown(&self) -> Result<v1::Certificate, Status> {
        let identity = self.served.identity();
        let first = identity.chain.first().map(AsRef::as_ref).unwrap_or_default();
        let facts = x509::read(first)
            .ok_or_else(|| Status::internal("the certificate that is served cannot be read"))?;
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        Ok(v1::Certificate {
            pem: identity.chain.iter().map(|der| written("CERTIFICATE", der)).collect(),
            subject: Some(name(&facts.subject)),
            issuer: Some(name(&facts.issuer)),
            not_before: at(facts.not_before),
            not_after: at(facts.not_after),
            serial_number: facts
                .serial
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<Vec<_>>()
                .join(":"),
            fingerprint: identity.fingerprint(),
            key_usage: facts.usages.iter().map(|usage| (*usage).to_owned()).collect(),
            alternative_names: facts.alternative_names,
            source: identity.source.into(),
            complaint: identity.complaint.as_deref().map(service::as_known).unwrap_or_default(),
            request_pending: self.path(REQUESTED).exists(),
        })
    }

    /// Makes a key and asks for a certificate of it.
    fn request(&self, wanted: &v1::GenerateCsrRequest) -> Result<String, Status> {
        self.is_ours()?;
        let subject = wanted.subject.clone().unwrap_or_default();
        let mut bad = BadFields::default();
        let names = match (wanted.alternative_names.as_slice(), subject.common_name.as_str()) {
            ([], "") => tls::names(&self.config, self.bound),
            ([], common) => {
                bad.take("subject.common_name", named_by(common));
                vec![common.to_owned()]
            }
            (names, _) => {
                for (nth, name) in names.iter().enumerate() {
                    bad.take(&format!("alternative_names[{nth}]"), named_by(name));
                }
                names.to_vec()
            }
        };
        let country = bad.take("subject.country", country(&subject.country)).flatten();
        let email = bad.take("subject.email", email(&subject.email)).flatten();
        bad.check()?;
        let pair = KeyPair::generate_for(algorithm(wanted.curve())).map_err(made_none)?;
        let first = names.first().cloned().unwrap_or_default();
        let mut params = CertificateParams::new(names).map_err(made_none)?;
        let mut named = rcgen::DistinguishedName::new();
        let common_name = if subject.common_name.is_empty() { first } else { subject.common_name };
        for (kind, text) in [
            (DnType::StateOrProvinceName, subject.state),
            (DnType::LocalityName, subject.city),
            (DnType::OrganizationName, subject.organization),
            (DnType::OrganizationalUnitName, subject.organizational_unit),
            (DnType::CommonName, common_name),
        ] {
            if !text.is_empty() {
                named.push(kind, text);
            }
        }
        if let Some(country) = country {
            named.push(DnType::CountryName, DnValue::PrintableString(country));
        }
        if let Some(email) = email {
            named.push(DnType::CustomDnType(vec![1, 2, 840, 113_549, 1, 9, 1]), DnValue::Ia5String(email));
        }
        params.distinguished_name = named;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let csr = params.serialize_request(&pair).and_then(|csr| csr.pem()).map_err(made_none)?;
        self.store(REQUESTED, pair.serialize_pem().as_bytes())?;
        Ok(csr)
    }

    /// Serves another one, once it is on the medium.
    fn replace(&self, text: &str, now: UnixTime) -> Result<(), Status> {
        self.is_ours()?;
        let chain = chain(text)?;
        fit(&chain, now)?;
        let current = Current::of(self.of_a_key(text, &chain)?).map_err(|error| unusable(&error))?;
        let identity = &current.identity;
        let mut stored = written(label(&identity.key), identity.key.secret_der());
        stored.extend(chain.iter().map(|der| written("CERTIFICATE", der)));
        self.store(INSTALLED, stored.as_bytes())?;
        self.served.replace(current);
        self.forget_request();
        Ok(())
    }

    /// Serves the self-made one again.
    fn reset(&self) -> Result<(), Status> {
        self.is_ours()?;
        let identity =
            tls::self_made(&self.config, &self.state_dir, self.bound).map_err(|error| unusable(&error))?;
        let current = Current::of(identity).map_err(|error| unusable(&error))?;
        self.remove(INSTALLED)?;
        self.served.replace(current);
        self.forget_request();
        Ok(())
    }

    /// A key that was asked for has its certificate, or is of no use beside another one. What was changed is changed whether or not
    /// it goes.
    fn forget_request(&self) {
        let _ = self.remove(REQUESTED);
    }

    /// The chain with the key that is its own: one that came with it, that of the last request, or the one in use.
    fn of_a_key(&self, text: &str, chain: &[CertificateDer<'static>]) -> Result<Identity, Status> {
        let with =
            |key| Identity { source: v1::CertificateSource::Installed, ..Identity::new(chain.to_vec(), key) };
        let fits = |identity: &Identity| Current::key(identity).is_ok();
        match PrivateKeyDer::from_pem_slice(text.as_bytes()) {
            Ok(key) => {
                let identity = with(key);
                let fits = fits(&identity);
                return fits
                    .then_some(identity)
                    .ok_or_else(|| refused("the private key is not the certificate's"));
            }
            Err(pem::Error::NoItemsFound) => {}
            Err(error) => return Err(refused(format!("the private key cannot be read: {error}"))),
        }
        let asked = service::read_path(&self.path(REQUESTED), KEY_MAX).ok();
        let asked = asked.and_then(|pem| PrivateKeyDer::from_pem_slice(&pem).ok());
        let used = Some(self.served.identity().key.clone_key());
        let mut all = [asked, used].into_iter().flatten().map(with);
        all.find(fits)
            .ok_or_else(|| refused("it is of another key than that of the last request and the one in use"))
    }

    /// What the configuration names is the configuration's.
    fn is_ours(&self) -> Result<(), Status> {
        match self.config.cert_file {
            None => Ok(()),
            Some(_) => Err(Status::failed_precondition(
                "the certificate is a file that the configuration names: websrv.tls.cert_file",
            )
            .with_reason("CERTIFICATE_CONFIGURED")),
        }
    }

    fn store(&self, name: &str, bytes: &[u8]) -> Result<(), Status> {
        let dir = tls::folder(&self.state_dir);
        let stored = Folder::create(&dir).and_then(|folder| folder.replace_decidedly(name, bytes, 0o600));
        stored.map_err(|error| {
            warn!(%error, file = name, "cannot store certificate: nothing is changed");
            Status::unavailable(format!("cannot store it: {error}"))
        })
    }

    fn remove(&self, name: &str) -> Result<(), Status> {
        let path = self.path(name);
        let removed = std::fs::remove_file(&path).or_else(|error| match error.kind() {
            // A folder has been put there: it is none of ours, and stays beside.
            ErrorKind::IsADirectory => {
                Folder::open(&tls::folder(&self.state_dir))?.make_way_for_file(name).map(|_| ())
            }
            _ => Err(error),
        });
        match removed {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                warn!(%error, file = name, "cannot remove file of certificate");
                return Err(Status::unavailable(format!("cannot remove {name}: {error}")));
            }
            Ok(()) => {}
        }
        let folder = path.parent().unwrap_or(Path::new("."));
        if let Err(error) = std::fs::File::open(folder).and_then(|folder| folder.sync_all()) {
            warn!(%error, file = name, "cannot sync folder of certificates: a loss of power may bring it back");
        }
        Ok(())
    }
}

/// Answers for the certificate until the bus ends. One thing after the other, beside the daemon's loop: what is asked here waits for the medium.
pub(crate) async fn serve(
    mut calls: Calls<Call<Request>>,
    keeper: Option<Keeper>,
    outbox: Outbox,
    (notify, complaints): (Notifier, Complaints),
) {
    let keeper = keeper.map(Arc::new);
    while let Some(call) = calls.next().await {
        let done = Done { outbox: outbox.clone(), notify: notify.clone(), complaints: complaints.clone() };
        let Some(keeper) = keeper.clone() else {
            done.refuse(call, &Status::failed_precondition("HTTPS is off, so there is no certificate"));
            continue;
        };
        // One that panics takes its answer along and no other.
        let _ = tokio::task::spawn_blocking(move || done.answer(&keeper, call)).await;
    }
}

/// Where answers and news go.
struct Done {
    outbox: Outbox,
    notify: Notifier,
    complaints: Complaints,
}

impl Done {
    fn answer(&self, keeper: &Keeper, call: Call<Request>) {
        match call {
            Call::GetCertificate(_, reply) => {
                let shown = keeper.shown().map(|one| v1::GetCertificateResponse { certificate: Some(one) });
                self.outbox.answer(reply, shown);
            }
            Call::GenerateCsr(wanted, reply) => {
                let csr = keeper.request(&wanted).map(|csr| v1::GenerateCsrResponse { csr });
                self.outbox.answer(reply, csr);
            }
            Call::ReplaceCertificate(given, reply) => {
                let replaced = keeper.replace(&given.pem, UnixTime::now());
                let told = replaced.and_then(|()| keeper.shown());
                self.tell(keeper, "replaced", reply.context(), told.as_ref());
                let answer = told.map(|one| v1::ReplaceCertificateResponse { certificate: Some(one) });
                self.outbox.answer(reply, answer);
            }
            Call::ResetCertificate(_, reply) => {
                let told = keeper.reset().and_then(|()| keeper.shown());
                self.tell(keeper, "reset", reply.context(), told.as_ref());
                let answer = told.map(|one| v1::ResetCertificateResponse { certificate: Some(one) });
                self.outbox.answer(reply, answer);
            }
        }
    }

    /// Tells everybody whom the certificate concerns: the log, the console of the controller, its status.
    fn tell(
        &self,
        keeper: &Keeper,
        what: &str,
        by: &ipc::CallContext,
        told: Result<&v1::Certificate, &Status>,
    ) {
        let by = by.principal.as_ref().map_or("a daemon", |principal| principal.username.as_str());
        match told {
            Ok(now) => {
                let fingerprint = &now.fingerprint;
                tracing::info!(fingerprint, by, what, "serving another TLS certificate");
                self.notify.certificate(fingerprint);
                let complaint = keeper.served.identity().complaint.clone();
                self.complaints.set(Part::Certificate, complaint.unwrap_or_default());
                let message = format!("certificate {what} by {by}: {fingerprint}");
                let event = EventBuilder::new("websrv", "certificate", "https", what).message(message);
                self.outbox.event(event.at(SystemTime::now()));
            }
            Err(status) => {
                tracing::info!(by, what, error = %status.message, "refused change of TLS certificate")
            }
        }
    }

    fn refuse(&self, call: Call<Request>, status: &Status) {
        match call {
            Call::GetCertificate(_, reply) => self.outbox.answer(reply, Err(status.clone())),
            Call::GenerateCsr(_, reply) => self.outbox.answer(reply, Err(status.clone())),
            Call::ReplaceCertificate(_, reply) => self.outbox.answer(reply, Err(status.clone())),
            Call::ResetCertificate(_, reply) => self.outbox.answer(reply, Err(status.clone())),
        }
    }
}

fn algorithm(curve: v1::CertificateCurve) -> &'static SignatureAlgorithm {
    match curve {
        // The cheapest handshake on small ARM cores of all curves every client knows.
        v1::CertificateCurve::Unspecified | v1::CertificateCurve::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
        v1::CertificateCurve::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
    }
}

/// What a request is refused with for a text that a certificate cannot hold.
fn unfit(error: rcgen::Error) -> String {
    format!("it cannot be in a certificate: {error}")
}

/// Whether a certificate can name this as one that it is for.
fn named_by(name: &str) -> Result<(), String> {
    CertificateParams::new(vec![name.to_owned()]).map(drop).map_err(unfit)
}

/// A country; none where it is empty. RFC 5280, A.1: two characters of PrintableString.
fn country(text: &str) -> Result<Option<PrintableString>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.len() != 2 {
        return Err("it is two letters".to_owned());
    }
    PrintableString::try_from(text).map(Some).map_err(unfit)
}

/// An address for mail; none where it is empty.
fn email(text: &str) -> Result<Option<Ia5String>, String> {
    if text.is_empty() { Ok(None) } else { Ia5String::try_from(text).map(Some).map_err(unfit) }
}

fn made_none(error: rcgen::Error) -> Status {
    Status::internal(format!("cannot make a request: {error}"))
}

/// A certificate that does not fit.
fn refused(why: impl Into<String>) -> Status {
    Status::about_field("pem", why).with_reason("CERTIFICATE_REFUSED")
}

fn unusable(error: &TlsError) -> Status {
    refused(service::as_known(&service::ErrorChain(error).to_string()))
}

/// The certificates of a text.
fn chain(text: &str) -> Result<Vec<CertificateDer<'static>>, Status> {
    let all = CertificateDer::pem_slice_iter(text.as_bytes()).take(CHAIN_MAX + 1);
    let chain: Vec<_> = all
        .collect::<Result<_, _>>()
        .map_err(|error| refused(format!("it cannot be read as PEM: {error}")))?;
    match chain.len() {
        0 => Err(refused("there is no certificate in it")),
        1..=CHAIN_MAX => Ok(chain),
        _ => Err(refused(format!("there are more than {CHAIN_MAX} certificates in it"))),
    }
}

/// Whether a chain can be served at a time: each certificate is good then, made by the next one, and the first one is good for a server.
fn fit(chain: &[CertificateDer<'static>], now: UnixTime) -> Result<(), Status> {
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let mut all: Vec<Facts> = Vec::new();
    for (number, der) in (1..).zip(chain) {
        let facts = x509::read(der).ok_or_else(|| refused(format!("certificate {number} cannot be read")))?;
        let at = |seconds| prost_types::Timestamp { seconds, nanos: 0 };
        if seconds > facts.not_after {
            return Err(refused(format!("certificate {number} has expired: {}", at(facts.not_after))));
        }
        if seconds < facts.not_before {
            let from = at(facts.not_before);
            return Err(refused(format!(
                "certificate {number} is not valid before {from}; it is {} here",
                at(seconds)
            )));
        }
        if all.last().is_some_and(|before| before.issuer.der != facts.subject.der) {
            let before = number - 1;
            return Err(refused(format!("certificate {number} is not the issuer of certificate {before}")));
        }
        all.push(facts);
    }
    if all.first().is_some_and(|first| first.has_purposes && !first.usages.contains(&x509::FOR_SERVERS)) {
        return Err(refused("it is not for servers (extended key usage)"));
    }
    let [first, middle @ .., last] = chain else { return Ok(()) };
    let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
    let broken = |error: rustls::Error| refused(format!("the chain is broken: {error}"));
    let mut roots = RootCertStore::empty();
    roots.add(last.clone()).map_err(broken)?;
    let first = ParsedCertificate::try_from(first).map_err(broken)?;
    verify_server_cert_signed_by_trust_anchor(&first, &roots, middle, now, algorithms.all).map_err(broken)
}

fn name(from: &x509::Name) -> v1::CertificateName {
    v1::CertificateName {
        common_name: from.common_name.clone(),
        organization: from.organization.clone(),
        organizational_unit: from.organizational_unit.clone(),
        city: from.city.clone(),
        state: from.state.clone(),
        country: from.country.clone(),
        email: from.email.clone(),
    }
}

fn label(key: &PrivateKeyDer<'_>) -> &'static str {
    match key {
        PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
        PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
        _ => "PRIVATE KEY",
    }
}

/// As PEM (RFC 7468).
fn written(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at_checked(PEM_LINE).unwrap_or((rest, ""));
        out.push_str(line);
        out.push('\n');
        rest = more;
    }
    out + &format!("-----END {label}-----\n")
}

#[cfg(test)]
#[path = "certificate_tests.rs"]
mod tests;
