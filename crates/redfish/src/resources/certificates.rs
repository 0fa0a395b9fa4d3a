//! CertificateService and the certificate of HTTPS, which is websrv's (`CertificateService`).

use prost::Message as _;
use schema::Code;
use schema::rpc::certificate_service;
use schema::v1alpha1 as v1;
use serde_json::{Value, json};

use crate::message::base;
use crate::privilege::entity;
use crate::resource::{
    Action, Answered, Given, Kind, Names, Parameter, Property, Resource, collection, link, pointer,
};
use crate::world::{Call, World};
use crate::{Fault, Message};

use super::{name, said};

/// Where the certificates of HTTPS are.
pub(super) const OF_HTTPS: &str = "/redfish/v1/Managers/bmc/NetworkProtocol/HTTPS/Certificates";
/// Its only member.
const ID: &str = "1";
/// Characters of a chain at most; as the contract has it.
const PEM_MAX: usize = 65_536;
const GENERATE: &str = "CertificateService.GenerateCSR";
const REPLACE: &str = "CertificateService.ReplaceCertificate";

/// Names of keys' curves: those of the TPM registry, which DSP0268 wants, and those that are in use.
const CURVES: &[&str] = &["TPM_ECC_NIST_P256", "TPM_ECC_NIST_P384", "prime256v1", "secp256r1", "secp384r1"];

pub(super) static SERVICE: Resource = Resource {
    actions: &[
        Action {
            name: GENERATE,
            parameters: &[
                parameter("CertificateCollection", Kind::Link, true),
                parameter("CommonName", Kind::Text(64), false),
                parameter("AlternativeNames", Kind::Texts(32), false),
                parameter("Organization", Kind::Text(64), false),
                parameter("OrganizationalUnit", Kind::Text(64), false),
                parameter("City", Kind::Text(128), false),
                parameter("State", Kind::Text(128), false),
                parameter("Country", Kind::Text(2), false),
                parameter("Email", Kind::Text(255), false),
                parameter("KeyPairAlgorithm", Kind::Enum(&["TPM_ALG_ECDSA", "EC"]), false),
                parameter("KeyCurveId", Kind::Enum(CURVES), false),
            ],
            is_there: |_, _| Ok(true),
            run: generate,
        },
        Action {
            name: REPLACE,
            parameters: &[
                parameter("CertificateUri", Kind::Link, true),
                parameter("CertificateString", Kind::Pem(PEM_MAX), true),
                parameter("CertificateType", Kind::Enum(&["PEM", "PEMchain"]), true),
            ],
            is_there: |_, _| Ok(true),
            run: replace,
        },
    ],
    answers: Some(answer),
    fields: &[
        ("alternative_names", "AlternativeNames"),
        ("common_name", "CommonName"),
        ("organization", "Organization"),
        ("organizational_unit", "OrganizationalUnit"),
        ("city", "City"),
        ("state", "State"),
        ("country", "Country"),
        ("email", "Email"),
        ("curve", "KeyCurveId"),
        ("pem", "CertificateString"),
    ],
    ..Resource::new(
        "CertificateService",
        "CertificateService.v1_0_0.CertificateService",
        &entity::CERTIFICATE_SERVICE,
        |_, _| {
            Ok(Some(json!({
                "Name": "Certificate service",
                "CertificateLocations": link("/redfish/v1/CertificateService/CertificateLocations"),
            })))
        },
    )
};

pub(super) static LOCATIONS: Resource = Resource::new(
    "CertificateService/CertificateLocations",
    "CertificateLocations.v1_0_0.CertificateLocations",
    &entity::CERTIFICATE_LOCATIONS,
    |_, _| {
        Ok(Some(json!({
            "Name": "Certificate locations",
            "Links": {"Certificates": [link(&format!("{OF_HTTPS}/{ID}"))]},
        })))
    },
);

pub(super) static COLLECTION: Resource = Resource::new(
    "Managers/{}/NetworkProtocol/HTTPS/Certificates",
    "CertificateCollection.CertificateCollection",
    &entity::CERTIFICATE_COLLECTION,
    |world, names| {
        let id = name(names, 0);
        if world.controller(id)?.is_none() {
            return Ok(None);
        }
        let uri = format!("/redfish/v1/Managers/{id}/NetworkProtocol/HTTPS/Certificates/{ID}");
        Ok(Some(collection("Certificates of HTTPS", vec![uri])))
    },
);

pub(super) static CERTIFICATE: Resource = Resource::new(
    "Managers/{}/NetworkProtocol/HTTPS/Certificates/{}",
    "Certificate.v1_7_0.Certificate",
    &entity::CERTIFICATE,
    show,
);

fn show(world: &World, names: Names<'_>) -> Result<Option<Value>, Fault> {
    if world.controller(name(names, 0))?.is_none() || name(names, 1) != ID {
        return Ok(None);
    }
    let Some(one) = &world.certificate()?.certificate else { return Ok(None) };
    let time = |at: &Option<prost_types::Timestamp>| at.map(|at| at.to_string());
    let is_chain = one.pem.matches("-----BEGIN").count() > 1;
    let sha256 = one.fingerprint.strip_prefix("sha256:");
    let pairs =
        sha256.map(|digits| digits.as_bytes().chunks(2).map(String::from_utf8_lossy).collect::<Vec<_>>());
    Ok(Some(json!({
        "Name": "HTTPS certificate",
        "Description": said(Some(&one.complaint)),
        "CertificateString": one.pem,
        "CertificateType": if is_chain { "PEMchain" } else { "PEM" },
        "CertificateUsageTypes": ["Web"],
        "Subject": identifier(one.subject.as_ref(), &one.alternative_names),
        "Issuer": identifier(one.issuer.as_ref(), &[]),
        "ValidNotBefore": time(&one.not_before),
        "ValidNotAfter": time(&one.not_after),
        "KeyUsage": one.key_usage,
        "SerialNumber": said(Some(&one.serial_number)),
        "Fingerprint": pairs.map(|pairs| pairs.join(":")),
        "FingerprintHashAlgorithm": sha256.map(|_| "TPM_ALG_SHA256"),
    })))
}

fn identifier(of: Option<&v1::CertificateName>, alternative: &[String]) -> Value {
    let Some(of) = of else { return Value::Null };
    json!({
        "CommonName": said(Some(&of.common_name)),
        "Organization": said(Some(&of.organization)),
        "OrganizationalUnit": said(Some(&of.organizational_unit)),
        "City": said(Some(&of.city)),
        "State": said(Some(&of.state)),
        "Country": said(Some(&of.country)),
        "Email": said(Some(&of.email)),
        "AlternativeNames": (!alternative.is_empty()).then_some(alternative),
    })
}

const fn parameter(path: &'static str, kind: Kind, required: bool) -> Parameter {
    Parameter { property: Property::new(path, kind), required }
}

/// A link that an action has to be given, without the slash at its end.
fn linked<'g>(given: &'g Given, path: &str) -> &'g str {
    let uri = given.get(path).and_then(|link| link.get("@odata.id")).and_then(Value::as_str);
    uri.unwrap_or_default().trim_end_matches('/')
}

fn generate(_world: &World, _names: Names<'_>, given: &Given) -> Result<Call, Message> {
    let uri = linked(given, "CertificateCollection");
    if uri != OF_HTTPS {
        return Err(elsewhere(uri, "CertificateCollection", GENERATE));
    }
    let text = |path: &str| given.text(path).unwrap_or_default().to_owned();
    let curve = match given.text("KeyCurveId") {
        Some("TPM_ECC_NIST_P384" | "secp384r1") => v1::CertificateCurve::P384,
        _ => v1::CertificateCurve::P256,
    };
    let subject = v1::CertificateName {
        common_name: text("CommonName"),
        organization: text("Organization"),
        organizational_unit: text("OrganizationalUnit"),
        city: text("City"),
        state: text("State"),
        country: text("Country"),
        email: text("Email"),
    };
    let request = v1::GenerateCsrRequest {
        subject: Some(subject),
        alternative_names: given.texts("AlternativeNames"),
        curve: curve.into(),
    };
    Ok(Call::new(certificate_service::GENERATE_CSR, &request))
}

fn replace(_world: &World, _names: Names<'_>, given: &Given) -> Result<Call, Message> {
    let uri = linked(given, "CertificateUri");
    if uri.strip_prefix(OF_HTTPS).and_then(|rest| rest.strip_prefix('/')) != Some(ID) {
        return Err(elsewhere(uri, "CertificateUri", REPLACE));
    }
    let pem = given.text("CertificateString").unwrap_or_default().to_owned();
    Ok(Call::new(certificate_service::REPLACE_CERTIFICATE, &v1::ReplaceCertificateRequest { pem }))
}

/// There is no certificate at a link.
fn elsewhere(uri: &str, parameter: &str, action: &str) -> Message {
    base::ACTION_PARAMETER_VALUE_NOT_IN_LIST.with(&[uri, parameter, action]).about(pointer(parameter))
}

/// A request for a certificate is what its action answers (DSP0268, `GenerateCSRResponse`).
fn answer(action: &str, bytes: &[u8]) -> Result<Answered, Fault> {
    if action != GENERATE {
        return Ok(Answered::Nothing);
    }
    let made = v1::GenerateCsrResponse::decode(bytes);
    let made = made.map_err(|error| {
        Fault::new(Code::Internal, &format!("a request came as bytes that are none: {error}"))
    })?;
    Ok(Answered::Value(json!({"CSRString": made.csr, "CertificateCollection": link(OF_HTTPS)})))
}
