//! How machines, chassis and the manager are, in the words of the properties `PowerState` and `Status`: what a resource shows, and what an event says.

use schema::v1alpha1 as v1;

/// The power of a machine that is so and is asked for this; `None`: it is not known.
pub(super) fn host_power(status: v1::HostStatus, action: v1::HostAction) -> Option<&'static str> {
    match (status, action) {
        (v1::HostStatus::Off, _) => Some("Off"),
        (v1::HostStatus::On | v1::HostStatus::Quiesced | v1::HostStatus::Diagnostic, _) => Some("On"),
        (v1::HostStatus::Transitioning, v1::HostAction::On) => Some("PoweringOn"),
        (v1::HostStatus::Transitioning, v1::HostAction::Off | v1::HostAction::ForceOff) => {
            Some("PoweringOff")
        }
        (v1::HostStatus::Transitioning, v1::HostAction::ForceRestart | v1::HostAction::Nmi) => Some("On"),
        // Off first, then on: which of the two it is now is not told.
        (v1::HostStatus::Transitioning | v1::HostStatus::Error | v1::HostStatus::Unspecified, _) => None,
    }
}

/// The state and the health of a machine that is so and is asked for this.
pub(super) fn host_state(
    status: v1::HostStatus,
    action: v1::HostAction,
) -> (&'static str, Option<&'static str>) {
    match status {
        v1::HostStatus::Unspecified => ("UnavailableOffline", None),
        v1::HostStatus::Off => ("StandbyOffline", Some("OK")),
        v1::HostStatus::On => ("Enabled", Some("OK")),
        v1::HostStatus::Transitioning => match action {
            // DSP0268 has no word for one that stops: it is as it will be, as OpenBMC has it, and `PowerState` says that it is on its way.
            v1::HostAction::Off | v1::HostAction::ForceOff => ("StandbyOffline", Some("OK")),
            // It goes on running.
            v1::HostAction::Nmi => ("Enabled", Some("OK")),
            _ => ("Starting", Some("OK")),
        },
        v1::HostStatus::Quiesced => ("Quiesced", Some("OK")),
        v1::HostStatus::Diagnostic => ("InTest", Some("OK")),
        v1::HostStatus::Error => ("Enabled", Some("Critical")),
    }
}

/// The power of a chassis that is so and is asked for this; `None`: it is not known.
pub(super) fn chassis_power(status: v1::ChassisStatus, action: v1::ChassisAction) -> Option<&'static str> {
    match status {
        v1::ChassisStatus::On | v1::ChassisStatus::Warning | v1::ChassisStatus::Critical => Some("On"),
        v1::ChassisStatus::Off => Some("Off"),
        v1::ChassisStatus::Transitioning => match action {
            v1::ChassisAction::On => Some("PoweringOn"),
            v1::ChassisAction::Off | v1::ChassisAction::EmergencyShutdown => Some("PoweringOff"),
            _ => None,
        },
        _ => None,
    }
}

/// The state and the health of a chassis that is so and is asked for this.
pub(super) fn chassis_state(
    status: v1::ChassisStatus,
    action: v1::ChassisAction,
) -> (&'static str, Option<&'static str>) {
    match status {
        v1::ChassisStatus::Unspecified | v1::ChassisStatus::Unknown => ("UnavailableOffline", None),
        v1::ChassisStatus::On => ("Enabled", Some("OK")),
        v1::ChassisStatus::Off => ("StandbyOffline", Some("OK")),
        v1::ChassisStatus::Transitioning => match action {
            // As of a system.
            v1::ChassisAction::Off | v1::ChassisAction::EmergencyShutdown => ("StandbyOffline", Some("OK")),
            _ => ("Starting", Some("OK")),
        },
        v1::ChassisStatus::Warning => ("Enabled", Some("Warning")),
        v1::ChassisStatus::Critical | v1::ChassisStatus::Failed => ("Enabled", Some("Critical")),
    }
}

/// The state of a manager that is so.
pub(super) fn manager_state(status: v1::ManagementControllerStatus) -> &'static str {
    match status {
        v1::ManagementControllerStatus::Ready | v1::ManagementControllerStatus::Disabled => "Enabled",
        v1::ManagementControllerStatus::NotReady => "Starting",
        v1::ManagementControllerStatus::Quiesced => "Quiesced",
        v1::ManagementControllerStatus::Diagnostic => "InTest",
        v1::ManagementControllerStatus::Error => "Enabled",
        v1::ManagementControllerStatus::Unspecified => "UnavailableOffline",
    }
}
