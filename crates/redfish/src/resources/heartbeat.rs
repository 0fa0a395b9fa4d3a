//! That the service works, as a subscription is told it at an interval (DSP0268, `SendHeartbeat`).

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::message::heartbeat_event::REDFISH_SERVICE_FUNCTIONAL;
use crate::resource::prune;

/// Minutes between two heartbeats at most (DSP0268, `HeartbeatIntervalMinutes`).
pub const HEARTBEAT_MINUTES_MAX: i64 = 65_535;
/// Minutes between two heartbeats where a client does not say: DSP0268 has no value for that; an hour costs nobody anything.
pub const HEARTBEAT_MINUTES_DEFAULT: u32 = 60;

/// A heartbeat of this time: the body of an `Event` with one record. It is in no log; no two of one destination have the same time.
#[must_use]
pub fn heartbeat_payload(at: SystemTime, context: &str) -> Value {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let id = format!("heartbeat-{}", since.as_millis());
    let told = REDFISH_SERVICE_FUNCTIONAL.plain().to_json();
    let mut value = json!({
        "@odata.type": "#Event.v1_5_0.Event",
        "Id": id,
        "Name": "Heartbeat",
        "Context": context,
        "Events": [{
            "MemberId": "0",
            "EventType": "Alert",
            "EventId": id,
            "EventTimestamp": prost_types::Timestamp::from(at).to_string(),
            "Message": told.get("Message"),
            "MessageId": told.get("MessageId"),
            "MessageArgs": told.get("MessageArgs"),
            "MessageSeverity": told.get("MessageSeverity"),
        }],
    });
    prune(&mut value, &[]);
    value
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_heartbeat_says_that_the_service_works_and_when() {
        let at = UNIX_EPOCH + Duration::from_millis(1_790_000_000_250);
        let sent = heartbeat_payload(at, "rack 7");
        assert_eq!((&sent["Id"], &sent["Context"]), (&json!("heartbeat-1790000000250"), &json!("rack 7")));
        let [beat] = &sent["Events"].as_array().unwrap()[..] else { panic!("{sent}") };
        assert_eq!(beat["MessageId"], "HeartbeatEvent.1.1.RedfishServiceFunctional");
        assert_eq!((&beat["MessageSeverity"], &beat["EventId"]), (&json!("OK"), &sent["Id"]));
        assert!(beat["EventTimestamp"].as_str().unwrap().starts_with("2026-09-21T14:13:20.25"), "{beat}");
        assert!(crate::resources::is_sent(beat["MessageId"].as_str().unwrap()));
        let later = heartbeat_payload(at + Duration::from_millis(1), "");
        assert_ne!(later["Id"], sent["Id"]);
    }
}
