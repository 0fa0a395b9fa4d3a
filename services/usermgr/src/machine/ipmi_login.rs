//! Logins over IPMI: RAKP proves a password without saying it, so the key has to be known here. It stays here.

use auth::{Address, Key, Password, UserId};
use ipc::{BadFields, Status};
use ipmi::Suite;
use schema::v1alpha1 as v1;
use v1::UserChangeKind;
use zeroize::Zeroizing;

use super::event::Cause;
use super::wire;
use super::{Action, Machine, Now, PASSWORD_ANSWER};
use crate::secret::{NONCE, Secrets};

/// Longest name, data and code of RAKP, bytes.
const LONGEST: usize = 256;

/// Wrong proof, no such name, no key: one answer.
fn invalid_credentials() -> Status {
    Status::unauthenticated("wrong user name or password").with_reason("INVALID_CREDENTIALS")
}

/// What a proof is made by, where no field is longer than those of RAKP are.
fn suite(number: u32, lengths: &[(&str, usize)]) -> Result<Suite, Status> {
    let mut bad = BadFields::default();
    let suite = [Suite::Sha1, Suite::Sha256].into_iter().find(|suite| u32::from(suite.id()) == number);
    let suite = bad.take("cipher_suite", suite.ok_or("it is 3 or 17"));
    for (field, _) in lengths.iter().filter(|(_, length)| *length > LONGEST) {
        bad.add(*field, format!("it has {LONGEST} bytes at most"));
    }
    match suite {
        Some(suite) if bad.is_empty() => Ok(suite),
        _ => Err(bad.into()),
    }
}

impl Machine {
    /// Whether an account can log in over IPMI: what was sealed for it opens, with the key there is.
    pub(super) fn ipmi_ready(&self, account: &auth::Account) -> bool {
        let opened = |sealed: &[u8]| self.secrets.as_ref()?.open(&account.id, sealed);
        account.ipmi_secret.as_deref().and_then(opened).is_some()
    }

    fn secrets(&self) -> Result<&Secrets, Status> {
        self.secrets.as_ref().ok_or_else(|| Status::unavailable("usermgr has no key for the secrets of IPMI"))
    }

    /// A password as IPMI needs it, sealed for its account. Without a key there is none: the password is set all the same, and opens everything
    /// but IPMI.
    pub(super) fn seal(
        &mut self,
        user: &UserId,
        password: Option<&Password>,
    ) -> Result<Option<Vec<u8>>, Status> {
        let Some(password) = password.filter(|_| self.secrets.is_some()) else { return Ok(None) };
        let nonce = self.random::<NONCE>()?;
        Ok(Some(self.secrets()?.seal(user, password, nonce)))
    }

    /// The key of a name, or one that nobody has: found at the same cost, so that the time does not tell which.
    fn ipmi_key(&self, name: &str, now: Now) -> Result<(bool, Zeroizing<Vec<u8>>), Status> {
        self.key_where(name, |account| account.is_open(now.wall) && account.ipmi)
    }

    /// The same, of an account that is as `may` says.
    fn key_where(
        &self,
        name: &str,
        may: impl FnOnce(&auth::Account) -> bool,
    ) -> Result<(bool, Zeroizing<Vec<u8>>), Status> {
        let secrets = self.secrets()?;
        let account = self.accounts.by_name(name).filter(|account| may(account));
        let decoy = secrets.decoy(name);
        let sealed = account.and_then(|account| Some((&account.id, account.ipmi_secret.as_deref()?)));
        let opened = match sealed {
            Some((id, sealed)) => secrets.open(id, sealed),
            None => secrets.open_nothing(),
        };
        Ok(opened.map_or((false, decoy), |key| (true, key)))
    }

    pub(super) fn challenge_ipmi(
        &self,
        request: &v1::ChallengeIpmiRequest,
        now: Now,
    ) -> Result<v1::ChallengeIpmiResponse, Status> {
        let suite = suite(request.cipher_suite, &[("data", request.data.len())])?;
        let (_, key) = self.ipmi_key(&request.username, now)?;
        Ok(v1::ChallengeIpmiResponse { code: suite.mac(&key, &request.data).to_vec() })
    }

    pub(super) fn verify_ipmi(
        &mut self,
        request: &v1::VerifyIpmiRequest,
        request_id: &str,
        now: Now,
        out: &mut Vec<Action>,
    ) -> Result<v1::VerifyIpmiResponse, Status> {
        let lengths = [
            ("username", request.username.len()),
            ("data", request.data.len()),
            ("code", request.code.len()),
            ("session", request.session.len()),
        ];
        let suite = suite(request.cipher_suite, &lengths)?;
        let address = auth::Session::clip(&request.address);
        let (key, from) = (Key::account(&request.username), Address::parse(&address));
        self.lockout.check(key, from, now.mono).map_err(wire::locked)?;
        let (is_real, secret) = match request.only_test {
            // What is stored is compared, whether the account may log in or not: who sets one up tests its password before it is enabled (§22.30).
            true => self.key_where(&request.username, |_| true)?,
            false => self.ipmi_key(&request.username, now)?,
        };
        let is_right = ipmi::is_same(&suite.mac(&secret, &request.data), &request.code);
        let account = self.accounts.by_name(&request.username).cloned();
        let Some(opened) = account.clone().filter(|_| is_real && is_right) else {
            // Which password it was nobody can say; each proof is another, so each counts.
            let tried = Password::new(request.code.iter().map(|byte| format!("{byte:02x}")).collect());
            let failed = self.lockout.failure(key, from, &tried, now.mono);
            let cause = Cause { principal: None, request_id: request_id.to_owned() };
            self.tell_failure(account.as_ref(), &address, &cause, now, out);
            if let Some(account) = account.filter(|_| failed.locked) {
                self.tell_user(UserChangeKind::Locked, &account, &cause, now, out);
            }
            return Err(invalid_credentials());
        };
        if request.only_test {
            // It frees nobody from a lock-out, and opens nothing.
            return Ok(v1::VerifyIpmiResponse::default());
        }
        self.lockout.success(key, from, now.mono);
        if self.must_change_password(&opened, now) {
            return Err(Status::permission_denied("the password must be changed first")
                .with_reason("PASSWORD_CHANGE_REQUIRED"));
        }
        // Stored beside, as after any login.
        self.note_login(&opened.id, None, now);
        Ok(v1::VerifyIpmiResponse {
            principal: Some(self.principal(&opened, None, address, PASSWORD_ANSWER, now)),
            session_key: suite.mac(&secret, &request.session).to_vec(),
        })
    }
}
