//! Who may hold a stream open: a total, shares for each account and each address, and places only administrators get.
//!
//! Everything that stays open for its caller takes a place: event streams, health watches, reflection. Without shares one account that
//! may only read could keep all others from watching (I-6).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use gate::Caller;
use ipc::Status;
use tokio::sync::watch;

use crate::config::Limits;

#[derive(Debug)]
struct Holder {
    account: String,
    address: IpAddr,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    stopped: bool,
    holders: HashMap<u64, Holder>,
}

/// All places.
#[derive(Debug)]
pub(crate) struct Places {
    total: usize,
    per_account: usize,
    per_address: usize,
    reserved: usize,
    table: Mutex<Table>,
    stop: watch::Sender<bool>,
}

impl Places {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            total: limits.streams,
            per_account: limits.streams_per_account,
            per_address: limits.streams_per_address,
            // Never all of a few.
            reserved: limits.streams_reserved.min(limits.streams / 2),
            table: Mutex::default(),
            stop: watch::Sender::new(false),
        })
    }

    /// Takes a place for as long as the answer lives.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` saying which bound is reached; `UNAVAILABLE` while shutting down.
    pub(crate) fn take(self: &Arc<Self>, caller: &Caller, address: IpAddr) -> Result<Place, Status> {
        let mut table = self.lock();
        if table.stopped {
            return Err(Status::unavailable("websrv is shutting down"));
        }
        let full = |text: String| Err(Status::resource_exhausted(text).with_reason("TOO_MANY_STREAMS"));
        let account = caller.account();
        let address = crate::admission::share(address);
        let held = table.holders.len();
        if held >= self.total {
            return full(format!("all {} streams are in use", self.total));
        }
        if table.holders.values().filter(|holder| holder.account == account).count() >= self.per_account {
            return full(format!("this account has all the {} streams it may have", self.per_account));
        }
        // Whoever may manage the controller must be able to see what goes on, behind whatever gateway.
        if !caller.administrator() {
            if held + self.reserved >= self.total {
                return full(format!("all streams are in use but {} kept for administrators", self.reserved));
            }
            if table.holders.values().filter(|holder| holder.address == address).count() >= self.per_address {
                return full(format!("this address has all the {} streams it may have", self.per_address));
            }
        }
        let id = table.next;
        table.next += 1;
        table.holders.insert(id, Holder { account: account.to_owned(), address });
        Ok(Place { id, places: Arc::clone(self) })
    }

    /// Ends all streams for good.
    pub(crate) fn stop(&self) {
        self.lock().stopped = true;
        self.stop.send_replace(true);
    }

    /// Becomes true when all streams shall end.
    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    id: u64,
    places: Arc<Places>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().holders.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use schema::v1alpha1::Privilege;

    fn caller(account: &str, administrator: bool) -> Caller {
        let all = [i32::from(Privilege::Login), i32::from(Privilege::ConfigureManager)];
        let privileges = if administrator { all.to_vec() } else { all[..1].to_vec() };
        let principal = ipc::Principal { user_id: account.into(), privileges, ..ipc::Principal::default() };
        let types = gate::AccountTypes::ALL;
        Caller { principal, types, password_change_required: false, good_for: None }
    }

    fn at(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    fn places(streams: usize, account: usize, address: usize, reserved: usize) -> Arc<Places> {
        Places::new(&Limits {
            streams,
            streams_per_account: account,
            streams_per_address: address,
            streams_reserved: reserved,
            ..Limits::default()
        })
    }

    #[test]
    fn an_administrator_gets_in_however_many_readers_there_are() {
        let places = places(64, 16, 32, 8);
        let mut held = Vec::new();
        for n in 0..20 {
            for _ in 0..20 {
                held.extend(places.take(&caller(&format!("reader{n}"), false), at(n / 2)));
            }
        }
        assert_eq!(held.len(), 56);
        let admin = caller("admin", true);
        held.push(places.take(&admin, at(1)).unwrap());
        // Also with a leaking client of one administrator.
        while let Ok(place) = places.take(&admin, at(1)) {
            held.push(place);
        }
        assert_eq!(held.len(), 64);
        held.truncate(40);
        assert!(places.take(&caller("late", false), at(99)).is_ok(), "given back");
        places.stop();
        assert!(places.take(&admin, at(1)).is_err());
    }

    proptest! {
        #[test]
        fn no_share_is_exceeded_and_every_place_comes_back(
            steps in proptest::collection::vec((0..6u8, 0..4u8, any::<bool>()), 0..200)
        ) {
            let places = places(12, 4, 6, 3);
            let mut held: Vec<(u8, u8, Place)> = Vec::new();
            for (account, address, open) in steps {
                // Account 0 is an administrator.
                if open {
                    let of = |n: u8| held.iter().filter(|(a, _, _)| *a == n).count();
                    let from = held.iter().filter(|(_, a, _)| *a == address).count();
                    let admin = account == 0;
                    let expected = held.len() < 12 && of(account) < 4 && (admin || held.len() < 9 && from < 6);
                    let taken = places.take(&caller(&account.to_string(), admin), at(address));
                    prop_assert_eq!(taken.is_ok(), expected);
                    held.extend(taken.ok().map(|place| (account, address, place)));
                } else if let Some(at) = held.iter().position(|(a, _, _)| *a == account) {
                    held.remove(at);
                }
                prop_assert_eq!(places.lock().holders.len(), held.len());
            }
        }
    }
}
