//! TaskService: what went on for longer. Power operations are, as the event log has them when they have ended; who asked for one was answered when it was
//! accepted. They stay as long as their events, over restarts. Images that are copied into the store are, from their begin on, as mediasrv knows them: the last
//! eight, until it starts anew. Diagnostic data is collected by one while it goes on, which is gone with websrv.

use schema::v1alpha1 as v1;
use serde_json::{Value, json};

use crate::Fault;
use crate::message::task_event;
use crate::privilege::entity;
use crate::resource::{Resource, collection, link, status};
use crate::world::{Collected, World};

use super::{log_services, name};

pub(super) static SERVICE: Resource = Resource {
    volatile: &["DateTime"],
    ..Resource::new("TaskService", "TaskService.v1_0_0.TaskService", &entity::TASK_SERVICE, |world, _| {
        Ok(Some(json!({
            "Name": "Task service",
            "ServiceEnabled": true,
            "CompletedTaskOverWritePolicy": "Oldest",
            "LifeCycleEventOnTaskStateChange": true,
            "DateTime": prost_types::Timestamp { seconds: world.about.now, nanos: 0 }.to_string(),
            "Tasks": link("/redfish/v1/TaskService/Tasks"),
            "Status": status("Enabled", Some("OK")),
        })))
    })
};

pub(super) static COLLECTION: Resource = Resource::new(
    "TaskService/Tasks",
    "TaskCollection.TaskCollection",
    &entity::TASK_COLLECTION,
    |world, _| {
        let operations = operations(world)?.map(|(_, one)| one.operation_id.as_str());
        let collected = world.about.collected.iter().map(|one| one.id.as_str());
        let ids = collected.chain(operations).chain(copies(world).map(|copy| copy.id.as_str()));
        let uris = ids.map(task_uri);
        Ok(Some(collection("Tasks", uris.collect())))
    },
);

pub(super) static TASK: Resource =
    Resource::new("TaskService/Tasks/{}", "Task.v1_4_0.Task", &entity::TASK, |world, names| {
        let id = name(names, 0);
        if let Some(copy) = copies(world).find(|copy| copy.id == id) {
            return Ok(Some(of_copy(copy)));
        }
        if let Some(one) = world.about.collected.iter().find(|one| one.id == id) {
            return Ok(Some(collecting(one)));
        }
        let Some((event, one)) = operations(world)?.find(|(_, one)| one.operation_id == id) else {
            return Ok(None);
        };
        let (state, health, message) = match one.result() {
            v1::OperationResult::Done => ("Completed", "OK", task_event::TASK_COMPLETED_OK.with(&[id])),
            // A later request took its place.
            v1::OperationResult::Superseded => ("Cancelled", "OK", task_event::TASK_CANCELLED.with(&[id])),
            _ => ("Exception", "Critical", task_event::TASK_ABORTED.with(&[id])),
        };
        let action =
            one.action().as_str_name().trim_start_matches("HOST_ACTION_").to_lowercase().replace('_', " ");
        let why = Some(one.error_message.as_str()).filter(|why| !why.is_empty());
        Ok(Some(json!({
            "Name": format!("{}: {action}", one.component_name),
            "Description": why,
            "TaskState": state,
            "TaskStatus": health,
            "TaskMonitor": monitor_uri(id),
            "PercentComplete": 100,
            "StartTime": began(one).map(|at| at.to_string()),
            "EndTime": one.completed_at.or(event.time).map(|at| at.to_string()),
            "Messages": [message.to_json()],
        })))
    });

/// Images that are copied, and were.
fn copies(world: &World) -> impl Iterator<Item = &v1::MediaCopy> {
    // A board without drives has none.
    let copies = world.media().map(|media| media.copies.as_slice()).unwrap_or_default();
    copies.iter().filter(|copy| is_id(&copy.id))
}

fn of_copy(copy: &v1::MediaCopy) -> Value {
    let id = copy.id.as_str();
    let percent = match copy.state() {
        v1::MediaCopyState::Done => 100,
        // All of it only once it is inserted.
        _ => copy.received_bytes.saturating_mul(100).checked_div(copy.size_bytes).unwrap_or(0).min(99),
    };
    let (state, health, message) = match copy.state() {
        v1::MediaCopyState::Done => ("Completed", "OK", task_event::TASK_COMPLETED_OK.with(&[id])),
        v1::MediaCopyState::Stopped => ("Cancelled", "OK", task_event::TASK_CANCELLED.with(&[id])),
        v1::MediaCopyState::Failed => ("Exception", "Critical", task_event::TASK_ABORTED.with(&[id])),
        _ => ("Running", "OK", task_event::TASK_PROGRESS_CHANGED.with(&[id, &percent.to_string()])),
    };
    let why = Some(copy.fault.as_str()).filter(|why| !why.is_empty());
    json!({
        "Name": format!("{}: copy {}", copy.slot_name, copy.image_name),
        "Description": why,
        "TaskState": state,
        "TaskStatus": health,
        "TaskMonitor": monitor_uri(id),
        "PercentComplete": percent,
        "StartTime": copy.started_at.map(|at| at.to_string()),
        "EndTime": copy.ended_at.map(|at| at.to_string()),
        "Messages": [message.to_json()],
    })
}

/// Where a task is.
pub(crate) fn task_uri(id: &str) -> String {
    format!("/redfish/v1/TaskService/Tasks/{id}")
}

/// What tells how a task is, and at last what the request that began it would have been answered.
pub(crate) fn monitor_uri(id: &str) -> String {
    format!("/redfish/v1/TaskService/TaskMonitors/{id}")
}

/// The task that collects diagnostic data.
fn collecting(one: &Collected) -> Value {
    let id = one.id.as_str();
    let (state, health, message) = match (one.ended, one.bytes) {
        (None, _) => ("Running", "OK", task_event::TASK_STARTED.with(&[id])),
        (Some(_), Some(_)) => ("Completed", "OK", task_event::TASK_COMPLETED_OK.with(&[id])),
        (Some(_), None) => ("Exception", "Critical", task_event::TASK_ABORTED.with(&[id])),
    };
    let at = |seconds: i64| prost_types::Timestamp { seconds, nanos: 0 }.to_string();
    json!({
        "Name": "Diagnostic data",
        "Description": format!("Asked for by {}", one.username),
        "TaskState": state,
        "TaskStatus": health,
        "TaskMonitor": monitor_uri(id),
        "PercentComplete": one.percent,
        "StartTime": at(one.began),
        "EndTime": one.ended.map(at),
        "Messages": [message.to_json()],
    })
}

/// What became of what a task does.
pub(crate) enum Outcome {
    /// It goes on.
    Running,
    Done,
    /// It is done, and what it made is there.
    Made(String),
    Failed,
}

/// What became of a task; `None` where there is none of that name.
///
/// # Errors
/// As [`World::events`].
pub(crate) fn outcome_of(world: &World, id: &str) -> Result<Option<Outcome>, Fault> {
    if let Some(copy) = copies(world).find(|copy| copy.id == id) {
        return Ok(Some(match copy.state() {
            v1::MediaCopyState::Done => Outcome::Done,
            v1::MediaCopyState::Failed | v1::MediaCopyState::Stopped => Outcome::Failed,
            _ => Outcome::Running,
        }));
    }
    if let Some(one) = world.about.collected.iter().find(|one| one.id == id) {
        return Ok(Some(match (one.ended, one.bytes) {
            (None, _) => Outcome::Running,
            (Some(_), Some(_)) => Outcome::Made(log_services::data_entry(id)),
            (Some(_), None) => Outcome::Failed,
        }));
    }
    let found = operations(world)?.find(|(_, one)| one.operation_id == id);
    Ok(found.map(|(_, one)| match one.result() {
        v1::OperationResult::Done => Outcome::Done,
        _ => Outcome::Failed,
    }))
}

/// When it was accepted.
fn began(one: &v1::PowerOperationResult) -> Option<prost_types::Timestamp> {
    let (ended, took) = (one.completed_at?, one.duration?);
    let nanos = i64::from(ended.nanos) - i64::from(took.nanos);
    let seconds = ended.seconds.checked_sub(took.seconds)?.checked_sub(i64::from(nanos < 0))?;
    Some(prost_types::Timestamp { seconds, nanos: i32::try_from(nanos.rem_euclid(1_000_000_000)).ok()? })
}

/// Operations that have ended, the last one first.
fn operations(world: &World) -> Result<impl Iterator<Item = (&v1::Event, &v1::PowerOperationResult)>, Fault> {
    Ok(world.events()?.events.iter().filter_map(|event| match &event.payload {
        Some(v1::event::Payload::PowerOperationResult(result)) if is_id(&result.operation_id) => {
            Some((event, result))
        }
        _ => None,
    }))
}

/// Whether it can be a name in a path.
fn is_id(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_began_as_long_before_its_end_as_it_took() {
        let at = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
        let one = v1::PowerOperationResult {
            completed_at: at(100, 200_000_000),
            duration: Some(prost_types::Duration { seconds: 2, nanos: 700_000_000 }),
            ..Default::default()
        };
        assert_eq!(began(&one), at(97, 500_000_000));
        assert_eq!(began(&v1::PowerOperationResult { duration: None, ..one }), None);
    }
}
