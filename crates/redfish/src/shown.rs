//! What a resource shows, whole, with what follows from the rest of it: its id, type, tag and actions; and what is no resource of the list: what an action takes,
//! and the message registries.

use serde_json::{Map, Value, json};

use crate::answer::{Answer, Body};
use crate::etag;
use crate::fault::Fault;
use crate::message::{Content, Registry, Severity, Template};
use crate::resource::{Action, Kind, Parameter, Resource, prune};
use crate::resources;
use crate::route::{Route, Target};
use crate::world::World;

/// What a resource at a route shows, whole.
pub(crate) fn show(world: &World, route: &Route) -> Result<Option<Value>, Fault> {
    match route.target {
        Target::Resource(resource) => show_resource(world, resource, &route.names, &route.uri, &route.id),
        Target::ActionInfo(resource, action) => {
            let names = route.names.as_slice();
            let is_there = resources::has(action, names) && (action.is_there)(world, names)?;
            let values = |parameter: &Parameter| values(world, resource, names, action, parameter);
            Ok(is_there.then(|| action_info(action, &values, &route.uri, &route.id)))
        }
        _ => Ok(None),
    }
}

fn show_resource(
    world: &World,
    resource: &'static Resource,
    names: &[String],
    uri: &str,
    id: &str,
) -> Result<Option<Value>, Fault> {
    let Some(value) = (resource.show)(world, names)? else { return Ok(None) };
    Ok(dressed(world, value, resource, names, uri, id))
}

/// What a resource shows with what all have: id, type, actions and tag; `None` where it is no object.
pub(crate) fn dressed(
    world: &World,
    mut value: Value,
    resource: &'static Resource,
    names: &[String],
    uri: &str,
    id: &str,
) -> Option<Value> {
    prune(&mut value, resource.nulls);
    let Value::Object(map) = &mut value else { return None };
    map.insert("@odata.id".to_owned(), Value::String(uri.to_owned()));
    map.insert("@odata.type".to_owned(), Value::String(format!("#{}", resource.kind)));
    if !resource.is_collection() {
        map.insert("Id".to_owned(), Value::String(id.to_owned()));
    }
    let is_offered = |action: &&Action| {
        resources::has(action, names)
            && resource.offers.is_none_or(|offers| offers(world, names, action.name))
    };
    let there: Vec<&Action> = resource.actions.iter().filter(is_offered).collect();
    if !there.is_empty() {
        let values =
            |action: &Action, parameter: &Parameter| values(world, resource, names, action, parameter);
        map.insert("Actions".to_owned(), actions(&there, &values, uri));
    }
    etag::put(&mut value, resource.volatile);
    Some(value)
}

/// The values that a parameter of an action can have here, where that is one of several.
fn values(
    world: &World,
    resource: &Resource,
    names: &[String],
    action: &Action,
    parameter: &Parameter,
) -> Option<Vec<&'static str>> {
    let Kind::Enum(all) = parameter.property.kind else { return None };
    let here = resource.values.and_then(|values| values(world, names, action.name, parameter.property.path));
    Some(here.unwrap_or_else(|| all.to_vec()))
}

fn actions(
    there: &[&Action],
    values: &dyn Fn(&Action, &Parameter) -> Option<Vec<&'static str>>,
    uri: &str,
) -> Value {
    let mut out = Map::new();
    for action in there {
        let mut entry = json!({"target": format!("{uri}/Actions/{}", action.name)});
        if let Some(map) = entry.as_object_mut() {
            if !action.parameters.is_empty() {
                map.insert(
                    "@Redfish.ActionInfo".to_owned(),
                    format!("{uri}/{}ActionInfo", action.short()).into(),
                );
            }
            for parameter in action.parameters {
                if let Some(values) = values(action, parameter) {
                    map.insert(format!("{}@Redfish.AllowableValues", parameter.property.path), json!(values));
                }
            }
        }
        out.insert(format!("#{}", action.name), entry);
    }
    Value::Object(out)
}

fn action_info(
    action: &Action,
    values: &dyn Fn(&Parameter) -> Option<Vec<&'static str>>,
    uri: &str,
    id: &str,
) -> Value {
    let parameters: Vec<Value> = action
        .parameters
        .iter()
        .map(|parameter| {
            let kind = parameter.property.kind.data_type();
            let values = values(parameter);
            let mut entry = json!({"Name": parameter.property.path, "Required": parameter.required, "DataType": kind, "AllowableValues": values});
            prune(&mut entry, &[]);
            entry
        })
        .collect();
    let mut value = json!({
        "@odata.id": uri,
        "@odata.type": "#ActionInfo.v1_0_0.ActionInfo",
        "Id": id,
        "Name": format!("Parameters of {}", action.short()),
        "Parameters": parameters,
    });
    etag::put(&mut value, &[]);
    value
}

/// A message registry.
pub(crate) fn registry_answer(registry: &Registry) -> Answer {
    match registry.content {
        Content::Packed(packed) => Answer { body: Body::PackedJson(packed), ..Answer::empty(200) },
        Content::Made(templates) => Answer::json(200, made_registry(registry, templates)),
    }
}

fn made_registry(registry: &Registry, templates: &[&'static Template]) -> Value {
    let mut messages = Map::new();
    for template in templates {
        let severity = match template.severity {
            Severity::OK => "OK",
            Severity::Warning => "Warning",
            Severity::Critical => "Critical",
        };
        let mut entry = json!({
            "Description": template.text,
            "Message": template.text,
            // In both its forms, as DMTF's registries have it: sushy reads the older one.
            "Severity": severity,
            "MessageSeverity": severity,
            "NumberOfArgs": template.args,
            "Resolution": template.resolution,
        });
        if let (Some(map), true) = (entry.as_object_mut(), template.args > 0) {
            map.insert("ParamTypes".to_owned(), json!(vec!["string"; template.args]));
        }
        messages.insert(template.id.rsplit('.').next().unwrap_or_default().to_owned(), entry);
    }
    json!({
        "@odata.id": format!("/redfish/v1/Registries/{0}/{0}", registry.prefix),
        "@odata.type": "#MessageRegistry.v1_4_0.MessageRegistry",
        "Id": format!("{}.{}", registry.prefix, registry.version),
        "Name": format!("{} message registry", registry.prefix),
        "Language": "en",
        "Description": "Messages of this service that no registry of DMTF has",
        "RegistryPrefix": registry.prefix,
        "RegistryVersion": registry.version,
        "OwningEntity": registry.owner,
        "Messages": messages,
    })
}
