//! Everything that needs a password hash: logins, new passwords, new accounts.

use auth::{
    Account, AccountPatch, Address, Class, Flow, Key, NewAccount, Password, PasswordHash, Place, QueueFull,
    Refused, SessionId, UserId, Weakness,
};
use ipc::Status;
use schema::v1alpha1 as v1;
use units::Mono;
use v1::UserChangeKind;

use super::change::{Intent, NextPassword, PasswordChange, changed_meanwhile};
use super::event::Cause;
use super::ticket::{LoginKind, Ticket, TicketId, refuse};
use super::wire;
use super::{Action, Caller, Machine, NewUser, Now, Requester, WorkId};
use crate::work::{Done, Make, Work};

/// The field of a request that has an account's next password and nothing else of it.
const NEW_PASSWORD: &str = "new_password";
/// The field that has a password beside an account's other data.
const PASSWORD: &str = "password";

/// A request waiting for a hash.
#[derive(Debug)]
pub(super) struct Job {
    ticket: TicketId,
    request_id: String,
    /// When the caller gives up.
    deadline: Mono,
    /// Its new password was checked as one of an account that logs in over IPMI, and is sealed for it.
    ipmi: bool,
    task: Task,
}

#[derive(Debug)]
enum Task {
    /// Log in.
    Login { kind: LoginKind, name: String, password: Password, address: String },
    /// Change one's own password.
    OwnPassword {
        ticket: Ticket<v1::ChangePasswordResponse>,
        requester: Requester,
        current: Password,
        new: Password,
    },
    /// Make an account.
    Create { ticket: Ticket<v1::CreateUserResponse>, requester: Requester, new: NewUser, password: Password },
    /// Set an account's password.
    Reset {
        ticket: Ticket<v1::ResetPasswordResponse>,
        requester: Requester,
        user: UserId,
        password: Password,
        generated: bool,
        /// By the account's owner, who chose it.
        own: bool,
        require_change: bool,
    },
    /// Change an account and its password.
    Update {
        ticket: Ticket<v1::UpdateUserResponse>,
        requester: Requester,
        user: UserId,
        patch: Box<AccountPatch>,
        unlock: bool,
        password: Password,
    },
}

/// A job whose hash is being computed.
#[derive(Debug)]
pub(super) struct Running {
    place: Place,
    /// The account whose hash is verified or must not be the new one's, as it was then.
    account: Option<(UserId, u64)>,
    job: Job,
    /// The password that was tried, to know it again if it was wrong.
    tried: Option<Password>,
    /// The password that was generated, to be handed out.
    generated: Option<Password>,
    /// The password that is set, where IPMI needs it.
    for_ipmi: Option<Password>,
}

/// Wrong name, wrong password, disabled account: one answer.
fn invalid_credentials() -> Status {
    Status::unauthenticated("wrong user name or password").with_reason("INVALID_CREDENTIALS")
}

impl Machine {
    #[allow(clippy::too_many_arguments, reason = "the parts of one login")]
    pub(super) fn queue_login(
        &mut self,
        kind: LoginKind,
        name: String,
        password: Password,
        address: String,
        caller: &Caller,
        now: Now,
        out: &mut Vec<Action>,
    ) -> Result<(), Status> {
        // Not an attempt at anything, so not counted either.
        if name.is_empty() || password.is_empty() {
            return Err(invalid_credentials());
        }
        let (key, from) = (Key::account(&name), Address::parse(&address));
        self.lockout.check(key, from, now.mono).map_err(wire::locked)?;
        let place = self.place_of_stranger(&name, from, now);
        let ticket = kind.ticket();
        let task = Task::Login { kind, name, password, address };
        self.enqueue_hash(ticket, task, false, place, caller, out)
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one request")]
    pub(super) fn queue_own_password(
        &mut self,
        ticket: Ticket<v1::ChangePasswordResponse>,
        user: &str,
        current: Password,
        new: Password,
        requester: Requester,
        caller: &Caller,
        now: Now,
        out: &mut Vec<Action>,
    ) -> Result<(), Status> {
        let account = self.account_of(user, &requester)?;
        if account.id != requester.user {
            return Err(Status::permission_denied("another user's password is reset, not changed")
                .with_reason("NOT_OWN_ACCOUNT"));
        }
        let ipmi = account.ipmi;
        self.check_password(NEW_PASSWORD, &new, account.name.as_str(), ipmi)?;
        if new.same_as(&current) {
            return Err(wire::weak(NEW_PASSWORD, Weakness::Unchanged));
        }
        let (key, from) = (Key::account(account.name.as_str()), Address::parse(&requester.address));
        self.lockout.check(key, from, now.mono).map_err(wire::locked)?;
        let place = place_of(&requester);
        self.enqueue_hash(
            ticket.id(),
            Task::OwnPassword { ticket, requester, current, new },
            ipmi,
            place,
            caller,
            out,
        )
    }

    /// Checks a password that is to be an account's, which is in this field of the request: by the policy, and by what IPMI takes (IPMI 2.0 §22.30).
    fn check_password(&self, field: &str, password: &Password, name: &str, ipmi: bool) -> Result<(), Status> {
        self.limits.policy.check(password, name).map_err(|weakness| wire::weak(field, weakness))?;
        if ipmi && password.expose().len() > ipmi::PASSWORD_MAX {
            let text = format!(
                "the account logs in over IPMI, which takes passwords of at most {} bytes: take a shorter one, or switch IPMI off for the account",
                ipmi::PASSWORD_MAX
            );
            return Err(Status::about_field(field, text).with_reason("IPMI_PASSWORD_TOO_LONG"));
        }
        Ok(())
    }

    /// Checks all about a new account but its hash.
    pub(super) fn try_create(
        &mut self,
        new: NewUser,
        password: &Password,
        requester: &Requester,
        now: Now,
    ) -> Result<v1::CreateUserResponse, Status> {
        self.check_password(PASSWORD, password, new.name.as_str(), new.ipmi)?;
        let warnings = warnings(&new);
        let new = new_account(new, UserId::from_random(self.random()?), self.decoy.clone());
        self.check_role(&new.role, requester)?;
        self.check_types(&new.role, new.chosen_types.unwrap_or_default(), new.strict_types)?;
        let change = self.accounts.plan_create(new, now.wall).map_err(wire::refused)?;
        let user = change.account().map(|account| v1::User {
            // Nothing was made, so there is no id to go by.
            id: String::new(),
            ..wire::user(account, self.facts(account, now))
        });
        Ok(v1::CreateUserResponse { user, warnings })
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one request")]
    pub(super) fn queue_create(
        &mut self,
        ticket: Ticket<v1::CreateUserResponse>,
        new: NewUser,
        password: Password,
        requester: Requester,
        caller: &Caller,
        now: Now,
        out: &mut Vec<Action>,
    ) -> Result<(), Status> {
        // Refuse what can be refused before a hash is spent on it; it is planned again once the hash is there.
        self.try_create(new.clone(), &password, &requester, now)?;
        let (place, ipmi) = (place_of(&requester), new.ipmi);
        let task = Task::Create { ticket, requester, new, password };
        self.enqueue_hash(ticket.id(), task, ipmi, place, caller, out)
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one request")]
    pub(super) fn queue_reset(
        &mut self,
        ticket: Ticket<v1::ResetPasswordResponse>,
        user: &str,
        new: Option<Password>,
        require_change: bool,
        requester: Requester,
        caller: &Caller,
        out: &mut Vec<Action>,
    ) -> Result<(), Status> {
        let account = self.account_of(user, &requester)?;
        let (user, name, ipmi) = (account.id.clone(), account.name.as_str().to_owned(), account.ipmi);
        let generated = new.is_none();
        let own = !generated && user == requester.user;
        // Whoever has just chosen it need not change it: it is another one than before, as in a change of the password.
        let require_change = require_change && !own;
        let password = match new {
            Some(password) => password,
            // With the hyphens it would be longer than IPMI takes.
            None if ipmi => auth::token::unbroken_secret(self.random()?),
            None => auth::token::readable_secret(self.random()?),
        };
        self.check_password(NEW_PASSWORD, &password, &name, ipmi)?;
        let place = place_of(&requester);
        let task = Task::Reset { ticket, requester, user, password, generated, own, require_change };
        self.enqueue_hash(ticket.id(), task, ipmi, place, caller, out)
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one request")]
    pub(super) fn queue_update(
        &mut self,
        ticket: Ticket<v1::UpdateUserResponse>,
        user: UserId,
        patch: Box<AccountPatch>,
        unlock: bool,
        password: Password,
        requester: Requester,
        caller: &Caller,
        now: Now,
        out: &mut Vec<Action>,
    ) -> Result<(), Status> {
        // Refuse what can be refused before a hash is spent on it; it is planned again once the hash is there.
        let change = self.plan_data(&user, (*patch).clone(), &requester, now)?;
        let account = change.account().ok_or_else(|| wire::refused(Refused::NotFound))?;
        let ipmi = account.ipmi;
        self.check_password(PASSWORD, &password, account.name.as_str(), ipmi)?;
        let place = place_of(&requester);
        let task = Task::Update { ticket, requester, user, patch, unlock, password };
        self.enqueue_hash(ticket.id(), task, ipmi, place, caller, out)
    }

    fn enqueue_hash(
        &mut self,
        ticket: TicketId,
        task: Task,
        ipmi: bool,
        (class, flow): Place,
        caller: &Caller,
        out: &mut Vec<Action>,
    ) -> Result<(), Status> {
        let deadline = caller.deadline;
        let job = Job { ticket, request_id: caller.request_id.clone(), deadline, ipmi, task };
        let lost = self.queue.push(job, class, flow, deadline).map_err(|(full, _)| too_many(full))?;
        if let Some(lost) = lost {
            out.push(refuse(lost.ticket, too_many(QueueFull::Share)));
        }
        Ok(())
    }

    /// Starts as many hashes as may run.
    pub(super) fn start_hashes(&mut self, now: Now, out: &mut Vec<Action>) {
        for job in self.queue.expired(now.mono) {
            let status = Status::deadline_exceeded("the login waited in line for too long");
            out.push(refuse(job.ticket, status));
        }
        while let Some((place, job)) = self.queue.serve() {
            let ticket = job.ticket;
            if let Err(status) = self.start(place, job, now, out) {
                self.queue.done(place);
                out.push(refuse(ticket, status));
            }
        }
    }

    fn start(&mut self, place: Place, mut job: Job, now: Now, out: &mut Vec<Action>) -> Result<(), Status> {
        let cost = self.limits.cost;
        let salt = self.random()?;
        let make = |password: Option<Password>| Some(Make { password, salt, cost });
        let mut generated_out = None;
        let for_ipmi = match &job.task {
            Task::Login { .. } => None,
            Task::OwnPassword { new: password, .. }
            | Task::Create { password, .. }
            | Task::Reset { password, .. }
            | Task::Update { password, .. } => job.ipmi.then(|| password.clone()),
        };
        let gives_way = place.0 != Class::Administrator;
        let (work, account) = match &mut job.task {
            Task::Login { name, password, address, .. } => {
                // A delay may have begun while this one waited.
                self.lockout
                    .check(Key::account(name), Address::parse(address), now.mono)
                    .map_err(wire::locked)?;
                let account = self.accounts.by_name(name);
                let hash = account.map_or(&self.decoy, |account| &account.hash).clone();
                // A hash made at another cost is made again while the password is at hand.
                let again = if account.is_some() && hash.cost() != cost { make(None) } else { None };
                let subject = account.map(|account| (account.id.clone(), account.epoch));
                let verify = Some((hash, take(password)));
                (Work { verify, replaces: Vec::new(), make: again, gives_way }, subject)
            }
            Task::OwnPassword { requester, current, new, .. } => {
                let account =
                    self.accounts.get(&requester.user).ok_or_else(|| wire::refused(Refused::NotFound))?;
                let key = Key::account(account.name.as_str());
                self.lockout
                    .check(key, Address::parse(&requester.address), now.mono)
                    .map_err(wire::locked)?;
                let verify = Some((account.hash.clone(), take(current)));
                let make = make(Some(take(new)));
                let subject = Some((account.id.clone(), account.epoch));
                let replaces = account.former.iter().take(self.limits.password_history).cloned().collect();
                (Work { verify, replaces, make, gives_way }, subject)
            }
            Task::Create { password, .. } => {
                let make = make(Some(take(password)));
                (Work { verify: None, replaces: Vec::new(), make, gives_way }, None)
            }
            Task::Reset { user, password, generated, own, .. } => {
                generated_out = generated.then(|| password.clone());
                let make = make(Some(take(password)));
                let (subject, replaces) = self.replaced(user, *own);
                (Work { verify: None, replaces, make, gives_way }, subject)
            }
            Task::Update { requester, user, password, .. } => {
                let make = make(Some(take(password)));
                let (subject, replaces) = self.replaced(user, *user == requester.user);
                (Work { verify: None, replaces, make, gives_way }, subject)
            }
        };
        let id: WorkId = self.next_work;
        self.next_work += 1;
        let tried = work.verify.as_ref().map(|(_, password)| password.clone());
        self.running.insert(id, Running { place, account, job, tried, generated: generated_out, for_ipmi });
        out.push(Action::Work(id, work));
        Ok(())
    }

    /// The account whose password is set without the current one, as it is now, and the hashes of which the new one must be none. What an administrator sets for
    /// another may be what it was: to refuse it would tell whose password it is.
    fn replaced(&self, user: &UserId, own: bool) -> (Option<(UserId, u64)>, Vec<PasswordHash>) {
        let Some(account) = self.accounts.get(user).filter(|_| own) else { return (None, Vec::new()) };
        let former = account.former.iter().take(self.limits.password_history);
        let hashes = std::iter::once(&account.hash).chain(former).cloned().collect();
        (Some((account.id.clone(), account.epoch)), hashes)
    }

    /// A hash is done.
    pub(super) fn worked(&mut self, work: WorkId, done: Done, now: Now, out: &mut Vec<Action>) {
        let Some(running) = self.running.remove(&work) else { return };
        self.queue.done(running.place);
        let ticket = running.job.ticket;
        if let Err(status) = self.finish(running, done, now, out) {
            out.push(refuse(ticket, status));
        }
    }

    fn finish(
        &mut self,
        running: Running,
        done: Done,
        now: Now,
        out: &mut Vec<Action>,
    ) -> Result<(), Status> {
        let Running { account: subject, job, tried, generated, for_ipmi, .. } = running;
        let Job { request_id, deadline, task, ipmi, .. } = job;
        if done.unchanged {
            let field = if matches!(task, Task::Update { .. }) { PASSWORD } else { NEW_PASSWORD };
            return Err(wire::weak(field, Weakness::Unchanged));
        }
        let made = match done.made {
            Some(Ok(hash)) => Some(hash),
            Some(Err(error)) => {
                return Err(Status::internal(format!("usermgr cannot hash passwords: {error}")));
            }
            None => None,
        };
        match task {
            Task::Login { kind, name, address, .. } => {
                let cause = Cause { principal: None, request_id };
                let account =
                    self.verified(&name, &address, subject, done.verified, tried, &cause, now, out)?;
                let account = account.ok_or_else(invalid_credentials)?;
                let user = (account.id.clone(), account.epoch);
                self.log_in(kind, user, made, address, cause.request_id, deadline, now, out)
            }
            Task::OwnPassword { ticket, requester, .. } => {
                let cause = Cause::request_of(&requester, &request_id);
                let address = requester.address.clone();
                let name = requester.name.clone();
                let account =
                    self.verified(&name, &address, subject, done.verified, tried, &cause, now, out)?;
                let account = account.ok_or_else(|| {
                    Status::permission_denied("the current password is wrong").with_reason("WRONG_PASSWORD")
                })?;
                let (user, epoch) = (account.id.clone(), Some(account.epoch));
                let hash = made.ok_or_else(no_hash)?;
                let ipmi_secret = self.seal(&user, for_ipmi.as_ref())?;
                let keep: Option<SessionId> = requester.session.clone();
                let intent = Intent::Password {
                    way: PasswordChange::Own { ticket },
                    requester,
                    user,
                    epoch,
                    hash,
                    ipmi_secret,
                    ipmi,
                    require_change: false,
                    keep,
                    request_id,
                };
                self.intend(intent, deadline)
            }
            Task::Create { ticket, requester, new, .. } => {
                let warnings = warnings(&new);
                let new = new_account(new, UserId::from_random(self.random()?), made.ok_or_else(no_hash)?);
                let ipmi_secret = self.seal(&new.id, for_ipmi.as_ref())?;
                let intent = Intent::Create {
                    ticket,
                    requester,
                    new: Box::new(new),
                    ipmi_secret,
                    warnings,
                    request_id,
                };
                self.intend(intent, deadline)
            }
            Task::Reset { ticket, requester, user, own, require_change, .. } => {
                let hash = made.ok_or_else(no_hash)?;
                let ipmi_secret = self.seal(&user, for_ipmi.as_ref())?;
                let intent = Intent::Password {
                    way: PasswordChange::Reset { ticket, generated, own },
                    keep: if own { requester.session.clone() } else { None },
                    requester,
                    user,
                    epoch: subject.map(|(_, epoch)| epoch),
                    hash,
                    ipmi_secret,
                    ipmi,
                    require_change,
                    request_id,
                };
                self.intend(intent, deadline)
            }
            Task::Update { ticket, requester, user, patch, unlock, .. } => {
                let hash = made.ok_or_else(no_hash)?;
                let ipmi_secret = self.seal(&user, for_ipmi.as_ref())?;
                let epoch = subject.map(|(_, epoch)| epoch);
                let password = Some(Box::new(NextPassword { hash, ipmi_secret, ipmi, epoch }));
                let intent = Intent::Update { ticket, requester, user, patch, unlock, password, request_id };
                self.intend(intent, deadline)
            }
        }
    }

    /// Counts the outcome of a verification and tells whose account it opened, if any.
    #[allow(clippy::too_many_arguments, reason = "the parts of one attempt")]
    fn verified(
        &mut self,
        name: &str,
        address: &str,
        subject: Option<(UserId, u64)>,
        right: bool,
        tried: Option<Password>,
        cause: &Cause,
        now: Now,
        out: &mut Vec<Action>,
    ) -> Result<Option<&Account>, Status> {
        let (key, from) = (Key::account(name), Address::parse(address));
        // Attempts that ran side by side: the delay one of them earned holds for the others as well, right or wrong.
        self.lockout.check(key, from, now.mono).map_err(wire::locked)?;
        let subject_now = subject.as_ref().and_then(|(id, _)| self.accounts.get(id)).cloned();
        let unchanged = match (&subject, &subject_now) {
            (Some((_, epoch)), Some(account)) => account.epoch == *epoch,
            (Some(_), None) => false,
            (None, _) => true,
        };
        if !unchanged {
            return Err(changed_meanwhile());
        }
        let opened = subject_now.as_ref().filter(|account| right && account.is_open(now.wall));
        if opened.is_some() {
            self.lockout.success(key, from, now.mono);
            return Ok(subject.and_then(|(id, _)| self.accounts.get(&id)));
        }
        let tried = tried.unwrap_or_else(|| Password::new(String::new()));
        let failed = self.lockout.failure(key, from, &tried, now.mono);
        self.tell_failure(subject_now.as_ref(), address, cause, now, out);
        if let Some(account) = subject_now.filter(|_| failed.locked) {
            self.tell_user(UserChangeKind::Locked, &account, cause, now, out);
        }
        Ok(None)
    }
}

/// In which line somebody waits who is logged in.
fn place_of(requester: &Requester) -> Place {
    let class = if requester.manages_users { Class::Administrator } else { Class::Known };
    (class, Flow::Pair(Key::account(&requester.name), Address::parse(&requester.address)))
}

fn too_many(full: QueueFull) -> Status {
    let reason = match full {
        QueueFull::Share => "TOO_MANY_LOGINS_FROM_ADDRESS",
        QueueFull::Total => "TOO_MANY_LOGINS",
    };
    Status::resource_exhausted(full.to_string()).with_reason(reason)
}

fn no_hash() -> Status {
    Status::internal("usermgr made no hash for a new password: this is a bug")
}

/// Moves a password out; what stays behind is empty.
fn take(password: &mut Password) -> Password {
    std::mem::replace(password, Password::new(String::new()))
}

fn warnings(new: &NewUser) -> Vec<String> {
    if new.role.is_none() { vec!["no role was given: the user is ReadOnly".to_owned()] } else { Vec::new() }
}

fn new_account(new: NewUser, id: UserId, hash: PasswordHash) -> NewAccount {
    NewAccount {
        id,
        name: new.name,
        full_name: new.full_name,
        email: new.email,
        attributes: new.attributes,
        enabled: new.enabled,
        role: new.role.unwrap_or_else(|| auth::Role::ReadOnly.into()),
        hash,
        password_change_required: new.password_change_required,
        unclaimed: false,
        ipmi: new.ipmi,
        ipmi_user: new.ipmi_user,
        chosen_types: new.types,
        strict_types: new.strict_types,
        expires_at: new.expires_at,
    }
}
