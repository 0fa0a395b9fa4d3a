//! What we know, as the schema says it.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use schema::v1alpha1 as pb;
use supervise::{Ending, State, View};
use units::Mono;

use crate::procfs::Usage;

/// The schema's word for a state.
pub(crate) fn state(state: State) -> pb::DaemonState {
    match state {
        State::Waiting => pb::DaemonState::Waiting,
        State::Starting { .. } => pb::DaemonState::Starting,
        State::Ready { .. } => pb::DaemonState::Ready,
        // Its end is on the way and its restart follows.
        State::Killed | State::Backoff { .. } => pb::DaemonState::Backoff,
        State::Degraded { .. } => pb::DaemonState::Degraded,
        State::Failed { .. } => pb::DaemonState::Failed,
        State::Stopping { .. } => pb::DaemonState::Stopping,
        State::Stopped => pb::DaemonState::Stopped,
    }
}

/// How well a daemon is, and why not.
pub(crate) fn health(view: &View<'_>) -> (pb::HealthStatus, Option<String>) {
    let bad = if view.spec.critical { pb::HealthStatus::Critical } else { pb::HealthStatus::Warning };
    match view.state {
        State::Ready { .. } => match view.degraded {
            None => (pb::HealthStatus::Ok, None),
            Some(reason) => (pb::HealthStatus::Warning, Some(reason.to_owned())),
        },
        State::Waiting | State::Starting { .. } if view.degraded.is_none() && view.restarts == 0 => {
            (pb::HealthStatus::Unknown, Some("it is starting".to_owned()))
        }
        State::Stopping { .. } | State::Stopped => {
            (pb::HealthStatus::Unknown, Some("it is stopped".to_owned()))
        }
        State::Degraded { .. } | State::Failed { .. } => (bad, Some(view.reason.to_owned())),
        _ => match view.degraded {
            Some(reason) => (bad, Some(reason.to_owned())),
            None => (pb::HealthStatus::Warning, Some(format!("it is being restarted: {}", view.reason))),
        },
    }
}

/// The worst of several.
pub(crate) fn worst(all: impl Iterator<Item = pb::HealthStatus>) -> pb::HealthStatus {
    let rank = |status: &pb::HealthStatus| match status {
        pb::HealthStatus::Ok => 0,
        pb::HealthStatus::Unspecified | pb::HealthStatus::Unknown => 1,
        pb::HealthStatus::Warning => 2,
        pb::HealthStatus::Critical => 3,
    };
    all.max_by_key(rank).unwrap_or(pb::HealthStatus::Ok)
}

/// When something happened: the time of day that was, as far as is known now. The clock may be set later, to and fro; how long ago it was
/// does not change by that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    at: Mono,
    told: SystemTime,
}

impl Moment {
    /// A time of day that is off by more was set; less is the reading of two clocks one after the other.
    const OFF: Duration = Duration::from_secs(1);

    pub(crate) fn new(now: Mono, wall: SystemTime) -> Self {
        Self { at: now, told: wall }
    }

    /// The clock may have been set.
    pub(crate) fn settle(&mut self, now: Mono, wall: SystemTime) {
        let age = Duration::from_millis(now.since(self.at).get());
        let right = wall.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH).max(SystemTime::UNIX_EPOCH);
        let off = right.duration_since(self.told).unwrap_or_else(|error| error.duration());
        if off > Self::OFF {
            self.told = right;
        }
    }

    pub(crate) fn told(self) -> SystemTime {
        self.told
    }
}

/// What is remembered of a daemon beside the machine's view.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    pub(crate) pid: Option<u32>,
    pub(crate) started: Option<Moment>,
    pub(crate) status: String,
    pub(crate) last_exit: Option<(String, Moment)>,
    pub(crate) last_output: Vec<String>,
    /// Where it listens, by the names of its ways in.
    pub(crate) listens: Vec<(String, SocketAddr)>,
}

/// Ways in of one daemon that are remembered; none has more.
const LISTENERS_MAX: usize = 8;

impl Record {
    /// It listens there.
    pub(crate) fn listens(&mut self, name: &str, address: SocketAddr) {
        self.listens.retain(|(known, _)| known != name);
        if self.listens.len() < LISTENERS_MAX {
            self.listens.push((name.to_owned(), address));
        }
    }

    /// It listens there no more.
    pub(crate) fn listening_ended(&mut self, name: &str) {
        self.listens.retain(|(known, _)| known != name);
    }

    /// It has ended so.
    pub(crate) fn ended(&mut self, how: String, at: Moment, output: Vec<String>) {
        (self.pid, self.last_exit, self.last_output) = (None, Some((how, at)), output);
        self.status.clear();
        self.listens.clear();
    }

    /// The clock may have been set.
    pub(crate) fn settle(&mut self, now: Mono, wall: SystemTime) {
        let exit = self.last_exit.as_mut().map(|(_, at)| at);
        for moment in self.started.iter_mut().chain(exit) {
            moment.settle(now, wall);
        }
    }
}

/// How a start ended, for people. Who ended because all were to is not told as one that failed.
pub(crate) fn exit_words(ending: Ending, all_were_to: bool, was_asked: bool) -> String {
    match ending {
        Ending::Ok if all_were_to && was_asked => "it ended for a reset".to_owned(),
        Ending::Ok if was_asked => "it ended to take its new settings".to_owned(),
        _ => ending.to_string(),
    }
}

/// Where a daemon listens.
pub(crate) fn listeners(record: &Record) -> impl Iterator<Item = pb::Listener> {
    record.listens.iter().map(|(name, address)| pb::Listener {
        name: name.clone(),
        address: address.ip().to_string(),
        port: address.port().into(),
    })
}

/// One row of `ListDaemons`.
pub(crate) fn daemon(
    view: &View<'_>,
    record: &Record,
    usage: Usage,
    next_start: Option<SystemTime>,
) -> pb::Daemon {
    let (health, why) = health(view);
    let running = record.pid.is_some();
    pb::Daemon {
        name: view.spec.name.clone(),
        state: state(view.state).into(),
        health: health.into(),
        status_text: match why {
            Some(why) if health != pb::HealthStatus::Ok => why,
            _ => record.status.clone(),
        },
        pid: record.pid.unwrap_or_default(),
        restarts: view.restarts,
        started_at: record.started.filter(|_| running).map(|at| at.told().into()),
        memory_bytes: usage.rss,
        memory_pss_bytes: usage.pss,
        cpu_time: running.then(|| schema::time::duration(usage.cpu)),
        last_exit: record.last_exit.as_ref().map(|(text, _)| text.clone()),
        last_exit_at: record.last_exit.as_ref().map(|(_, at)| at.told().into()),
        last_output: record.last_output.clone(),
        next_start_at: next_start.map(Into::into),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use supervise::{Event, Machine, Policy, Spec};

    #[test]
    fn who_ended_for_a_reset_is_not_told_as_a_fault() {
        assert_eq!(exit_words(Ending::Ok, true, true), "it ended for a reset");
        assert_eq!(exit_words(Ending::Ok, false, true), "it ended to take its new settings");
        assert_eq!(exit_words(Ending::Ok, false, false), "it ended by itself");
        assert_eq!(exit_words(Ending::Signal(9), true, true), "killed by SIGKILL");
    }

    #[test]
    fn a_moment_stays_where_it_was_however_the_clock_is_set() {
        let at = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let mono = |seconds: u64| Mono::from_millis(seconds * 1000);
        let mut record = Record { started: Some(Moment::new(mono(5), at(100))), ..Record::default() };
        let mut told = |now, wall| {
            record.settle(mono(now), wall);
            record.started.map(Moment::told)
        };
        assert_eq!(told(10, at(105) + Duration::from_millis(3)), Some(at(100)), "it does not waver");
        assert_eq!(told(20, at(1_700_000_020)), Some(at(1_700_000_005)), "the clock is set");
        assert_eq!(told(30, at(1_700_000_031)), Some(at(1_700_000_005)));
        assert_eq!(told(40, at(1_600_000_040)), Some(at(1_600_000_005)), "and set back");
        assert_eq!(told(50, at(3)), Some(at(0)));
    }

    #[test]
    fn where_a_daemon_listens_is_known_as_long_as_it_runs() {
        let mut record = Record::default();
        let told = |record: &Record| -> Vec<(String, String, u32)> {
            listeners(record).map(|one| (one.name, one.address, one.port)).collect()
        };
        record.listens("https", "[::]:443".parse().unwrap());
        record.listens("ssh", "192.0.2.1:22".parse().unwrap());
        // It says so once more.
        record.listens("https", "[::]:8443".parse().unwrap());
        let (ssh, https) = (("ssh", "192.0.2.1", 22), ("https", "::", 8443));
        let both = [ssh, https].map(|(name, at, port)| (name.to_owned(), at.to_owned(), port));
        assert_eq!(told(&record), both);
        // One way in is closed while it runs.
        record.listening_ended("ssh");
        record.listening_ended("ipmi");
        assert_eq!(told(&record), both[1..]);
        for number in 0..20 {
            record.listens(&number.to_string(), "[::]:1".parse().unwrap());
        }
        assert_eq!(told(&record).len(), LISTENERS_MAX);
        let at = Moment::new(Mono::ZERO, SystemTime::UNIX_EPOCH);
        record.ended("it ended by itself".to_owned(), at, Vec::new());
        assert!(told(&record).is_empty());
        assert_eq!(record.last_exit, Some(("it ended by itself".to_owned(), at)));
    }

    #[test]
    fn only_a_ready_daemon_is_well_and_a_critical_one_that_is_away_is_critical() {
        let specs = vec![Spec::new("powermgr", &[]).critical(), Spec::new("websrv", &[])];
        let mut machine = Machine::new(specs, Policy::default()).unwrap();
        let ids: Vec<_> = machine.views().map(|(id, _)| id).collect();
        let mut out = Vec::new();
        machine.step(Mono::ZERO, Event::Tick, 0, &mut out);
        let status =
            |machine: &Machine| -> Vec<_> { machine.views().map(|(_, view)| health(&view).0).collect() };
        assert_eq!(status(&machine), [pb::HealthStatus::Unknown; 2]);
        for id in &ids {
            machine.step(Mono::ZERO, Event::Ready(*id), 0, &mut out);
        }
        assert_eq!(status(&machine), [pb::HealthStatus::Ok; 2]);
        for id in &ids {
            machine.step(Mono::ZERO, Event::Ended(*id, Ending::Config), 0, &mut out);
        }
        assert_eq!(status(&machine), [pb::HealthStatus::Critical, pb::HealthStatus::Warning]);
        assert_eq!(worst(status(&machine).into_iter()), pb::HealthStatus::Critical);
        assert_eq!(worst(std::iter::empty()), pb::HealthStatus::Ok);
    }
}
