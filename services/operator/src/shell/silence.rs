//! Daemons whose loop gives no sign of life for longer than their row allows (`missed_after`): told when that begins and when it ends.

use std::collections::BTreeMap;

use ipc::EventBuilder;
use roster::Daemon;
use schema::v1alpha1 as pb;
use supervise::State;
use units::{Millis, Mono};

use super::Operator;

/// What is told of a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// It has given no sign of life for its time.
    Missed,
    /// It gives them again.
    Back,
}

/// Judges the loop of one daemon, which may be silent for `span`. `missed` has the names of those that were silent at the last look, and whether that was told:
/// it is at the second one, as what came while the operator itself was held up has been read by then. Of a daemon that does not serve nothing is told here: its
/// state is.
fn judge(
    missed: &mut BTreeMap<String, bool>,
    name: &str,
    state: State,
    span: Millis,
    now: Mono,
) -> Option<Change> {
    let State::Ready { beat, .. } = state else {
        missed.remove(name);
        return None;
    };
    if now.since(beat) < span {
        return missed.remove(name).filter(|is_told| *is_told).map(|_| Change::Back);
    }
    let Some(is_told) = missed.get_mut(name) else {
        missed.insert(name.to_owned(), false);
        return None;
    };
    (!std::mem::replace(is_told, true)).then_some(Change::Missed)
}

impl Operator<'_> {
    /// Tells in the log and by an event whose loop has become silent, and whose is so no more.
    pub(super) fn tell_silence(&mut self) {
        let now = self.clock.now();
        let mut changes = Vec::new();
        for ((_, view), daemon) in self.machine.views().zip(&self.options.daemons) {
            let (name, span) = (&daemon.spec.name, daemon.missed_after);
            let change = span.and_then(|span| judge(&mut self.missed, name, view.state, span, now));
            changes.extend(change.map(|change| (name.clone(), change)));
        }
        for (name, change) in changes {
            let (what, severity, message) = match change {
                Change::Missed => {
                    tracing::error!(daemon = %name, "daemon missed heartbeats");
                    ("missed", pb::EventSeverity::Warning, silent(&name))
                }
                Change::Back => {
                    tracing::info!(daemon = %name, "daemon sends heartbeats again");
                    ("back", pb::EventSeverity::Info, format!("the loop of {name} gives signs of life again"))
                }
            };
            let event = EventBuilder::new(Daemon::Operator.name(), "system", "heartbeat", what);
            self.tell(event.severity(severity).message(message).at(self.clock.wall()));
        }
    }
}

/// What is said of a daemon whose loop is silent, in its event and in the health of the system.
pub(super) fn silent(name: &str) -> String {
    format!("the loop of {name} gives no sign of life")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_told_once_when_it_begins_and_once_when_it_ends() {
        let mut missed = BTreeMap::new();
        let ready = |beat| State::Ready { since: Mono::ZERO, beat: Mono::from_millis(beat) };
        let rows = [
            ("it beats", ready(0), 999, None, false),
            ("it seems silent", ready(0), 1_000, None, false),
            ("and is not", ready(1_500), 2_000, None, false),
            ("it seems silent again", ready(1_500), 3_000, None, false),
            ("and is", ready(1_500), 4_000, Some(Change::Missed), true),
            ("and goes on to be", ready(1_500), 9_000, None, true),
            ("it beats again", ready(9_500), 9_600, Some(Change::Back), false),
            ("and goes on to", ready(9_500), 9_700, None, false),
            ("it seems silent once more", ready(9_500), 20_000, None, false),
            ("and is", ready(9_500), 20_050, Some(Change::Missed), true),
            // Its state tells of that, and what is ready next is another process.
            ("it is killed for that", State::Killed, 20_100, None, false),
            ("it serves anew", ready(21_000), 21_000, None, false),
        ];
        for (what, state, now, change, is_missed) in rows {
            let span = Millis::from_secs(1);
            assert_eq!(judge(&mut missed, "x", state, span, Mono::from_millis(now)), change, "{what}");
            assert_eq!(missed.get("x").copied().unwrap_or_default(), is_missed, "{what}");
        }
    }
}
