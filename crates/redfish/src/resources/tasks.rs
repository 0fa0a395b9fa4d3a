//! TaskService: what goes on for longer. Nothing does yet: what is asked for is done, or refused, when it is answered, and a power operation's end is
//! in the event log.

use serde_json::json;

use crate::privilege::entity;
use crate::resource::{Resource, collection, link, status};

pub(super) static SERVICE: Resource = Resource {
    volatile: &["DateTime"],
    ..Resource::new("TaskService", "TaskService.v1_0_0.TaskService", &entity::TASK_SERVICE, |world, _| {
        Ok(Some(json!({
            "Name": "Task service",
            "ServiceEnabled": true,
            "DateTime": prost_types::Timestamp { seconds: world.about.now, nanos: 0 }.to_string(),
            "Tasks": link("/redfish/v1/TaskService/Tasks"),
            "Status": status("Enabled", Some("OK")),
        })))
    })
};

pub(super) static COLLECTION: Resource =
    Resource::new("TaskService/Tasks", "TaskCollection.TaskCollection", &entity::TASK_COLLECTION, |_, _| {
        Ok(Some(collection("Tasks", Vec::new())))
    });
