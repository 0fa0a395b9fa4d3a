//! Events: what happened and what happens.

use std::time::Duration;

use schema::rpc::event_service;
use schema::v1alpha1::{
    Event, EventGap, EventGapReason, EventSeverity, ListEventsRequest, ReopenEventsRequest,
    ResolveEventsRequest, WatchEventsRequest, event,
};

use super::Session;
use crate::cli::{EventCommand, EventFilter, Severity};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Format, Output, Table, note};
use crate::reconnect::Reconnect;
use crate::text::{ago, clean, enum_word, time};

pub(crate) async fn run(session: Session, command: EventCommand, output: Output) -> Result<(), Failure> {
    match command {
        EventCommand::Watch { filter } => follow(&session.client().await?, &filter, output).await,
        EventCommand::Resolve { ids, note } => {
            let request = ResolveEventsRequest { ids, note };
            let reply = session.changing().await?.call(event_service::RESOLVE_EVENTS, &request).await?;
            output.line(&reply, || changed(&request.ids, &reply.changed, "resolved"))
        }
        EventCommand::Reopen { ids } => {
            let request = ReopenEventsRequest { ids };
            let reply = session.changing().await?.call(event_service::REOPEN_EVENTS, &request).await?;
            output.line(&reply, || changed(&request.ids, &reply.changed, "reopened"))
        }
        EventCommand::List { filter, severity, since, limit, unresolved, resolved } => {
            let severity = match severity {
                None => EventSeverity::Unspecified,
                Some(Severity::Debug) => EventSeverity::Debug,
                Some(Severity::Info) => EventSeverity::Info,
                Some(Severity::Warning) => EventSeverity::Warning,
                Some(Severity::Critical) => EventSeverity::Critical,
            };
            let since = since.map(before_now).transpose()?;
            let request = ListEventsRequest {
                domain: filter.domain,
                component: filter.component,
                what: filter.what,
                min_severity: severity.into(),
                since,
                page_size: limit,
                resolved: (resolved || unresolved).then_some(resolved),
                ..Default::default()
            };
            let reply = session.client().await?.call(event_service::LIST_EVENTS, &request).await?;
            if reply.resolutions_unknown {
                note("which of them are resolved cannot be read now");
            }
            output.reply(&reply, || {
                let mut table = Table::new(&["TIME", "SEVERITY", "WHAT", "MESSAGE", "BY", "RESOLVED", "ID"])
                    .empty("no such events are kept");
                for event in &reply.events {
                    table.row([
                        ago(event.time.as_ref()),
                        severity_word(event),
                        subject(event),
                        event.message.clone(),
                        event.principal.clone().unwrap_or_default(),
                        resolution(event),
                        event.id.clone(),
                    ]);
                }
                table
            })
        }
    }
}

/// `2 events are resolved, 1 was so before`.
fn changed(asked: &[String], changed: &[String], what: &str) -> String {
    let events = |count: usize| format!("{count} event{}", if count == 1 { " is" } else { "s are" });
    match asked.len().saturating_sub(changed.len()) {
        0 => format!("{} {what}", events(changed.len())),
        before => format!(
            "{} {what}, {before} {} so before",
            events(changed.len()),
            if before == 1 { "was" } else { "were" }
        ),
    }
}

/// `olga, 2 h ago: fan replaced`.
fn resolution(event: &Event) -> String {
    let Some(resolution) = &event.resolution else { return String::new() };
    let who = format!("{}, {}", resolution.username, ago(resolution.time.as_ref()));
    if resolution.note.is_empty() { who } else { format!("{who}: {}", resolution.note) }
}

pub(crate) fn before_now(span: Duration) -> Result<prost_types::Timestamp, Failure> {
    let at = jiff::Timestamp::now()
        .checked_sub(span)
        .map_err(|_| Failure::Usage("--since reaches back before time began".into()))?;
    Ok(prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() })
}

fn severity_word(event: &Event) -> String {
    enum_word(event.severity().as_str_name(), "EVENT_SEVERITY_")
}

fn subject(event: &Event) -> String {
    format!("{}.{}.{}", event.domain, event.component, event.what)
}

fn line(event: &Event) -> String {
    let by = event.principal.as_deref().map(|name| format!(" by {name}")).unwrap_or_default();
    clean(&format!(
        "{}  {:<8}  {}  {}{by}",
        time(event.time.as_ref()),
        severity_word(event),
        subject(event),
        event.message
    ))
    .replace('\n', " ")
}

/// What is missing from a stream, for people.
fn gap_words(gap: &EventGap) -> String {
    match gap.reason() {
        EventGapReason::Dropped => {
            format!(
                "at most {} events (of any kind) are missing here: the BMC's log had no room for them",
                gap.lost
            )
        }
        EventGapReason::Ahead => {
            "the BMC's event log has begun anew since; events may be missing here".to_owned()
        }
        EventGapReason::Unreadable | EventGapReason::Unspecified => {
            "the BMC's event log could not be read; events may be missing here".to_owned()
        }
    }
}

/// Prints events until interrupted. A stream that breaks is opened again where it broke.
pub(crate) async fn follow(client: &Client, filter: &EventFilter, output: Output) -> Result<(), Failure> {
    let mut after = None;
    let mut reconnect = Reconnect::new();
    loop {
        let request = WatchEventsRequest {
            domain: filter.domain.clone(),
            component: filter.component.clone(),
            what: filter.what.clone(),
            after_sequence: after,
        };
        let broken = match client.watch(&request).await {
            Ok(mut events) => {
                reconnect.opened();
                after = after.or(events.begin());
                loop {
                    match events.next().await {
                        Ok(Some(event)) => {
                            reconnect.works();
                            if event.sequence > 0 {
                                after = Some(event.sequence);
                            }
                            if let Some(event::Payload::Gap(gap)) = &event.payload {
                                note(&gap_words(gap));
                                // A program that reads the lines has to know it as well.
                                if output.format == Format::Table {
                                    continue;
                                }
                            }
                            match output.format {
                                Format::Json => output.json_line(&event)?,
                                Format::Table | Format::Csv => output.text(&line(&event))?,
                            }
                        }
                        Ok(None) => break None,
                        // Its session has ended, and there is another one.
                        Err(failure) if client.renew(&failure, events.credential()) => break None,
                        Err(failure) => break Some(failure),
                    }
                }
            }
            Err(failure) => Some(failure),
        };
        reconnect.broken(broken).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_is_counted() {
        let ids = |count: usize| vec!["id".to_owned(); count];
        assert_eq!(changed(&ids(1), &ids(1), "resolved"), "1 event is resolved");
        assert_eq!(changed(&ids(3), &ids(2), "reopened"), "2 events are reopened, 1 was so before");
        assert_eq!(changed(&ids(2), &[], "resolved"), "0 events are resolved, 2 were so before");
    }

    #[test]
    fn an_event_is_one_line_whatever_is_in_it() {
        let event = Event {
            time: Some(prost_types::Timestamp { seconds: 0, nanos: 0 }),
            domain: "host".into(),
            component: "system".into(),
            what: "state".into(),
            severity: EventSeverity::Info.into(),
            message: "off ->\non\u{1b}[2J".into(),
            principal: Some("admin".into()),
            ..Default::default()
        };
        let text = line(&event);
        assert_eq!(text, "1970-01-01 00:00:00Z  info      host.system.state  off -> on\u{fffd}[2J by admin");
    }
}
