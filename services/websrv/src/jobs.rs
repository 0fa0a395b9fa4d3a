//! What is collected of diagnostic data, and was: the jobs and their archives, in memory.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use ipc::Status;
use redfish::Collected;

/// Archives that are kept.
pub(crate) const KEPT: usize = 2;
/// Of jobs that came to nothing it is told so long.
pub(crate) const TOLD: usize = 4;

/// What is collected, and was.
#[derive(Debug, Default)]
pub(crate) struct Jobs(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    last: u64,
    /// The last first.
    jobs: VecDeque<(Collected, Option<Bytes>)>,
}

impl Jobs {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more, and its name.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` while one goes on.
    pub(crate) fn begin(&self, username: &str) -> Result<String, Status> {
        let mut table = self.table();
        if table.jobs.iter().any(|(job, _)| job.ended.is_none()) {
            return Err(Status::resource_exhausted("diagnostic data is being collected").with_reason("BUSY"));
        }
        table.last += 1;
        // Another start of the daemon begins to count anew.
        let (began, id) = (now(), format!("collect-{:x}-{}", now(), table.last));
        let job = Collected { id: id.clone(), username: username.to_owned(), began, ..Collected::default() };
        table.jobs.push_front((job, None));
        let archives = table.jobs.iter().skip(1).filter(|(job, _)| job.bytes.is_some()).count();
        if archives >= KEPT
            && let Some(at) = table.jobs.iter().rposition(|(job, _)| job.bytes.is_some())
        {
            table.jobs.remove(at);
        }
        table.jobs.truncate(TOLD);
        Ok(id)
    }

    pub(crate) fn change(&self, id: &str, change: impl FnOnce(&mut Collected, &mut Option<Bytes>)) {
        if let Some((job, archive)) = self.table().jobs.iter_mut().find(|(job, _)| job.id == id) {
            change(job, archive);
        }
    }

    /// All of them, the last first.
    pub(crate) fn all(&self) -> Vec<Collected> {
        self.table().jobs.iter().map(|(job, _)| job.clone()).collect()
    }

    /// The archive of one.
    pub(crate) fn archive(&self, id: &str) -> Option<Bytes> {
        self.table().jobs.iter().find(|(job, _)| job.id == id).and_then(|(_, archive)| archive.clone())
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or_default()
}
