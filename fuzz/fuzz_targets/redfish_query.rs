//! Any text as `$filter`, `$select`, a JSON pointer, a query and a path of Redfish: a meaning or a refusal.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use redfish::{Filter, Method, Pointer, Query, Route, Select};
use serde_json::{Value, json};

static MEMBER: LazyLock<Value> = LazyLock::new(|| {
    json!({"@odata.id": "/x", "Name": "n", "Reading": 1.5, "Status": {"Health": "OK", "State": null},
        "Links": [{"Id": "a"}], "Members@odata.count": 1, "Members": [{"@odata.id": "/x/1", "A": 1}]})
});

fuzz_target!(|text: &str| {
    if let Ok(filter) = Filter::parse(text) {
        let _ = filter.holds(&MEMBER);
    }
    if let Ok(select) = Select::parse(text) {
        // Nothing is added.
        let left = select.apply(MEMBER.clone());
        assert!(left.to_string().len() <= MEMBER.to_string().len());
    }
    if let Some(pointer) = Pointer::parse(text) {
        assert_eq!(pointer.to_string(), text);
        let _ = pointer.find(&MEMBER);
    }
    let _ = Query::parse(text);
    if let Some(route) = Route::of(text) {
        assert!(!route.methods().is_empty());
        for method in Method::ALL {
            let _ = route.is_open(method);
        }
    }
});
