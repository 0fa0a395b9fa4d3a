//! The policy of accounts, as it is set by request.

use super::*;

#[test]
fn the_policy_is_set_once_it_is_kept_and_counts_at_once() {
    let mut bench = Bench::new(limits());
    let wanted = |threshold: u32, length: u32| v1::AccountPolicy {
        lockout_threshold: threshold,
        min_password_length: length,
        ..Default::default()
    };
    let set = |bench: &mut Bench, policy: v1::AccountPolicy, who: &str| {
        let call = |ticket| Call::UpdateAccountPolicy {
            ticket: Ticket::new(ticket),
            wanted: Box::new(policy),
            mask: None,
        };
        bench.ask(call, Some((who, "")))
    };
    let before = bench.machine.limits;
    // Not for everybody, and nothing that cannot be.
    set(&mut bench, wanted(2, 0), NAME);
    set(&mut bench, wanted(0, 4), "admin");
    set(&mut bench, wanted(101, 0), "admin");
    let answers: Vec<Action> = std::mem::take(&mut bench.out);
    assert_eq!(answers.len(), 3, "{answers:?}");
    assert!(answers.iter().all(|action| matches!(action, Action::Answer(_, Err(_)))), "{answers:?}");
    // One that cannot be kept has no effect.
    set(&mut bench, wanted(2, 12), "admin");
    assert!(matches!(bench.out.as_slice(), [Action::KeepPolicy(_)]), "{:?}", bench.out);
    set(&mut bench, wanted(3, 0), "admin");
    assert!(
        matches!(bench.out.last(), Some(Action::Answer(_, Err(status))) if status.reason() == "POLICY_CHANGING")
    );
    bench.out.clear();
    bench.step(Event::PolicyKept { stored: false });
    assert!(matches!(bench.out.as_slice(), [Action::Answer(_, Err(_))]), "{:?}", bench.out);
    assert_eq!(bench.machine.limits, before);
    bench.out.clear();
    // One that is kept counts, and is told.
    set(&mut bench, wanted(2, 12), "admin");
    bench.step(Event::PolicyKept { stored: true });
    assert_eq!((bench.machine.limits.lockout.threshold, bench.machine.limits.policy.min_length), (2, 12));
    assert!(
        bench.out.iter().any(|action| matches!(action, Action::Publish(event) if event.what == "updated"))
    );
    assert!(matches!(bench.out.last(), Some(Action::Answer(_, Ok(_)))));
    bench.out.clear();
    // The same once more is nothing to keep.
    set(&mut bench, wanted(2, 12), "admin");
    assert!(matches!(bench.out.as_slice(), [Action::Answer(_, Ok(_))]), "{:?}", bench.out);
}

#[test]
fn what_was_set_before_counts_once_it_can_be_read_and_what_is_asked_for_meanwhile_is_refused() {
    let mut bench = Bench::new(limits());
    let set = |bench: &mut Bench, threshold: u32| {
        let wanted = v1::AccountPolicy { lockout_threshold: threshold, ..Default::default() };
        let call = |ticket| Call::UpdateAccountPolicy {
            ticket: Ticket::new(ticket),
            wanted: Box::new(wanted),
            mask: None,
        };
        bench.ask(call, Some(("admin", "")))
    };
    bench.machine = bench.machine.with_unread_policy();
    // Also what seems to be so already is not known to be stored.
    set(&mut bench, 0);
    assert!(
        matches!(bench.out.last(), Some(Action::KeepPolicy(chosen)) if *chosen == Chosen::default()),
        "{:?}",
        bench.out
    );
    bench.step(Event::PolicyFound(None));
    let before = bench.machine.limits;
    let found = Chosen { min_password_length: Some(14), ..Chosen::default() };
    let with_found = found.limits(&crate::config::Config::default()).unwrap();
    assert_ne!(before, with_found);
    for (found, counts, words) in
        [(None, before, "cannot be read now"), (Some(found), with_found, "counts: nothing else is changed")]
    {
        set(&mut bench, 2);
        bench.out.clear();
        bench.step(Event::PolicyFound(found));
        assert!(
            matches!(bench.out.last(), Some(Action::Answer(_, Err(status)))
                if status.code == Code::Unavailable && status.to_string().contains(words)),
            "{:?}",
            bench.out
        );
        assert_eq!(bench.machine.limits, counts);
        bench.out.clear();
    }
    // From then on it is stored with what was set before.
    set(&mut bench, 2);
    let both = Chosen { lockout_threshold: Some(2), ..found };
    assert!(
        matches!(bench.out.last(), Some(Action::KeepPolicy(chosen)) if *chosen == both),
        "{:?}",
        bench.out
    );
}

#[test]
fn each_value_that_is_out_of_its_bounds_is_named_and_nothing_is_kept() {
    let mut bench = Bench::new(limits());
    let none = v1::AccountPolicy::default;
    let span = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let all = v1::AccountPolicy {
        min_password_length: 7,
        max_password_age_days: 3_651,
        lockout_threshold: 101,
        lockout_max_delay: span(86_401),
        password_history: 9,
        session_idle: span(29),
        ..none()
    };
    let every = [
        "policy.min_password_length",
        "policy.max_password_age_days",
        "policy.lockout_threshold",
        "policy.lockout_max_delay",
        "policy.password_history",
        "policy.session_idle",
    ];
    let zero = ["min_password_length", "lockout_threshold", "lockout_max_delay", "session_idle"];
    let rows: [(v1::AccountPolicy, &[&str], &[&str], &str); 7] = [
        (all, &[], &every, ""),
        (v1::AccountPolicy { min_password_length: 129, ..none() }, &[], &every[..1], ""),
        (v1::AccountPolicy { lockout_threshold: u32::MAX, ..none() }, &[], &every[2..3], ""),
        (v1::AccountPolicy { session_idle: span(86_401), ..none() }, &[], &every[5..], ""),
        (none(), &zero, &[every[0], every[2], every[3], every[5]], ""),
        (none(), &["session_absolute", "nothing"], &["field_mask", "field_mask"], "FIELD_MASK"),
        (none(), &["nothing", "session_idle"], &["policy.session_idle", "field_mask"], "FIELD_MASK"),
    ];
    let before = bench.machine.limits;
    for (policy, paths, wrong, reason) in rows {
        let mask = (!paths.is_empty()).then(|| paths.iter().map(|path| (*path).to_owned()).collect());
        let call = |ticket| Call::UpdateAccountPolicy {
            ticket: Ticket::new(ticket),
            wanted: Box::new(policy),
            mask,
        };
        let ticket = bench.ask(call, Some(("admin", "")));
        let refused = bench.answer(ticket).expect("an answer").unwrap_err();
        assert_eq!((refused.code, refused.reason().as_str()), (Code::InvalidArgument, reason), "{refused}");
        let fields: Vec<String> = refused.fields().into_iter().map(|(field, _)| field).collect();
        assert_eq!(fields, wrong, "{refused}");
    }
    assert!(bench.out.is_empty(), "{:?}", bench.out);
    assert_eq!(bench.machine.limits, before);
}

#[test]
fn how_long_an_unused_session_lasts_is_set_for_those_there_are_as_well() {
    let mut bench = Bench::new(limits());
    let set = |bench: &mut Bench, seconds: i64, mask: Option<Vec<String>>, stored: Option<bool>| {
        let session_idle = Some(prost_types::Duration { seconds, nanos: 0 });
        let wanted = Box::new(v1::AccountPolicy { session_idle, ..Default::default() });
        let call = |ticket| Call::UpdateAccountPolicy { ticket: Ticket::new(ticket), wanted, mask };
        let ticket = bench.ask(call, Some(("admin", "")));
        if let Some(stored) = stored {
            bench.step(Event::PolicyKept { stored });
        }
        bench.answer(ticket).expect("an answer")
    };
    let (_, token) = bench.enter(NAME);
    bench.out.clear();
    for seconds in [0, -1, 29, 86_401] {
        assert!(set(&mut bench, seconds, None, None).is_err(), "{seconds}");
    }
    // One that cannot be kept has no effect.
    assert!(set(&mut bench, 60, None, Some(false)).is_err());
    bench.wait(120_000);
    assert!(bench.token(&token).is_ok());
    let mask = Some(vec!["session_idle".to_owned()]);
    let answer = set(&mut bench, 60, mask, Some(true)).unwrap();
    let policy = v1::UpdateAccountPolicyResponse::decode(answer.as_slice()).unwrap().policy.unwrap();
    assert_eq!(policy.session_idle.map(|span| span.seconds), Some(60));
    bench.wait(59_000);
    assert!(bench.token(&token).is_ok());
    bench.wait(61_000);
    assert_eq!(bench.token(&token).unwrap_err().code, Code::Unauthenticated);
    let chosen = Chosen { session_idle_secs: Some(90), ..Chosen::default() };
    let limits = chosen.limits(&crate::config::Config::default()).unwrap();
    assert_eq!(limits.sessions.idle_limit, Millis::from_secs(90), "after a restart as well");
}

#[test]
fn what_is_stored_of_a_session_in_use_is_never_as_old_as_a_short_idle_limit() {
    let sessions = SessionConfig { idle_limit: Millis::from_secs(30), ..SessionConfig::default() };
    // So many seconds before it is made the times of use were looked at.
    for phase in 0..16 {
        let mut bench = Bench::new(Limits { sessions, ..limits() });
        bench.step(Event::Tick);
        bench.wait(phase * 1_000);
        let (_, token) = bench.enter(NAME);
        let mut stored = bench.now.wall;
        for second in 1..=120 {
            bench.wait(1_000);
            assert!(bench.token(&token).is_ok(), "{phase} {second}");
            bench.step(Event::Tick);
            if let Some(writes) = bench.batch() {
                for write in &writes {
                    if let Write::PutSession(session) = write {
                        stored = session.last_used_at;
                    }
                }
                bench.step(Event::Written(Outcome::Stored));
            }
            let age = bench.now.wall.since(stored).expect("the clock goes on");
            assert!(age <= 25_000, "{phase} {second}: {age} ms");
        }
    }
}

#[test]
fn what_a_mask_leaves_out_is_not_judged() {
    let mut bench = Bench::new(limits());
    // As a release took it that had no shortest limit.
    let before = Chosen { session_idle_secs: Some(10), ..Chosen::default() };
    bench.machine = bench.machine.with_policy(crate::config::Config::default(), before);
    let wanted = v1::AccountPolicy {
        lockout_threshold: 7,
        session_idle: Some(prost_types::Duration { seconds: 5, nanos: 0 }),
        ..Default::default()
    };
    let mask = Some(vec!["lockout_threshold".to_owned()]);
    let call =
        |ticket| Call::UpdateAccountPolicy { ticket: Ticket::new(ticket), wanted: Box::new(wanted), mask };
    bench.ask(call, Some(("admin", "")));
    let after = Chosen { lockout_threshold: Some(7), ..before };
    assert!(
        matches!(bench.out.as_slice(), [Action::KeepPolicy(chosen)] if *chosen == after),
        "{:?}",
        bench.out
    );
}

#[test]
fn what_counts_for_a_policy_that_cannot_be_read_is_never_weaker_than_the_default() {
    use crate::config::Config;

    let default = Config::default();
    assert_eq!(Chosen::unread(&default), Chosen::default());
    // Stricter than the default: it stays as it is configured.
    let mut strict = default.clone();
    (strict.password.min_length, strict.password.history, strict.password.max_age_days) = (20, 4, 90);
    (strict.lockout.threshold, strict.sessions.idle_secs) = (2, 60);
    strict.lockout.max_delay_secs += 60;
    strict.lockout.forget_after_secs += 60;
    assert_eq!(Chosen::unread(&strict), Chosen::default());
    // Weaker in each of them.
    let mut weak = default.clone();
    (weak.lockout.threshold, weak.lockout.address_threshold) = (90, 900);
    (weak.lockout.first_delay_secs, weak.lockout.max_delay_secs, weak.lockout.address_delay_secs) = (1, 1, 1);
    weak.lockout.forget_after_secs = 1;
    weak.sessions.idle_secs = 86_400;
    let (limits, wanted) = (Chosen::unread(&weak).limits(&weak).unwrap(), default.limits().unwrap());
    assert_eq!(limits.lockout.threshold, wanted.lockout.threshold);
    assert_eq!(limits.lockout.max_delay, wanted.lockout.max_delay);
    assert_eq!(limits.lockout.forget_after, wanted.lockout.forget_after);
    assert_eq!(limits.sessions.idle_limit, wanted.sessions.idle_limit);
    assert_eq!(limits.policy, wanted.policy);
    let words = limits.words();
    for number in [
        limits.policy.min_length.to_string(),
        limits.lockout.threshold.to_string(),
        limits.lockout.max_delay.as_secs().to_string(),
        limits.sessions.idle_limit.as_secs().to_string(),
    ] {
        assert!(words.contains(&number), "{words}");
    }
}

#[test]
fn failures_are_forgotten_no_sooner_than_the_longest_delay_ends() {
    let config = crate::config::Config::default();
    let configured = i64::try_from(config.lockout.max_delay_secs).unwrap();
    let span = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let wanted = |after: i64, delay: Option<i64>| v1::AccountPolicy {
        lockout_forget_after: span(after),
        lockout_max_delay: delay.and_then(span),
        ..Default::default()
    };
    let mut bench = Bench::new(limits());
    let set = |bench: &mut Bench, policy: v1::AccountPolicy| {
        let call = |ticket| Call::UpdateAccountPolicy {
            ticket: Ticket::new(ticket),
            wanted: Box::new(policy),
            mask: None,
        };
        let ticket = bench.ask(call, Some(("admin", "")));
        if bench.out.iter().any(|action| matches!(action, Action::KeepPolicy(_))) {
            bench.out.clear();
            bench.step(Event::PolicyKept { stored: true });
        }
        bench.answer(ticket).expect("an answer")
    };
    let before = bench.machine.limits;
    for (after, delay) in [
        (0, None),
        (-1, None),
        (configured - 1, None),
        (299, Some(300)),
        (86_401, None),
        (86_401, Some(86_400)),
    ] {
        let refused = set(&mut bench, wanted(after, delay)).unwrap_err();
        let fields: Vec<String> = refused.fields().into_iter().map(|(field, _)| field).collect();
        assert_eq!(fields, ["policy.lockout_forget_after"], "{after} {delay:?}: {refused}");
    }
    assert_eq!(bench.machine.limits, before);
    // Shorter than the configured delay where a shorter one is set with it; both outlive a restart.
    set(&mut bench, wanted(300, Some(300))).unwrap();
    let lockout = bench.machine.limits.lockout;
    assert_eq!((lockout.max_delay, lockout.forget_after), (Millis::from_secs(300), Millis::from_secs(300)));
    let chosen = Chosen {
        lockout_max_delay_secs: Some(300),
        lockout_forget_after_secs: Some(300),
        ..Chosen::default()
    };
    assert_eq!(chosen.limits(&config).unwrap().lockout.forget_after, Millis::from_secs(300));
    // It is held to the delay that was set before, and follows one that is set later.
    assert!(set(&mut bench, wanted(299, None)).is_err());
    set(&mut bench, wanted(400, None)).unwrap();
    assert_eq!(bench.machine.limits.lockout.forget_after, Millis::from_secs(400));
    let longer = v1::AccountPolicy { lockout_max_delay: span(600), ..Default::default() };
    set(&mut bench, longer).unwrap();
    assert_eq!(bench.machine.limits.lockout.forget_after, Millis::from_secs(600));
}

#[test]
fn what_goes_with_a_value_that_was_set_follows_it() {
    let config = crate::config::Config::default();
    let chosen =
        Chosen { lockout_max_delay_secs: Some(5), lockout_threshold: Some(100), ..Chosen::default() };
    let limits = chosen.limits(&config).unwrap();
    assert_eq!(
        (limits.lockout.first_delay, limits.lockout.address_delay),
        (Millis::from_secs(5), Millis::from_secs(5))
    );
    assert!(limits.lockout.address_threshold > 100);
    let chosen = Chosen { lockout_max_delay_secs: Some(86_400), ..Chosen::default() };
    assert_eq!(chosen.limits(&config).unwrap().lockout.forget_after, Millis::from_secs(86_400));
    assert!(Chosen { lockout_max_delay_secs: Some(0), ..Chosen::default() }.limits(&config).is_err());
}
