//! What Redfish shows, for people who look.

use http::StatusCode;
use serde_json::Value;

use super::Session;
use crate::cli::RedfishCommand;
use crate::failure::{Code, Failure, Status};
use crate::output::Output;

/// Where everything begins.
const ROOT: &str = "/redfish/v1";

pub(crate) async fn run(session: Session, command: RedfishCommand, output: Output) -> Result<(), Failure> {
    let RedfishCommand::Get { path } = command;
    let (status, body) = session.client().await?.get(&whole(&path)).await?;
    let value: Result<Value, _> = serde_json::from_slice(&body);
    match (status.is_success(), value) {
        (true, Ok(value)) => output.value(&value),
        (true, Err(_)) => output.text(&String::from_utf8_lossy(&body)),
        (false, value) => {
            Err(Failure::Status(Box::new(refusal(status, value.as_ref().unwrap_or(&Value::Null)))))
        }
    }
}

/// `Systems/system` is below the root.
fn whole(path: &str) -> String {
    if path.starts_with("/redfish") {
        path.to_owned()
    } else {
        format!("{ROOT}/{}", path.trim_start_matches('/'))
    }
}

/// What the body of an error says.
fn refusal(http: StatusCode, body: &Value) -> Status {
    let messages = body.pointer("/error/@Message.ExtendedInfo").and_then(Value::as_array);
    // What was refused, and what can be done about it.
    let text = |message: &Value, key: &str| message.get(key).and_then(Value::as_str).map(str::to_owned);
    let texts = messages
        .into_iter()
        .flatten()
        .flat_map(|message| [text(message, "Message"), text(message, "Resolution")])
        .flatten()
        .filter(|text| text != "None." && text != "None");
    let message = texts.collect::<Vec<_>>().join(" ");
    Status {
        code: match http.as_u16() {
            400 | 412 => Code::InvalidArgument,
            404 => Code::NotFound,
            _ => Code::from_http(http),
        },
        message: if message.is_empty() { format!("the server answered {http}") } else { message },
        reason: String::new(),
        violations: Vec::new(),
        method: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_path_is_whole_or_below_the_root() {
        assert_eq!(whole("/redfish/v1/Systems"), "/redfish/v1/Systems");
        assert_eq!(whole("Systems?$expand=."), "/redfish/v1/Systems?$expand=.");
        assert_eq!(whole("/Systems"), "/redfish/v1/Systems");
        assert_eq!(whole(""), "/redfish/v1/");
    }

    #[test]
    fn a_refusal_says_what_the_body_says() {
        let body = json!({"error": {"@Message.ExtendedInfo": [{"Message": "The resource was not found."}]}});
        let status = refusal(StatusCode::NOT_FOUND, &body);
        assert_eq!((status.code, status.message.as_str()), (Code::NotFound, "The resource was not found."));
        assert_eq!(refusal(StatusCode::BAD_GATEWAY, &Value::Null).code, Code::Unavailable);
        let message = json!({"Message": "There are insufficient privileges.", "Resolution": "Ask for the type Redfish."});
        let status = refusal(StatusCode::FORBIDDEN, &json!({"error": {"@Message.ExtendedInfo": [message]}}));
        assert_eq!(status.message, "There are insufficient privileges. Ask for the type Redfish.");
    }
}
