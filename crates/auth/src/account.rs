//! The accounts: one store, one writer, no change without a plan.
//!
//! A change is planned against the current state, stored by the caller, and only then applied, so that what is
//! confirmed is durable and what could not be stored never happened. Between plan and apply the caller lets no
//! other change in.

use std::collections::BTreeMap;
use std::fmt;

use data_encoding::HEXLOWER;

use crate::account_type::{AccountType, AccountTypes};
use crate::hash::PasswordHash;
use crate::role::Role;
use crate::roles::RoleName;
use crate::wall::UnixMillis;

/// The permanent name of an account: 16 characters, the first a digit. Never used again after deletion.
///
/// A [`UserName`] never begins with a digit, so an id and a name can stand in the same place of a request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(String);

impl UserId {
    /// Bytes of randomness in an id.
    pub const BYTES: usize = 8;

    /// An id of 16 hexadecimal digits, the first of them 0 to 7.
    #[must_use]
    pub fn from_random(mut random: [u8; Self::BYTES]) -> Self {
        if let Some(first) = random.first_mut() {
            *first &= 0x7f;
        }
        Self(HEXLOWER.encode(&random))
    }

    /// Reads an id; `None` when the text cannot be one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c));
        let first = text.bytes().next().is_some_and(|c| (b'0'..=b'7').contains(&c));
        (text.len() == Self::BYTES * 2 && digits && first).then(|| Self(text.to_owned()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What one logs in with: `^[a-zA-Z_][a-zA-Z0-9._-]*$`, at most 64 characters. Names that differ only by case are
/// not allowed beside each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName(String);

/// The text is no user name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a user name has 1 to {} characters: a letter or _ first, then letters, digits, '.', '_' and '-'",
    UserName::MAX_LEN
)]
pub struct NameError;

impl UserName {
    /// Most characters of a name.
    pub const MAX_LEN: usize = 64;
    /// Most of one that logs in over IPMI (IPMI 2.0 table 13-11).
    pub const IPMI_MAX_LEN: usize = 16;

    /// Checks a name.
    ///
    /// # Errors
    /// [`NameError`] when it does not have the form.
    pub fn new(name: &str) -> Result<Self, NameError> {
        let mut rest = name.bytes();
        let first = rest.next().is_some_and(|c| c.is_ascii_alphabetic() || c == b'_');
        let follows = rest.all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-'));
        if first && follows && name.len() <= Self::MAX_LEN {
            Ok(Self(name.to_owned()))
        } else {
            Err(NameError)
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Permanent id.
    pub id: UserId,
    /// Login name.
    pub name: UserName,
    /// Name of the person.
    pub full_name: Option<String>,
    /// Mail address.
    pub email: Option<String>,
    /// What a client keeps with the account; it decides nothing.
    pub attributes: BTreeMap<String, String>,
    /// A disabled account cannot log in.
    pub enabled: bool,
    /// What it may do.
    pub role: RoleName,
    /// The password's hash.
    pub hash: PasswordHash,
    /// The hashes of passwords before, the last first: as many as its owner must not choose again.
    pub former: Vec<PasswordHash>,
    /// When the password was set.
    pub password_changed_at: UnixMillis,
    /// Only the password may be changed until it is.
    pub password_change_required: bool,
    /// The password was generated on first boot and nobody has used it yet: see `usermgr`'s first-boot rule.
    pub unclaimed: bool,
    /// It may log in over IPMI.
    pub ipmi: bool,
    /// The password as IPMI needs it, sealed; made when a password is set while [`Self::ipmi`] is.
    pub ipmi_secret: Option<Vec<u8>>,
    /// Its number as a user of IPMI, while [`Self::ipmi`] is: one of [`IPMI_USERS`], and of no other account.
    pub ipmi_user: Option<u8>,
    /// What it may be used for beside IPMI, which is [`Self::ipmi`]; `None` when nobody has chosen: everything.
    pub chosen_types: Option<AccountTypes>,
    /// It is for what was chosen and nothing else.
    pub strict_types: bool,
    /// From then on it cannot log in.
    pub expires_at: Option<UnixMillis>,
    /// Sessions of another epoch are void.
    pub epoch: u64,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When anything but the last login changed.
    pub updated_at: UnixMillis,
    /// The last success, to the precision the daemon stores it with.
    pub last_login: Option<UnixMillis>,
}

impl Account {
    /// Whether it may be logged in to: it is enabled, and its time is not over.
    #[must_use]
    pub fn is_open(&self, wall: UnixMillis) -> bool {
        self.enabled && self.expires_at.is_none_or(|end| wall < end)
    }

    /// What it may be used for, as far as its role can.
    #[must_use]
    pub fn types(&self) -> AccountTypes {
        self.chosen_types.unwrap_or(AccountTypes::ALL).set(AccountType::Ipmi, self.ipmi)
    }

    /// Gives it a new password. Of those before, the last `history` are kept; which sessions that ends the caller says.
    fn set_password(&mut self, hash: PasswordHash, change_required: bool, history: usize, wall: UnixMillis) {
        self.former.insert(0, std::mem::replace(&mut self.hash, hash));
        self.former.truncate(history);
        // It is of the old password.
        self.ipmi_secret = None;
        self.password_changed_at = wall;
        self.password_change_required = change_required;
        self.unclaimed = false;
        self.updated_at = wall.max(self.updated_at);
    }

    /// Whoever is one for a time only, or without Redfish, is not counted on.
    fn is_active_administrator(&self) -> bool {
        self.enabled
            && self.role == Role::Administrator
            && self.expires_at.is_none()
            && self.types().contains(AccountType::Redfish)
    }
}

/// What is needed to create an account. Everything else is the server's.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// A fresh random id.
    pub id: UserId,
    /// Login name.
    pub name: UserName,
    /// Name of the person.
    pub full_name: Option<String>,
    /// Mail address.
    pub email: Option<String>,
    /// What the client keeps with the account.
    pub attributes: BTreeMap<String, String>,
    /// Whether it may log in.
    pub enabled: bool,
    /// What it may do.
    pub role: RoleName,
    /// The password's hash.
    pub hash: PasswordHash,
    /// Whether the password must be changed at first login.
    pub password_change_required: bool,
    /// Whether the password was generated on first boot.
    pub unclaimed: bool,
    /// Whether it may log in over IPMI.
    pub ipmi: bool,
    /// The number that it is to have as a user of IPMI; without one the lowest that is free.
    pub ipmi_user: Option<u8>,
    /// What it may be used for beside IPMI; without a choice everything.
    pub chosen_types: Option<AccountTypes>,
    /// Whether it is for what was chosen and nothing else: without a choice for Redfish alone.
    pub strict_types: bool,
    /// Until when it can log in.
    pub expires_at: Option<UnixMillis>,
}

/// A change of an account's data; `None` leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccountPatch {
    /// New login name.
    pub name: Option<UserName>,
    /// New name of the person, `Some(None)` to clear it.
    pub full_name: Option<Option<String>>,
    /// New mail address, `Some(None)` to clear it.
    pub email: Option<Option<String>>,
    /// New attributes, replacing all.
    pub attributes: Option<BTreeMap<String, String>>,
    /// Enable or disable.
    pub enabled: Option<bool>,
    /// New role.
    pub role: Option<RoleName>,
    /// Demand a new password, or stop demanding it.
    pub password_change_required: Option<bool>,
    /// Let it log in over IPMI from the next password on, or no longer.
    pub ipmi: Option<bool>,
    /// Another number as a user of IPMI.
    pub ipmi_user: Option<u8>,
    /// What it may be used for from now on. IPMI is switched on or off by it as well, unless [`Self::ipmi`] says so.
    pub types: Option<AccountTypes>,
    /// Whether it is for what was chosen and nothing else.
    pub strict_types: Option<bool>,
    /// Until when it can log in, `Some(None)` for ever.
    pub expires_at: Option<Option<UnixMillis>>,
}

/// Why an account was not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such account.
    #[error("no such user")]
    NotFound,
    /// Another account has the name, or one that differs by case only.
    #[error("the user name is taken")]
    NameTaken,
    /// The random id is in use.
    #[error("the user id is taken")]
    IdTaken,
    /// Nobody could manage accounts any more.
    #[error(
        "the last enabled administrator can be neither deleted, disabled, given another role nor made to expire, and keeps the account type Redfish"
    )]
    LastAdministrator,
    /// IPMI has no room for the name.
    #[error(
        "IPMI takes user names of at most {} bytes: take a shorter one, or switch IPMI off for the account",
        UserName::IPMI_MAX_LEN
    )]
    NameTooLongForIpmi,
    /// The number of a user of IPMI is another's, none, or wanted for an account that is no user of IPMI.
    #[error("a user of IPMI has a number from 2 to 63 that no other one has, and access over IPMI")]
    IpmiUser,
    /// Nobody could use it for anything.
    #[error("an account is for one type of use at least")]
    NoAccountTypes,
    /// There is no number for one more user of IPMI.
    #[error("there is no number left for another user of IPMI")]
    IpmiFull,
    /// The store is full.
    #[error("there are already {limit} users")]
    Full {
        /// Most accounts.
        limit: usize,
    },
}

/// A planned change: store `effect`, then [`Accounts::apply`] it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What to store.
    pub effect: Effect,
    /// Whether the account's sessions are void after it.
    pub ends_sessions: bool,
}

/// What a [`Change`] does to the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Write this account whole.
    Put(Box<Account>),
    /// Remove the account.
    Delete(UserId),
}

/// Numbers of users of IPMI: six bits, of which 0 is none and 1 is the user without a name (IPMI 2.0 §22.26).
pub const IPMI_USERS: std::ops::RangeInclusive<u8> = 2..=63;

/// A name that logs in over IPMI is short.
fn check_ipmi(ipmi: bool, name: &UserName) -> Result<(), Refused> {
    if ipmi && name.as_str().len() > UserName::IPMI_MAX_LEN {
        Err(Refused::NameTooLongForIpmi)
    } else {
        Ok(())
    }
}

impl Change {
    /// With the new password as IPMI needs it, sealed, if the account may log in over IPMI.
    #[must_use]
    pub fn with_ipmi_secret(mut self, secret: Option<Vec<u8>>) -> Self {
        if let Effect::Put(account) = &mut self.effect {
            account.ipmi_secret = secret.filter(|_| account.ipmi);
        }
        self
    }

    /// With a new password besides, in the same write, as [`Accounts::plan_password`] sets it: it ends the account's sessions. A change that deletes stays what
    /// it is.
    #[must_use]
    pub fn with_password(
        mut self,
        hash: PasswordHash,
        change_required: bool,
        history: usize,
        wall: UnixMillis,
    ) -> Self {
        if let Effect::Put(account) = &mut self.effect {
            account.set_password(hash, change_required, history, wall);
            // What has ended the sessions has made the epoch another one.
            if !self.ends_sessions {
                account.epoch = account.epoch.saturating_add(1);
            }
            self.ends_sessions = true;
        }
        self
    }

    /// The account it is about.
    #[must_use]
    pub fn id(&self) -> &UserId {
        match &self.effect {
            Effect::Put(account) => &account.id,
            Effect::Delete(id) => id,
        }
    }

    /// The account as it will be; `None` when it will be gone.
    #[must_use]
    pub fn account(&self) -> Option<&Account> {
        match &self.effect {
            Effect::Put(account) => Some(account),
            Effect::Delete(_) => None,
        }
    }
}

/// All accounts.
#[derive(Debug, Clone)]
pub struct Accounts {
    limit: usize,
    by_id: BTreeMap<UserId, Account>,
}

impl Accounts {
    /// Most accounts by default. OpenBMC allows 30, of which 15 over IPMI.
    pub const DEFAULT_LIMIT: usize = 64;

    /// An empty store for at most `limit` accounts.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, by_id: BTreeMap::new() }
    }

    /// The account of that id.
    #[must_use]
    pub fn get(&self, id: &UserId) -> Option<&Account> {
        self.by_id.get(id)
    }

    /// The account of exactly that name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&Account> {
        self.by_id.values().find(|account| account.name.as_str() == name)
    }

    /// The account of that id or name.
    #[must_use]
    pub fn find(&self, id_or_name: &str) -> Option<&Account> {
        UserId::parse(id_or_name).and_then(|id| self.get(&id)).or_else(|| self.by_name(id_or_name))
    }

    /// All accounts by name.
    #[must_use]
    pub fn list(&self) -> Vec<&Account> {
        let mut list: Vec<_> = self.by_id.values().collect();
        list.sort_by(|left, right| left.name.cmp(&right.name));
        list
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Plans a new account.
    ///
    /// # Errors
    /// [`Refused::NameTaken`], [`Refused::IdTaken`], [`Refused::Full`], [`Refused::NoAccountTypes`], and what IPMI refuses.
    pub fn plan_create(&self, new: NewAccount, wall: UnixMillis) -> Result<Change, Refused> {
        if self.len() >= self.limit {
            return Err(Refused::Full { limit: self.limit });
        }
        self.plan_extra(new, wall)
    }

    /// As [`Self::plan_create`], beside a full table: for an owner who has lost every password.
    ///
    /// # Errors
    /// [`Refused::NameTaken`], [`Refused::IdTaken`].
    pub fn plan_extra(&self, new: NewAccount, wall: UnixMillis) -> Result<Change, Refused> {
        if self.by_id.contains_key(&new.id) {
            return Err(Refused::IdTaken);
        }
        self.check_name(&new.name, None)?;
        check_ipmi(new.ipmi, &new.name)?;
        let ipmi_user = self.ipmi_user(new.ipmi, None, None, new.ipmi_user)?;
        // DSP0268: without a list it is for Redfish, and the service may add to that unless it is strict.
        let of_redfish = || new.strict_types.then_some(AccountTypes::of(&[AccountType::Redfish]));
        let account = Account {
            id: new.id,
            name: new.name,
            full_name: new.full_name,
            email: new.email,
            attributes: new.attributes,
            enabled: new.enabled,
            role: new.role,
            hash: new.hash,
            former: Vec::new(),
            password_changed_at: wall,
            password_change_required: new.password_change_required,
            unclaimed: new.unclaimed,
            ipmi: new.ipmi,
            ipmi_secret: None,
            ipmi_user,
            chosen_types: new
                .chosen_types
                .or_else(of_redfish)
                .map(|types| types.set(AccountType::Ipmi, false)),
            strict_types: new.strict_types,
            expires_at: new.expires_at,
            epoch: 1,
            created_at: wall,
            updated_at: wall,
            last_login: None,
        };
        if account.types().is_empty() {
            return Err(Refused::NoAccountTypes);
        }
        Ok(Change { effect: Effect::Put(Box::new(account)), ends_sessions: false })
    }

    /// The number of a user of IPMI: the one that is wanted, the one it has, or the lowest that is free.
    fn ipmi_user(
        &self,
        ipmi: bool,
        whose: Option<&UserId>,
        has: Option<u8>,
        wanted: Option<u8>,
    ) -> Result<Option<u8>, Refused> {
        let is_taken = |number: u8| {
            self.by_id.values().any(|account| account.ipmi_user == Some(number) && Some(&account.id) != whose)
        };
        match (ipmi, wanted) {
            (false, None) => Ok(None),
            (true, Some(wanted)) if IPMI_USERS.contains(&wanted) && !is_taken(wanted) => Ok(Some(wanted)),
            (_, Some(_)) => Err(Refused::IpmiUser),
            (true, None) => {
                let mut free = IPMI_USERS.filter(|number| !is_taken(*number));
                has.filter(|has| !is_taken(*has)).or_else(|| free.next()).map(Some).ok_or(Refused::IpmiFull)
            }
        }
    }

    /// Gives users of IPMI a number that have none, or another's: those of a store that is older than numbers, the oldest account first. Which
    /// accounts that were: they have to be stored. One for which there is none left is no user any more.
    pub fn number_ipmi_users(&mut self) -> Vec<UserId> {
        let mut order: Vec<&Account> = self.by_id.values().filter(|account| account.ipmi).collect();
        order.sort_by_key(|account| (account.ipmi_user.is_none(), account.created_at, account.id.clone()));
        let order: Vec<UserId> = order.into_iter().map(|account| account.id.clone()).collect();
        let mut changed = Vec::new();
        for id in order {
            let Some(has) = self.get(&id).map(|account| account.ipmi_user) else { continue };
            let number = self.ipmi_user(true, Some(&id), has, None).unwrap_or(None);
            if let Some(account) = self.by_id.get_mut(&id).filter(|_| number != has || number.is_none()) {
                account.ipmi_user = number;
                account.ipmi = number.is_some();
                changed.push(id);
            }
        }
        changed
    }

    /// Plans a change of data. A new name, role or enabled flag ends the account's sessions, and so does a type that is
    /// taken away; so does a new demand for a password change, since a session must not outlive it unasked.
    ///
    /// # Errors
    /// [`Refused::NotFound`], [`Refused::NameTaken`], [`Refused::LastAdministrator`], [`Refused::NoAccountTypes`], and what
    /// IPMI refuses.
    pub fn plan_update(&self, id: &UserId, patch: AccountPatch, wall: UnixMillis) -> Result<Change, Refused> {
        let old = self.get(id).ok_or(Refused::NotFound)?;
        let mut new = old.clone();
        if let Some(name) = patch.name {
            self.check_name(&name, Some(id))?;
            new.name = name;
        }
        if let Some(full_name) = patch.full_name {
            new.full_name = full_name;
        }
        if let Some(email) = patch.email {
            new.email = email;
        }
        if let Some(attributes) = patch.attributes {
            new.attributes = attributes;
        }
        new.enabled = patch.enabled.unwrap_or(new.enabled);
        new.role = patch.role.unwrap_or(new.role);
        new.expires_at = patch.expires_at.unwrap_or(new.expires_at);
        new.password_change_required = patch.password_change_required.unwrap_or(new.password_change_required);
        if let Some(types) = patch.types {
            new.chosen_types = Some(types.set(AccountType::Ipmi, false));
            new.ipmi = types.contains(AccountType::Ipmi);
        }
        new.strict_types = patch.strict_types.unwrap_or(new.strict_types);
        new.ipmi = patch.ipmi.unwrap_or(new.ipmi);
        if new.types().is_empty() && !old.types().is_empty() {
            return Err(Refused::NoAccountTypes);
        }
        check_ipmi(new.ipmi, &new.name)?;
        if !new.ipmi {
            new.ipmi_secret = None;
        }
        new.ipmi_user = self.ipmi_user(new.ipmi, Some(id), old.ipmi_user, patch.ipmi_user)?;
        if old.is_active_administrator() && !new.is_active_administrator() {
            self.check_other_administrator(id)?;
        }
        let ends_sessions = new.name != old.name
            || new.enabled != old.enabled
            || new.role != old.role
            || !new.is_open(wall) && old.is_open(wall)
            || !new.types().has_all(old.types())
            || (new.password_change_required && !old.password_change_required);
        if new != *old {
            new.updated_at = wall.max(old.updated_at);
        }
        if ends_sessions {
            new.epoch = old.epoch.saturating_add(1);
        }
        Ok(Change { effect: Effect::Put(Box::new(new)), ends_sessions })
    }

    /// Plans a new password. Ends the account's sessions. Of the passwords before, the last `history` are kept.
    ///
    /// # Errors
    /// [`Refused::NotFound`].
    pub fn plan_password(
        &self,
        id: &UserId,
        hash: PasswordHash,
        change_required: bool,
        history: usize,
        wall: UnixMillis,
    ) -> Result<Change, Refused> {
        let same = self.get(id).ok_or(Refused::NotFound)?.clone();
        let change = Change { effect: Effect::Put(Box::new(same)), ends_sessions: false };
        Ok(change.with_password(hash, change_required, history, wall))
    }

    /// Plans a fresh generated password for an account nobody has claimed: as [`Self::plan_password`], but it
    /// stays unclaimed and the change stays demanded.
    ///
    /// # Errors
    /// [`Refused::NotFound`] when there is no such account or it was claimed.
    pub fn plan_reissue(&self, id: &UserId, hash: PasswordHash, wall: UnixMillis) -> Result<Change, Refused> {
        if !self.get(id).is_some_and(|account| account.unclaimed) {
            return Err(Refused::NotFound);
        }
        let mut change = self.plan_password(id, hash, true, 0, wall)?;
        if let Effect::Put(account) = &mut change.effect {
            account.unclaimed = true;
        }
        Ok(change)
    }

    /// Plans to note a login: time, that the first-boot password is claimed, and the hash at today's cost if it was
    /// made again. Ends no session. `None` when nothing of it is worth a write: the last login is not older than
    /// `precision_ms` and nothing else changes.
    #[must_use]
    pub fn plan_login(
        &self,
        id: &UserId,
        rehashed: Option<PasswordHash>,
        wall: UnixMillis,
        precision_ms: u64,
    ) -> Option<Change> {
        let old = self.get(id)?;
        let fresh = old.last_login.is_some_and(|last| wall.since(last).is_some_and(|age| age < precision_ms));
        if fresh && !old.unclaimed && rehashed.is_none() {
            return None;
        }
        let mut new = old.clone();
        new.last_login = Some(wall);
        new.unclaimed = false;
        new.hash = rehashed.unwrap_or(new.hash);
        Some(Change { effect: Effect::Put(Box::new(new)), ends_sessions: false })
    }

    /// Plans to delete an account.
    ///
    /// # Errors
    /// [`Refused::NotFound`], [`Refused::LastAdministrator`].
    pub fn plan_delete(&self, id: &UserId) -> Result<Change, Refused> {
        let old = self.get(id).ok_or(Refused::NotFound)?;
        if old.is_active_administrator() {
            self.check_other_administrator(id)?;
        }
        Ok(Change { effect: Effect::Delete(id.clone()), ends_sessions: true })
    }

    /// Carries out a change that is stored.
    pub fn apply(&mut self, change: Change) {
        match change.effect {
            Effect::Put(account) => self.restore(*account),
            Effect::Delete(id) => {
                self.by_id.remove(&id);
            }
        }
    }

    /// Puts a stored account back after a restart.
    pub fn restore(&mut self, account: Account) {
        self.by_id.insert(account.id.clone(), account);
    }

    fn check_name(&self, name: &UserName, except: Option<&UserId>) -> Result<(), Refused> {
        let taken = self
            .by_id
            .values()
            .any(|other| Some(&other.id) != except && other.name.0.eq_ignore_ascii_case(&name.0));
        if taken { Err(Refused::NameTaken) } else { Ok(()) }
    }

    fn check_other_administrator(&self, id: &UserId) -> Result<(), Refused> {
        let other = self.by_id.values().any(|other| other.id != *id && other.is_active_administrator());
        if other { Ok(()) } else { Err(Refused::LastAdministrator) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::{Cost, Password};

    static HASH: LazyLock<PasswordHash> = LazyLock::new(|| hash(1));

    fn hash(salt: u8) -> PasswordHash {
        PasswordHash::new(&Password::new("tr0mbone".to_owned()), [salt; 16], Cost::FLOOR).unwrap()
    }

    fn id(n: u8) -> UserId {
        UserId::from_random([n; 8])
    }

    fn new(n: u8, name: &str, role: Role) -> NewAccount {
        NewAccount {
            id: id(n),
            name: UserName::new(name).unwrap(),
            full_name: None,
            email: None,
            attributes: BTreeMap::new(),
            enabled: true,
            role: role.into(),
            hash: HASH.clone(),
            password_change_required: false,
            unclaimed: false,
            ipmi: false,
            ipmi_user: None,
            chosen_types: None,
            strict_types: false,
            expires_at: None,
        }
    }

    fn store(list: &[(u8, &str, Role)]) -> Accounts {
        let mut accounts = Accounts::new(8);
        for (n, name, role) in list {
            let change = accounts.plan_create(new(*n, name, *role), UnixMillis(1000)).unwrap();
            accounts.apply(change);
        }
        accounts
    }

    const NOW: UnixMillis = UnixMillis(2000);

    #[test]
    fn a_user_of_ipmi_keeps_a_number_of_its_own() {
        let mut accounts = store(&[
            (1, "root", Role::Administrator),
            (2, "bob", Role::ReadOnly),
            (3, "carol", Role::ReadOnly),
        ]);
        let number = |accounts: &Accounts, n: u8| accounts.get(&id(n)).unwrap().ipmi_user;
        let update = |accounts: &mut Accounts, n: u8, ipmi: Option<bool>, ipmi_user: Option<u8>| {
            let patch = AccountPatch { ipmi, ipmi_user, ..AccountPatch::default() };
            accounts.plan_update(&id(n), patch, NOW).map(|change| accounts.apply(change))
        };
        update(&mut accounts, 2, Some(true), None).unwrap();
        update(&mut accounts, 3, Some(true), None).unwrap();
        assert_eq!((number(&accounts, 2), number(&accounts, 3)), (Some(2), Some(3)));
        // It goes with its user, and the other's stays.
        update(&mut accounts, 2, Some(false), None).unwrap();
        assert_eq!((number(&accounts, 2), number(&accounts, 3)), (None, Some(3)));
        update(&mut accounts, 1, Some(true), Some(9)).unwrap();
        update(&mut accounts, 2, Some(true), None).unwrap();
        assert_eq!((number(&accounts, 1), number(&accounts, 2)), (Some(9), Some(2)));
        update(&mut accounts, 2, None, Some(4)).unwrap();
        assert_eq!(number(&accounts, 2), Some(4));
        for wanted in [9, 1, 64, 0] {
            assert_eq!(update(&mut accounts, 2, None, Some(wanted)), Err(Refused::IpmiUser), "{wanted}");
        }
        assert_eq!(update(&mut accounts, 2, Some(false), Some(5)), Err(Refused::IpmiUser), "no user of IPMI");
        assert_eq!(number(&accounts, 2), Some(4), "what is refused changes nothing");
        let new = NewAccount { ipmi: true, ipmi_user: Some(4), ..new(4, "dave", Role::ReadOnly) };
        assert_eq!(accounts.plan_create(new.clone(), NOW), Err(Refused::IpmiUser));
        let free = accounts.plan_create(NewAccount { ipmi_user: None, ..new }, NOW).unwrap();
        assert_eq!(free.account().unwrap().ipmi_user, Some(2));
    }

    #[test]
    fn users_of_a_store_without_numbers_get_them_once() {
        let mut accounts = store(&[
            (1, "root", Role::Administrator),
            (2, "bob", Role::ReadOnly),
            (3, "carol", Role::ReadOnly),
        ]);
        for (n, created_at, has) in [(1, 30, None), (2, 20, None), (3, 10, Some(2))] {
            let account = accounts.by_id.get_mut(&id(n)).unwrap();
            (account.ipmi, account.ipmi_user, account.created_at) = (true, has, UnixMillis(created_at));
        }
        assert_eq!(accounts.number_ipmi_users(), [id(2), id(1)]);
        let numbers = [1, 2, 3].map(|n| accounts.get(&id(n)).unwrap().ipmi_user);
        assert_eq!(numbers, [Some(4), Some(3), Some(2)]);
        assert!(accounts.number_ipmi_users().is_empty());
        // Two of the same number, of which one is damaged.
        accounts.by_id.get_mut(&id(1)).unwrap().ipmi_user = Some(3);
        assert_eq!(accounts.number_ipmi_users().len(), 1);
    }

    #[test]
    fn there_are_62_users_of_ipmi_and_the_newest_account_beyond_is_none() {
        let mut accounts = Accounts::new(80);
        for n in 1..=63 {
            let new = new(n, &format!("user{n}"), Role::Administrator);
            let change = accounts.plan_create(new, UnixMillis(u64::from(n))).unwrap();
            accounts.apply(change);
            accounts.by_id.get_mut(&id(n)).unwrap().ipmi = true;
        }
        assert_eq!(accounts.number_ipmi_users().len(), 63);
        let last = accounts.get(&id(63)).unwrap();
        assert_eq!((last.ipmi, last.ipmi_user), (false, None));
        let rest = (1..=62).map(|n| accounts.get(&id(n)).unwrap());
        assert!(rest.clone().all(|account| account.ipmi));
        assert_eq!(rest.filter_map(|account| account.ipmi_user).max(), Some(63));
    }

    #[test]
    fn a_key_of_ipmi_is_of_one_password_and_of_an_account_that_may() {
        let mut accounts = store(&[(1, "admin", Role::Administrator), (2, "bob", Role::Operator)]);
        let patch = |ipmi| AccountPatch { ipmi: Some(ipmi), ..AccountPatch::default() };
        let secret = || Some(vec![1, 2, 3]);
        let set = |accounts: &Accounts, secret| {
            accounts.plan_password(&id(2), HASH.clone(), false, 0, NOW).unwrap().with_ipmi_secret(secret)
        };
        accounts.apply(set(&accounts, secret()));
        assert_eq!(accounts.get(&id(2)).unwrap().ipmi_secret, None, "it may not");
        accounts.apply(accounts.plan_update(&id(2), patch(true), NOW).unwrap());
        accounts.apply(set(&accounts, secret()));
        assert_eq!(accounts.get(&id(2)).unwrap().ipmi_secret, secret());
        accounts.apply(set(&accounts, None));
        assert_eq!(accounts.get(&id(2)).unwrap().ipmi_secret, None, "of another password");
        accounts.apply(set(&accounts, secret()));
        let off = accounts.plan_update(&id(2), patch(false), NOW).unwrap();
        assert!(off.ends_sessions);
        accounts.apply(off);
        assert_eq!(accounts.get(&id(2)).unwrap().ipmi_secret, None);
        let long = || UserName::new(&"b".repeat(17)).unwrap();
        accounts.apply(accounts.plan_update(&id(2), patch(true), NOW).unwrap());
        let renamed = AccountPatch { name: Some(long()), ..AccountPatch::default() };
        assert_eq!(accounts.plan_update(&id(2), renamed, NOW), Err(Refused::NameTooLongForIpmi));
        let new = NewAccount { name: long(), ipmi: true, ..new(3, "carol", Role::ReadOnly) };
        assert_eq!(accounts.plan_create(new, NOW), Err(Refused::NameTooLongForIpmi));
    }

    #[test]
    fn names_have_their_form() {
        for good in ["a", "_x", "Admin", "j.smith-2", &"a".repeat(64)] {
            assert!(UserName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "1a", "-a", ".a", "a b", "a/b", "a*", "ä", "a\n", "a\0", &"a".repeat(65)] {
            assert_eq!(UserName::new(bad), Err(NameError), "{bad}");
        }
    }

    #[test]
    fn no_name_is_an_id() {
        for n in 0..=255 {
            let id = id(n);
            assert!(UserName::new(id.as_str()).is_err(), "{id}");
            assert_eq!(UserId::parse(id.as_str()), Some(id));
        }
    }

    #[test]
    fn a_name_is_taken_whatever_its_case() {
        let accounts = store(&[(1, "admin", Role::Administrator), (2, "bob", Role::ReadOnly)]);
        assert_eq!(accounts.plan_create(new(3, "Admin", Role::ReadOnly), NOW), Err(Refused::NameTaken));
        assert_eq!(accounts.plan_create(new(1, "carol", Role::ReadOnly), NOW), Err(Refused::IdTaken));
        let rename =
            |name: &str| AccountPatch { name: Some(UserName::new(name).unwrap()), ..AccountPatch::default() };
        assert_eq!(accounts.plan_update(&id(2), rename("ADMIN"), NOW), Err(Refused::NameTaken));
        assert!(accounts.plan_update(&id(2), rename("BOB"), NOW).is_ok(), "one's own name in another case");
    }

    #[test]
    fn the_store_is_bounded() {
        let mut accounts = store(&[(1, "admin", Role::Administrator)]);
        for n in 2..=8 {
            let change = accounts.plan_create(new(n, &format!("u{n}"), Role::ReadOnly), NOW).unwrap();
            accounts.apply(change);
        }
        assert_eq!(accounts.plan_create(new(9, "u9", Role::ReadOnly), NOW), Err(Refused::Full { limit: 8 }));
    }

    #[test]
    fn the_last_enabled_administrator_stays() {
        let mut accounts = store(&[(1, "admin", Role::Administrator), (2, "second", Role::Administrator)]);
        let disable = AccountPatch { enabled: Some(false), ..AccountPatch::default() };
        let change = accounts.plan_update(&id(2), disable.clone(), NOW).unwrap();
        accounts.apply(change);
        let demote = AccountPatch { role: Some(Role::Operator.into()), ..AccountPatch::default() };
        assert_eq!(accounts.plan_update(&id(1), disable, NOW), Err(Refused::LastAdministrator));
        assert_eq!(accounts.plan_update(&id(1), demote, NOW), Err(Refused::LastAdministrator));
        assert_eq!(accounts.plan_delete(&id(1)), Err(Refused::LastAdministrator));
        assert!(accounts.plan_delete(&id(2)).is_ok(), "a disabled one is no loss");
    }

    #[test]
    fn what_decides_over_access_ends_sessions_and_the_rest_does_not() {
        let accounts = store(&[(1, "admin", Role::Administrator), (2, "bob", Role::ReadOnly)]);
        let table = [
            (AccountPatch { full_name: Some(Some("Bob".into())), ..AccountPatch::default() }, false),
            (AccountPatch { email: Some(None), ..AccountPatch::default() }, false),
            (
                AccountPatch {
                    enabled: Some(true),
                    role: Some(Role::ReadOnly.into()),
                    ..AccountPatch::default()
                },
                false,
            ),
            (AccountPatch { enabled: Some(false), ..AccountPatch::default() }, true),
            (AccountPatch { role: Some(Role::Administrator.into()), ..AccountPatch::default() }, true),
            (AccountPatch { name: Some(UserName::new("rob").unwrap()), ..AccountPatch::default() }, true),
            (AccountPatch { password_change_required: Some(true), ..AccountPatch::default() }, true),
        ];
        for (patch, ends) in table {
            let change = accounts.plan_update(&id(2), patch.clone(), NOW).unwrap();
            assert_eq!(change.ends_sessions, ends, "{patch:?}");
            assert_eq!(change.account().unwrap().epoch, if ends { 2 } else { 1 });
        }
        assert!(accounts.plan_password(&id(2), hash(2), false, 0, NOW).unwrap().ends_sessions);
        assert!(accounts.plan_delete(&id(2)).unwrap().ends_sessions);
    }

    #[test]
    fn an_account_is_for_what_was_chosen_and_without_a_choice_for_all_but_ipmi() {
        let accounts = store(&[(1, "admin", Role::Administrator), (2, "bob", Role::ReadOnly)]);
        let all = AccountTypes::ALL.set(AccountType::Ipmi, false);
        let redfish = AccountTypes::of(&[AccountType::Redfish]);
        let bob = accounts.get(&id(2)).unwrap();
        assert_eq!((bob.types(), bob.chosen_types), (all, None));
        let choose = |types, ipmi| AccountPatch { types: Some(types), ipmi, ..AccountPatch::default() };
        for (patch, types, ends) in [
            // A list says whether it is for IPMI as well, and what says so by itself comes first.
            (choose(all.set(AccountType::Ipmi, true), None), AccountTypes::ALL, false),
            (choose(all, None), all, false),
            (choose(redfish, None), redfish, true),
            (choose(redfish, Some(true)), redfish.set(AccountType::Ipmi, true), true),
            (
                choose(AccountTypes::of(&[AccountType::Ipmi]), None),
                AccountTypes::of(&[AccountType::Ipmi]),
                true,
            ),
        ] {
            let change = accounts.plan_update(&id(2), patch.clone(), NOW).unwrap();
            let bob = change.account().unwrap();
            assert_eq!((bob.types(), change.ends_sessions), (types, ends), "{patch:?}");
            assert_eq!((bob.ipmi, bob.ipmi_user.is_some()), (types.contains(AccountType::Ipmi), bob.ipmi));
            assert_eq!(bob.epoch, if ends { 2 } else { 1 });
        }
        let made = |new: NewAccount| {
            accounts.plan_create(new, NOW).map(|change| change.account().map(Account::types).unwrap())
        };
        let strict = NewAccount { strict_types: true, ..new(3, "carol", Role::ReadOnly) };
        assert_eq!(made(strict.clone()), Ok(redfish), "as DSP0268 has it");
        assert_eq!(made(NewAccount { chosen_types: Some(all), ..strict }), Ok(all));
        assert_eq!(made(new(3, "carol", Role::ReadOnly)), Ok(all));
        let none = NewAccount { chosen_types: Some(AccountTypes::NONE), ..new(3, "carol", Role::ReadOnly) };
        assert_eq!(made(none.clone()), Err(Refused::NoAccountTypes));
        assert!(made(NewAccount { ipmi: true, ..none }).is_ok());
    }

    #[test]
    fn an_account_is_for_something_and_the_last_administrator_for_redfish() {
        let mut accounts = store(&[(1, "admin", Role::Administrator), (2, "second", Role::Administrator)]);
        let choose = |kinds: &[AccountType]| AccountPatch {
            types: Some(AccountTypes::of(kinds)),
            ..AccountPatch::default()
        };
        assert_eq!(accounts.plan_update(&id(2), choose(&[]), NOW), Err(Refused::NoAccountTypes));
        accounts.apply(accounts.plan_update(&id(2), choose(&[AccountType::Ipmi]), NOW).unwrap());
        let off = AccountPatch { ipmi: Some(false), ..AccountPatch::default() };
        assert_eq!(accounts.plan_update(&id(2), off, NOW), Err(Refused::NoAccountTypes));
        // What is left of it otherwise can be changed: it was stored when IPMI had no number left.
        accounts.by_id.get_mut(&id(2)).unwrap().ipmi = false;
        let mail = AccountPatch { email: Some(Some("s@x.example".into())), ..AccountPatch::default() };
        assert!(accounts.plan_update(&id(2), mail, NOW).is_ok());
        // Who is not let in to Redfish is not counted on.
        let without = choose(&[AccountType::WebUi, AccountType::Ipmi]);
        assert_eq!(accounts.plan_update(&id(1), without.clone(), NOW), Err(Refused::LastAdministrator));
        assert_eq!(accounts.plan_delete(&id(1)), Err(Refused::LastAdministrator));
        accounts.apply(accounts.plan_update(&id(2), choose(&[AccountType::Redfish]), NOW).unwrap());
        assert!(accounts.plan_update(&id(1), without, NOW).is_ok());
    }

    #[test]
    fn a_new_password_and_other_data_are_one_change_of_one_epoch() {
        let accounts = store(&[(1, "admin", Role::Administrator), (2, "bob", Role::ReadOnly)]);
        let mail = AccountPatch { email: Some(Some("b@x.example".into())), ..AccountPatch::default() };
        let role = AccountPatch { role: Some(Role::Operator.into()), ..AccountPatch::default() };
        for (patch, required) in [(mail, false), (role, true)] {
            let plain = accounts.plan_update(&id(2), patch.clone(), NOW).unwrap();
            let change = plain.clone().with_password(hash(2), required, 1, NOW);
            assert!(change.ends_sessions, "{patch:?}");
            let (alone, with) = (plain.account().unwrap(), change.account().unwrap());
            assert_eq!((&with.email, &with.role), (&alone.email, &alone.role));
            assert_eq!((&with.hash, with.former.as_slice()), (&hash(2), [HASH.clone()].as_slice()));
            assert_eq!((with.password_change_required, with.password_changed_at), (required, NOW));
            assert_eq!(with.epoch, 2, "{patch:?}");
        }
        // The same as by itself.
        let nothing = accounts.plan_update(&id(2), AccountPatch::default(), NOW).unwrap();
        assert_eq!(
            nothing.with_password(hash(2), true, 3, NOW),
            accounts.plan_password(&id(2), hash(2), true, 3, NOW).unwrap()
        );
        // What is refused of the data is refused with the password.
        let off = AccountPatch { enabled: Some(false), ..AccountPatch::default() };
        assert_eq!(accounts.plan_update(&id(1), off, NOW), Err(Refused::LastAdministrator));
        let gone = accounts.plan_delete(&id(2)).unwrap();
        assert_eq!(gone.clone().with_password(hash(2), false, 0, NOW), gone);
    }

    #[test]
    fn a_plan_changes_nothing_until_it_is_applied() {
        let accounts = store(&[(1, "admin", Role::Administrator)]);
        let before = accounts.get(&id(1)).cloned();
        let _ = accounts.plan_password(&id(1), hash(2), true, 0, NOW).unwrap();
        assert_eq!(accounts.get(&id(1)).cloned(), before);
    }

    #[test]
    fn as_many_passwords_are_kept_as_must_not_be_chosen_again() {
        let mut accounts = store(&[(1, "admin", Role::Administrator)]);
        for (salt, history, kept) in
            [(2, 0, vec![]), (3, 2, vec![2]), (4, 2, vec![3, 2]), (5, 2, vec![4, 3]), (6, 1, vec![5])]
        {
            accounts.apply(accounts.plan_password(&id(1), hash(salt), false, history, NOW).unwrap());
            let kept: Vec<PasswordHash> = kept.into_iter().map(hash).collect();
            assert_eq!(accounts.get(&id(1)).unwrap().former, kept, "{salt}");
        }
    }

    #[test]
    fn an_account_is_open_until_it_expires_and_the_last_administrator_never_does() {
        let mut accounts = store(&[(1, "admin", Role::Administrator), (2, "temp", Role::Administrator)]);
        let until =
            |at: u64| AccountPatch { expires_at: Some(Some(UnixMillis(at))), ..AccountPatch::default() };
        let later = accounts.plan_update(&id(2), until(5000), NOW).unwrap();
        assert!(!later.ends_sessions, "it goes on until then");
        accounts.apply(later);
        let temp = accounts.get(&id(2)).unwrap();
        assert!(temp.is_open(UnixMillis(4999)) && !temp.is_open(UnixMillis(5000)));
        assert_eq!(accounts.plan_update(&id(1), until(9000), NOW), Err(Refused::LastAdministrator));
        assert_eq!(accounts.plan_delete(&id(1)), Err(Refused::LastAdministrator));
        assert!(accounts.plan_update(&id(2), until(1000), NOW).unwrap().ends_sessions, "it is over at once");
    }

    #[test]
    fn a_first_boot_password_is_reissued_until_it_is_claimed() {
        let mut accounts = Accounts::new(8);
        let first = NewAccount {
            unclaimed: true,
            password_change_required: true,
            ..new(1, "admin", Role::Administrator)
        };
        accounts.apply(accounts.plan_create(first, NOW).unwrap());
        accounts.apply(accounts.plan_reissue(&id(1), hash(2), NOW).unwrap());
        let account = accounts.get(&id(1)).unwrap();
        assert!(account.unclaimed && account.password_change_required);
        accounts.apply(accounts.plan_login(&id(1), None, NOW, 1000).unwrap());
        assert_eq!(accounts.plan_reissue(&id(1), hash(3), NOW), Err(Refused::NotFound));
        assert!(accounts.get(&id(1)).unwrap().password_change_required, "claimed, but still to be changed");
    }

    #[test]
    fn logins_are_noted_to_the_precision_asked_for() {
        let mut accounts = store(&[(1, "admin", Role::Administrator)]);
        let login = |accounts: &Accounts, at| accounts.plan_login(&id(1), None, UnixMillis(at), 1000);
        accounts.apply(login(&accounts, 5000).unwrap());
        assert_eq!(login(&accounts, 5999), None);
        assert!(login(&accounts, 6000).is_some());
        assert!(login(&accounts, 4000).is_some(), "the clock was set back");
        let upgraded = accounts.plan_login(&id(1), Some(hash(9)), UnixMillis(5001), 1000).unwrap();
        assert!(!upgraded.ends_sessions);
        assert_eq!(upgraded.account().unwrap().hash, hash(9));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn there_is_always_an_enabled_administrator_and_no_two_names_alike(
            steps in proptest::collection::vec((0..6_u8, 0..6_u8, 0..3_usize, any::<bool>(), 0..4_u8), 0..120),
        ) {
            let mut accounts = store(&[(0, "admin", Role::Administrator)]);
            for (n, name, role, enabled, what) in steps {
                let role = Role::ALL[role];
                let name = format!("{}{}", if enabled { "user" } else { "USER" }, name);
                let planned = match what {
                    0 => accounts.plan_create(new(n, &name, role), NOW),
                    1 => accounts.plan_delete(&id(n)),
                    _ => accounts.plan_update(
                        &id(n),
                        AccountPatch {
                            name: Some(UserName::new(&name).unwrap()),
                            role: Some(role.into()),
                            enabled: Some(enabled),
                            ..AccountPatch::default()
                        },
                        NOW,
                    ),
                };
                if let Ok(change) = planned {
                    accounts.apply(change);
                }
                let list = accounts.list();
                prop_assert!(list.iter().any(|account| account.is_active_administrator()));
                let mut names: Vec<_> = list.iter().map(|a| a.name.as_str().to_lowercase()).collect();
                names.sort();
                names.dedup();
                prop_assert_eq!(names.len(), list.len());
            }
        }
    }
}
