//! Registries: which messages there are. DMTF's are served as they were published.

use serde_json::json;

use crate::privilege::entity;
use crate::resource::{Resource, collection};

use super::name;

pub(super) static COLLECTION: Resource = Resource::new(
    "Registries",
    "MessageRegistryFileCollection.MessageRegistryFileCollection",
    &entity::MESSAGE_REGISTRY_FILE_COLLECTION,
    |_, _| {
        let uris =
            super::REGISTRIES.iter().map(|registry| format!("/redfish/v1/Registries/{}", registry.prefix));
        Ok(Some(collection("Message registries", uris.collect())))
    },
);

pub(super) static FILE: Resource = Resource::new(
    "Registries/{}",
    "MessageRegistryFile.v1_0_0.MessageRegistryFile",
    &entity::MESSAGE_REGISTRY_FILE,
    |_, names| {
        let id = name(names, 0);
        let Some(registry) = super::REGISTRIES.iter().find(|registry| registry.prefix == id) else {
            return Ok(None);
        };
        Ok(Some(json!({
            "Name": format!("{id} message registry"),
            "Registry": registry.short(),
            "Languages": ["en"],
            "Location": [{
                "Language": "en",
                "Uri": format!("/redfish/v1/Registries/{id}/{id}"),
                "PublicationUri": registry.publication,
            }],
        })))
    },
);
