//! Where accounts are known from: over boots, and after changes of accounts.

use super::*;

/// Where [`Bench::enter`] logs in from.
const HOME: &str = "192.0.2.1";

impl Bench {
    /// Takes what is to be stored.
    fn remembers(&mut self) -> Option<KnownAddresses> {
        let at = self.out.iter().position(|action| matches!(action, Action::Remember(_)))?;
        match self.out.remove(at) {
            Action::Remember(known) => Some(known),
            _ => None,
        }
    }

    /// Stores it.
    fn remembered(&mut self) -> Option<KnownAddresses> {
        let known = self.remembers()?;
        self.step(Event::Remembered { stored: true });
        Some(known)
    }

    /// The controller starts anew: another clock, and nothing in memory.
    fn boot(&mut self, sessions: Vec<Session>, known: Option<KnownAddresses>) {
        let accounts = self.machine.accounts.clone();
        let entropy = std::mem::replace(&mut self.machine.entropy, Box::new(|_| false));
        let decoy = self.machine.decoy.clone();
        self.now.mono = Mono::from_millis(15_000);
        self.out.clear();
        let kept = Kept { counted: None, known };
        self.machine = Machine::new(limits(), entropy, decoy, accounts, sessions, kept, self.now);
    }

    /// Thirty machines with two guesses each: more than an account takes from newcomers.
    fn flood(&mut self, name: &str) {
        for machine in 100..130 {
            let (key, from) = (Key::account(name), Address::parse(&format!("198.51.100.{machine}")));
            for word in ["first", "second"] {
                if self.machine.lockout.check(key, from, self.now.mono).is_ok() {
                    self.machine.lockout.failure(key, from, &password(word), self.now.mono);
                }
            }
        }
    }

    /// What comes of a login with the right password.
    fn login_from(&mut self, name: &str, address: &str) -> Result<(), String> {
        let call = |id| Call::CreateSession {
            ticket: Ticket::new(id),
            name: name.to_owned(),
            password: password("tr0mbone"),
            address: address.to_owned(),
            user_agent: String::new(),
            purpose: None,
        };
        let ticket = self.ask(call, None);
        self.settle();
        self.answer(ticket).unwrap().map(drop).map_err(|status| status.reason())
    }

    fn knows(&self, name: &str, address: &str) -> bool {
        self.machine.lockout.is_known_good(Key::account(name), Address::parse(address))
    }
}

#[test]
fn an_owner_gets_in_after_a_boot_while_an_account_is_guessed_at() {
    let mut bench = Bench::new(limits());
    bench.enter(NAME);
    let known = bench.remembered();
    bench.boot(Vec::new(), known);
    bench.flood(NAME);
    assert_eq!(bench.login_from(NAME, "192.0.2.9"), Err("LOCKED_OUT".to_owned()));
    assert_eq!(bench.login_from(NAME, HOME), Ok(()));
}

#[test]
fn where_a_session_that_goes_on_was_begun_its_account_is_known() {
    let mut bench = Bench::new(limits());
    bench.enter(NAME);
    let good = bench.machine.sessions.list(Mono::ZERO)[0].0.clone();
    let ended = Session {
        id: SessionId::from_random([100; 8]),
        digest: Token::from_random([100; 32]).digest(),
        epoch: good.epoch + 1,
        address: "192.0.2.9".to_owned(),
        ..good.clone()
    };
    bench.boot(vec![ended, good], None);
    assert_eq!(bench.machine.remember_at(), Some(bench.now.mono));
    bench.step(Event::Tick);
    assert_eq!(bench.remembered(), Some(bench.machine.known()));
    bench.flood(NAME);
    assert_eq!(bench.login_from(NAME, "192.0.2.9"), Err("LOCKED_OUT".to_owned()));
    assert_eq!(bench.login_from(NAME, HOME), Ok(()));
}

#[test]
fn a_session_that_goes_on_gives_a_guesser_at_its_address_no_fresh_count() {
    let mut bench = Bench::new(limits());
    bench.enter(NAME);
    let session = bench.machine.sessions.list(Mono::ZERO)[0].0.clone();
    let home = Address::parse(HOME);
    for n in 0..5 {
        bench.machine.lockout.failure(Key::account(NAME), home, &password(&n.to_string()), bench.now.mono);
    }
    let counted = bench.machine.lockout.save();
    let accounts = bench.machine.accounts.clone();
    let kept = Kept { counted: Some(&counted), ..nothing_kept() };
    bench.machine = Machine::new(
        limits(),
        Box::new(|_| true),
        hash("decoy password"),
        accounts,
        vec![session],
        kept,
        bench.now,
    );
    assert!(bench.knows(NAME, HOME));
    assert_eq!(bench.login_from(NAME, HOME), Err("LOCKED_OUT".to_owned()));
}

#[test]
fn what_is_known_is_stored_once_a_minute_and_again_after_it_could_not_be() {
    let mut bench = Bench::new(limits());
    bench.enter(NAME);
    assert!(bench.remembers().is_some());
    assert_eq!(bench.login_from(NAME, "192.0.2.2"), Ok(()));
    bench.wait(60_000);
    bench.step(Event::Tick);
    assert!(bench.remembers().is_none(), "one at a time");
    bench.step(Event::Remembered { stored: true });
    assert_eq!(bench.remembered(), Some(bench.machine.known()));
    // From where it is known already there is nothing to store.
    assert_eq!(bench.login_from(NAME, HOME), Ok(()));
    assert!(bench.machine.remember_at().is_none());
    assert_eq!(bench.login_from(NAME, "192.0.2.3"), Ok(()));
    assert!(bench.remembers().is_none());
    assert_eq!(bench.machine.remember_at(), Some(bench.now.mono.saturating_add(Millis::from_secs(60))));
    for _ in 0..3 {
        bench.wait(60_000);
        bench.step(Event::Tick);
        assert!(bench.remembers().is_some());
        bench.step(Event::Remembered { stored: false });
        assert!(bench.remembers().is_none());
    }
    bench.wait(60_000);
    bench.step(Event::Tick);
    assert!(bench.remembered().is_some());
    assert!(bench.machine.remember_at().is_none());
}

#[test]
fn where_a_deleted_account_was_known_from_is_forgotten_at_once() {
    let mut bench = Bench::new(limits());
    let (session, _) = bench.enter("admin");
    bench.remembered();
    bench.enter(NAME);
    assert!(bench.remembers().is_none(), "within a minute");
    let delete = |id| Call::DeleteUser { ticket: Ticket::new(id), user: NAME.to_owned() };
    bench.ask(delete, Some(("admin", &session)));
    bench.settle();
    let known = bench.remembered().expect("stored at once");
    bench.boot(Vec::new(), Some(known));
    assert!(bench.knows("admin", HOME) && !bench.knows(NAME, HOME));
}

#[test]
fn a_renamed_account_stays_known_and_the_next_of_its_old_name_inherits_nothing() {
    let mut bench = Bench::new(limits());
    let (session, _) = bench.enter("admin");
    bench.enter(NAME);
    let from = Address::parse("192.0.2.66");
    for n in 0..5 {
        bench.machine.lockout.failure(Key::account(NAME), from, &password(&n.to_string()), bench.now.mono);
    }
    assert_eq!(bench.login_from(NAME, "192.0.2.66"), Err("LOCKED_OUT".to_owned()));
    let patch = AccountPatch { name: Some(UserName::new("allie").unwrap()), ..AccountPatch::default() };
    let ticket = bench.ask(update(NAME, patch), Some(("admin", &session)));
    bench.settle();
    assert!(bench.answer(ticket).unwrap().is_ok());
    assert!(bench.knows("allie", HOME) && !bench.knows(NAME, HOME));
    bench.flood("allie");
    assert_eq!(bench.login_from("allie", HOME), Ok(()));
    let create = |id| Call::CreateUser {
        ticket: Ticket::new(id),
        new: Box::new(new_user(NAME, Role::Operator)),
        password: password("tr0mbone"),
        dry_run: false,
    };
    let ticket = bench.ask(create, Some(("admin", &session)));
    bench.settle();
    assert!(bench.answer(ticket).unwrap().is_ok());
    assert!(!bench.knows(NAME, HOME));
    assert_eq!(bench.login_from(NAME, "192.0.2.66"), Ok(()), "that was about another account");
}

#[test]
fn a_new_account_is_known_from_nowhere_whoever_had_its_name() {
    let mut bench = Bench::new(limits());
    // Of an account whose end the store has not taken in time.
    bench.machine.lockout.success(Key::account("carol"), Address::parse(HOME), bench.now.mono);
    let (session, _) = bench.enter("admin");
    let create = |id| Call::CreateUser {
        ticket: Ticket::new(id),
        new: Box::new(new_user("carol", Role::Operator)),
        password: password("tr0mbone"),
        dry_run: false,
    };
    bench.ask(create, Some(("admin", &session)));
    bench.settle();
    assert!(bench.machine.accounts.by_name("carol").is_some() && !bench.knows("carol", HOME));
}
