//! Waiting for the real state: events say when to look, the state that is read says whether it is there.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use schema::v1alpha1::{Event, Host, HostAction, HostStatus, OperationResult, event};
use tokio::time::{Instant, sleep, timeout_at};

use crate::client::{Client, Events};
use crate::failure::{Code, Failure};
use crate::text::{clean, enum_word};

/// How often the state is read when no event says that it changed.
const POLL: Duration = Duration::from_secs(2);

/// What `host wait` waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Awaited {
    /// No operation is under way; one that fails meanwhile is a failure
    Done,
    /// The host is on
    On,
    /// The host is off
    Off,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Progress {
    Pending(String),
    Done,
    Failed(String),
}

/// Says on stderr what is waited for; nothing when it is no terminal.
pub(crate) struct Spinner(ProgressBar);

impl Spinner {
    pub(crate) fn new(what: &str) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix}: {msg} ({elapsed})") {
            bar.set_style(style);
        }
        bar.set_prefix(clean(what));
        bar.set_message("asking");
        bar.enable_steady_tick(Duration::from_millis(120));
        Self(bar)
    }

    pub(crate) fn say(&self, text: &str) {
        self.0.set_message(clean(text));
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Follows one operation on a host.
#[derive(Debug)]
pub(crate) struct Operation {
    id: String,
    action: HostAction,
    /// It was under way when the host was read.
    seen: bool,
    /// An event said that it is done.
    heard: bool,
}

impl Operation {
    pub(crate) fn new(id: &str, action: HostAction) -> Self {
        Self { id: id.to_owned(), action, seen: false, heard: false }
    }

    /// The state the host must end in; `None` when the operation says nothing about it.
    fn wanted(&self) -> Option<HostStatus> {
        match self.action {
            HostAction::On | HostAction::Reboot | HostAction::ForceRestart | HostAction::PowerCycle => {
                Some(HostStatus::On)
            }
            HostAction::Off | HostAction::ForceOff => Some(HostStatus::Off),
            HostAction::Nmi | HostAction::Unspecified => None,
        }
    }

    /// What a reading of the host says about the operation.
    pub(crate) fn judge(&mut self, host: &Host) -> Progress {
        let status = host.status();
        let word = enum_word(status.as_str_name(), "HOST_STATUS_");
        let there = !host.stale && self.wanted().is_none_or(|wanted| wanted == status);
        // Nothing was to be done: only the state counts.
        if self.id.is_empty() {
            return if there { Progress::Done } else { Progress::Pending(word) };
        }
        match &host.last_operation {
            Some(last) if last.id == self.id => {
                self.seen = true;
                match last.result() {
                    OperationResult::Done if there => Progress::Done,
                    OperationResult::Failed => {
                        Progress::Failed(failed(self.action, &last.reason, &last.message, status))
                    }
                    OperationResult::Superseded => {
                        Progress::Failed("another request took its place".to_owned())
                    }
                    _ => Progress::Pending(word),
                }
            }
            // Done before it could be read, and the next one is under way: what was asked for has happened.
            Some(_) if self.heard => Progress::Done,
            Some(_) if self.seen => Progress::Failed("another request took its place".to_owned()),
            _ => Progress::Pending(word),
        }
    }

    /// What an event says about the operation; `None` when it says nothing final.
    pub(crate) fn hear(&mut self, event: &Event) -> Option<Progress> {
        let Some(event::Payload::PowerOperationResult(result)) = &event.payload else { return None };
        if self.id.is_empty() || result.operation_id != self.id {
            return None;
        }
        self.seen = true;
        match result.result() {
            OperationResult::Failed => Some(Progress::Failed(failed(
                self.action,
                &result.reason,
                &result.error_message,
                result.current_status(),
            ))),
            OperationResult::Superseded => {
                Some(Progress::Failed("another request took its place".to_owned()))
            }
            // The state is read before it is believed.
            OperationResult::Done => {
                self.heard = true;
                None
            }
            _ => None,
        }
    }
}

/// Follows what one request began on the hosts of a chassis, host by host.
#[derive(Debug)]
pub(crate) struct Group {
    action: HostAction,
    /// The last operation of each host before the request, and whether it was under way: a request may join it.
    before: BTreeMap<String, (String, bool)>,
    /// The operation the answer names, of one of the hosts.
    started: String,
    /// Known from the first reading after the request.
    hosts: BTreeMap<String, Operation>,
    ended: BTreeMap<String, Result<(), String>>,
}

impl Group {
    /// With the hosts as they were before the request.
    pub(crate) fn new(action: HostAction, before: &[Host]) -> Self {
        let last = |host: &Host| {
            let last = host.last_operation.as_ref()?;
            Some((host.name.clone(), (last.id.clone(), last.result() == OperationResult::Running)))
        };
        Self {
            action,
            before: before.iter().filter_map(last).collect(),
            started: String::new(),
            hosts: BTreeMap::new(),
            ended: BTreeMap::new(),
        }
    }

    /// The request was taken.
    pub(crate) fn begun(&mut self, operation: &str) {
        operation.clone_into(&mut self.started);
    }

    /// The operation of this request on `host`; empty when nothing was to be done there.
    fn operation_of(&self, host: &Host) -> String {
        let Some(last) = &host.last_operation else { return String::new() };
        let ours = match self.before.get(&host.name) {
            Some((before, running)) => *before != last.id || *running || last.id == self.started,
            None => true,
        };
        if ours { last.id.clone() } else { String::new() }
    }

    /// What a reading of the chassis' hosts says. It is over when it is over on each of them, and has failed when it failed on one.
    pub(crate) fn judge(&mut self, hosts: &[Host]) -> Progress {
        let mut pending = Vec::new();
        for host in hosts {
            if self.ended.contains_key(&host.name) {
                continue;
            }
            let id = self.operation_of(host);
            let action = self.action;
            let operation =
                self.hosts.entry(host.name.clone()).or_insert_with(|| Operation::new(&id, action));
            match operation.judge(host) {
                Progress::Pending(word) => pending.push(format!("{} {word}", host.name)),
                Progress::Done => drop(self.ended.insert(host.name.clone(), Ok(()))),
                Progress::Failed(why) => drop(self.ended.insert(host.name.clone(), Err(why))),
            }
        }
        let failed: Vec<String> = self
            .ended
            .iter()
            .filter_map(|(host, ended)| Some(format!("{host}: {}", ended.as_ref().err()?)))
            .collect();
        if hosts.is_empty() {
            Progress::Pending("its hosts are not known".to_owned())
        } else if !pending.is_empty() {
            Progress::Pending(failed.into_iter().chain(pending).collect::<Vec<_>>().join(", "))
        } else if failed.is_empty() {
            Progress::Done
        } else {
            Progress::Failed(failed.join("; "))
        }
    }

    /// What an event says about one of the operations. It ends nothing: the others are waited for.
    pub(crate) fn hear(&mut self, event: &Event) {
        for (host, operation) in &mut self.hosts {
            if let Some(Progress::Failed(why)) = operation.hear(event) {
                self.ended.entry(host.clone()).or_insert(Err(why));
            }
        }
    }
}

/// Waits for a host to be as asked, whoever asked for it.
#[derive(Debug)]
pub(crate) struct Settling {
    awaited: Awaited,
    /// The operation that was seen under way.
    seen: Option<String>,
}

impl Settling {
    pub(crate) fn new(awaited: Awaited) -> Self {
        Self { awaited, seen: None }
    }

    /// What a reading of the host says.
    pub(crate) fn judge(&mut self, host: &Host) -> Progress {
        let status = host.status();
        let word = enum_word(status.as_str_name(), "HOST_STATUS_");
        let last = host.last_operation.as_ref();
        let running = last.filter(|last| last.result() == OperationResult::Running);
        let moves = running.is_some()
            || host.requested_action() != HostAction::Unspecified
            || status == HostStatus::Transitioning;
        if let Some(last) = running {
            self.seen = Some(last.id.clone());
        }
        if let Some(last) = last.filter(|last| self.seen.as_ref() == Some(&last.id))
            && last.result() == OperationResult::Failed
        {
            return Progress::Failed(failed(last.action(), &last.reason, &last.message, status));
        }
        let there = match self.awaited {
            Awaited::Done => !moves,
            Awaited::On => status == HostStatus::On,
            Awaited::Off => status == HostStatus::Off,
        };
        if there && !host.stale { Progress::Done } else { Progress::Pending(word) }
    }
}

fn failed(action: HostAction, reason: &str, message: &str, status: HostStatus) -> String {
    let action = enum_word(action.as_str_name(), "HOST_ACTION_");
    let status = enum_word(status.as_str_name(), "HOST_STATUS_");
    let why = match (message, reason) {
        ("", "") => "no reason given".to_owned(),
        ("", reason) => reason.to_owned(),
        (message, "") => message.to_owned(),
        (message, reason) => format!("{message} ({reason})"),
    };
    format!("{action} failed: {why}; the host is {status}")
}

/// Reads with `look` until it is done, has failed or the time is over. `hear` sees each event first.
pub(crate) async fn until<F, L>(
    what: &str,
    limit: Duration,
    mut events: Option<Events<schema::v1alpha1::Event>>,
    mut hear: impl FnMut(&Event) -> Option<Progress>,
    mut look: F,
) -> Result<(), Failure>
where
    F: FnMut() -> L,
    L: Future<Output = Result<Progress, Failure>>,
{
    let spinner = Spinner::new(what);
    let end = Instant::now() + limit;
    let mut last = "not known".to_owned();
    // However short the time is, the state is read once: that has a time of its own.
    let mut first = limit < POLL;
    loop {
        let looked = match std::mem::take(&mut first) {
            true => Ok(look().await),
            false => timeout_at(end, look()).await,
        };
        let progress = match looked {
            Ok(Ok(progress)) => progress,
            Ok(Err(failure)) if passing(&failure) => Progress::Pending(failure.to_string()),
            Ok(Err(failure)) => return Err(failure),
            Err(_) => return Err(over(what, limit, &last)),
        };
        match progress {
            Progress::Done => return Ok(()),
            Progress::Failed(why) => return Err(Failure::Wait(format!("{what}: {why}"))),
            Progress::Pending(state) => {
                spinner.say(&state);
                last = state;
            }
        }
        if Instant::now() >= end {
            return Err(over(what, limit, &last));
        }
        let next = Instant::now() + POLL;
        match &mut events {
            Some(stream) => match timeout_at(next.min(end), stream.next()).await {
                Ok(Ok(Some(event))) => {
                    if let Some(Progress::Failed(why)) = hear(&event) {
                        return Err(Failure::Wait(format!("{what}: {why}")));
                    }
                }
                // Reading goes on without the stream.
                Ok(Ok(None) | Err(_)) => events = None,
                Err(_) => {}
            },
            None => {
                let pause = POLL.min(end.saturating_duration_since(Instant::now()));
                sleep(pause).await;
            }
        }
    }
}

fn over(what: &str, limit: Duration, last: &str) -> Failure {
    Failure::Wait(format!("{what}: not there after {} s; last seen: {last}", limit.as_secs()))
}

/// True for what a restart of a daemon or of the BMC causes: worth another look.
pub(crate) fn passing(failure: &Failure) -> bool {
    match failure {
        Failure::Unreachable { .. } => true,
        Failure::Status(status) => matches!(status.code, Code::Unavailable | Code::DeadlineExceeded),
        _ => false,
    }
}

/// Opens the stream before the request is sent, so that nothing is missed. Without the stream the state is polled.
pub(crate) async fn listen(
    client: &Client,
    domain: &str,
    component: &str,
) -> Option<Events<schema::v1alpha1::Event>> {
    let request = schema::v1alpha1::WatchEventsRequest {
        domain: domain.to_owned(),
        component: component.to_owned(),
        ..Default::default()
    };
    client.watch(&request).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::v1alpha1::{HostOperation, PowerOperationResult};

    fn host(status: HostStatus, operation: Option<(&str, OperationResult)>) -> Host {
        Host {
            status: Some(status.into()),
            last_operation: operation.map(|(id, result)| HostOperation {
                id: id.into(),
                result: result.into(),
                reason: if result == OperationResult::Failed {
                    "GRACEFUL_OFF_TIMED_OUT".into()
                } else {
                    String::new()
                },
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn an_operation_is_done_when_it_says_so_and_the_state_is_there() {
        use OperationResult::{Done, Failed, Running, Superseded};
        let pending = |word: &str| Progress::Pending(word.to_owned());
        let mut off = Operation::new("op", HostAction::Off);
        // The reading before the operation shows: an older operation is no verdict.
        assert_eq!(off.judge(&host(HostStatus::On, Some(("older", Done)))), pending("on"));
        assert_eq!(off.judge(&host(HostStatus::Off, Some(("older", Done)))), pending("off"));
        assert_eq!(
            off.judge(&host(HostStatus::Transitioning, Some(("op", Running)))),
            pending("transitioning")
        );
        assert_eq!(off.judge(&host(HostStatus::On, Some(("op", Done)))), pending("on"));
        assert_eq!(off.judge(&host(HostStatus::Off, Some(("op", Done)))), Progress::Done);
        assert!(matches!(off.judge(&host(HostStatus::On, Some(("op", Superseded)))), Progress::Failed(_)));
        let Progress::Failed(why) = off.judge(&host(HostStatus::On, Some(("op", Failed)))) else { panic!() };
        assert_eq!(why, "off failed: GRACEFUL_OFF_TIMED_OUT; the host is on");
        // Once ours was seen, another one means that ours was replaced.
        assert!(matches!(off.judge(&host(HostStatus::Off, Some(("newer", Running)))), Progress::Failed(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn without_any_time_it_is_looked_at_once() {
        for (there, limit) in [(true, 0), (false, 0), (true, 1)] {
            let looks = std::cell::Cell::new(0);
            let waited = until(
                "host: wait",
                Duration::from_millis(limit),
                None,
                |_| None,
                || async {
                    // An answer takes a moment.
                    sleep(Duration::from_millis(300)).await;
                    looks.set(looks.get() + 1);
                    Ok(if there { Progress::Done } else { Progress::Pending("on".into()) })
                },
            );
            let waited = waited.await;
            assert_eq!((waited.is_ok(), looks.get()), (there, 1));
            assert!(waited.is_ok() || waited.unwrap_err().to_string().contains("last seen: on"));
        }
    }

    #[test]
    fn what_was_already_so_is_checked_by_the_state_alone() {
        let mut on = Operation::new("", HostAction::On);
        assert_eq!(on.judge(&host(HostStatus::On, None)), Progress::Done);
        assert_eq!(on.judge(&host(HostStatus::Off, None)), Progress::Pending("off".into()));
        let stale = Host { stale: true, ..host(HostStatus::On, None) };
        assert_eq!(on.judge(&stale), Progress::Pending("on".into()));
    }

    #[test]
    fn a_host_has_settled_when_nothing_is_under_way_and_its_state_is_known() {
        use OperationResult::{Done, Failed, Running};
        let pending = |word: &str| Progress::Pending(word.to_owned());
        let off = || host(HostStatus::Off, Some(("op", Done)));
        assert_eq!(Settling::new(Awaited::Done).judge(&off()), Progress::Done);
        assert_eq!(Settling::new(Awaited::On).judge(&off()), pending("off"));
        assert_eq!(Settling::new(Awaited::Off).judge(&Host { stale: true, ..off() }), pending("off"));
        let asked = Host { requested_action: Some(HostAction::On.into()), ..off() };
        assert_eq!(Settling::new(Awaited::Done).judge(&asked), pending("off"));
        // What had failed before is history; what fails while it is waited for is told.
        let failed = host(HostStatus::On, Some(("op", Failed)));
        assert_eq!(Settling::new(Awaited::Done).judge(&failed), Progress::Done);
        for awaited in [Awaited::Done, Awaited::Off] {
            let mut settling = Settling::new(awaited);
            let running = host(HostStatus::Transitioning, Some(("op", Running)));
            assert_eq!(settling.judge(&running), pending("transitioning"));
            assert!(matches!(settling.judge(&failed), Progress::Failed(why) if why.contains("TIMED_OUT")));
        }
    }

    fn of(name: &str, status: HostStatus, operation: Option<(&str, OperationResult)>) -> Host {
        Host { name: name.into(), ..host(status, operation) }
    }

    #[test]
    fn a_chassis_has_failed_when_one_of_its_hosts_has_whatever_the_others_are() {
        use OperationResult::{Done, Failed, Running};
        let old = Some(("old", Failed));
        let mut on =
            Group::new(HostAction::On, &[of("a", HostStatus::Off, old), of("b", HostStatus::Off, None)]);
        on.begun("1");
        let a = |status, result| of("a", status, Some(("1", result)));
        let b = |status, result| of("b", status, Some(("2", result)));
        let both = [a(HostStatus::Off, Failed), b(HostStatus::Transitioning, Running)];
        assert!(
            matches!(on.judge(&both), Progress::Pending(text) if text.contains("TIMED_OUT") && text.contains("b trans"))
        );
        // The chassis is on now, as one of its hosts is.
        let both = [a(HostStatus::Off, Failed), b(HostStatus::On, Done)];
        let Progress::Failed(why) = on.judge(&both) else { panic!("it is no success") };
        assert_eq!(why, "a: on failed: GRACEFUL_OFF_TIMED_OUT; the host is off");
    }

    #[test]
    fn only_what_this_request_began_on_hosts_of_the_chassis_counts() {
        use OperationResult::{Done, Failed, Running};
        let failed = |id: &str| Event {
            payload: Some(event::Payload::PowerOperationResult(PowerOperationResult {
                operation_id: id.into(),
                result: Failed.into(),
                ..Default::default()
            })),
            ..Default::default()
        };
        // One host is off already, with a failure in its past; one is on its way, which the request joins; one begins.
        let before = [
            of("a", HostStatus::Off, Some(("old", Failed))),
            of("b", HostStatus::Transitioning, Some(("under-way", Running))),
            of("c", HostStatus::On, Some(("older", Done))),
        ];
        let mut off = Group::new(HostAction::Off, &before);
        off.begun("new");
        let mut now = before.clone();
        now[2] = of("c", HostStatus::Transitioning, Some(("new", Running)));
        assert!(
            matches!(off.judge(&now), Progress::Pending(text) if text == "b transitioning, c transitioning")
        );
        off.hear(&failed("old"));
        off.hear(&failed("of-another-chassis"));
        now[1] = of("b", HostStatus::Off, Some(("under-way", Done)));
        assert!(matches!(off.judge(&now), Progress::Pending(text) if text == "c transitioning"));
        // What is asked of one that is through is another matter.
        now[1] = of("b", HostStatus::Transitioning, Some(("next", Running)));
        now[2] = of("c", HostStatus::Off, Some(("new", Done)));
        assert_eq!(off.judge(&now), Progress::Done);

        let mut cycle = Group::new(HostAction::PowerCycle, &before[2..]);
        cycle.begun("new");
        let running = of("c", HostStatus::On, Some(("new", Running)));
        assert_eq!(cycle.judge(std::slice::from_ref(&running)), Progress::Pending("c on".into()));
        cycle.hear(&failed("new"));
        assert!(matches!(cycle.judge(&[of("c", HostStatus::On, Some(("new", Done)))]), Progress::Failed(_)));
    }

    #[test]
    fn an_interrupt_leaves_the_state_open() {
        let mut nmi = Operation::new("op", HostAction::Nmi);
        assert_eq!(nmi.judge(&host(HostStatus::Error, Some(("op", OperationResult::Done)))), Progress::Done);
    }

    #[test]
    fn an_event_can_end_it_only_by_failing() {
        let event = |id: &str, result: OperationResult| Event {
            payload: Some(event::Payload::PowerOperationResult(PowerOperationResult {
                operation_id: id.into(),
                result: result.into(),
                error_message: "the button did nothing".into(),
                reason: "NO_POWER_GOOD".into(),
                current_status: HostStatus::Off.into(),
                ..Default::default()
            })),
            ..Default::default()
        };
        let mut on = Operation::new("op", HostAction::On);
        assert_eq!(on.hear(&event("other", OperationResult::Failed)), None);
        assert_eq!(on.hear(&event("op", OperationResult::Done)), None);
        assert_eq!(
            on.judge(&host(HostStatus::Off, Some(("op", OperationResult::Done)))),
            Progress::Pending("off".into())
        );
        assert_eq!(
            on.judge(&host(HostStatus::Off, Some(("newer", OperationResult::Running)))),
            Progress::Done
        );
        assert_eq!(
            on.hear(&event("op", OperationResult::Failed)),
            Some(Progress::Failed(
                "on failed: the button did nothing (NO_POWER_GOOD); the host is off".into()
            ))
        );
        assert_eq!(on.hear(&Event::default()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_is_kept_and_the_last_state_is_told() {
        let looks = std::cell::Cell::new(0);
        let look = || {
            looks.set(looks.get() + 1);
            async { Ok(Progress::Pending("transitioning".into())) }
        };
        let failure = until("off", Duration::from_secs(10), None, |_| None, look).await.unwrap_err();
        assert_eq!(failure.exit_code(), 7);
        assert_eq!(failure.to_string(), "off: not there after 10 s; last seen: transitioning");
        assert!((5..=7).contains(&looks.get()), "{}", looks.get());
    }

    #[tokio::test(start_paused = true)]
    async fn a_daemon_that_restarts_does_not_end_the_wait() {
        let looks = std::cell::Cell::new(0);
        let look = || {
            looks.set(looks.get() + 1);
            let count = looks.get();
            async move {
                if count < 3 {
                    Err(Failure::Unreachable { server: "bmc".into(), cause: "refused".into() })
                } else {
                    Ok(Progress::Done)
                }
            }
        };
        until("on", Duration::from_secs(60), None, |_| None, look).await.unwrap();
        let gone = || async { Err(Failure::Usage("no".into())) };
        assert_eq!(
            until("on", Duration::from_secs(60), None, |_| None, gone).await.unwrap_err().exit_code(),
            2
        );
    }
}
