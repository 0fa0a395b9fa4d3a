//! `SystemService`: what this system is and how it is doing.

use std::time::{Duration, SystemTime};

use board::{Board, HalKind};
use ipc::Status;
use schema::mask::masked;
use schema::v1alpha1 as pb;
use supervise::{Machine, State};
use units::Mono;

use crate::pid1::Image;
use crate::procfs;
use crate::store;
use crate::wire::{self, Record};

/// What `SystemService` answers from.
pub(crate) struct SystemReport<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) records: &'a [Record],
    pub(crate) board: &'a Board,
    pub(crate) system_id: &'a str,
    pub(crate) version: &'a str,
    /// What is known of the boot, on a machine booted from an image of ours.
    pub(crate) image: Option<&'a Image>,
    /// The state of the store, when it is ours.
    pub(crate) store: Option<busd::StoreStatus>,
    pub(crate) now: Mono,
    pub(crate) wall: SystemTime,
    pub(crate) all_ready: bool,
    /// What holds the daemons to their limits.
    pub(crate) limits: &'static str,
    /// What daemons are confined by.
    pub(crate) confinement: &'static str,
    /// What is not as it should be and is no daemon's.
    pub(crate) notes: Vec<Note>,
}

/// Something that is not as it should be, while everything goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    /// What it is about: `boot`, `configuration`, `confinement`, `limits`.
    pub(crate) component: &'static str,
    /// For people.
    pub(crate) message: String,
}

impl SystemReport<'_> {
    pub(crate) fn info(
        &self,
        request: &pb::GetSystemInfoRequest,
    ) -> Result<pb::GetSystemInfoResponse, Status> {
        let health = self.health();
        let daemons = wire::worst(self.machine.views().map(|(_, view)| wire::health(&view).0));
        let out = |state| matches!(state, State::Degraded { .. } | State::Failed { .. });
        let state = if !self.all_ready && !self.machine.views().any(|(_, view)| out(view.state)) {
            pb::SystemState::Starting
        } else if daemons == pb::HealthStatus::Ok {
            pb::SystemState::Enabled
        } else {
            pb::SystemState::Quiesced
        };
        let mut metadata = std::collections::BTreeMap::new();
        // No daemon of its own list, and memory all the same.
        let own = procfs::usage(std::process::id());
        metadata.insert("operator.memory_pss_bytes".to_owned(), own.pss.to_string());
        metadata.insert("operator.limits".to_owned(), self.limits.to_owned());
        metadata.insert("operator.confinement".to_owned(), self.confinement.to_owned());
        if let Some(image) = self.image {
            image.tell(&mut metadata);
        }
        let info = pb::SystemInfo {
            name: "system".to_owned(),
            description: Some(format!("{} {}", self.board.vendor, self.board.model)),
            state: state.into(),
            health: Some(health),
            version: Some(self.version.to_owned()),
            boot_time: procfs::boot_time().map(Into::into),
            uptime: procfs::uptime().map(schema::time::duration),
            contact_info: None,
            metadata: metadata.into_iter().collect(),
            id: self.system_id.to_owned(),
            board: format!("{}/{}", self.board.vendor, self.board.name),
            simulated: self.board.hal == HalKind::Sim,
            firmware_slots: self.image.map(Image::slots).unwrap_or_default(),
            listeners: self.records.iter().flat_map(wire::listeners).collect(),
        };
        let info = masked(info, request.field_mask.as_ref())?;
        Ok(pb::GetSystemInfoResponse { system_info: Some(info) })
    }

    pub(crate) fn get_health(&self, request: &pb::GetHealthRequest) -> Result<pb::GetHealthResponse, Status> {
        let health = masked(self.health(), request.field_mask.as_ref())?;
        Ok(pb::GetHealthResponse { health: Some(health) })
    }

    pub(crate) fn daemons(
        &self,
        request: &pb::ListDaemonsRequest,
    ) -> Result<pb::ListDaemonsResponse, Status> {
        let mut daemons = Vec::with_capacity(self.records.len());
        for ((_, view), record) in self.machine.views().zip(self.records) {
            let usage = record.pid.map(procfs::usage).unwrap_or_default();
            let next = match view.state {
                State::Backoff { until } | State::Degraded { until } | State::Failed { until } => {
                    self.wall.checked_add(Duration::from_millis(until.since(self.now).get()))
                }
                _ => None,
            };
            let daemon = wire::daemon(&view, record, usage, next);
            daemons.push(masked(daemon, request.field_mask.as_ref())?);
        }
        Ok(pb::ListDaemonsResponse { daemons })
    }

    fn health(&self) -> pb::Health {
        let at = self.wall.into();
        let daemons = self.machine.views().map(|(_, view)| {
            let (status, message) = wire::health(&view);
            pb::HealthDetail {
                component: view.spec.name.clone(),
                status: status.into(),
                message,
                timestamp: Some(at),
            }
        });
        let store = self.store.iter().map(|status| store::health(status, at));
        let notes = self.notes.iter().map(|note| pb::HealthDetail {
            component: note.component.to_owned(),
            status: pb::HealthStatus::Warning.into(),
            message: Some(note.message.clone()),
            timestamp: Some(at),
        });
        let details: Vec<_> = daemons.chain(store).chain(notes).collect();
        let status = wire::worst(details.iter().map(pb::HealthDetail::status));
        let unwell: Vec<&str> = details
            .iter()
            .filter(|detail| detail.status() != pb::HealthStatus::Ok)
            .map(|detail| detail.component.as_str())
            .collect();
        pb::Health {
            status: status.into(),
            status_description: Some(match unwell.as_slice() {
                [] => "every daemon serves".to_owned(),
                names => format!("not as they should be: {}", names.join(", ")),
            }),
            details,
            last_updated: Some(at),
            uptime: Some(schema::time::duration(Duration::from_millis(self.now.as_millis()))),
            store: self.store.as_ref().map(store::status),
        }
    }
}
