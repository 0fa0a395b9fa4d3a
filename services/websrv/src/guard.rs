//! Whether a stream may go on: its caller is still allowed, its time has not passed, the daemon stays. Everything that stays open for its
//! caller has one, and with it a place ([`crate::places`]).

use std::sync::Arc;
use std::time::Duration;

use gate::{AccountType, Credential, Gate, Login};
use ipc::{CallContext, Code, Status};
use schema::MethodInfo;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::admission::{Conn, MARKED};
use crate::places::{Place, Places};

/// How long a stream stays open while usermgr cannot say whether its session still exists. Only usermgr ends sessions, and it
/// is restarted within seconds.
const UNSURE: Duration = Duration::from_secs(30);
/// How soon a stream first asks again, and how often at most. For a session it does so twice in the time an answer is good for: that
/// is how usermgr learns that a session with an open stream is in use.
const SOONEST: Duration = Duration::from_secs(1);
/// Pause before asking again in that time, doubled up to [`ASK_AGAIN_MAX`]: all streams ask, of a daemon that has trouble already.
const ASK_AGAIN: Duration = Duration::from_secs(1);
const ASK_AGAIN_MAX: Duration = Duration::from_secs(8);

/// Whose stream it is, and what it takes to ask again whether it still may be.
pub(crate) struct Access {
    pub login: Login,
    /// Its connection, which counts as the caller's as long as the caller is let in.
    pub conn: Arc<Conn>,
    /// What its account has to be for, beside what its method takes.
    pub door: Option<AccountType>,
    pub context: CallContext,
}

/// What a guard has to say.
#[derive(Debug)]
pub(crate) enum Watched {
    /// Nothing has happened for a while.
    Heartbeat,
    /// It is over.
    End(Status),
}

/// The guard of one stream.
pub(crate) struct Guard {
    gate: Gate,
    /// The method whose privilege it takes; any account will do for those that are not of the schema.
    method: Option<&'static MethodInfo>,
    access: Access,
    changes: watch::Receiver<u64>,
    /// The latest change that was looked at.
    seen: u64,
    stop: watch::Receiver<bool>,
    heartbeat: Interval,
    deadline: Option<Instant>,
    /// When the caller was last known to be allowed.
    sure: Instant,
    recheck: Option<Instant>,
    /// The pause after the next failure to ask.
    pause: Duration,
    /// The caller has to be looked at before anything more is shown.
    due: bool,
    beat: bool,
    _place: Place,
}

impl Guard {
    /// Takes a place and guards it.
    ///
    /// # Errors
    /// As [`crate::places::Places::take`].
    pub(crate) fn new(
        gate: &Gate,
        places: &Arc<Places>,
        heartbeat: Duration,
        method: Option<&'static MethodInfo>,
        access: Access,
        deadline: Option<Instant>,
    ) -> Result<Self, Status> {
        let place = places.take(access.login.caller(), access.conn.peer())?;
        let mut heartbeat = tokio::time::interval_at(Instant::now() + heartbeat, heartbeat);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let changes = gate.changes();
        // What changed since the caller was verified was not seen here.
        let seen = access.login.since();
        let sure = Instant::now();
        Ok(Self {
            method,
            access,
            changes,
            seen,
            stop: places.stopping(),
            heartbeat,
            deadline,
            sure,
            recheck: Some(sure + SOONEST),
            pause: ASK_AGAIN,
            due: false,
            beat: false,
            gate: gate.clone(),
            _place: place,
        })
    }

    /// Asks usermgr if that is due. To be called before anything is shown, and not in a race with what is shown: a stream where much
    /// happens would never get an answer.
    ///
    /// # Errors
    /// Why the stream is over.
    pub(crate) async fn check(&mut self) -> Result<(), Status> {
        self.look();
        if self.due {
            self.still_allowed().await?;
            self.due = false;
        }
        Ok(())
    }

    /// Waits for a reason to do something; [`Guard::check`] may be due then. Safe to cancel.
    pub(crate) async fn wake(&mut self) -> Option<Watched> {
        if !self.due && std::mem::take(&mut self.beat) {
            return Some(Watched::Heartbeat);
        }
        tokio::select! {
            biased;
            _ = self.stop.wait_for(|stop| *stop) => {
                return Some(Watched::End(Status::unavailable("websrv is shutting down")));
            }
            () = at(self.deadline) => {
                let text = "the client's timeout for the stream has passed";
                return Some(Watched::End(Status::deadline_exceeded(text)));
            }
            changed = self.changes.changed() => {
                if changed.is_err() {
                    return Some(Watched::End(Status::unavailable("websrv is shutting down")));
                }
                // Whether it concerns the caller is seen before anything more is shown.
                return None;
            }
            () = at(self.recheck) => {}
            // Also how a session's idle clock learns of the stream, and how its absolute end is met.
            _ = self.heartbeat.tick() => self.beat = true,
        }
        self.due = true;
        None
    }

    /// Sees whether something has changed that concerns the caller.
    fn look(&mut self) {
        let since = std::mem::replace(&mut self.seen, *self.changes.borrow_and_update());
        self.due |= since != self.seen && self.gate.concerns(since, self.access.login.caller());
    }

    async fn still_allowed(&mut self) -> Result<(), Status> {
        let Access { login, conn, door, context } = &self.access;
        let credential = login.credential();
        let context = context.child();
        let verified = self.gate.authenticate(credential, conn.peer().into(), &context).await;
        self.recheck = None;
        match verified {
            Ok(caller) => {
                if let Some(door) = door {
                    gate::enter(*door, &caller)?;
                }
                if let Some(method) = self.method {
                    gate::authorise(method, Some(Arc::clone(&caller)))?;
                }
                conn.mark_authenticated(caller.account(), caller.administrator());
                self.sure = Instant::now();
                self.pause = ASK_AGAIN;
                let good_for = caller.good_for.filter(|_| matches!(credential, Credential::Token(_)));
                self.recheck = Some(self.sure + next_look(good_for));
                Ok(())
            }
            Err(status) if status.code == Code::Unauthenticated => {
                conn.mark_stranger();
                Err(Status::unauthenticated("the session of this stream has ended"))
            }
            Err(status) if self.sure.elapsed() >= UNSURE => Err(status),
            Err(_) => {
                (self.recheck, self.pause) = again(Instant::now(), self.sure, self.pause);
                Ok(())
            }
        }
    }
}

/// How long after the caller was found allowed it is asked again, whatever the heartbeat is: before half of what a session is good for, and
/// while the connection still counts as an administrator's.
fn next_look(good_for: Option<Duration>) -> Duration {
    let marked = MARKED / 2;
    good_for.map_or(marked, |good| (good / 2).max(SOONEST).min(marked))
}

/// When to ask again after a failure, not later than the stream's end, and the pause after the next one.
fn again(now: Instant, sure: Instant, pause: Duration) -> (Option<Instant>, Duration) {
    (Some((now + pause).min(sure + UNSURE)), (pause * 2).min(ASK_AGAIN_MAX))
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_asks_a_daemon_that_is_away_ever_more_seldom_and_ends_in_time() {
        let sure = Instant::now();
        let (mut now, mut pause, mut asked) = (sure + SOONEST, ASK_AGAIN, Vec::new());
        while now < sure + UNSURE {
            asked.push((now - sure).as_secs());
            let (next, more) = again(now, sure, pause);
            (now, pause) = (next.expect("it asks again"), more);
        }
        assert_eq!(asked, [1, 2, 4, 8, 16, 24]);
        assert_eq!(now, sure + UNSURE);
    }

    #[test]
    fn a_stream_is_looked_at_while_its_connection_is_an_administrator_s_whatever_the_heartbeat_is() {
        for good_for in [None, Some(Duration::ZERO), Some(Duration::from_secs(3600))] {
            assert!((SOONEST..MARKED).contains(&next_look(good_for)), "{good_for:?}");
        }
        assert_eq!(next_look(Some(Duration::from_secs(20))), Duration::from_secs(10));
    }
}
