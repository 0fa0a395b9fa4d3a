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
