//! JsonSchemas: which types there are, and where DMTF publishes their schemas. None is stored here.

use serde_json::json;

use crate::privilege::entity;
use crate::resource::{Resource, collection};

use super::name;

pub(super) static COLLECTION: Resource = Resource::new(
    "JsonSchemas",
    "JsonSchemaFileCollection.JsonSchemaFileCollection",
    &entity::JSON_SCHEMA_FILE_COLLECTION,
    |_, _| {
        Ok(Some(collection("Schemas", super::types().keys().map(|name| super::schema_uri(name)).collect())))
    },
);

pub(super) static FILE: Resource = Resource::new(
    "JsonSchemas/{}",
    "JsonSchemaFile.v1_0_0.JsonSchemaFile",
    &entity::JSON_SCHEMA_FILE,
    |_, names| {
        let id = name(names, 0);
        let Some(namespace) = super::types().get(id).copied() else { return Ok(None) };
        Ok(Some(json!({
            "Name": format!("Schema of {id}"),
            "Schema": format!("#{namespace}.{id}"),
            "Languages": ["en"],
            "Location": [{"Language": "en", "PublicationUri": format!("{}/{namespace}.json", super::SCHEMAS)}],
        })))
    },
);
