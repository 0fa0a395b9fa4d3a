//! The wall clock is set while the daemon runs, and the daemon starts anew later.

use super::*;

impl Bench {
    /// Sets the wall clock by so many days.
    fn set_clock(&mut self, days: i64) {
        self.now.wall = UnixMillis(self.now.wall.0.checked_add_signed(days * 86_400_000).unwrap());
    }

    /// The daemon starts anew, with these sessions in the store.
    fn start_anew(&mut self, sessions: Vec<Session>) {
        let accounts = self.machine.accounts.clone();
        let entropy = std::mem::replace(&mut self.machine.entropy, Box::new(|_| false));
        let decoy = self.machine.decoy.clone();
        self.out.clear();
        self.machine = Machine::new(limits(), entropy, decoy, accounts, sessions, nothing_kept(), self.now);
    }
}

fn sessions(writes: Vec<Write>) -> Vec<Session> {
    let put = |write: Write| if let Write::PutSession(session) = write { Some(*session) } else { None };
    writes.into_iter().filter_map(put).collect()
}

#[test]
fn sessions_outlive_a_restart_after_the_clock_was_set_whichever_way() {
    let mut bench = Bench::new(limits());
    let (_, token) = bench.enter(NAME);
    for days in [40, -40] {
        bench.step(Event::Tick);
        bench.settle();
        bench.wait(60_000);
        bench.set_clock(days);
        bench.step(Event::Tick);
        let stored = sessions(bench.batch().expect("the times of the session"));
        bench.step(Event::Written(Outcome::Stored));
        assert_eq!(stored.len(), 1, "{days}");
        bench.wait(60_000);
        bench.start_anew(stored);
        assert!(bench.token(&token).is_ok(), "{days}");
    }
    // No longer than without: two hours later it is over.
    bench.wait(2 * 60 * 60 * 1000);
    assert!(bench.token(&token).is_err());
}

#[test]
fn a_clock_that_was_set_right_before_the_daemon_stops_is_in_its_last_writes() {
    let mut bench = Bench::new(limits());
    let (_, token) = bench.enter(NAME);
    bench.step(Event::Tick);
    bench.settle();
    bench.set_clock(40);
    bench.machine.stop(bench.now);
    let stored = sessions(bench.machine.last_writes());
    bench.start_anew(stored);
    assert!(bench.token(&token).is_ok());
}

#[test]
fn a_session_of_an_account_that_ends_by_the_new_time_ends_all_the_same() {
    let mut bench = Bench::new(limits());
    let end = UnixMillis(bench.now.wall.0 + 86_400_000);
    let (session, _) = bench.enter("admin");
    let patch = AccountPatch { expires_at: Some(Some(end)), ..AccountPatch::default() };
    let ticket = bench.ask(update(NAME, patch), Some(("admin", &session)));
    bench.settle();
    assert!(bench.answer(ticket).unwrap().is_ok());
    let (_, token) = bench.enter(NAME);
    bench.set_clock(2);
    bench.step(Event::Tick);
    assert!(bench.token(&token).is_err());
}
