//! The three buckets, and what became of a write.
//!
//! Each write of an account names the revision it replaces, so that one which comes late, after its caller was told that it did not
//! happen, changes nothing. When an answer fails to come, or is an error, the revision decides what is true ([`Store::resolve`]).
//! Sessions are written without: their ids are never used again, and each record is the only one there will be.
//!
//! Where the store says that it has lost values of keys it does not know ([`LOST_KEY`]), any record stored before that may be an older one
//! come to light again: of an account that was deleted, disabled or got another password since, of a session that was ended. Such accounts
//! are disabled until an administrator or the recovery password enables them, and such sessions end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use auth::{Account, Accounts, CustomRole, Privileges, Roles, Session};
use ipc::LOST_KEY;
use ipc::{Bucket, StateError, Status};
use tokio::time::{Instant, timeout, timeout_at};

use crate::machine::{Outcome, Write};
use crate::record::{RoleRecord, SessionRecord, UserRecord};
use crate::{ROLES, SESSIONS, USERS};

/// Markers of deleted keys that are removed in one go; earlier releases left one for each session that ended.
const SWEEP_MOST: usize = 512;
/// Pause between two of these.
const SWEEP_PAUSE: Duration = Duration::from_secs(10);

/// The accounts of the store.
pub(crate) struct Found {
    pub(crate) accounts: Accounts,
    /// Keys of records that are no accounts.
    pub(crate) unreadable: Vec<String>,
    /// There is no record at all, not even of a loss.
    pub(crate) is_empty: bool,
    /// Records were lost whose keys are not known.
    pub(crate) lost: bool,
}

/// What is said of a record that may be an older one.
const MAY_BE_OLDER: &str = "later records were lost, and a change or the end of this one may be among them";

/// The three buckets.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    users: Bucket,
    sessions: Bucket,
    roles: Bucket,
    /// What each account's and role's key is at, of which no two are alike: the one begins with a digit, the other with a letter. One that is
    /// missing has to be asked for.
    revisions: Arc<Mutex<HashMap<String, u64>>>,
}

impl Store {
    pub(crate) async fn open(bus: &ipc::Client) -> Result<Self, StateError> {
        let (users, sessions) = (bus.bucket(USERS).await?, bus.bucket(SESSIONS).await?);
        let roles = bus.bucket(ROLES).await?;
        Ok(Self { users, sessions, roles, revisions: Arc::default() })
    }

    /// All accounts that can be read.
    pub(crate) async fn accounts(&self, limit: usize) -> Result<Found, StateError> {
        let mut accounts = Accounts::new(limit);
        let mut unreadable = Vec::new();
        let found = self.users.all::<UserRecord>().await?;
        let is_empty = found.is_empty();
        let lost = self.users.lost_at().await?;
        for (key, read) in found.into_iter().filter(|(key, _)| key != LOST_KEY) {
            let account = match read {
                Ok(entry) => {
                    self.note(&key, entry.revision);
                    let may_be_older = lost.is_some_and(|at| entry.revision < at);
                    let mut account = Account::try_from(entry.value).map_err(|error| error.to_string());
                    // Disabled until an administrator says what it is to be, or the recovery password does; what is stored stays.
                    if let (true, Ok(account)) = (may_be_older, &mut account) {
                        account.enabled = false;
                        tracing::error!(key, user = %account.name, error = MAY_BE_OLDER, "stored user disabled");
                        unreadable.push(key.clone());
                    }
                    account
                }
                Err(StateError::Unreadable { source, .. }) => Err(source.to_string()),
                Err(StateError::NotRead { why, .. }) => Err(why),
                Err(error) => return Err(error),
            };
            match account {
                // The key is what is written to and deleted.
                Ok(account) if account.id.as_str() == key => accounts.restore(account),
                Ok(account) => {
                    tracing::error!(key, id = account.id.as_str(), "stored user has wrong key");
                    unreadable.push(key.clone());
                }
                // Left where it is: a newer release, or a person, may be able to read it.
                Err(error) => {
                    tracing::error!(key, error, "cannot read stored user: login disabled");
                    unreadable.push(key.clone());
                }
            }
        }
        Ok(Found { accounts, unreadable, is_empty, lost: lost.is_some() })
    }

    /// All roles that can be read. Whoever has another one may do nothing until it is made again; and so for one that may be older than what was
    /// lost, until what it allows is set again.
    pub(crate) async fn roles(&self) -> Result<Roles, StateError> {
        let mut roles = Roles::default();
        let found = self.roles.all::<RoleRecord>().await?;
        let lost = self.roles.lost_at().await?;
        for (key, read) in found.into_iter().filter(|(key, _)| key != LOST_KEY) {
            let role = match read {
                Ok(entry) => {
                    self.note(&key, entry.revision);
                    let may_be_older = lost.is_some_and(|at| entry.revision < at);
                    let mut role = CustomRole::try_from(entry.value).map_err(|error| error.to_string());
                    if let (true, Ok(role)) = (may_be_older, &mut role) {
                        role.privileges = Privileges::NONE;
                        tracing::error!(
                            key,
                            error = MAY_BE_OLDER,
                            "stored role allows nothing until it is set again"
                        );
                    }
                    role
                }
                Err(StateError::Unreadable { source, .. }) => Err(source.to_string()),
                Err(StateError::NotRead { why, .. }) => Err(why),
                Err(error) => return Err(error),
            };
            match role {
                Ok(role) if role.name.name() == key => roles.restore(role),
                Ok(_) => tracing::error!(key, "stored role has wrong key"),
                Err(error) => {
                    tracing::error!(key, error, "cannot read stored role: its accounts may do nothing");
                }
            }
        }
        Ok(roles)
    }

    pub(crate) async fn sessions(&self) -> Result<Vec<Session>, StateError> {
        let mut sessions = Vec::new();
        let found = self.sessions.all::<SessionRecord>().await?;
        let lost = self.sessions.lost_at().await?;
        for (key, read) in found.into_iter().filter(|(key, _)| key != LOST_KEY) {
            let session = match read {
                Ok(entry) if lost.is_some_and(|at| entry.revision < at) => Err(MAY_BE_OLDER.to_owned()),
                Ok(entry) => Session::try_from(entry.value).map_err(|error| error.to_string()),
                Err(StateError::Unreadable { source, .. }) => Err(source.to_string()),
                Err(StateError::NotRead { why, .. }) => Err(why),
                Err(error) => return Err(error),
            };
            match session {
                Ok(session) if session.id.as_str() == key => sessions.push(session),
                Ok(_) => self.end_unreadable(&key, "it is under another's key").await,
                Err(error) => self.end_unreadable(&key, &error).await,
            }
        }
        Ok(sessions)
    }

    /// A store that takes nothing does not keep the daemon down for it.
    async fn end_unreadable(&self, key: &str, why: &str) {
        tracing::warn!(key, error = why, "cannot read stored session: ended");
        if let Err(error) = self.sessions.remove(key).await {
            tracing::warn!(key, %error, "cannot delete unreadable session from store");
        }
    }

    /// Stores these in order, and says what became of the first that fails.
    pub(crate) async fn write_all(self, writes: Vec<Write>, patience: Duration) -> Outcome {
        let until = Instant::now() + patience;
        for (at, write) in writes.into_iter().enumerate() {
            let failed = match timeout_at(until, self.write(&write)).await {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => status(error),
                Err(_) => Status::unavailable("the store does not answer"),
            };
            if at > 0 {
                self.doubt(&write);
                return Outcome::Partly { stored: at, status: failed };
            }
            return match timeout_at(until, self.look(&write)).await {
                Ok(Ok(true)) => Outcome::Stored,
                Ok(Ok(false)) => Outcome::Refused(failed),
                Ok(Err(_)) | Err(_) => Outcome::Unknown(failed),
            };
        }
        Outcome::Stored
    }

    /// Finds out what became of a write.
    pub(crate) async fn resolve(self, write: Write, patience: Duration) -> Outcome {
        match timeout(patience, self.look(&write)).await {
            Ok(Ok(true)) => Outcome::Stored,
            Ok(Ok(false)) => Outcome::Refused(Status::unavailable("the store did not take it")),
            Ok(Err(error)) => Outcome::Unknown(status(error)),
            Err(_) => Outcome::Unknown(Status::unavailable("the store does not answer")),
        }
    }

    async fn write(&self, write: &Write) -> Result<(), StateError> {
        match write {
            Write::PutUser(account) => {
                let key = account.id.as_str();
                let at = match self.noted(key) {
                    Some(at) => at,
                    None => self.users.revision(key).await?,
                };
                // Until it is known what became of this.
                self.forget(key);
                let record = UserRecord::from(&**account);
                let revision = self.users.update(key, &record, at).await?;
                self.note(key, revision);
                Ok(())
            }
            Write::DeleteUser(id) => {
                self.forget(id.as_str());
                self.users.remove(id.as_str()).await
            }
            Write::PutSession(session) => {
                self.sessions.put(session.id.as_str(), &SessionRecord::from(&**session)).await.map(drop)
            }
            Write::DeleteSession(id) => self.sessions.remove(id.as_str()).await,
            Write::PutRole(role) => {
                let key = role.name.name();
                let at = match self.noted(key) {
                    Some(at) => at,
                    None => self.roles.revision(key).await?,
                };
                self.forget(key);
                let revision = self.roles.update(key, &RoleRecord::from(&**role), at).await?;
                self.note(key, revision);
                Ok(())
            }
            Write::DeleteRole(name) => {
                self.forget(name.name());
                self.roles.remove(name.name()).await
            }
        }
    }

    /// Whether a write is in the store. What is not by now never will be.
    async fn look(&self, write: &Write) -> Result<bool, StateError> {
        match write {
            Write::PutUser(account) => {
                let key = account.id.as_str();
                let revision = self.users.revision(key).await?;
                let entry = match self.users.get::<UserRecord>(key).await {
                    Ok(entry) => entry,
                    Err(StateError::Unreadable { .. }) => None,
                    Err(error) => return Err(error),
                };
                self.note(key, revision);
                Ok(entry.is_some_and(|entry| entry.value == UserRecord::from(&**account)))
            }
            Write::DeleteUser(id) => {
                let revision = self.users.revision(id.as_str()).await?;
                self.note(id.as_str(), revision);
                Ok(revision == 0)
            }
            Write::PutSession(session) => {
                self.sessions.revision(session.id.as_str()).await.map(|revision| revision > 0)
            }
            Write::DeleteSession(id) => {
                self.sessions.revision(id.as_str()).await.map(|revision| revision == 0)
            }
            Write::PutRole(role) => {
                let key = role.name.name();
                let revision = self.roles.revision(key).await?;
                let entry = match self.roles.get::<RoleRecord>(key).await {
                    Ok(entry) => entry,
                    Err(StateError::Unreadable { .. }) => None,
                    Err(error) => return Err(error),
                };
                self.note(key, revision);
                Ok(entry.is_some_and(|entry| entry.value == RoleRecord::from(&**role)))
            }
            Write::DeleteRole(name) => {
                let revision = self.roles.revision(name.name()).await?;
                self.note(name.name(), revision);
                Ok(revision == 0)
            }
        }
    }

    /// Removes what earlier releases left in the buckets, until nothing is left.
    pub(crate) async fn sweep(self) {
        for bucket in [&self.sessions, &self.users, &self.roles] {
            loop {
                match bucket.sweep(SWEEP_MOST).await {
                    Ok(0) => break,
                    Ok(count) => {
                        tracing::info!(bucket = bucket.name(), count, "removed delete markers from store");
                        tokio::time::sleep(SWEEP_PAUSE).await;
                    }
                    Err(error) => {
                        tracing::warn!(bucket = bucket.name(), %error, "cannot remove delete markers from store: retrying at next start");
                        break;
                    }
                }
            }
        }
    }

    fn map(&self) -> std::sync::MutexGuard<'_, HashMap<String, u64>> {
        self.revisions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn noted(&self, key: &str) -> Option<u64> {
        self.map().get(key).copied()
    }

    fn note(&self, key: &str, revision: u64) {
        if revision == 0 {
            self.map().remove(key);
        } else {
            self.map().insert(key.to_owned(), revision);
        }
    }

    fn forget(&self, key: &str) {
        self.map().remove(key);
    }

    /// Nobody knows what a write that failed left behind.
    fn doubt(&self, write: &Write) {
        match write {
            Write::PutUser(account) => self.forget(account.id.as_str()),
            Write::PutRole(role) => self.forget(role.name.name()),
            _ => {}
        }
    }
}

/// The error with all its causes: a client who is refused is told why.
fn status(error: StateError) -> Status {
    let message = service::ErrorChain(&error).to_string();
    Status { message, ..Status::from(error) }
}
