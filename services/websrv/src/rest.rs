//! REST: a path, a query and a body become the request message of a method, by `google.api.http`.

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use ipc::Status;
use prost_reflect::{DynamicMessage, Kind, Value};

use crate::body::ResponseBody;
use crate::config::Config;
use crate::error::Error;
use crate::route::{Binding, BodyRule, Rest, Routes};
use crate::status::Failure;
use crate::{json, status};

/// An answer in JSON.
pub(crate) fn reply(text: Bytes) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::full(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An error.
pub(crate) fn failure(failure: &Failure) -> Response<ResponseBody> {
    let mut response = reply(status::rest(&failure.status));
    *response.status_mut() = failure.http_status();
    for (name, value) in &failure.headers {
        response.headers_mut().append(name.clone(), value.clone());
    }
    response
}

/// The request message. Who names another object in the body or the query than in the path is asked which one is meant:
/// nobody's host is switched off by guess.
///
/// # Errors
/// `INVALID_ARGUMENT` naming what does not fit.
pub(crate) fn message(
    binding: &Binding,
    values: &[&str],
    query: &str,
    body: &[u8],
) -> Result<DynamicMessage, Status> {
    let input = &binding.route.input;
    // No body at all is an empty one.
    let text = if body.is_empty() { b"{}" } else { body };
    let mut message = match &binding.body {
        BodyRule::Whole => json::decode(input.clone(), text)?,
        BodyRule::Field(field) => {
            let mut message = DynamicMessage::new(input.clone());
            if let Kind::Message(kind) = field.kind() {
                message.set_field(field, Value::Message(json::decode(kind, text)?));
            }
            message
        }
        BodyRule::None => DynamicMessage::new(input.clone()),
    };
    json::set_query(&mut message, query)?;
    for (path, raw) in binding.path.iter().zip(values) {
        json::set_path_field(&mut message, path, raw)?;
    }
    Ok(message)
}

/// The mapping of REST requests to messages, without a server around it: what the fuzz target drives.
#[derive(Debug)]
pub struct RestMap(Routes);

impl RestMap {
    /// The mapping of the schema.
    ///
    /// # Errors
    /// When the schema cannot be served.
    pub fn new() -> Result<Self, Error> {
        Routes::new(&Config::default()).map(Self)
    }

    /// The method (full name) and request message a REST request stands for; `None` when there is nothing at that verb and path.
    #[must_use]
    pub fn map(
        &self,
        verb: &str,
        path: &str,
        query: &str,
        body: &[u8],
    ) -> Option<(&'static str, Result<DynamicMessage, Status>)> {
        match self.0.rest(verb, path) {
            Rest::Found(binding, values) => {
                Some((binding.route.info.full_name, message(binding, &values, query, body)))
            }
            Rest::WrongVerb(_) | Rest::NotFound => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_path_names_the_object_and_nothing_else_names_another() {
        let map = RestMap::new().unwrap();
        let path = "/api/v1alpha1/hosts/system/state";
        for body in [
            &br#"{"action":"HOST_ACTION_ON"}"#[..],
            br#"{"hostName":"","action":"HOST_ACTION_ON"}"#,
            br#"{"hostName":"system","action":"HOST_ACTION_ON"}"#,
        ] {
            let (method, message) = map.map("POST", path, "", body).unwrap();
            assert_eq!(method, "schema.v1alpha1.HostService.ChangeHostState");
            let message = message.unwrap();
            assert_eq!(message.get_field_by_name("host_name").unwrap().as_str(), Some("system"));
        }
        let body = br#"{"hostName":"other","action":"HOST_ACTION_ON"}"#;
        for (query, body) in [("", &body[..]), ("hostName=other", br#"{"action":"HOST_ACTION_ON"}"#)] {
            let (_, message) = map.map("POST", path, query, body).unwrap();
            let status = message.unwrap_err();
            assert_eq!(status.code, ipc::Code::InvalidArgument);
            assert!(status.message.contains("host_name"), "{}", status.message);
        }
        assert!(map.map("PUT", path, "", b"").is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn any_request_is_survived(
            path in "/api/v1alpha1(/[a-z%0-9:.-]{0,12}){1,4}",
            query in "([a-z_.]{1,12}=[ -~]{0,12}&?){0,4}",
            body in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let map = RestMap::new().unwrap();
            for verb in ["GET", "POST", "PATCH", "DELETE"] {
                if let Some((_, Err(status))) = map.map(verb, &path, &query, &body) {
                    prop_assert_eq!(status.code, ipc::Code::InvalidArgument);
                }
            }
        }
    }
}
