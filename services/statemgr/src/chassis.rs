//! The chassis: the sum of its hosts, and the identify light.

use std::time::SystemTime;

use schema::v1alpha1 as v1;

use crate::host::Host;
use crate::store::ChassisRecord;

/// What users may set of a chassis.
pub(crate) const WRITABLE: &[&str] = &[
    "asset",
    "description",
    "type",
    "form_factor",
    "location",
    "dimensions",
    "metadata",
    "environmental_specs",
];

/// The chassis of the board.
#[derive(Debug)]
pub(crate) struct Chassis {
    pub(crate) id: String,
    pub(crate) controller: String,
    pub(crate) settings: v1::Chassis,
    /// What the stored settings and record are at; `None` when that is not known.
    pub(crate) settings_revision: Option<u64>,
    pub(crate) record_revision: Option<u64>,
    pub(crate) updating: bool,
    /// Identify is being switched.
    pub(crate) identifying: bool,
    pub(crate) record: ChassisRecord,
    /// The status last told.
    pub(crate) status: v1::ChassisStatus,
    pub(crate) updated: SystemTime,
}

impl Chassis {
    pub(crate) fn new(
        board: &board::Board,
        settings: Option<v1::Chassis>,
        record: ChassisRecord,
        wall: SystemTime,
    ) -> Self {
        let fresh = || v1::Chassis {
            asset: Some(v1::AssetInfo {
                product_name: board.model.clone(),
                manufacturer: Some(board.vendor.clone()),
                ..v1::AssetInfo::default()
            }),
            ..v1::Chassis::default()
        };
        Self {
            id: board.chassis.id.as_str().to_owned(),
            controller: board.management_controller.id.as_str().to_owned(),
            settings: settings.unwrap_or_else(fresh),
            settings_revision: Some(0),
            record_revision: Some(0),
            updating: false,
            identifying: false,
            record,
            status: v1::ChassisStatus::Unspecified,
            updated: wall,
        }
    }

    /// Key of the record in bucket `state`.
    pub(crate) fn record_key(&self) -> String {
        format!("chassis.{}.record", self.id)
    }

    /// Key of the settings in bucket `config`.
    pub(crate) fn settings_key(&self) -> String {
        format!("chassis.{}", self.id)
    }

    /// The chassis as clients see it.
    pub(crate) fn to_wire(&self, hosts: &[Host]) -> v1::Chassis {
        let action =
            hosts.iter().filter_map(|host| host.desired.intent()).next().map(|intent| match intent.action {
                power::HostAction::On => v1::ChassisAction::On,
                power::HostAction::GracefulOff => v1::ChassisAction::Off,
                power::HostAction::ForceOff => v1::ChassisAction::EmergencyShutdown,
                power::HostAction::GracefulRestart
                | power::HostAction::ForceRestart
                | power::HostAction::PowerCycle
                | power::HostAction::Nmi => v1::ChassisAction::PowerCycle,
            });
        v1::Chassis {
            name: self.id.clone(),
            status: Some(status(hosts).into()),
            requested_action: action.map(Into::into),
            host_names: hosts.iter().map(|host| host.id.clone()).collect(),
            management_controller_ids: vec![self.controller.clone()],
            updated_at: Some(self.updated.into()),
            identify: Some(self.record.identify),
            stale: hosts.iter().any(|host| host.stale),
            ..self.settings.clone()
        }
    }
}

/// The chassis is on while any of its hosts is.
pub(crate) fn status(hosts: &[Host]) -> v1::ChassisStatus {
    let any = |status| hosts.iter().any(|host| host.status == status);
    if any(v1::HostStatus::Transitioning) {
        v1::ChassisStatus::Transitioning
    } else if any(v1::HostStatus::On) || any(v1::HostStatus::Quiesced) || any(v1::HostStatus::Diagnostic) {
        v1::ChassisStatus::On
    } else if any(v1::HostStatus::Off) {
        v1::ChassisStatus::Off
    } else {
        v1::ChassisStatus::Unknown
    }
}
