//! How much memory request bodies may take together (I-6): a bound on each body is none on all of them.
//!
//! ```text
//!  nobody yet ── a body that is still arriving takes one of the strangers' places (total, per address)
//!  an account ── each byte of a body that is kept counts until its request is answered (total, per account, per address)
//! ```
//!
//! The last part of the bytes is kept for administrators, so that no other account can keep them from being heard.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use ipc::Status;

use crate::auth::Caller;

/// Bytes of bodies of authenticated requests, over all connections. A quarter of what websrv may use (docs/websrv.md).
const BYTES: usize = 24 * 1024 * 1024;
/// Of these, for administrators only.
const RESERVED: usize = 6 * 1024 * 1024;
/// Bytes of one account that is no administrator, and of all such accounts at one address.
const BYTES_PER_ACCOUNT: usize = 6 * 1024 * 1024;
const BYTES_PER_ADDRESS: usize = 12 * 1024 * 1024;
/// Requests of nobody yet whose body is still arriving: each holds its head and a buffer of the transport.
const STRANGERS: usize = 128;
const STRANGERS_PER_ADDRESS: usize = 32;

#[derive(Debug, Default)]
struct Held {
    bytes: usize,
    by_account: HashMap<String, usize>,
    by_address: HashMap<IpAddr, usize>,
    strangers: usize,
    strangers_by_address: HashMap<IpAddr, usize>,
}

/// What all request bodies hold.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    held: Mutex<Held>,
}

/// Whose a body is.
#[derive(Debug)]
enum Holder {
    Stranger,
    Account { name: String, is_administrator: bool },
}

/// What one body holds; given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    holder: Holder,
    address: IpAddr,
    bytes: usize,
}

fn full(text: &str) -> Status {
    Status::resource_exhausted(format!("{text}; try again")).with_reason("TOO_MANY_BODIES")
}

impl Budget {
    /// A share for a body that is about to be read.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` for a stranger when too many of their bodies are arriving.
    pub(crate) fn share(self: &Arc<Self>, caller: Option<&Caller>, peer: IpAddr) -> Result<Share, Status> {
        let address = crate::admission::share(peer);
        let holder = match caller {
            Some(caller) => Holder::Account {
                name: caller.account().to_owned(),
                is_administrator: caller.administrator(),
            },
            None => {
                let mut held = self.lock();
                if held.strangers >= STRANGERS {
                    return Err(full("too many requests of clients that are not logged in are arriving"));
                }
                let here = held.strangers_by_address.entry(address).or_default();
                if *here >= STRANGERS_PER_ADDRESS {
                    return Err(full("too many requests of this address are arriving"));
                }
                *here += 1;
                held.strangers += 1;
                Holder::Stranger
            }
        };
        Ok(Share { budget: Arc::clone(self), holder, address, bytes: 0 })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Takes `more` bytes before they are kept. A stranger's bytes are bounded by the places and the small body each may send.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED`, saying whose share is used up; nothing is taken then.
    pub(crate) fn grow(&mut self, more: usize) -> Result<(), Status> {
        let Holder::Account { name, is_administrator } = &self.holder else { return Ok(()) };
        let mut held = self.budget.lock();
        let most = if *is_administrator { BYTES } else { BYTES - RESERVED };
        if held.bytes.saturating_add(more) > most {
            return Err(full("request bodies take all the memory there is for them"));
        }
        if !is_administrator {
            let of = |table: &HashMap<_, usize>| table.get(name.as_str()).copied().unwrap_or(0);
            if of(&held.by_account).saturating_add(more) > BYTES_PER_ACCOUNT {
                return Err(full("the requests of this account take all the memory it may have"));
            }
            let here = held.by_address.get(&self.address).copied().unwrap_or(0);
            if here.saturating_add(more) > BYTES_PER_ADDRESS {
                return Err(full("the requests of this address take all the memory it may have"));
            }
            *held.by_account.entry(name.clone()).or_default() += more;
            *held.by_address.entry(self.address).or_default() += more;
        }
        held.bytes += more;
        self.bytes += more;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.budget.lock();
        match &self.holder {
            Holder::Stranger => {
                held.strangers = held.strangers.saturating_sub(1);
                take(&mut held.strangers_by_address, &self.address, 1);
            }
            Holder::Account { name, is_administrator } => {
                held.bytes = held.bytes.saturating_sub(self.bytes);
                if !is_administrator && self.bytes > 0 {
                    take(&mut held.by_account, name, self.bytes);
                    take(&mut held.by_address, &self.address, self.bytes);
                }
            }
        }
    }
}

/// Takes `n` off an entry, and the entry away once it is nothing: what is not held leaves no trace.
fn take<K: std::hash::Hash + Eq>(table: &mut HashMap<K, usize>, key: &K, n: usize) {
    if let Some(held) = table.get_mut(key) {
        *held = held.saturating_sub(n);
        if *held == 0 {
            table.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use schema::v1alpha1::Privilege;

    fn caller(name: &str, privileges: &[Privilege]) -> Caller {
        Caller {
            principal: ipc::Principal {
                username: name.to_owned(),
                privileges: privileges.iter().map(|p| (*p).into()).collect(),
                ..ipc::Principal::default()
            },
            password_change_required: false,
            good_for: None,
        }
    }

    fn at(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    #[test]
    fn no_account_keeps_an_administrator_from_being_heard() {
        let budget = Arc::new(Budget::default());
        let mut held = Vec::new();
        for n in 0..40 {
            let reader = caller(&format!("reader{n}"), &[Privilege::Login]);
            let mut share = budget.share(Some(&reader), at(n)).unwrap();
            while share.grow(64 * 1024).is_ok() {}
            held.push(share);
        }
        assert!(held.iter().all(|share| share.bytes <= BYTES_PER_ACCOUNT));
        assert_eq!(budget.lock().bytes, BYTES - RESERVED);
        let admin = caller("admin", &[Privilege::ConfigureManager]);
        let mut share = budget.share(Some(&admin), at(1)).unwrap();
        share.grow(RESERVED).unwrap();
        assert!(share.grow(1).is_err());
        drop((share, held));
        let left = budget.lock();
        assert!(left.bytes == 0 && left.by_account.is_empty() && left.by_address.is_empty());
    }

    #[test]
    fn strangers_have_places_and_one_address_not_all_of_them() {
        let budget = Arc::new(Budget::default());
        let mut held = Vec::new();
        for n in 0..8 {
            let before = held.len();
            while let Ok(share) = budget.share(None, at(n)) {
                held.push(share);
            }
            assert!(held.len() - before <= STRANGERS_PER_ADDRESS);
        }
        assert_eq!(held.len(), STRANGERS);
        held.clear();
        assert!(budget.lock().strangers_by_address.is_empty());
        budget.share(None, at(1)).unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_held_is_what_the_shares_hold(
            steps in proptest::collection::vec((0_u8..4, 0_u8..3, 0_usize..4 * 1024 * 1024, any::<bool>()), 1..200),
        ) {
            let budget = Arc::new(Budget::default());
            let mut held: Vec<Share> = Vec::new();
            for (account, address, bytes, give_back) in steps {
                let rights: &[Privilege] = if account == 0 { &[Privilege::ConfigureUsers] } else { &[] };
                let mut share = budget.share(Some(&caller(&account.to_string(), rights)), at(address)).unwrap();
                let _ = share.grow(bytes);
                held.push(share);
                if give_back && held.len() > 2 {
                    held.remove(held.len() / 2);
                }
                let sum: usize = held.iter().map(|share| share.bytes).sum();
                prop_assert!(sum == budget.lock().bytes && sum <= BYTES);
            }
            held.clear();
            prop_assert!(budget.lock().by_account.is_empty() && budget.lock().bytes == 0);
        }
    }
}
