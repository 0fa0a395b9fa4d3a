//! The OpenAPI document describes the contract and nothing else.

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
    let mut references = Vec::new();
    let mut ids = Vec::new();
    walk(&document, &mut |key, value| match (key, value.as_str()) {
        ("$ref", Some(target)) => references.push(target.to_owned()),
        ("operationId", Some(id)) => ids.push(id.to_owned()),
        _ => {}
    });
    assert!(references.len() > 100);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some_and(Value::is_object), "{reference}");
    }
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count);
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
    assert_eq!(properties.keys().collect::<Vec<_>>(), ["password", "username"]);
    assert_eq!(login["security"], serde_json::json!([]));

    let watch = &document["paths"]["/api/v1alpha1/events:watch"]["get"]["responses"]["200"]["content"];
    assert!(watch.get("text/event-stream").is_some());
}
