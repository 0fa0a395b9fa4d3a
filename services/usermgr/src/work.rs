//! Password hashing on threads of its own: the one slow thing this daemon does.
//!
//! A thread lives for one hash: how much of the processor it gets is decided by who asks, and a thread that has once stepped back cannot come
//! forward again without a privilege.

use std::io;
use std::time::Duration;

use auth::{Cost, HashError, Password, PasswordHash};

/// How long one that gives way works at a time: longer than anything else does, so that all else comes first.
const TURN: Duration = Duration::from_millis(20);
/// Stack of such a thread, bytes: the memory of the hash is not on it.
const STACK: usize = 256 * 1024;

/// One hash to check, one to make, or the first and then the second. Hashes that are replaced are checked as well.
#[derive(Debug)]
pub(crate) struct Work {
    /// Check this password against this hash.
    pub(crate) verify: Option<(PasswordHash, Password)>,
    /// The password to hash must not be the one of any of these.
    pub(crate) replaces: Vec<PasswordHash>,
    /// Then, unless the check failed, hash this one.
    pub(crate) make: Option<Make>,
    /// It is for somebody who has not shown to be an administrator: it gives way to all other work of the machine.
    pub(crate) gives_way: bool,
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
    /// The password to hash is that of a hash it replaces.
    pub(crate) unchanged: bool,
    /// The hash that was asked for and the check allowed.
    pub(crate) made: Option<Result<PasswordHash, HashError>>,
}

impl Done {
    /// Nothing came of it, and it says nothing about the password.
    pub(crate) fn not_at_all() -> Self {
        Self { verified: false, unchanged: false, made: Some(Err(HashError::Failed)) }
    }
}

impl Work {
    /// Has a thread of its own do it.
    ///
    /// # Errors
    /// What the system says when there is no thread, or the thread has ended without a result.
    pub(crate) async fn done(self) -> io::Result<Done> {
        let (tell, told) = tokio::sync::oneshot::channel();
        std::thread::Builder::new().name("hash".into()).stack_size(STACK).spawn(move || {
            if self.gives_way {
                service::give_way(TURN);
            }
            // Whoever waited may be gone.
            drop(tell.send(self.run()));
        })?;
        told.await.map_err(io::Error::other)
    }

    /// Does it. Blocks for up to seconds on a small machine. The passwords are wiped at the end.
    pub(crate) fn run(self) -> Done {
        let verified = self.verify.as_ref().is_none_or(|(hash, password)| hash.verify(password));
        let new = self.make.as_ref().and_then(|make| make.password.as_ref());
        let is_former = |new: &Password| self.replaces.iter().any(|former| former.verify(new));
        let unchanged = verified && new.is_some_and(is_former);
        let made = self.make.filter(|_| verified && !unchanged).map(|make| {
            let checked = self.verify.as_ref().map(|(_, password)| password);
            match make.password.as_ref().or(checked) {
                Some(password) => PasswordHash::new(password, make.salt, make.cost),
                None => Err(HashError::Failed),
            }
        });
        Done { verified, unchanged, made }
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
            replaces: Vec::new(),
            make: Some(Make { password: Some(password("new one!")), salt: [2; 16], cost: Cost::FLOOR }),
            gives_way: false,
        };
        let right = work("old one!").run();
        assert!(right.verified);
        assert!(right.made.unwrap().unwrap().verify(&password("new one!")));
        let wrong = work("old one?").run();
        assert!(!wrong.verified && wrong.made.is_none());
    }

    #[test]
    fn the_password_that_is_to_be_replaced_is_hashed_no_second_time() {
        let old = PasswordHash::new(&password("old one!"), [1; 16], Cost::FLOOR).unwrap();
        for (new, unchanged) in [("old one!", true), ("new one!", false)] {
            let make = Make { password: Some(password(new)), salt: [2; 16], cost: Cost::FLOOR };
            let work = Work { verify: None, replaces: vec![old.clone()], make: Some(make), gives_way: false };
            let done = work.run();
            assert_eq!((done.unchanged, done.made.is_some()), (unchanged, !unchanged), "{new}");
        }
    }

    #[test]
    fn a_hash_can_be_made_again_at_todays_cost() {
        let old = PasswordHash::new(&password("the one!"), [1; 16], Cost::FLOOR).unwrap();
        let cost = Cost { passes: 4, ..Cost::FLOOR };
        let done = Work {
            verify: Some((old, password("the one!"))),
            replaces: Vec::new(),
            make: Some(Make { password: None, salt: [2; 16], cost }),
            gives_way: false,
        }
        .run();
        let made = done.made.unwrap().unwrap();
        assert_eq!(made.cost(), cost);
        assert!(made.verify(&password("the one!")));
    }
}
