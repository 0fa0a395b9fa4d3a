//! The first administrator.
//!
//! There is no default password (I-5). Either the operator was given one in a file, or a random one is made, handed to the
//! operator as a notification and must be changed at first login. Two rules keep the owner from being locked out:
//!
//! - The account is stored before its password is shown: what was shown works.
//! - A generated password that nobody has used yet is replaced and shown again at every start of the daemon. A machine
//!   that lost power between storing and showing, or whose console was not read, only has to be started again. The last
//!   one shown is the valid one, and the first login with it ends this for good.
//!
//! | store | `admin_password_file` | what happens |
//! |---|---|---|
//! | new | given | `admin` is made with it, without a forced change |
//! | no `admin`, and not new | given | nothing: `admin` was deleted or renamed on purpose, or its record is damaged |
//! | `admin`, never used | given | `admin` gets it, without a forced change |
//! | `admin`, used | given | nothing: the file is for the first administrator only |
//! | new | not given | `admin` is made with a random password, which is shown and must be changed |
//! | an account never used | not given | it gets a new random password, which is shown and must be changed |
//! | anything else | not given | nothing |
//!
//! New is a store without any record, not even an unreadable one, of a controller that has never had an account: the file
//! [`ACCOUNTS_MADE`] beside it says whether it has. A store that has lost its accounts is no new one: it lets nobody in whose password
//! is not known, and says what to do.
//!
//! Who has lost every administrator's password and can write to the state directory puts a new one into the file
//! [`RECOVERY_FILE`] of the daemon's own directory and starts the daemon again: `admin` gets it, whatever else the store holds.
//! The file is removed once the password is stored, and the password must be changed at the first login.

use std::path::Path;

use auth::account::Effect;
use auth::{Accounts, Change, Cost, NewAccount, Password, PasswordHash, Role, UnixMillis, UserId, UserName};
use zeroize::Zeroize as _;

/// The file that sets `admin`'s password at the next start.
pub(crate) const RECOVERY_FILE: &str = "recovery-password";

/// No file of a password is longer, bytes.
const PASSWORD_FILE_MAX: usize = 64 * 1024;

/// The file that is there once an account was stored.
pub(crate) const ACCOUNTS_MADE: &str = "accounts-made";

use crate::config::Limits;
use crate::error::Error;

/// Name of the first administrator.
pub(crate) const ADMIN: &str = "admin";

/// What to do about the first administrator before the daemon serves.
#[derive(Debug)]
pub(crate) struct First {
    /// Store and apply this.
    pub(crate) change: Change,
    /// Then show this: name and password.
    pub(crate) shown: Option<(String, Password)>,
    /// Or, if it came from there, remove [`RECOVERY_FILE`].
    pub(crate) recovered: bool,
}

/// The password in [`RECOVERY_FILE`], if there is one. One that cannot be used is logged and left where it is: it must not keep the daemon down.
///
/// # Errors
/// It cannot be used, to be told.
pub(crate) fn recovery(state_dir: &Path, limits: &Limits) -> Result<Option<Password>, Error> {
    let path = state_dir.join(RECOVERY_FILE);
    match read_password(&path, limits) {
        Ok(password) => Ok(Some(password)),
        Err(Error::PasswordFile { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            tracing::error!(error = %service::ErrorChain(&error), "recovery password not applied");
            Err(error)
        }
    }
}

/// Makes `admin` an enabled administrator with this password, which must be changed at the next login.
pub(crate) fn recover(
    accounts: &Accounts,
    password: &Password,
    cost: Cost,
    wall: UnixMillis,
) -> Result<Change, Error> {
    let hash = PasswordHash::new(password, random()?, cost)?;
    let Some(admin) = accounts.by_name(ADMIN) else {
        // Beside a full table, too: it is how its owner gets in.
        let mut new = new_admin(hash, false)?;
        new.password_change_required = true;
        return Ok(accounts.plan_extra(new, wall)?);
    };
    let mut change = accounts.plan_password(&admin.id, hash, true, 0, wall)?;
    if let Effect::Put(account) = &mut change.effect {
        account.enabled = true;
        account.role = Role::Administrator.into();
        account.expires_at = None;
        // Whatever it was kept to, its owner gets in by each way again.
        account.chosen_types = None;
        account.strict_types = false;
    }
    Ok(change)
}

/// The password of [`recovery`] is stored.
pub(crate) fn recovered(state_dir: &Path) {
    let path = state_dir.join(RECOVERY_FILE);
    // Synced: a loss of power must not bring back a password that was changed since.
    let removed = std::fs::remove_file(&path).and_then(|()| std::fs::File::open(state_dir)?.sync_all());
    match removed {
        Ok(()) => {
            tracing::warn!(user = ADMIN, "password set from recovery file; file removed")
        }
        Err(error) => tracing::error!(
            %error,
            path = %path.display(),
            "password set from recovery file; cannot remove file: may be applied again at each start"
        ),
    }
}

/// Reads the password the operator was given. One trailing newline does not count.
pub(crate) fn read_password(path: &Path, limits: &Limits) -> Result<Password, Error> {
    let failed = |source| Error::PasswordFile { path: path.to_owned(), source };
    let bytes = service::read_path(path, PASSWORD_FILE_MAX).map_err(failed)?;
    let mut text = String::from_utf8(bytes).map_err(|error| {
        error.into_bytes().zeroize();
        failed(std::io::Error::new(std::io::ErrorKind::InvalidData, "it is not UTF-8"))
    })?;
    let kept = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    let password = Password::new(kept.to_owned());
    text.zeroize();
    let weak = |source| Error::WeakPassword { path: path.to_owned(), source };
    limits.policy.check(&password, ADMIN).map_err(weak)?;
    Ok(password)
}

/// Whether accounts were made here before. When that cannot be told (the folder cannot be read) they were: nothing is begun anew.
pub(crate) fn accounts_were_made(state_dir: &Path) -> bool {
    state_dir.join(ACCOUNTS_MADE).try_exists().unwrap_or(true)
}

/// Remembers that accounts were made here, durably. Called once one is stored.
pub(crate) fn remember_accounts(state_dir: &Path) {
    let path = state_dir.join(ACCOUNTS_MADE);
    let kept = std::fs::File::create(&path)
        .and_then(|file| file.sync_all())
        .and_then(|()| std::fs::File::open(state_dir)?.sync_all());
    if let Err(error) = kept {
        tracing::warn!(%error, path = %path.display(), "cannot record that accounts exist");
    }
}

/// Decides. `new`: no record is in the store and none ever was. Blocks for one password hash if there is anything to do.
pub(crate) fn first_administrator(
    accounts: &Accounts,
    new: bool,
    given: Option<Password>,
    cost: Cost,
    wall: UnixMillis,
) -> Result<Option<First>, Error> {
    let admin = accounts.by_name(ADMIN);
    // One that is disabled stays so whatever its password: showing it one would promise what does not hold.
    let unclaimed = accounts.list().into_iter().find(|account| account.unclaimed && account.enabled);
    if let Some(password) = given {
        let hash = || PasswordHash::new(&password, random()?, cost).map_err(Error::from);
        let change = match admin {
            Some(account) if account.unclaimed && account.enabled => {
                accounts.plan_password(&account.id, hash()?, false, 0, wall)?
            }
            // Whoever deleted or renamed `admin` shall not find it back, with the password of the first day; nor shall damage bring it back.
            None if new => create(accounts, hash()?, false, wall)?,
            _ => return Ok(None),
        };
        return Ok(Some(First { change, shown: None, recovered: false }));
    }
    let password = auth::token::readable_secret(random()?);
    let change = match unclaimed {
        Some(account) => {
            let hash = PasswordHash::new(&password, random()?, cost)?;
            accounts.plan_reissue(&account.id, hash, wall)?
        }
        None if new => {
            let hash = PasswordHash::new(&password, random()?, cost)?;
            create(accounts, hash, true, wall)?
        }
        None => return Ok(None),
    };
    let name = match &change.effect {
        Effect::Put(account) => account.name.as_str().to_owned(),
        Effect::Delete(_) => return Ok(None),
    };
    Ok(Some(First { change, shown: Some((name, password)), recovered: false }))
}

fn create(
    accounts: &Accounts,
    hash: PasswordHash,
    unclaimed: bool,
    wall: UnixMillis,
) -> Result<Change, Error> {
    Ok(accounts.plan_create(new_admin(hash, unclaimed)?, wall)?)
}

fn new_admin(hash: PasswordHash, unclaimed: bool) -> Result<NewAccount, Error> {
    let name = UserName::new(ADMIN).map_err(|error| Error::Value(error.to_string()))?;
    Ok(NewAccount {
        id: UserId::from_random(random()?),
        name,
        full_name: None,
        email: None,
        attributes: std::collections::BTreeMap::new(),
        enabled: true,
        role: Role::Administrator.into(),
        hash,
        password_change_required: unclaimed,
        unclaimed,
        ipmi: false,
        ipmi_user: None,
        chosen_types: None,
        strict_types: false,
        expires_at: None,
    })
}

/// Random bytes from the kernel.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| Error::Random)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: UnixMillis = UnixMillis(1000);

    fn decide(accounts: &Accounts, empty: bool, given: Option<&str>) -> Option<First> {
        let given = given.map(|text| Password::new(text.to_owned()));
        first_administrator(accounts, empty, given, Cost::FLOOR, WALL).unwrap()
    }

    fn applied(mut accounts: Accounts, first: &First) -> Accounts {
        accounts.apply(first.change.clone());
        accounts
    }

    #[test]
    fn a_generated_password_is_shown_anew_until_it_is_used_and_the_last_one_works() {
        let mut accounts = Accounts::new(8);
        let mut shown: Vec<Password> = Vec::new();
        for _ in 0..3 {
            let first = decide(&accounts, accounts.is_empty(), None).unwrap();
            accounts = applied(accounts, &first);
            let (name, password) = first.shown.unwrap();
            assert_eq!(name, ADMIN);
            shown.push(password);
        }
        let account = accounts.by_name(ADMIN).unwrap().clone();
        assert!(account.password_change_required);
        assert_eq!(account.role, Role::Administrator);
        assert!(account.hash.verify(&shown[2]));
        assert!(!account.hash.verify(&shown[1]));
        accounts.apply(accounts.plan_login(&account.id, None, WALL, 0).unwrap());
        assert!(decide(&accounts, false, None).is_none());
    }

    #[test]
    fn a_given_password_makes_an_administrator_who_need_not_change_it() {
        let first = decide(&Accounts::new(8), true, Some("from the rack")).unwrap();
        assert!(first.shown.is_none());
        let accounts = applied(Accounts::new(8), &first);
        let account = accounts.by_name(ADMIN).unwrap();
        assert!(!account.password_change_required && !account.unclaimed);
        assert!(account.hash.verify(&Password::new("from the rack".to_owned())));
        assert!(decide(&accounts, false, Some("another one!")).is_none(), "admin is used");
        assert!(decide(&accounts, false, None).is_none());
    }

    #[test]
    fn a_given_password_replaces_a_generated_one_nobody_used() {
        let accounts = applied(Accounts::new(8), &decide(&Accounts::new(8), true, None).unwrap());
        let first = decide(&accounts, false, Some("from the rack")).unwrap();
        let accounts = applied(accounts, &first);
        let account = accounts.by_name(ADMIN).unwrap();
        assert!(!account.password_change_required && !account.unclaimed);
        assert_eq!(accounts.len(), 1);
    }

    #[test]
    fn an_account_that_is_disabled_is_shown_no_password() {
        let first = decide(&Accounts::new(8), true, None).unwrap();
        let Effect::Put(mut account) = first.change.effect else { panic!("no account") };
        account.enabled = false;
        // As the store gives it after it lost records.
        let mut accounts = Accounts::new(8);
        accounts.apply(Change { effect: Effect::Put(account), ..first.change });
        for given in [None, Some("from the rack")] {
            assert!(decide(&accounts, false, given).is_none(), "{given:?}");
        }
    }

    #[test]
    fn accounts_that_are_gone_or_unreadable_are_not_begun_anew() {
        for given in [None, Some("from the rack")] {
            assert!(decide(&Accounts::new(8), false, given).is_none(), "{given:?}");
        }
        let folder = tempfile::tempdir().unwrap();
        assert!(!accounts_were_made(folder.path()));
        remember_accounts(folder.path());
        assert!(accounts_were_made(folder.path()));
    }

    #[test]
    fn the_owner_gets_back_in_beside_a_full_table() {
        let mut accounts = applied(Accounts::new(1), &decide(&Accounts::new(1), true, None).unwrap());
        let id = accounts.by_name(ADMIN).unwrap().id.clone();
        let renamed = auth::AccountPatch {
            name: Some(UserName::new("rooty").unwrap()),
            ..auth::AccountPatch::default()
        };
        accounts.apply(accounts.plan_update(&id, renamed, WALL).unwrap());
        let password = Password::new("from the rack".to_owned());
        accounts.apply(recover(&accounts, &password, Cost::FLOOR, WALL).unwrap());
        let admin = accounts.by_name(ADMIN).unwrap();
        assert!(admin.hash.verify(&password) && admin.password_change_required);
        assert_eq!((&admin.role, accounts.len()), (&Role::Administrator.into(), 2));
    }

    #[test]
    fn an_admin_who_was_deleted_does_not_come_back_with_the_old_password() {
        let accounts =
            applied(Accounts::new(8), &decide(&Accounts::new(8), true, Some("from the rack")).unwrap());
        let id = accounts.by_name(ADMIN).unwrap().id.clone();
        let renamed = auth::AccountPatch {
            name: Some(UserName::new("rooty").unwrap()),
            ..auth::AccountPatch::default()
        };
        let change = accounts.plan_update(&id, renamed, WALL).unwrap();
        let mut accounts = accounts;
        accounts.apply(change);
        // The file is still configured at the next start.
        assert!(decide(&accounts, false, Some("from the rack")).is_none());
    }

    #[test]
    fn a_store_that_cannot_be_read_is_not_taken_for_an_empty_one() {
        assert!(decide(&Accounts::new(8), false, None).is_none());
    }

    #[test]
    fn a_password_file_is_read_without_its_newline_and_checked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        let limits = crate::Config::default().limits().unwrap();
        std::fs::write(&path, "from the rack\n").unwrap();
        assert_eq!(read_password(&path, &limits).unwrap().expose(), "from the rack");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            dir.path().join("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
        let pipe = read_password(&dir.path().join("pipe"), &limits);
        assert!(matches!(pipe, Err(Error::PasswordFile { .. })), "nobody is waited for");
        std::fs::write(&path, "admin123\n").unwrap();
        assert!(matches!(read_password(&path, &limits), Err(Error::WeakPassword { .. })));
        assert!(matches!(read_password(&dir.path().join("none"), &limits), Err(Error::PasswordFile { .. })));
    }
}
