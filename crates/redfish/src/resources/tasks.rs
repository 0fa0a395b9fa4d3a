//! TaskService: what goes on for longer, and did. Power operations: of each host the one under way or the last, as statemgr has it, and those that have
//! ended, as the event log has them; who asked for one was answered when it was accepted. They stay as long as their events, over restarts. Images that are
//! copied into the store: from their begin on, as mediasrv knows them, the last eight. Diagnostic data: while it is collected and a while after, as websrv
//! knows it. The begin and the end of each is an event ([`log`](super::log)), and what its owner knows no more, as it has started anew since, is shown as its
//! events tell it. While mediasrv does not answer, a copy whose end nobody has told is shown as one that goes on.

use std::sync::Arc;

use schema::v1alpha1 as v1;
use serde_json::{Value, json};

use crate::Fault;
use crate::index::{Index, Place};
use crate::message::task_event;
use crate::privilege::entity;
use crate::resource::{Resource, collection, link, status};
use crate::world::{Collected, World};

use super::{is_path_name, log_services, name, said, task_uri};

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
        let lately = latest(world);
        let ended: Vec<&str> = operations(world)?.map(|(_, one)| one.operation_id.as_str()).collect();
        let running = lately.iter().map(|(_, one)| one.id.as_str()).filter(|id| !ended.contains(id));
        let collected = world.about.collected.iter().map(|one| one.id.as_str());
        let ids = collected.chain(running).chain(ended.iter().copied());
        let ids = ids.chain(copies(world).map(|copy| copy.id.as_str()));
        let told = told(world)?;
        let ids = ids.chain(told.iter().map(|one| one.id));
        Ok(Some(collection("Tasks", ids.map(task_uri).collect())))
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
        let lately = latest(world);
        if let Some((event, one)) = operations(world)?.find(|(_, one)| one.operation_id == id) {
            return Ok(Some(of_operation(
                &v1::HostOperation {
                    id: one.operation_id.clone(),
                    action: one.action,
                    result: one.result,
                    message: one.error_message.clone(),
                    requested_at: began(one),
                    completed_at: one.completed_at.or(event.time),
                    ..v1::HostOperation::default()
                },
                &one.component_name,
            )));
        }
        if let Some((host, running)) = lately.into_iter().find(|(_, one)| one.id == id) {
            return Ok(Some(of_operation(running, host)));
        }
        Ok(told_of(world, id)?.as_ref().map(of_events))
    });

/// The operation of each host that is under way or was the last, with the host: of one that has just ended the event may not be there yet. Without statemgr
/// there are those of the events alone.
fn latest(world: &World) -> Vec<(&str, &v1::HostOperation)> {
    let hosts = world.hosts().map(|answer| answer.hosts.as_slice()).unwrap_or_default();
    hosts
        .iter()
        .filter_map(|host| Some((host.name.as_str(), host.last_operation.as_ref()?)))
        .filter(|(_, one)| is_path_name(&one.id))
        .collect()
}

fn of_operation(one: &v1::HostOperation, host: &str) -> Value {
    let id = one.id.as_str();
    let (state, health, message) = match one.result() {
        v1::OperationResult::Running => ("Running", "OK", task_event::TASK_STARTED.with(&[id])),
        v1::OperationResult::Done => ("Completed", "OK", task_event::TASK_COMPLETED_OK.with(&[id])),
        // A later request took its place.
        v1::OperationResult::Superseded => ("Cancelled", "OK", task_event::TASK_CANCELLED.with(&[id])),
        _ => ("Exception", "Critical", task_event::TASK_ABORTED.with(&[id])),
    };
    let action =
        one.action().as_str_name().trim_start_matches("HOST_ACTION_").to_lowercase().replace('_', " ");
    let why = Some(one.message.as_str()).filter(|why| !why.is_empty());
    json!({
        "Name": format!("{host}: {action}"),
        "Description": why,
        "TaskState": state,
        "TaskStatus": health,
        "TaskMonitor": monitor_uri(id),
        // How much of one that goes on is done nobody knows.
        "PercentComplete": (one.result() != v1::OperationResult::Running).then_some(100),
        "StartTime": one.requested_at.map(|at| at.to_string()),
        "EndTime": one.completed_at.map(|at| at.to_string()),
        "Messages": [message.to_json()],
    })
}

/// Images that are copied, and were.
fn copies(world: &World) -> impl Iterator<Item = &v1::MediaCopy> {
    // A board without drives has none.
    let copies = world.media().map(|media| media.copies.as_slice()).unwrap_or_default();
    copies.iter().filter(|copy| is_path_name(&copy.id))
}

/// What the task of a copy is called.
pub(super) fn name_of_copy(copy: &v1::MediaCopy) -> String {
    format!("{}: copy {}", copy.slot_name, copy.image_name)
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
        "Name": name_of_copy(copy),
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

/// The domains of the events of copies and of diagnostic data.
const MEDIA: &str = "media";
const DIAGNOSTICS: &str = "diagnostics";
/// Seconds after which what has begun is in the list of its owner, wherever that was asked before the event was read.
const LISTED_AFTER: i64 = 10;

/// A task that its owner knows no more, or is not there to be asked about: what its events tell of it.
struct Told<'w> {
    id: &'w str,
    /// The newest event of it, and what that says.
    last: (&'w v1::Event, &'w v1::TaskChange),
    began: Option<prost_types::Timestamp>,
    /// Its end was not told, and its owner does not answer: as far as is known it goes on.
    goes_on: bool,
}

impl Told<'_> {
    fn is_over(&self) -> bool {
        self.last.1.kind() != v1::TaskChangeKind::Started
    }
}

/// The names of what is put together of the events of tasks once in an exchange: the newest event of each, and the one it began by.
const NEWEST: (&str, &str) = ("newest of task", "");
const BEGUN: (&str, &str) = ("begin of task", "");

/// What an event says of a task, if it is of a copy or of diagnostic data. Power operations have their own events.
fn change(event: &v1::Event) -> Option<&v1::TaskChange> {
    let Some(v1::event::Payload::TaskChange(change)) = &event.payload else { return None };
    let is_ours = [MEDIA, DIAGNOSTICS].contains(&event.domain.as_str()) && is_path_name(&change.task_id);
    is_ours.then_some(change)
}

/// Those tasks by their ids, the one that was told of last first: where the newest event of each is, and where the one it began by.
///
/// # Errors
/// As [`World::events`].
fn indexes(world: &World) -> Result<(Arc<Index>, Arc<Index>), Fault> {
    // The newest first.
    let events = &world.events()?.events;
    let places = || {
        let numbered = events.iter().enumerate();
        numbered.filter_map(|(at, event)| change(event).map(|change| (at, change)))
    };
    let place = |(at, change): (usize, &v1::TaskChange)| (change.task_id.clone(), Place::Event(at));
    let newest = world.indexes.get(NEWEST, || Ok::<_, Fault>(Index::of(places().map(place))))?;
    let is_begin = |(_, change): &(usize, &v1::TaskChange)| change.kind() == v1::TaskChangeKind::Started;
    let begun =
        world.indexes.get(BEGUN, || Ok::<_, Fault>(Index::of(places().rev().filter(is_begin).map(place))))?;
    Ok((newest, begun))
}

/// Those tasks, the one that was told of last first.
///
/// # Errors
/// As [`World::events`].
fn told(world: &World) -> Result<Vec<Told<'_>>, Fault> {
    let (newest, begun) = indexes(world)?;
    let events = &world.events()?.events;
    Ok(newest.ids().iter().filter_map(|id| told_in(world, events, (&newest, &begun), id)).collect())
}

/// The one of these tasks with this id.
///
/// # Errors
/// As [`World::events`].
fn told_of<'w>(world: &'w World, id: &str) -> Result<Option<Told<'w>>, Fault> {
    let (newest, begun) = indexes(world)?;
    Ok(told_in(world, &world.events()?.events, (&newest, &begun), id))
}

/// What is told of a task. One whose end nobody has told goes on while its owner does not answer: who follows it is not told that there is none, nor that it
/// failed. Once the owner answers and does not list it, the owner died with it. `None` for one that its owner has, or may have soon.
fn told_in<'w>(
    world: &'w World,
    events: &'w [v1::Event],
    (newest, begun): (&Index, &Index),
    id: &str,
) -> Option<Told<'w>> {
    let event = |index: &Index| match index.find(id)? {
        Place::Event(at) => events.get(at),
        Place::Record(_) | Place::Line(_) => None,
    };
    let last = event(newest)?;
    let change = change(last)?;
    let is_listed =
        copies(world).any(|copy| copy.id == id) || world.about.collected.iter().any(|one| one.id == id);
    let began = event(begun).and_then(|event| event.time);
    let mut one = Told { id: &change.task_id, last: (last, change), began, goes_on: false };
    one.goes_on = !one.is_over() && last.domain == MEDIA && world.media().is_err();
    let is_lost = began.is_some_and(|at| at.seconds.saturating_add(LISTED_AFTER) <= world.about.now);
    (!is_listed && (one.is_over() || one.goes_on || is_lost)).then_some(one)
}

fn of_events(one: &Told<'_>) -> Value {
    let (id, (event, change)) = (one.id, one.last);
    let (state, health, message) = match change.kind() {
        v1::TaskChangeKind::Completed => ("Completed", "OK", task_event::TASK_COMPLETED_OK.with(&[id])),
        v1::TaskChangeKind::Cancelled => ("Cancelled", "OK", task_event::TASK_CANCELLED.with(&[id])),
        _ if one.goes_on => ("Running", "OK", task_event::TASK_STARTED.with(&[id])),
        // Where its owner died with it, it came to no end.
        _ => ("Exception", "Critical", task_event::TASK_ABORTED.with(&[id])),
    };
    let name = said(Some(&change.name)).unwrap_or(&event.message);
    let ended = event.time.filter(|_| one.is_over());
    json!({
        "Name": name,
        "Description": said(Some(&change.reason)),
        "TaskState": state,
        "TaskStatus": health,
        "TaskMonitor": monitor_uri(id),
        // How much was done of one that did not come to its end nobody knows, or nobody who answers.
        "PercentComplete": (change.kind() == v1::TaskChangeKind::Completed).then_some(100),
        "StartTime": one.began.map(|at| at.to_string()),
        "EndTime": ended.map(|at| at.to_string()),
        "Messages": [message.to_json()],
    })
}

/// What tells how a task is, and at last what the request that began it would have been answered.
pub(crate) fn monitor_uri(id: &str) -> String {
    format!("/redfish/v1/TaskService/TaskMonitors/{id}")
}

/// A task that has just begun, as who asked for it is told: whoever is asked for tasks may not have it yet.
pub(crate) fn begun(id: &str, name: &str) -> Value {
    json!({
        "@odata.id": task_uri(id),
        "@odata.type": format!("#{}", TASK.kind),
        "Id": id,
        "Name": name,
        "TaskState": "Running",
        "TaskStatus": "OK",
        "TaskMonitor": monitor_uri(id),
    })
}

/// What a task that collects diagnostic data is called.
pub(crate) const COLLECTING: &str = "Diagnostic data";

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
        "Name": COLLECTING,
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
    /// It is not done: the status that its request would have been refused with, had it waited, and why, which is empty where nobody said it.
    Failed {
        status: u16,
        why: String,
    },
}

/// What was asked for cannot be as things are, or somebody stopped it. Clients ask again by themselves for what is a fault of the service, and tell nobody why.
const NOT_AS_IT_IS: u16 = 409;
/// It is a fault of the service or of its machine.
const FAULT: u16 = 500;

impl Outcome {
    /// `other` is why where nobody said more.
    fn failed(status: u16, why: &str, other: &str) -> Self {
        Self::Failed { status, why: said(Some(why)).unwrap_or(other).to_owned() }
    }
}

/// What became of a task; `None` where there is none of that name.
///
/// # Errors
/// As [`World::events`].
pub(crate) fn outcome_of(world: &World, id: &str) -> Result<Option<Outcome>, Fault> {
    if let Some(copy) = copies(world).find(|copy| copy.id == id) {
        return Ok(Some(match copy.state() {
            v1::MediaCopyState::Done => Outcome::Done,
            // As an insertion that waits, whose server or image is no good.
            v1::MediaCopyState::Failed => Outcome::failed(NOT_AS_IT_IS, &copy.fault, ""),
            v1::MediaCopyState::Stopped => {
                Outcome::failed(NOT_AS_IT_IS, &copy.fault, "it was ejected before it was inserted")
            }
            _ => Outcome::Running,
        }));
    }
    if let Some(one) = world.about.collected.iter().find(|one| one.id == id) {
        return Ok(Some(match (one.ended, one.bytes) {
            (None, _) => Outcome::Running,
            (Some(_), Some(_)) => Outcome::Made(log_services::data_entry(id)),
            (Some(_), None) => Outcome::failed(FAULT, "", ""),
        }));
    }
    let lately = latest(world);
    let ended = operations(world)?.find(|(_, one)| one.operation_id == id);
    let ended = ended.map(|(_, one)| (one.result(), one.error_message.as_str()));
    let last = lately.iter().find(|(_, one)| one.id == id);
    let last = last.map(|(_, one)| (one.result(), one.message.as_str()));
    if let Some((result, why)) = ended.or(last) {
        return Ok(Some(match result {
            v1::OperationResult::Running => Outcome::Running,
            v1::OperationResult::Done => Outcome::Done,
            v1::OperationResult::Superseded => {
                Outcome::failed(NOT_AS_IT_IS, why, "a later request took its place")
            }
            _ => Outcome::failed(FAULT, why, ""),
        }));
    }
    let Some(one) = told_of(world, id)? else { return Ok(None) };
    let (event, change) = one.last;
    let why = change.reason.as_str();
    Ok(match change.kind() {
        // What it made is gone, and with it the answer.
        v1::TaskChangeKind::Completed if event.domain == DIAGNOSTICS => None,
        v1::TaskChangeKind::Completed => Some(Outcome::Done),
        _ if one.goes_on => Some(Outcome::Running),
        v1::TaskChangeKind::Failed if event.domain == MEDIA => Some(Outcome::failed(NOT_AS_IT_IS, why, "")),
        v1::TaskChangeKind::Cancelled => {
            Some(Outcome::failed(NOT_AS_IT_IS, why, "somebody stopped it before its end"))
        }
        v1::TaskChangeKind::Failed => Some(Outcome::failed(FAULT, why, "")),
        _ => Some(Outcome::failed(FAULT, why, "it ended with its daemon, and nobody told how")),
    })
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
        Some(v1::event::Payload::PowerOperationResult(result)) if is_path_name(&result.operation_id) => {
            Some((event, result))
        }
        _ => None,
    }))
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::world::Need;

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

    #[test]
    fn the_events_of_tasks_are_gone_through_once_however_many_are_shown() {
        use v1::TaskChangeKind::{Completed, Started};

        let event = |number: i64, kind: v1::TaskChangeKind| v1::Event {
            domain: MEDIA.to_owned(),
            time: Some(prost_types::Timestamp { seconds: number, nanos: 0 }),
            payload: Some(v1::event::Payload::TaskChange(v1::TaskChange {
                task_id: format!("copy-{number}"),
                kind: kind.into(),
                ..v1::TaskChange::default()
            })),
            ..v1::Event::default()
        };
        // The newest first.
        let numbers = (0..500).rev();
        let events: Vec<v1::Event> =
            numbers.flat_map(|number| [event(number, Completed), event(number, Started)]).collect();
        let mut world = World::default();
        let hosts = v1::ListHostsResponse::default().encode_to_vec();
        let media = v1::ListMediaResponse::default().encode_to_vec();
        let events = v1::ListEventsResponse { events, ..v1::ListEventsResponse::default() }.encode_to_vec();
        for (need, answer) in [(Need::Hosts, &hosts), (Need::Media, &media), (Need::Events, &events)] {
            world.fill(need, Ok(answer));
        }
        let all = (COLLECTION.show)(&world, &[]).unwrap().unwrap();
        let members = all["Members"].as_array().unwrap();
        assert_eq!(members.len(), 500);
        for (member, number) in members.iter().zip((0..500).rev()) {
            let id = member["@odata.id"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
            assert_eq!(id, format!("copy-{number}"));
            let task = (TASK.show)(&world, &[id]).unwrap().unwrap();
            let at = prost_types::Timestamp { seconds: number, nanos: 0 }.to_string();
            assert_eq!((&task["TaskState"], &task["StartTime"]), (&json!("Completed"), &json!(at)));
        }
        // The newest of each, and its begin.
        assert_eq!(world.indexes.count.get(), 2);
        assert!((TASK.show)(&world, &["copy-500".to_owned()]).unwrap().is_none());
    }
}
