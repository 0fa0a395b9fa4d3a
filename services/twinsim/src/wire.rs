//! Between the sockets' words and the model's.

use hal_sim::wire::{Button, Fault, HostStatus};
use twin::{Os, Supply};
use units::Millis;

pub(crate) fn button(button: Button) -> twin::Button {
    match button {
        Button::Power => twin::Button::Power,
        Button::Reset => twin::Button::Reset,
    }
}

pub(crate) fn fault(fault: Fault) -> twin::Fault {
    match fault {
        Fault::PowerGoodDelay(ms) => twin::Fault::PowerGoodDelay(Millis::new(ms)),
        Fault::PowerGoodBounce { toggles, every_ms } => {
            twin::Fault::PowerGoodBounce { toggles, every: Millis::new(every_ms) }
        }
        Fault::PowerGoodMissing(missing) => twin::Fault::PowerGoodMissing(missing),
        Fault::Glitch(ms) => twin::Fault::Glitch(Millis::new(ms)),
        Fault::PowerLoss => twin::Fault::PowerLoss,
        Fault::Wake => twin::Fault::Wake,
        Fault::OsHang(hang) => twin::Fault::OsHang(hang),
        Fault::IgnorePresses(presses) => twin::Fault::IgnorePresses(presses),
    }
}

pub(crate) fn status(host: &twin::Host, external: bool) -> HostStatus {
    let supply = match host.supply() {
        Supply::Off => "off",
        Supply::Starting { .. } => "starting",
        Supply::On => "on",
        Supply::Stopping { .. } => "stopping",
    };
    let os = match host.os() {
        Os::Down => "down",
        _ if external => "guest",
        Os::Post { .. } => "post",
        Os::Booting { .. } => "booting",
        Os::Running => "running",
        Os::Setup => "setup",
        Os::ShuttingDown { .. } => "shutting-down",
    };
    HostStatus {
        supply: supply.to_owned(),
        os: os.to_owned(),
        power_good: host.power_good(),
        starts: host.starts(),
        acpi_events: host.acpi_events(),
        hard_offs: host.hard_offs(),
        resets: host.resets(),
        nmis: host.nmis(),
        guest_pid: None,
        boot_order: host.boot_order().cloned().map(Box::new),
    }
}

/// A duration of the board file in the model's unit.
pub(crate) fn millis(duration: std::time::Duration) -> Millis {
    Millis::new(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
