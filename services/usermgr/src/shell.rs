//! The loop: carries events in and actions out.

use std::collections::HashMap;
use std::pin::Pin;
use std::time::{Duration, UNIX_EPOCH};

use auth::{Account, Accounts, PasswordHash, Session, UnixMillis};
use ipc::{Bucket, Request, StateError, Status};
use service::{Clock, Context, Kit};
use tokio::task::JoinSet;
use units::Millis;

use crate::boot::{self, First};
use crate::config::{Config, Limits};
use crate::error::Error;
use crate::machine::{Action, Caller, Event, Machine, Now, Ticket, WorkId, Write};
use crate::record::{SessionRecord, UserRecord};
use crate::work::Done;
use crate::{NAME, SERVICES, SESSIONS, USERS, wire};

/// Deadline of a request that comes without one.
const DEADLINE: Duration = Duration::from_secs(10);
/// Requests in work at once. Each is bounded by the bus's payload limit; more than this is refused at once, so that memory stays
/// bounded (I-6) and waiting answers still come.
const TICKETS_MAX: usize = 1024;
/// Time a clean shutdown may take for its last writes, of the 2 s it has in all.
const LAST_WRITES: Duration = Duration::from_secs(1);
/// A batch that the bus has not confirmed by then is taken for failed, and written again.
const WRITE_DEADLINE: Duration = Duration::from_secs(5);

type Storing = Pin<Box<dyn Future<Output = Result<(), Status>> + Send>>;

/// The two buckets.
#[derive(Debug, Clone)]
struct Store {
    users: Bucket,
    sessions: Bucket,
}

impl Store {
    async fn open(bus: &ipc::Client) -> Result<Self, StateError> {
        Ok(Self { users: bus.bucket(USERS).await?, sessions: bus.bucket(SESSIONS).await? })
    }

    async fn write(&self, write: &Write) -> Result<(), StateError> {
        match write {
            Write::PutUser(account) => {
                self.users.put(account.id.as_str(), &UserRecord::from(&**account)).await.map(drop)
            }
            Write::DeleteUser(id) => self.users.delete(id.as_str()).await,
            Write::PutSession(session) => {
                self.sessions.put(session.id.as_str(), &SessionRecord::from(&**session)).await.map(drop)
            }
            Write::DeleteSession(id) => self.sessions.delete(id.as_str()).await,
        }
    }

    async fn write_all(self, writes: Vec<Write>) -> Result<(), Status> {
        let all = async {
            for write in &writes {
                self.write(write).await?;
            }
            Ok::<(), StateError>(())
        };
        match tokio::time::timeout(WRITE_DEADLINE, all).await {
            Ok(result) => result.map_err(Status::from),
            Err(_) => Err(Status::unavailable("the store does not answer")),
        }
    }

    /// All accounts that can be read, and whether there is no record at all.
    async fn accounts(&self, limit: usize) -> Result<(Accounts, bool), StateError> {
        let mut accounts = Accounts::new(limit);
        let keys = self.users.keys().await?;
        for key in &keys {
            let account = match self.users.get::<UserRecord>(key).await {
                Ok(Some(entry)) => Account::try_from(entry.value).map_err(|error| error.to_string()),
                Ok(None) => continue,
                Err(StateError::Unreadable { source, .. }) => Err(source.to_string()),
                Err(error) => return Err(error),
            };
            match account {
                Ok(account) => accounts.restore(account),
                // Left where it is: a newer release, or a person, may be able to read it.
                Err(error) => tracing::error!(key, error, "a stored user cannot be read and cannot log in"),
            }
        }
        Ok((accounts, keys.is_empty()))
    }

    async fn sessions(&self) -> Result<Vec<Session>, StateError> {
        let mut sessions = Vec::new();
        for key in self.sessions.keys().await? {
            let session = match self.sessions.get::<SessionRecord>(&key).await {
                Ok(Some(entry)) => Session::try_from(entry.value).map_err(|error| error.to_string()),
                Ok(None) => continue,
                Err(StateError::Unreadable { source, .. }) => Err(source.to_string()),
                Err(error) => return Err(error),
            };
            match session {
                Ok(session) => sessions.push(session),
                Err(error) => {
                    tracing::warn!(key, error, "a stored session cannot be read and ends");
                    self.sessions.delete(&key).await?;
                }
            }
        }
        Ok(sessions)
    }
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// [`Error`] when the configuration is wrong or the bus does not serve accounts and sessions.
pub async fn run(context: Context) -> Result<(), Error> {
    let Context { kit, bus } = context;
    let config: Config = kit.config()?;
    let limits = config.limits()?;
    let given = match &config.admin_password_file {
        Some(path) => Some(boot::read_password(path, &limits)?),
        None => None,
    };
    let store = Store::open(&bus).await?;
    let (mut accounts, store_is_empty) = store.accounts(limits.max_users).await?;
    let sessions = store.sessions().await?;

    let wall = wall(&kit.clock);
    let (decoy, first) = {
        let accounts = accounts.clone();
        let decide = move || prepare(&accounts, store_is_empty, given, &limits, wall);
        tokio::task::spawn_blocking(decide).await.map_err(|_| Error::Hash(auth::HashError::Failed))??
    };
    if let Some(First { change, shown }) = first {
        if let Some(account) = change.account() {
            store.write(&Write::PutUser(Box::new(account.clone()))).await?;
        }
        accounts.apply(change);
        if let Some((name, password)) = shown {
            tracing::info!(user = name, "a first-boot password was made and handed to the operator");
            kit.notify.credential(&name, password.expose());
        } else {
            tracing::info!(user = boot::ADMIN, "the first administrator has the password that was given");
        }
    }

    let entropy = Box::new(|bytes: &mut [u8]| getrandom::fill(bytes).is_ok());
    let machine = Machine::new(limits, entropy, decoy, accounts, sessions, now(&kit.clock));
    let shell = Shell {
        machine,
        store,
        bus: bus.clone(),
        kit,
        requests: HashMap::new(),
        next: 0,
        work: JoinSet::new(),
        storing: None,
    };
    Box::pin(shell.run()).await
}

/// The decoy hash and what is to be done about the first administrator. Blocks for up to two hashes.
fn prepare(
    accounts: &Accounts,
    store_is_empty: bool,
    given: Option<auth::Password>,
    limits: &Limits,
    wall: UnixMillis,
) -> Result<(PasswordHash, Option<First>), Error> {
    let nobody = auth::token::readable_secret(boot::random()?);
    let decoy = PasswordHash::new(&nobody, boot::random()?, limits.cost)?;
    let first = boot::first_administrator(accounts, store_is_empty, given, limits.cost, wall)?;
    Ok((decoy, first))
}

struct Shell {
    machine: Machine,
    store: Store,
    bus: ipc::Client,
    kit: Kit,
    requests: HashMap<Ticket, Request>,
    next: Ticket,
    work: JoinSet<(WorkId, Done)>,
    storing: Option<Storing>,
}

impl Shell {
    async fn run(mut self) -> Result<(), Error> {
        let mut requests = self.bus.serve(SERVICES).await.map_err(Error::Serve)?;
        let mut heartbeat = self.kit.heartbeat();
        let mut shutdown = self.kit.shutdown.clone();
        let clock = self.kit.clock;
        self.kit.ready();
        loop {
            let deadline = self.machine.deadline();
            let event = tokio::select! {
                biased;
                () = shutdown.wait() => break,
                // Before new requests: finished work frees what they wait for.
                result = stored(&mut self.storing) => {
                    self.storing = None;
                    Event::Written(result)
                }
                Some(done) = self.work.join_next(), if !self.work.is_empty() => match done {
                    Ok((work, done)) => Event::Worked { work, done },
                    // A hash thread that panics takes the process with it (panic = abort); only a shutdown cancels one.
                    Err(_) => continue,
                },
                request = requests.next() => match request {
                    None => return Err(Error::BusClosed),
                    Some(request) => match self.accept(request).await {
                        Some(event) => event,
                        None => continue,
                    },
                },
                () = clock.sleep_until(deadline) => Event::Tick,
                () = heartbeat.tick() => continue,
            };
            self.step(event).await;
        }
        Box::pin(self.stop()).await;
        Ok(())
    }

    /// Decodes a request and keeps it until it is answered.
    async fn accept(&mut self, request: Request) -> Option<Event> {
        if self.requests.len() >= TICKETS_MAX {
            request.fail(Status::resource_exhausted("usermgr has too many requests at once")).await;
            return None;
        }
        let call = match wire::call(&request.service, &request.method, &request.payload) {
            Ok(call) => call,
            Err(status) => {
                request.fail(status).await;
                return None;
            }
        };
        let budget = request.context.remaining().unwrap_or(DEADLINE);
        let budget = Millis::new(u64::try_from(budget.as_millis()).unwrap_or(u64::MAX));
        let caller = Box::new(Caller {
            principal: request.context.principal.clone(),
            deadline: self.kit.clock.now().saturating_add(budget),
            request_id: request.context.request_id.clone(),
        });
        tracing::debug!(
            service = request.service,
            method = request.method,
            request_id = request.context.request_id,
            "request"
        );
        let ticket = self.next;
        self.next += 1;
        self.requests.insert(ticket, request);
        Some(Event::Request { ticket, call, caller })
    }

    async fn step(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.machine.step(now(&self.kit.clock), event, &mut actions);
        for action in actions {
            match action {
                Action::Answer(ticket, result) => {
                    let Some(request) = self.requests.remove(&ticket) else { continue };
                    match result {
                        Ok(bytes) => request.reply_bytes(bytes.into()).await,
                        Err(status) => request.fail(status).await,
                    }
                }
                Action::Work(id, work) => {
                    self.work.spawn_blocking(move || (id, work.run()));
                }
                Action::Write(writes) => {
                    self.storing = Some(Box::pin(self.store.clone().write_all(writes)));
                }
                Action::Publish(event) => {
                    if let Err(error) = self.bus.publish_event(&event).await {
                        tracing::warn!(%error, "an event was not published");
                    }
                }
            }
        }
    }

    /// Lets the batch under way end, and stores the times of last use, so that sessions come back as they were.
    async fn stop(mut self) {
        let rest = async {
            if self.storing.is_some() {
                let result = stored(&mut self.storing).await;
                self.storing = None;
                self.step(Event::Written(result)).await;
            }
            let writes = self.machine.last_writes(now(&self.kit.clock));
            self.store.clone().write_all(writes).await
        };
        match tokio::time::timeout(LAST_WRITES, rest).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the times of last use were not stored"),
            Err(_) => tracing::warn!("the store did not take the last writes in time"),
        }
        let stopping = Status::unavailable(format!("{NAME} is stopping"));
        for (_, request) in self.requests.drain() {
            request.fail(stopping.clone()).await;
        }
    }
}

async fn stored(storing: &mut Option<Storing>) -> Result<(), Status> {
    match storing {
        Some(storing) => storing.await,
        None => std::future::pending().await,
    }
}

fn now(clock: &Clock) -> Now {
    Now { mono: clock.now(), wall: wall(clock) }
}

fn wall(clock: &Clock) -> UnixMillis {
    let since: Duration = clock.wall().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
