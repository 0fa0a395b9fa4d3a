//! Calls of HostFirmwareService: answered from memory, or decided on what the mailbox shows now, stored, put there, and then answered.

use std::sync::Arc;

use hal::FirmwareMailbox;
use host_firmware::{Next, Report};
use ipc::{Json, Reply, Request, StateError, Status};
use prost::Message;
use schema::server::HostFirmwareServiceCall;
use schema::v1alpha1 as v1;
use tokio::sync::Mutex;

use crate::firmware::{self, Asked, Shown, Wanted};
use crate::firmware_look::answered;
use crate::host::Host;
use crate::request::free;
use crate::shell::{Asker, By, Carried, Completion, Daemon, FirmwareUpdate};
use crate::store::FirmwareRecord;
use crate::{firmware_wire, wire};

impl Daemon {
    pub(crate) fn call_firmware(&mut self, call: HostFirmwareServiceCall<Request>) {
        use HostFirmwareServiceCall as Call;
        match call {
            Call::GetHostFirmware(get, reply) => {
                self.outbox.answer(reply, self.get_firmware(&get.host_name));
            }
            Call::ListHostFirmware(_, reply) => {
                let firmware = self.hosts.iter().filter_map(|host| {
                    let report = host.firmware.report(&host.id).ok()?;
                    Some(shown(host, report))
                });
                self.outbox.answer(reply, Ok(v1::ListHostFirmwareResponse { firmware: firmware.collect() }));
            }
            Call::UpdateHostFirmware(update, reply) => {
                let name = update.host_name.clone();
                let wanted = self.changeable(&name).and_then(|index| {
                    let (change, condition) = firmware_wire::change(update)?;
                    Ok((index, Wanted::Change { change: Box::new(change), condition }))
                });
                match wanted {
                    Ok((index, wanted)) => self.carry_out(index, wanted, reply, Asker::Update),
                    Err(status) => self.outbox.answer(reply, Err(status)),
                }
            }
            Call::DiscardHostFirmwareChanges(discard, reply) => match self.changeable(&discard.host_name) {
                Ok(index) => self.carry_out(index, Wanted::Discard, reply, Asker::Discard),
                Err(status) => self.outbox.answer(reply, Err(status)),
            },
        }
    }

    fn get_firmware(&self, name: &str) -> Result<v1::GetHostFirmwareResponse, Status> {
        let (_, host) = self.find(name)?;
        let report = host.firmware.report(&host.id)?;
        Ok(v1::GetHostFirmwareResponse { firmware: Some(shown(host, report)) })
    }

    /// The firmware of a host as clients see it, once something of it was changed.
    pub(crate) fn firmware_of(&self, index: usize) -> Option<v1::HostFirmware> {
        let host = self.hosts.get(index)?;
        // What was wished can be discarded although the firmware reports nothing any more.
        let none = Report::default();
        Some(shown(host, host.firmware.shown.report.as_deref().unwrap_or(&none)))
    }

    /// The place of a host whose firmware can be told something now.
    fn changeable(&self, name: &str) -> Result<usize, Status> {
        let (index, host) = self.find(name)?;
        host.firmware.supported(&host.id)?;
        free(host.firmware.updating)?;
        Ok(index)
    }

    /// Does what is wanted of the firmware of a host beside the loop; its end comes back with the reply.
    fn carry_out<M: Message + 'static>(
        &mut self,
        index: usize,
        wanted: Wanted,
        reply: Reply<M>,
        asker: fn(Option<Reply<M>>) -> Asker,
    ) {
        let wall = self.clock.wall();
        let Some(host) = self.hosts.get_mut(index) else { return };
        let Some(path) = host.firmware.path.clone() else { return };
        host.firmware.updating = true;
        let by = By::of(reply.context());
        let job = Job {
            path,
            putting: Arc::clone(&host.firmware.putting),
            shown: host.firmware.shown.clone(),
            record: host.firmware.record.clone(),
            revision: host.firmware.revision,
            bucket: self.settings.clone(),
            wanted,
            asked: Asked {
                host: host.id.clone(),
                username: by.username.clone(),
                at: wall,
                has_looked: host.firmware.has_looked,
            },
        };
        let back = self.back.clone();
        tokio::spawn(async move {
            let (reply, result) = reply.until_known(job.carry_out()).await;
            let update = FirmwareUpdate { index, by, asker: asker(reply), result };
            let _ = back.send(Completion::FirmwareUpdated(Box::new(update)));
        });
    }
}

fn shown(host: &Host, report: &Report) -> v1::HostFirmware {
    firmware_wire::to_wire(&host.id, report, &host.firmware.record, host.firmware.is_stale())
}

/// What it takes to change what is wished. Nobody else changes the record meanwhile.
struct Job {
    path: Arc<dyn FirmwareMailbox>,
    putting: Arc<Mutex<()>>,
    shown: Shown,
    record: FirmwareRecord,
    revision: Option<u64>,
    bucket: ipc::Bucket,
    wanted: Wanted,
    asked: Asked,
}

impl Job {
    /// Looks, decides, stores, and puts what is wished then into the mailbox: who is answered may start the host at once. A mailbox that does not
    /// answer gets it later.
    async fn carry_out(self) -> Result<Carried, Status> {
        let Self { path, putting, mut shown, record, revision, bucket, wanted, mut asked } = self;
        let host = asked.host.clone();
        // What was begun to be put there before this is there before this is.
        let _putting = putting.lock().await;
        let mut seen = Vec::new();
        match answered(path.look(shown.known)).await {
            Ok(found) => {
                let known = shown.known;
                // Why a report is not believed is said once, where it is noted for good.
                shown.note(known, &found);
                asked.has_looked = true;
                seen.push((known, found));
            }
            Err(error) => {
                tracing::debug!(host, error = %service::ErrorChain(&error), "firmware mailbox not responding to a request");
            }
        }
        let found = seen.last().map(|(_, found)| found);
        let fresh = wire::new_op().to_string();
        let decided =
            firmware::decide(shown.report.as_deref(), record.clone(), found, wanted, &asked, fresh)?;
        let revision = if decided.record == record {
            revision
        } else {
            let stored = bucket.commit(&firmware::key(&host), &Json(decided.record.clone()), revision).await;
            Some(stored.map_err(StateError::of_change)?)
        };
        let wishes = decided.record.pending.as_ref().map(|pending| &pending.wishes);
        if let Some((_, found)) = seen.last()
            && let Next::Put(wishes) = host_firmware::next(wishes, found)
        {
            let known = shown.known;
            match answered(path.put(wishes, known)).await {
                Ok(found) => seen.push((known, found)),
                Err(error) => {
                    tracing::warn!(host, error = %service::ErrorChain(&error), "host not told yet what is wished of its firmware");
                }
            }
        }
        Ok(Carried { record: decided.record, revision, taken: decided.taken, changed: decided.changed, seen })
    }
}
