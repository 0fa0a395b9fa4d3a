//! Logins over IPMI.

use super::*;

fn bench() -> Bench {
    let mut bench = Bench::new(limits());
    bench.machine.secrets = Secrets::new(&[7; 32]);
    bench
}

fn challenge(bench: &mut Bench, name: &str) -> Vec<u8> {
    let request =
        v1::ChallengeIpmiRequest { username: name.to_owned(), cipher_suite: 17, data: b"rakp 2".to_vec() };
    let ticket = bench.ask(|id| Call::ChallengeIpmi { ticket: Ticket::new(id), request }, None);
    let bytes = bench.answer(ticket).unwrap().unwrap();
    v1::ChallengeIpmiResponse::decode(bytes.as_slice()).unwrap().code
}

fn log_in_by_ipmi(bench: &mut Bench, name: &str, key: &[u8]) -> Result<v1::VerifyIpmiResponse, Status> {
    verify(bench, name, key, false)
}

fn verify(
    bench: &mut Bench,
    name: &str,
    key: &[u8],
    only_test: bool,
) -> Result<v1::VerifyIpmiResponse, Status> {
    let request = Box::new(v1::VerifyIpmiRequest {
        username: name.to_owned(),
        cipher_suite: 17,
        data: b"rakp 3".to_vec(),
        code: ipmi::Suite::Sha256.mac(key, b"rakp 3").to_vec(),
        session: b"sik".to_vec(),
        address: "192.0.2.1".to_owned(),
        only_test,
    });
    let ticket = bench.ask(|id| Call::VerifyIpmi { ticket: Ticket::new(id), request }, None);
    let bytes = bench.answer(ticket).unwrap()?;
    Ok(v1::VerifyIpmiResponse::decode(bytes.as_slice()).unwrap())
}

fn set_password(bench: &mut Bench, user: &str, password: &str) -> Result<Vec<u8>, Status> {
    let (user, new) = (user.to_owned(), Some(Password::new(password.to_owned())));
    let call = |id| Call::ResetPassword { ticket: Ticket::new(id), user, new, require_change: false };
    let ticket = bench.ask(call, Some(("admin", "")));
    bench.work();
    while let Some(_batch) = bench.batch() {
        bench.step(Event::Written(Outcome::Stored));
    }
    bench.answer(ticket).unwrap()
}

/// Switches logins over IPMI on or off for the account, which is stored at once.
fn switch(bench: &mut Bench, ipmi: bool) {
    let patch = AccountPatch { ipmi: Some(ipmi), ..AccountPatch::default() };
    let ticket = bench.ask(update(NAME, patch), Some(("admin", "")));
    while let Some(_batch) = bench.batch() {
        bench.step(Event::Written(Outcome::Stored));
    }
    bench.answer(ticket).unwrap().unwrap();
}

#[test]
fn who_may_log_in_over_ipmi_does_with_the_next_password_and_nobody_else() {
    let mut bench = bench();
    let mac = |key: &[u8], data: &[u8]| ipmi::Suite::Sha256.mac(key, data).to_vec();
    // It may, and there is no key yet.
    let before = challenge(&mut bench, NAME);
    assert_ne!(before, mac(b"tr0mbone", b"rakp 2"));
    assert_eq!(before, challenge(&mut bench, NAME), "a name without a key has the same one each time");
    assert_ne!(before, challenge(&mut bench, "nobody"));
    assert_eq!(log_in_by_ipmi(&mut bench, NAME, b"tr0mbone").unwrap_err().reason(), "INVALID_CREDENTIALS");
    set_password(&mut bench, NAME, "glockenspiel-7").unwrap();
    assert_eq!(challenge(&mut bench, NAME), mac(b"glockenspiel-7", b"rakp 2"));
    let answer = log_in_by_ipmi(&mut bench, NAME, b"glockenspiel-7").unwrap();
    assert_eq!(answer.session_key, mac(b"glockenspiel-7", b"sik"));
    assert_eq!(answer.principal.unwrap().username, NAME);
    let seen = bench.machine.accounts.by_name(NAME).unwrap().last_login;
    assert!(seen.is_some(), "a login over IPMI is a login");
    for (name, key) in
        [(NAME, &b"tr0mbone"[..]), ("admin", b"tr0mbone"), ("nobody", b"glockenspiel-7"), (NAME, b"")]
    {
        assert_eq!(
            log_in_by_ipmi(&mut bench, name, key).unwrap_err().reason(),
            "INVALID_CREDENTIALS",
            "{name}"
        );
    }
    // One that IPMI has no room for is refused in words, and nothing changes.
    let long = set_password(&mut bench, NAME, "glockenspiel-and-more").unwrap_err();
    assert_eq!(long.reason(), "IPMI_PASSWORD_TOO_LONG");
    assert_eq!(long.fields(), [("new_password".to_owned(), long.message.clone())]);
    assert!(!long.message.contains("glockenspiel"), "{long}");
    assert!(log_in_by_ipmi(&mut bench, NAME, b"glockenspiel-7").is_ok());
    set_password(&mut bench, "admin", "glockenspiel-and-more").unwrap();
}

#[test]
fn a_proof_that_is_none_is_refused_with_each_field_that_is_wrong() {
    let mut bench = bench();
    let long = || vec![0; 257];
    let request = v1::ChallengeIpmiRequest { username: NAME.to_owned(), cipher_suite: 4, data: long() };
    let ticket = bench.ask(|id| Call::ChallengeIpmi { ticket: Ticket::new(id), request }, None);
    let fields = |refused: Status| -> Vec<String> {
        assert_eq!(refused.code, Code::InvalidArgument);
        refused.fields().into_iter().map(|(field, _)| field).collect()
    };
    assert_eq!(fields(bench.answer(ticket).unwrap().unwrap_err()), ["cipher_suite", "data"]);
    let request = Box::new(v1::VerifyIpmiRequest {
        username: "x".repeat(257),
        cipher_suite: 17,
        code: long(),
        session: long(),
        ..v1::VerifyIpmiRequest::default()
    });
    let ticket = bench.ask(|id| Call::VerifyIpmi { ticket: Ticket::new(id), request }, None);
    let refused = bench.answer(ticket).unwrap().unwrap_err();
    assert_eq!(fields(refused), ["username", "code", "session"]);
    assert!(bench.out.is_empty(), "no failed login is counted or told: {:?}", bench.out);
}

#[test]
fn an_account_whose_key_is_lost_is_not_said_to_be_ready() {
    let mut bench = bench();
    let ready = |bench: &mut Bench| {
        let user = bench.machine.accounts.by_name(NAME).unwrap().clone();
        bench.machine.ipmi_ready(&user)
    };
    assert!(!ready(&mut bench), "nothing is sealed for it");
    set_password(&mut bench, NAME, "glockenspiel-7").unwrap();
    assert!(ready(&mut bench));
    // A password that must be changed first opens nothing.
    let mut user = bench.machine.accounts.by_name(NAME).unwrap().clone();
    assert!(bench.machine.facts(&user, bench.now).ipmi_ready);
    user.password_change_required = true;
    assert!(!bench.machine.facts(&user, bench.now).ipmi_ready);
    // Both files were lost: another key was made, or none can be used.
    bench.machine.secrets = Secrets::new(&[8; 32]);
    assert!(!ready(&mut bench));
    bench.machine.secrets = None;
    assert!(!ready(&mut bench));
    bench.machine.secrets = Secrets::new(&[8; 32]);
    set_password(&mut bench, NAME, "glockenspiel-8").unwrap();
    assert!(ready(&mut bench));
}

#[test]
fn guessing_over_ipmi_is_locked_out_as_everywhere() {
    let mut bench = bench();
    set_password(&mut bench, NAME, "glockenspiel-7").unwrap();
    let threshold = limits().lockout.threshold;
    for at in 0..threshold {
        let said = log_in_by_ipmi(&mut bench, NAME, format!("wrong {at}").as_bytes()).unwrap_err();
        assert_eq!(said.reason(), "INVALID_CREDENTIALS");
    }
    let said = log_in_by_ipmi(&mut bench, NAME, b"glockenspiel-7").unwrap_err();
    assert_eq!(said.reason(), "LOCKED_OUT");
}

#[test]
fn a_generated_password_opens_ipmi_as_well() {
    let mut bench = bench();
    let mut drawn = 0_u8;
    // All bytes alike would make a password that is a repetition.
    bench.machine.entropy = Box::new(move |bytes: &mut [u8]| {
        for byte in bytes {
            drawn = drawn.wrapping_mul(5).wrapping_add(17);
            *byte = drawn ^ (drawn >> 3);
        }
        true
    });
    let user = NAME.to_owned();
    let call = |id| Call::ResetPassword { ticket: Ticket::new(id), user, new: None, require_change: false };
    let ticket = bench.ask(call, Some(("admin", "")));
    bench.work();
    while let Some(_batch) = bench.batch() {
        bench.step(Event::Written(Outcome::Stored));
    }
    let bytes = bench.answer(ticket).unwrap().unwrap();
    let made = v1::ResetPasswordResponse::decode(bytes.as_slice()).unwrap().new_password;
    assert!(made.len() <= ipmi::PASSWORD_MAX, "{} bytes", made.len());
    assert!(log_in_by_ipmi(&mut bench, NAME, made.as_bytes()).is_ok());
}

#[test]
fn a_user_of_ipmi_has_a_number_that_is_shown_and_can_be_asked_for() {
    let mut bench = bench();
    let number = |bench: &Bench, name: &str| {
        let account = bench.machine.accounts.by_name(name).unwrap();
        wire::account_name(account, Privileges::NONE, true, bench.now.wall).ipmi_user
    };
    // Of a store that had none.
    assert_eq!((number(&bench, NAME), number(&bench, "admin")), (2, 0));
    let mut change = |ipmi, ipmi_user| {
        let patch = AccountPatch { ipmi, ipmi_user, ..AccountPatch::default() };
        let call = update("admin", patch);
        let ticket = bench.ask(call, Some(("admin", "")));
        while let Some(_batch) = bench.batch() {
            bench.step(Event::Written(Outcome::Stored));
        }
        let answer = bench.answer(ticket).unwrap().map_err(|status| status.reason().to_owned());
        (answer.map(drop), number(&bench, "admin"))
    };
    assert_eq!(change(None, Some(9)), (Err("IPMI_USER".to_owned()), 0), "no user of IPMI");
    assert_eq!(change(Some(true), Some(2)), (Err("IPMI_USER".to_owned()), 0), "another's");
    assert_eq!(change(Some(true), Some(9)), (Ok(()), 9));
    assert_eq!(change(Some(false), None), (Ok(()), 0));
    assert_eq!(change(Some(true), None), (Ok(()), 3));
}

#[test]
fn a_test_of_a_password_opens_nothing_and_is_no_login_and_a_wrong_one_counts() {
    let mut bench = bench();
    set_password(&mut bench, NAME, "glockenspiel-7").unwrap();
    let answer = verify(&mut bench, NAME, b"glockenspiel-7", true).unwrap();
    assert_eq!(answer, v1::VerifyIpmiResponse::default());
    assert!(bench.machine.accounts.by_name(NAME).unwrap().last_login.is_none());
    let mut locked = false;
    for byte in 0..100 {
        let refused = verify(&mut bench, NAME, &[byte; 8], true).unwrap_err();
        locked |= refused.reason() != "INVALID_CREDENTIALS";
    }
    assert!(locked, "who guesses is locked out");
}

#[test]
fn the_password_of_an_account_that_is_disabled_can_be_tested_and_opens_nothing() {
    let mut bench = bench();
    set_password(&mut bench, NAME, "glockenspiel-7").unwrap();
    let ticket = bench.ask(
        update(NAME, AccountPatch { enabled: Some(false), ..AccountPatch::default() }),
        Some(("admin", "")),
    );
    while let Some(_batch) = bench.batch() {
        bench.step(Event::Written(Outcome::Stored));
    }
    bench.answer(ticket).unwrap().unwrap();
    // More often than an account may fail.
    for _ in 0..=limits().lockout.threshold {
        assert_eq!(verify(&mut bench, NAME, b"glockenspiel-7", true), Ok(v1::VerifyIpmiResponse::default()));
    }
    let refused = verify(&mut bench, NAME, b"glockenspiel-8", true).unwrap_err();
    assert_eq!(refused.reason(), "INVALID_CREDENTIALS");
    let refused = log_in_by_ipmi(&mut bench, NAME, b"glockenspiel-7").unwrap_err();
    assert_eq!(refused.reason(), "INVALID_CREDENTIALS");
}

#[test]
fn a_password_is_not_set_when_ipmi_is_switched_on_before_it_is_stored() {
    // More than IPMI takes.
    let long = "glockenspiel-and-more";
    let own = move |id| Call::ChangePassword {
        ticket: Ticket::new(id),
        user: NAME.to_owned(),
        current: password("tr0mbone"),
        new: password(long),
    };
    let reset = |new: Option<&str>| {
        let new = new.map(password);
        move |id| Call::ResetPassword {
            ticket: Ticket::new(id),
            user: NAME.to_owned(),
            new,
            require_change: false,
        }
    };
    let full_name = Some(Some("The first".to_owned()));
    let updated = move |id| Call::UpdateUser {
        ticket: Ticket::new(id),
        user: NAME.to_owned(),
        patch: Box::new(AccountPatch { full_name, ..AccountPatch::default() }),
        unlock: false,
        password: Some(password(long)),
    };
    type Asking = Box<dyn FnOnce(TicketId) -> Call>;
    let calls: [(&str, Asking); 4] = [
        (NAME, Box::new(own)),
        ("admin", Box::new(reset(Some(long)))),
        ("admin", Box::new(reset(None))),
        ("admin", Box::new(updated)),
    ];
    for (at, (who, call)) in calls.into_iter().enumerate() {
        let mut bench = bench();
        if at == 2 {
            // All bytes alike would make a generated password that is a repetition.
            let mut drawn = 0_u8;
            bench.machine.entropy = Box::new(move |bytes: &mut [u8]| {
                for byte in bytes {
                    drawn = drawn.wrapping_mul(5).wrapping_add(17);
                    *byte = drawn ^ (drawn >> 3);
                }
                true
            });
        }
        switch(&mut bench, false);
        let ticket = bench.ask(call, Some((who, "")));
        // Its hash is being made.
        switch(&mut bench, true);
        let before = bench.machine.accounts.by_name(NAME).unwrap().clone();
        bench.work();
        assert!(bench.batch().is_none(), "{at}: nothing is stored");
        let refused = bench.answer(ticket).unwrap().unwrap_err();
        assert_eq!(refused.code, Code::Aborted, "{at}: {refused}");
        assert!(!refused.message.contains("glockenspiel"), "{refused}");
        assert_eq!(bench.machine.accounts.by_name(NAME), Some(&before), "{at}");
    }
}

#[test]
fn a_password_is_set_when_ipmi_is_switched_off_before_it_is_stored() {
    let mut bench = bench();
    let new = Some(password("glockenspiel-7"));
    let call = |id| Call::ResetPassword {
        ticket: Ticket::new(id),
        user: NAME.to_owned(),
        new,
        require_change: false,
    };
    let ticket = bench.ask(call, Some(("admin", "")));
    switch(&mut bench, false);
    bench.settle();
    bench.answer(ticket).unwrap().unwrap();
    let account = bench.machine.accounts.by_name(NAME).unwrap();
    assert!(account.ipmi_secret.is_none() && account.hash.verify(&password("glockenspiel-7")));
}
