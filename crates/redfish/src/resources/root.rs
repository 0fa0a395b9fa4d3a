//! ServiceRoot: where everything begins. It is open to all, so it shows nothing that anybody would have to be asked for.

use serde_json::json;

use crate::privilege::entity;
use crate::query::LEVELS_MAX;
use crate::resource::{Resource, link};

pub(super) static RESOURCE: Resource = Resource::new(
    "",
    "ServiceRoot.v1_17_0.ServiceRoot",
    &entity::SERVICE_ROOT,
    |world, _| {
        Ok(Some(json!({
            "Name": "u-bmc",
            "RedfishVersion": "1.22.0",
            "Product": "u-bmc",
            "Vendor": super::log::REGISTRY.owner,
            // Identity of this installation; it survives restarts and updates.
            "UUID": super::said(Some(&world.about.uuid)),
            "ProtocolFeaturesSupported": {
                "ExpandQuery": {"ExpandAll": true, "Levels": true, "MaxLevels": LEVELS_MAX, "Links": true, "NoLinks": true},
                "FilterQuery": true,
                "SelectQuery": true,
                "TopSkipQuery": true,
                "OnlyMemberQuery": true,
                "ExcerptQuery": true,
                "MultipleHTTPRequests": true,
                "DeepOperations": {"DeepPATCH": false, "DeepPOST": false},
            },
            "Systems": link("/redfish/v1/Systems"),
            "Chassis": link("/redfish/v1/Chassis"),
            "Managers": link("/redfish/v1/Managers"),
            "AccountService": link("/redfish/v1/AccountService"),
            "SessionService": link("/redfish/v1/SessionService"),
            "CertificateService": link("/redfish/v1/CertificateService"),
            "EventService": link("/redfish/v1/EventService"),
            "TelemetryService": link("/redfish/v1/TelemetryService"),
            "Tasks": link("/redfish/v1/TaskService"),
            "UpdateService": link("/redfish/v1/UpdateService"),
            "Registries": link("/redfish/v1/Registries"),
            "JsonSchemas": link("/redfish/v1/JsonSchemas"),
            "Links": {"Sessions": link("/redfish/v1/SessionService/Sessions")},
        })))
    },
);
