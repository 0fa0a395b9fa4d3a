//! The loop: carries events in and actions out.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use auth::{Accounts, PasswordHash, Role, UnixMillis, UserId};
use ipc::{Outbox, Request, Status};
use schema::server::{Call as _, UsermgrCall};
use service::{Clock, Context, LocalContext};
use tokio::task::{JoinHandle, JoinSet};
use units::{Lasting, Millis};

use crate::NAME;
use crate::boot::{self, First};
use crate::config::{Config, Limits};
use crate::error::Error;
use crate::known_file;
use crate::lockout_file::LockoutFile;
use crate::log;
use crate::machine::{
    Action, Caller, Chosen, Encoded, Event, Kept, Machine, Now, Numbered, Outcome, TicketId, WorkId, Write,
    wire,
};
use crate::policy_file::{self, Before, Saved};
use crate::secret::{GONE, LOST, Secrets};
use crate::store::Store;
use crate::work::Done;

/// Deadline of a request that comes without one.
const DEADLINE: Duration = Duration::from_secs(10);
/// Requests in work at once. Each is bounded by the bus's payload limit; more than this is refused at once, so that memory stays
/// bounded (I-6) and waiting answers still come.
const TICKETS_MAX: usize = 1024;
/// Time a clean shutdown may take for its last writes, of the 2 s it has in all.
const LAST_WRITES: Duration = Duration::from_secs(1);
/// Time a clean shutdown may take until its last answers have left.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Time the question takes at most what became of a write.
const RESOLVE_PATIENCE: Duration = Duration::from_secs(5);

type Storing = Pin<Box<dyn Future<Output = Outcome> + Send>>;
type Remembering = JoinHandle<io::Result<()>>;

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// [`Error`] when the configuration is wrong or the bus does not serve accounts and sessions.
pub async fn run(context: Context) -> Result<(), Error> {
    let Context { local, bus } = context;
    let config: Config = local.config()?;
    let configured = config.limits()?;
    let (chosen, limits, before_policy) = policy(&local, &config, configured);
    let store = Store::open(&bus).await?;
    let mut found = Box::pin(store.accounts(limits.max_users)).await?;
    let sessions = Box::pin(store.sessions()).await?;
    let roles = Box::pin(store.roles()).await?;
    let recovery = boot::recovery(&local.state_dir, &limits).unwrap_or_else(|error| {
        local.notify.finding(boot::RECOVERY_FILE, &format!("not applied: {}", service::ErrorChain(&error)));
        None
    });

    let made_before = boot::accounts_were_made(&local.state_dir);
    let given = match config.admin_password_file.as_deref().map(|path| boot::read_password(path, &limits)) {
        None => None,
        Some(Ok(password)) => Some(password),
        // It was for the first start. Somebody who has removed it since must not find the accounts closed after a restart of this daemon.
        Some(Err(error)) if made_before || !found.is_empty => {
            tracing::warn!(error = %service::ErrorChain(&error), "initial password file missing or unusable: no longer needed");
            None
        }
        Some(Err(error)) => return Err(error),
    };
    let is_administrator = |account: &auth::Account| account.enabled && account.role == Role::Administrator;
    let has_administrator = found.accounts.list().into_iter().any(is_administrator);
    // Such an account was stored long after the file was made: it was there.
    let has_used = found.accounts.list().into_iter().any(|account| account.last_login.is_some());
    if made_before && (found.is_empty || found.lost && !has_administrator) {
        let file = local.state_dir.join(boot::RECOVERY_FILE);
        let what = format!(
            "the store has lost its accounts: put a new password for admin into {} and restart",
            file.display()
        );
        tracing::error!(path = %file.display(), "user store lost its accounts: put a password in this file to recreate admin");
        local.notify.status(what);
    }
    // A clock that the next process shares: what is counted against guessers is handed on to it.
    let clock = Clock::since_boot();
    let wall = wall(&clock);
    let (decoy, first) = {
        let accounts = found.accounts.clone();
        let new = found.is_empty && !made_before;
        let decide = move || prepare(&accounts, new, given, recovery, &limits, wall);
        tokio::task::spawn_blocking(decide).await.map_err(|_| Error::Hash(auth::HashError::Failed))??
    };
    // Whose password is a new one by now, and whether it is told.
    let mut renewed = None;
    if let Some(First { change, shown, recovered }) = first
        && Box::pin(is_stored(&store, &change, &found.accounts)).await?
    {
        let id = change.account().map(|account| account.id.clone());
        found.accounts.apply(change);
        renewed = id.map(|id| (id, recovered));
        if recovered {
            boot::recovered(&local.state_dir);
        } else if let Some((name, password)) = shown {
            tracing::info!(user = name, "generated initial admin password, sent to operator");
            local.notify.credential(&name, password.expose());
        } else {
            tracing::info!(user = boot::ADMIN, "created admin account with configured password");
        }
    }

    let has_any = !found.is_empty || !found.accounts.is_empty();
    if has_any && !made_before {
        if has_used {
            local.notify.finding(boot::ACCOUNTS_MADE, "it is gone though accounts were in use; made anew");
        }
        boot::remember_accounts(&local.state_dir);
    }

    let entropy = Box::new(|bytes: &mut [u8]| getrandom::fill(bytes).is_ok());
    let lockout_file = LockoutFile::open(&local.run_dir);
    let counted = lockout_file.as_ref().and_then(|file| file.load(limits.lockout.saved_max()));
    let known = known_file::load(&local.state_dir, limits.lockout.known_max());
    let known = known
        .inspect_err(|what| {
            let file = known_file::FILE;
            tracing::warn!(
                file,
                what,
                "cannot use saved known addresses: owners are newcomers until they log in"
            );
            local.notify.finding(
                file,
                &format!(
                    "{what}; made anew: who guesses at an account may delay its owner until the next login"
                ),
            );
        })
        .ok();
    let kept = Kept { counted: counted.as_deref(), known };
    let accounts = found.accounts.list();
    let sealed = accounts.iter().filter_map(|one| Some((one.id.clone(), one.ipmi_secret.clone()?)));
    let sealed: Vec<_> = sealed.collect();
    drop(accounts);
    let machine = Machine::new(limits, entropy, decoy, found.accounts, sessions, kept, now(&clock));
    let secrets = match Secrets::load(&local.state_dir, !sealed.is_empty(), |bytes| {
        getrandom::fill(bytes).is_ok()
    }) {
        Ok((secrets, mut told)) => {
            // With a key that is gone or lost none of them opens, which is told already.
            if told.iter().all(|(_, what)| what != GONE && what != LOST)
                && let Some(what) = secrets.finding(sealed.iter().map(|(id, text)| (id, &text[..])))
            {
                let [name, _] = crate::secret::FILES;
                told.push((name, what));
            }
            for (file, what) in told {
                tracing::warn!(file, what, "key of IPMI passwords is not as it should be");
                local.notify.finding(file, &what);
            }
            Some(secrets)
        }
        Err(error) => {
            let [name, copy] = crate::secret::FILES;
            let file = local.state_dir.join(name);
            let way = format!(
                "no login over IPMI until one of them is given by the medium, or read by the release that wrote it. If that is never again, remove {0}/{name} and {0}/{copy} from the state folder, restart the controller and set the passwords of IPMI accounts again; a factory reset does that and more",
                crate::NAME
            );
            local.notify.finding(name, &format!("neither it nor its copy can be used ({error}): {way}"));
            tracing::error!(path = %file.display(), %error, "cannot use the key of IPMI passwords: no login over IPMI");
            local.notify.status(format!("{}/{name} cannot be used ({error}): {way}", crate::NAME));
            None
        }
    };
    let machine = machine.with_secrets(secrets).with_policy(config.clone(), chosen).with_roles(roles);
    let machine = if before_policy == Before::Read { machine.with_unread_policy() } else { machine };
    let (outbox, sender) = Outbox::new(bus.clone());
    let shell = Shell {
        machine,
        store,
        bus: bus.clone(),
        outbox,
        local,
        clock,
        lockout_file,
        requests: HashMap::new(),
        next: 0,
        work: JoinSet::new(),
        storing: None,
        remembering: None,
        keeping: None,
        config,
        before_policy,
        forgetful: Lasting::default(),
    };
    Box::pin(shell.run(found.unreadable, renewed)).await?;
    let _ = tokio::time::timeout(LAST_WORDS, sender).await;
    Ok(())
}

/// What was set of the policy before, and the limits with it. What cannot be used is told, and what counts then: nothing weaker than what is configured, and
/// than the default. With what is to be done before the file is replaced.
fn policy(local: &LocalContext, config: &Config, configured: Limits) -> (Chosen, Limits, Before) {
    let found = policy_file::load(&local.state_dir, config);
    let found = found.map(|(chosen, limits)| (chosen, limits, Before::Nothing));
    found.unwrap_or_else(|unusable| {
        let (before, what) = (Before::from(&unusable), unusable.to_string());
        let file = policy_file::FILE;
        let unread = Chosen::unread(config);
        let (chosen, limits) =
            unread.limits(config).map_or((Chosen::default(), configured), |limits| (unread, limits));
        let counts = limits.words();
        let until = match before {
            Before::Read => "it can be read, which each change of it tries",
            Before::Nothing | Before::KeepAside => "it is set again",
        };
        tracing::warn!(file, what, counts, "cannot use account policy that was set: configuration holds");
        local.notify.finding(
            file,
            &format!(
                "{what}; until {until}, of what is configured and the default the stricter counts: {counts}"
            ),
        );
        (chosen, limits, before)
    })
}

/// The decoy hash and what is to be done about the first administrator. Blocks for up to two hashes.
fn prepare(
    accounts: &Accounts,
    new: bool,
    given: Option<auth::Password>,
    recovery: Option<auth::Password>,
    limits: &Limits,
    wall: UnixMillis,
) -> Result<(PasswordHash, Option<First>), Error> {
    let nobody = auth::token::readable_secret(boot::random()?);
    let decoy = PasswordHash::new(&nobody, boot::random()?, limits.cost)?;
    if let Some(password) = recovery {
        match boot::recover(accounts, &password, limits.cost, wall) {
            Ok(change) => return Ok((decoy, Some(First { change, shown: None, recovered: true }))),
            // It must not keep those out who can log in.
            Err(error) => {
                tracing::error!(error = %service::ErrorChain(&error), "recovery password not applied")
            }
        }
    }
    let first = boot::first_administrator(accounts, new, given, limits.cost, wall)?;
    Ok((decoy, first))
}

/// Stores what is decided before the daemon serves. `Ok(false)`: the store takes no writes; those who have an account get in without it,
/// and what was not stored is neither applied nor shown.
///
/// # Errors
/// [`Error::NotStored`] when there is nobody who could get in: the daemon waits until the store takes writes.
async fn is_stored(store: &Store, change: &auth::Change, accounts: &auth::Accounts) -> Result<bool, Error> {
    let Some(account) = change.account() else { return Ok(true) };
    let write = Write::PutUser(Box::new(account.clone()));
    match store.clone().write_all(vec![write], RESOLVE_PATIENCE).await {
        Outcome::Stored => Ok(true),
        Outcome::Refused(status) | Outcome::Unknown(status) | Outcome::Partly { status, .. }
            if accounts.is_empty() =>
        {
            Err(Error::NotStored(status))
        }
        Outcome::Refused(status) | Outcome::Unknown(status) | Outcome::Partly { status, .. } => {
            tracing::error!(%status, "cannot store new administrator password: unchanged until next start");
            Ok(false)
        }
    }
}

struct Shell {
    machine: Machine,
    store: Store,
    bus: ipc::Client,
    outbox: Outbox,
    local: LocalContext,
    clock: Clock,
    lockout_file: Option<LockoutFile>,
    requests: HashMap<TicketId, Request>,
    next: TicketId,
    work: JoinSet<(WorkId, io::Result<Done>)>,
    storing: Option<Storing>,
    /// Where accounts are known from, being stored on a thread of its own: the medium may take its time.
    remembering: Option<Remembering>,
    /// What was set of the policy, being stored likewise.
    keeping: Option<JoinHandle<io::Result<Saved>>>,
    /// What it has to fit.
    config: Config,
    /// What is to be done before its file is replaced.
    before_policy: Before,
    /// Storing where accounts are known from fails.
    forgetful: Lasting,
}

impl Shell {
    async fn run(mut self, unreadable: Vec<String>, renewed: Option<(UserId, bool)>) -> Result<(), Error> {
        let mut requests = self.bus.serve(<UsermgrCall<Request>>::SERVICES).await.map_err(Error::Serve)?;
        let mut heartbeat = self.local.heartbeat();
        let mut shutdown = self.local.shutdown.clone();
        let clock = self.clock;
        self.local.ready();
        let mut told = Vec::new();
        self.machine.tell_unreadable(&unreadable, now(&clock), &mut told);
        if let Some((id, is_recovered)) = renewed {
            self.machine.renewed(&id, is_recovered, now(&clock), &mut told);
        }
        self.carry_out(told);
        let sweeping = tokio::spawn(self.store.clone().sweep());
        loop {
            let deadline = self.machine.deadline();
            let event = tokio::select! {
                biased;
                () = shutdown.wait() => break,
                () = heartbeat.tick() => continue,
                // What ends, and what is due, before new requests: it frees what they wait for, and however many ask, it does not wait.
                outcome = stored(&mut self.storing) => {
                    self.storing = None;
                    Event::Written(outcome)
                }
                saved = remembered(&mut self.remembering) => {
                    self.remembering = None;
                    Event::Remembered { stored: self.tell_remembered(&saved) }
                }
                saved = remembered(&mut self.keeping) => {
                    self.keeping = None;
                    self.policy_saved(saved)
                }
                Some(done) = self.work.join_next(), if !self.work.is_empty() => match done {
                    Ok((work, Ok(done))) => Event::Worked { work, done },
                    Ok((work, Err(error))) => {
                        tracing::error!(%error, "cannot start password hash thread");
                        Event::Worked { work, done: Done::not_at_all() }
                    }
                    // Only a shutdown cancels one.
                    Err(_) => continue,
                },
                () = clock.sleep_until(deadline) => Event::Tick,
                request = requests.next() => match request {
                    None => return Err(Error::BusClosed),
                    Some(request) => match self.accept(request) {
                        Some(event) => event,
                        None => continue,
                    },
                },
            };
            self.step(event);
        }
        sweeping.abort();
        Box::pin(self.stop()).await;
        Ok(())
    }

    /// Reads a request and keeps it until it is answered.
    fn accept(&mut self, mut request: Request) -> Option<Event> {
        if self.requests.len() >= TICKETS_MAX {
            self.outbox.answer_bytes(request, Err(service::too_many_calls("calls to usermgr")));
            return None;
        }
        let ticket = self.next;
        let read = UsermgrCall::parse(Numbered { id: ticket, request: &request });
        let call = match read.map_err(|refused| Status::from(&refused.why)).and_then(wire::call) {
            Ok(call) => call,
            Err(status) => {
                self.outbox.answer_bytes(request, Err(status));
                return None;
            }
        };
        let budget = request.context.remaining().unwrap_or(DEADLINE);
        let budget = Millis::new(u64::try_from(budget.as_millis()).unwrap_or(u64::MAX));
        let caller = Box::new(Caller {
            principal: request.context.principal.clone(),
            deadline: self.clock.now().saturating_add(budget),
            request_id: request.context.request_id.clone(),
        });
        tracing::debug!(
            service = request.service,
            method = request.method,
            request_id = request.context.request_id,
            "request"
        );
        // It may hold a password, and was read.
        drop(std::mem::take(&mut request.payload));
        self.next += 1;
        self.requests.insert(ticket, request);
        Some(Event::Request { ticket, call, caller })
    }

    fn step(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.machine.step(now(&self.clock), event, &mut actions);
        self.carry_out(actions);
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Answer(ticket, result) => {
                    let Some(request) = self.requests.remove(&ticket) else { continue };
                    self.outbox.answer_bytes(request, result.map(Encoded::into_bytes));
                }
                Action::Work(id, work) => {
                    self.work.spawn(async move { (id, work.done().await) });
                }
                Action::Write { writes, patience } => {
                    self.storing = Some(Box::pin(self.store.clone().write_all(writes, patience.into())));
                }
                Action::Resolve(write) => {
                    self.storing = Some(Box::pin(self.store.clone().resolve(write, RESOLVE_PATIENCE)));
                }
                Action::Log(note) => log::write(&note),
                Action::Publish(event) => self.outbox.event(*event),
                Action::Keep(counted) => {
                    if let Some(file) = &mut self.lockout_file {
                        file.save(&counted);
                    }
                }
                Action::KeepPolicy(chosen) => {
                    let folder = self.local.state_dir.clone();
                    let (before, config) = (self.before_policy, self.config.clone());
                    self.keeping = Some(tokio::task::spawn_blocking(move || {
                        policy_file::save(&folder, &chosen, before, &config)
                    }));
                }
                Action::Remember(known) => {
                    let folder = self.local.state_dir.clone();
                    self.remembering =
                        Some(tokio::task::spawn_blocking(move || known_file::save(&folder, &known)));
                }
            }
        }
    }

    /// What became of what was set of the policy.
    fn policy_saved(&mut self, saved: io::Result<Saved>) -> Event {
        match saved {
            Ok(Saved::Stored) => {
                self.before_policy = Before::Nothing;
                Event::PolicyKept { stored: true }
            }
            Ok(Saved::Found(chosen)) => {
                tracing::info!("account policy that was set can be read again");
                self.before_policy = Before::Nothing;
                Event::PolicyFound(Some(chosen))
            }
            Ok(Saved::Unread(what)) => {
                tracing::warn!(what, "cannot read account policy that was set: not replaced");
                Event::PolicyFound(None)
            }
            Err(error) => {
                tracing::warn!(%error, "cannot store account policy: unchanged");
                Event::PolicyKept { stored: false }
            }
        }
    }

    /// Whether it was stored where accounts are known from; it is logged when that begins to fail, and when it works again.
    fn tell_remembered(&mut self, saved: &io::Result<()>) -> bool {
        let now = self.clock.now();
        match saved {
            Ok(()) => {
                if let Some(said) = self.forgetful.works(now) {
                    tracing::info!(times = said.times, lasted = %said.lasts, "known addresses can be saved again");
                }
            }
            Err(error) => {
                if let Some(said) = self.forgetful.fails(now) {
                    tracing::warn!(
                        %error,
                        times = said.times,
                        lasts = %said.lasts,
                        "cannot save known addresses: new ones lost at the next boot"
                    );
                }
            }
        }
        saved.is_ok()
    }

    /// Lets the batch under way end, and stores the times of last use, so that sessions come back as they were.
    async fn stop(mut self) {
        self.machine.stop(now(&self.clock));
        // In the order of their last use, which is not worth a write of its own while the daemon runs.
        let (under_way, folder, known) =
            (self.remembering.take(), self.local.state_dir.clone(), self.machine.known());
        let remember = async {
            if let Some(under_way) = under_way {
                // It is written once more.
                let _ = under_way.await;
            }
            tokio::task::spawn_blocking(move || known_file::save(&folder, &known)).await
        };
        let rest = async {
            // It may be followed by a question what became of it.
            while self.storing.is_some() {
                let outcome = stored(&mut self.storing).await;
                self.storing = None;
                self.step(Event::Written(outcome));
            }
            let writes = self.machine.last_writes();
            self.store.clone().write_all(writes, LAST_WRITES).await
        };
        let both = Box::pin(async { tokio::join!(rest, remember) });
        match tokio::time::timeout(LAST_WRITES, both).await {
            Ok((stored, remembered)) => {
                if let Outcome::Refused(error)
                | Outcome::Unknown(error)
                | Outcome::Partly { status: error, .. } = stored
                {
                    tracing::warn!(%error, "cannot store last-used times");
                }
                if let Err(error) = remembered.unwrap_or_else(|error| Err(io::Error::other(error))) {
                    tracing::warn!(%error, "cannot save known addresses: new ones lost at the next boot");
                }
            }
            Err(_) => tracing::warn!("store did not finish last writes before shutdown"),
        }
        let mut stopping = Status::unavailable(format!("{NAME} is stopping"));
        if self.storing.is_some() {
            // A change among them may still be stored.
            stopping =
                Status::unavailable(format!("{NAME} is stopping; whether a change was made is not known"))
                    .with_reason(ipc::OUTCOME_UNKNOWN);
        }
        for (_, request) in self.requests.drain() {
            self.outbox.answer_bytes(request, Err(stopping.clone()));
        }
    }
}

async fn stored(storing: &mut Option<Storing>) -> Outcome {
    match storing {
        Some(storing) => storing.await,
        None => std::future::pending().await,
    }
}

async fn remembered<T>(remembering: &mut Option<JoinHandle<io::Result<T>>>) -> io::Result<T> {
    match remembering {
        Some(remembering) => remembering.await.unwrap_or_else(|error| Err(io::Error::other(error))),
        None => std::future::pending().await,
    }
}

fn now(clock: &Clock) -> Now {
    Now { mono: clock.now(), wall: wall(clock) }
}

fn wall(clock: &Clock) -> UnixMillis {
    UnixMillis(schema::time::unix_ms(clock.wall()))
}
