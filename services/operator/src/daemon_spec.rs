//! The daemons of this controller, as their rows say.

use board::{Board, HalKind};
use roster::{Daemon, Limits, When};
use supervise::Spec;
use units::Millis;

/// A daemon as the operator knows it.
#[derive(Clone, Debug)]
pub struct DaemonSpec {
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
    /// Whether it may say what the controller is called.
    pub names_host: bool,
}

impl DaemonSpec {
    /// A daemon on the bus with the board file and ordinary limits.
    pub fn new(spec: Spec) -> Self {
        Self {
            spec,
            on_bus: true,
            needs_board: true,
            limits: Limits::daemon(),
            missed_after: None,
            speaks: false,
            names_host: false,
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

    /// With other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}

/// What of a board decides which daemons there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoardKind {
    /// What is behind its hardware.
    pub hal: HalKind,
    /// Whether it has fans to drive.
    pub fans: bool,
    /// Whether its file names screens; simulated hosts have theirs without.
    pub screens: bool,
    /// Whether it has drives for virtual media.
    pub media: bool,
}

impl BoardKind {
    /// That of this board.
    pub fn of(board: &Board) -> Self {
        Self {
            hal: board.hal,
            fans: !board.fans.is_empty(),
            media: !board.media.is_empty(),
            screens: !board.screens.is_empty(),
        }
    }
}

/// The daemons of a controller in the order of their rows; the start order follows from what each starts after. `configured` says whether
/// the configuration has a table for one, `ruled_out` are those that the command line switches off, or the program was built without.
pub fn daemon_specs(
    board: BoardKind,
    ruled_out: &[&str],
    configured: impl Fn(&str) -> bool,
) -> Vec<DaemonSpec> {
    let runs = |daemon: Daemon| {
        let row = daemon.row();
        daemon != Daemon::Operator
            && !ruled_out.contains(&row.name)
            && match row.when {
                When::Always => true,
                When::Simulated => board.hal == HalKind::Sim,
                When::Cooled => board.fans,
                When::Shown => board.screens || board.hal == HalKind::Sim,
                When::Media => board.media,
                When::Configured => configured(row.name),
                When::Permitted | When::Built => true,
            }
    };
    let all = Daemon::ALL.iter().copied();
    all.filter(|daemon| runs(*daemon))
        .map(|daemon| {
            let row = daemon.row();
            let after: Vec<&str> =
                row.after.iter().filter(|other| runs(**other)).map(|other| other.name()).collect();
            let spec = Spec { critical: row.critical, lasting: row.lasting, ..Spec::new(row.name, &after) };
            DaemonSpec {
                spec,
                on_bus: row.on_bus,
                needs_board: row.needs_board,
                limits: row.limits,
                missed_after: row.missed_after,
                speaks: row.speaks,
                names_host: row.names_host,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use supervise::{Machine, Policy};

    const PLAIN: BoardKind = BoardKind { hal: HalKind::Linux, fans: false, media: false, screens: false };

    fn names(kind: BoardKind, configured: &[&str]) -> Vec<String> {
        daemon_specs(kind, &[], |name| configured.contains(&name))
            .into_iter()
            .map(|daemon| daemon.spec.name)
            .collect()
    }

    #[test]
    fn every_selection_can_be_supervised() {
        for kind in [
            PLAIN,
            BoardKind { fans: true, ..PLAIN },
            BoardKind { hal: HalKind::Sim, fans: true, media: true, screens: true },
        ] {
            for configured in [&[][..], &["fleet"], &["netmgr"], &["fleet", "netmgr"]] {
                let specs = daemon_specs(kind, &[], |name| configured.contains(&name));
                Machine::new(specs.into_iter().map(|daemon| daemon.spec).collect(), Policy::default())
                    .unwrap();
            }
        }
    }

    #[test]
    fn a_daemon_runs_where_its_row_says() {
        let waiting = ["twin", "thermalmgr", "kvmsrv", "mediasrv", "fleet", "netmgr"];
        let all = Daemon::ALL.iter().map(|daemon| daemon.name());
        let always: Vec<_> = all.filter(|name| *name != "operator" && !waiting.contains(name)).collect();
        assert!(
            ["powermgr", "usermgr", "statemgr", "websrv", "sshsrv"].iter().all(|name| always.contains(name))
        );
        let beside = |kind: BoardKind, configured: &[&str]| {
            let (always, others): (Vec<_>, Vec<_>) =
                names(kind, configured).into_iter().partition(|name| always.contains(&name.as_str()));
            (always, others)
        };
        for (kind, configured, others) in [
            (PLAIN, &[][..], &[][..]),
            (BoardKind { hal: HalKind::Sim, ..PLAIN }, &[], &["twin", "kvmsrv"]),
            (BoardKind { fans: true, ..PLAIN }, &[], &["thermalmgr"]),
            (BoardKind { screens: true, ..PLAIN }, &[], &["kvmsrv"]),
            (BoardKind { media: true, ..PLAIN }, &[], &["mediasrv"]),
            // A table for a daemon that is not there for want of one only.
            (PLAIN, &["operator", "twin", "fleet", "netmgr", "websrv"], &["netmgr", "fleet"]),
        ] {
            let found = beside(kind, configured);
            assert_eq!(found.0, always, "{kind:?} {configured:?}");
            assert_eq!(found.1, others, "{kind:?} {configured:?}");
        }
        let without = daemon_specs(PLAIN, &["ipmisrv"], |_| true);
        assert!(!without.iter().any(|daemon| daemon.spec.name == "ipmisrv"), "what is ruled out stays so");
        assert!(without.iter().all(|daemon| !daemon.spec.after.contains(&"ipmisrv".to_owned())));
    }
}
