//! Changes: planned one after the other, stored, applied, told, answered.

use auth::account::Effect;
use auth::{
    Account, AccountPatch, Change, Key, NewAccount, Password, PasswordHash, RoleChange, Session, SessionId,
    Token, UserId,
};
use ipc::Status;
use schema::v1alpha1 as v1;
use units::{Millis, Mono};
use v1::{SessionChangeKind, UserChangeKind};

use super::event::Cause;
use super::roles::{RoleAnswer, RoleIntent};
use super::ticket::{LoginKind, Ticket, TicketId, refuse};
use super::types::check_purpose;
use super::wire;
use super::{
    Action, Caller, INTENTS_MAX, Machine, Note, Now, Outcome, PASSWORD_ANSWER, Requester, StoreKey, Write,
};

/// Pause before what could not be stored is tried again; doubled up to [`RETRY_MAX`] while that fails.
pub(super) const RETRY: Millis = Millis::from_secs(1);
/// The longest pause: a store that heals has everything a minute later.
const RETRY_MAX: Millis = Millis::from_secs(60);
/// How long a change waits for its write before it is asked what became of it.
const CHANGE_PATIENCE: Millis = Millis::from_secs(5);
/// How long a login waits for the store, which it does not need.
const LOGIN_PATIENCE: Millis = Millis::from_secs(2);
/// So long before its deadline a caller is told that nobody knows yet.
const ANSWER_MARGIN: Millis = Millis::new(300);
/// Writes of one batch that brings the store up to date: the line goes on in between.
const TIDY_MAX: usize = 16;
/// How precisely the last login by HTTP Basic is stored: such clients log in with every request, and flash wears.
pub(super) const LAST_LOGIN_PRECISION_MS: u64 = 60 * 60 * 1000;

/// A change somebody wants.
#[derive(Debug)]
pub(super) enum Intent {
    Create {
        ticket: Ticket<v1::CreateUserResponse>,
        requester: Requester,
        new: Box<NewAccount>,
        /// The password as IPMI needs it, sealed.
        ipmi_secret: Option<Vec<u8>>,
        warnings: Vec<String>,
        request_id: String,
    },
    Update {
        ticket: Ticket<v1::UpdateUserResponse>,
        requester: Requester,
        user: UserId,
        patch: Box<AccountPatch>,
        unlock: bool,
        password: Option<Box<NextPassword>>,
        request_id: String,
    },
    Delete {
        ticket: Ticket<v1::DeleteUserResponse>,
        requester: Requester,
        user: UserId,
        request_id: String,
    },
    Password {
        way: PasswordChange,
        requester: Requester,
        user: UserId,
        /// The epoch under which the old password was proved, or the new one found to be another; `None` for a reset by somebody else.
        epoch: Option<u64>,
        hash: PasswordHash,
        /// The password as IPMI needs it, sealed.
        ipmi_secret: Option<Vec<u8>>,
        /// It was checked as one of an account that logs in over IPMI.
        ipmi: bool,
        require_change: bool,
        /// The session that proved the old password lives on.
        keep: Option<SessionId>,
        request_id: String,
    },
    Login {
        kind: LoginKind,
        user: UserId,
        /// The epoch under which the password was proved.
        epoch: u64,
        rehashed: Option<PasswordHash>,
        address: String,
        request_id: String,
    },
    Role {
        intent: RoleIntent,
        requester: Requester,
        request_id: String,
    },
    EndSession {
        ticket: Ticket<v1::DeleteSessionResponse>,
        requester: Requester,
        id: SessionId,
        request_id: String,
    },
}

impl Intent {
    fn ticket(&self) -> TicketId {
        match self {
            Self::Create { ticket, .. } => ticket.id(),
            Self::Update { ticket, .. } => ticket.id(),
            Self::Delete { ticket, .. } => ticket.id(),
            Self::Password { way: PasswordChange::Own { ticket }, .. } => ticket.id(),
            Self::Password { way: PasswordChange::Reset { ticket, .. }, .. } => ticket.id(),
            Self::Login { kind, .. } => kind.ticket(),
            Self::Role { intent, .. } => intent.ticket(),
            Self::EndSession { ticket, .. } => ticket.id(),
        }
    }
}

/// A password that an account is given with other changes of it.
#[derive(Debug)]
pub(super) struct NextPassword {
    pub(super) hash: PasswordHash,
    /// As IPMI needs it, sealed.
    pub(super) ipmi_secret: Option<Vec<u8>>,
    /// It was checked as one of an account that logs in over IPMI.
    pub(super) ipmi: bool,
    /// The epoch under which it was found to be another than the one before; `None` where somebody else sets it.
    pub(super) epoch: Option<u64>,
}

/// By which way a password is changed.
#[derive(Debug)]
pub(super) enum PasswordChange {
    /// By its owner, who knows the old one.
    Own { ticket: Ticket<v1::ChangePasswordResponse> },
    /// By one who manages users, where a generated one is handed out, or by its owner without the old one.
    Reset { ticket: Ticket<v1::ResetPasswordResponse>, generated: Option<Password>, own: bool },
}

/// A batch that is being stored.
#[derive(Debug)]
pub(super) struct Writing {
    writes: Vec<Write>,
    purpose: Purpose,
    since: Mono,
    /// What of it the store did not have up to date before.
    unsaved: Vec<StoreKey>,
}

#[derive(Debug)]
enum Purpose {
    /// One write, and what is true once it is stored.
    Change { commit: Box<Commit>, state: Pending },
    /// What is true whether it is stored or not.
    Login(Box<Commit>),
    /// Brings the store up to date with memory.
    Tidy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pending {
    /// The write, or the question what became of it, is under way.
    Asked { since: Mono },
    /// Nobody knows; asked again then.
    Unknown { ask_at: Mono },
}

impl Writing {
    /// When the machine has something to do about it.
    pub(super) fn deadline(&self) -> Option<Mono> {
        let Purpose::Change { commit, state } = &self.purpose else { return None };
        let ask = match state {
            Pending::Asked { .. } => None,
            Pending::Unknown { ask_at } => Some(*ask_at),
        };
        [ask, commit.answer_by()].into_iter().flatten().min()
    }

    /// From when on what does not need the store goes past it.
    pub(super) fn passed_from(&self) -> Mono {
        match &self.purpose {
            Purpose::Change { state: Pending::Unknown { .. }, .. } => self.since,
            _ => self.since.saturating_add(LOGIN_PATIENCE),
        }
    }
}

/// What happens once a batch is stored.
#[derive(Debug)]
struct Commit {
    /// Whom `answer` goes to; `None` once they were told something else.
    ticket: Option<TicketId>,
    /// When its caller gives up.
    deadline: Mono,
    change: Option<Change>,
    role: Option<RoleChange>,
    /// What is told of the account, in this order.
    told: Vec<UserChangeKind>,
    /// All sessions of the account end, but for the one that is kept.
    ends_sessions: Option<SessionChangeKind>,
    /// Sessions that end, and why.
    ended: Vec<(SessionId, SessionChangeKind)>,
    /// The session that begins.
    begun: Option<Session>,
    /// The session that moves to the account's new epoch.
    kept: Option<(SessionId, u64)>,
    /// What the store is to be brought up to date about afterwards.
    follow: Vec<StoreKey>,
    /// What stands against the account is lifted; all about it is forgotten.
    unlock: Unlock,
    answer: Answer,
    cause: Cause,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unlock {
    No,
    Lift,
    Forget,
}

/// What is to be stored before a change is true.
struct Planned {
    writes: Vec<Write>,
    commit: Commit,
    /// It is true anyway.
    anyway: bool,
}

#[derive(Debug)]
enum Answer {
    Created(Ticket<v1::CreateUserResponse>, Vec<String>),
    /// With a new password, or without one.
    Updated(Ticket<v1::UpdateUserResponse>, bool),
    Deleted(Ticket<v1::DeleteUserResponse>),
    PasswordChanged(Ticket<v1::ChangePasswordResponse>),
    PasswordReset(Ticket<v1::ResetPasswordResponse>, Option<Password>),
    LoggedIn(Ticket<v1::CreateSessionResponse>, Token),
    Principal {
        ticket: Ticket<v1::VerifyPasswordResponse>,
        user: UserId,
        address: String,
    },
    SessionDeleted(Ticket<v1::DeleteSessionResponse>),
    Role(RoleAnswer),
}

impl Machine {
    /// Puts a change in line, to be begun before `deadline`.
    pub(super) fn intend(&mut self, intent: Intent, deadline: Mono) -> Result<(), Status> {
        if self.intents.len() >= INTENTS_MAX {
            return Err(service::too_many_calls("changes of users and sessions"));
        }
        self.intents.push_back((deadline, intent));
        Ok(())
    }

    /// Puts a change of a role in line.
    pub(super) fn intend_role(
        &mut self,
        intent: RoleIntent,
        caller: &Caller,
        now: Now,
    ) -> Result<Option<Action>, Status> {
        let requester = self.manager(caller, now)?;
        let request_id = caller.request_id.clone();
        self.intend(Intent::Role { intent, requester, request_id }, caller.deadline)?;
        Ok(None)
    }

    /// A verified login. HTTP Basic needs nothing of the store: when it was, and a hash at today's cost, are stored some time.
    #[allow(clippy::too_many_arguments, reason = "the parts of one login")]
    pub(super) fn log_in(
        &mut self,
        kind: LoginKind,
        (user, epoch): (UserId, u64),
        rehashed: Option<PasswordHash>,
        address: String,
        request_id: String,
        deadline: Mono,
        now: Now,
        out: &mut Vec<Action>,
    ) -> Result<(), Status> {
        let unclaimed = self.accounts.get(&user).is_some_and(|account| account.unclaimed);
        let ticket = match kind {
            LoginKind::Check { ticket } if !unclaimed => ticket,
            kind => {
                let intent = Intent::Login { kind, user, epoch, rehashed, address, request_id };
                return self.intend(intent, deadline);
            }
        };
        self.note_login(&user, rehashed, now);
        out.push(self.answer(Answer::Principal { ticket, user, address }, None, now)?);
        Ok(())
    }

    /// Notes when an account last logged in, and a hash at today's cost: stored some time, as nobody waits for it.
    pub(super) fn note_login(&mut self, user: &UserId, rehashed: Option<PasswordHash>, now: Now) {
        if let Some(change) = self.accounts.plan_login(user, rehashed, now.wall, LAST_LOGIN_PRECISION_MS) {
            self.accounts.apply(change);
            self.follow([StoreKey::User(user.clone())], now);
        }
    }

    /// Answers what waited for too long, and asks again what became of a write.
    pub(super) fn expire(&mut self, now: Now, out: &mut Vec<Action>) {
        self.intents.retain(|(deadline, intent)| {
            let waits = *deadline > now.mono;
            if !waits {
                let status =
                    Status::deadline_exceeded("the change waited in line for too long and did not happen");
                out.push(refuse(intent.ticket(), status));
            }
            waits
        });
        let Some(Writing { writes, purpose: Purpose::Change { commit, state }, .. }) = &mut self.writing
        else {
            return;
        };
        if let Pending::Unknown { ask_at } = *state
            && ask_at <= now.mono
            && let Some(write) = writes.first()
        {
            *state = Pending::Asked { since: now.mono };
            out.push(Action::Resolve(write.clone()));
        }
        if commit.answer_by().is_some_and(|at| at <= now.mono)
            && let Some(ticket) = commit.ticket.take()
        {
            let text = "the store does not say whether it has the change: look again before you repeat it";
            out.push(refuse(ticket, Status::unavailable(text).with_reason(ipc::OUTCOME_UNKNOWN)));
        }
    }

    /// Starts the next batch if none is under way.
    pub(super) fn advance(&mut self, now: Now, out: &mut Vec<Action>) {
        if self.stops {
            return;
        }
        self.pass(now, out);
        while self.writing.is_none() {
            let Some((deadline, intent)) = self.intents.pop_front() else { break };
            let ticket = intent.ticket();
            match self.plan(intent, now) {
                Err(status) => out.push(refuse(ticket, status)),
                Ok(Planned { writes, mut commit, anyway }) => {
                    commit.deadline = deadline;
                    if writes.is_empty() {
                        self.commit(commit, true, now, out);
                    } else if !anyway {
                        let state = Pending::Asked { since: now.mono };
                        let purpose = Purpose::Change { commit: Box::new(commit), state };
                        self.store(writes, purpose, CHANGE_PATIENCE, now, out);
                    } else if self.ails {
                        // What the last write showed need not be waited for again.
                        self.unsaved.extend(writes.iter().map(Write::key));
                        self.commit(commit, false, now, out);
                    } else {
                        self.store(writes, Purpose::Login(Box::new(commit)), LOGIN_PATIENCE, now, out);
                    }
                }
            }
        }
        if self.writing.is_none() && !self.unsaved.is_empty() && self.unsaved_after <= now.mono {
            // Behind what failed last, and then from the first on: what the store never takes does not keep the rest out.
            let behind = |key: &&StoreKey| self.tidied.as_ref().is_none_or(|last| *key > last);
            let (later, sooner): (Vec<_>, Vec<_>) = self.unsaved.iter().partition(behind);
            let keys: Vec<StoreKey> = later.into_iter().chain(sooner).take(TIDY_MAX).cloned().collect();
            let writes = keys.into_iter().map(|key| self.as_in_memory(key)).collect();
            self.store(writes, Purpose::Tidy, CHANGE_PATIENCE, now, out);
        }
    }

    /// Whether this need not wait for what is being written: it does not need the store.
    pub(super) fn may_pass(&self, intent: &Intent, writing: &Writing) -> bool {
        match intent {
            Intent::Login { .. } => true,
            Intent::EndSession { id, .. } => {
                !self.sessions.may_be_stored(id)
                    && writing.writes.iter().all(|write| write.key() != StoreKey::Session(id.clone()))
            }
            Intent::Create { .. }
            | Intent::Update { .. }
            | Intent::Delete { .. }
            | Intent::Role { .. }
            | Intent::Password { .. } => false,
        }
    }

    /// Lets through what does not need the store while a write takes long: the sessions live in memory until it is stored.
    fn pass(&mut self, now: Now, out: &mut Vec<Action>) {
        let mut at = 0;
        while let Some(writing) = self.writing.as_ref().filter(|writing| writing.passed_from() <= now.mono) {
            let Some((_, intent)) = self.intents.get(at) else { return };
            if !self.may_pass(intent, writing) {
                at += 1;
                continue;
            }
            let Some((_, intent)) = self.intents.remove(at) else { return };
            let ticket = intent.ticket();
            match self.plan(intent, now) {
                Err(status) => out.push(refuse(ticket, status)),
                Ok(Planned { writes, commit, .. }) => {
                    self.unsaved.extend(writes.iter().map(Write::key));
                    self.commit(commit, false, now, out);
                }
            }
        }
    }

    fn as_in_memory(&self, key: StoreKey) -> Write {
        match key {
            StoreKey::User(id) => match self.accounts.get(&id) {
                Some(account) => Write::PutUser(Box::new(account.clone())),
                None => Write::DeleteUser(id),
            },
            StoreKey::Session(id) => match self.sessions.get(&id, Mono::ZERO) {
                Some(session) => Write::PutSession(Box::new(session.clone())),
                None => Write::DeleteSession(id),
            },
            StoreKey::Role(name) => match self.roles.get(&name) {
                Some(role) => Write::PutRole(Box::new(role.clone())),
                None => Write::DeleteRole(name),
            },
        }
    }

    fn store(
        &mut self,
        writes: Vec<Write>,
        purpose: Purpose,
        patience: Millis,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        // This batch leaves nothing unsaved about these keys, or else its failure puts them back.
        let unsaved = writes.iter().map(Write::key).filter(|key| self.unsaved.remove(key)).collect();
        out.push(Action::Write { writes: writes.clone(), patience });
        self.writing = Some(Writing { writes, purpose, since: now.mono, unsaved });
    }

    /// It is known, or not, what became of a batch.
    pub(super) fn written(&mut self, outcome: Outcome, now: Now, out: &mut Vec<Action>) {
        let Some(Writing { writes, purpose, since, unsaved }) = self.writing.take() else { return };
        // How many of them are known to be stored.
        let done = match &outcome {
            Outcome::Stored => writes.len(),
            Outcome::Partly { stored, .. } => *stored,
            Outcome::Refused(_) | Outcome::Unknown(_) => 0,
        };
        match &outcome {
            Outcome::Stored => {
                self.ails = false;
                out.extend(self.unstored.works(now.mono).map(|said| Action::Log(Note::StoredAgain(said))));
                self.pause = RETRY;
            }
            Outcome::Refused(status) | Outcome::Unknown(status) | Outcome::Partly { status, .. } => {
                self.ails = true;
                let note = |said| Action::Log(Note::NotStored { status: status.clone(), said });
                out.extend(self.unstored.fails(now.mono).map(note));
                self.unsaved_after = now.mono.saturating_add(self.pause);
                self.pause = self.pause.saturating_mul(2).min(RETRY_MAX);
            }
        }
        let (taken, rest) = writes.split_at(done.min(writes.len()));
        match (purpose, outcome) {
            (Purpose::Change { commit, .. }, Outcome::Stored) => {
                self.noted(taken);
                self.commit(*commit, true, now, out);
            }
            (Purpose::Change { commit, .. }, Outcome::Refused(status)) => {
                // The change is over; what was to be stored before it still is.
                self.unsaved.extend(unsaved);
                if let Some(ticket) = commit.ticket {
                    let text = format!("usermgr could not store the change: {}", status.message);
                    out.push(refuse(ticket, Status { message: text, ..status }));
                }
            }
            (Purpose::Change { commit, state }, Outcome::Unknown(_) | Outcome::Partly { .. }) => {
                // At once when it was the write that failed, after a pause when it was the question.
                let asked = match state {
                    Pending::Asked { since } if now.mono.since(since) < RETRY => RETRY,
                    _ => Millis::ZERO,
                };
                let state = Pending::Unknown { ask_at: now.mono.saturating_add(asked) };
                let purpose = Purpose::Change { commit, state };
                self.writing = Some(Writing { writes, purpose, since, unsaved });
                self.expire(now, out);
            }
            (Purpose::Login(commit), outcome) => {
                self.noted(taken);
                self.unsaved.extend(rest.iter().map(Write::key));
                // A session is the last of its writes.
                self.commit(*commit, rest.is_empty(), now, out);
                if !matches!(outcome, Outcome::Refused(_)) {
                    self.doubt(rest);
                }
            }
            (Purpose::Tidy, outcome) => {
                self.noted(taken);
                self.unsaved.extend(rest.iter().map(Write::key));
                self.tidied = rest.first().map(Write::key);
                if !matches!(outcome, Outcome::Refused(_)) {
                    self.doubt(rest);
                }
            }
        }
    }

    fn doubt(&mut self, writes: &[Write]) {
        for write in writes {
            if let Write::PutSession(session) = write {
                self.sessions.doubt(&session.id);
            }
        }
    }

    /// Notes how old the times of last use are that the store has.
    fn noted(&mut self, writes: &[Write]) {
        for write in writes {
            if let Write::PutSession(session) = write {
                self.sessions.stored(&session.id, session.last_used_at);
            }
        }
    }

    /// Time passed: ends sessions, and sees to the times of last use.
    pub(super) fn tick(&mut self, now: Now, out: &mut Vec<Action>) {
        for id in self.sessions.over(now.mono) {
            if let Some(session) = self.sessions.remove(&id) {
                self.follow([StoreKey::Session(id)], now);
                self.tell_session(SessionChangeKind::Expired, &session, &Cause::default(), now, out);
            }
        }
        if self.housekeeping <= now.mono {
            self.housekeeping = now.mono.saturating_add(self.limits.sessions.look_interval());
            let stale = self.sessions.stale_in_store();
            self.follow(stale.into_iter().map(|session| StoreKey::Session(session.id)), now);
        }
    }

    /// The write that makes a change durable, and what it does.
    fn plan(&mut self, intent: Intent, now: Now) -> Result<Planned, Status> {
        match intent {
            Intent::Create { ticket, requester, new, ipmi_secret, warnings, request_id } => {
                let requester = self.still(requester, true, now)?;
                self.check_role(&new.role, &requester)?;
                self.check_types(&new.role, new.chosen_types.unwrap_or_default(), new.strict_types)?;
                let change = self.accounts.plan_create(*new, now.wall).map_err(wire::refused)?;
                let change = change.with_ipmi_secret(ipmi_secret);
                let told = Some(UserChangeKind::Created);
                let cause = Cause::request_of(&requester, &request_id);
                Ok(self.account_change(
                    ticket.id(),
                    change,
                    told,
                    None,
                    Answer::Created(ticket, warnings),
                    cause,
                ))
            }
            Intent::Update { ticket, requester, user, patch, unlock, password, request_id } => {
                let requester = self.still(requester, true, now)?;
                let own = user == requester.user;
                let compared = password.as_ref().and_then(|password| password.epoch);
                if compared.is_some() && compared != self.accounts.get(&user).map(|account| account.epoch) {
                    return Err(changed_meanwhile());
                }
                let must_change = patch.password_change_required.unwrap_or(false);
                let mut change = self.plan_data(&user, *patch, &requester, now)?;
                let changed = change.account() != self.accounts.get(&user);
                let of_data = match (changed, unlock) {
                    (true, _) => Some(UserChangeKind::Updated),
                    (false, true) => Some(UserChangeKind::Unlocked),
                    (false, false) => None,
                };
                let kind = if own { UserChangeKind::PasswordChanged } else { UserChangeKind::PasswordReset };
                let of_password = password.as_ref().map(|_| kind);
                let told: Vec<UserChangeKind> = of_data.into_iter().chain(of_password).collect();
                let with_password = password.is_some();
                let mut keep = None;
                if let Some(password) = password {
                    let NextPassword { hash, ipmi_secret, ipmi, .. } = *password;
                    check_ipmi(&change, ipmi)?;
                    // What ends all sessions by itself ends this one as well.
                    keep = requester.session.clone().filter(|_| own && !change.ends_sessions);
                    change = change
                        .with_password(hash, must_change, self.limits.password_history, now.wall)
                        .with_ipmi_secret(ipmi_secret);
                }
                let cause = Cause::request_of(&requester, &request_id);
                let answer = Answer::Updated(ticket, with_password);
                let mut planned = self.account_change(ticket.id(), change, told, keep, answer, cause);
                if !changed && !with_password {
                    planned.writes.clear();
                }
                planned.commit.unlock = match (with_password && !own, unlock) {
                    (true, _) => Unlock::Forget,
                    (false, true) => Unlock::Lift,
                    (false, false) => Unlock::No,
                };
                Ok(planned)
            }
            Intent::Delete { ticket, requester, user, request_id } => {
                let requester = self.still(requester, true, now)?;
                self.check_subject(&user, &requester)?;
                let change = self.accounts.plan_delete(&user).map_err(wire::refused)?;
                let told = Some(UserChangeKind::Deleted);
                let cause = Cause::request_of(&requester, &request_id);
                let mut planned =
                    self.account_change(ticket.id(), change, told, None, Answer::Deleted(ticket), cause);
                planned.commit.unlock = Unlock::Forget;
                Ok(planned)
            }
            Intent::Password {
                way,
                requester,
                user,
                epoch,
                hash,
                ipmi_secret,
                ipmi,
                require_change,
                keep,
                request_id,
            } => {
                let reset = matches!(way, PasswordChange::Reset { own: false, .. });
                let requester = self.still(requester, reset, now)?;
                if reset {
                    self.check_subject(&user, &requester)?;
                }
                if epoch.is_some() && epoch != self.accounts.get(&user).map(|account| account.epoch) {
                    return Err(changed_meanwhile());
                }
                let change = self
                    .accounts
                    .plan_password(&user, hash, require_change, self.limits.password_history, now.wall)
                    .map_err(wire::refused)?
                    .with_ipmi_secret(ipmi_secret);
                check_ipmi(&change, ipmi)?;
                let (ticket, told, answer) = match way {
                    PasswordChange::Own { ticket } => {
                        (ticket.id(), UserChangeKind::PasswordChanged, Answer::PasswordChanged(ticket))
                    }
                    PasswordChange::Reset { ticket, generated, own } => {
                        let answer = Answer::PasswordReset(ticket, generated);
                        let told =
                            if own { UserChangeKind::PasswordChanged } else { UserChangeKind::PasswordReset };
                        (ticket.id(), told, answer)
                    }
                };
                let cause = Cause::request_of(&requester, &request_id);
                let mut planned = self.account_change(ticket, change, Some(told), keep, answer, cause);
                planned.commit.unlock = if reset { Unlock::Forget } else { Unlock::No };
                Ok(planned)
            }
            Intent::Login { kind, user, epoch, rehashed, address, request_id } => {
                self.plan_login(kind, (user, epoch), rehashed, address, request_id, now)
            }
            Intent::Role { intent, requester, request_id } => {
                let requester = self.still(requester, true, now)?;
                let ticket = intent.ticket();
                let (write, change, answer) = self.plan_role(intent, &requester)?;
                let cause = Cause::request_of(&requester, &request_id);
                let role = write.as_ref().map(|_| change);
                let commit = Commit { role, ..Commit::new(ticket, Answer::Role(answer), cause) };
                Ok(Planned { writes: write.into_iter().collect(), commit, anyway: false })
            }
            Intent::EndSession { ticket, requester, id, request_id } => {
                let requester = self.still(requester, false, now)?;
                let session = self.session_of(id.as_str(), &requester, now)?;
                let kind = if session.user == requester.user {
                    SessionChangeKind::Deleted
                } else {
                    // Else who manages accounts would keep those out who may do more.
                    self.check_subject(&session.user, &requester)?;
                    SessionChangeKind::Revoked
                };
                let (answer, cause) =
                    (Answer::SessionDeleted(ticket), Cause::request_of(&requester, &request_id));
                let commit =
                    Commit { ended: vec![(id.clone(), kind)], ..Commit::new(ticket.id(), answer, cause) };
                // One the store never had needs nothing of it.
                let writes = if self.sessions.may_be_stored(&id) {
                    vec![Write::DeleteSession(id)]
                } else {
                    Vec::new()
                };
                Ok(Planned { writes, commit, anyway: false })
            }
        }
    }

    /// What an account's data will be, if the requester may make them so.
    ///
    /// # Errors
    /// It is one's own and for somebody else to change, it goes beyond the own role, or the accounts refuse it.
    pub(super) fn plan_data(
        &self,
        user: &UserId,
        mut patch: AccountPatch,
        requester: &Requester,
        now: Now,
    ) -> Result<Change, Status> {
        self.check_subject(user, requester)?;
        if let Some(account) = self.accounts.get(user) {
            check_own(account, requester, &patch)?;
        }
        if let Some(role) = &patch.role {
            self.check_role(role, requester)?;
        }
        if let Some(account) = self.accounts.get(user) {
            self.choose_types(account, &mut patch)?;
        }
        self.accounts.plan_update(user, patch, now.wall).map_err(wire::refused)
    }

    /// Whoever manages an account may do what it may.
    fn check_subject(&self, user: &UserId, requester: &Requester) -> Result<(), Status> {
        let role = self.accounts.get(user).map(|account| &account.role);
        role.map_or(Ok(()), |role| requester.may_give(self.roles.privileges(role)))
    }

    /// The account's record is the one write that decides. What it means for sessions follows: those of an older epoch are void
    /// wherever they turn up.
    fn account_change(
        &self,
        ticket: TicketId,
        change: Change,
        told: impl IntoIterator<Item = UserChangeKind>,
        keep: Option<SessionId>,
        answer: Answer,
        cause: Cause,
    ) -> Planned {
        let writes = vec![match &change.effect {
            Effect::Put(account) => Write::PutUser(account.clone()),
            Effect::Delete(id) => Write::DeleteUser(id.clone()),
        }];
        let told = told.into_iter().collect();
        let mut commit = Commit { told, ..Commit::new(ticket, answer, cause) };
        if change.ends_sessions {
            commit.ends_sessions = Some(SessionChangeKind::Revoked);
            commit.kept = keep.zip(change.account().map(|account| account.epoch));
        }
        commit.change = Some(change);
        Planned { writes, commit, anyway: false }
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one login")]
    fn plan_login(
        &mut self,
        kind: LoginKind,
        (user, epoch): (UserId, u64),
        rehashed: Option<PasswordHash>,
        address: String,
        request_id: String,
        now: Now,
    ) -> Result<Planned, Status> {
        // It may have been deleted, disabled or given another password while this login stood in line.
        let account = self
            .accounts
            .get(&user)
            .filter(|account| account.is_open(now.wall) && account.epoch == epoch)
            .ok_or_else(changed_meanwhile)?;
        if let LoginKind::Session { purpose: Some(purpose), .. } = &kind {
            check_purpose(account, *purpose)?;
        }
        let unclaimed = account.unclaimed;
        let cause = Cause { principal: Some(account.name.as_str().to_owned()), request_id };
        let change = self.accounts.plan_login(&user, rehashed, now.wall, LAST_LOGIN_PRECISION_MS);
        let mut writes = Vec::new();
        let mut follow = Vec::new();
        if let Some(account) = change.as_ref().and_then(Change::account) {
            // That the first password was used is worth waiting for; when somebody logged in is not.
            if unclaimed {
                writes.push(Write::PutUser(Box::new(account.clone())));
            } else {
                follow.push(StoreKey::User(user.clone()));
            }
        }
        let (ticket, user_agent) = match kind {
            LoginKind::Session { ticket, user_agent, .. } => (ticket, user_agent),
            LoginKind::Check { ticket } => {
                let answer = Answer::Principal { ticket, user, address };
                let commit = Commit { change, follow, ..Commit::new(ticket.id(), answer, cause) };
                return Ok(Planned { writes, commit, anyway: true });
            }
        };
        let token = Token::from_random(self.random()?);
        let session = Session {
            id: SessionId::from_random(self.random()?),
            digest: token.digest(),
            user,
            epoch,
            created_at: now.wall,
            last_used_at: now.wall,
            address,
            user_agent,
        };
        writes.push(Write::PutSession(Box::new(session.clone())));
        let commit = Commit {
            change,
            follow,
            begun: Some(session),
            ..Commit::new(ticket.id(), Answer::LoggedIn(ticket, token), cause)
        };
        Ok(Planned { writes, commit, anyway: true })
    }

    /// What was planned is stored, or need not be: now it is true.
    fn commit(&mut self, commit: Commit, stored: bool, now: Now, out: &mut Vec<Action>) {
        let Commit {
            ticket,
            change,
            role,
            told,
            ends_sessions,
            mut ended,
            begun,
            kept,
            follow,
            unlock,
            answer,
            cause,
            ..
        } = commit;
        let mut subject = None;
        if let Some(change) = change {
            // For the deleted account, what it was.
            let before = self.accounts.get(change.id()).cloned();
            let after = change.account().cloned();
            self.recount(before.as_ref(), after.as_ref(), unlock, now);
            if let Some(kind) = ends_sessions {
                let kept = kept.as_ref().map(|(id, _)| id);
                let sessions = self.sessions.of_user(change.id(), kept);
                ended.extend(sessions.into_iter().map(|id| (id, kind)));
            }
            self.accounts.apply(change);
            subject = after.or(before);
        }
        let role_note = match (&answer, &role) {
            (Answer::Role(answer), Some(change)) => Some(Self::note_role(answer, change, &cause)),
            _ => None,
        };
        if let Some(change) = role {
            self.commit_role(change, &cause, now, out);
        }
        self.follow(follow, now);
        if let Some(account) = &subject {
            for kind in told {
                self.tell_user(kind, account, &cause, now, out);
            }
        }
        if let Some((id, epoch)) = kept {
            self.sessions.renew_epoch(&id, epoch);
            self.follow([StoreKey::Session(id)], now);
        }
        for (id, kind) in ended {
            // A logout has been stored; the store forgets the others by and by, and by their epoch they are void there already.
            if ends_sessions.is_some() || !stored {
                self.follow([StoreKey::Session(id.clone())], now);
            }
            if let Some(session) = self.sessions.remove(&id) {
                self.tell_session(kind, &session, &cause, now, out);
            }
        }
        let begun_id = begun.as_ref().map(|session| session.id.clone());
        if let Some(session) = begun {
            for evicted in self.sessions.insert(session.clone(), stored, now.mono) {
                self.follow([StoreKey::Session(evicted.id.clone())], now);
                self.tell_session(SessionChangeKind::Evicted, &evicted, &cause, now, out);
            }
            self.tell_session(SessionChangeKind::Created, &session, &cause, now, out);
        }
        let note = role_note.unwrap_or_else(|| Note::Done {
            kind: answer.kind(),
            what: answer.name(),
            user: subject
                .as_ref()
                .map(|account| account.name.as_str().to_owned())
                .or_else(|| cause.principal.clone()),
            by: cause.principal.clone(),
            request_id: cause.request_id.clone(),
        });
        out.push(Action::Log(note));
        let subject = subject.map(|account| account.id);
        if let Some(ticket) = ticket {
            let subject = begun_id.map(SubjectId::Session).or(subject.map(SubjectId::User));
            out.push(self.answer(answer, subject, now).unwrap_or_else(|status| refuse(ticket, status)));
        }
    }

    /// Brings what is counted, and where accounts are known from, up to date with a change.
    fn recount(&mut self, before: Option<&Account>, after: Option<&Account>, unlock: Unlock, now: Now) {
        let known = self.lockout.known_changes();
        let key = |account: &Account| Key::account(account.name.as_str());
        if let Some(account) = before {
            match unlock {
                Unlock::No => {}
                Unlock::Lift => self.lockout.lift_account(key(account)),
                Unlock::Forget => self.lockout.forget_account(key(account)),
            }
        }
        match (before, after) {
            (Some(before), Some(after)) => self.lockout.rename_account(key(before), key(after)),
            // Whoever had the name before was somebody else.
            (None, Some(after)) => self.lockout.forget_known(key(after)),
            (_, None) => {}
        }
        if known != self.lockout.known_changes() {
            self.remember_soon(now);
        }
    }

    /// Has the store brought up to date about these, soon if it takes anything.
    pub(super) fn follow(&mut self, keys: impl IntoIterator<Item = StoreKey>, now: Now) {
        let before = self.unsaved.len();
        self.unsaved.extend(keys);
        if self.unsaved.len() > before && !self.ails {
            self.unsaved_after = now.mono;
        }
    }

    fn answer(&self, answer: Answer, subject: Option<SubjectId>, now: Now) -> Result<Action, Status> {
        let user = || match &subject {
            Some(SubjectId::User(id)) => {
                self.accounts.get(id).map(|account| wire::user(account, self.facts(account, now)))
            }
            _ => None,
        };
        Ok(match answer {
            Answer::Created(ticket, warnings) => {
                ticket.answer(v1::CreateUserResponse { user: user(), warnings })
            }
            Answer::Updated(ticket, _) => {
                ticket.answer(v1::UpdateUserResponse { user: user(), warnings: Vec::new() })
            }
            Answer::Deleted(ticket) => ticket.answer(v1::DeleteUserResponse {}),
            Answer::PasswordChanged(ticket) => ticket.answer(v1::ChangePasswordResponse {}),
            Answer::PasswordReset(ticket, generated) => {
                let new_password = generated.map(|password| password.expose().to_owned()).unwrap_or_default();
                ticket.answer(v1::ResetPasswordResponse { new_password })
            }
            Answer::LoggedIn(ticket, token) => {
                let session = match &subject {
                    Some(SubjectId::Session(id)) => self.sessions.get(id, now.mono),
                    _ => None,
                };
                let session = session.and_then(|session| self.session_view(session, now));
                ticket.answer(v1::CreateSessionResponse { session, token: token.to_text().to_string() })
            }
            Answer::Principal { ticket, user, address } => {
                let account = self.accounts.get(&user).filter(|account| account.is_open(now.wall));
                let account = account.ok_or_else(|| wire::refused(auth::Refused::NotFound))?;
                let principal = self.principal(account, None, address, PASSWORD_ANSWER, now);
                ticket.answer(v1::VerifyPasswordResponse { principal: Some(principal) })
            }
            Answer::SessionDeleted(ticket) => ticket.answer(v1::DeleteSessionResponse {}),
            Answer::Role(answer) => self.answer_role(answer),
        })
    }

    /// The daemon stops: nothing more is begun.
    pub(crate) fn stop(&mut self, now: Now) {
        self.follow_clock(now);
        self.stops = true;
    }

    /// What a clean shutdown stores: times of last use, and what could not be stored before.
    pub(crate) fn last_writes(&mut self) -> Vec<Write> {
        let mut keys = std::mem::take(&mut self.unsaved);
        keys.extend(self.sessions.stale_in_store().into_iter().map(|session| StoreKey::Session(session.id)));
        keys.into_iter().map(|key| self.as_in_memory(key)).collect()
    }
}

/// What was true when the password was proved is so no more.
pub(super) fn changed_meanwhile() -> Status {
    Status::aborted("the account was changed meanwhile; try again")
}

/// Refuses a password that was not checked for IPMI, so `ipmi` is false, where its account logs in over IPMI by now: nothing is sealed for that, and it may be
/// longer than IPMI takes. One that was checked for it serves an account that does not.
fn check_ipmi(change: &Change, ipmi: bool) -> Result<(), Status> {
    let is_on = change.account().is_some_and(|account| account.ipmi);
    if is_on && !ipmi { Err(changed_meanwhile()) } else { Ok(()) }
}

/// Nobody shuts oneself out, or gives oneself more: one's own role, enabled flag and end are for somebody else to change.
pub(super) fn check_own(
    account: &Account,
    requester: &Requester,
    patch: &AccountPatch,
) -> Result<(), Status> {
    let risky = patch.role.as_ref().is_some_and(|role| *role != account.role)
        || patch.enabled.is_some_and(|enabled| enabled != account.enabled)
        || patch.expires_at.is_some_and(|end| end != account.expires_at);
    if account.id == requester.user && risky {
        let text = "one's own role, enabled flag and end are changed by another administrator";
        return Err(Status::permission_denied(text).with_reason("OWN_ACCOUNT"));
    }
    Ok(())
}

/// What an answer is about.
enum SubjectId {
    User(UserId),
    Session(SessionId),
}

impl Answer {
    /// What was done, for programs that read the log.
    fn kind(&self) -> &'static str {
        match self {
            Self::Created(..) => "created",
            Self::Updated(..) => "changed",
            Self::Deleted(_) => "deleted",
            Self::PasswordChanged(_) => "password-changed",
            Self::PasswordReset(..) => "password-reset",
            Self::LoggedIn(..) | Self::Principal { .. } => "login",
            Self::SessionDeleted(_) => "session-ended",
            Self::Role(answer) => answer.kind().0,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Created(..) => "a user was created",
            Self::Updated(_, false) => "a user was changed",
            Self::Updated(_, true) => "a user was changed and has a new password",
            Self::Deleted(_) => "a user was deleted",
            Self::PasswordChanged(_) => "a user changed the password",
            Self::PasswordReset(..) => "a user was given a new password",
            Self::LoggedIn(..) | Self::Principal { .. } => "a user logged in",
            Self::SessionDeleted(_) => "a session was ended",
            Self::Role(answer) => answer.kind().1,
        }
    }
}

impl Commit {
    fn new(ticket: TicketId, answer: Answer, cause: Cause) -> Self {
        Self {
            ticket: Some(ticket),
            deadline: Mono::ZERO,
            change: None,
            role: None,
            told: Vec::new(),
            ends_sessions: None,
            ended: Vec::new(),
            begun: None,
            kept: None,
            follow: Vec::new(),
            unlock: Unlock::No,
            answer,
            cause,
        }
    }

    /// When its caller is told that nobody knows, unless something is known before.
    fn answer_by(&self) -> Option<Mono> {
        self.ticket.map(|_| self.deadline.saturating_sub(ANSWER_MARGIN))
    }
}
