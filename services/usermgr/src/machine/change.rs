//! Changes: planned one after the other, stored, applied, told, answered.

use auth::account::Effect;
use auth::{
    AccountPatch, Change, Key, NewAccount, Password, PasswordHash, Session, SessionId, Token, UnixMillis,
    UserId,
};
use ipc::Status;
use prost::Message;
use schema::v1alpha1 as v1;
use units::Millis;
use v1::{SessionChangeKind, UserChangeKind};

use super::event::Cause;
use super::{Action, Asker, INTENTS_MAX, Machine, Now, PASSWORD_ANSWER, StoreKey, Ticket, Write};
use crate::wire;

/// Pause before what could not be stored is tried again.
const RETRY: Millis = Millis::from_secs(1);
/// How precisely the last login by HTTP Basic is stored: such clients log in with every request, and flash wears.
const LAST_LOGIN_PRECISION_MS: u64 = 60 * 60 * 1000;

/// A change somebody wants.
#[derive(Debug)]
pub(super) enum Intent {
    Create {
        ticket: Ticket,
        asker: Asker,
        new: Box<NewAccount>,
        warnings: Vec<String>,
        request_id: String,
    },
    Update {
        ticket: Ticket,
        asker: Asker,
        user: UserId,
        patch: Box<AccountPatch>,
        unlock: bool,
        request_id: String,
    },
    Delete {
        ticket: Ticket,
        asker: Asker,
        user: UserId,
        request_id: String,
    },
    Password {
        ticket: Ticket,
        asker: Asker,
        user: UserId,
        /// The epoch under which the old password was proved; `None` for a reset.
        epoch: Option<u64>,
        hash: PasswordHash,
        require_change: bool,
        /// The session that proved the old password lives on.
        keep: Option<SessionId>,
        reset: bool,
        generated: Option<Password>,
        request_id: String,
    },
    Login {
        ticket: Ticket,
        user: UserId,
        /// The epoch under which the password was proved.
        epoch: u64,
        rehashed: Option<PasswordHash>,
        address: String,
        /// A session is made for this client; without, it is HTTP Basic.
        user_agent: Option<String>,
        request_id: String,
    },
    EndSession {
        ticket: Ticket,
        asker: Asker,
        id: SessionId,
        request_id: String,
    },
}

impl Intent {
    fn ticket(&self) -> Ticket {
        match self {
            Self::Create { ticket, .. }
            | Self::Update { ticket, .. }
            | Self::Delete { ticket, .. }
            | Self::Password { ticket, .. }
            | Self::Login { ticket, .. }
            | Self::EndSession { ticket, .. } => *ticket,
        }
    }
}

/// A batch that is being stored.
#[derive(Debug)]
pub(super) struct Writing {
    keys: Vec<StoreKey>,
    /// `None`: only brings the store up to date with memory.
    commit: Option<Box<Commit>>,
    /// Times of last use that are stored with the batch.
    used: Vec<(SessionId, UnixMillis)>,
}

/// What happens once a batch is stored.
#[derive(Debug)]
struct Commit {
    ticket: Ticket,
    change: Option<Change>,
    told: Option<UserChangeKind>,
    /// Sessions that end, and why.
    ended: Vec<(SessionId, SessionChangeKind)>,
    /// The session that begins.
    begun: Option<Session>,
    /// The session that moves to the account's new epoch.
    kept: Option<(SessionId, u64)>,
    unlock: bool,
    answer: Answer,
    cause: Cause,
}

#[derive(Debug)]
enum Answer {
    Created(Vec<String>),
    Updated,
    Deleted,
    PasswordChanged,
    PasswordReset(Option<Password>),
    LoggedIn(Token),
    Principal { user: UserId, address: String },
    SessionDeleted,
}

impl Machine {
    /// Puts a change in line.
    pub(super) fn intend(&mut self, intent: Intent) -> Result<(), Status> {
        if self.intents.len() >= INTENTS_MAX {
            return Err(Status::resource_exhausted("too many changes of users and sessions at once"));
        }
        self.intents.push_back(intent);
        Ok(())
    }

    /// A verified login: at once if there is nothing to store, else in line.
    #[allow(clippy::too_many_arguments, reason = "the parts of one login")]
    pub(super) fn log_in(
        &mut self,
        ticket: Ticket,
        (user, epoch): (UserId, u64),
        rehashed: Option<PasswordHash>,
        address: String,
        user_agent: Option<String>,
        request_id: String,
        now: Now,
        out: &mut Vec<Action>,
    ) -> Result<(), Status> {
        let nothing_to_store = user_agent.is_none()
            && rehashed.is_none()
            && self.accounts.plan_login(&user, None, now.wall, LAST_LOGIN_PRECISION_MS).is_none();
        if nothing_to_store {
            let answer = self.encode(Answer::Principal { user, address }, None, now)?;
            out.push(Action::Answer(ticket, Ok(answer)));
            return Ok(());
        }
        self.intend(Intent::Login { ticket, user, epoch, rehashed, address, user_agent, request_id })
    }

    /// Starts the next batch if none is under way.
    pub(super) fn advance(&mut self, now: Now, out: &mut Vec<Action>) {
        while self.writing.is_none() {
            let Some(intent) = self.intents.pop_front() else { break };
            let ticket = intent.ticket();
            match self.plan(intent, now) {
                Err(status) => out.push(Action::Answer(ticket, Err(status))),
                Ok((writes, commit)) if writes.is_empty() => self.commit(commit, now, out),
                Ok((writes, commit)) => self.store(writes, Some(Box::new(commit)), out),
            }
        }
        if self.writing.is_none() && !self.unsaved.is_empty() && self.unsaved_after <= now.mono {
            let keys = std::mem::take(&mut self.unsaved);
            let writes = keys.into_iter().map(|key| self.as_in_memory(key, now)).collect();
            self.store(writes, None, out);
        }
    }

    fn as_in_memory(&self, key: StoreKey, now: Now) -> Write {
        match key {
            StoreKey::User(id) => match self.accounts.get(&id) {
                Some(account) => Write::PutUser(Box::new(account.clone())),
                None => Write::DeleteUser(id),
            },
            StoreKey::Session(id) => match self.sessions.get(&id, now.mono) {
                Some(session) => Write::PutSession(Box::new(session.clone())),
                None => Write::DeleteSession(id),
            },
        }
    }

    fn store(&mut self, writes: Vec<Write>, commit: Option<Box<Commit>>, out: &mut Vec<Action>) {
        let keys: Vec<StoreKey> = writes.iter().map(Write::key).collect();
        let used = writes
            .iter()
            .filter_map(|write| match write {
                Write::PutSession(session) => Some((session.id.clone(), session.last_used_at)),
                _ => None,
            })
            .collect();
        // This batch leaves nothing unsaved about these keys, or else the failure puts them back.
        keys.iter().for_each(|key| {
            self.unsaved.remove(key);
        });
        self.writing = Some(Writing { keys, commit, used });
        out.push(Action::Write(writes));
    }

    /// A batch was stored, or perhaps not.
    pub(super) fn written(&mut self, result: Result<(), Status>, now: Now, out: &mut Vec<Action>) {
        let Some(Writing { keys, commit, used }) = self.writing.take() else { return };
        match result {
            Ok(()) => {
                if let Some(commit) = commit {
                    self.commit(*commit, now, out);
                }
                for (id, at) in used {
                    self.sessions.stored(&id, at);
                }
            }
            Err(status) => {
                tracing::warn!(error = %status, "accounts or sessions could not be stored");
                self.unsaved.extend(keys);
                self.unsaved_after = now.mono.saturating_add(RETRY);
                if let Some(commit) = commit {
                    let text = format!("usermgr could not store the change: {}", status.message);
                    out.push(Action::Answer(commit.ticket, Err(Status { message: text, ..status })));
                }
            }
        }
    }

    /// Time passed: ends sessions, and sees to the times of last use.
    pub(super) fn tick(&mut self, now: Now, out: &mut Vec<Action>) {
        for id in self.sessions.over(now.mono) {
            if let Some(session) = self.sessions.remove(&id) {
                self.unsaved.insert(StoreKey::Session(id));
                self.tell_session(SessionChangeKind::Expired, &session, &Cause::default(), now, out);
            }
        }
        if self.housekeeping <= now.mono {
            let interval = self.limits.sessions.touch_interval();
            let pause = interval.max(Millis::from_secs(1)).min(Millis::from_secs(60));
            self.housekeeping = now.mono.saturating_add(pause);
            let stale = self.sessions.stale_in_store();
            self.unsaved.extend(stale.into_iter().map(|session| StoreKey::Session(session.id)));
        }
    }

    /// The writes that make a planned end of a session or an account's change durable.
    fn plan(&mut self, intent: Intent, now: Now) -> Result<(Vec<Write>, Commit), Status> {
        match intent {
            Intent::Create { ticket, asker, new, warnings, request_id } => {
                let change = self.accounts.plan_create(*new, now.wall).map_err(wire::refused)?;
                let told = Some(UserChangeKind::Created);
                let cause = Cause::asked(&asker, &request_id);
                Ok(self.account_change(ticket, change, told, None, Answer::Created(warnings), cause))
            }
            Intent::Update { ticket, asker, user, patch, unlock, request_id } => {
                let change = self.accounts.plan_update(&user, *patch, now.wall).map_err(wire::refused)?;
                let changed = change.account() != self.accounts.get(&user);
                let told = match (changed, unlock) {
                    (true, _) => Some(UserChangeKind::Updated),
                    (false, true) => Some(UserChangeKind::Unlocked),
                    (false, false) => None,
                };
                let cause = Cause::asked(&asker, &request_id);
                let (mut writes, mut commit) =
                    self.account_change(ticket, change, told, None, Answer::Updated, cause);
                if !changed {
                    writes.clear();
                }
                commit.unlock = unlock;
                Ok((writes, commit))
            }
            Intent::Delete { ticket, asker, user, request_id } => {
                let change = self.accounts.plan_delete(&user).map_err(wire::refused)?;
                let told = Some(UserChangeKind::Deleted);
                let cause = Cause::asked(&asker, &request_id);
                let (writes, mut commit) =
                    self.account_change(ticket, change, told, None, Answer::Deleted, cause);
                commit.unlock = true;
                Ok((writes, commit))
            }
            Intent::Password {
                ticket,
                asker,
                user,
                epoch,
                hash,
                require_change,
                keep,
                reset,
                generated,
                request_id,
            } => {
                if epoch.is_some() && epoch != self.accounts.get(&user).map(|account| account.epoch) {
                    return Err(changed_meanwhile());
                }
                let change = self
                    .accounts
                    .plan_password(&user, hash, require_change, now.wall)
                    .map_err(wire::refused)?;
                let (told, answer) = if reset {
                    (UserChangeKind::PasswordReset, Answer::PasswordReset(generated))
                } else {
                    (UserChangeKind::PasswordChanged, Answer::PasswordChanged)
                };
                let cause = Cause::asked(&asker, &request_id);
                let (writes, mut commit) =
                    self.account_change(ticket, change, Some(told), keep, answer, cause);
                commit.unlock = reset;
                Ok((writes, commit))
            }
            Intent::Login { ticket, user, epoch, rehashed, address, user_agent, request_id } => {
                self.plan_login(ticket, (user, epoch), rehashed, address, user_agent, request_id, now)
            }
            Intent::EndSession { ticket, asker, id, request_id } => {
                let session = self.session_of(id.as_str(), &asker, now)?;
                let kind = if session.user == asker.user {
                    SessionChangeKind::Deleted
                } else {
                    SessionChangeKind::Revoked
                };
                let commit = Commit {
                    ended: vec![(id.clone(), kind)],
                    ..Commit::new(ticket, Answer::SessionDeleted, Cause::asked(&asker, &request_id))
                };
                Ok((vec![Write::DeleteSession(id)], commit))
            }
        }
    }

    /// The account's record first: it alone decides, since sessions of an older epoch are void wherever they turn up.
    fn account_change(
        &self,
        ticket: Ticket,
        change: Change,
        told: Option<UserChangeKind>,
        keep: Option<SessionId>,
        answer: Answer,
        cause: Cause,
    ) -> (Vec<Write>, Commit) {
        let mut writes = vec![match &change.effect {
            Effect::Put(account) => Write::PutUser(account.clone()),
            Effect::Delete(id) => Write::DeleteUser(id.clone()),
        }];
        let mut commit = Commit { told, ..Commit::new(ticket, answer, cause) };
        if change.ends_sessions {
            if let (Some(id), Some(account)) = (keep, change.account())
                && let Some(session) = self.sessions.get(&id, units::Mono::ZERO)
            {
                writes.push(Write::PutSession(Box::new(Session { epoch: account.epoch, ..session.clone() })));
                commit.kept = Some((id, account.epoch));
            }
            let kept = commit.kept.as_ref().map(|(id, _)| id);
            let ended = self.sessions.of_user(change.id(), kept);
            writes.extend(ended.iter().cloned().map(Write::DeleteSession));
            commit.ended = ended.into_iter().map(|id| (id, SessionChangeKind::Revoked)).collect();
        }
        commit.change = Some(change);
        (writes, commit)
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one login")]
    fn plan_login(
        &mut self,
        ticket: Ticket,
        (user, epoch): (UserId, u64),
        rehashed: Option<PasswordHash>,
        address: String,
        user_agent: Option<String>,
        request_id: String,
        now: Now,
    ) -> Result<(Vec<Write>, Commit), Status> {
        // It may have been deleted, disabled or given another password while this login stood in line.
        let account = self
            .accounts
            .get(&user)
            .filter(|account| account.enabled && account.epoch == epoch)
            .ok_or_else(changed_meanwhile)?;
        let name = account.name.as_str().to_owned();
        let cause = Cause { principal: Some(name), request_id };
        let change = self.accounts.plan_login(&user, rehashed, now.wall, LAST_LOGIN_PRECISION_MS);
        let mut writes: Vec<Write> = change
            .iter()
            .filter_map(|change| change.account().cloned().map(|account| Write::PutUser(Box::new(account))))
            .collect();
        let Some(user_agent) = user_agent else {
            let commit = Commit { change, ..Commit::new(ticket, Answer::Principal { user, address }, cause) };
            return Ok((writes, commit));
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
        let evicted = self.sessions.evicted_by(&session.user);
        writes.extend(evicted.iter().cloned().map(Write::DeleteSession));
        writes.push(Write::PutSession(Box::new(session.clone())));
        let commit = Commit {
            change,
            ended: evicted.into_iter().map(|id| (id, SessionChangeKind::Evicted)).collect(),
            begun: Some(session),
            ..Commit::new(ticket, Answer::LoggedIn(token), cause)
        };
        Ok((writes, commit))
    }

    /// What was planned is stored: now it is true.
    fn commit(&mut self, commit: Commit, now: Now, out: &mut Vec<Action>) {
        let Commit { ticket, change, told, ended, begun, kept, unlock, answer, cause } = commit;
        let mut subject = None;
        if let Some(change) = change {
            // For the deleted account, what it was.
            let before = self.accounts.get(change.id()).cloned();
            let after = change.account().cloned();
            if unlock && let Some(account) = &before {
                self.lockout.forget_account(Key::account(account.name.as_str()));
            }
            self.accounts.apply(change);
            subject = after.or(before);
        }
        if let (Some(kind), Some(account)) = (told, &subject) {
            self.tell_user(kind, account, &cause, now, out);
        }
        if let Some((id, epoch)) = kept {
            self.sessions.renew_epoch(&id, epoch);
        }
        for (id, kind) in ended {
            if let Some(session) = self.sessions.remove(&id) {
                self.tell_session(kind, &session, &cause, now, out);
            }
        }
        let begun_id = begun.as_ref().map(|session| session.id.clone());
        if let Some(session) = begun {
            self.tell_session(SessionChangeKind::Created, &session, &cause, now, out);
            self.sessions.insert(session, now.mono);
        }
        tracing::info!(
            user = subject.as_ref().map(|account| account.name.as_str()).or(cause.principal.as_deref()),
            by = cause.principal.as_deref(),
            request_id = %cause.request_id,
            "{}",
            answer.name()
        );
        let subject = subject.map(|account| account.id);
        let answer =
            self.encode(answer, begun_id.map(SubjectId::Session).or(subject.map(SubjectId::User)), now);
        out.push(Action::Answer(ticket, answer));
    }

    fn encode(&self, answer: Answer, subject: Option<SubjectId>, now: Now) -> Result<Vec<u8>, Status> {
        let user = || match &subject {
            Some(SubjectId::User(id)) => {
                self.accounts.get(id).map(|account| wire::user(account, self.facts(account, now)))
            }
            _ => None,
        };
        Ok(match answer {
            Answer::Created(warnings) => v1::CreateUserResponse { user: user(), warnings }.encode_to_vec(),
            Answer::Updated => v1::UpdateUserResponse { user: user(), warnings: Vec::new() }.encode_to_vec(),
            Answer::Deleted => v1::DeleteUserResponse {}.encode_to_vec(),
            Answer::PasswordChanged => v1::ChangePasswordResponse {}.encode_to_vec(),
            Answer::PasswordReset(generated) => {
                let new_password = generated.map(|password| password.expose().to_owned()).unwrap_or_default();
                v1::ResetPasswordResponse { new_password }.encode_to_vec()
            }
            Answer::LoggedIn(token) => {
                let session = match &subject {
                    Some(SubjectId::Session(id)) => self.sessions.get(id, now.mono),
                    _ => None,
                };
                let session = session.and_then(|session| self.session_view(session, now));
                v1::CreateSessionResponse { session, token: token.to_text().to_string() }.encode_to_vec()
            }
            Answer::Principal { user, address } => {
                let account = self.accounts.get(&user).filter(|account| account.enabled);
                let account = account.ok_or_else(|| wire::refused(auth::Refused::NotFound))?;
                let principal = self.principal(account, None, address, PASSWORD_ANSWER, now);
                v1::VerifyPasswordResponse { principal: Some(principal) }.encode_to_vec()
            }
            Answer::SessionDeleted => v1::DeleteSessionResponse {}.encode_to_vec(),
        })
    }

    /// What a clean shutdown stores: times of last use, and what could not be stored before.
    pub(crate) fn last_writes(&mut self, now: Now) -> Vec<Write> {
        let mut keys = std::mem::take(&mut self.unsaved);
        keys.extend(self.sessions.stale_in_store().into_iter().map(|session| StoreKey::Session(session.id)));
        keys.into_iter().map(|key| self.as_in_memory(key, now)).collect()
    }
}

/// What was true when the password was proved is so no more.
pub(super) fn changed_meanwhile() -> Status {
    Status::aborted("the account was changed meanwhile; try again")
}

/// What an answer is about.
enum SubjectId {
    User(UserId),
    Session(SessionId),
}

impl Answer {
    fn name(&self) -> &'static str {
        match self {
            Self::Created(_) => "a user was created",
            Self::Updated => "a user was changed",
            Self::Deleted => "a user was deleted",
            Self::PasswordChanged => "a user changed the password",
            Self::PasswordReset(_) => "a user was given a new password",
            Self::LoggedIn(_) | Self::Principal { .. } => "a user logged in",
            Self::SessionDeleted => "a session was ended",
        }
    }
}

impl Commit {
    fn new(ticket: Ticket, answer: Answer, cause: Cause) -> Self {
        Self {
            ticket,
            change: None,
            told: None,
            ended: Vec::new(),
            begun: None,
            kept: None,
            unlock: false,
            answer,
            cause,
        }
    }
}
