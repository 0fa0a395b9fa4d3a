//! Diagnostic data: what the daemons answer, as JSON in an archive, for who looks for a fault and is not there. It is collected beside all else, as who asked
//! for it, and kept in memory.
//!
//! ```text
//!  LogService.CollectDiagnosticData ─► Jobs::begin ─► each method of METHODS through the gate ─► redacted ─► tar, gzip ─► Jobs::end ─► an entry of a log
//! ```
//!
//! It must never hold a secret: only methods that are named here are asked, and of their answers fields that the contract calls secret are emptied.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use gate::{Caller, Origin};
use ipc::{CallContext, EventBuilder, Status};
use prost::Message as _;
use prost_reflect::DynamicMessage;
use schema::v1alpha1::{EventSeverity, ListEventsRequest, TaskChange, TaskChangeKind, event::Payload};

use crate::call::Call;
use crate::gateway::Gateway;
use crate::jobs::{Jobs, now};
use crate::json;

/// What is asked. None of it names accounts' credentials, keys or sessions.
const METHODS: [&str; 21] = [
    "rpc.SystemService.GetSystemInfo",
    "rpc.SystemService.ListDaemons",
    "rpc.ManagementControllerService.ListManagementControllers",
    "rpc.HostService.ListHosts",
    "rpc.HostFirmwareService.ListHostFirmware",
    "rpc.ChassisService.ListChassis",
    "rpc.SensorService.ListSensors",
    "rpc.ThermalService.ListThermalZones",
    "rpc.ThermalService.ListCoolingDevices",
    "rpc.LedService.ListLeds",
    "rpc.AssetService.ListAssets",
    "rpc.ConsoleService.ListConsoles",
    "rpc.KvmService.ListScreens",
    "rpc.NetworkService.ListNetworkInterfaces",
    "rpc.IpmiService.GetIpmi",
    "rpc.SshService.GetSsh",
    "rpc.VncService.GetVnc",
    "rpc.RedirectService.GetRedirect",
    "rpc.MediaService.GetMediaSwitch",
    EVENTS,
    RECORDS,
];
/// The newest events, and the newest records of requests, which the same method answers.
const EVENTS: &str = "rpc.EventService.ListEvents";
const RECORDS: &str = "audit";
/// Events that are asked for.
const EVENTS_MAX: u32 = 500;
/// How long a daemon is waited for.
const WITHIN: Duration = Duration::from_secs(5);
/// What of one answer is taken, bytes of JSON; a longer one is cut, which is said in its name.
const ANSWER_MAX: usize = 512 * 1024;
/// What an archive may take in memory, bytes; what is left then is left out.
const ARCHIVE_MAX: usize = 1024 * 1024;

/// Ends a job whatever becomes of it.
struct Ending {
    jobs: Arc<Jobs>,
    id: String,
    archive: Option<Bytes>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let made = self.archive.take();
        self.jobs.change(&self.id, |job, archive| {
            job.ended = Some(now());
            job.percent = 100;
            job.bytes = made.as_ref().map(|made| made.len() as u64);
            *archive = made;
        });
    }
}

impl Gateway {
    /// Begins to collect, as the caller; its name.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` while one goes on.
    pub(crate) fn collect_data(self: &Arc<Self>, call: &Call) -> Result<String, Status> {
        let caller = call.caller.clone().ok_or_else(|| Status::unauthenticated("log in first"))?;
        let jobs = Arc::clone(&self.site.diagnostics);
        let id = jobs.begin(&caller.principal.username)?;
        let ending = Ending { jobs: Arc::clone(&jobs), id: id.clone(), archive: None };
        let (gateway, peer) = (Arc::clone(self), call.conn.peer());
        let (task, request_id) = (id.clone(), call.context().request_id);
        tokio::spawn(async move {
            let by = (caller.principal.username.clone(), request_id);
            gateway.tell_task(&task, TaskChangeKind::Started, &by).await;
            let gathering = tokio::spawn(Arc::clone(&gateway).gather(caller, peer.into(), ending));
            // It ends, and that is told, whatever becomes of it.
            let _ = gathering.await;
            let is_made = jobs.archive(&task).is_some();
            let kind = if is_made { TaskChangeKind::Completed } else { TaskChangeKind::Failed };
            gateway.tell_task(&task, kind, &by).await;
        });
        Ok(id)
    }

    /// Tells that diagnostic data begins to be collected, or no longer is; `by` are the account and its request.
    async fn tell_task(&self, id: &str, kind: TaskChangeKind, (username, request_id): &(String, String)) {
        let (what, severity, text) = match kind {
            TaskChangeKind::Started => ("begun", EventSeverity::Info, "is being collected"),
            TaskChangeKind::Completed => ("ended", EventSeverity::Info, "was collected"),
            _ => ("ended", EventSeverity::Warning, "could not be collected"),
        };
        let name = "Diagnostic data".to_owned();
        let change = TaskChange { task_id: id.to_owned(), kind: kind.into(), name, reason: String::new() };
        let event = EventBuilder::new("websrv", "diagnostics", "bmc", what)
            .severity(severity)
            .message(format!("diagnostic data {text} for {username}"))
            .payload(Payload::TaskChange(change))
            .by(username, request_id)
            .at(SystemTime::now());
        if let Err(error) = self.bus.publish_event(&event).await {
            tracing::warn!(%error, what, "cannot tell of diagnostic data");
        }
    }

    async fn gather(self: Arc<Self>, caller: Arc<Caller>, peer: gate::Peer, mut ending: Ending) {
        let mut archive = Archive::new(now());
        for (at, name) in (1_usize..).zip(METHODS) {
            let (file, body) = match self.told(name, &caller, peer).await {
                Ok(body) => (format!("{}.json", name.trim_start_matches("rpc.")), body),
                // That it says nothing is what may have been looked for.
                Err(status) => {
                    (format!("{}.error.txt", name.trim_start_matches("rpc.")), status.to_string().into())
                }
            };
            // It takes long enough to keep who is served by this thread waiting.
            let packing = tokio::task::spawn_blocking(move || {
                archive.add(&file, &body);
                archive
            });
            let Ok(packed) = packing.await else { return };
            archive = packed;
            let percent = u8::try_from(at * 100 / METHODS.len()).unwrap_or(100).min(99);
            ending.jobs.change(&ending.id, |job, _| job.percent = percent);
        }
        ending.archive = archive.finish();
    }

    /// What one method answers, without what is secret.
    async fn told(&self, name: &str, caller: &Arc<Caller>, peer: gate::Peer) -> Result<Bytes, Status> {
        let subject = if name == RECORDS { EVENTS } else { name };
        let method =
            schema::method(subject).ok_or_else(|| Status::internal("the contract has no such method"))?;
        let domain = if name == RECORDS { RECORDS.to_owned() } else { String::new() };
        let request = match subject {
            EVENTS => {
                ListEventsRequest { domain, page_size: EVENTS_MAX, ..Default::default() }.encode_to_vec()
            }
            _ => Vec::new(),
        };
        let admitted = gate::authorise(method, Some(Arc::clone(caller)))?;
        let message = DynamicMessage::decode(method.input(), request.as_slice())
            .map_err(|error| Status::internal(error.to_string()))?;
        let (checked, _) = admitted.check(message, None, &Origin { peer, user_agent: "" })?;
        let answer = self.gate.forward(checked, CallContext::new().with_timeout(WITHIN)).await?;
        let mut answer = DynamicMessage::decode(method.output(), answer)
            .map_err(|error| Status::internal(error.to_string()))?;
        schema::redact(&mut answer);
        json::encode(&answer)
    }
}

/// An archive in the making.
struct Archive {
    files: tar::Builder<GzEncoder<Vec<u8>>>,
    /// When all of it is from, seconds of Unix time.
    mtime: u64,
}

impl Archive {
    fn new(mtime: i64) -> Self {
        let packed = GzEncoder::new(Vec::new(), Compression::default());
        Self { files: tar::Builder::new(packed), mtime: u64::try_from(mtime).unwrap_or(0) }
    }

    /// One file more. What would make it larger than it may be is left out.
    fn add(&mut self, name: &str, body: &[u8]) {
        let (name, body) = match body.get(..ANSWER_MAX) {
            Some(part) if part.len() < body.len() => (format!("{name}.cut"), part),
            _ => (name.to_owned(), body),
        };
        if self.files.get_ref().get_ref().len() > ARCHIVE_MAX {
            return;
        }
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o600);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(self.mtime);
        header.set_size(body.len() as u64);
        // Into memory, with a name that was made here: nothing refuses it.
        let _ = self.files.append_data(&mut header, name, body);
    }

    /// The whole; `None` for one that cannot be, or is too large.
    fn finish(self) -> Option<Bytes> {
        let whole = self.files.into_inner().ok()?.finish().ok()?;
        (whole.len() <= 2 * ARCHIVE_MAX).then(|| whole.into())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::jobs::{KEPT, TOLD};

    #[test]
    fn one_is_collected_at_a_time_and_the_last_ones_stay() {
        let jobs = Arc::new(Jobs::default());
        let end = |id: &str, archive: Option<Bytes>| {
            drop(Ending { jobs: Arc::clone(&jobs), id: id.to_owned(), archive });
        };
        for nth in 0..6 {
            let id = jobs.begin("ann").unwrap();
            assert!(jobs.begin("bob").is_err());
            end(&id, (nth != 1).then(|| Bytes::from_static(b"x")));
            let archives = jobs.all().iter().filter(|job| job.bytes.is_some()).count();
            assert!(archives <= KEPT + 1 && jobs.all().len() <= TOLD, "{:?}", jobs.all());
            assert_eq!(jobs.archive(&id).is_some(), nth != 1);
        }
        let ids: std::collections::HashSet<String> = jobs.all().into_iter().map(|job| job.id).collect();
        assert_eq!(ids.len(), jobs.all().len());
    }

    #[test]
    fn an_archive_is_read_by_tar_and_bounded() {
        let mut archive = Archive::new(1_790_000_000);
        archive.add("a.json", b"{\"a\":1}");
        archive.add("long.json", &vec![b' '; ANSWER_MAX + 1]);
        let whole = archive.finish().unwrap();
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&whole[..]).read_to_end(&mut plain).unwrap();
        assert!(plain.ends_with(&[0; 1024]), "two blocks of nothing end it");
        let mut read = tar::Archive::new(&plain[..]);
        let files: Vec<(String, Vec<u8>)> = read
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let (name, head) = (entry.path().unwrap().display().to_string(), entry.header());
                let owner = (head.uid().unwrap(), head.gid().unwrap(), head.mode().unwrap());
                assert_eq!((owner, head.mtime().unwrap()), ((0, 0, 0o600), 1_790_000_000), "{name}");
                assert!(head.as_ustar().is_some() && head.entry_type().is_file(), "{name}");
                let mut body = Vec::new();
                entry.read_to_end(&mut body).unwrap();
                (name, body)
            })
            .collect();
        let cut = vec![b' '; ANSWER_MAX];
        let wanted = [("a.json".to_owned(), b"{\"a\":1}".to_vec()), ("long.json.cut".to_owned(), cut)];
        // Not by `assert_eq!`, which would print half a megabyte.
        assert!(
            files == wanted,
            "{:?}",
            files.iter().map(|(name, body)| (name, body.len())).collect::<Vec<_>>()
        );
    }
}
