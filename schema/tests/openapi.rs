//! The OpenAPI document describes the contract and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

fn document() -> Value {
    schema::openapi()
}

#[test]
fn every_public_binding_is_a_path_and_no_internal_method_is() {
    let document = document();
    let paths = document["paths"].as_object().unwrap();
    let mut operations = 0;
    let shape = |path: &str| -> String {
        path.split('/')
            .map(|part| if part.starts_with('{') { "{}" } else { part })
            .collect::<Vec<_>>()
            .join("/")
    };
    for method in schema::methods() {
        for binding in method.http {
            // OpenAPI takes two templates that differ in names only for one path.
            let same: Vec<&String> = paths.keys().filter(|path| shape(path) == shape(binding.path)).collect();
            assert_eq!(same.len(), 1, "{}: {same:?}", binding.path);
            let operation = &paths[same[0]][binding.verb.to_lowercase()];
            assert_eq!(operation["x-privilege"], method.privilege.as_str_name(), "{}", binding.path);
            assert!(
                !operation["summary"].as_str().unwrap().is_empty(),
                "{} has no comment",
                method.full_name
            );
            let named =
                operation["parameters"].as_array().into_iter().flatten().filter(|p| p["in"] == "path");
            for parameter in named {
                assert!(
                    same[0].contains(&format!("{{{}}}", parameter["name"].as_str().unwrap())),
                    "{parameter}"
                );
            }
            operations += 1;
        }
    }
    let documented: usize = paths.values().map(|path| path.as_object().unwrap().len()).sum();
    assert_eq!(operations, documented);
}

#[test]
fn all_references_resolve_and_operation_ids_are_unique() {
    let document = document();
    assert!(references(&document).len() > 100);
    let mut ids = Vec::new();
    walk(&document, &mut |key, value| {
        if let ("operationId", Some(id)) = (key, value.as_str()) {
            ids.push(id.to_owned());
        }
    });
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count);
}

/// What is referred to, all of which is there.
fn references(document: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    walk(document, &mut |key, value| {
        if let ("$ref", Some(target)) = (key, value.as_str()) {
            found.insert(target.to_owned());
        }
    });
    for reference in &found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some_and(Value::is_object), "{reference}");
    }
    found
}

/// Each operation, by its path and verb.
fn operations(document: &Value) -> BTreeMap<(String, String), Value> {
    let paths = document["paths"].as_object().unwrap();
    let verbs = |(path, verbs): (&String, &Value)| {
        let of_path = verbs.as_object().unwrap().clone();
        let path = path.clone();
        of_path.into_iter().map(move |(verb, operation)| ((path.clone(), verb), operation))
    };
    paths.iter().flat_map(verbs).collect()
}

#[test]
fn the_documents_of_services_are_the_whole_and_hold_all_they_refer_to() {
    let whole = document();
    let mut together = BTreeMap::new();
    let mut tags = Vec::new();
    for service in schema::services().iter().filter(|service| !service.internal) {
        let part = schema::openapi_of(service.name).unwrap();
        let of_service = operations(&part);
        assert_eq!(
            of_service.len(),
            service.methods().iter().map(|method| method.http.len()).sum::<usize>(),
            "{}",
            service.name
        );
        together.extend(of_service);
        tags.extend(part["tags"].as_array().unwrap().clone());
        let schemas = part["components"]["schemas"].as_object().unwrap();
        let used = references(&part);
        for (name, schema) in schemas {
            assert!(used.contains(&format!("#/components/schemas/{name}")), "{}: {name}", service.name);
            assert_eq!(*schema, whole["components"]["schemas"][name], "{}: {name}", service.name);
        }
    }
    assert_eq!(together, operations(&whole));
    assert_eq!(Value::Array(tags), whole["tags"]);
    let internal = schema::services().iter().find(|service| service.internal).unwrap();
    for nobody in [internal.name, "", "index", "hostservice", "schema.v1alpha1.HostService"] {
        assert_eq!(schema::openapi_of(nobody), None, "{nobody}");
    }
}

#[test]
fn the_index_names_every_operation_and_says_nothing_more_of_it() {
    let (index, whole) = (schema::openapi_index(), document());
    let of_whole = operations(&whole).into_iter().map(|(at, operation)| {
        let kept = ["operationId", "description", "x-privilege"].map(|key| (key, operation[key].clone()));
        (at, Value::from_iter(kept))
    });
    assert_eq!(operations(&index), of_whole.collect::<BTreeMap<_, _>>());
    assert!(index.to_string().len() * 5 < whole.to_string().len(), "{}", index.to_string().len());
}

#[test]
fn a_parameter_of_a_path_says_which_field_it_fills_and_a_summary_is_a_sentence() {
    let document = document();
    let field = |path: &str, verb: &str| document["paths"][path][verb]["parameters"][0]["x-field"].clone();
    assert_eq!(field("/api/v1alpha1/hosts/{name}", "get"), Value::Null);
    assert_eq!(field("/api/v1alpha1/hosts/{name}", "patch"), "host_name");
    assert_eq!(field("/api/v1alpha1/users/{id}", "patch"), "user.id");
    let operations = operations(&document);
    for operation in operations.values() {
        let (summary, description) =
            (operation["summary"].as_str().unwrap(), operation["description"].as_str().unwrap());
        assert!(!summary.contains(". ") && description.starts_with(summary), "{summary}");
    }
    assert!(operations.values().any(|operation| operation["summary"] != operation["description"]));
}

fn walk(value: &Value, visit: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                visit(key, value);
                walk(value, visit);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, visit)),
        _ => {}
    }
}

#[test]
fn types_take_their_json_form() {
    let document = document();
    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["Daemon"]["properties"]["memoryBytes"]["type"], "string");
    assert_eq!(schemas["Daemon"]["properties"]["pid"]["type"], "integer");
    assert_eq!(schemas["Host"]["properties"]["updatedAt"]["format"], "date-time");
    assert_eq!(schemas["Host"]["properties"]["status"]["$ref"], "#/components/schemas/HostStatus");
    assert_eq!(schemas["HostStatus"]["enum"][1], "HOST_STATUS_OFF");
    assert_eq!(schemas["Host"]["properties"]["metadata"]["maxProperties"], 32);
    assert_eq!(schemas["Health"]["properties"]["uptime"]["type"], "string");
    assert_eq!(schemas["AssetInfo"]["properties"]["uuid"]["format"], "uuid");
    assert_eq!(schemas["AssetInfo"]["required"][0], "productName");
}

#[test]
fn requests_leave_out_what_is_in_the_path_or_filled_by_the_gateway() {
    let document = document();
    let change = &document["paths"]["/api/v1alpha1/hosts/{host_name}/state"]["post"];
    let body = &change["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(body["required"], serde_json::json!(["action"]));
    assert!(body["properties"].get("hostName").is_none());
    assert!(
        !body["properties"]["action"]["enum"].as_array().unwrap().contains(&"HOST_ACTION_UNSPECIFIED".into())
    );
    assert_eq!(change["parameters"][0]["name"], "host_name");

    assert_eq!(change["requestBody"]["required"], true);
    // `user.id` is in the path: there is a user without a body.
    let update = &document["paths"]["/api/v1alpha1/users/{id}"]["patch"]["requestBody"];
    assert_eq!(update["required"], false);

    let login = &document["paths"]["/api/v1alpha1/sessions"]["post"];
    let properties =
        login["requestBody"]["content"]["application/json"]["schema"]["properties"].as_object().unwrap();
    assert_eq!(login["requestBody"]["content"]["application/json"]["schema"]["additionalProperties"], false);
    assert_eq!(properties.keys().collect::<Vec<_>>(), ["accountType", "password", "username"]);
    assert_eq!(login["security"], serde_json::json!([]));

    let watch = &document["paths"]["/api/v1alpha1/events:watch"]["get"]["responses"]["200"]["content"];
    assert!(watch.get("text/event-stream").is_some());
}
