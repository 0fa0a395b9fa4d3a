//! Which daemons there are, in which order they start, and what each may use.

use board::HalKind;
use supervise::Spec;
use units::Millis;

use crate::limits::Limits;

/// After how long a silence of a daemon that holds pins is told: within 5 s people know that nobody holds the lines. It is killed as late as
/// the others, as one that comes back by itself has not lost what it was about.
const HOLDS_PINS: Millis = Millis::from_secs(4);

/// A daemon as the operator knows it.
#[derive(Clone, Debug)]
pub struct Part {
    /// Name, what it starts after, whether it is critical.
    pub spec: Spec,
    /// Whether it gets a credential on the bus.
    pub on_bus: bool,
    /// Whether it gets the board file.
    pub needs_board: bool,
    /// What it may use at most.
    pub limits: Limits,
    /// After how long its silence is told, before it is killed for it.
    pub missed_after: Option<Millis>,
    /// Whether it may say where the controller is reached, and as whom to log in first.
    pub speaks: bool,
}

impl Part {
    /// A daemon on the bus with the board file and ordinary limits.
    pub fn new(spec: Spec) -> Self {
        Self {
            spec,
            on_bus: true,
            needs_board: true,
            limits: Limits::daemon(),
            missed_after: None,
            speaks: false,
        }
    }

    /// Without a connection to the bus.
    #[must_use]
    pub fn without_bus(mut self) -> Self {
        self.on_bus = false;
        self
    }

    /// May say where the controller is reached, and as whom to log in first.
    #[must_use]
    pub fn speaks(mut self) -> Self {
        self.speaks = true;
        self
    }

    /// Has its silence told after this long.
    #[must_use]
    pub fn missed_after(mut self, span: Millis) -> Self {
        self.missed_after = Some(span);
        self
    }

    /// With other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}

/// The daemons of a board, in any order: the start order follows from what each starts after.
///
/// powermgr and statemgr are critical: without them nobody can reach the host's power, so a controller on which they stay away is reset
/// by the watchdog. usermgr and websrv are not: a port in use or a full disk is not cured by a reset, and the host can still be
/// reached by its buttons.
pub fn roster(hal: HalKind) -> Vec<Part> {
    let mut parts = Vec::new();
    let simulated = hal == HalKind::Sim;
    if simulated {
        // It plays the host, which goes on when the controller restarts (I-2). It may run a guest, so nothing is known of its size.
        parts.push(Part::new(Spec::new("twin", &[]).lasting()).without_bus().with_limits(Limits::none()));
    }
    let world: &[&str] = if simulated { &["twin"] } else { &[] };
    parts.push(
        Part::new(Spec::new("powermgr", world).critical())
            .missed_after(HOLDS_PINS)
            .with_limits(Limits::lines()),
    );
    parts.push(Part::new(Spec::new("usermgr", &[])).with_limits(Limits::hashing()).speaks());
    parts.push(Part::new(Spec::new("statemgr", &["powermgr"]).critical()));
    parts.push(
        Part::new(Spec::new("websrv", &["usermgr", "statemgr"])).with_limits(Limits::gateway()).speaks(),
    );
    parts
}

/// The name of every daemon there can be.
pub fn daemons() -> Vec<&'static str> {
    ipc::topology::NODES.iter().map(|node| node.daemon).chain(["twin"]).collect()
}

/// The outward link, on boards whose configuration names a datacenter's server.
pub fn fleet() -> Part {
    Part::new(Spec::new("fleet", &["usermgr", "statemgr"]))
}

/// The controller's own network, on boards whose configuration has a table for it. Not critical: a reset brings no cable back. It starts
/// first of all, because a lease takes seconds, and the others do not wait for it.
pub fn netmgr() -> Part {
    Part::new(Spec::new("netmgr", &[]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use supervise::{Machine, Policy};

    #[test]
    fn both_rosters_can_be_supervised_and_are_known_on_the_bus() {
        for hal in [HalKind::Sim, HalKind::Linux] {
            let parts = roster(hal);
            Machine::new(parts.iter().map(|part| part.spec.clone()).collect(), Policy::default()).unwrap();
            for part in parts {
                assert_eq!(ipc::topology::node(&part.spec.name).is_some(), part.on_bus, "{}", part.spec.name);
            }
        }
    }

    #[test]
    fn a_daemon_starts_after_those_it_calls() {
        let mut parts = roster(HalKind::Linux);
        parts.push(fleet());
        parts.push(netmgr());
        for part in &parts {
            let node = ipc::topology::node(&part.spec.name).unwrap();
            for callee in node.calls.iter().filter(|callee| **callee != ipc::topology::OPERATOR) {
                assert!(
                    part.spec.after.iter().any(|name| name == callee),
                    "{} calls {callee}",
                    part.spec.name
                );
            }
        }
    }
}
