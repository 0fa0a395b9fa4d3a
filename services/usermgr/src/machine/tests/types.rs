//! What accounts may be used for.

use auth::AccountType::{HostConsole, Ipmi, Kvmip, Redfish, VirtualMedia, WebUi};
use auth::{AccountType, AccountTypes};

use super::*;

fn choose(user: &str, kinds: &[AccountType]) -> impl Fn(TicketId) -> Call {
    let patch = AccountPatch { types: Some(AccountTypes::of(kinds)), ..AccountPatch::default() };
    update(user, patch)
}

fn strictly(user: &str, kinds: &[AccountType]) -> impl Fn(TicketId) -> Call {
    let types = Some(AccountTypes::of(kinds));
    update(user, AccountPatch { types, strict_types: Some(true), ..AccountPatch::default() })
}

fn role(user: &str, role: Role) -> impl Fn(TicketId) -> Call {
    update(user, AccountPatch { role: Some(role.into()), ..AccountPatch::default() })
}

impl Bench {
    /// What an account is shown to be for, and whether strictly.
    fn shown(&mut self, name: &str) -> (AccountTypes, bool) {
        let user = name.to_owned();
        let ticket =
            self.ask(|id| Call::GetUser { ticket: Ticket::new(id), user, mask: None }, Some(("admin", "")));
        let answer = self.answer(ticket).unwrap().unwrap();
        let user = v1::GetUserResponse::decode(answer.as_slice()).unwrap().user.unwrap();
        assert_eq!(user.ipmi_access, Some(user.account_types.contains(&2)));
        (gate::types_of(&user.account_types), user.strict_account_types.unwrap())
    }

    /// What comes of a login for one use, or any.
    fn login_for(&mut self, name: &str, purpose: Option<AccountType>) -> Result<(), String> {
        let call = |id| Call::CreateSession {
            ticket: Ticket::new(id),
            name: name.to_owned(),
            password: password("tr0mbone"),
            address: "192.0.2.1".to_owned(),
            user_agent: String::new(),
            purpose: purpose.map(|kind| AccountTypes::of(&[kind])),
        };
        let ticket = self.ask(call, None);
        self.settle();
        self.answer(ticket).unwrap().map(drop).map_err(|status| status.reason())
    }
}

#[test]
fn a_type_that_is_taken_away_ends_what_is_open_once_that_is_stored() {
    let mut bench = Bench::new(limits());
    let (_, token) = bench.enter(NAME);
    assert_eq!(gate::types_of(&bench.token(&token).unwrap().account_types), AccountTypes::ALL);
    bench.told();
    let ticket = bench.ask(choose(NAME, &[Redfish, Ipmi]), Some(("admin", "")));
    assert!(bench.token(&token).is_ok(), "not stored yet");
    let batch = bench.batch().unwrap();
    assert!(matches!(batch.as_slice(), [Write::PutUser(_)]), "one write decides: {batch:?}");
    bench.step(Event::Written(Outcome::Stored));
    assert!(bench.answer(ticket).unwrap().is_ok());
    assert_eq!(bench.token(&token).unwrap_err().code, Code::Unauthenticated);
    let account = bench.machine.accounts.by_name(NAME).unwrap().id.as_str().to_owned();
    // By which every way in looks again at what it has open by name and password.
    assert!(bench.told().contains(&format!("user {account} updated")));
    bench.settle();
    let (_, token) = bench.enter(NAME);
    let now = AccountTypes::of(&[Redfish, Ipmi]);
    assert_eq!(gate::types_of(&bench.token(&token).unwrap().account_types), now);
    // What is added ends nothing, and what is so already neither.
    for kinds in [&[Redfish, Ipmi, HostConsole][..], &[HostConsole, Ipmi, Redfish]] {
        bench.done(choose(NAME, kinds), "admin").unwrap();
        assert!(bench.token(&token).is_ok(), "{kinds:?}");
    }
    // The list says whether it is for IPMI.
    bench.done(choose(NAME, &[Redfish]), "admin").unwrap();
    assert!(!bench.machine.accounts.by_name(NAME).unwrap().ipmi);
    assert_eq!(bench.shown(NAME), (AccountTypes::of(&[Redfish]), false));
}

#[test]
fn a_list_that_is_refused_changes_nothing() {
    let mut bench = Bench::new(limits());
    bench.done(role(NAME, Role::ReadOnly), "admin").unwrap();
    let looks = AccountTypes::of(&[Redfish, Ipmi, Kvmip, WebUi]);
    assert_eq!(bench.shown(NAME), (looks, false));
    let (_, token) = bench.enter(NAME);
    bench.settle();
    let before = bench.machine.accounts.by_name(NAME).cloned();
    bench.told();
    let beyond = Err("ACCOUNT_TYPE_BEYOND_ROLE".to_owned());
    for kinds in [&[Redfish, HostConsole][..], &[VirtualMedia], &[WebUi, VirtualMedia, Kvmip]] {
        assert_eq!(bench.done(choose(NAME, kinds), "admin"), beyond, "{kinds:?}");
        let strict = Err("STRICT_ACCOUNT_TYPES".to_owned());
        assert_eq!(bench.done(strictly(NAME, kinds), "admin"), strict, "{kinds:?}");
    }
    assert_eq!(bench.done(choose(NAME, &[]), "admin"), Err("InvalidArgument".to_owned()));
    // The last administrator keeps Redfish, whoever asks.
    let last = Err("LAST_ADMINISTRATOR".to_owned());
    assert_eq!(bench.done(choose("admin", &[WebUi, HostConsole]), "admin"), last);
    // Who may not manage accounts gives himself nothing.
    assert_eq!(bench.done(choose(NAME, &[Redfish]), NAME), Err("MISSING_PRIVILEGE".to_owned()));
    assert_eq!(bench.machine.accounts.by_name(NAME).cloned(), before);
    assert!(bench.token(&token).is_ok() && bench.told().is_empty() && bench.batch().is_none());
    // A role that comes with the list is the one that counts.
    let both = AccountPatch {
        types: Some(AccountTypes::of(&[HostConsole])),
        role: Some(Role::Operator.into()),
        ..AccountPatch::default()
    };
    bench.done(update(NAME, both), "admin").unwrap();
    assert_eq!(bench.shown(NAME), (AccountTypes::of(&[HostConsole]), false));
    let new = |types: &[AccountType]| {
        let types = Some(AccountTypes::of(types));
        let new = Box::new(NewUser { types, ..new_user("carol", Role::ReadOnly) });
        |id| Call::CreateUser {
            ticket: Ticket::new(id),
            new,
            password: password("seven brass doorknobs"),
            dry_run: false,
        }
    };
    assert_eq!(bench.done(new(&[Redfish, VirtualMedia]), "admin"), beyond);
    assert!(bench.machine.accounts.by_name("carol").is_none());
    bench.done(new(&[Kvmip]), "admin").unwrap();
    assert_eq!(bench.shown("carol"), (AccountTypes::of(&[Kvmip]), false));
}

#[test]
fn a_list_that_is_shown_chooses_nothing_and_a_strict_one_is_all_there_is() {
    let mut bench = Bench::new(limits());
    bench.done(role(NAME, Role::ReadOnly), "admin").unwrap();
    let (_, token) = bench.enter(NAME);
    let looks = [Redfish, Ipmi, Kvmip, WebUi];
    bench.done(choose(NAME, &looks), "admin").unwrap();
    assert!(bench.token(&token).is_ok(), "a client that writes back what it reads ends nothing");
    bench.done(role(NAME, Role::Operator), "admin").unwrap();
    assert_eq!(bench.shown(NAME), (AccountTypes::ALL, false));
    bench.done(role(NAME, Role::ReadOnly), "admin").unwrap();
    // Without a list, and with one.
    for kinds in [None, Some(&looks[..])] {
        bench.done(role(NAME, Role::ReadOnly), "admin").unwrap();
        let types = kinds.map(AccountTypes::of);
        let patch = AccountPatch { types, strict_types: Some(true), ..AccountPatch::default() };
        bench.done(update(NAME, patch), "admin").unwrap();
        bench.done(role(NAME, Role::Operator), "admin").unwrap();
        assert_eq!(bench.shown(NAME), (AccountTypes::of(&looks), true), "another role adds nothing");
        let open = AccountPatch { strict_types: Some(false), ..AccountPatch::default() };
        bench.done(update(NAME, open), "admin").unwrap();
        bench.done(choose(NAME, &AccountType::ALL), "admin").unwrap();
    }
}

#[test]
fn a_list_that_is_made_of_what_is_shown_leaves_ipmi_as_it_was() {
    let mut bench = Bench::new(limits());
    let name = auth::RoleName::new("night").unwrap();
    // It can do nothing over IPMI, so that is not shown.
    let privileges = Privileges::of(&[Privilege::ConfigureComponents]);
    let role = Box::new(auth::CustomRole { name: name.clone(), description: String::new(), privileges });
    bench.done(|id| Call::CreateRole { ticket: Ticket::new(id), role }, "admin").unwrap();
    let patch = AccountPatch { role: Some(name), strict_types: Some(true), ..AccountPatch::default() };
    bench.done(update(NAME, patch), "admin").unwrap();
    let account = bench.machine.accounts.by_name(NAME).unwrap();
    assert_eq!((account.ipmi, account.strict_types, account.types()), (true, true, AccountTypes::ALL));
    assert_eq!(account.chosen_types, Some(AccountTypes::ALL.set(Ipmi, false)));
}

#[test]
fn a_session_for_a_use_is_made_for_accounts_of_it_alone() {
    let mut bench = Bench::new(limits());
    bench.done(choose(NAME, &[Redfish, HostConsole]), "admin").unwrap();
    bench.settle();
    bench.told();
    assert_eq!(bench.login_for(NAME, Some(WebUi)), Err("ACCOUNT_TYPE".to_owned()));
    assert!(
        bench.machine.sessions.of_user(&bench.machine.accounts.by_name(NAME).unwrap().id, None).is_empty()
    );
    assert!(bench.told().is_empty(), "nobody has logged in");
    for purpose in [None, Some(Redfish), Some(HostConsole)] {
        assert_eq!(bench.login_for(NAME, purpose), Ok(()), "{purpose:?}");
    }
    // It is said to who has the password, and to nobody else.
    let call = |id| Call::CreateSession {
        ticket: Ticket::new(id),
        name: NAME.to_owned(),
        password: password("bassoon-7"),
        address: "192.0.2.1".to_owned(),
        user_agent: String::new(),
        purpose: Some(AccountTypes::of(&[WebUi])),
    };
    let ticket = bench.ask(call, None);
    bench.settle();
    assert_eq!(bench.answer(ticket).unwrap().unwrap_err().reason(), "INVALID_CREDENTIALS");
}
