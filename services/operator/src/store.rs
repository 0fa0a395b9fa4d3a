//! What is told of the store: in `SystemService`, and as events.

use std::time::{Duration, SystemTime};

use busd::{Finding, StoreCondition, StoreMonitor, StoreStatus};
use ipc::EventBuilder;
use schema::v1alpha1 as pb;
use tokio::sync::mpsc;

fn state(condition: StoreCondition) -> pb::StoreState {
    match condition {
        StoreCondition::Ok => pb::StoreState::Ok,
        StoreCondition::Full => pb::StoreState::Full,
        StoreCondition::ReadOnly => pb::StoreState::ReadOnly,
        StoreCondition::Failing => pb::StoreState::Failing,
    }
}

fn time(unix_ns: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::try_from(unix_ns).unwrap_or(0))
}

fn finding(finding: &Finding) -> pb::StoreFinding {
    pb::StoreFinding {
        component: finding.component.clone(),
        reason: finding.reason.clone(),
        set_aside: finding.set_aside.clone().unwrap_or_default(),
        found_at: Some(time(finding.found_at).into()),
    }
}

/// The store as the schema says it.
pub(crate) fn status(status: &StoreStatus) -> pb::StoreStatus {
    pb::StoreStatus {
        state: state(status.condition).into(),
        reason: status.reason.clone(),
        since: (status.since > 0).then(|| time(status.since).into()),
        findings: status.findings.iter().map(finding).collect(),
        findings_total: status.found,
    }
}

/// A file of the state directory that is not as it should be.
pub(crate) fn finding_of_file(file: &str, reason: &str) -> Finding {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Finding {
        component: file.to_owned(),
        reason: reason.to_owned(),
        set_aside: None,
        found_at: i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
    }
}

/// Its part of the health.
pub(crate) fn health(status: &StoreStatus, at: prost_types::Timestamp) -> pb::HealthDetail {
    let message = match (status.condition, status.findings.last()) {
        (StoreCondition::Ok, None) => None,
        (StoreCondition::Ok, Some(last)) => Some(match status.found {
            1 => format!("{}: {}", last.component, last.reason),
            more => format!("{}: {} (and {} more findings)", last.component, last.reason, more - 1),
        }),
        _ => Some(format!("writes are refused: {}", status.reason)),
    };
    let health = if message.is_none() { pb::HealthStatus::Ok } else { pb::HealthStatus::Warning };
    pb::HealthDetail { component: "store".to_owned(), status: health.into(), message, timestamp: Some(at) }
}

fn event(component: &str, what: &str, severity: pb::EventSeverity, message: String) -> EventBuilder {
    EventBuilder::new(roster::Daemon::Operator.name(), "store", component, what)
        .severity(severity)
        .message(message)
}

/// A name as the part of a subject it becomes.
fn token(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' };
    let token: String = name.chars().take(64).map(plain).collect();
    if token.is_empty() { "store".to_owned() } else { token }
}

/// The events between what was told and what is.
fn news(told: &StoreStatus, now: &StoreStatus) -> Vec<pb::Event> {
    let mut events = Vec::new();
    for new in now.findings.iter().skip(told.findings.len()) {
        let message = format!("{}: {}", new.component, new.reason);
        let severity = pb::EventSeverity::Critical;
        let payload = pb::event::Payload::StoreFinding(finding(new));
        let event = event(&token(&new.component), "finding", severity, message).payload(payload);
        events.push(event.at(SystemTime::now()));
    }
    if told.condition != now.condition {
        let (severity, message) = match now.condition {
            StoreCondition::Ok if now.reason.is_empty() => {
                (pb::EventSeverity::Info, "the store takes writes again".to_owned())
            }
            StoreCondition::Ok => {
                (pb::EventSeverity::Warning, format!("the store takes writes again; {}", now.reason))
            }
            _ => (pb::EventSeverity::Critical, format!("the store refuses writes: {}", now.reason)),
        };
        let change = pb::StoreStateChange {
            previous_state: state(told.condition).into(),
            current_state: state(now.condition).into(),
            reason: now.reason.clone(),
            changed_at: Some(time(now.since).into()),
        };
        let payload = pb::event::Payload::StoreStateChange(change);
        events.push(event("store", "state", severity, message).payload(payload).at(SystemTime::now()));
    }
    events
}

/// Tells of changes until the receiver of `events` is gone. When more happens than can be told, what is told last is how it is.
pub(crate) async fn tell(monitor: StoreMonitor, events: mpsc::Sender<pb::Event>) {
    let mut changes = monitor.subscribe();
    let mut told = StoreStatus::default();
    loop {
        let now = changes.borrow_and_update().clone();
        for event in news(&told, &now) {
            if events.send(event).await.is_err() {
                return;
            }
        }
        told = now;
        if changes.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_finding_and_each_change_is_told_once() {
        let monitor = StoreMonitor::default();
        let note = |component: &str| {
            monitor.note(Finding {
                component: component.to_owned(),
                reason: "4 bytes could not be read".to_owned(),
                set_aside: None,
                found_at: 1,
            });
        };
        note("KV_users");
        let (events, mut heard) = mpsc::channel(8);
        let task = tokio::spawn(tell(monitor.clone(), events));
        let first = heard.recv().await.unwrap();
        assert_eq!((first.component.as_str(), first.what.as_str()), ("KV_users", "finding"));
        monitor.set_condition(StoreCondition::Full, "no room is left", 2);
        let second = heard.recv().await.unwrap();
        assert_eq!(second.message, "the store refuses writes: no room is left");
        note("bus/streams/a.b");
        monitor.set_condition(StoreCondition::Ok, "", 3);
        let third = heard.recv().await.unwrap();
        assert_eq!(third.component, "bus_streams_a_b");
        assert_eq!(heard.recv().await.unwrap().severity(), pb::EventSeverity::Info);
        monitor.set_condition(StoreCondition::Full, "no room is left", 4);
        heard.recv().await.unwrap();
        monitor.set_condition(
            StoreCondition::Ok,
            "3 messages of EVENTS were refused meanwhile and are lost",
            5,
        );
        let healed = heard.recv().await.unwrap();
        assert_eq!(healed.severity(), pb::EventSeverity::Warning);
        assert!(healed.message.ends_with("again; 3 messages of EVENTS were refused meanwhile and are lost"));
        drop(heard);
        note("x");
        task.await.unwrap();
    }

    #[test]
    fn a_store_that_refuses_or_was_damaged_is_not_well() {
        let at = prost_types::Timestamp::default();
        let monitor = StoreMonitor::default();
        assert_eq!(health(&monitor.status(), at).status(), pb::HealthStatus::Ok);
        monitor.set_condition(StoreCondition::ReadOnly, "the file system is read-only", 1);
        let told = health(&monitor.status(), at);
        assert_eq!(told.status(), pb::HealthStatus::Warning);
        assert_eq!(told.message.unwrap(), "writes are refused: the file system is read-only");
    }
}
