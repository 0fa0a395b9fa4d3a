//! Calls of HostFirmwareService: answered from memory, or decided on what the mailbox shows now, stored, put there, and then answered.

use std::sync::Arc;
use std::time::Duration;

use hal::FirmwareMailbox;
use host_firmware::{Next, Report, Seen, Wishes};
use ipc::{Code, Json, Reply, Request, StateError, Status};
use prost::Message;
use schema::server::HostFirmwareServiceCall;
use schema::v1alpha1 as v1;
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::boot::PUT_WITHIN;
use crate::firmware::{self, Asked, Shown, Wanted};
use crate::firmware_look::answered;
use crate::host::Host;
use crate::request::free;
use crate::shell::{Asker, By, Carried, Completion, Daemon, FirmwareUpdate};
use crate::store::FirmwareRecord;
use crate::{firmware_wire, wire};

/// Most steps in which a change is put into a mailbox: what lies there is taken away, a boot has taken something, the rest is put there.
const STEPS: usize = 8;
/// Most bytes of the list of all hosts: what the bus takes of an answer, with room for the names of those that are left out.
const LIST_BYTES: usize = 768 * 1024;
/// How long a request waits for a put that was begun before it and for a look, together, however long the way there may take: nothing is decided before,
/// so that is well within the 7 s in which a client is answered ([`Reply::until_known`]).
const LOOK_WITHIN: Duration = Duration::from_secs(4);

impl Daemon {
    pub(crate) fn call_firmware(&mut self, call: HostFirmwareServiceCall<Request>) {
        use HostFirmwareServiceCall as Call;
        match call {
            Call::GetHostFirmware(get, reply) => {
                self.outbox.answer(reply, self.get_firmware(&get.host_name));
            }
            Call::ListHostFirmware(_, reply) => {
                self.outbox.answer(reply, Ok(self.list_firmware()));
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

    /// The firmware of all hosts, as far as an answer carries it.
    fn list_firmware(&self) -> v1::ListHostFirmwareResponse {
        let reports = self.hosts.iter().map(|host| {
            let firmware = host.firmware.report(&host.id).map(|report| shown(host, report));
            (host.id.as_str(), firmware)
        });
        listed(reports, LIST_BYTES)
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
        let room = path.room();
        let job = Job {
            index,
            back: self.back.clone(),
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
                is_untold: host.firmware.untold,
                room,
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

/// The list of what is known of each host, in their order: a host whose firmware does not fit into so many bytes is named, and so is one of which nobody
/// knows anything yet.
fn listed<'h>(
    hosts: impl Iterator<Item = (&'h str, Result<v1::HostFirmware, Status>)>,
    bytes: usize,
) -> v1::ListHostFirmwareResponse {
    let mut out = v1::ListHostFirmwareResponse::default();
    let mut room = bytes;
    for (host, firmware) in hosts {
        match firmware {
            Ok(firmware) => match room.checked_sub(firmware.encoded_len()) {
                Some(left) => {
                    room = left;
                    out.firmware.push(firmware);
                }
                None => out.left_out.push(host.to_owned()),
            },
            Err(status) if status.code == Code::Unavailable => out.unknown.push(host.to_owned()),
            // It has none that reports.
            Err(_) => {}
        }
    }
    out
}

fn shown(host: &Host, report: &Report) -> v1::HostFirmware {
    firmware_wire::to_wire(&host.id, report, &host.firmware.record, host.firmware.is_stale())
}

/// What it takes to change what is wished. Nobody else changes the record meanwhile.
struct Job {
    /// Which host it is, and where the daemon is told of a put that ends after it.
    index: usize,
    back: mpsc::UnboundedSender<Completion>,
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
    /// answer in time gets it later.
    async fn carry_out(self) -> Result<Carried, Status> {
        let Self { index, back, path, putting, mut shown, record, revision, bucket, wanted, mut asked } =
            self;
        let host = asked.host.clone();
        let begun = Instant::now();
        let (until, known, mut seen) = (begun + LOOK_WITHIN, shown.known, Vec::new());
        // What was begun to be put there before this is there before this is. While that takes too long nothing is put there by this.
        let putting = timeout_at(until, putting.lock_owned()).await.ok().map(Arc::new);
        if putting.is_some() {
            match timeout_at(until, answered(path.patience(), path.look(known))).await {
                Ok(Ok(found)) => {
                    // Why a report is not believed is said once, where it is noted for good.
                    shown.note(known, &found);
                    asked.has_looked |= found.is_readable();
                    seen.push((known, found));
                }
                Ok(Err(error)) => {
                    tracing::debug!(host, error = %service::ErrorChain(&error), "firmware mailbox not responding to a request");
                }
                Err(_) => tracing::debug!(host, "firmware mailbox too slow for a request"),
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
        let is_other = firmware::wishes(&decided.record) != firmware::wishes(&record);
        let mut carried = Carried {
            record: decided.record,
            revision,
            taken: decided.taken,
            taken_since: Vec::new(),
            is_untold: asked.is_untold || is_other,
            is_refused: false,
            changed: decided.changed,
            seen,
        };
        if let Some(putting) = putting {
            let way = Way { index, back, path, putting, until: begun + PUT_WITHIN };
            give(&way, &bucket, &asked, shown, &mut carried).await;
        }
        Ok(carried)
    }
}

/// The way into a mailbox.
struct Way {
    index: usize,
    back: mpsc::UnboundedSender<Completion>,
    path: Arc<dyn FirmwareMailbox>,
    /// Nobody else puts anything there.
    putting: Arc<OwnedMutexGuard<()>>,
    /// How long it is waited for.
    until: Instant,
}

impl Way {
    /// Puts this there; `None` once it takes too long. It goes on then, nobody puts anything else there before its end, and the daemon is told of that.
    async fn put(&self, wishes: Option<Wishes>, known: u64) -> Option<Result<Seen, hal::Error>> {
        let (path, putting) = (Arc::clone(&self.path), Arc::clone(&self.putting));
        let (host, back) = (self.index, self.back.clone());
        let (tell, mut told) = oneshot::channel();
        tokio::spawn(async move {
            let id = wishes.as_ref().map(|wishes| wishes.id.clone());
            let put = answered(path.patience(), path.put(wishes, known)).await;
            // Nobody waits for it any more.
            if let Err(late) = tell.send(put) {
                let seen = late.map(Box::new).map_err(Box::new);
                let _ = back.send(Completion::FirmwarePut { host, asked: known, seen, put: id });
            }
            // Who puts something there next knows how this went.
            drop(putting);
        });
        if let Ok(put) = timeout_at(self.until, &mut told).await {
            return put.ok();
        }
        // What has come by now counts here; what comes from now on is told to the daemon.
        told.close();
        told.try_recv().ok()
    }
}

/// Puts what is stored into a mailbox that has answered, as far as it takes it in time. What a boot turns out to have taken meanwhile is stored as well; what
/// fails of this is done by the next look.
async fn give(way: &Way, bucket: &ipc::Bucket, asked: &Asked, mut shown: Shown, carried: &mut Carried) {
    let host = asked.host.as_str();
    for _ in 0..STEPS {
        let Some((_, found)) = carried.seen.last() else { return };
        match host_firmware::next(firmware::wishes(&carried.record), &carried.record.superseded, found) {
            Next::Nothing => return,
            Next::Over(applied) => {
                let mut record = carried.record.clone();
                let fresh = wire::new_op().to_string();
                let report = shown.report.as_deref();
                let taken = firmware::take(&mut record, &applied, report, asked.at, fresh);
                let Some(taken) = taken else { return };
                let stored =
                    bucket.commit(&firmware::key(host), &Json(record.clone()), carried.revision).await;
                match stored {
                    Ok(revision) => carried.revision = Some(revision),
                    Err(error) => {
                        tracing::warn!(host, error = %service::ErrorChain(&error), "cannot store that boot took firmware settings");
                        return;
                    }
                }
                carried.is_untold |= firmware::wishes(&record) != firmware::wishes(&carried.record);
                carried.record = record;
                carried.taken_since.push(taken);
            }
            Next::Put(wishes) => {
                let known = shown.known;
                let id = wishes.as_ref().map(|wishes| wishes.id.clone());
                carried.is_untold &= wishes.is_none();
                match way.put(wishes, known).await {
                    // Whether it is there the next look says.
                    None => {
                        tracing::debug!(host, "firmware mailbox too slow for a request: put goes on");
                        return;
                    }
                    Some(Ok(found)) => {
                        shown.note(known, &found);
                        let is_shown = found.wishes == id;
                        carried.seen.push((known, found));
                        if !is_shown {
                            tracing::warn!(
                                host,
                                "firmware mailbox of host does not show what is wished: trying again"
                            );
                            carried.is_refused = true;
                            return;
                        }
                    }
                    Some(Err(error)) => {
                        tracing::warn!(host, error = %service::ErrorChain(&error), "host not told yet what is wished of its firmware");
                        carried.is_refused = true;
                        return;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_the_hosts_that_do_not_fit_and_those_nobody_knows() {
        let firmware = |name: &str, bytes: usize| {
            let attribute = v1::FirmwareAttribute { help: "x".repeat(bytes), ..Default::default() };
            v1::HostFirmware { host_name: name.into(), attributes: vec![attribute], ..Default::default() }
        };
        let hosts = || {
            [
                ("a", Ok(firmware("a", 600))),
                ("b", Ok(firmware("b", 600))),
                ("c", Err(Status::unavailable("the mailbox has not answered"))),
                ("d", Err(Status::not_found("it has not reported"))),
                ("e", Ok(firmware("e", 100))),
            ]
            .into_iter()
        };
        let names = |list: &v1::ListHostFirmwareResponse| -> Vec<String> {
            list.firmware.iter().map(|one| one.host_name.clone()).collect()
        };
        let list = listed(hosts(), 1_000);
        assert_eq!(
            (names(&list), &list.left_out, &list.unknown),
            (vec!["a".into(), "e".into()], &vec!["b".to_owned()], &vec!["c".to_owned()])
        );
        assert!(list.encoded_len() < 1_100);
        let list = listed(hosts(), LIST_BYTES);
        assert_eq!((names(&list).len(), list.left_out.len(), list.unknown.len()), (3, 0, 1));
    }
}
