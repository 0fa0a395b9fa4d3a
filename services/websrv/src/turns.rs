//! How many requests of one account, or of strangers at one address, are worked on at once: the others wait for their turn.
//!
//! All but administrators share one thread. Whoever asks there finds what all others asked in front of it, so who asks without end may put
//! only a few requests there at a time, and no more than those on the bus. Of all accounts together one is let in each time all that is ready
//! has run once, and of all strangers one more; that holds for those that are refused, too. Administrators never wait. Who waits is bounded
//! by connections and requests on each.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gate::Caller;
use ipc::Status;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// Requests of one account that are decoded or with their daemon: a page of a browser asks some ten things at once, each for a millisecond.
const TURNS: usize = 8;

/// Requests of all accounts together that have read what their answer is made of: on a board with 300 sensors and a full log that is more
/// than a megabyte for each. As many again of administrators.
const READS: usize = 24;

/// Of these one account may have so many: what a daemon that hangs holds up is its own.
const READS_OF_ACCOUNT: usize = 6;
/// How long such a place is waited for. An administrator goes on without one then.
const READ_PATIENCE: Duration = Duration::from_secs(10);
const READ_PATIENCE_OF_ADMINISTRATORS: Duration = Duration::from_secs(1);

/// Who shares a line.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Whose {
    Account(String),
    Address(IpAddr),
}

#[derive(Debug)]
struct Line {
    turns: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    /// Requests that have a turn or wait for one.
    there: usize,
}

/// The lines of all accounts that ask for something now.
#[derive(Debug)]
pub(crate) struct Turns {
    lines: Mutex<HashMap<Whose, Line>>,
    /// Of accounts, and of strangers.
    doors: [Semaphore; 2],
    work: Semaphore,
    /// Of administrators, and of all others.
    reads: [Semaphore; 2],
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            lines: Mutex::default(),
            doors: [Semaphore::new(1), Semaphore::new(1)],
            work: Semaphore::new(1),
            reads: [Semaphore::new(READS), Semaphore::new(READS)],
        }
    }
}

impl Turns {
    /// Waits until a request may be looked at. An administrator's may at once.
    pub(crate) async fn enter(self: &Arc<Self>, caller: Option<&Caller>, peer: IpAddr) {
        let turn = self.take(caller, peer).await;
        let Some(turn) = turn else { return };
        let [accounts, strangers] = &self.doors;
        let door = if let Whose::Account(_) = turn.whose { accounts } else { strangers };
        let _alone = door.acquire().await;
        tokio::task::yield_now().await;
    }

    /// Waits for a turn; none is needed by an administrator.
    pub(crate) async fn take(self: &Arc<Self>, caller: Option<&Caller>, peer: IpAddr) -> Option<Turn> {
        let whose = match caller {
            Some(caller) if caller.administrator() => return None,
            Some(caller) => Whose::Account(caller.account().to_owned()),
            None => Whose::Address(crate::admission::share(peer)),
        };
        let (turns, reads) = {
            let mut lines = self.lock();
            let line = lines.entry(whose.clone()).or_insert_with(|| Line {
                turns: Arc::new(Semaphore::new(TURNS)),
                reads: Arc::new(Semaphore::new(READS_OF_ACCOUNT)),
                there: 0,
            });
            line.there += 1;
            (Arc::clone(&line.turns), Arc::clone(&line.reads))
        };
        // Made before the wait, so that one who gives up leaves the line too.
        let mut turn = Turn { table: Arc::clone(self), whose, reads, permit: None };
        turn.permit = turns.acquire_owned().await.ok();
        Some(turn)
    }

    /// Waits until what an answer is made of may be read; until the permits are dropped it counts as held. Others never wait for
    /// administrators, nor these for them, nor for long.
    ///
    /// # Errors
    /// `UNAVAILABLE` when others read for too long.
    pub(crate) async fn read<'a>(&'a self, turn: Option<&'a Turn>) -> Result<Reading<'a>, Status> {
        let [administrators, others] = &self.reads;
        let Some(turn) = turn else {
            let all = timeout(READ_PATIENCE_OF_ADMINISTRATORS, administrators.acquire()).await;
            return Ok(Reading { _own: None, _all: all.ok().and_then(Result::ok) });
        };
        let both = async { (turn.reads.acquire().await.ok(), others.acquire().await.ok()) };
        let (own, all) = timeout(READ_PATIENCE, both)
            .await
            .map_err(|_| Status::unavailable("too many reads wait for what they are made of; try again"))?;
        Ok(Reading { _own: own, _all: all })
    }

    /// Does what takes the processor for long. For who has a `turn` nothing else of the kind is done before all that is ready has run once.
    pub(crate) async fn work<T>(&self, turn: Option<&Turn>, work: impl FnOnce() -> T) -> T {
        if turn.is_none() {
            return work();
        }
        let _alone = self.work.acquire().await;
        let done = work();
        tokio::task::yield_now().await;
        done
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Whose, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among those that read; given back when dropped.
#[derive(Debug)]
pub(crate) struct Reading<'a> {
    _own: Option<SemaphorePermit<'a>>,
    _all: Option<SemaphorePermit<'a>>,
}

/// A turn; the next begins when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    table: Arc<Turns>,
    whose: Whose,
    reads: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        drop(self.permit.take());
        let mut lines = self.table.lock();
        if let Some(line) = lines.get_mut(&self.whose) {
            line.there = line.there.saturating_sub(1);
            if line.there == 0 {
                lines.remove(&self.whose);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use schema::v1alpha1::Privilege;

    const AT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn caller(name: &str, privilege: Privilege) -> Caller {
        Caller {
            principal: ipc::Principal {
                username: name.to_owned(),
                privileges: vec![privilege.into()],
                ..ipc::Principal::default()
            },
            types: gate::AccountTypes::ALL,
            password_change_required: false,
            good_for: None,
        }
    }

    #[tokio::test]
    async fn an_account_waits_for_itself_and_for_nobody_else() {
        let turns = Arc::new(Turns::default());
        let (rita, otto) = (caller("rita", Privilege::Login), caller("otto", Privilege::Login));
        let admin = caller("admin", Privilege::ConfigureManager);
        let mut held = Vec::new();
        for _ in 0..TURNS {
            held.push(turns.take(Some(&rita), AT).now_or_never().expect("a turn"));
        }
        let mut next = Box::pin(turns.take(Some(&rita), AT));
        assert!((&mut next).now_or_never().is_none());
        assert!(turns.take(Some(&otto), AT).now_or_never().is_some());
        assert!((0..100).all(|_| turns.take(Some(&admin), AT).now_or_never() == Some(None)));
        // One who gives up leaves no trace; a turn that ends goes to the next.
        assert!(turns.take(Some(&rita), AT).now_or_never().is_none());
        held.pop();
        let next = next.await;
        assert!(next.is_some());
        drop((held, next));
        assert!(turns.lock().is_empty());
    }

    #[tokio::test]
    async fn an_administrator_s_work_is_done_between_that_of_others() {
        let turns = Arc::new(Turns::default());
        let done = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for n in 0..6 {
            let (turns, done) = (Arc::clone(&turns), Arc::clone(&done));
            tasks.push(tokio::spawn(async move {
                let who = caller("rita", if n == 5 { Privilege::ConfigureUsers } else { Privilege::Login });
                let turn = turns.take(Some(&who), AT).await;
                turns.work(turn.as_ref(), || done.lock().unwrap().push(n)).await;
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*done.lock().unwrap(), [0, 5, 1, 2, 3, 4]);
    }

    #[tokio::test]
    async fn who_is_refused_waits_too_and_an_administrator_does_not() {
        let turns = Arc::new(Turns::default());
        let done = Arc::new(Mutex::new(Vec::new()));
        let rita = caller("rita", Privilege::Login);
        let admin = caller("admin", Privilege::ConfigureUsers);
        let asking = |who: Option<Caller>, at: u8, name: &'static str| {
            let (turns, done) = (Arc::clone(&turns), Arc::clone(&done));
            tokio::spawn(async move {
                turns.enter(who.as_ref(), IpAddr::from([192, 0, 2, at])).await;
                done.lock().unwrap().push(name);
            })
        };
        let copy = |who: &Caller| Caller {
            principal: who.principal.clone(),
            types: gate::AccountTypes::ALL,
            password_change_required: false,
            good_for: None,
        };
        let mut tasks = Vec::new();
        for _ in 0..50 {
            tasks.push(asking(Some(copy(&rita)), 1, "rita"));
            tasks.push(asking(None, 1, "flood"));
        }
        tasks.push(asking(None, 2, "stranger"));
        tasks.push(asking(Some(copy(&admin)), 1, "admin"));
        for task in tasks {
            task.await.unwrap();
        }
        let done = done.lock().unwrap();
        let place = |name| done.iter().position(|who| *who == name).unwrap();
        assert_eq!(place("admin"), 0, "{done:?}");
        assert!(place("stranger") <= 2 * (TURNS + 1), "{done:?}");
        assert!(turns.lock().is_empty());
    }

    impl PartialEq for Turn {
        fn eq(&self, other: &Self) -> bool {
            self.whose == other.whose
        }
    }

    /// What is read for answers is bounded over all accounts; no account holds it up, and neither administrators nor others wait for each other.
    #[tokio::test(start_paused = true)]
    async fn so_many_read_at_once_and_no_more() {
        let turns = Arc::new(Turns::default());
        let mut lines = Vec::new();
        for name in ["a", "b", "c", "d", "e"] {
            lines.push(turns.take(Some(&caller(name, Privilege::Login)), AT).await);
        }
        let mut held = Vec::new();
        for turn in &lines[..4] {
            for _ in 0..READS_OF_ACCOUNT {
                held.push(turns.read(turn.as_ref()).now_or_never().expect("free").expect("open"));
            }
            assert!(turns.read(turn.as_ref()).now_or_never().is_none(), "its share");
        }
        assert_eq!(held.len(), READS);
        assert!(turns.read(lines[4].as_ref()).await.is_err(), "told after a while");
        for _ in 0..READS {
            held.push(turns.read(None).now_or_never().expect("free").expect("open"));
        }
        assert!(turns.read(None).now_or_never().is_none());
        assert!(turns.read(None).await.is_ok(), "an administrator goes on");
        held.remove(0);
        assert!(turns.read(lines[4].as_ref()).now_or_never().is_some());
    }
}
