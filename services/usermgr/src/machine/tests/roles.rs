//! Roles that are made, and accounts that expire.

use auth::{CustomRole, RoleName, RolePatch};

use super::*;

const NIGHT: &str = "night";

fn name(text: &str) -> RoleName {
    RoleName::new(text).unwrap()
}

fn role(privileges: &[Privilege]) -> Box<CustomRole> {
    let privileges = Privileges::of(privileges);
    Box::new(CustomRole { name: name(NIGHT), description: "power only".into(), privileges })
}

const POWER: &[Privilege] = &[Privilege::Login, Privilege::ConfigureSelf, Privilege::ConfigureComponents];

fn create(role: Box<CustomRole>) -> impl FnOnce(TicketId) -> Call {
    |id| Call::CreateRole { ticket: Ticket::new(id), role }
}

fn allow(privileges: &[Privilege]) -> impl FnOnce(TicketId) -> Call {
    let patch = RolePatch { privileges: Some(Privileges::of(privileges)), description: None };
    move |id| Call::UpdateRole { ticket: Ticket::new(id), name: name(NIGHT), patch: Box::new(patch) }
}

fn delete(id: TicketId) -> Call {
    Call::DeleteRole { ticket: Ticket::new(id), name: name(NIGHT) }
}

fn give(user: &str, role: &str) -> impl FnOnce(TicketId) -> Call {
    let patch = AccountPatch { role: Some(name(role)), ..AccountPatch::default() };
    update(user, patch)
}

impl Bench {
    /// Asks, stores whatever is to be stored, and gives the reason of a refusal.
    pub(super) fn done(&mut self, call: impl FnOnce(TicketId) -> Call, who: &str) -> Result<(), String> {
        let ticket = self.ask(call, Some((who, "")));
        self.settle();
        let reason = |status: Status| match status.reason().as_str() {
            "" => format!("{:?}", status.code),
            reason => reason.to_owned(),
        };
        self.answer(ticket).unwrap().map(drop).map_err(reason)
    }

    /// `<domain> <component> <what>` of what was told since the last time.
    pub(super) fn told(&mut self) -> Vec<String> {
        let told = self.out.iter().filter_map(|action| match action {
            Action::Publish(event) => Some(format!("{} {} {}", event.domain, event.component, event.what)),
            _ => None,
        });
        let told = told.collect();
        self.out.retain(|action| !matches!(action, Action::Publish(_)));
        told
    }
}

#[test]
fn a_role_is_true_once_it_is_stored_and_what_was_refused_never_was() {
    let mut bench = Bench::new(limits());
    let ticket = bench.ask(create(role(POWER)), Some(("admin", "")));
    assert!(bench.answer(ticket).is_none());
    assert!(!bench.machine.roles.is_known(&name(NIGHT)), "not stored yet");
    assert!(matches!(bench.batch().unwrap().as_slice(), [Write::PutRole(_)]));
    bench.step(Event::Written(Outcome::Refused(full())));
    assert_eq!(bench.answer(ticket).unwrap().unwrap_err().code, Code::Unavailable);
    assert!(!bench.machine.roles.is_known(&name(NIGHT)) && bench.told().is_empty());
    let ticket = bench.ask(create(role(POWER)), Some(("admin", "")));
    bench.batch().unwrap();
    bench.step(Event::Written(Outcome::Unknown(full())));
    bench.wait(1000);
    bench.step(Event::Tick);
    assert!(matches!(bench.question(), Some(Write::PutRole(_))));
    bench.step(Event::Written(Outcome::Stored));
    let answer = bench.answer(ticket).unwrap().unwrap();
    let made = v1::CreateRoleResponse::decode(answer.as_slice()).unwrap().role.unwrap();
    assert_eq!((made.id.as_str(), made.predefined, made.privileges), (NIGHT, false, vec![2, 3, 4]));
    assert_eq!(bench.told(), ["role night created"]);
    assert_eq!(bench.done(create(role(POWER)), "admin"), Err("ROLE_NAME_TAKEN".into()));
}

#[test]
fn a_change_of_a_role_holds_at_once_for_all_who_have_it() {
    let mut bench = Bench::new(limits());
    bench.done(create(role(POWER)), "admin").unwrap();
    bench.done(give(NAME, NIGHT), "admin").unwrap();
    let (_, token) = bench.enter(NAME);
    let who = bench.token(&token).unwrap();
    assert_eq!((who.role.as_str(), who.privileges), (NIGHT, vec![2, 3, 4]));
    bench.told();
    // What it already is changes nothing and ends nothing.
    bench.done(allow(POWER), "admin").unwrap();
    assert!(bench.token(&token).is_ok() && bench.told().is_empty());
    // Once it is stored, and not before.
    let ticket = bench.ask(allow(&[Privilege::Login]), Some(("admin", "")));
    assert_eq!(bench.token(&token).unwrap().privileges, [2, 3, 4]);
    bench.settle();
    assert!(bench.answer(ticket).unwrap().is_ok());
    assert!(bench.token(&token).is_err(), "the session has ended");
    let told = bench.told();
    let account = bench.machine.accounts.by_name(NAME).unwrap().id.as_str().to_owned();
    assert_eq!(told.first().map(String::as_str), Some("role night updated"), "{told:?}");
    assert!(told.contains(&format!("user {account} updated")), "{told:?}");
    let (_, token) = bench.enter(NAME);
    assert_eq!(bench.token(&token).unwrap().privileges, [2]);
    let ticket = bench.ask(|id| Call::ListAccountNames { ticket: Ticket::new(id) }, None);
    let answer = bench.answer(ticket).unwrap().unwrap();
    let names = v1::ListAccountNamesResponse::decode(answer.as_slice()).unwrap().accounts;
    let of = |name: &str| names.iter().find(|account| account.username == name).unwrap();
    assert_eq!((of(NAME).role.as_str(), &of(NAME).privileges), (NIGHT, &vec![2]));
    assert_eq!(of("admin").privileges, gate::privileges(Role::Administrator.privileges()));
}

#[test]
fn a_role_in_use_stays_and_a_role_that_is_not_there_is_given_to_nobody() {
    let mut bench = Bench::new(limits());
    assert_eq!(bench.done(give(NAME, NIGHT), "admin"), Err("InvalidArgument".into()));
    bench.done(create(role(POWER)), "admin").unwrap();
    // Both in line: the account's change comes first, and the role's deletion is planned against what it left.
    let first = bench.ask(give(NAME, NIGHT), Some(("admin", "")));
    let second = bench.ask(delete, Some(("admin", "")));
    bench.settle();
    assert!(bench.answer(first).unwrap().is_ok());
    assert_eq!(bench.answer(second).unwrap().unwrap_err().reason(), "ROLE_IN_USE");
    bench.done(give(NAME, "Operator"), "admin").unwrap();
    let first = bench.ask(delete, Some(("admin", "")));
    let second = bench.ask(give(NAME, NIGHT), Some(("admin", "")));
    bench.settle();
    assert!(bench.answer(first).unwrap().is_ok());
    let refused = bench.answer(second).unwrap().unwrap_err();
    assert_eq!((refused.code, refused.fields()[0].0.as_str()), (Code::InvalidArgument, "user.role"));
    let predefined = |id| Call::DeleteRole { ticket: Ticket::new(id), name: Role::Operator.into() };
    assert_eq!(bench.done(predefined, "admin"), Err("ROLE_PREDEFINED".into()));
    assert_eq!(bench.done(delete, "admin"), Err("ROLE_NOT_FOUND".into()));
}

#[test]
fn nobody_gives_or_takes_more_than_he_may_do_himself() {
    let mut bench = Bench::new(limits());
    let clerk = &[Privilege::Login, Privilege::ConfigureSelf, Privilege::ConfigureUsers];
    bench.done(create(role(clerk)), "admin").unwrap();
    bench.done(give(NAME, NIGHT), "admin").unwrap();
    let too_much = Err("BEYOND_OWN_ROLE".to_owned());
    let other = Box::new(CustomRole { name: name("other"), ..*role(POWER) });
    assert_eq!(bench.done(create(other), NAME), too_much);
    assert_eq!(bench.done(give("admin", NIGHT), NAME), too_much, "the administrator is out of his reach");
    let reset = |id| Call::ResetPassword {
        ticket: Ticket::new(id),
        user: "admin".into(),
        new: Some(password("another trombone")),
        require_change: false,
    };
    assert_eq!(bench.done(reset, NAME), too_much);
    let remove = |id| Call::DeleteUser { ticket: Ticket::new(id), user: "admin".into() };
    assert_eq!(bench.done(remove, NAME), too_much);
    let (session, token) = bench.enter("admin");
    let end = |id| Call::DeleteSession { ticket: Ticket::new(id), id: session.clone() };
    assert_eq!(bench.done(end, NAME), too_much, "else he would keep the administrator out");
    assert!(bench.token(&token).is_ok());
    assert_eq!(bench.done(end, "admin"), Ok(()));
    let new = |role: &str| {
        let new = NewUser { role: Some(name(role)), ..new_user("carol", Role::ReadOnly) };
        let password = password("b4ssoon of wood");
        move |id| Call::CreateUser { ticket: Ticket::new(id), new: Box::new(new), password, dry_run: false }
    };
    assert_eq!(bench.done(new("Administrator"), NAME), too_much);
    assert_eq!(bench.done(new(NIGHT), NAME), Ok(()));
    // One's own role is another's to change, and without the privilege nobody changes any.
    assert_eq!(bench.done(allow(clerk), NAME), Err("OWN_ACCOUNT".into()));
    assert_eq!(bench.done(give(NAME, "ReadOnly"), "admin"), Ok(()));
    assert_eq!(bench.done(allow(POWER), NAME), Err("MISSING_PRIVILEGE".into()));
    assert_eq!(bench.done(delete, NAME), Err("MISSING_PRIVILEGE".into()));
}

#[test]
fn a_role_that_is_lost_allows_nothing() {
    let mut bench = Bench::new(limits());
    bench.done(create(role(POWER)), "admin").unwrap();
    bench.done(give(NAME, NIGHT), "admin").unwrap();
    bench.machine.roles = auth::Roles::default();
    let (_, token) = bench.enter(NAME);
    assert!(bench.token(&token).unwrap().privileges.is_empty());
    assert_eq!(bench.done(create(role(POWER)), NAME), Err("MISSING_PRIVILEGE".into()));
    bench.done(create(role(POWER)), "admin").unwrap();
    assert_eq!(bench.token(&token).unwrap_err().code, Code::Unauthenticated, "as after any change of it");
}

#[test]
fn an_account_is_over_when_it_expires_and_its_sessions_with_it() {
    let mut bench = Bench::new(limits());
    let end = UnixMillis(bench.now.wall.0 + 20_000);
    let patch = AccountPatch { expires_at: Some(Some(end)), ..AccountPatch::default() };
    let expire = |user: &'static str| update(user, patch.clone());
    assert_eq!(bench.done(expire("admin"), "admin"), Err("OWN_ACCOUNT".into()));
    bench.done(expire(NAME), "admin").unwrap();
    let (_, token) = bench.enter(NAME);
    bench.wait(12_000);
    let who = bench.token(&token).unwrap();
    let until = who.expires.unwrap();
    assert_eq!(schema::time::timestamp_ms(&until), end.0, "no gateway remembers it longer");
    bench.step(Event::Tick);
    bench.told();
    let due = bench.machine.deadline().unwrap();
    assert!(due <= bench.now.mono.saturating_add(Millis::from_secs(8)), "{due:?}");
    bench.wait(8_000);
    bench.step(Event::Tick);
    let told = bench.told();
    assert!(
        told.iter().any(|event| event.starts_with("session ") && event.ends_with(" expired")),
        "{told:?}"
    );
    assert!(told.iter().any(|event| event.starts_with("user ") && event.ends_with(" expired")), "{told:?}");
    assert!(bench.token(&token).is_err());
    let ticket = bench.login(NAME, "tr0mbone");
    bench.settle();
    assert_eq!(bench.answer(ticket).unwrap().unwrap_err().reason(), "INVALID_CREDENTIALS");
    bench.told();
    bench.wait(1000);
    bench.step(Event::Tick);
    assert!(bench.told().is_empty(), "told once");
    // It cannot log in, and is enabled all the same: who shows that and sets it again disables nobody.
    let ticket = bench.ask(|id| Call::ListAccountNames { ticket: Ticket::new(id) }, None);
    let answer = bench.answer(ticket).unwrap().unwrap();
    let names = v1::ListAccountNamesResponse::decode(answer.as_slice()).unwrap().accounts;
    let over = names.iter().find(|account| account.username == NAME).unwrap();
    assert_eq!((over.enabled, over.user_enabled), (false, true));
    let patch = AccountPatch { expires_at: Some(None), ..AccountPatch::default() };
    let renew = |id| Call::UpdateUser {
        ticket: Ticket::new(id),
        user: NAME.into(),
        patch: Box::new(patch),
        unlock: true,
        password: None,
    };
    bench.done(renew, "admin").unwrap();
    bench.enter(NAME);
}

#[test]
fn a_former_password_is_not_chosen_again_as_long_as_it_is_remembered() {
    let mut bench = Bench::new(Limits { password_history: 2, ..limits() });
    let change = |bench: &mut Bench, current: &str, new: &str| {
        let (current, new) = (password(current), password(new));
        let call = |id| Call::ChangePassword { ticket: Ticket::new(id), user: NAME.to_owned(), current, new };
        bench.done(call, NAME)
    };
    change(&mut bench, "tr0mbone", "b4ssoon-1").unwrap();
    assert_eq!(change(&mut bench, "b4ssoon-1", "tr0mbone"), Err("WEAK_PASSWORD".into()));
    change(&mut bench, "b4ssoon-1", "b4ssoon-2").unwrap();
    let reset = |new: &str| {
        let new = Some(password(new));
        move |id| Call::ResetPassword {
            ticket: Ticket::new(id),
            user: NAME.into(),
            new,
            require_change: false,
        }
    };
    assert_eq!(bench.done(reset("tr0mbone"), NAME), Err("WEAK_PASSWORD".into()), "by no way");
    assert_eq!(bench.done(reset("b4ssoon-1"), "admin"), Ok(()), "what another sets is not compared");
    change(&mut bench, "b4ssoon-1", "b4ssoon-3").unwrap();
    assert_eq!(bench.machine.accounts.by_name(NAME).unwrap().former.len(), 2);
    change(&mut bench, "b4ssoon-3", "tr0mbone").unwrap();
}
