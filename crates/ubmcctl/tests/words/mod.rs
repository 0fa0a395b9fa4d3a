//! The answers of the server of these tests in the words of gRPC or of Connect in JSON.

use std::convert::Infallible;
use std::future::Ready;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::Full;
use http_body_util::combinators::WithTrailers;
use prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor};

/// What the server answers to a method: HTTP status, content type, body; in Connect's words with binary messages.
pub(crate) type Reply = (u16, &'static str, Vec<u8>);

pub(crate) fn frame(flags: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![flags];
    out.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
    out.extend_from_slice(body);
    out
}

pub(crate) type Answer = WithTrailers<Full<Bytes>, Ready<Option<Result<HeaderMap, Infallible>>>>;
/// Status, content type, body, trailers, other fields.
pub(crate) type Words = (u16, &'static str, Vec<u8>, Option<HeaderMap>, HeaderMap);

pub(crate) fn from_json(descriptor: MessageDescriptor, json: &[u8]) -> Vec<u8> {
    let mut json = serde_json::Deserializer::from_slice(json);
    DynamicMessage::deserialize(descriptor, &mut json).unwrap().encode_to_vec()
}

fn to_json(descriptor: MessageDescriptor, message: &[u8]) -> Vec<u8> {
    serde_json::to_vec(&DynamicMessage::decode(descriptor, message).unwrap()).unwrap()
}

/// The frames of a stream: flags and message.
fn frames(mut body: &[u8]) -> Vec<(u8, &[u8])> {
    let mut frames = Vec::new();
    while let Some((head, rest)) = body.split_first_chunk::<5>() {
        let (message, rest) = rest.split_at(u32::from_be_bytes(head[1..].try_into().unwrap()) as usize);
        frames.push((head[0], message));
        body = rest;
    }
    frames
}

pub(crate) fn in_json(output: MessageDescriptor, (status, kind, body): Reply) -> Words {
    let (kind, body) = match kind {
        "application/proto" => ("application/json", to_json(output, &body)),
        "application/connect+proto" => {
            let again = frames(&body).into_iter().flat_map(|(flags, message)| match flags {
                0 => frame(0, &to_json(output.clone(), message)),
                _ => frame(flags, message),
            });
            ("application/connect+json", again.collect())
        }
        _ => (kind, body),
    };
    (status, kind, body, None, HeaderMap::new())
}

pub(crate) fn in_grpc((status, kind, body): Reply) -> Words {
    let grpc = "application/grpc";
    match kind {
        "application/proto" => {
            (200, grpc, frame(0, &body), Some(grpc_status(&serde_json::Value::Null)), HeaderMap::new())
        }
        "application/connect+proto" => {
            let (mut out, mut trailers) = (Vec::new(), None);
            for (flags, message) in frames(&body) {
                if flags == 0 {
                    out.extend(frame(0, message));
                } else {
                    let end: serde_json::Value = serde_json::from_slice(message).unwrap();
                    trailers = Some(grpc_status(&end["error"]));
                }
            }
            (200, grpc, out, trailers, HeaderMap::new())
        }
        "application/json" => {
            (200, grpc, Vec::new(), None, grpc_status(&serde_json::from_slice(&body).unwrap()))
        }
        _ => (status, kind, body, None, HeaderMap::new()),
    }
}

/// The fields of a status, from an error in Connect's words; null is none.
fn grpc_status(error: &serde_json::Value) -> HeaderMap {
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::STANDARD_NO_PAD;
    let mut headers = HeaderMap::new();
    let Some(code) = error["code"].as_str() else {
        headers.insert("grpc-status", 0.into());
        return headers;
    };
    let code = match code {
        "invalid_argument" => 3,
        "deadline_exceeded" => 4,
        "not_found" => 5,
        "already_exists" => 6,
        "permission_denied" => 7,
        "resource_exhausted" => 8,
        "failed_precondition" => 9,
        "aborted" => 10,
        "unimplemented" => 12,
        "internal" => 13,
        "unavailable" => 14,
        "unauthenticated" => 16,
        other => panic!("{other}"),
    };
    let message = error["message"].as_str().unwrap_or_default();
    let details = error["details"].as_array().into_iter().flatten().map(|detail| prost_types::Any {
        type_url: format!("type.googleapis.com/{}", detail["type"].as_str().unwrap()),
        value: base64.decode(detail["value"].as_str().unwrap()).unwrap(),
    });
    let status =
        schema::google::rpc::Status { code, message: message.to_owned(), details: details.collect() };
    headers.insert("grpc-status", code.into());
    headers.insert("grpc-message", message.parse().unwrap());
    headers.insert("grpc-status-details-bin", base64.encode(status.encode_to_vec()).parse().unwrap());
    headers
}
