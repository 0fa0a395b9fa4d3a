//! Whether a connection may go on: somebody logs in within time, the login still holds, something goes over it, the daemon stays.

use std::time::Duration;

use gate::Login;
use ipc::{CallContext, Code};
use tokio::time::Instant;
use units::Millis;

use crate::calls::Shared;
use crate::conn::Conn;

/// How long a connection stays while usermgr cannot say whether its session still exists. Only usermgr ends sessions, and it is restarted within
/// seconds.
const UNSURE: Duration = Duration::from_secs(30);
/// How often usermgr is asked at least: that is how it learns that the session is in use, and whether it is over by time.
const ASK_EVERY: Duration = Duration::from_secs(60);
const ASK_AT_MOST_EVERY: Duration = Duration::from_secs(1);
/// How long usermgr may take.
const ASK: Duration = Duration::from_secs(10);

/// Waits for the end of what is allowed; why it is over, for the client.
pub(crate) async fn over(shared: &Shared, conn: &Conn) -> String {
    let mut stop = shared.stop.clone();
    tokio::select! {
        _ = stop.wait_for(|stop| *stop) => "the daemon of SSH is shutting down".to_owned(),
        why = conn.lost() => why,
        why = login_and_rights(shared, conn) => why,
    }
}

async fn login_and_rights(shared: &Shared, conn: &Conn) -> String {
    let within = Duration::from_secs(shared.config.login_secs);
    match tokio::time::timeout(within, conn.logged_in()).await {
        Ok(Some(login)) => tokio::select! {
            why = rights(shared, conn, &login) => why,
            () = idle(shared, conn) => "nothing was typed and nothing shown for too long".to_owned(),
        },
        Ok(None) | Err(_) => "nobody logged in within the time there is for it".to_owned(),
    }
}

/// Until nothing went over it for as long as is allowed.
async fn idle(shared: &Shared, conn: &Conn) {
    let most = Millis::from_secs(shared.config.idle_secs);
    loop {
        let until = conn.used() + most;
        if shared.clock.now() >= until {
            return;
        }
        shared.clock.sleep_until(Some(until)).await;
    }
}

/// Until the login, or a right it had at first, is gone.
async fn rights(shared: &Shared, conn: &Conn, login: &Login) -> String {
    let mut changes = shared.gate.changes();
    // What changed since the login was verified was not seen here.
    let mut seen = login.since();
    // Who may not open a console from the start is told so where he asks for one.
    let could = shared.may_open(login.caller()).is_ok();
    let mut sure = Instant::now();
    let mut again = sure + next(login.caller().good_for);
    loop {
        let since = std::mem::replace(&mut seen, *changes.borrow_and_update());
        if Instant::now() >= again || (since != seen && shared.gate.concerns(since, login.caller())) {
            let context = CallContext::new().with_timeout(ASK);
            match shared.gate.authenticate(login.credential(), conn.peer.into(), &context).await {
                Ok(caller) => {
                    if could && let Err(status) = shared.may_open(&caller) {
                        return status.message;
                    }
                    sure = Instant::now();
                    again = sure + next(caller.good_for);
                }
                Err(status) if status.code == Code::Unauthenticated => {
                    return "the session of this login has ended".to_owned();
                }
                Err(status) if sure.elapsed() >= UNSURE => return status.message,
                Err(_) => again = Instant::now() + ASK_AT_MOST_EVERY,
            }
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() {
                return "the daemon of SSH is shutting down".to_owned();
            },
            () = tokio::time::sleep_until(again) => {}
        }
    }
}

/// How long after an answer the next one is asked for: twice in the time it is good for.
fn next(good_for: Option<Duration>) -> Duration {
    good_for.map_or(ASK_EVERY, |good| (good / 2).clamp(ASK_AT_MOST_EVERY, ASK_EVERY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usermgr_is_asked_twice_while_an_answer_is_good_and_never_without_end() {
        assert_eq!(next(None), ASK_EVERY);
        assert_eq!(next(Some(Duration::ZERO)), ASK_AT_MOST_EVERY);
        assert_eq!(next(Some(Duration::from_secs(20))), Duration::from_secs(10));
        assert_eq!(next(Some(Duration::from_secs(86_400))), ASK_EVERY);
    }
}
