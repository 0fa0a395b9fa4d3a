//! Registries: which messages there are, and which settings the firmware of each system has. DMTF's are served as they were published.

use serde_json::json;

use crate::privilege::entity;
use crate::resource::{Resource, collection};

use super::{attribute_registry, name};

pub(super) static COLLECTION: Resource = Resource::new(
    "Registries",
    "MessageRegistryFileCollection.MessageRegistryFileCollection",
    &entity::MESSAGE_REGISTRY_FILE_COLLECTION,
    |world, _| {
        let fixed = super::REGISTRIES.iter().map(|registry| registry.prefix.to_owned());
        // Messages are there without the daemon that knows firmware.
        let ids = fixed.chain(attribute_registry::ids(world));
        let uris = ids.map(|id| format!("/redfish/v1/Registries/{id}"));
        Ok(Some(collection("Registries", uris.collect())))
    },
);

pub(super) static FILE: Resource = Resource::new(
    "Registries/{}",
    "MessageRegistryFile.v1_0_0.MessageRegistryFile",
    &entity::MESSAGE_REGISTRY_FILE,
    |world, names| {
        let id = name(names, 0);
        let fixed = super::REGISTRIES.iter().find(|registry| registry.prefix == id);
        let (kind, named) = match fixed {
            Some(registry) => ("message", Some(registry.short())),
            None => ("attribute", attribute_registry::versioned(world, id)?),
        };
        Ok(named.map(|named| {
            json!({
                "Name": format!("{id} {kind} registry"),
                "Registry": named,
                "Languages": ["en"],
                "Location": [{
                    "Language": "en",
                    "Uri": format!("/redfish/v1/Registries/{id}/{id}"),
                    "PublicationUri": fixed.and_then(|registry| registry.publication),
                }],
            })
        }))
    },
);
