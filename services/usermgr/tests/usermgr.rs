//! The daemon on a bus, as a gateway sees it.

mod common;

use std::collections::BTreeSet;

use common::{PASSWORD, Rig, WAIT};
use ipc::{Code, EventItem};
use schema::v1alpha1 as v1;
use serde_json::json;

const NEW: &str = "seven brass doorknobs";

#[tokio::test]
async fn a_login_gives_a_token_that_works_until_the_logout() {
    let rig = Rig::with_admin().await;
    let daemon = rig.start().await;
    assert_eq!(daemon.credential, None, "the operator knows the password it gave");

    let response = rig.login("admin", PASSWORD, "192.0.2.7").await.unwrap();
    let session = response.session.unwrap();
    assert_eq!((session.username.as_str(), session.role.as_str()), ("admin", "Administrator"));
    assert_eq!((session.address.as_str(), session.user_agent.as_str()), ("192.0.2.7", "test"));
    assert!(!session.password_change_required);

    let principal = rig.token(&response.token).await.unwrap();
    assert_eq!((&principal.username, &principal.user_id), (&session.username, &session.user_id));
    assert_eq!(principal.session_id, session.id);
    assert_eq!(principal.privileges, [2, 3, 4, 5, 6, 7]);
    let lives: i64 = principal.expires.unwrap().seconds - session.last_used_at.unwrap().seconds;
    assert!((0..=60).contains(&lives), "a gateway asks again soon, not in {lives} s");

    rig.end_session(&principal, &session.id).await.unwrap();
    let gone = rig.token(&response.token).await.unwrap_err();
    assert_eq!((gone.code, gone.reason().as_str()), (Code::Unauthenticated, "INVALID_TOKEN"));
    // The gateway may still hold the principal; it opens nothing here any more.
    let stale = rig.get_user(&principal, "admin").await.unwrap_err();
    assert_eq!(stale.code, Code::Unauthenticated);
}

#[tokio::test]
async fn no_credential_but_the_right_one_opens_and_all_others_look_the_same() {
    let rig = Rig::with_admin().await;
    let _daemon = rig.start().await;
    let (_, admin) = rig.enter("admin", PASSWORD).await;
    rig.create(&admin, "off", "Operator").await;
    rig.update(&admin, v1::User { id: "off".into(), enabled: Some(false), ..Default::default() })
        .await
        .unwrap();

    let mut answers = BTreeSet::new();
    let attempts = [
        ("admin", "wrong password"),
        ("nobody", PASSWORD),
        ("off", PASSWORD),
        ("", ""),
        ("admin", ""),
        ("Admin", PASSWORD),
    ];
    for (at, (name, password)) in attempts.into_iter().enumerate() {
        let address = format!("192.0.2.{}", 10 + at);
        answers.insert(rig.login(name, password, &address).await.unwrap_err().to_string());
        answers.insert(rig.basic(name, password, &address).await.unwrap_err().to_string());
    }
    assert_eq!(answers.into_iter().collect::<Vec<_>>(), ["UNAUTHENTICATED: wrong user name or password"]);
    for token in ["", "x", &"0".repeat(64), &"g".repeat(64)] {
        assert_eq!(rig.token(token).await.unwrap_err().code, Code::Unauthenticated, "{token}");
    }
}

#[tokio::test]
async fn the_first_boot_password_is_shown_until_used_and_must_then_be_changed() {
    let rig = Rig::new().await;
    let first = rig.start().await;
    let (name, lost) = first.credential.clone().expect("a first-boot credential");
    assert_eq!(name, "admin");
    assert!(lost.len() >= 20, "100 bits of 32 characters");
    // Power is lost before anybody read it.
    first.kill().await;

    let second = rig.start().await;
    let (_, shown) = second.credential.clone().expect("shown again");
    assert_ne!(shown, lost);
    assert_eq!(rig.login("admin", &lost, "192.0.2.1").await.unwrap_err().code, Code::Unauthenticated);

    let (token, principal) = rig.enter("admin", &shown).await;
    assert!(principal.password_change_required);
    let id = principal.user_id.clone();
    // Nothing but the own password, account and sessions.
    rig.get_user(&principal, &id).await.unwrap();
    for denied in [
        rig.sessions(&principal, "").await.map(drop),
        rig.update(
            &principal,
            v1::User { id: id.clone(), email: Some("a@b.example".into()), ..Default::default() },
        )
        .await
        .map(drop),
    ] {
        assert_eq!(denied.unwrap_err().reason(), "PASSWORD_CHANGE_REQUIRED");
    }

    second.kill().await;
    let third = rig.start().await;
    assert_eq!(third.credential, None, "it was used: never shown again");

    rig.change_password(&principal, &id, &shown, NEW).await.unwrap();
    let principal = rig.token(&token).await.expect("the session that changed the password lives on");
    assert!(!principal.password_change_required);
    rig.get_user(&principal, &id).await.unwrap();
    assert_eq!(rig.login("admin", &shown, "192.0.2.2").await.unwrap_err().code, Code::Unauthenticated);
    rig.login("admin", NEW, "192.0.2.3").await.unwrap();
}

#[tokio::test]
async fn of_a_change_with_a_password_all_is_stored_or_nothing() {
    let rig = Rig::with_admin().await;
    let daemon = rig.start().await;
    let (_, admin) = rig.enter("admin", PASSWORD).await;
    let id = rig.create(&admin, "carol", "Operator").await;
    let (token, _) = rig.enter("carol", PASSWORD).await;
    let change = async |role: &str, password: &str, who: &v1::Principal| {
        let user = v1::User { id: "carol".into(), role: role.into(), ..v1::User::default() };
        let request = v1::UpdateUserRequest {
            user: Some(user),
            password: Some(password.into()),
            ..v1::UpdateUserRequest::default()
        };
        rig.call(schema::rpc::user_service::UPDATE_USER, request, Some(who)).await
    };
    // A role that is none leaves the old password valid.
    let refused = change("Nobody", NEW, &admin).await.unwrap_err();
    assert_eq!(refused.fields()[0].0, "user.role");
    rig.login("carol", PASSWORD, "192.0.2.1").await.expect("the password is as it was");
    assert_eq!(rig.login("carol", NEW, "192.0.2.1").await.unwrap_err().code, Code::Unauthenticated);
    // A password that is refused leaves the role, too short for any policy, or made of the name.
    for password in ["short", "carolcarol"] {
        let refused = change("ReadOnly", password, &admin).await.unwrap_err();
        assert_eq!((refused.code, refused.fields()[0].0.as_str()), (Code::InvalidArgument, "password"));
        assert!(!refused.to_string().contains("carolcarol"), "{refused}");
        assert_eq!(rig.get_user(&admin, &id).await.unwrap().role, "Operator");
        rig.token(&token).await.expect("nothing has happened, so its sessions go on");
    }
    // One's own, too, is for who manages accounts.
    let (_, carol) = rig.enter("carol", PASSWORD).await;
    let refused = change("Operator", NEW, &carol).await.unwrap_err();
    assert_eq!(refused.reason(), "MISSING_PRIVILEGE");

    let changed = change("ReadOnly", NEW, &admin).await.unwrap().user.unwrap();
    assert_eq!((changed.role.as_str(), changed.password_change_required), ("ReadOnly", false));
    assert!(rig.token(&token).await.is_err());
    // What was answered is stored.
    daemon.kill().await;
    let _daemon = rig.start().await;
    assert_eq!(rig.login("carol", PASSWORD, "192.0.2.2").await.unwrap_err().code, Code::Unauthenticated);
    let (_, carol) = rig.enter("carol", NEW).await;
    assert_eq!(carol.role, "ReadOnly");
}

#[tokio::test]
async fn a_password_file_serves_the_first_administrator_only() {
    let mut rig = Rig::new().await;
    let generated = rig.start().await;
    assert!(generated.credential.is_some());
    generated.kill().await;

    // Nobody has used the generated one, so the file replaces it.
    let path = rig.password_file(PASSWORD);
    rig.set("admin_password_file", json!(path));
    let given = rig.start().await;
    assert_eq!(given.credential, None);
    let (_, admin) = rig.enter("admin", PASSWORD).await;
    assert!(!admin.password_change_required);
    given.kill().await;

    rig.password_file("another password");
    let _again = rig.start().await;
    rig.login("admin", PASSWORD, "192.0.2.1").await.expect("the password in use stays");
    assert!(rig.login("admin", "another password", "192.0.2.2").await.is_err());
}

#[tokio::test]
async fn a_configuration_that_cannot_be_ends_the_daemon_for_good() {
    use service::{Exit, Failure as _};
    let mut rig = Rig::new().await;
    let weak = rig.password_file("admin123");
    for (key, value) in [
        ("admin_password_file", json!(weak)),
        ("admin_password_file", json!("/nowhere/at/all")),
        ("sessions", json!({ "idle_secs": 0 })),
        ("unknown", json!(1)),
    ] {
        let before = std::mem::replace(&mut rig.config, json!({ key: value }));
        let error = rig.fail().await;
        assert_eq!(error.exit(), Exit::Config, "{error}");
        rig.config = before;
    }
}

#[tokio::test]
async fn a_first_password_whose_file_is_gone_keeps_nobody_out() {
    let rig = Rig::with_admin().await;
    let daemon = rig.start().await;
    rig.enter("admin", PASSWORD).await;
    daemon.kill().await;
    std::fs::remove_file(rig.dir.path().join("admin-password")).unwrap();
    let daemon = rig.start().await;
    assert_eq!(daemon.credential, None);
    rig.login("admin", PASSWORD, "192.0.2.1").await.expect("it was only for the first start");
    daemon.kill().await;
    // Nor does one that has become too weak.
    rig.password_file("admin123");
    let _daemon = rig.start().await;
    rig.login("admin", PASSWORD, "192.0.2.1").await.expect("as before");
}

#[tokio::test]
async fn accounts_and_sessions_survive_kill_and_stop() {
    let rig = Rig::with_admin().await;
    let daemon = rig.start().await;
    let (token, admin) = rig.enter("admin", PASSWORD).await;
    let id = rig.create(&admin, "carol", "Operator").await;
    let (carol_token, _) = rig.enter("carol", PASSWORD).await;

    daemon.kill().await;
    let daemon = rig.start().await;
    assert_eq!(rig.token(&token).await.unwrap().session_id, admin.session_id);
    let carol = rig.token(&carol_token).await.unwrap();
    assert_eq!((carol.user_id.as_str(), carol.role.as_str()), (id.as_str(), "Operator"));

    // What was ended stays ended.
    rig.end_session(&admin, &carol.session_id).await.unwrap();
    daemon.stop().await;
    let _daemon = rig.start().await;
    assert!(rig.token(&carol_token).await.is_err());
    assert!(rig.token(&token).await.is_ok());
}

#[tokio::test]
async fn roles_survive_kill_and_one_that_cannot_be_read_allows_nothing() {
    let rig = Rig::with_admin().await;
    let daemon = rig.start().await;
    let (_, admin) = rig.enter("admin", PASSWORD).await;
    let role = v1::Role { id: "night".into(), privileges: vec![2, 4], ..v1::Role::default() };
    let request = v1::CreateRoleRequest { role: Some(role) };
    rig.call(schema::rpc::role_service::CREATE_ROLE, request, Some(&admin)).await.unwrap();
    rig.create(&admin, "carol", "night").await;
    let (token, carol) = rig.enter("carol", PASSWORD).await;
    assert_eq!((carol.role.as_str(), carol.privileges), ("night", vec![2, 4]));
    daemon.kill().await;
    let daemon = rig.start().await;
    assert_eq!(rig.token(&token).await.unwrap().privileges, [2, 4]);
    // One of it that is narrowed is that after a crash, whatever became of its accounts' sessions.
    let role = v1::Role { id: "night".into(), privileges: vec![2], ..v1::Role::default() };
    let request = v1::UpdateRoleRequest { role: Some(role), field_mask: None };
    rig.call(schema::rpc::role_service::UPDATE_ROLE, request, Some(&admin)).await.unwrap();
    daemon.kill().await;
    let daemon = rig.start().await;
    assert!(rig.token(&token).await.map_or(Vec::new(), |carol| carol.privileges).len() < 2);
    let request = v1::DeleteRoleRequest { id: "night".into() };
    let refused = rig.call(schema::rpc::role_service::DELETE_ROLE, request, Some(&admin)).await;
    assert_eq!(refused.unwrap_err().reason(), "ROLE_IN_USE");
    daemon.kill().await;
    let roles = rig.bus.client("usermgr").await.bucket(usermgr::ROLES).await.unwrap();
    roles.put("night", &Later(b"\xff\xff".to_vec())).await.unwrap();
    let _daemon = rig.start().await;
    let (_, carol) = rig.enter("carol", PASSWORD).await;
    assert!(carol.privileges.is_empty());
    rig.login("admin", PASSWORD, "192.0.2.1").await.expect("everybody else");
}

#[tokio::test]
async fn an_account_holds_so_many_sessions_and_the_least_used_one_goes() {
    let mut rig = Rig::with_admin().await;
    rig.set("sessions", json!({ "per_user": 3 }));
    let daemon = rig.start().await;
    let mut tokens = Vec::new();
    for _ in 0..3 {
        tokens.push(rig.enter("admin", PASSWORD).await.0);
    }
    // Used just now, while the second was not; the clock has milliseconds.
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let admin = rig.token(&tokens[0]).await.unwrap();
    rig.token(&tokens[2]).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    tokens.push(rig.enter("admin", PASSWORD).await.0);
    let alive = async |tokens: &[String]| {
        let mut alive = Vec::new();
        for token in tokens {
            alive.push(rig.token(token).await.is_ok());
        }
        alive
    };
    assert_eq!(alive(&tokens).await, [true, false, true, true]);
    assert_eq!(rig.sessions(&admin, "admin").await.unwrap().len(), 3);
    daemon.kill().await;
    let _daemon = rig.start().await;
    assert_eq!(alive(&tokens).await, [true, false, true, true], "the store agrees");
}

#[tokio::test]
async fn who_guesses_at_an_account_is_slowed_and_nobody_else_is() {
    let rig = Rig::with_admin().await;
    let _daemon = rig.start().await;
    let lock = async |name: &str| {
        for at in 0..5 {
            let wrong = rig.login(name, &format!("guess {at}"), "198.51.100.1").await.unwrap_err();
            assert_eq!(wrong.reason(), "INVALID_CREDENTIALS", "{name} {at}");
        }
        rig.login(name, PASSWORD, "198.51.100.1").await.unwrap_err()
    };
    let known = lock("admin").await;
    assert_eq!((known.code, known.reason().as_str()), (Code::Unauthenticated, "LOCKED_OUT"));
    // Of 30 s, those that are left.
    assert!(known.wait().is_some_and(|wait| (20..=30).contains(&wait.as_secs())), "{known}");
    // An invented name is treated alike; how many seconds are left is said to both.
    let unknown = lock("nobody").await;
    let words = |message: &str| message.replace(|c: char| c.is_ascii_digit(), "");
    assert_eq!((unknown.code, words(&unknown.message)), (known.code, words(&known.message)));
    rig.login("admin", PASSWORD, "192.0.2.1").await.expect("from an address never seen before");
}

#[tokio::test]
async fn a_restart_gives_guessers_no_fresh_count() {
    let rig = Rig::with_admin().await;
    for restart in 0..3 {
        let daemon = rig.start().await;
        for at in 0..2 {
            let guess = format!("guess {restart} {at}");
            let wrong = rig.login("admin", &guess, "198.51.100.1").await.unwrap_err();
            let locked = restart * 2 + at >= 5;
            assert_eq!(wrong.reason(), if locked { "LOCKED_OUT" } else { "INVALID_CREDENTIALS" }, "{guess}");
        }
        match restart {
            0 => daemon.kill().await,
            _ => daemon.stop().await,
        }
    }
    let _daemon = rig.start().await;
    let right = rig.login("admin", PASSWORD, "198.51.100.1").await.unwrap_err();
    assert_eq!(right.reason(), "LOCKED_OUT");
    rig.login("admin", PASSWORD, "192.0.2.1").await.expect("from elsewhere");
}

#[tokio::test]
async fn an_owner_gets_in_after_a_boot_while_the_account_is_guessed_at() {
    let mut rig = Rig::with_admin().await;
    rig.set("lockout", json!({ "account_threshold": 2 }));
    let daemon = rig.start().await;
    rig.basic("admin", PASSWORD, "192.0.2.7").await.unwrap();
    daemon.stop().await;
    // What lies in memory is gone.
    std::fs::remove_file(rig.dir.path().join("usermgr/lockout")).unwrap();
    let _daemon = rig.start().await;
    for n in 0..2 {
        let wrong = rig.basic("admin", "wrong password", &format!("198.51.100.{n}")).await.unwrap_err();
        assert_eq!(wrong.reason(), "INVALID_CREDENTIALS");
    }
    let newcomer = rig.basic("admin", PASSWORD, "192.0.2.8").await.unwrap_err();
    assert_eq!(newcomer.reason(), "LOCKED_OUT");
    rig.basic("admin", PASSWORD, "192.0.2.7").await.expect("known from there");
}

#[tokio::test]
async fn an_old_password_in_a_script_locks_nobody_out() {
    let rig = Rig::with_admin().await;
    let _daemon = rig.start().await;
    let (_, admin) = rig.enter("admin", PASSWORD).await;
    rig.create(&admin, "carol", "ReadOnly").await;
    for _ in 0..12 {
        let wrong = rig.basic("carol", "the password of last year", "198.51.100.1").await.unwrap_err();
        assert_eq!(wrong.reason(), "INVALID_CREDENTIALS");
    }
    rig.basic("carol", PASSWORD, "198.51.100.1").await.expect("carol herself, from the same address");
    rig.basic("admin", PASSWORD, "198.51.100.1").await.expect("another account from there");
}

#[tokio::test]
async fn an_address_that_guesses_is_slowed_for_every_account_and_an_administrator_lifts_it() {
    let rig = Rig::with_admin().await;
    let _daemon = rig.start().await;
    let (_, admin) = rig.enter("admin", PASSWORD).await;
    for at in 0..20 {
        rig.basic(&format!("user{at}"), "wrong password", "198.51.100.1").await.unwrap_err();
    }
    let locked = rig.login("admin", PASSWORD, "198.51.100.1").await.unwrap_err();
    assert_eq!(locked.reason(), "LOCKED_OUT");
    rig.login("admin", PASSWORD, "198.51.100.2").await.expect("another address is not concerned");

    let list = async |username: &str| {
        let request = v1::ListLockoutsRequest { username: username.to_owned() };
        let method = schema::rpc::lockout_service::LIST_LOCKOUTS;
        rig.call(method, request, Some(&admin)).await.unwrap().lockouts
    };
    let locks = list("").await;
    let [lock] = locks.as_slice() else { panic!("{locks:?}") };
    assert_eq!((lock.scope(), lock.address.as_str()), (v1::LockoutScope::Address, "198.51.100.1"));
    assert_eq!((lock.failed_attempts, lock.username.as_str()), (20, ""));
    assert!(lock.ends_at.is_some() && list("admin").await.is_empty());
    let lift = async |id: &str| {
        let request = v1::DeleteLockoutRequest { id: id.to_owned() };
        rig.call(schema::rpc::lockout_service::DELETE_LOCKOUT, request, Some(&admin)).await.map(drop)
    };
    lift(&lock.id).await.unwrap();
    rig.login("admin", PASSWORD, "198.51.100.1").await.unwrap();
    for id in [&lock.id, "", "x", "0000000000000000"] {
        assert_eq!(lift(id).await.unwrap_err().reason(), "LOCKOUT_NOT_FOUND", "{id}");
    }
}

#[tokio::test]
async fn an_administrator_sees_and_lifts_a_lock() {
    let rig = Rig::with_admin().await;
    let _daemon = rig.start().await;
    let (_, admin) = rig.enter("admin", PASSWORD).await;
    rig.create(&admin, "carol", "ReadOnly").await;
    for at in 0..5 {
        rig.login("carol", &format!("guess {at}"), "198.51.100.1").await.unwrap_err();
    }
    let lockout = rig.get_user(&admin, "carol").await.unwrap().lockout_info.unwrap();
    assert!(lockout.locked && lockout.attempts_reset_time.is_some());
    assert_eq!((lockout.failed_attempts, lockout.max_failed_attempts), (5, Some(5)));
    assert_eq!(rig.login("carol", PASSWORD, "198.51.100.1").await.unwrap_err().reason(), "LOCKED_OUT");

    let unlock = v1::User {
        id: "carol".into(),
        lockout_info: Some(v1::AccountLockoutInfo::default()),
        ..Default::default()
    };
    assert_eq!(rig.update(&admin, unlock).await.unwrap().lockout_info, None);
    rig.login("carol", PASSWORD, "198.51.100.1").await.unwrap();
}

#[tokio::test]
async fn a_lost_password_is_set_from_a_file_that_is_then_gone() {
    let rig = Rig::with_admin().await;
    let daemon = rig.start().await;
    let (token, admin) = rig.enter("admin", PASSWORD).await;
    rig.create(&admin, "second", "Administrator").await;
    let (_, second) = rig.enter("second", PASSWORD).await;
    let change =
        v1::User { id: "admin".into(), enabled: Some(false), role: "ReadOnly".into(), ..Default::default() };
    rig.update(&second, change).await.unwrap();
    daemon.kill().await;

    let file = rig.dir.path().join("recovery-password");
    std::fs::write(&file, "short\n").unwrap();
    let daemon = rig.start().await;
    assert!(file.exists(), "what cannot be used is left, and keeps nothing down");
    assert!(rig.login("admin", PASSWORD, "192.0.2.1").await.is_err());
    // Its owner has tried whatever came to mind, and what is counted outlives the daemon.
    for guess in 0..6 {
        rig.login("admin", &format!("jam jar {guess}"), "192.0.2.1").await.unwrap_err();
    }
    daemon.stop().await;

    std::fs::write(&file, format!("{NEW}\n")).unwrap();
    let mut events = rig.client.subscribe_events("event.user.>").await.unwrap();
    let daemon = rig.start().await;
    assert!(!file.exists());
    let told = tokio::time::timeout(WAIT, events.next()).await.unwrap();
    assert!(
        matches!(told, Some(EventItem::Event(event)) if event.what == "password-reset"),
        "gateways forget it"
    );
    let (_, principal) = rig.enter("admin", NEW).await;
    assert!(principal.password_change_required && principal.role == "Administrator");
    assert!(rig.token(&token).await.is_err(), "the sessions of before are over");
    rig.change_password(&principal, "admin", NEW, "nine copper kettles").await.unwrap();
    daemon.kill().await;
    let _daemon = rig.start().await;
    rig.login("admin", "nine copper kettles", "192.0.2.2").await.expect("the file is not used twice");
}

/// A record of a later release.
struct Later(Vec<u8>);

impl ipc::Value for Later {
    const VERSION: u16 = 77;
    fn encode(&self) -> Vec<u8> {
        self.0.clone()
    }
    fn decode(_: u16, bytes: &[u8]) -> Result<Self, ipc::ValueError> {
        Ok(Self(bytes.to_vec()))
    }
}

#[tokio::test]
async fn an_account_that_cannot_be_read_locks_out_its_owner_alone_and_is_told() {
    let rig = Rig::with_admin().await;
    let daemon = rig.start().await;
    let (_, admin) = rig.enter("admin", PASSWORD).await;
    let carol = rig.create(&admin, "carol", "ReadOnly").await;
    daemon.kill().await;
    let users = rig.bus.client("usermgr").await.bucket(usermgr::USERS).await.unwrap();
    users.put(&carol, &Later(b"\xff\xff".to_vec())).await.unwrap();

    let mut events = rig.client.subscribe_events("event.user.>").await.unwrap();
    let _daemon = rig.start().await;
    let told = tokio::time::timeout(WAIT, async {
        loop {
            match events.next().await {
                Some(EventItem::Event(event)) if event.what == "unreadable" => break event,
                Some(_) => {}
                None => panic!("the bus is gone"),
            }
        }
    })
    .await
    .unwrap();
    assert_eq!(told.component, carol);
    rig.login("admin", PASSWORD, "192.0.2.1").await.expect("everybody else");
    assert!(rig.login("carol", PASSWORD, "192.0.2.2").await.is_err());
    assert_eq!(
        users.get::<Later>(&carol).await.unwrap().unwrap().value.0,
        b"\xff\xff",
        "left for who can read it"
    );
}

#[tokio::test]
async fn an_account_the_medium_has_lost_locks_out_its_owner_alone() {
    let rig = Rig::with_admin().await;
    let daemon = rig.start().await;
    let (_, admin) = rig.enter("admin", PASSWORD).await;
    rig.create(&admin, "carolinathe3rd", "ReadOnly").await;
    daemon.kill().await;
    assert!(rig.bus.lose(b"\"carolinathe3rd\"") || rig.bus.lose(b"carolinathe3rd"));
    let _daemon = rig.start().await;
    rig.login("admin", PASSWORD, "192.0.2.1").await.expect("everybody else");
    assert!(rig.login("carolinathe3rd", PASSWORD, "192.0.2.2").await.is_err());
}

/// The medium stops to give a page while the bus runs.
#[tokio::test]
async fn records_the_medium_does_not_give_lock_out_their_owners_alone() {
    let rig = Rig::with_admin().await;
    let daemon = rig.start().await;
    let (_, admin) = rig.enter("admin", PASSWORD).await;
    rig.create(&admin, "carolinathe3rd", "ReadOnly").await;
    daemon.kill().await;
    rig.bus.refuse_to_read(b"carolinathe3rd");
    rig.bus.refuse_to_read(admin.session_id.as_bytes());
    let _daemon = rig.start().await;
    rig.login("admin", PASSWORD, "192.0.2.1").await.expect("everybody else");
    assert!(rig.login("carolinathe3rd", PASSWORD, "192.0.2.2").await.is_err());
}

/// An account's record, byte for byte.
struct Same(Vec<u8>);

impl ipc::Value for Same {
    const VERSION: u16 = 1;
    fn encode(&self) -> Vec<u8> {
        self.0.clone()
    }
    fn decode(_: u16, bytes: &[u8]) -> Result<Self, ipc::ValueError> {
        Ok(Self(bytes.to_vec()))
    }
}

/// Among lost records of unknown keys may be the end of any account, and of any session, that is still there.
#[tokio::test]
async fn what_was_stored_before_unknown_records_were_lost_lets_nobody_in() {
    let rig = Rig::with_admin().await;
    let daemon = rig.start().await;
    let (_, admin) = rig.enter("admin", PASSWORD).await;
    let carol = rig.create(&admin, "carol", "Administrator").await;
    daemon.kill().await;
    let client = rig.bus.client("usermgr").await;
    let users = client.bucket(usermgr::USERS).await.unwrap();
    let record = users.get::<Same>(&carol).await.unwrap().unwrap().value;
    users.put("_damaged", &Later(Vec::new())).await.unwrap();
    let daemon = rig.start().await;
    for name in ["admin", "carol"] {
        assert!(rig.login(name, PASSWORD, "192.0.2.1").await.is_err(), "{name}");
    }
    daemon.kill().await;
    // What was stored since counts.
    users.put(&carol, &record).await.unwrap();
    let daemon = rig.start().await;
    let (_, admin) = rig.enter("carol", PASSWORD).await;
    // The others are there, disabled, and an administrator says what becomes of them.
    let request = v1::ListUsersRequest::default();
    let users = rig.call(schema::rpc::user_service::LIST_USERS, request, Some(&admin)).await.unwrap().users;
    let enabled = |name: &str| users.iter().find(|user| user.username == name).map(v1::User::enabled);
    assert_eq!((enabled("admin"), enabled("carol")), (Some(false), Some(true)));
    let user = v1::User { id: "admin".into(), enabled: Some(true), ..v1::User::default() };
    let request = v1::UpdateUserRequest { user: Some(user), ..v1::UpdateUserRequest::default() };
    rig.call(schema::rpc::user_service::UPDATE_USER, request, Some(&admin)).await.unwrap();
    rig.enter("admin", PASSWORD).await;
    daemon.kill().await;
    let sessions = client.bucket(usermgr::SESSIONS).await.unwrap();
    assert!(sessions.keys().await.unwrap().contains(&admin.session_id));
    sessions.put("_damaged", &Later(Vec::new())).await.unwrap();
    let _daemon = rig.start().await;
    rig.enter("carol", PASSWORD).await;
    assert!(!sessions.keys().await.unwrap().contains(&admin.session_id));
}

#[tokio::test]
async fn ended_sessions_and_deleted_accounts_leave_nothing_in_the_store() {
    let rig = Rig::with_admin().await;
    let daemon = rig.start().await;
    let (_, admin) = rig.enter("admin", PASSWORD).await;
    for n in 0..5 {
        let name = format!("guest{n}");
        rig.create(&admin, &name, "ReadOnly").await;
        let (_, guest) = rig.enter(&name, PASSWORD).await;
        rig.end_session(&guest, &guest.session_id).await.unwrap();
        let request = v1::DeleteUserRequest { id: name };
        rig.call(schema::rpc::user_service::DELETE_USER, request, Some(&admin)).await.unwrap();
    }
    daemon.stop().await;
    let client = rig.bus.client("usermgr").await;
    for (name, keys) in [(usermgr::USERS, 1), (usermgr::SESSIONS, 1)] {
        let bucket = client.bucket(name).await.unwrap();
        assert_eq!(bucket.keys().await.unwrap().len(), keys, "{name}");
        assert_eq!(bucket.sweep(100).await.unwrap(), 0, "{name}");
    }
}

#[tokio::test]
async fn the_last_administrator_stays_and_nobody_demotes_oneself() {
    let rig = Rig::with_admin().await;
    let _daemon = rig.start().await;
    let (_, admin) = rig.enter("admin", PASSWORD).await;
    let delete = async |who: &v1::Principal, id: &str| {
        let request = v1::DeleteUserRequest { id: id.to_owned() };
        rig.call(schema::rpc::user_service::DELETE_USER, request, Some(who)).await.map(drop)
    };
    let last = delete(&admin, "admin").await.unwrap_err();
    assert_eq!((last.code, last.reason().as_str()), (Code::FailedPrecondition, "LAST_ADMINISTRATOR"));
    for change in [
        v1::User { id: "admin".into(), role: "ReadOnly".into(), ..Default::default() },
        v1::User { id: "admin".into(), enabled: Some(false), ..Default::default() },
    ] {
        assert_eq!(rig.update(&admin, change).await.unwrap_err().reason(), "OWN_ACCOUNT");
    }
    rig.create(&admin, "second", "Administrator").await;
    let (_, second) = rig.enter("second", PASSWORD).await;
    rig.update(&second, v1::User { id: "admin".into(), enabled: Some(false), ..Default::default() })
        .await
        .unwrap();
    assert_eq!(delete(&second, "second").await.unwrap_err().reason(), "LAST_ADMINISTRATOR");
    delete(&second, "admin").await.unwrap();
}

#[tokio::test]
async fn who_does_not_manage_users_sees_and_changes_only_the_own_account() {
    let rig = Rig::with_admin().await;
    let _daemon = rig.start().await;
    let (_, admin) = rig.enter("admin", PASSWORD).await;
    for (name, role) in [("olga", "Operator"), ("rene", "ReadOnly")] {
        let id = rig.create(&admin, name, role).await;
        let (_, mut who) = rig.enter(name, PASSWORD).await;
        // A gateway that believes in more privileges than the account has changes nothing.
        who.privileges = admin.privileges.clone();
        who.role = "Administrator".into();
        assert_eq!(rig.get_user(&who, name).await.unwrap().id, id);
        assert_eq!(rig.get_user(&who, &id).await.unwrap().username, name);
        let denied = [
            rig.get_user(&who, "admin").await.unwrap_err(),
            rig.get_user(&who, "nobody-at-all").await.unwrap_err(),
            rig.update(&who, v1::User { id: id.clone(), role: "Administrator".into(), ..Default::default() })
                .await
                .unwrap_err(),
            rig.sessions(&who, "admin").await.unwrap_err(),
            rig.end_session(&who, &admin.session_id).await.unwrap_err(),
            rig.change_password(&who, "admin", PASSWORD, NEW).await.unwrap_err(),
            rig.call(schema::rpc::user_service::LIST_USERS, v1::ListUsersRequest::default(), Some(&who))
                .await
                .unwrap_err(),
            rig.call(
                schema::rpc::user_service::DELETE_USER,
                v1::DeleteUserRequest { id: id.clone() },
                Some(&who),
            )
            .await
            .unwrap_err(),
            rig.call(
                schema::rpc::user_service::RESET_PASSWORD,
                v1::ResetPasswordRequest { id: id.clone(), ..Default::default() },
                Some(&who),
            )
            .await
            .unwrap_err(),
        ];
        for status in denied {
            assert_eq!(status.code, Code::PermissionDenied, "{name}: {status}");
        }
        let own = rig.sessions(&who, "").await.unwrap();
        assert!(own.iter().all(|session| session.username == name) && own.len() == 1);
        rig.change_password(&who, &id, PASSWORD, NEW).await.unwrap();
        let wrong = rig.change_password(&who, &id, PASSWORD, "yet another one").await.unwrap_err();
        assert_eq!((wrong.code, wrong.reason().as_str()), (Code::PermissionDenied, "WRONG_PASSWORD"));
    }
}

#[tokio::test]
async fn nobody_does_anything_without_a_principal() {
    let rig = Rig::with_admin().await;
    let _daemon = rig.start().await;
    let mut asked = 0;
    for method in schema::methods().iter().filter(|method| method.owner == usermgr::NAME) {
        if method.privilege == v1::Privilege::None {
            continue;
        }
        asked += 1;
        let answer = rig
            .client
            .raw_call(method.subject, Vec::new().into(), &ipc::CallContext::new())
            .await
            .unwrap_err();
        assert!(
            matches!(answer.code, Code::Unauthenticated | Code::InvalidArgument),
            "{}: {answer}",
            method.full_name
        );
    }
    assert!(asked >= 12, "{asked}");
}

#[tokio::test]
async fn a_change_of_access_ends_the_sessions_and_tells_everybody() {
    let rig = Rig::with_admin().await;
    let _daemon = rig.start().await;
    let (_, admin) = rig.enter("admin", PASSWORD).await;
    let id = rig.create(&admin, "carol", "ReadOnly").await;
    let mut events = rig.client.subscribe_events("event.>").await.unwrap();

    let (token, carol) = rig.enter("carol", PASSWORD).await;
    rig.update(&admin, v1::User { id: id.clone(), role: "Operator".into(), ..Default::default() })
        .await
        .unwrap();
    assert!(rig.token(&token).await.is_err());
    let (token, _) = rig.enter("carol", PASSWORD).await;
    let reset = v1::ResetPasswordRequest { id: id.clone(), ..Default::default() };
    let made =
        rig.call(schema::rpc::user_service::RESET_PASSWORD, reset, Some(&admin)).await.unwrap().new_password;
    assert!(rig.token(&token).await.is_err());
    let (_, back) = rig.enter("carol", &made).await;
    assert!(back.password_change_required);
    rig.call(schema::rpc::user_service::DELETE_USER, v1::DeleteUserRequest { id: id.clone() }, Some(&admin))
        .await
        .unwrap();
    assert!(rig.login("carol", &made, "192.0.2.77").await.is_err());

    let expected = [
        ("session", "created"),
        ("user", "updated"),
        ("session", "revoked"),
        ("session", "created"),
        ("user", "password-reset"),
        ("session", "revoked"),
        ("session", "created"),
        ("user", "deleted"),
        ("session", "revoked"),
        ("session", "login-failed"),
    ];
    let mut seen = Vec::new();
    while seen.len() < expected.len() {
        let item = tokio::time::timeout(WAIT, events.next()).await.expect("in time").expect("open");
        let EventItem::Event(event) = item else { panic!("missed events") };
        assert!(!format!("{event:?}").contains(&made), "no secret in an event");
        if event.domain == "user" {
            assert_eq!(event.component, id);
            assert_eq!(event.principal.as_deref(), Some("admin"));
        } else if event.what == "created" && seen.is_empty() {
            assert_eq!(event.component, carol.session_id);
        }
        seen.push((event.domain, event.what));
    }
    let seen: Vec<_> = seen.iter().map(|(domain, what)| (domain.as_str(), what.as_str())).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn many_logins_at_once_are_served_in_bounded_numbers_while_tokens_are_checked() {
    let mut rig = Rig::with_admin().await;
    rig.set("login", json!({ "parallel": 2, "waiting": 16, "reserved": 4, "per_address": 4 }));
    let _daemon = rig.start().await;
    let (token, _) = rig.enter("admin", PASSWORD).await;

    // From one address four at a time; the others are refused at once, not queued.
    let one: Vec<_> = futures(24, |_| rig.basic("admin", "wrong password", "198.51.100.1")).await;
    let refused =
        one.iter().filter(|answer| answer.as_ref().unwrap_err().code == Code::ResourceExhausted).count();
    assert!(refused >= 1, "{refused} refused");
    for answer in &one {
        let reason = answer.as_ref().unwrap_err().reason();
        assert!(
            ["INVALID_CREDENTIALS", "LOCKED_OUT", "TOO_MANY_LOGINS_FROM_ADDRESS", "TOO_MANY_LOGINS"]
                .contains(&reason.as_str()),
            "{reason}"
        );
    }
    let tried =
        one.iter().filter(|answer| answer.as_ref().unwrap_err().reason() == "INVALID_CREDENTIALS").count();
    assert!(tried <= 5, "{tried} guesses got through before the delay");

    // A crowd of strangers and one who was here before: hers is a reserved place.
    let crowd = futures(40, |at| {
        let address = format!("203.0.113.{at}");
        let rig = &rig;
        async move { rig.basic(&format!("stranger{at}"), "wrong password", &address).await }
    });
    let owner = rig.login("admin", PASSWORD, "192.0.2.1");
    let check = rig.token(&token);
    let (crowd, owner, check) = tokio::join!(crowd, owner, check);
    owner.expect("a known address gets through a crowd");
    check.expect("a token check waits for no hash");
    assert!(crowd.iter().any(|answer| answer.as_ref().unwrap_err().code == Code::ResourceExhausted));
}

/// Runs `count` calls at the same time.
async fn futures<F: Future>(count: usize, make: impl Fn(usize) -> F) -> Vec<F::Output> {
    let mut running: Vec<_> = (0..count).map(|at| Box::pin(make(at))).collect();
    let mut done: Vec<Option<F::Output>> = (0..count).map(|_| None).collect();
    std::future::poll_fn(move |cx| {
        let mut pending = false;
        for (future, slot) in running.iter_mut().zip(&mut done) {
            if slot.is_none() {
                match future.as_mut().poll(cx) {
                    std::task::Poll::Ready(output) => *slot = Some(output),
                    std::task::Poll::Pending => pending = true,
                }
            }
        }
        if pending {
            std::task::Poll::Pending
        } else {
            std::task::Poll::Ready(done.iter_mut().filter_map(Option::take).collect())
        }
    })
    .await
}

#[tokio::test]
async fn users_are_created_checked_listed_and_masked() {
    let rig = Rig::with_admin().await;
    let _daemon = rig.start().await;
    let (_, admin) = rig.enter("admin", PASSWORD).await;
    let create = async |user: v1::User, password: &str, dry_run: bool| {
        let request =
            v1::CreateUserRequest { user: Some(user), password: password.into(), dry_run: Some(dry_run) };
        rig.call(schema::rpc::user_service::CREATE_USER, request, Some(&admin)).await
    };
    let named =
        |name: &str| v1::User { username: name.into(), role: "ReadOnly".into(), ..Default::default() };

    let tried = create(named("dora"), PASSWORD, true).await.unwrap().user.unwrap();
    assert_eq!((tried.username.as_str(), tried.id.as_str()), ("dora", ""));
    let least = create(v1::User { role: String::new(), ..named("dora") }, PASSWORD, false).await.unwrap();
    assert_eq!(least.user.as_ref().unwrap().role, "ReadOnly");
    assert_eq!(least.warnings.len(), 1);
    let ipmi = |user: v1::User| v1::User { ipmi_access: Some(true), ..user };
    for (user, password, code, reason, fields) in [
        (named("dora"), PASSWORD, Code::AlreadyExists, "USER_NAME_TAKEN", ""),
        (named("DORA"), PASSWORD, Code::AlreadyExists, "USER_NAME_TAKEN", ""),
        (named("1dora"), PASSWORD, Code::InvalidArgument, "", "user.username"),
        (
            v1::User { role: "1".into(), ..named("1dora") },
            PASSWORD,
            Code::InvalidArgument,
            "",
            "user.username user.role",
        ),
        (named("eve"), "eve12345", Code::InvalidArgument, "WEAK_PASSWORD", "password"),
        (named("eve"), "tiny", Code::InvalidArgument, "WEAK_PASSWORD", "password"),
        (v1::User { role: "Root".into(), ..named("eve") }, PASSWORD, Code::InvalidArgument, "", "user.role"),
        (
            ipmi(named("eve")),
            "a trombone and a drum",
            Code::InvalidArgument,
            "IPMI_PASSWORD_TOO_LONG",
            "password",
        ),
        (
            ipmi(named("a-name-of-17-bytes")),
            "tr0mbone-7",
            Code::InvalidArgument,
            "IPMI_NAME_TOO_LONG",
            "user.username",
        ),
        (
            v1::User { ipmi_user: Some(9), ..named("eve") },
            PASSWORD,
            Code::InvalidArgument,
            "IPMI_USER",
            "user.ipmi_user",
        ),
    ] {
        let status = create(user, password, false).await.unwrap_err();
        assert_eq!((status.code, status.reason().as_str()), (code, reason), "{status}");
        let named: Vec<String> = status.fields().into_iter().map(|(field, _)| field).collect();
        assert_eq!(named.join(" "), fields, "{status}");
        assert!(!format!("{} {:?}", status.message, status.fields()).contains(password), "{status}");
    }
    for name in ["ben", "amy", "cid"] {
        rig.create(&admin, name, "Operator").await;
    }
    let list = async |request: v1::ListUsersRequest| {
        let page = rig.call(schema::rpc::user_service::LIST_USERS, request, Some(&admin)).await.unwrap();
        (page.users.iter().map(|user| user.username.clone()).collect::<Vec<_>>(), page.next_page_token)
    };
    let (all, end) = list(v1::ListUsersRequest::default()).await;
    assert_eq!((all, end), (["admin", "amy", "ben", "cid", "dora"].map(String::from).to_vec(), None));
    let (page, next) = list(v1::ListUsersRequest { page_size: Some(2), ..Default::default() }).await;
    assert_eq!(page, ["admin", "amy"]);
    let (page, next) =
        list(v1::ListUsersRequest { page_size: Some(3), page_token: next, ..Default::default() }).await;
    assert_eq!((page, next), (["ben", "cid", "dora"].map(String::from).to_vec(), None));
    let (page, _) =
        list(v1::ListUsersRequest { username_prefix: Some("a".into()), ..Default::default() }).await;
    assert_eq!(page, ["admin", "amy"]);

    let masked = v1::GetUserRequest {
        id: "amy".into(),
        field_mask: Some(prost_types::FieldMask { paths: vec!["role".into()] }),
    };
    let masked =
        rig.call(schema::rpc::user_service::GET_USER, masked, Some(&admin)).await.unwrap().user.unwrap();
    assert_eq!(masked, v1::User { role: "Operator".into(), ..Default::default() });

    let roles = rig
        .call(schema::rpc::role_service::LIST_ROLES, v1::ListRolesRequest::default(), Some(&admin))
        .await
        .unwrap();
    let ids: Vec<_> = roles.roles.iter().map(|role| role.id.as_str()).collect();
    assert_eq!(ids, ["Administrator", "Operator", "ReadOnly"]);
}

#[tokio::test]
async fn what_an_account_is_for_outlives_the_daemon_and_a_list_that_is_refused_is_none() {
    let rig = Rig::with_admin().await;
    let daemon = rig.start().await;
    let (_, admin) = rig.enter("admin", PASSWORD).await;
    let id = rig.create(&admin, "carol", "ReadOnly").await;
    let (token, carol) = rig.enter("carol", PASSWORD).await;
    assert_eq!(carol.account_types, [1, 3, 4, 5, 6], "all but IPMI, and its role decides the rest");
    let shown = rig.get_user(&admin, &id).await.unwrap();
    assert_eq!((&shown.account_types[..], shown.strict_account_types), (&[1, 4, 6][..], Some(false)));
    let list =
        |types: &[i32]| v1::User { id: id.clone(), account_types: types.to_vec(), ..Default::default() };
    for (user, code, reason, field) in [
        (list(&[1, 3]), Code::InvalidArgument, "ACCOUNT_TYPE_BEYOND_ROLE", "user.account_types"),
        (
            v1::User { strict_account_types: Some(true), ..list(&[5]) },
            Code::InvalidArgument,
            "STRICT_ACCOUNT_TYPES",
            "user.account_types",
        ),
        (list(&[1, 99]), Code::InvalidArgument, "", "user.account_types"),
        (v1::User { ipmi_access: Some(true), ..list(&[1]) }, Code::InvalidArgument, "", "user.ipmi_access"),
        (
            v1::User { id: "admin".into(), ..list(&[6, 3]) },
            Code::FailedPrecondition,
            "LAST_ADMINISTRATOR",
            "",
        ),
    ] {
        let refused = rig.update(&admin, user).await.unwrap_err();
        assert_eq!((refused.code, refused.reason().as_str()), (code, reason), "{refused}");
        let fields: Vec<String> = refused.fields().into_iter().map(|(field, _)| field).collect();
        assert_eq!(fields.join(" "), field, "{refused}");
    }
    let none = v1::UpdateUserRequest {
        user: Some(list(&[])),
        field_mask: Some(prost_types::FieldMask { paths: vec!["account_types".into()] }),
        password: None,
    };
    let refused = rig.call(schema::rpc::user_service::UPDATE_USER, none, Some(&admin)).await.unwrap_err();
    assert_eq!((refused.code, refused.fields()[0].0.as_str()), (Code::InvalidArgument, "user.account_types"));
    assert_eq!(rig.get_user(&admin, &id).await.unwrap(), shown, "nothing of it");
    rig.token(&token).await.expect("the session goes on");

    let changed = rig.update(&admin, list(&[4])).await.unwrap();
    assert_eq!(changed.account_types, [4]);
    assert_eq!(rig.token(&token).await.unwrap_err().code, Code::Unauthenticated);
    let enter = async |kind: v1::AccountType| {
        let request = v1::CreateSessionRequest {
            username: "carol".into(),
            password: PASSWORD.into(),
            address: "192.0.2.1".into(),
            account_type: Some(kind.into()),
            ..Default::default()
        };
        rig.call(schema::rpc::session_service::CREATE_SESSION, request, None).await
    };
    for kind in [v1::AccountType::WebUi, v1::AccountType::Redfish] {
        let refused = enter(kind).await.unwrap_err();
        assert_eq!((refused.code, refused.reason().as_str()), (Code::PermissionDenied, "ACCOUNT_TYPE"));
    }
    assert!(rig.sessions(&admin, "carol").await.unwrap().is_empty());
    let token = enter(v1::AccountType::Kvmip).await.unwrap().token;
    daemon.kill().await;
    let _daemon = rig.start().await;
    assert_eq!(rig.token(&token).await.unwrap().account_types, [4]);
    assert_eq!(rig.get_user(&admin, &id).await.unwrap().account_types, [4]);
}
