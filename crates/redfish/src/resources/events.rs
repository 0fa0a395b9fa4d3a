//! EventService: what happens, as it happens. Events are eventlog's; each open stream of them is a subscription that lives as long as it does, of which
//! websrv knows. Nothing is sent to a destination elsewhere yet, so none is taken.

use serde_json::{Value, json};

use crate::privilege::{Privileges, entity};
use crate::resource::{Deed, Resource, collection, link, status};
use crate::world::{StreamOpen, World};

use super::name;

/// Where events are streamed.
pub const STREAM: &str = "/redfish/v1/EventService/SSE";

pub(super) static SERVICE: Resource =
    Resource::new("EventService", "EventService.v1_2_0.EventService", &entity::EVENT_SERVICE, |_, _| {
        Ok(Some(json!({
            "Name": "Event service",
            "ServiceEnabled": true,
            "ServerSentEventUri": STREAM,
            "EventFormatTypes": ["Event"],
            "RegistryPrefixes": [super::log::REGISTRY.prefix],
            "SSEFilterPropertiesSupported": {
                "EventFormatType": false,
                "MessageId": false,
                "OriginResource": false,
                "RegistryPrefix": false,
                "ResourceType": false,
            },
            "Subscriptions": link("/redfish/v1/EventService/Subscriptions"),
            "Status": status("Enabled", Some("OK")),
        })))
    });

pub(super) static COLLECTION: Resource = Resource::new(
    "EventService/Subscriptions",
    "EventDestinationCollection.EventDestinationCollection",
    &entity::EVENT_DESTINATION_COLLECTION,
    |world, _| {
        let uris = seen(world).map(|stream| format!("/redfish/v1/EventService/Subscriptions/{}", stream.id));
        Ok(Some(collection("Event subscriptions", uris.collect())))
    },
);

pub(super) static DESTINATION: Resource = Resource {
    nulls: &["Context"],
    delete: Some(|_, names| Ok(Deed::CloseStream(name(names, 0).to_owned()))),
    ..Resource::new(
        "EventService/Subscriptions/{}",
        "EventDestination.v1_4_0.EventDestination",
        &entity::EVENT_DESTINATION,
        |world, names| Ok(seen(world).find(|stream| stream.id == name(names, 0)).map(shown)),
    )
};

fn shown(stream: &StreamOpen) -> Value {
    json!({
        "Name": format!("Event stream of {}", stream.username),
        "Destination": stream.address,
        "Protocol": "Redfish",
        "SubscriptionType": "SSE",
        "EventFormatType": "Event",
        "Context": stream.id,
    })
}

/// The streams the caller may see: all, or its own.
fn seen(world: &World) -> impl Iterator<Item = &StreamOpen> {
    let asker = &world.about.asker;
    let all = asker.privileges.has(Privileges::CONFIGURE_MANAGER);
    world.about.streams.iter().filter(move |stream| all || stream.username == asker.username)
}
