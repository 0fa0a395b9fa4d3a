//! The certificate of HTTPS.

use std::io::Read as _;
use std::path::Path;

use schema::rpc::certificate_service;
use schema::v1alpha1::{
    Certificate, CertificateCurve, CertificateName, GenerateCsrRequest, GetCertificateRequest,
    ReplaceCertificateRequest, ResetCertificateRequest,
};

use super::Session;
use crate::cli::{CertificateCommand, Curve};
use crate::failure::Failure;
use crate::output::{Card, Output};
use crate::text::{enum_word, time};

/// Bytes of a file at most; as the contract has it.
const PEM_MAX: u64 = 65_536;

pub(crate) async fn run(
    session: Session,
    command: CertificateCommand,
    output: Output,
) -> Result<(), Failure> {
    match command {
        CertificateCommand::Show { pem } => {
            let client = session.client().await?;
            let request = GetCertificateRequest::default();
            let reply = client.call(certificate_service::GET_CERTIFICATE, &request).await?;
            let shown = reply.certificate.clone().unwrap_or_default();
            if pem { output.text(shown.pem.trim_end()) } else { output.card(&reply, || card(&shown)) }
        }
        CertificateCommand::Csr {
            common_name,
            names,
            organization,
            organizational_unit,
            city,
            state,
            country,
            email,
            curve,
        } => {
            let client = session.changing().await?;
            let subject = CertificateName {
                common_name: common_name.unwrap_or_default(),
                organization: organization.unwrap_or_default(),
                organizational_unit: organizational_unit.unwrap_or_default(),
                city: city.unwrap_or_default(),
                state: state.unwrap_or_default(),
                country: country.unwrap_or_default(),
                email: email.unwrap_or_default(),
            };
            let curve = match curve {
                Curve::P256 => CertificateCurve::P256,
                Curve::P384 => CertificateCurve::P384,
            };
            let request =
                GenerateCsrRequest { subject: Some(subject), alternative_names: names, curve: curve.into() };
            let reply = client.call(certificate_service::GENERATE_CSR, &request).await?;
            output.line(&reply, || reply.csr.trim_end().to_owned())
        }
        CertificateCommand::Replace { chain, key } => {
            let mut pem = read(&chain)?;
            if let Some(key) = &key {
                pem.push('\n');
                pem.push_str(&read(key)?);
            }
            let client = session.changing().await?;
            let request = ReplaceCertificateRequest { pem };
            let reply = client.call(certificate_service::REPLACE_CERTIFICATE, &request).await?;
            output.card(&reply, || card(&reply.certificate.clone().unwrap_or_default()))
        }
        CertificateCommand::Reset => {
            let client = session.changing().await?;
            let request = ResetCertificateRequest::default();
            let reply = client.call(certificate_service::RESET_CERTIFICATE, &request).await?;
            output.card(&reply, || card(&reply.certificate.clone().unwrap_or_default()))
        }
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(PEM_MAX + 1).read_to_string(&mut text))
        .map_err(|error| Failure::Local(format!("cannot read {}: {error}", path.display())))?;
    Ok(text)
}

fn card(one: &Certificate) -> Card {
    let name = |of: Option<&CertificateName>| {
        let of = of.cloned().unwrap_or_default();
        let parts = [of.common_name, of.organizational_unit, of.organization, of.city, of.state, of.country];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
    };
    let mut card = Card::default();
    card.line("Subject", name(one.subject.as_ref()))
        .line("Names", one.alternative_names.join(" "))
        .line("Issuer", name(one.issuer.as_ref()))
        .line("From", time(one.not_before.as_ref()))
        .line("Until", time(one.not_after.as_ref()))
        .line("Serial number", one.serial_number.clone())
        .line("Usage", one.key_usage.join(" "))
        .line("Fingerprint", one.fingerprint.clone())
        .line("Source", enum_word(one.source().as_str_name(), "CERTIFICATE_SOURCE_"))
        .line("Request", if one.request_pending { "waits for its certificate" } else { "" })
        .line("Complaint", one.complaint.clone());
    card
}
