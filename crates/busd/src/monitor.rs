//! What the operator tells people of the store: whether it can be written, and what of it was found damaged.

use std::sync::Arc;

use tokio::sync::watch;

/// Findings that are kept to be told; later ones are counted.
const KEPT_FINDINGS: usize = 32;

/// Whether the store takes writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StoreCondition {
    /// It does.
    #[default]
    Ok,
    /// No room: neither in the store's own bounds nor on the medium.
    Full,
    /// The file system is read-only.
    ReadOnly,
    /// The medium or the system refuses for another reason.
    Failing,
}

/// Something of the store that was damaged, foreign or not readable, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What is affected: a stream's name, or a file below the state directory.
    pub component: String,
    /// What is wrong and what that costs, for people.
    pub reason: String,
    /// Where a copy of the damaged file was put.
    pub set_aside: Option<String>,
    /// When it was found, nanoseconds since 1970.
    pub found_at: i64,
}

/// The state of the store, for `system status`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreStatus {
    /// Whether it takes writes.
    pub condition: StoreCondition,
    /// Why not, for people; empty while it does.
    pub reason: String,
    /// Since when it is in this condition, nanoseconds since 1970; 0: since it was opened.
    pub since: i64,
    /// What was found since it was opened, oldest first; the first 32.
    pub findings: Vec<Finding>,
    /// How many there were in all.
    pub found: u64,
}

/// Where a store notes its state, and where the operator reads it. Clones show the same state.
#[derive(Debug, Clone)]
pub struct StoreMonitor(Arc<watch::Sender<StoreStatus>>);

impl Default for StoreMonitor {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(StoreStatus::default())))
    }
}

impl StoreMonitor {
    /// Notes whether the store takes writes. `now`: nanoseconds since 1970. Returns whether that is a change: then it is worth
    /// a line in the log.
    pub fn set_condition(&self, condition: StoreCondition, reason: &str, now: i64) -> bool {
        self.0.send_if_modified(|status| {
            if status.condition == condition {
                return false;
            }
            reason.clone_into(&mut status.reason);
            (status.condition, status.since) = (condition, now);
            true
        })
    }

    /// Notes something that was found; `false`: it is known already.
    pub fn note(&self, finding: Finding) -> bool {
        self.0.send_if_modified(|status| {
            let same = |f: &Finding| f.component == finding.component && f.reason == finding.reason;
            if status.findings.iter().any(same) {
                return false;
            }
            status.found += 1;
            if status.findings.len() < KEPT_FINDINGS {
                status.findings.push(finding);
            }
            true
        })
    }

    /// How it is now.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        self.0.borrow().clone()
    }

    /// Tells of changes.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<StoreStatus> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_news_once_and_findings_are_bounded() {
        let monitor = StoreMonitor::default();
        assert!(monitor.set_condition(StoreCondition::Full, "no room", 7));
        assert!(!monitor.set_condition(StoreCondition::Full, "no room", 8));
        assert_eq!((monitor.status().since, monitor.status().reason.as_str()), (7, "no room"));
        assert!(monitor.set_condition(StoreCondition::Ok, "", 9));
        for n in 0..100 {
            let component = n.to_string();
            monitor.note(Finding { component, reason: String::new(), set_aside: None, found_at: n });
        }
        let status = monitor.status();
        assert_eq!((status.findings.len(), status.found), (KEPT_FINDINGS, 100));
        assert!(!monitor.note(status.findings[0].clone()), "what is found again at each try is one finding");
        assert_eq!(monitor.status().found, 100);
    }
}
