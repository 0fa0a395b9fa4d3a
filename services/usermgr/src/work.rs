//! Password hashing on threads of its own: the one slow thing this daemon does.

use auth::{Cost, HashError, Password, PasswordHash};

/// One hash to check, one to make, or the first and then the second.
#[derive(Debug)]
pub(crate) struct Work {
    /// Check this password against this hash.
    pub(crate) verify: Option<(PasswordHash, Password)>,
    /// Then, unless the check failed, hash this one.
    pub(crate) make: Option<Make>,
}

/// A hash to make.
#[derive(Debug)]
pub(crate) struct Make {
    /// Of what; `None` for the password just checked.
    pub(crate) password: Option<Password>,
    pub(crate) salt: [u8; PasswordHash::SALT_BYTES],
    pub(crate) cost: Cost,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Done {
    /// The password was right; also true when there was none to check.
    pub(crate) verified: bool,
    /// The hash that was asked for and the check allowed.
    pub(crate) made: Option<Result<PasswordHash, HashError>>,
}

impl Work {
    /// Does it. Blocks for up to seconds on a small machine. The passwords are wiped at the end.
    pub(crate) fn run(self) -> Done {
        let verified = self.verify.as_ref().is_none_or(|(hash, password)| hash.verify(password));
        let made = self.make.filter(|_| verified).map(|make| {
            let checked = self.verify.as_ref().map(|(_, password)| password);
            match make.password.as_ref().or(checked) {
                Some(password) => PasswordHash::new(password, make.salt, make.cost),
                None => Err(HashError::Failed),
            }
        });
        Done { verified, made }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::new(text.to_owned())
    }

    #[test]
    fn a_hash_is_made_only_after_a_right_password() {
        let old = PasswordHash::new(&password("old one!"), [1; 16], Cost::FLOOR).unwrap();
        let work = |given: &str| Work {
            verify: Some((old.clone(), password(given))),
            make: Some(Make { password: Some(password("new one!")), salt: [2; 16], cost: Cost::FLOOR }),
        };
        let right = work("old one!").run();
        assert!(right.verified);
        assert!(right.made.unwrap().unwrap().verify(&password("new one!")));
        let wrong = work("old one?").run();
        assert!(!wrong.verified && wrong.made.is_none());
    }

    #[test]
    fn a_hash_can_be_made_again_at_todays_cost() {
        let old = PasswordHash::new(&password("the one!"), [1; 16], Cost::FLOOR).unwrap();
        let cost = Cost { passes: 4, ..Cost::FLOOR };
        let done = Work {
            verify: Some((old, password("the one!"))),
            make: Some(Make { password: None, salt: [2; 16], cost }),
        }
        .run();
        let made = done.made.unwrap().unwrap();
        assert_eq!(made.cost(), cost);
        assert!(made.verify(&password("the one!")));
    }
}
