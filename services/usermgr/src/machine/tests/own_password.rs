//! A password its owner sets.

use super::*;

#[test]
fn one_s_own_password_is_set_without_the_current_one_and_only_this_session_goes_on() {
    let mut bench = Bench::new(limits());
    let (session, token) = bench.enter(NAME);
    let (_, other) = bench.enter(NAME);
    // One that is made is for who manages users.
    let tries =
        [(NAME, None, false), ("admin", Some("b0bbin"), false), (NAME, Some("another trombone"), true)];
    for (user, new, allowed) in tries {
        let (user, new, require_change) = (user.to_owned(), new.map(password), true);
        let set = |id| Call::ResetPassword { ticket: Ticket::new(id), user, new, require_change };
        let ticket = bench.ask(set, Some((NAME, &session)));
        bench.settle();
        assert_eq!(bench.answer(ticket).unwrap().is_ok(), allowed);
    }
    assert!(bench.token(&token).is_ok_and(|who| !who.password_change_required));
    assert!(bench.token(&other).is_err());
}

#[test]
fn an_old_password_must_be_changed_first() {
    let mut bench = Bench::new(Limits { max_password_age: Millis::from_secs(86_400), ..limits() });
    let (_, token) = bench.enter(NAME);
    assert!(!bench.token(&token).unwrap().password_change_required);
    bench.now.wall = UnixMillis(bench.now.wall.0 + 86_400_000);
    let principal = bench.token(&token).unwrap();
    assert!(principal.password_change_required);
    let call = |id| Call::ListRoles { ticket: Ticket::new(id), mask: None };
    let ticket = bench.ask(call, Some((NAME, &principal.session_id)));
    assert_eq!(bench.answer(ticket).unwrap().unwrap_err().reason(), "PASSWORD_CHANGE_REQUIRED");
    let call = |id| Call::GetUser { ticket: Ticket::new(id), user: NAME.to_owned(), mask: None };
    let ticket = bench.ask(call, Some((NAME, &principal.session_id)));
    assert!(bench.answer(ticket).unwrap().is_ok(), "one's own account is read");
}

#[test]
fn who_is_logged_in_sees_what_passwords_and_logins_are_held_to() {
    let day = Millis::from_secs(86_400);
    let mut bench = Bench::new(Limits { max_password_age: Millis::from_secs(90 * 86_400), ..limits() });
    let (session, _) = bench.enter(NAME);
    let call = |id| Call::GetAccountPolicy { ticket: Ticket::new(id) };
    let ticket = bench.ask(call, Some((NAME, &session)));
    let answer = bench.answer(ticket).unwrap().unwrap();
    let policy = v1::GetAccountPolicyResponse::decode(answer.as_slice()).unwrap().policy.unwrap();
    let limits = limits();
    assert_eq!(policy.max_password_age_days, 90);
    let lengths = [policy.min_password_length, policy.max_password_length].map(|length| length as usize);
    assert_eq!(lengths, [limits.policy.min_length, limits.policy.max_length]);
    assert_eq!(policy.lockout_threshold, limits.lockout.threshold);
    let seconds = policy.lockout_max_delay.unwrap().seconds;
    assert_eq!(u64::try_from(seconds).unwrap(), limits.lockout.max_delay.as_secs());
    // As all else, not for who has to change the password first.
    bench.now.wall = UnixMillis(bench.now.wall.0 + 91 * day.get());
    let ticket = bench.ask(call, Some((NAME, &session)));
    assert!(bench.answer(ticket).unwrap().is_err());
}

fn reset(user: &str, new: &str, require_change: bool) -> impl FnOnce(TicketId) -> Call {
    let (user, new) = (user.to_owned(), Some(password(new)));
    move |id| Call::ResetPassword { ticket: Ticket::new(id), user, new, require_change }
}

#[test]
fn a_password_that_must_be_changed_is_set_to_another_one() {
    let day = Millis::from_secs(86_400);
    let mut bench = Bench::new(Limits { max_password_age: day, ..limits() });
    let (session, token) = bench.enter(NAME);
    bench.now.wall = UnixMillis(bench.now.wall.0 + day.get());
    assert!(bench.token(&token).unwrap().password_change_required);
    let id = bench.machine.accounts.by_name(NAME).unwrap().id.as_str().to_owned();
    for name in [NAME, &id] {
        let same = bench.ask(reset(name, "tr0mbone", false), Some((NAME, &session)));
        bench.settle();
        let refused = bench.answer(same).unwrap().unwrap_err();
        assert_eq!((refused.code, refused.reason().as_str()), (Code::InvalidArgument, "WEAK_PASSWORD"));
        let why = "the password is the one in use";
        assert_eq!(refused.fields(), [("new_password".to_owned(), why.to_owned())]);
        assert_eq!(refused.message, why, "as the pages know it again");
        assert!(bench.token(&token).unwrap().password_change_required);
    }
    let other = bench.ask(reset(NAME, "another trombone", false), Some((NAME, &session)));
    bench.settle();
    assert!(bench.answer(other).unwrap().is_ok());
    assert!(!bench.token(&token).unwrap().password_change_required);
}

#[test]
fn an_administrator_sets_for_another_what_it_was_and_says_whether_it_must_be_changed() {
    let mut bench = Bench::new(limits());
    let (session, _) = bench.enter("admin");
    for require_change in [true, false] {
        let ticket = bench.ask(reset(NAME, "tr0mbone", require_change), Some(("admin", &session)));
        bench.settle();
        assert!(bench.answer(ticket).unwrap().is_ok());
        let (_, token) = bench.enter(NAME);
        assert_eq!(bench.token(&token).unwrap().password_change_required, require_change);
    }
}

#[test]
fn what_was_found_to_be_another_password_is_not_set_after_a_change_meanwhile() {
    let mut bench = Bench::new(limits());
    let (session, _) = bench.enter(NAME);
    let set = bench.ask(reset(NAME, "another trombone", false), Some((NAME, &session)));
    let change = |id| Call::ChangePassword {
        ticket: Ticket::new(id),
        user: NAME.to_owned(),
        current: password("tr0mbone"),
        new: password("another trombone"),
    };
    let change = bench.ask(change, Some((NAME, &session)));
    // Both hashes are compared with the one of before; the change is stored first.
    let work = std::mem::take(&mut bench.out).into_iter().filter_map(|action| match action {
        Action::Work(id, work) => Some((id, work.run())),
        _ => None,
    });
    let done: Vec<_> = work.collect();
    for (work, done) in done.into_iter().rev() {
        bench.step(Event::Worked { work, done });
        bench.settle();
    }
    assert!(bench.answer(change).unwrap().is_ok());
    assert_eq!(bench.answer(set).unwrap().unwrap_err().code, Code::Aborted);
}
