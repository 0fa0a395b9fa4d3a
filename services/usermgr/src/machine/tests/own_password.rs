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

fn with_password(user: &str, patch: AccountPatch, new: &str) -> impl FnOnce(TicketId) -> Call {
    let (user, patch, password) = (user.to_owned(), Box::new(patch), Some(password(new)));
    move |id| Call::UpdateUser { ticket: Ticket::new(id), user, patch, unlock: false, password }
}

fn to(role: Role) -> AccountPatch {
    AccountPatch { role: Some(role.into()), ..AccountPatch::default() }
}

#[test]
fn a_password_and_other_data_are_one_write_and_both_are_told() {
    let mut bench = Bench::new(limits());
    let (session, _) = bench.enter("admin");
    let (_, token) = bench.enter(NAME);
    bench.settle();
    bench.told();
    let id = bench.machine.accounts.by_name(NAME).unwrap().id.as_str().to_owned();
    let change = with_password(NAME, to(Role::ReadOnly), "another trombone");
    let ticket = bench.ask(change, Some(("admin", &session)));
    bench.work();
    let batch = bench.batch().unwrap();
    let [Write::PutUser(account)] = batch.as_slice() else { panic!("{batch:?}") };
    assert_eq!(account.role, Role::ReadOnly);
    assert!(account.hash.verify(&password("another trombone")) && !account.password_change_required);
    assert!(bench.answer(ticket).is_none() && bench.token(&token).is_ok(), "not stored yet");
    bench.step(Event::Written(Outcome::Stored));
    let answer = bench.answer(ticket).unwrap().unwrap();
    let user = v1::UpdateUserResponse::decode(answer.as_slice()).unwrap().user.unwrap();
    assert_eq!(user.role, "ReadOnly");
    assert!(bench.token(&token).is_err(), "its sessions are over");
    let told = bench.told();
    let of_user = told.iter().filter(|event| event.starts_with("user ")).cloned().collect::<Vec<_>>();
    assert_eq!(of_user, [format!("user {id} updated"), format!("user {id} password-reset")]);
    bench.settle();
    let login = bench.login(NAME, "another trombone");
    bench.settle();
    assert!(bench.answer(login).unwrap().is_ok());
}

#[test]
fn what_is_refused_of_one_change_leaves_the_password_and_the_rest_as_they_were() {
    let mut bench = Bench::new(limits());
    let (session, _) = bench.enter("admin");
    let (_, token) = bench.enter(NAME);
    bench.settle();
    bench.told();
    let before = bench.machine.accounts.by_name(NAME).unwrap().clone();
    let taken = AccountPatch { name: Some(UserName::new("admin").unwrap()), ..AccountPatch::default() };
    let unknown = AccountPatch { role: Some(RoleName::new("nobody").unwrap()), ..AccountPatch::default() };
    let long = "another trombone that is long";
    for (patch, new, field) in [
        (taken, "another trombone", None),
        (unknown, "another trombone", Some("user.role")),
        (to(Role::ReadOnly), "b4ss", Some("password")),
        (to(Role::ReadOnly), "alicealice", Some("password")),
        // It logs in over IPMI, also after the change.
        (to(Role::ReadOnly), long, Some("password")),
    ] {
        let about = format!("{patch:?} {new}");
        let ticket = bench.ask(with_password(NAME, patch, new), Some(("admin", &session)));
        assert!(!bench.out.iter().any(|action| matches!(action, Action::Work(..))), "{about}");
        bench.settle();
        let refused = bench.answer(ticket).unwrap().unwrap_err();
        if let Some(field) = field {
            assert_eq!(refused.fields()[0].0, field, "{about}");
        }
        assert!(!refused.to_string().contains(new), "{about}: {refused}");
        assert_eq!(*bench.machine.accounts.by_name(NAME).unwrap(), before, "{about}");
    }
    // What the store refuses did not happen either, neither the one nor the other.
    let change = with_password(NAME, to(Role::ReadOnly), "another trombone");
    let ticket = bench.ask(change, Some(("admin", &session)));
    bench.work();
    bench.batch().unwrap();
    bench.step(Event::Written(Outcome::Refused(full())));
    assert!(bench.answer(ticket).unwrap().is_err());
    assert_eq!(*bench.machine.accounts.by_name(NAME).unwrap(), before);
    assert!(bench.token(&token).is_ok() && bench.told().is_empty());
    // Without access over IPMI from this change on a longer one is none too long.
    let off = AccountPatch { ipmi: Some(false), ..AccountPatch::default() };
    let ticket = bench.ask(with_password(NAME, off, long), Some(("admin", &session)));
    bench.settle();
    assert!(bench.answer(ticket).unwrap().is_ok());
}

#[test]
fn who_may_set_a_password_with_other_data_is_who_manages_accounts() {
    let mut bench = Bench::new(limits());
    let (session, token) = bench.enter("admin");
    let (of_alice, _) = bench.enter(NAME);
    let nothing = AccountPatch::default;
    // Without that right not even one's own.
    let ticket = bench.ask(with_password(NAME, nothing(), "another trombone"), Some((NAME, &of_alice)));
    bench.settle();
    assert_eq!(bench.answer(ticket).unwrap().unwrap_err().reason(), "MISSING_PRIVILEGE");
    // One's own role stays somebody else's to change, and the password as it is.
    let ticket =
        bench.ask(with_password("admin", to(Role::ReadOnly), "b4ssoon-1"), Some(("admin", &session)));
    bench.settle();
    assert_eq!(bench.answer(ticket).unwrap().unwrap_err().reason(), "OWN_ACCOUNT");
    // One's own is another than the present one.
    let mail = AccountPatch { email: Some(Some("a@x.example".into())), ..nothing() };
    let ticket = bench.ask(with_password("admin", mail.clone(), "tr0mbone"), Some(("admin", &session)));
    bench.settle();
    let refused = bench.answer(ticket).unwrap().unwrap_err();
    assert_eq!((refused.reason().as_str(), refused.fields()[0].0.as_str()), ("WEAK_PASSWORD", "password"));
    assert_eq!(bench.machine.accounts.by_name("admin").unwrap().email, None);
    // The session that sets it goes on, unless something else ends it.
    let (_, other) = bench.enter("admin");
    bench.told();
    let ticket = bench.ask(with_password("admin", mail, "b4ssoon-1"), Some(("admin", &session)));
    bench.settle();
    assert!(bench.answer(ticket).unwrap().is_ok());
    assert!(bench.token(&token).is_ok() && bench.token(&other).is_err());
    let told = bench.told();
    let what: Vec<&str> = told
        .iter()
        .filter(|event| event.starts_with("user "))
        .filter_map(|one| one.split(' ').nth(2))
        .collect();
    assert_eq!(what, ["updated", "password-changed"]);
    let demand = AccountPatch { password_change_required: Some(true), ..nothing() };
    let ticket = bench.ask(with_password("admin", demand, "b4ssoon-2"), Some(("admin", &session)));
    bench.settle();
    assert!(bench.answer(ticket).unwrap().is_ok());
    assert!(bench.token(&token).is_err());
    assert!(bench.machine.accounts.by_name("admin").unwrap().password_change_required);
}

#[test]
fn a_change_with_a_password_waits_for_its_hash_and_is_judged_again_by_what_holds_then() {
    let mut bench = Bench::new(limits());
    let (session, _) = bench.enter("admin");
    bench.settle();
    let change = with_password(NAME, to(Role::ReadOnly), "another trombone");
    let ticket = bench.ask(change, Some(("admin", &session)));
    // The account is gone before the hash is there.
    let gone = bench.ask(
        |id| Call::DeleteUser { ticket: Ticket::new(id), user: NAME.to_owned() },
        Some(("admin", &session)),
    );
    bench.batch().unwrap();
    bench.step(Event::Written(Outcome::Stored));
    assert!(bench.answer(gone).unwrap().is_ok());
    bench.settle();
    assert_eq!(bench.answer(ticket).unwrap().unwrap_err().code, Code::NotFound);
    assert!(bench.machine.accounts.by_name(NAME).is_none());
}
