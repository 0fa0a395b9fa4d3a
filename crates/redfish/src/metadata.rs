//! What OData wants to know: the service document, and where the schemas are that the service uses (DSP0266 §8.4).

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::resources;

/// The service document: what is at the root.
pub(crate) fn service_document() -> Value {
    let entry = |name: &str, uri: &str| json!({"name": name, "kind": "Singleton", "url": uri});
    let mut value = vec![entry("Service", "/redfish/v1/")];
    for resource in
        resources::ALL.iter().filter(|resource| !resource.path.is_empty() && !resource.path.contains('/'))
    {
        value.push(entry(resource.path, &format!("/redfish/v1/{}", resource.path)));
    }
    json!({"@odata.context": "/redfish/v1/$metadata", "value": value})
}

/// The metadata document.
pub(crate) fn document() -> String {
    let mut out = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<edmx:Edmx xmlns:edmx=\"http://docs.oasis-open.org/odata/ns/edmx\" Version=\"4.0\">\n",
    );
    let mut reference = |file: &str, includes: &[&str], alias: Option<&str>| {
        let _ = writeln!(out, "<edmx:Reference Uri=\"http://redfish.dmtf.org/schemas/v1/{file}_v1.xml\">");
        for namespace in includes {
            let alias = alias.map(|alias| format!(" Alias=\"{alias}\"")).unwrap_or_default();
            let _ = writeln!(out, "<edmx:Include Namespace=\"{namespace}\"{alias}/>");
        }
        let _ = writeln!(out, "</edmx:Reference>");
    };
    for (name, namespace) in resources::types() {
        let plain = namespace.split('.').next().unwrap_or(namespace);
        let mut includes = vec![plain];
        includes.extend(Some(namespace).filter(|namespace| *namespace != plain));
        // What is sent is of a later version than what is read.
        includes.extend(Some(resources::REPORT_SENT).filter(|sent| sent.split('.').next() == Some(plain)));
        reference(name, &includes, None);
    }
    reference("RedfishExtensions", &["RedfishExtensions.v1_0_0"], Some("Redfish"));
    out.push_str(
        "<edmx:DataServices>\n<Schema xmlns=\"http://docs.oasis-open.org/odata/ns/edm\" Namespace=\"Service\">\n<EntityContainer Name=\"Service\" Extends=\"ServiceRoot.v1_0_0.ServiceContainer\"/>\n</Schema>\n</edmx:DataServices>\n</edmx:Edmx>\n",
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_that_is_shown_is_in_the_metadata() {
        let text = document();
        for resource in resources::ALL {
            let namespace = resource.namespace();
            assert!(text.contains(&format!("Namespace=\"{namespace}\"")), "{namespace}");
        }
        let sent = format!("Namespace=\"{}\"", resources::REPORT_SENT);
        assert_eq!(text.matches(&sent).count(), 1, "of reports that are sent");
        assert_eq!(text.matches("<edmx:Reference").count(), text.matches("</edmx:Reference>").count());
    }

    #[test]
    fn one_type_has_one_version() {
        for resource in resources::ALL {
            assert_eq!(resources::types()[resource.type_name()], resource.namespace(), "{}", resource.path);
        }
    }
}
