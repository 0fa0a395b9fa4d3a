//! What is known of a connection, for all that serve it.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use gate::Login;
use tokio::sync::watch;
use units::Mono;

use crate::admission::ConnId;
use crate::calls::Shared;

/// What is known of a connection.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) id: ConnId,
    pub(crate) peer: IpAddr,
    /// Who has logged in on it.
    login: watch::Sender<Option<Login>>,
    /// It is over: whoever logs in from now on has nobody who would sign out.
    over: Mutex<bool>,
    /// It has no place any more: why.
    lost: watch::Sender<Option<String>>,
    /// When a byte of a console went over it last, in milliseconds of the daemon's clock.
    used: AtomicU64,
}

impl Conn {
    pub(crate) fn new(id: ConnId, peer: IpAddr) -> Self {
        Self {
            id,
            peer,
            login: watch::Sender::new(None),
            over: Mutex::new(false),
            lost: watch::Sender::new(None),
            used: AtomicU64::new(0),
        }
    }

    /// Somebody has logged in at `now`; whether the connection is still there. If not, who logged in has to sign out.
    pub(crate) fn logs_in(&self, login: Login, now: Mono) -> bool {
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        if !*over {
            self.uses(now);
            self.login.send_replace(Some(login));
        }
        !*over
    }

    /// It is over: who has logged in on it, if somebody has. Nobody does after that.
    pub(crate) fn ends(&self) -> Option<Login> {
        *self.over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.login()
    }

    pub(crate) fn login(&self) -> Option<Login> {
        self.login.borrow().clone()
    }

    pub(crate) fn has_logged_in(&self) -> bool {
        self.login.borrow().is_some()
    }

    /// Waits until somebody has logged in.
    pub(crate) async fn logged_in(&self) -> Option<Login> {
        let mut login = self.login.subscribe();
        login.wait_for(Option::is_some).await.ok()?.clone()
    }

    /// It has no place any more, for this reason.
    pub(crate) fn loses(&self, why: String) {
        self.lost.send_replace(Some(why));
    }

    /// Waits until it has no place any more; why.
    pub(crate) async fn lost(&self) -> String {
        let mut lost = self.lost.subscribe();
        let why = lost.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
        why.unwrap_or_default()
    }

    /// A byte of a console went over it.
    pub(crate) fn uses(&self, now: Mono) {
        self.used.store(now.as_millis(), Ordering::Relaxed);
    }

    pub(crate) fn used(&self) -> Mono {
        Mono::from_millis(self.used.load(Ordering::Relaxed))
    }
}

/// The place of a connection; given back when the library has let go of it, which may be after its client has gone.
#[derive(Debug)]
pub(crate) struct Place(pub(crate) Arc<Shared>, pub(crate) ConnId);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.admission().leave(self.1);
    }
}
