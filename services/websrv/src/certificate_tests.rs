//! What becomes of a certificate that is given: which fit, which are refused without effect, what is on the medium.

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use rcgen::{BasicConstraints, IsCa, Issuer};

use super::*;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// 2026-06-01.
const NOW: u64 = 1_780_272_000;

fn now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(NOW))
}

/// A folder of state, and what is served from it.
struct Place {
    dir: tempfile::TempDir,
    config: Tls,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), config: Tls::default() }
    }

    /// As after a start.
    fn keeper(&self) -> Keeper {
        let identity = tls::identity(&self.config, self.dir.path(), HERE).unwrap();
        let served = Served::new(identity).unwrap();
        Keeper::new(self.config.clone(), self.dir.path().into(), HERE, served)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join("tls").join(name)
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2027, 1, 1);
    params
}

fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

/// An authority with its certificate.
fn authority(name: &str) -> (Issuer<'static, KeyPair>, String) {
    let (mut params, key) = (params(name), key());
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let pem = params.self_signed(&key).unwrap().pem();
    (Issuer::new(params, key), pem)
}

fn reason(result: Result<(), Status>) -> (String, String) {
    let status = result.unwrap_err();
    (status.reason(), status.message)
}

#[test]
fn what_is_asked_for_is_served_once_its_certificate_comes_and_after_a_start() {
    let place = Place::new();
    let keeper = place.keeper();
    let before = keeper.shown().unwrap();
    assert_eq!(before.source(), v1::CertificateSource::SelfMade);
    let subject = v1::CertificateName {
        organization: "Org".into(),
        country: "XX".into(),
        email: "a@b.example".into(),
        ..Default::default()
    };
    let wanted = v1::GenerateCsrRequest {
        subject: Some(subject),
        alternative_names: vec!["bmc.example".into(), "192.0.2.7".into()],
        ..Default::default()
    };
    let csr = keeper.request(&wanted).unwrap();
    assert!(csr.starts_with("-----BEGIN CERTIFICATE REQUEST-----"), "{csr}");
    let shown = keeper.shown().unwrap();
    assert!(shown.request_pending && shown.fingerprint == before.fingerprint);
    let mode = std::fs::metadata(place.file(REQUESTED)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    // The authority makes a certificate of the key in the request.
    let asked = KeyPair::from_pem(&std::fs::read_to_string(place.file(REQUESTED)).unwrap()).unwrap();
    let (issuer, root) = authority("root");
    let leaf = params("bmc.example").signed_by(&asked, &issuer).unwrap();
    let pem = leaf.pem() + &root;
    // A start in between does not lose the request.
    let keeper = place.keeper();
    keeper.replace(&pem, now()).unwrap();
    let shown = keeper.shown().unwrap();
    assert_eq!((shown.source(), shown.request_pending), (v1::CertificateSource::Installed, false));
    assert_eq!(shown.subject.as_ref().unwrap().common_name, "bmc.example");
    assert_eq!(shown.issuer.as_ref().unwrap().common_name, "root");
    assert_eq!(shown.pem.matches("BEGIN CERTIFICATE").count(), 2);
    assert!(!shown.pem.contains("PRIVATE"));
    let hello = keeper.served.current().key;
    assert_eq!(hello.cert[0].as_ref(), leaf.der().as_ref());
    let mode = std::fs::metadata(place.file(INSTALLED)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let again = place.keeper();
    assert_eq!(again.shown().unwrap(), shown);
    // Renewed with the same key, which nobody sends.
    let mut renewed = params("bmc.example");
    renewed.not_after = rcgen::date_time_ymd(2028, 1, 1);
    again.replace(&(renewed.signed_by(&asked, &issuer).unwrap().pem() + &root), now()).unwrap();
    assert_ne!(again.shown().unwrap().fingerprint, shown.fingerprint);

    again.reset().unwrap();
    assert_eq!(again.shown().unwrap(), before);
    assert!(!place.file(INSTALLED).exists());
    assert_eq!(place.keeper().shown().unwrap(), before);
}

#[test]
fn a_certificate_comes_with_its_key_of_any_kind() {
    let place = Place::new();
    let keeper = place.keeper();
    let own = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let pem = params("bmc.example").self_signed(&own).unwrap().pem();
    keeper.replace(&(own.serialize_pem() + &pem), now()).unwrap();
    assert_eq!(keeper.shown().unwrap().pem, pem.replace('\r', ""));
    assert_eq!(place.keeper().shown().unwrap().source(), v1::CertificateSource::Installed);
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let place = Place::new();
    let keeper = place.keeper();
    let own = key();
    let good = params("good").self_signed(&own).unwrap().pem() + &own.serialize_pem();
    keeper.replace(&good, now()).unwrap();
    let (before, on_disk) = (keeper.shown().unwrap(), std::fs::read(place.file(INSTALLED)).unwrap());

    let key_text = own.serialize_pem();
    let signed = |params: CertificateParams| params.self_signed(&own).unwrap().pem() + &key_text;
    let mut expired = params("expired");
    expired.not_after = rcgen::date_time_ymd(2026, 5, 1);
    let mut early = params("early");
    early.not_before = rcgen::date_time_ymd(2026, 7, 1);
    let mut client = params("client");
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let (issuer, root) = authority("root");
    let (other, other_root) = authority("root");
    let (_, stranger) = authority("stranger");
    let leaf = params("leaf").signed_by(&own, &issuer).unwrap().pem();
    let forged = params("leaf").signed_by(&own, &other).unwrap().pem();
    let plain = params("plain").self_signed(&own).unwrap().pem();
    let of_plain = params("leaf").signed_by(&own, &Issuer::new(params("plain"), key())).unwrap().pem();
    let foreign = params("foreign").self_signed(&key()).unwrap().pem();
    let many: String = std::iter::repeat_n(leaf.as_str(), CHAIN_MAX + 1).collect();
    for (what, text, why) in [
        ("nothing", String::new(), "no certificate"),
        ("a key alone", key_text.clone(), "no certificate"),
        ("no PEM", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n".into(), "PEM"),
        ("no certificate", written("CERTIFICATE", b"none") + &key_text, "cannot be read"),
        ("expired", signed(expired), "has expired: 2026-05-01"),
        ("too early", signed(early), "not valid before 2026-07-01"),
        ("for clients", signed(client), "not for servers"),
        ("of another key", foreign.clone(), "another key"),
        ("of another key than given", foreign + &key_text, "not the certificate's"),
        (
            "a key that is none",
            leaf.clone() + "-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----\n",
            "cannot be read",
        ),
        ("another issuer", leaf.clone() + &stranger + &key_text, "not the issuer of certificate 1"),
        ("the wrong order", root.clone() + &leaf + &key_text, "not the issuer"),
        ("a forged one", forged + &root + &key_text, "chain is broken"),
        ("another root of that name", leaf.clone() + &other_root + &key_text, "chain is broken"),
        ("an issuer that is none", of_plain + &plain + &key_text, "chain is broken"),
        ("too many", many + &key_text, "more than 8"),
    ] {
        let (reason, message) = reason(keeper.replace(&text, now()));
        assert_eq!(reason, "CERTIFICATE_REFUSED", "{what}");
        assert!(message.contains(why), "{what}: {message}");
        assert_eq!(keeper.shown().unwrap(), before, "{what}");
        assert_eq!(std::fs::read(place.file(INSTALLED)).unwrap(), on_disk, "{what}");
    }
    keeper.replace(&(leaf + &root + &key_text), now()).unwrap();
}

#[test]
fn names_that_cannot_be_in_a_certificate_are_refused() {
    let place = Place::new();
    let keeper = place.keeper();
    let country = |text: &str| v1::CertificateName { country: text.into(), ..Default::default() };
    let common = v1::CertificateName { common_name: "bmç".into(), ..country("é") };
    let all = v1::CertificateName { email: "ö@x".into(), ..country("XYZ") };
    for (wanted, wrong) in [
        (
            v1::GenerateCsrRequest {
                alternative_names: ["bmc", "bmç"].map(str::to_owned).to_vec(),
                ..Default::default()
            },
            &["alternative_names[1]"][..],
        ),
        (v1::GenerateCsrRequest { subject: Some(country("X")), ..Default::default() }, &["subject.country"]),
        (v1::GenerateCsrRequest { subject: Some(country("é")), ..Default::default() }, &["subject.country"]),
        (
            v1::GenerateCsrRequest { subject: Some(common), ..Default::default() },
            &["subject.common_name", "subject.country"],
        ),
        (
            v1::GenerateCsrRequest {
                subject: Some(all),
                alternative_names: vec!["bmç".into()],
                ..Default::default()
            },
            &["alternative_names[0]", "subject.country", "subject.email"],
        ),
    ] {
        let refused = keeper.request(&wanted).unwrap_err();
        assert_eq!(refused.code, ipc::Code::InvalidArgument, "{wanted:?}");
        let fields: Vec<String> = refused.fields().into_iter().map(|(field, _)| field).collect();
        assert_eq!(fields, wrong, "{refused}");
    }
    assert!(!keeper.shown().unwrap().request_pending);
    // Without any, those that the controller is known by.
    keeper.request(&v1::GenerateCsrRequest::default()).unwrap();
}

#[test]
fn a_configured_certificate_is_the_configuration_s() {
    let mut place = Place::new();
    let keeper = place.keeper();
    place.config.cert_file = Some(place.file("cert.pem"));
    place.config.key_file = Some(place.file("key.pem"));
    assert_eq!(keeper.shown().unwrap().source(), v1::CertificateSource::SelfMade);
    let keeper = place.keeper();
    assert_eq!(keeper.shown().unwrap().source(), v1::CertificateSource::Configured);
    let own = key();
    let good = params("good").self_signed(&own).unwrap().pem() + &own.serialize_pem();
    for refused in
        [keeper.replace(&good, now()), keeper.reset(), keeper.request(&Default::default()).map(|_| ())]
    {
        assert_eq!(reason(refused).0, "CERTIFICATE_CONFIGURED");
    }
}

#[test]
fn an_installed_one_that_is_damaged_gives_way_to_the_self_made_one_and_is_told() {
    let place = Place::new();
    let keeper = place.keeper();
    let before = keeper.shown().unwrap();
    let own = key();
    keeper.replace(&(params("good").self_signed(&own).unwrap().pem() + &own.serialize_pem()), now()).unwrap();
    let text = std::fs::read_to_string(place.file(INSTALLED)).unwrap();
    std::fs::write(place.file(INSTALLED), &text[..text.len() / 2]).unwrap();
    let keeper = place.keeper();
    let shown = keeper.shown().unwrap();
    assert_eq!(shown.fingerprint, before.fingerprint);
    assert!(shown.complaint.contains("not the one that was set"), "{}", shown.complaint);
    keeper.reset().unwrap();
    assert_eq!(keeper.shown().unwrap().complaint, "");
}

/// Something in the place of a file that cannot be put aside, as too much is already: nobody can write there, whoever runs the test.
fn in_the_way(place: &Place, name: &str) {
    let aside = (2..=8).map(|number| format!("{name}.{number}.damaged"));
    for name in [name.to_owned(), format!("{name}.damaged")].into_iter().chain(aside) {
        std::fs::create_dir_all(place.file(&format!("{name}/x"))).unwrap();
    }
}

#[test]
fn one_that_cannot_be_stored_is_not_served() {
    let place = Place::new();
    let keeper = place.keeper();
    let before = keeper.shown().unwrap();
    in_the_way(&place, "installed.pem.new");
    let own = key();
    let good = params("good").self_signed(&own).unwrap().pem() + &own.serialize_pem();
    assert_eq!(keeper.replace(&good, now()).unwrap_err().code, ipc::Code::Unavailable);
    assert_eq!(keeper.shown().unwrap(), before);
}

#[test]
fn a_request_that_cannot_be_removed_makes_no_refusal_of_what_was_done() {
    let place = Place::new();
    let keeper = place.keeper();
    let before = keeper.shown().unwrap();
    in_the_way(&place, "request.pem");
    let own = key();
    let good = params("good").self_signed(&own).unwrap().pem() + &own.serialize_pem();
    keeper.replace(&good, now()).unwrap();
    assert_eq!(place.keeper().shown().unwrap().fingerprint, keeper.shown().unwrap().fingerprint);
    keeper.reset().unwrap();
    assert_eq!(keeper.shown().unwrap().fingerprint, before.fingerprint);
    // An installed one that cannot be removed stays, and this is told.
    in_the_way(&place, "installed.pem");
    assert_eq!(keeper.reset().unwrap_err().code, ipc::Code::Unavailable);
}
