//! The machine alone: failing stores, races, time.

use auth::{Accounts, Cost, NewAccount, Policy, QueueConfig, Role, SessionConfig};
use ipc::Code;
use prost::Message as _;

use super::*;
mod clock;
mod ipmi_login;
mod known;
mod own_password;
mod policy;
mod roles;
mod types;

const NAME: &str = "alice";

fn password(text: &str) -> Password {
    Password::new(text.to_owned())
}

fn hash(text: &str) -> PasswordHash {
    PasswordHash::new(&password(text), [1; 16], Cost::FLOOR).unwrap()
}

fn new_user(name: &str, role: Role) -> NewUser {
    NewUser {
        name: UserName::new(name).unwrap(),
        full_name: None,
        email: None,
        attributes: BTreeMap::new(),
        enabled: true,
        role: Some(role.into()),
        password_change_required: false,
        ipmi: false,
        ipmi_user: None,
        types: None,
        strict_types: false,
        expires_at: None,
    }
}

fn limits() -> Limits {
    Limits {
        max_users: 8,
        policy: Policy::default(),
        cost: Cost::FLOOR,
        max_password_age: Millis::ZERO,
        password_history: 0,
        queue: QueueConfig::default(),
        lockout: auth::LockoutConfig::default(),
        sessions: SessionConfig::default(),
    }
}

fn nothing_kept() -> Kept<'static> {
    Kept { counted: None, known: Some(KnownAddresses::default()) }
}

/// The machine, a clock, and a store that can be told to fail.
struct Bench {
    machine: Machine,
    now: Now,
    next: TicketId,
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
                role: role.into(),
                hash: hash("tr0mbone"),
                password_change_required: false,
                unclaimed: false,
                ipmi: name == NAME,
                ipmi_user: None,
                chosen_types: None,
                strict_types: false,
                expires_at: None,
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
        let machine =
            Machine::new(limits, entropy, hash("decoy password"), accounts, Vec::new(), nothing_kept(), now);
        Self { machine, now, next: 0, out: Vec::new() }
    }

    fn wait(&mut self, millis: u64) {
        self.now.mono = self.now.mono.saturating_add(Millis::new(millis));
        self.now.wall = UnixMillis(self.now.wall.0 + millis);
    }

    fn step(&mut self, event: Event) {
        self.machine.step(self.now, event, &mut self.out);
    }

    /// Makes a call with a ticket of the next number.
    fn ask(&mut self, call: impl FnOnce(TicketId) -> Call, who: Option<(&str, &str)>) -> TicketId {
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
        self.step(Event::Request { ticket, call: call(ticket), caller });
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
        let at = self.out.iter().position(|action| matches!(action, Action::Write { .. }))?;
        match self.out.remove(at) {
            Action::Write { writes, .. } => Some(writes),
            _ => None,
        }
    }

    /// Stores everything.
    fn settle(&mut self) {
        loop {
            self.work();
            match self.batch() {
                Some(_) => self.step(Event::Written(Outcome::Stored)),
                None => break,
            }
        }
    }

    /// Takes the question what became of a write.
    fn question(&mut self) -> Option<Write> {
        let at = self.out.iter().position(|action| matches!(action, Action::Resolve(_)))?;
        match self.out.remove(at) {
            Action::Resolve(write) => Some(write),
            _ => None,
        }
    }

    fn answer(&mut self, ticket: TicketId) -> Option<Result<Vec<u8>, Status>> {
        let at = self.out.iter().position(|action| matches!(action, Action::Answer(t, _) if *t == ticket))?;
        match self.out.remove(at) {
            Action::Answer(_, result) => Some(result.map(Encoded::into_bytes)),
            _ => None,
        }
    }

    fn login(&mut self, name: &str, secret: &str) -> TicketId {
        let call = |id| Call::CreateSession {
            ticket: Ticket::new(id),
            name: name.to_owned(),
            password: password(secret),
            address: "192.0.2.1".to_owned(),
            user_agent: String::new(),
            purpose: None,
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
        let call = |id| Call::VerifyToken {
            ticket: Ticket::new(id),
            token: Token::parse(token),
            address: String::new(),
        };
        let ticket = self.ask(call, None);
        let bytes = self.answer(ticket).expect("answered at once")?;
        Ok(v1::VerifyTokenResponse::decode(bytes.as_slice()).unwrap().principal.unwrap())
    }
}

fn disable(id: TicketId) -> Call {
    let patch = AccountPatch { enabled: Some(false), ..AccountPatch::default() };
    update(NAME, patch)(id)
}

#[test]
fn nothing_is_confirmed_or_true_before_it_is_stored() {
    let mut bench = Bench::new(limits());
    let (session, _) = bench.enter("admin");
    let (_, token) = bench.enter(NAME);
    let ticket = bench.ask(disable, Some(("admin", &session)));
    assert!(bench.answer(ticket).is_none());
    assert!(bench.token(&token).is_ok(), "not stored yet");
    let batch = bench.batch().unwrap();
    assert!(matches!(batch.as_slice(), [Write::PutUser(_)]), "{batch:?}");
    bench.step(Event::Written(Outcome::Stored));
    assert!(bench.answer(ticket).unwrap().is_ok());
    assert_eq!(bench.token(&token).unwrap_err().code, Code::Unauthenticated);
    // The session is void in the store by its epoch; that it goes is not waited for.
    let follows = bench.batch().unwrap();
    assert!(matches!(follows.as_slice(), [Write::DeleteSession(_)]), "{follows:?}");
}

#[test]
fn daemons_see_who_there_is_and_what_was_changed_once_it_is_stored() {
    let mut bench = Bench::new(limits());
    let (session, _) = bench.enter("admin");
    bench.settle();
    let names = |bench: &mut Bench| {
        let ticket = bench.ask(|id| Call::ListAccountNames { ticket: Ticket::new(id) }, None);
        let bytes = bench.answer(ticket).expect("answered at once").unwrap();
        let answer = v1::ListAccountNamesResponse::decode(bytes.as_slice()).unwrap();
        answer.accounts.into_iter().map(|account| (account.username, account.enabled)).collect::<Vec<_>>()
    };
    let enabled = vec![("admin".to_owned(), true), (NAME.to_owned(), true)];
    assert_eq!(names(&mut bench), enabled);
    bench.ask(disable, Some(("admin", &session)));
    assert_eq!(names(&mut bench), enabled, "not stored yet");
    bench.settle();
    assert!(names(&mut bench).contains(&(NAME.to_owned(), false)));
}

fn full() -> Status {
    Status::unavailable("the store is full")
}

#[test]
fn a_change_that_could_not_be_stored_did_not_happen_and_leaves_nothing_to_come() {
    let mut bench = Bench::new(limits());
    let (session, _) = bench.enter("admin");
    let (_, token) = bench.enter(NAME);
    bench.settle();
    let ticket = bench.ask(disable, Some(("admin", &session)));
    bench.batch().unwrap();
    bench.step(Event::Written(Outcome::Refused(full())));
    let status = bench.answer(ticket).unwrap().unwrap_err();
    assert_eq!(status.code, Code::Unavailable);
    assert!(status.message.contains("usermgr"), "{status}");
    assert!(bench.token(&token).is_ok());
    bench.wait(120_000);
    bench.step(Event::Tick);
    let later = bench.batch();
    assert!(later.iter().flatten().all(|write| matches!(write, Write::PutSession(_))), "{later:?}");
}

#[test]
fn what_became_of_a_change_is_found_out_before_it_is_answered_and_before_the_next_one() {
    for stored in [true, false] {
        let mut bench = Bench::new(limits());
        let (session, _) = bench.enter("admin");
        let (_, token) = bench.enter(NAME);
        bench.settle();
        let ticket = bench.ask(disable, Some(("admin", &session)));
        let tried = bench.batch().unwrap();
        bench.step(Event::Written(Outcome::Unknown(full())));
        assert!(bench.answer(ticket).is_none() && bench.token(&token).is_ok());
        let next = bench.ask(
            |id| Call::DeleteUser { ticket: Ticket::new(id), user: NAME.to_owned() },
            Some(("admin", &session)),
        );
        assert!(bench.batch().is_none(), "one thing after the other");
        for _ in 0..3 {
            bench.wait(1000);
            bench.step(Event::Tick);
            assert_eq!(bench.question(), Some(tried[0].clone()));
            bench.step(Event::Written(Outcome::Unknown(full())));
        }
        bench.wait(1000);
        bench.step(Event::Tick);
        assert!(bench.question().is_some());
        bench.step(Event::Written(if stored { Outcome::Stored } else { Outcome::Refused(full()) }));
        assert_eq!(bench.answer(ticket).unwrap().is_ok(), stored);
        assert_eq!(bench.token(&token).is_ok(), !stored);
        bench.settle();
        assert!(bench.answer(next).unwrap().is_ok());
    }
}

#[test]
fn a_caller_is_told_in_time_that_nobody_knows_and_what_comes_true_then_is_told_to_all() {
    let mut bench = Bench::new(limits());
    let (session, _) = bench.enter("admin");
    let (_, token) = bench.enter(NAME);
    bench.settle();
    bench.out.clear();
    let ticket = bench.ask(disable, Some(("admin", &session)));
    bench.batch().unwrap();
    bench.wait(5000);
    bench.step(Event::Written(Outcome::Unknown(full())));
    assert!(bench.question().is_some());
    bench.step(Event::Tick);
    assert_eq!(bench.machine.deadline(), Some(bench.now.mono.saturating_add(Millis::new(4700))));
    bench.wait(4700);
    bench.step(Event::Tick);
    let status = bench.answer(ticket).unwrap().unwrap_err();
    assert_eq!((status.code, status.reason().as_str()), (Code::Unavailable, "OUTCOME_UNKNOWN"));
    bench.step(Event::Written(Outcome::Stored));
    assert!(bench.token(&token).is_err());
    let told = |event: &v1::Event| (event.domain.clone(), event.what.clone());
    let told: Vec<_> = bench
        .out
        .iter()
        .filter_map(|action| match action {
            Action::Publish(event) => Some(told(event)),
            _ => None,
        })
        .collect();
    assert_eq!(told[0], ("user".to_owned(), "updated".to_owned()), "{told:?}");
}

#[test]
fn a_change_that_waited_for_too_long_is_not_begun() {
    let mut bench = Bench::new(limits());
    let (session, _) = bench.enter("admin");
    bench.settle();
    let first = bench.ask(disable, Some(("admin", &session)));
    bench.batch().unwrap();
    let second = bench.ask(
        |id| Call::DeleteUser { ticket: Ticket::new(id), user: NAME.to_owned() },
        Some(("admin", &session)),
    );
    bench.wait(10_000);
    bench.step(Event::Tick);
    assert_eq!(bench.answer(second).unwrap().unwrap_err().code, Code::DeadlineExceeded);
    bench.step(Event::Written(Outcome::Stored));
    bench.settle();
    drop(bench.answer(first));
    assert!(bench.machine.accounts.by_name(NAME).is_some());
}

#[test]
fn a_login_does_not_need_the_store() {
    let mut bench = Bench::new(limits());
    let (session, _) = bench.enter("admin");
    bench.settle();
    // The first one waits for the store to fail, the next ones know.
    for round in 0..3 {
        let ticket = bench.login(NAME, "tr0mbone");
        bench.work();
        if round == 0 {
            assert!(bench.answer(ticket).is_none());
            bench.batch().unwrap();
            bench.step(Event::Written(Outcome::Refused(full())));
        }
        let bytes = bench.answer(ticket).expect("answered").unwrap();
        let response = v1::CreateSessionResponse::decode(bytes.as_slice()).unwrap();
        assert!(response.session.unwrap().memory_only);
        let own = bench.token(&response.token).unwrap().session_id;
        // It can be ended, too.
        if round == 1 {
            let end = bench.ask(
                |id| Call::DeleteSession { ticket: Ticket::new(id), id: own.clone() },
                Some((NAME, &own)),
            );
            assert!(bench.answer(end).unwrap().is_ok());
        }
    }
    let basic = |id| Call::VerifyPassword {
        ticket: Ticket::new(id),
        name: NAME.to_owned(),
        password: password("tr0mbone"),
        address: "192.0.2.1".to_owned(),
    };
    bench.wait(3 * 60 * 60 * 1000);
    let ticket = bench.ask(basic, None);
    bench.work();
    assert!(bench.answer(ticket).unwrap().is_ok());
    // A session the store has is not ended by a logout nobody can store.
    let mut bench = Bench::new(limits());
    let (admin, token) = bench.enter("admin");
    bench.settle();
    let end = bench.ask(
        |id| Call::DeleteSession { ticket: Ticket::new(id), id: admin.clone() },
        Some(("admin", &admin)),
    );
    bench.batch().unwrap();
    bench.step(Event::Written(Outcome::Refused(full())));
    assert_eq!(bench.answer(end).unwrap().unwrap_err().code, Code::Unavailable);
    assert!(bench.token(&token).is_ok());
    drop(session);
}

#[test]
fn a_store_that_heals_gets_the_sessions_of_the_meantime_and_is_not_pestered_before() {
    let mut bench = Bench::new(limits());
    bench.enter("admin");
    bench.settle();
    let ticket = bench.login(NAME, "tr0mbone");
    bench.work();
    bench.batch().unwrap();
    bench.step(Event::Written(Outcome::Refused(full())));
    let bytes = bench.answer(ticket).unwrap().unwrap();
    let id = v1::CreateSessionResponse::decode(bytes.as_slice()).unwrap().session.unwrap().id;
    let mut tries = 0;
    for _ in 0..1200 {
        bench.wait(1000);
        bench.step(Event::Tick);
        if bench.batch().is_some() {
            tries += 1;
            bench.step(Event::Written(Outcome::Refused(full())));
        }
    }
    assert!((15..30).contains(&tries), "{tries} tries in 20 minutes");
    bench.wait(60_000);
    bench.step(Event::Tick);
    let batch = bench.batch().unwrap();
    assert!(
        batch.iter().any(|write| matches!(write, Write::PutSession(session) if session.id.as_str() == id))
    );
    bench.step(Event::Written(Outcome::Stored));
    assert!(bench.machine.sessions.is_stored(&SessionId::parse(&id).unwrap()));
}

#[test]
fn a_password_proved_before_it_was_reset_opens_nothing() {
    let mut bench = Bench::new(limits());
    let (session, _) = bench.enter("admin");
    let login = bench.login(NAME, "tr0mbone");
    let reset = |id| Call::ResetPassword {
        ticket: Ticket::new(id),
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
    let change = bench.ask(disable, Some(("admin", &session)));
    // The batch of the change is under way while the login is verified and lines up behind it.
    let login = bench.login(NAME, "tr0mbone");
    bench.work();
    bench.batch().unwrap();
    bench.step(Event::Written(Outcome::Stored));
    bench.settle();
    assert!(bench.answer(change).unwrap().is_ok());
    assert_eq!(bench.answer(login).unwrap().unwrap_err().code, Code::Aborted);
}

#[test]
fn side_by_side_guesses_get_no_more_than_the_delay_allows() {
    let mut bench = Bench::new(limits());
    let tickets: Vec<_> = (0..8).map(|n| bench.login(NAME, &format!("wrong password {n}"))).collect();
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
    bench.step(Event::Written(Outcome::Stored));
    let told =
        bench.out.iter().any(|action| matches!(action, Action::Publish(event) if event.what == "expired"));
    assert!(told);
    bench.settle();
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
            bench.step(Event::Written(Outcome::Stored));
        }
    }
    // 20 minutes of use, stored at least 3 minutes apart.
    assert!((4..=7).contains(&batches), "{batches}");
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
    let mut machine = Machine::new(
        limits(),
        Box::new(|_| true),
        hash("decoy password"),
        accounts,
        sessions,
        nothing_kept(),
        bench.now,
    );
    assert_eq!(machine.sessions.len(), 1);
    let mut out = Vec::new();
    machine.step(bench.now, Event::Tick, &mut out);
    let Some(Action::Write { writes, .. }) = out.first() else { panic!("{out:?}") };
    let dropped: BTreeSet<_> = writes.iter().map(Write::key).collect();
    assert_eq!(dropped, [stale.id, orphan.id].map(StoreKey::Session).into());
}

#[test]
fn whoever_is_told_of_a_failure_cannot_have_it_forgotten() {
    let mut bench = Bench::new(limits());
    let mut kept = None;
    for guess in 0..5 {
        let accounts = bench.machine.accounts.clone();
        let entropy = std::mem::replace(&mut bench.machine.entropy, Box::new(|_| false));
        let decoy = bench.machine.decoy.clone();
        let before = Kept { counted: kept.as_deref(), ..nothing_kept() };
        bench.machine = Machine::new(limits(), entropy, decoy, accounts, vec![], before, bench.now);
        let ticket = bench.login(NAME, &format!("guess {guess}"));
        bench.work();
        let keeps = |action: &Action| matches!(action, Action::Keep(_));
        let answers = |action: &Action| matches!(action, Action::Answer(t, _) if *t == ticket);
        let (keep, answer) = (bench.out.iter().position(keeps), bench.out.iter().position(answers));
        assert!(keep.unwrap() < answer.unwrap(), "{:?}", bench.out);
        let Action::Keep(bytes) = bench.out.swap_remove(keep.unwrap()) else { unreachable!() };
        kept = Some(bytes);
        bench.out.clear();
    }
    let locked = bench.login(NAME, "tr0mbone");
    bench.work();
    assert_eq!(bench.answer(locked).unwrap().unwrap_err().reason(), "LOCKED_OUT");
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
    bench.step(Event::Tick);
    assert_eq!(bench.answer(second).unwrap().unwrap_err().code, Code::DeadlineExceeded);
    assert_eq!(bench.out.iter().filter(|action| matches!(action, Action::Work(..))).count(), 1);
    bench.settle();
    assert_eq!(
        bench.answer(first).unwrap().unwrap_err().code,
        Code::DeadlineExceeded,
        "no session for nobody"
    );
    assert!(bench.machine.sessions.is_empty());
}

/// A store that may refuse, lose its answer, or lose the write and the answer; and a daemon that is killed at any time.
mod model {
    use proptest::prelude::*;
    use std::collections::BTreeMap as Map;

    use super::*;

    #[derive(Debug, Clone, Copy)]
    enum Fate {
        Stores,
        Refuses,
        /// It is stored, and nobody hears so.
        StoresInSilence,
        /// It is not stored, and nobody hears so.
        LosesInSilence,
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Enable(bool),
        Role(usize),
        Create(u8),
        Delete(u8),
        Login,
        Logout,
        Store(Fate),
        Wait(u64),
        Kill,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let fate = prop_oneof![
            4 => Just(Fate::Stores),
            1 => Just(Fate::Refuses),
            1 => Just(Fate::StoresInSilence),
            1 => Just(Fate::LosesInSilence),
        ];
        proptest::collection::vec(
            prop_oneof![
                1 => any::<bool>().prop_map(Step::Enable),
                1 => (0..3_usize).prop_map(Step::Role),
                1 => (0..4_u8).prop_map(Step::Create),
                1 => (0..4_u8).prop_map(Step::Delete),
                2 => Just(Step::Login),
                1 => Just(Step::Logout),
                8 => fate.prop_map(Step::Store),
                3 => (1..7000_u64).prop_map(Step::Wait),
                1 => Just(Step::Kill),
            ],
            0..120,
        )
    }

    /// What the buckets hold.
    #[derive(Debug, Clone, Default)]
    struct Disk {
        users: Map<UserId, Account>,
        sessions: Map<String, Session>,
    }

    impl Disk {
        fn write(&mut self, write: &Write) {
            match write {
                Write::PutUser(account) => drop(self.users.insert(account.id.clone(), (**account).clone())),
                Write::DeleteUser(id) => drop(self.users.remove(id)),
                Write::PutSession(session) => {
                    drop(self.sessions.insert(session.id.as_str().to_owned(), (**session).clone()));
                }
                Write::DeleteSession(id) => drop(self.sessions.remove(id.as_str())),
                Write::PutRole(_) | Write::DeleteRole(_) => unreachable!("no role is changed here"),
            }
        }

        fn has(&self, write: &Write) -> bool {
            match write {
                Write::PutUser(account) => self.users.get(&account.id) == Some(&**account),
                Write::DeleteUser(id) => !self.users.contains_key(id),
                Write::PutSession(session) => self.sessions.contains_key(session.id.as_str()),
                Write::DeleteSession(id) => !self.sessions.contains_key(id.as_str()),
                Write::PutRole(_) | Write::DeleteRole(_) => false,
            }
        }
    }

    fn role(account: &Account) -> Role {
        Role::from_name(account.role.name()).unwrap()
    }

    /// What clients were told of an account: what it must be, or nothing if nobody could tell them.
    type Told = Map<String, Option<Option<(bool, Role)>>>;

    struct World {
        bench: Bench,
        disk: Disk,
        batch: Option<Vec<Write>>,
        /// By ticket: the account, and what it is after a success.
        asked: Map<TicketId, (String, Option<(bool, Role)>)>,
        told: Told,
        session: Option<(String, String)>,
        login: Option<TicketId>,
        logout: Option<(TicketId, String)>,
    }

    impl World {
        fn new() -> Self {
            let bench = Bench::new(limits());
            let users: Map<_, _> =
                bench.machine.accounts.list().into_iter().map(|a| (a.id.clone(), a.clone())).collect();
            let told = users.values().map(|a| (a.name.as_str().to_owned(), Some(Some((a.enabled, role(a))))));
            let told = told.collect();
            let disk = Disk { users, sessions: Map::new() };
            Self {
                bench,
                disk,
                batch: None,
                asked: Map::new(),
                told,
                session: None,
                login: None,
                logout: None,
            }
        }

        fn standing(accounts: &Accounts, name: &str) -> Option<(bool, Role)> {
            accounts.by_name(name).map(|account| (account.enabled, role(account)))
        }

        /// One change at a time of an account: what a client may expect is then clear.
        fn change(&mut self, name: &str, call: impl FnOnce(TicketId) -> Call, after: Option<(bool, Role)>) {
            let doubtful = matches!(self.told.get(name), Some(None));
            if !doubtful && self.asked.values().all(|(other, _)| other != name) {
                let ticket = self.bench.ask(call, Some(("admin", "")));
                self.asked.insert(ticket, (name.to_owned(), after));
                self.bench.work();
            }
            self.look();
        }

        /// Takes what came out.
        fn look(&mut self) {
            if self.batch.is_none() {
                self.batch = self.bench.batch();
            }
            let answers: Vec<(TicketId, Result<Vec<u8>, Status>)> = std::mem::take(&mut self.bench.out)
                .into_iter()
                .filter_map(|action| match action {
                    Action::Answer(ticket, result) => Some((ticket, result.map(Encoded::into_bytes))),
                    other => {
                        if !matches!(other, Action::Publish(_)) {
                            self.bench.out.push(other);
                        }
                        None
                    }
                })
                .collect();
            for (ticket, result) in answers {
                if let Some((name, after)) = self.asked.remove(&ticket) {
                    match result {
                        Ok(_) => drop(self.told.insert(name, Some(after))),
                        // The one answer that leaves it open; then it is either, for good.
                        Err(status) if status.reason() == "OUTCOME_UNKNOWN" => {
                            self.told.insert(name, None);
                        }
                        Err(_) => {}
                    }
                } else if Some(ticket) == self.login {
                    self.login = None;
                    if let Ok(bytes) = result {
                        let response = v1::CreateSessionResponse::decode(bytes.as_slice()).unwrap();
                        let session = response.session.unwrap();
                        assert!(
                            session.memory_only || self.disk.sessions.contains_key(&session.id),
                            "a session that is said to be stored is"
                        );
                        self.session = Some((session.id, response.token));
                    }
                } else if let Some((_, id)) = self.logout.take_if(|(asked, _)| *asked == ticket)
                    && result.is_ok()
                {
                    assert!(!self.disk.sessions.contains_key(&id), "a logout is stored");
                    self.session.take_if(|(session, _)| *session == id);
                }
            }
        }

        fn store(&mut self, fate: Fate) {
            let question = self.bench.question();
            let outcome = if let Some(write) = question {
                match fate {
                    Fate::Stores | Fate::StoresInSilence if self.disk.has(&write) => Outcome::Stored,
                    Fate::Stores | Fate::StoresInSilence => Outcome::Refused(full()),
                    _ => Outcome::Unknown(full()),
                }
            } else if let Some(writes) = self.batch.take() {
                match fate {
                    Fate::Stores | Fate::StoresInSilence => {
                        writes.iter().for_each(|write| self.disk.write(write));
                    }
                    Fate::Refuses | Fate::LosesInSilence => {}
                }
                match fate {
                    Fate::Stores => Outcome::Stored,
                    Fate::Refuses => Outcome::Refused(full()),
                    _ => Outcome::Unknown(full()),
                }
            } else {
                return;
            };
            self.bench.step(Event::Written(outcome));
            self.look();
        }

        /// The process dies, whatever is under way, and another reads the store.
        fn restart(&mut self) {
            let mut accounts = Accounts::new(8);
            self.disk.users.values().cloned().for_each(|account| accounts.restore(account));
            let sessions = self.disk.sessions.values().cloned().collect();
            let entropy = std::mem::replace(&mut self.bench.machine.entropy, Box::new(|_| false));
            let decoy = self.bench.machine.decoy.clone();
            self.bench.machine =
                Machine::new(limits(), entropy, decoy, accounts, sessions, nothing_kept(), self.bench.now);
            self.bench.out.clear();
            self.batch = None;
            // Who was not answered knows nothing.
            for (name, _) in std::mem::take(&mut self.asked).into_values() {
                self.told.insert(name, None);
            }
            (self.login, self.logout, self.session) = (None, None, None);
        }

        /// What clients were told is true; what they were told not to be is not.
        fn check(&mut self) {
            for (name, told) in &mut self.told {
                let is = Self::standing(&self.bench.machine.accounts, name);
                match told {
                    Some(told) => assert_eq!(is, *told, "{name}"),
                    // Nobody said; from a restart on it is what it is.
                    None if self.bench.machine.writing.is_none() => *told = Some(is),
                    None => {}
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn what_was_answered_is_true_and_what_was_refused_never_is(steps in steps()) {
            let mut world = World::new();
            for step in steps {
                let role_of = |world: &World| World::standing(&world.bench.machine.accounts, NAME);
                match step {
                    Step::Enable(enabled) => {
                        let after = role_of(&world).map(|(_, role)| (enabled, role));
                        let patch = AccountPatch { enabled: Some(enabled), ..AccountPatch::default() };
                        world.change(NAME, update(NAME, patch), after);
                    }
                    Step::Role(role) => {
                        let role = Role::ALL[role];
                        let after = role_of(&world).map(|(enabled, _)| (enabled, role));
                        let patch = AccountPatch { role: Some(role.into()), ..AccountPatch::default() };
                        world.change(NAME, update(NAME, patch), after);
                    }
                    Step::Create(n) => {
                        let name = format!("user{n}");
                        let new = Box::new(new_user(&name, Role::Operator));
                        let call = |id| Call::CreateUser { ticket: Ticket::new(id), new, password: password("tr0mbone"), dry_run: false };
                        world.told.entry(name.clone()).or_insert(Some(None));
                        world.change(&name, call, Some((true, Role::Operator)));
                    }
                    Step::Delete(n) => {
                        let name = format!("user{n}");
                        world.told.entry(name.clone()).or_insert(Some(None));
                        world.change(&name, |id| Call::DeleteUser { ticket: Ticket::new(id), user: name.clone() }, None);
                    }
                    Step::Login if world.login.is_none() => {
                        world.login = Some(world.bench.login(NAME, "tr0mbone"));
                        world.bench.work();
                        world.look();
                    }
                    Step::Logout if world.logout.is_none() => {
                        if let Some((id, _)) = world.session.clone() {
                            let session = id.clone();
                            let call = |id| Call::DeleteSession { ticket: Ticket::new(id), id: session };
                            world.logout = Some((world.bench.ask(call, Some((NAME, &id))), id));
                            world.look();
                        }
                    }
                    Step::Login | Step::Logout => {}
                    Step::Store(fate) => world.store(fate),
                    Step::Wait(millis) => {
                        world.bench.wait(millis);
                        world.bench.step(Event::Tick);
                        world.look();
                    }
                    Step::Kill => {
                        world.restart();
                    }
                }
                world.check();
            }
            // A store that works again ends every doubt.
            for _ in 0..200 {
                world.bench.wait(1000);
                world.bench.step(Event::Tick);
                world.look();
                world.store(Fate::Stores);
                world.check();
            }
            prop_assert!(world.asked.is_empty() && world.bench.machine.writing.is_none());
            world.restart();
            world.check();
        }
    }
}

fn update(name: &str, patch: AccountPatch) -> impl Fn(TicketId) -> Call {
    move |id| Call::UpdateUser {
        ticket: Ticket::new(id),
        user: name.to_owned(),
        patch: Box::new(patch.clone()),
        unlock: false,
        password: None,
    }
}

fn promote(name: &str, role: Role) -> impl Fn(TicketId) -> Call {
    update(name, AccountPatch { role: Some(role.into()), ..AccountPatch::default() })
}

#[test]
fn a_change_nobody_knows_the_outcome_of_does_not_keep_logins_waiting() {
    let mut bench = Bench::new(limits());
    let (session, _) = bench.enter("admin");
    bench.settle();
    bench.step(Event::Tick);
    let change = bench.ask(promote(NAME, Role::ReadOnly), Some(("admin", &session)));
    bench.batch().unwrap();
    // While it may still be answered soon a login waits for it, though not for long.
    let early = bench.login(NAME, "tr0mbone");
    bench.work();
    assert!(bench.answer(early).is_none());
    bench.wait(2000);
    assert_eq!(bench.machine.deadline(), Some(bench.now.mono));
    bench.step(Event::Tick);
    assert!(bench.answer(early).unwrap().is_ok());
    assert_ne!(bench.machine.deadline(), Some(bench.now.mono), "and then there is nothing to be done");
    bench.wait(3000);
    bench.step(Event::Written(Outcome::Unknown(full())));
    for _ in 0..20 {
        bench.wait(1000);
        bench.step(Event::Tick);
        if bench.question().is_some() {
            bench.step(Event::Written(Outcome::Unknown(full())));
        }
        let ticket = bench.login("admin", "tr0mbone");
        bench.work();
        let bytes = bench.answer(ticket).expect("at once").unwrap();
        let response = v1::CreateSessionResponse::decode(bytes.as_slice()).unwrap();
        let own = bench.token(&response.token).unwrap().session_id;
        assert!(response.session.unwrap().memory_only);
        let end = bench.ask(
            |id| Call::DeleteSession { ticket: Ticket::new(id), id: own.clone() },
            Some(("admin", &own)),
        );
        assert!(bench.answer(end).unwrap().is_ok(), "the store never had it");
    }
    drop(bench.answer(change));
    // Another change is not begun before it is known, and its caller is told in time.
    let next = bench.ask(
        |id| Call::DeleteUser { ticket: Ticket::new(id), user: NAME.to_owned() },
        Some(("admin", &session)),
    );
    bench.wait(10_000);
    bench.step(Event::Tick);
    assert_eq!(bench.answer(next).unwrap().unwrap_err().code, Code::DeadlineExceeded);
    while bench.question().is_none() {
        bench.wait(1000);
        bench.step(Event::Tick);
    }
    bench.step(Event::Written(Outcome::Stored));
    assert_eq!(bench.machine.accounts.by_name(NAME).unwrap().role, Role::ReadOnly);
    bench.wait(120_000);
    bench.step(Event::Tick);
    bench.settle();
    assert!(bench.machine.unsaved.is_empty());
}

#[test]
fn rights_that_were_withdrawn_meanwhile_count() {
    type Make = Box<dyn Fn(TicketId) -> Call>;
    let withdrawals: [Make; 4] = [
        Box::new(promote("second", Role::ReadOnly)),
        Box::new(update("second", AccountPatch { enabled: Some(false), ..AccountPatch::default() })),
        Box::new(|id| Call::DeleteUser { ticket: Ticket::new(id), user: "second".to_owned() }),
        Box::new(|id| Call::ResetPassword {
            ticket: Ticket::new(id),
            user: "second".to_owned(),
            new: Some(password("an0ther one")),
            require_change: false,
        }),
    ];
    for withdrawal in withdrawals {
        for with_session in [true, false] {
            let mut bench = Bench::new(limits());
            let (admin, _) = bench.enter("admin");
            let new = new_user("second", Role::Administrator);
            let create = |id| Call::CreateUser {
                ticket: Ticket::new(id),
                new: Box::new(new),
                password: password("tr0mbone"),
                dry_run: false,
            };
            bench.ask(create, Some(("admin", &admin)));
            bench.settle();
            let session = if with_session { bench.enter("second").0 } else { String::new() };
            bench.settle();
            bench.out.clear();
            let text = format!("{:?}, {with_session}", withdrawal(0));
            let first = bench.ask(&withdrawal, Some(("admin", &admin)));
            bench.work();
            let second = bench.ask(promote(NAME, Role::Administrator), Some(("second", &session)));
            bench.settle();
            assert!(bench.answer(first).unwrap().is_ok(), "{text}");
            let refused = bench.answer(second).unwrap().unwrap_err();
            let expected = [Code::PermissionDenied, Code::Unauthenticated, Code::Aborted];
            assert!(expected.contains(&refused.code), "{text}: {refused}");
            assert_eq!(bench.machine.accounts.by_name(NAME).unwrap().role, Role::Operator, "{text}");
        }
    }
}

#[test]
fn a_refused_change_leaves_what_was_to_be_stored_before() {
    let mut bench = Bench::new(limits());
    let (session, _) = bench.enter("admin");
    bench.settle();
    bench.wait(2 * 60 * 60 * 1000);
    // A login by HTTP Basic, whose time is stored by and by.
    let basic = |id| Call::VerifyPassword {
        ticket: Ticket::new(id),
        name: NAME.to_owned(),
        password: password("tr0mbone"),
        address: "192.0.2.1".to_owned(),
    };
    let session =
        if bench.machine.sessions.get(&SessionId::parse(&session).unwrap(), bench.now.mono).is_some() {
            session
        } else {
            bench.enter("admin").0
        };
    bench.settle();
    bench.ask(basic, None);
    bench.work();
    bench.batch().expect("the time of the login");
    bench.step(Event::Written(Outcome::Refused(full())));
    let change = bench.ask(promote(NAME, Role::ReadOnly), Some(("admin", &session)));
    bench.batch().expect("the change");
    bench.step(Event::Written(Outcome::Refused(full())));
    assert!(bench.answer(change).unwrap().is_err());
    let id = bench.machine.accounts.by_name(NAME).unwrap().id.clone();
    assert!(bench.machine.unsaved.contains(&StoreKey::User(id)));
}

#[test]
fn what_the_store_never_takes_does_not_keep_the_rest_out() {
    let mut bench = Bench::new(limits());
    bench.machine.ails = true;
    bench.machine.unsaved_after = bench.now.mono.saturating_add(Millis::from_secs(60));
    for _ in 0..20 {
        bench.login(NAME, "tr0mbone");
        bench.work();
    }
    let bad = bench.machine.unsaved.iter().nth(3).cloned().unwrap();
    let mut failures = 0;
    for _ in 0..20 {
        bench.wait(60_000);
        bench.step(Event::Tick);
        while let Some(batch) = bench.batch() {
            let failed = batch.iter().position(|write| write.key() == bad);
            failures += usize::from(failed.is_some());
            bench.step(Event::Written(match failed {
                None => Outcome::Stored,
                Some(0) => Outcome::Unknown(full()),
                Some(stored) => Outcome::Partly { stored, status: full() },
            }));
        }
    }
    assert_eq!(bench.machine.unsaved.iter().collect::<Vec<_>>(), [&bad]);
    assert!(failures <= 21, "{failures}");
}

#[test]
fn a_store_that_takes_nothing_is_told_once_a_minute_however_much_is_refused() {
    let mut bench = Bench::new(limits());
    let (session, _) = bench.enter("admin");
    bench.settle();
    for round in 0..50 {
        let role = if round % 2 == 0 { Role::ReadOnly } else { Role::Administrator };
        let change = bench.ask(promote(NAME, role), Some(("admin", &session)));
        while bench.batch().is_some() {
            bench.step(Event::Written(Outcome::Refused(full())));
        }
        assert!(bench.answer(change).unwrap().is_err());
        bench.wait(4_000);
        bench.step(Event::Tick);
        // Now and then it takes something small.
        if bench.batch().is_some() {
            bench.step(Event::Written(if round % 3 == 0 {
                Outcome::Stored
            } else {
                Outcome::Refused(full())
            }));
        }
    }
    let count = |is: fn(&Note) -> bool| {
        bench.out.iter().filter(|action| matches!(action, Action::Log(note) if is(note))).count()
    };
    let told = count(|note| matches!(note, Note::NotStored { .. }));
    assert!((1..=4).contains(&told), "{told} lines in 200 s");
    assert!(count(|note| matches!(note, Note::StoredAgain(_))) <= 4, "in 200 s");
}

#[test]
fn a_daemon_that_stops_has_all_that_is_not_stored_among_its_last_writes() {
    let mut bench = Bench::new(limits());
    bench.machine.ails = true;
    bench.machine.unsaved_after = bench.now.mono.saturating_add(Millis::from_secs(60));
    for _ in 0..3 {
        bench.login(NAME, "tr0mbone");
        bench.work();
    }
    bench.wait(60_000);
    bench.step(Event::Tick);
    let batch = bench.batch().expect("what memory has and the store has not");
    bench.machine.stop(bench.now);
    bench.step(Event::Written(Outcome::Unknown(full())));
    assert!(bench.batch().is_none(), "nothing more is begun");
    let last: BTreeSet<_> = bench.machine.last_writes().iter().map(Write::key).collect();
    assert!(batch.iter().all(|write| last.contains(&write.key())));
}
