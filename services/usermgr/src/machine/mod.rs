//! The machine: every decision of the daemon, without waiting for anything.
//!
//! ```text
//!   Request ─┬─ reads, token checks ────────────────────────────────► Answer
//!            ├─ passwords ─► Queue ─► Work ···► Worked ─┐
//!            └─ changes ────────────────────────────────┴─► intents ─► Write ···► Written ─► apply, Publish, Answer
//! ```
//!
//! Intents are carried out one after the other: each is planned against the state its predecessor left, written, and only
//! then applied. Three kinds of writes:
//!
//! | | how many | what a failure means |
//! |---|---|---|
//! | a change of an account, a logout | one, which decides all of it | refused: it did not happen and never will. If nobody knows what became of the write, that is found out before anything else is changed |
//! | a login | session, claimed password | none: it is answered all the same, and the session lives in memory until the store takes it. It waits no longer than 2 s for a write that is under way |
//! | what follows (ended sessions, times of last use) | as they come | written again as memory has it, more and more seldom |

mod change;
mod event;
mod expiry;
mod ipmi_login;
mod known;
mod login;
mod note;
mod policy;
mod roles;
mod ticket;
mod types;
pub(crate) mod wire;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use auth::{
    Account, AccountPatch, AccountTypes, Accounts, Address, Class, CustomRole, Flow, Key, KnownAddresses,
    LockId, Lockout, Password, PasswordHash, Privilege, Privileges, Queue, RoleName, RolePatch, Roles,
    Session, SessionId, Sessions, Token, UnixMillis, UserId, UserName,
};
use ipc::Status;
use prost_types::FieldMask;
use schema::mask::masked;
use schema::v1alpha1 as v1;
use units::{Lasting, Millis, Mono};

use crate::config::Limits;
use crate::secret::Secrets;
use crate::work::{Done, Work};
use change::{Intent, Writing, check_own};
use event::Throttle;
use expiry::Expiry;
use known::Remembered;
use login::{Job, Running};
pub(crate) use note::Note;
pub(crate) use policy::Chosen;
use roles::RoleIntent;
pub(crate) use ticket::{Encoded, Numbered, Ticket, TicketId};
use ticket::{LoginKind, refuse};
use wire::AccountFacts;

/// How long a gateway may use the answer to a token check: short, so that use is noticed and the idle limit holds.
const TOKEN_ANSWER: Millis = Millis::from_secs(15);
/// How long a gateway may use the answer to a password check: HTTP Basic sends the password with every request, and a hash
/// for each would be a denial of service. Events tell it when an account changes before.
const PASSWORD_ANSWER: Millis = Millis::from_secs(120);
/// Changes that may wait for the store. They come from logged-in users only; more than this is a runaway client.
const INTENTS_MAX: usize = 256;

/// The time of an event.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) mono: Mono,
    pub(crate) wall: UnixMillis,
}

impl Now {
    /// What the wall clock shows more than the monotonic one, milliseconds.
    fn ahead(self) -> i64 {
        let ms = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        ms(self.wall.0).saturating_sub(ms(self.mono.as_millis()))
    }
}

/// A wall clock that differs from the time that passed by so many milliseconds was set. Less may be the pause between the looks at both clocks, or adds up to it.
const CLOCK_SET_MS: u64 = 1_000;

/// Names a piece of work until it is done.
pub(crate) type WorkId = u64;

/// What the machine is told.
#[derive(Debug)]
pub(crate) enum Event {
    /// A request came in. Legal at any time.
    Request { ticket: TicketId, call: Call, caller: Box<Caller> },
    /// Work is done. Legal once after its [`Action::Work`].
    Worked { work: WorkId, done: Done },
    /// What became of a batch, or is now known of it. Legal once after an [`Action::Write`] or [`Action::Resolve`].
    Written(Outcome),
    /// Where accounts are known from is stored, or is not. Legal once after an [`Action::Remember`].
    Remembered { stored: bool },
    /// What was set of the policy is stored, or is not. Legal once after an [`Action::KeepPolicy`].
    PolicyKept { stored: bool },
    /// It is not stored, as what was set before could not be read at the start. It is found by now and fits the configuration, or cannot be read still. Legal
    /// in place of [`Event::PolicyKept`].
    PolicyFound(Option<Chosen>),
    /// The time of [`Machine::deadline`] has come. Legal at any time.
    Tick,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// All of it is on disk.
    Stored,
    /// Its first write is not stored and never will be; nothing of it is, if it has but one.
    Refused(Status),
    /// It may be stored, or be so later.
    Unknown(Status),
    /// The first `stored` writes, at least one, are on disk; what became of the next is not known, and the rest was not tried.
    Partly { stored: usize, status: Status },
}

/// What the machine wants done.
#[derive(Debug)]
pub(crate) enum Action {
    /// Answer the request with its message or an error.
    Answer(TicketId, Result<Encoded, Status>),
    /// Do this on a thread of its own and come back with [`Event::Worked`].
    Work(WorkId, Work),
    /// Store these in order, stop at the first that fails, and come back with [`Event::Written`] within `patience`. Never while
    /// another batch is under way.
    Write { writes: Vec<Write>, patience: Millis },
    /// Find out what became of this write, which ended as [`Outcome::Unknown`], and come back with [`Event::Written`].
    Resolve(Write),
    /// Write this to the log.
    Log(Note),
    /// Publish this.
    Publish(Box<v1::Event>),
    /// Keep what is counted against guessers for the next process, before anything that follows.
    Keep(Vec<u8>),
    /// Store for the next boot where accounts are known from, and come back with [`Event::Remembered`]. Never while the one before is under way.
    Remember(KnownAddresses),
    /// Store what was set of the policy, and come back with [`Event::PolicyKept`] or [`Event::PolicyFound`]. Never while the one before is under way.
    KeepPolicy(Chosen),
}

/// What earlier processes left.
#[derive(Debug)]
pub(crate) struct Kept<'a> {
    /// [`Action::Keep`]'s, by the same clock.
    pub(crate) counted: Option<&'a [u8]>,
    /// [`Action::Remember`]'s, of whichever boot; `None` where that cannot be used.
    pub(crate) known: Option<KnownAddresses>,
}

/// One write to a bucket.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Write {
    PutUser(Box<Account>),
    DeleteUser(UserId),
    PutSession(Box<Session>),
    DeleteSession(SessionId),
    PutRole(Box<CustomRole>),
    DeleteRole(RoleName),
}

/// What a write is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StoreKey {
    User(UserId),
    Session(SessionId),
    Role(RoleName),
}

impl Write {
    fn key(&self) -> StoreKey {
        match self {
            Self::PutUser(account) => StoreKey::User(account.id.clone()),
            Self::DeleteUser(id) => StoreKey::User(id.clone()),
            Self::PutSession(session) => StoreKey::Session(session.id.clone()),
            Self::DeleteSession(id) => StoreKey::Session(id.clone()),
            Self::PutRole(role) => StoreKey::Role(role.name.clone()),
            Self::DeleteRole(name) => StoreKey::Role(name.clone()),
        }
    }
}

/// Who asks, and until when.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// As the gateway authenticated it; `None` before login.
    pub(crate) principal: Option<ipc::Principal>,
    pub(crate) deadline: Mono,
    pub(crate) request_id: String,
}

/// What can be asked, each with the ticket of its method. `user` is an id or a name.
#[derive(Debug)]
pub(crate) enum Call {
    /// Legal for whoever manages users.
    CreateUser {
        ticket: Ticket<v1::CreateUserResponse>,
        new: Box<NewUser>,
        password: Password,
        dry_run: bool,
    },
    /// Legal for oneself and for whoever manages users.
    GetUser { ticket: Ticket<v1::GetUserResponse>, user: String, mask: Option<FieldMask> },
    /// Legal for whoever manages users; not one's own role, end or enabled flag.
    UpdateUser {
        ticket: Ticket<v1::UpdateUserResponse>,
        user: String,
        patch: Box<AccountPatch>,
        unlock: bool,
        /// A new password, in the same change.
        password: Option<Password>,
    },
    /// Legal for whoever manages users.
    DeleteUser { ticket: Ticket<v1::DeleteUserResponse>, user: String },
    /// Legal for whoever manages users.
    ListUsers { ticket: Ticket<v1::ListUsersResponse>, filter: Box<ListFilter> },
    /// Legal for oneself, with the current password.
    ChangePassword {
        ticket: Ticket<v1::ChangePasswordResponse>,
        user: String,
        current: Password,
        new: Password,
    },
    /// Legal for whoever manages users, and for oneself.
    ResetPassword {
        ticket: Ticket<v1::ResetPasswordResponse>,
        user: String,
        new: Option<Password>,
        require_change: bool,
    },
    /// Legal for everybody.
    CreateSession {
        ticket: Ticket<v1::CreateSessionResponse>,
        name: String,
        password: Password,
        address: String,
        user_agent: String,
        /// What the session is for: one of these.
        purpose: Option<AccountTypes>,
    },
    /// Legal for its owner and for whoever manages users.
    GetSession { ticket: Ticket<v1::GetSessionResponse>, id: String, mask: Option<FieldMask> },
    /// Legal for one's own, and all for whoever manages users.
    ListSessions { ticket: Ticket<v1::ListSessionsResponse>, user: String, mask: Option<FieldMask> },
    /// Legal for its owner and for whoever manages users.
    DeleteSession { ticket: Ticket<v1::DeleteSessionResponse>, id: String },
    /// Legal for everybody logged in.
    GetRole { ticket: Ticket<v1::GetRoleResponse>, id: String, mask: Option<FieldMask> },
    /// Legal for everybody logged in.
    ListRoles { ticket: Ticket<v1::ListRolesResponse>, mask: Option<FieldMask> },
    /// Legal for whoever manages users, as far as he may do himself what it allows.
    CreateRole { ticket: Ticket<v1::CreateRoleResponse>, role: Box<CustomRole> },
    /// Legal likewise; not of one's own role.
    UpdateRole { ticket: Ticket<v1::UpdateRoleResponse>, name: RoleName, patch: Box<RolePatch> },
    /// Legal likewise.
    DeleteRole { ticket: Ticket<v1::DeleteRoleResponse>, name: RoleName },
    /// Legal for everybody logged in.
    GetAccountPolicy { ticket: Ticket<v1::GetAccountPolicyResponse> },
    /// Legal for whoever manages users.
    UpdateAccountPolicy {
        ticket: Ticket<v1::UpdateAccountPolicyResponse>,
        wanted: Box<v1::AccountPolicy>,
        mask: Option<Vec<String>>,
    },
    /// Legal for whoever manages users.
    ListLockouts { ticket: Ticket<v1::ListLockoutsResponse>, user: String },
    /// Legal for whoever manages users.
    DeleteLockout { ticket: Ticket<v1::DeleteLockoutResponse>, id: String },
    /// Legal for gateways.
    VerifyPassword {
        ticket: Ticket<v1::VerifyPasswordResponse>,
        name: String,
        password: Password,
        address: String,
    },
    /// Legal for gateways.
    VerifyToken { ticket: Ticket<v1::VerifyTokenResponse>, token: Option<Token>, address: String },
    /// Legal for gateways.
    ChallengeIpmi { ticket: Ticket<v1::ChallengeIpmiResponse>, request: v1::ChallengeIpmiRequest },
    /// Legal for gateways.
    VerifyIpmi { ticket: Ticket<v1::VerifyIpmiResponse>, request: Box<v1::VerifyIpmiRequest> },
    /// Legal for gateways.
    ListAccountNames { ticket: Ticket<v1::ListAccountNamesResponse> },
}

/// What a client chooses about a new account.
#[derive(Debug, Clone)]
pub(crate) struct NewUser {
    pub(crate) name: UserName,
    pub(crate) full_name: Option<String>,
    pub(crate) email: Option<String>,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) enabled: bool,
    /// Without one, the least powerful.
    pub(crate) role: Option<RoleName>,
    pub(crate) password_change_required: bool,
    /// May log in over IPMI.
    pub(crate) ipmi: bool,
    /// The number it is to have as a user of IPMI.
    pub(crate) ipmi_user: Option<u8>,
    /// What it may be used for, IPMI as well; without a list everything but IPMI.
    pub(crate) types: Option<AccountTypes>,
    /// Whether it is for that and nothing else.
    pub(crate) strict_types: bool,
    /// Until when it can log in.
    pub(crate) expires_at: Option<UnixMillis>,
}

/// Which accounts to list.
#[derive(Debug, Clone, Default)]
pub(crate) struct ListFilter {
    pub(crate) local: bool,
    pub(crate) enabled: Option<bool>,
    pub(crate) prefix: String,
    pub(crate) page_size: u32,
    pub(crate) after: String,
    pub(crate) mask: Option<FieldMask>,
}

/// A caller whose account and session were found alive here and now.
#[derive(Debug, Clone)]
struct Requester {
    user: UserId,
    name: String,
    session: Option<SessionId>,
    /// The account's epoch then.
    epoch: u64,
    manages_users: bool,
    privileges: Privileges,
    address: String,
}

/// Fills a slice with random bytes; `false` when there are none.
pub(crate) type Entropy = Box<dyn FnMut(&mut [u8]) -> bool + Send>;

/// Everything the daemon knows and decides.
pub(crate) struct Machine {
    limits: Limits,
    entropy: Entropy,
    /// Verified instead of the hash of an account that does not exist, so that both take the same time.
    decoy: PasswordHash,
    accounts: Accounts,
    roles: Roles,
    expiry: Expiry,
    sessions: Sessions,
    lockout: Lockout,
    queue: Queue<Job>,
    running: HashMap<WorkId, Running>,
    next_work: WorkId,
    /// Changes in line, and until when somebody waits for them.
    intents: VecDeque<(Mono, Intent)>,
    writing: Option<Writing>,
    /// What the store may hold differently from memory.
    unsaved: BTreeSet<StoreKey>,
    unsaved_after: Mono,
    /// The pause after the next failure; grows while the store takes nothing.
    pause: Millis,
    /// The last write failed.
    ails: bool,
    /// What the log says of that.
    unstored: Lasting,
    /// The last that could not be brought up to date: the next batch begins behind it.
    tidied: Option<StoreKey>,
    /// The daemon stops: nothing more is begun.
    stops: bool,
    housekeeping: Mono,
    /// What the wall clock showed more than the monotonic one when that was looked at last, milliseconds.
    ahead: i64,
    failed_logins: Throttle,
    /// [`Lockout::changes`] as they were kept.
    kept: u64,
    remembered: Remembered,
    /// What IPMI's keys are sealed with; without it nobody logs in over IPMI.
    secrets: Option<Secrets>,
    policy: policy::Settable,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine")
            .field("accounts", &self.accounts.len())
            .field("sessions", &self.sessions.len())
            .finish_non_exhaustive()
    }
}

impl Machine {
    /// A machine with the accounts and sessions of the store, and what earlier processes left. Sessions that are void or over are dropped from
    /// the store; where one goes on, its account is known from.
    pub(crate) fn new(
        limits: Limits,
        entropy: Entropy,
        decoy: PasswordHash,
        accounts: Accounts,
        sessions: Vec<Session>,
        kept: Kept<'_>,
        now: Now,
    ) -> Self {
        let mut entropy = entropy;
        let mut secret = [0; 32];
        // Without randomness nobody gets a token either; what this key protects is sixteen bits of a wrong password.
        let _ = entropy(&mut secret);
        let counted =
            kept.counted.and_then(|bytes| Lockout::restore(limits.lockout, secret, bytes, now.mono));
        // What was counted in this boot is younger than what was stored.
        let mut known =
            counted.as_ref().map(Lockout::known).or_else(|| kept.known.clone()).unwrap_or_default();
        let mut machine = Self {
            limits,
            entropy,
            decoy,
            expiry: Expiry::new(accounts.list(), now),
            accounts,
            roles: Roles::default(),
            sessions: Sessions::new(limits.sessions),
            lockout: counted.unwrap_or_else(|| Lockout::new(limits.lockout, secret)),
            queue: Queue::new(limits.queue),
            running: HashMap::new(),
            next_work: 0,
            intents: VecDeque::new(),
            writing: None,
            unsaved: BTreeSet::new(),
            unsaved_after: now.mono,
            pause: change::RETRY,
            ails: false,
            unstored: Lasting::default(),
            tidied: None,
            stops: false,
            housekeeping: now.mono,
            ahead: now.ahead(),
            failed_logins: Throttle::default(),
            kept: 0,
            remembered: Remembered::new(None, now),
            secrets: None,
            policy: policy::Settable::default(),
        };
        let numbered = machine.accounts.number_ipmi_users();
        for account in numbered.iter().filter_map(|id| machine.accounts.get(id)) {
            if !account.ipmi {
                tracing::warn!(account = %account.name, "IPMI has no number left for account: its ipmi_access is off");
            }
        }
        machine.follow(numbered.into_iter().map(StoreKey::User), now);
        let mut used = Vec::new();
        for session in sessions {
            let id = session.id.clone();
            let account = machine.accounts.get(&session.user);
            let account =
                account.filter(|account| account.is_open(now.wall) && account.epoch == session.epoch);
            let from = account.map(|account| {
                let pair = (Key::account(account.name.as_str()), Address::parse(&session.address));
                (session.last_used_at, pair)
            });
            if from.is_some() && machine.sessions.restore(session, now.mono, now.wall) {
                used.extend(from);
            } else {
                machine.unsaved.insert(StoreKey::Session(id));
            }
        }
        used.sort_unstable();
        for (_, (account, address)) in used {
            known.add(account, address);
        }
        machine.lockout.restore_known(&known, now.mono);
        let is_stored = kept.known.is_some_and(|kept| machine.lockout.known().same_pairs(&kept));
        machine.remembered = Remembered::new(is_stored.then(|| machine.lockout.known_changes()), now);
        machine
    }

    /// With what IPMI's keys are sealed with.
    pub(crate) fn with_secrets(self, secrets: Option<Secrets>) -> Self {
        Self { secrets, ..self }
    }

    /// Takes one event in.
    pub(crate) fn step(&mut self, now: Now, event: Event, out: &mut Vec<Action>) {
        let before = out.len();
        self.follow_clock(now);
        match event {
            Event::Request { ticket, call, caller } => match self.handle(call, *caller, now, out) {
                Ok(None) => {}
                Ok(Some(answer)) => out.push(answer),
                Err(status) => out.push(refuse(ticket, status)),
            },
            Event::Worked { work, done } => self.worked(work, done, now, out),
            Event::Written(outcome) => self.written(outcome, now, out),
            Event::Remembered { stored } => self.remember_done(stored, now),
            Event::PolicyKept { stored } => self.policy_kept(stored, now, out),
            Event::PolicyFound(found) => self.policy_found(found, now, out),
            Event::Tick => self.tick(now, out),
        }
        self.end_expired(now, out);
        self.expire(now, out);
        self.start_hashes(now, out);
        self.advance(now, out);
        self.remember(now, out);
        if self.kept != self.lockout.changes() {
            self.kept = self.lockout.changes();
            // Before the answers: who is told of a failure cannot have it forgotten. Nothing is counted without a hash, which costs more.
            out.insert(before, Action::Keep(self.lockout.save()));
        }
    }

    /// When the wall clock was set, the times of sessions move along: the next start could not tell how old they are otherwise.
    fn follow_clock(&mut self, now: Now) {
        let by = now.ahead().saturating_sub(self.ahead);
        if by.unsigned_abs() < CLOCK_SET_MS {
            return;
        }
        self.ahead = now.ahead();
        self.sessions.clock_set(by);
        // The next tick, which is due at once, sees to what is stored of them.
        self.housekeeping = now.mono;
    }

    /// When [`Event::Tick`] is due; `None` while nothing waits for time to pass.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        let unsaved = (!self.unsaved.is_empty() && self.writing.is_none()).then_some(self.unsaved_after);
        let housekeeping = (!self.sessions.is_empty()).then_some(self.housekeeping);
        let waiting = self.intents.iter().map(|(deadline, _)| *deadline).min();
        let writing = self.writing.as_ref().and_then(|writing| {
            let passes = self.intents.iter().any(|(_, intent)| self.may_pass(intent, writing));
            writing.deadline().into_iter().chain(passes.then(|| writing.passed_from())).min()
        });
        let all = [
            self.sessions.deadline(),
            self.expiry.next(),
            unsaved,
            housekeeping,
            self.queue.deadline(),
            waiting,
            writing,
            self.remember_at(),
        ];
        all.into_iter().flatten().min()
    }

    /// Decides about a request: an answer, an error, or nothing yet.
    fn handle(
        &mut self,
        call: Call,
        caller: Caller,
        now: Now,
        out: &mut Vec<Action>,
    ) -> Result<Option<Action>, Status> {
        match call {
            // Before login.
            Call::VerifyToken { ticket, token, address } => {
                Ok(Some(ticket.answer(self.verify_token(token, address, now)?)))
            }
            Call::VerifyPassword { ticket, name, password, address } => {
                let kind = LoginKind::Check { ticket };
                self.queue_login(kind, name, password, address, &caller, now, out)?;
                Ok(None)
            }
            Call::ChallengeIpmi { ticket, request } => {
                Ok(Some(ticket.answer(self.challenge_ipmi(&request, now)?)))
            }
            Call::VerifyIpmi { ticket, request } => {
                Ok(Some(ticket.answer(self.verify_ipmi(&request, &caller.request_id, now, out)?)))
            }
            Call::ListAccountNames { ticket } => Ok(Some(ticket.answer(self.list_account_names(now)))),
            Call::CreateSession { ticket, name, password, address, user_agent, purpose } => {
                let kind = LoginKind::Session { ticket, user_agent, purpose };
                self.queue_login(kind, name, password, address, &caller, now, out)?;
                Ok(None)
            }
            // One's own.
            Call::ChangePassword { ticket, user, current, new } => {
                let requester = self.requester(&caller, true, now)?;
                self.queue_own_password(ticket, &user, current, new, requester, &caller, now, out)?;
                Ok(None)
            }
            Call::GetSession { ticket, id, mask } => {
                let requester = self.requester(&caller, true, now)?;
                let session = self.session_of(&id, &requester, now)?;
                let view = self.session_view(session, now).ok_or_else(no_session)?;
                let view = masked(view, mask.as_ref())?;
                Ok(Some(ticket.answer(v1::GetSessionResponse { session: Some(view) })))
            }
            Call::DeleteSession { ticket, id } => {
                let requester = self.requester(&caller, true, now)?;
                let id = self.session_of(&id, &requester, now)?.id.clone();
                let intent = Intent::EndSession { ticket, requester, id, request_id: caller.request_id };
                self.intend(intent, caller.deadline)?;
                Ok(None)
            }
            Call::GetUser { ticket, user, mask } => {
                let requester = self.requester(&caller, true, now)?;
                let account = self.account_of(&user, &requester)?;
                if account.id != requester.user {
                    self.requester(&caller, false, now)?;
                }
                let view = masked(wire::user(account, self.facts(account, now)), mask.as_ref())?;
                Ok(Some(ticket.answer(v1::GetUserResponse { user: Some(view) })))
            }
            Call::ListSessions { ticket, user, mask } => {
                let requester = self.requester(&caller, false, now)?;
                Ok(Some(ticket.answer(self.list_sessions(&user, &requester, mask.as_ref(), now)?)))
            }
            Call::GetRole { ticket, id, mask } => {
                self.requester(&caller, false, now)?;
                let found = self.role_views().into_iter().find(|role| role.id == id);
                let role = found.ok_or_else(|| wire::role_refused(auth::RoleRefused::NotFound))?;
                let view = masked(role, mask.as_ref())?;
                Ok(Some(ticket.answer(v1::GetRoleResponse { role: Some(view) })))
            }
            Call::ListRoles { ticket, mask } => {
                self.requester(&caller, false, now)?;
                let roles: Result<Vec<_>, _> =
                    self.role_views().into_iter().map(|role| masked(role, mask.as_ref())).collect();
                Ok(Some(ticket.answer(v1::ListRolesResponse { roles: roles? })))
            }
            Call::CreateRole { ticket, role } => {
                self.intend_role(RoleIntent::Create { ticket, role: *role }, &caller, now)
            }
            Call::UpdateRole { ticket, name, patch } => {
                self.intend_role(RoleIntent::Update { ticket, name, patch: *patch }, &caller, now)
            }
            Call::DeleteRole { ticket, name } => {
                self.intend_role(RoleIntent::Delete { ticket, name }, &caller, now)
            }
            Call::GetAccountPolicy { ticket } => {
                self.requester(&caller, false, now)?;
                let policy = Some(wire::policy(&self.limits));
                Ok(Some(ticket.answer(v1::GetAccountPolicyResponse { policy })))
            }
            Call::UpdateAccountPolicy { ticket, wanted, mask } => {
                let requester = self.manager(&caller, now)?;
                self.set_policy(ticket, &wanted, mask.as_deref(), &requester, caller.request_id)
            }
            // Everybody's.
            Call::ListUsers { ticket, filter } => {
                self.manager(&caller, now)?;
                Ok(Some(ticket.answer(self.list_users(&filter, now)?)))
            }
            Call::CreateUser { ticket, new, password, dry_run } => {
                let requester = self.manager(&caller, now)?;
                if dry_run {
                    Ok(Some(ticket.answer(self.try_create(*new, &password, &requester, now)?)))
                } else {
                    self.queue_create(ticket, *new, password, requester, &caller, now, out)?;
                    Ok(None)
                }
            }
            Call::ResetPassword { ticket, user, new, require_change } => {
                let mut requester = self.requester(&caller, true, now)?;
                // One that is made is handed out: for who manages users.
                let own = new.is_some()
                    && self.account_of(&user, &requester).is_ok_and(|account| account.id == requester.user);
                if !own {
                    requester = self.manager(&caller, now)?;
                }
                self.queue_reset(ticket, &user, new, require_change, requester, &caller, out)?;
                Ok(None)
            }
            Call::UpdateUser { ticket, user, patch, unlock, password } => {
                let requester = self.manager(&caller, now)?;
                let account = self.account_of(&user, &requester)?;
                check_own(account, &requester, &patch)?;
                let user = account.id.clone();
                let Some(password) = password else {
                    let (password, request_id) = (None, caller.request_id);
                    let intent =
                        Intent::Update { ticket, requester, user, patch, unlock, password, request_id };
                    self.intend(intent, caller.deadline)?;
                    return Ok(None);
                };
                self.queue_update(ticket, user, patch, unlock, password, requester, &caller, now, out)?;
                Ok(None)
            }
            Call::DeleteUser { ticket, user } => {
                let requester = self.manager(&caller, now)?;
                let user = self.account_of(&user, &requester)?.id.clone();
                let intent = Intent::Delete { ticket, requester, user, request_id: caller.request_id };
                self.intend(intent, caller.deadline)?;
                Ok(None)
            }
            Call::ListLockouts { ticket, user } => {
                let requester = self.manager(&caller, now)?;
                Ok(Some(ticket.answer(self.list_lockouts(&user, &requester, now)?)))
            }
            Call::DeleteLockout { ticket, id } => {
                let requester = self.manager(&caller, now)?;
                let lifted = self.delete_lockout(&id, &requester, &caller.request_id, now, out)?;
                Ok(Some(ticket.answer(lifted)))
            }
        }
    }

    /// Who asks, by what is true here and now: the gateway's answer may be some seconds old. `expired_ok`: also with a
    /// password that must be changed first.
    fn requester(&self, caller: &Caller, expired_ok: bool, now: Now) -> Result<Requester, Status> {
        let principal = caller.principal.as_ref().ok_or_else(|| Status::unauthenticated("login needed"))?;
        let account = UserId::parse(&principal.user_id)
            .and_then(|id| self.accounts.get(&id))
            .filter(|account| account.is_open(now.wall))
            .ok_or_else(|| Status::unauthenticated("the account is gone, disabled or expired"))?;
        let session = if principal.session_id.is_empty() {
            None
        } else {
            let session =
                SessionId::parse(&principal.session_id).and_then(|id| self.sessions.get(&id, now.mono));
            let live = session.filter(|session| session.user == account.id && session.epoch == account.epoch);
            Some(live.ok_or_else(|| Status::unauthenticated("the session has ended"))?.id.clone())
        };
        if self.must_change_password(account, now) && !expired_ok {
            return Err(Status::permission_denied("the password must be changed first")
                .with_reason("PASSWORD_CHANGE_REQUIRED"));
        }
        let privileges = self.roles.privileges(&account.role);
        Ok(Requester {
            user: account.id.clone(),
            name: account.name.as_str().to_owned(),
            session,
            epoch: account.epoch,
            manages_users: privileges.contains(Privilege::ConfigureUsers),
            privileges,
            address: principal.address.clone(),
        })
    }

    /// Looks again whether one who asked some time ago may still: rights may have been withdrawn while the request waited for a hash or stood in
    /// line. `manages`: what is asked takes the right to manage users.
    fn still(&self, requester: Requester, manages: bool, now: Now) -> Result<Requester, Status> {
        let session = requester.session.as_ref().map(|id| id.as_str().to_owned());
        let principal = ipc::Principal {
            user_id: requester.user.as_str().to_owned(),
            session_id: session.unwrap_or_default(),
            address: requester.address,
            ..ipc::Principal::default()
        };
        let caller = Caller { principal: Some(principal), deadline: Mono::ZERO, request_id: String::new() };
        let again = if manages { self.manager(&caller, now)? } else { self.requester(&caller, true, now)? };
        // A session is of its account's epoch; without one it was a password, which may be another by now.
        if again.session.is_none() && again.epoch != requester.epoch {
            return Err(change::changed_meanwhile());
        }
        Ok(again)
    }

    /// As [`Self::requester`], for what only those do who manage users.
    fn manager(&self, caller: &Caller, now: Now) -> Result<Requester, Status> {
        let requester = self.requester(caller, false, now)?;
        if requester.manages_users {
            Ok(requester)
        } else {
            Err(Status::permission_denied("managing users needs the privilege CONFIGURE_USERS")
                .with_reason("MISSING_PRIVILEGE"))
        }
    }

    /// The account a request names, if the requester may know about it. To others an account that exists and one that does not look
    /// the same.
    fn account_of(&self, user: &str, requester: &Requester) -> Result<&Account, Status> {
        let found = self.accounts.find(user);
        match found {
            Some(account) if requester.manages_users || account.id == requester.user => Ok(account),
            _ if requester.manages_users => Err(wire::refused(auth::Refused::NotFound)),
            _ => Err(Status::permission_denied("that is another user's").with_reason("MISSING_PRIVILEGE")),
        }
    }

    /// The session a request names, under the same rule.
    fn session_of(&self, id: &str, requester: &Requester, now: Now) -> Result<&Session, Status> {
        let found = SessionId::parse(id).and_then(|id| self.sessions.get(&id, now.mono));
        match found {
            Some(session) if requester.manages_users || session.user == requester.user => Ok(session),
            _ if requester.manages_users => Err(no_session()),
            _ => {
                Err(Status::permission_denied("that is not a session of yours")
                    .with_reason("MISSING_PRIVILEGE"))
            }
        }
    }

    fn verify_token(
        &mut self,
        token: Option<Token>,
        address: String,
        now: Now,
    ) -> Result<v1::VerifyTokenResponse, Status> {
        let unknown = || Status::unauthenticated("the token is not valid").with_reason("INVALID_TOKEN");
        let digest = token.ok_or_else(unknown)?.digest();
        let session = self.sessions.touch(&digest, now.mono, now.wall).ok_or_else(unknown)?.clone();
        let account = self
            .accounts
            .get(&session.user)
            .filter(|account| account.is_open(now.wall) && account.epoch == session.epoch)
            .ok_or_else(unknown)?;
        let (left, _) = self.sessions.remaining(&session.id, now.mono).unwrap_or_default();
        let principal = self.principal(account, Some(&session.id), address, left.min(TOKEN_ANSWER), now);
        Ok(v1::VerifyTokenResponse { principal: Some(principal) })
    }

    fn principal(
        &self,
        account: &Account,
        session: Option<&SessionId>,
        address: String,
        valid_for: Millis,
        now: Now,
    ) -> v1::Principal {
        let open_for = account.expires_at.map(|end| Millis::new(end.0.saturating_sub(now.wall.0)));
        let valid_for = open_for.map_or(valid_for, |open_for| valid_for.min(open_for));
        v1::Principal {
            username: account.name.as_str().to_owned(),
            user_id: account.id.as_str().to_owned(),
            role: account.role.name().to_owned(),
            privileges: gate::privileges(self.roles.privileges(&account.role)),
            session_id: session.map(|id| id.as_str().to_owned()).unwrap_or_default(),
            password_change_required: self.must_change_password(account, now),
            expires: Some(wire::timestamp(UnixMillis(now.wall.0.saturating_add(valid_for.get())))),
            address,
            account_types: gate::account_types(account.types()),
        }
    }

    fn password_expires_at(&self, account: &Account) -> Option<UnixMillis> {
        let age = self.limits.max_password_age;
        (!age.is_zero()).then(|| UnixMillis(account.password_changed_at.0.saturating_add(age.get())))
    }

    fn must_change_password(&self, account: &Account, now: Now) -> bool {
        account.password_change_required || self.password_expires_at(account).is_some_and(|at| at <= now.wall)
    }

    fn facts(&self, account: &Account, now: Now) -> AccountFacts {
        let standing = self.lockout.status(Key::account(account.name.as_str()), now.mono);
        let must_change_password = self.must_change_password(account, now);
        AccountFacts {
            must_change_password,
            password_expires_at: self.password_expires_at(account),
            failures: standing.failures,
            locked_for: standing.locked_for,
            threshold: self.limits.lockout.threshold,
            now: now.wall,
            // IPMI cannot change a password, so one that must be changed first opens nothing there.
            ipmi_ready: self.ipmi_ready(account) && !must_change_password,
            types: self.usable_types(account),
        }
    }

    fn session_view(&self, session: &Session, now: Now) -> Option<v1::Session> {
        let account = self.accounts.get(&session.user)?;
        let facts = wire::SessionFacts {
            must_change_password: self.must_change_password(account, now),
            remaining: self.sessions.remaining(&session.id, now.mono)?,
            memory_only: !self.sessions.is_stored(&session.id),
            now: now.wall,
        };
        Some(wire::session(session, account, facts))
    }

    fn list_sessions(
        &self,
        user: &str,
        requester: &Requester,
        mask: Option<&FieldMask>,
        now: Now,
    ) -> Result<v1::ListSessionsResponse, Status> {
        // Without a name: all, for those who may; one's own for the others.
        let whose = match user {
            "" if requester.manages_users => None,
            "" => Some(requester.user.clone()),
            named => Some(self.account_of(named, requester)?.id.clone()),
        };
        let sessions: Result<Vec<_>, _> = self
            .sessions
            .list(now.mono)
            .into_iter()
            .filter(|(session, _)| whose.as_ref().is_none_or(|user| session.user == *user))
            .filter_map(|(session, _)| self.session_view(session, now))
            .map(|view| masked(view, mask))
            .collect();
        Ok(v1::ListSessionsResponse { sessions: sessions? })
    }

    /// The locks in force, of all or of one account. A name that is not an account's is not shown: people type passwords there.
    fn list_lockouts(
        &self,
        user: &str,
        requester: &Requester,
        now: Now,
    ) -> Result<v1::ListLockoutsResponse, Status> {
        let whose = match user {
            "" => None,
            named => Some(Key::account(self.account_of(named, requester)?.name.as_str())),
        };
        let names: HashMap<Key, &Account> = self
            .accounts
            .list()
            .into_iter()
            .map(|account| (Key::account(account.name.as_str()), account))
            .collect();
        let lockouts = self
            .lockout
            .locks(now.mono)
            .into_iter()
            .filter(|lock| whose.is_none() || lock.account == whose)
            .map(|lock| {
                let account = lock.account.and_then(|key| names.get(&key).copied());
                wire::lockout(&lock, account, now.wall)
            })
            .collect();
        Ok(v1::ListLockoutsResponse { lockouts })
    }

    fn delete_lockout(
        &mut self,
        id: &str,
        requester: &Requester,
        request_id: &str,
        now: Now,
        out: &mut Vec<Action>,
    ) -> Result<v1::DeleteLockoutResponse, Status> {
        let lifted = LockId::parse(id).and_then(|id| self.lockout.lift(id, now.mono));
        let lock = lifted
            .ok_or_else(|| Status::not_found("no such lock is in force").with_reason("LOCKOUT_NOT_FOUND"))?;
        let account = lock.account.and_then(|key| {
            self.accounts
                .list()
                .into_iter()
                .find(|account| Key::account(account.name.as_str()) == key)
                .cloned()
        });
        let address = lock.address.map(|address| address.to_string());
        out.push(Action::Log(Note::LockoutCleared {
            user: account.as_ref().map(|account| account.name.as_str().to_owned()),
            address,
            by: requester.name.clone(),
            request_id: request_id.to_owned(),
        }));
        if let Some(account) = account {
            let cause = event::Cause::request_of(requester, request_id);
            self.tell_user(v1::UserChangeKind::Unlocked, &account, &cause, now, out);
        }
        Ok(v1::DeleteLockoutResponse {})
    }

    /// In which line somebody waits who says to be `name` and comes from `address`.
    fn place_of_stranger(&self, name: &str, address: Address, now: Now) -> (Class, Flow) {
        let key = Key::account(name);
        match self.accounts.by_name(name).filter(|account| account.is_open(now.wall)) {
            Some(account) if self.lockout.is_known_good(key, address) => {
                (class_of(self.roles.privileges(&account.role)), Flow::Pair(key, address))
            }
            _ => (Class::Stranger, Flow::Address(address)),
        }
    }

    fn list_users(&self, filter: &ListFilter, now: Now) -> Result<v1::ListUsersResponse, Status> {
        let matching = self.accounts.list().into_iter().filter(|account| {
            filter.local
                && filter.enabled.is_none_or(|enabled| account.enabled == enabled)
                && account.name.as_str().starts_with(&filter.prefix)
        });
        let (shown, next_page_token) =
            schema::page(matching, |account| account.name.as_str(), filter.page_size, &filter.after);
        let users: Result<Vec<_>, _> = shown
            .into_iter()
            .map(|account| masked(wire::user(account, self.facts(account, now)), filter.mask.as_ref()))
            .collect();
        Ok(v1::ListUsersResponse { users: users?, next_page_token })
    }

    fn list_account_names(&self, now: Now) -> v1::ListAccountNamesResponse {
        let accounts = self.accounts.list().into_iter().map(|account| {
            let privileges = self.roles.privileges(&account.role);
            wire::account_name(account, privileges, self.ipmi_ready(account), now.wall)
        });
        v1::ListAccountNamesResponse { accounts: accounts.collect() }
    }

    fn random<const N: usize>(&mut self) -> Result<[u8; N], Status> {
        let mut bytes = [0; N];
        if (self.entropy)(&mut bytes) {
            Ok(bytes)
        } else {
            Err(Status::internal("usermgr gets no random numbers"))
        }
    }
}

fn class_of(privileges: auth::Privileges) -> Class {
    if privileges.contains(Privilege::ConfigureUsers) { Class::Administrator } else { Class::Known }
}

fn no_session() -> Status {
    Status::not_found("no such session").with_reason("SESSION_NOT_FOUND")
}

#[cfg(test)]
mod tests;
