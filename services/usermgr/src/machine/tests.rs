//! The machine alone: failing stores, races, time.

use auth::{Accounts, Cost, NewAccount, Policy, QueueConfig, SessionConfig};
use ipc::Code;

use super::*;

const NAME: &str = "alice";

fn password(text: &str) -> Password {
    Password::new(text.to_owned())
}

fn hash(text: &str) -> PasswordHash {
    PasswordHash::new(&password(text), [1; 16], Cost::FLOOR).unwrap()
}

fn limits() -> Limits {
    Limits {
        max_users: 8,
        policy: Policy::default(),
        cost: Cost::FLOOR,
        max_password_age: Millis::ZERO,
        queue: QueueConfig::default(),
        lockout: auth::LockoutConfig::default(),
        sessions: SessionConfig::default(),
    }
}

/// The machine, a clock, and a store that can be told to fail.
struct Bench {
    machine: Machine,
    now: Now,
    next: Ticket,
    out: Vec<Action>,
}

impl Bench {
    fn new(limits: Limits) -> Self {
        let mut accounts = Accounts::new(8);
        for (at, (name, role)) in
            [("admin", Role::Administrator), (NAME, Role::Operator)].into_iter().enumerate()
        {
            let new = NewAccount {
                id: UserId::from_random([u8::try_from(at).unwrap() + 1; 8]),
                name: UserName::new(name).unwrap(),
                full_name: None,
                email: None,
                attributes: BTreeMap::new(),
                enabled: true,
                role,
                hash: hash("tr0mbone"),
                password_change_required: false,
                unclaimed: false,
            };
            accounts.apply(accounts.plan_create(new, UnixMillis(1000)).unwrap());
        }
        let mut seed = 0_u8;
        let entropy = Box::new(move |bytes: &mut [u8]| {
            seed = seed.wrapping_add(1);
            bytes.fill(seed);
            true
        });
        let now = Now { mono: Mono::from_millis(1000), wall: UnixMillis(1_000_000) };
        let machine = Machine::new(limits, entropy, hash("decoy password"), accounts, Vec::new(), now);
        Self { machine, now, next: 0, out: Vec::new() }
    }

    fn wait(&mut self, millis: u64) {
        self.now.mono = self.now.mono.saturating_add(Millis::new(millis));
        self.now.wall = UnixMillis(self.now.wall.0 + millis);
    }

    fn step(&mut self, event: Event) {
        self.machine.step(self.now, event, &mut self.out);
    }

    fn ask(&mut self, call: Call, who: Option<(&str, &str)>) -> Ticket {
        let principal = who.map(|(name, session)| {
            let account = self.machine.accounts.by_name(name).unwrap();
            ipc::Principal {
                username: name.to_owned(),
                user_id: account.id.as_str().to_owned(),
                session_id: session.to_owned(),
                ..ipc::Principal::default()
            }
        });
        let deadline = self.now.mono.saturating_add(Millis::from_secs(10));
        let caller = Box::new(Caller { principal, deadline, request_id: "r".to_owned() });
        let ticket = self.next;
        self.next += 1;
        self.step(Event::Request { ticket, call, caller });
        ticket
    }

    /// Runs all hashes that were asked for.
    fn work(&mut self) {
        let (work, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.out).into_iter().partition(|action| matches!(action, Action::Work(..)));
        self.out = rest;
        for action in work {
            if let Action::Work(id, work) = action {
                let done = work.run();
                self.step(Event::Worked { work: id, done });
            }
        }
    }

    /// Takes the batch that is to be stored.
    fn batch(&mut self) -> Option<Vec<Write>> {
        let at = self.out.iter().position(|action| matches!(action, Action::Write(_)))?;
        match self.out.remove(at) {
            Action::Write(writes) => Some(writes),
            _ => None,
        }
    }

    /// Stores everything.
    fn settle(&mut self) {
        loop {
            self.work();
            match self.batch() {
                Some(_) => self.step(Event::Written(Ok(()))),
                None => break,
            }
        }
    }

    fn answer(&mut self, ticket: Ticket) -> Option<Result<Vec<u8>, Status>> {
        let at = self.out.iter().position(|action| matches!(action, Action::Answer(t, _) if *t == ticket))?;
        match self.out.remove(at) {
            Action::Answer(_, result) => Some(result),
            _ => None,
        }
    }

    fn login(&mut self, name: &str, secret: &str) -> Ticket {
        let call = Call::CreateSession {
            name: name.to_owned(),
            password: password(secret),
            address: "192.0.2.1".to_owned(),
            user_agent: String::new(),
        };
        self.ask(call, None)
    }

    /// Logs in and gives the session id and token.
    fn enter(&mut self, name: &str) -> (String, String) {
        let ticket = self.login(name, "tr0mbone");
        self.settle();
        let bytes = self.answer(ticket).unwrap().unwrap();
        let response = v1::CreateSessionResponse::decode(bytes.as_slice()).unwrap();
        (response.session.unwrap().id, response.token)
    }

    fn token(&mut self, token: &str) -> Result<v1::Principal, Status> {
        let call = Call::VerifyToken { token: Token::parse(token), address: String::new() };
        let ticket = self.ask(call, None);
        let bytes = self.answer(ticket).expect("answered at once")?;
        Ok(v1::VerifyTokenResponse::decode(bytes.as_slice()).unwrap().principal.unwrap())
    }
}

fn disable() -> Call {
    let patch = AccountPatch { enabled: Some(false), ..AccountPatch::default() };
    Call::UpdateUser { user: NAME.to_owned(), patch: Box::new(patch), unlock: false }
}

#[test]
fn nothing_is_confirmed_or_true_before_it_is_stored() {
    let mut bench = Bench::new(limits());
    let (session, _) = bench.enter("admin");
    let (_, token) = bench.enter(NAME);
    let ticket = bench.ask(disable(), Some(("admin", &session)));
    assert!(bench.answer(ticket).is_none());
    assert!(bench.token(&token).is_ok(), "not stored yet");
    let batch = bench.batch().unwrap();
    assert!(matches!(batch.as_slice(), [Write::PutUser(_), Write::DeleteSession(_)]), "{batch:?}");
    bench.step(Event::Written(Ok(())));
    assert!(bench.answer(ticket).unwrap().is_ok());
    assert_eq!(bench.token(&token).unwrap_err().code, Code::Unauthenticated);
}

#[test]
fn a_change_that_could_not_be_stored_did_not_happen_and_the_store_is_put_right() {
    let mut bench = Bench::new(limits());
    let (session, _) = bench.enter("admin");
    let (_, token) = bench.enter(NAME);
    let ticket = bench.ask(disable(), Some(("admin", &session)));
    let tried = bench.batch().unwrap();
    bench.step(Event::Written(Err(Status::unavailable("the bus is gone"))));
    let status = bench.answer(ticket).unwrap().unwrap_err();
    assert_eq!(status.code, Code::Unavailable);
    assert!(status.message.contains("usermgr"), "{status}");
    assert!(bench.token(&token).is_ok());

    // It may have been stored all the same: memory's view is written until that succeeds.
    for _ in 0..3 {
        assert!(bench.batch().is_none(), "not without a pause");
        bench.wait(1000);
        assert!(bench.machine.deadline().unwrap() <= bench.now.mono);
        bench.step(Event::Tick);
        let repair = bench.batch().unwrap();
        let keys = |batch: &[Write]| batch.iter().map(Write::key).collect::<BTreeSet<_>>();
        assert_eq!(keys(&repair), keys(&tried));
        assert!(repair.iter().any(|write| matches!(write, Write::PutUser(account) if account.enabled)));
        bench.step(Event::Written(Err(Status::unavailable("still"))));
    }
    bench.wait(1000);
    bench.step(Event::Tick);
    bench.settle();
    bench.wait(1000);
    bench.step(Event::Tick);
    assert!(bench.batch().is_none(), "the store is right again");
}

#[test]
fn a_password_proved_before_it_was_reset_opens_nothing() {
    let mut bench = Bench::new(limits());
    let (session, _) = bench.enter("admin");
    let login = bench.login(NAME, "tr0mbone");
    let reset = Call::ResetPassword {
        user: NAME.to_owned(),
        new: Some(password("another trombone")),
        require_change: false,
    };
    let reset = bench.ask(reset, Some(("admin", &session)));
    // Both hashes are computed; the login's is told after the reset was stored.
    let work: Vec<_> = std::mem::take(&mut bench.out);
    let mut done: Vec<_> = work
        .into_iter()
        .filter_map(|action| match action {
            Action::Work(id, work) => Some((id, work.run())),
            _ => None,
        })
        .collect();
    let (late, early) = (done.remove(0), done.remove(0));
    bench.step(Event::Worked { work: early.0, done: early.1 });
    bench.settle();
    assert!(bench.answer(reset).unwrap().is_ok());
    bench.step(Event::Worked { work: late.0, done: late.1 });
    bench.settle();
    assert_eq!(bench.answer(login).unwrap().unwrap_err().code, Code::Aborted);
    assert_eq!(bench.machine.sessions.len(), 1, "the administrator's");
}

#[test]
fn a_login_waiting_for_the_store_does_not_outlive_a_change_before_it() {
    let mut bench = Bench::new(limits());
    let (session, _) = bench.enter("admin");
    let change = bench.ask(disable(), Some(("admin", &session)));
    // The batch of the change is under way while the login is verified and lines up behind it.
    let login = bench.login(NAME, "tr0mbone");
    bench.work();
    bench.batch().unwrap();
    bench.step(Event::Written(Ok(())));
    bench.settle();
    assert!(bench.answer(change).unwrap().is_ok());
    assert_eq!(bench.answer(login).unwrap().unwrap_err().code, Code::Aborted);
}

#[test]
fn side_by_side_guesses_get_no_more_than_the_delay_allows() {
    let mut bench = Bench::new(limits());
    let tickets: Vec<_> = (0..8).map(|_| bench.login(NAME, "wrong password")).collect();
    for _ in 0..8 {
        bench.work();
    }
    let reasons: Vec<_> =
        tickets.into_iter().map(|ticket| bench.answer(ticket).unwrap().unwrap_err().reason()).collect();
    let wrong = reasons.iter().filter(|reason| *reason == "INVALID_CREDENTIALS").count();
    assert_eq!((wrong, reasons.len()), (5, 8), "{reasons:?}");
    // Not even the right password, and not for long.
    let right = bench.login(NAME, "tr0mbone");
    assert_eq!(bench.answer(right).unwrap().unwrap_err().reason(), "LOCKED_OUT");
    bench.wait(30_000);
    bench.enter(NAME);
}

#[test]
fn a_session_ends_by_the_clock_and_leaves_the_store() {
    let mut bench = Bench::new(limits());
    let (id, token) = bench.enter(NAME);
    bench.out.clear();
    bench.wait(30 * 60 * 1000);
    assert!(bench.token(&token).is_err(), "over before anybody ticks");
    bench.step(Event::Tick);
    let batch = bench.batch().unwrap();
    assert_eq!(batch, [Write::DeleteSession(SessionId::parse(&id).unwrap())]);
    bench.step(Event::Written(Ok(())));
    let told =
        bench.out.iter().any(|action| matches!(action, Action::Publish(event) if event.what == "expired"));
    assert!(told);
    assert_eq!(bench.machine.deadline(), None, "nothing is left to wait for");
}

#[test]
fn the_use_of_a_session_is_stored_now_and_then_not_each_time() {
    let mut bench = Bench::new(limits());
    let (_, token) = bench.enter(NAME);
    bench.step(Event::Tick);
    let mut batches = 0;
    for _ in 0..120 {
        bench.wait(10_000);
        bench.token(&token).unwrap();
        if bench.machine.deadline().is_some_and(|at| at <= bench.now.mono) {
            bench.step(Event::Tick);
        }
        if bench.batch().is_some() {
            batches += 1;
            bench.step(Event::Written(Ok(())));
        }
    }
    // 20 minutes of use, stored at least 3 minutes apart.
    assert!((4..=7).contains(&batches), "{batches}");
}

#[test]
fn an_old_password_must_be_changed_first() {
    let mut bench = Bench::new(Limits { max_password_age: Millis::from_secs(86_400), ..limits() });
    let (_, token) = bench.enter(NAME);
    assert!(!bench.token(&token).unwrap().password_change_required);
    bench.now.wall = UnixMillis(bench.now.wall.0 + 86_400_000);
    let principal = bench.token(&token).unwrap();
    assert!(principal.password_change_required);
    let call = Call::GetUser { user: NAME.to_owned(), mask: None };
    let ticket = bench.ask(call, Some((NAME, &principal.session_id)));
    assert_eq!(bench.answer(ticket).unwrap().unwrap_err().reason(), "PASSWORD_CHANGE_REQUIRED");
}

#[test]
fn a_hash_of_another_cost_is_made_anew_at_login() {
    let costly = Cost { passes: 4, ..Cost::FLOOR };
    let mut bench = Bench::new(Limits { cost: costly, ..limits() });
    bench.enter(NAME);
    let account = bench.machine.accounts.by_name(NAME).unwrap();
    assert_eq!(account.hash.cost(), costly);
    assert!(account.hash.verify(&password("tr0mbone")));
    assert_eq!(account.epoch, 1, "no session ends by it");
}

#[test]
fn sessions_of_another_epoch_or_of_nobody_are_dropped_at_start() {
    let mut bench = Bench::new(limits());
    bench.enter(NAME);
    let list = bench.machine.sessions.list(Mono::ZERO);
    let good = list[0].0.clone();
    let other = |n: u8| Session {
        id: SessionId::from_random([n; 8]),
        digest: Token::from_random([n; 32]).digest(),
        ..good.clone()
    };
    let stale = Session { epoch: 0, ..other(100) };
    let orphan = Session { user: UserId::from_random([99; 8]), ..other(101) };
    let accounts = bench.machine.accounts.clone();
    let sessions = vec![good.clone(), stale.clone(), orphan.clone()];
    let mut machine =
        Machine::new(limits(), Box::new(|_| true), hash("decoy password"), accounts, sessions, bench.now);
    assert_eq!(machine.sessions.len(), 1);
    let mut out = Vec::new();
    machine.step(bench.now, Event::Tick, &mut out);
    let Some(Action::Write(writes)) = out.first() else { panic!("{out:?}") };
    let dropped: BTreeSet<_> = writes.iter().map(Write::key).collect();
    assert_eq!(dropped, [stale.id, orphan.id].map(StoreKey::Session).into());
}

#[test]
fn without_random_numbers_nobody_gets_a_token() {
    let mut bench = Bench::new(limits());
    bench.machine.entropy = Box::new(|_| false);
    let ticket = bench.login(NAME, "tr0mbone");
    bench.settle();
    assert_eq!(bench.answer(ticket).unwrap().unwrap_err().code, Code::Internal);
    assert!(bench.machine.sessions.is_empty());
}

#[test]
fn a_login_whose_caller_gave_up_costs_no_hash() {
    let mut bench =
        Bench::new(Limits { queue: QueueConfig { parallel: 1, ..QueueConfig::default() }, ..limits() });
    let first = bench.login(NAME, "tr0mbone");
    let second = bench.login("admin", "tr0mbone");
    bench.wait(10_000);
    bench.settle();
    assert!(bench.answer(first).unwrap().is_ok());
    assert_eq!(bench.answer(second).unwrap().unwrap_err().code, Code::DeadlineExceeded);
}
