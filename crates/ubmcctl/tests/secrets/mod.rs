//! Whom passwords are given to, and that no session is left behind.

use super::*;

#[test]
fn a_new_password_is_set_by_the_session_that_is_kept_or_no_session_is_left() {
    let refuse_weak = std::sync::atomic::AtomicBool::new(true);
    let config_file = std::sync::Arc::new(std::sync::OnceLock::new());
    let kept = std::sync::Arc::clone(&config_file);
    let server = Server::start(move |method, sent| match method {
        "SessionService.CreateSession" => {
            let session = Session { id: "s1".into(), password_change_required: true, ..Default::default() };
            ok(&CreateSessionResponse { session: Some(session), token: "the-token".into() })
        }
        "UserService.ChangePassword" => {
            assert_eq!(sent.authorization, "Bearer the-token", "any other session ends with the change");
            let config = std::fs::read_to_string(kept.get().unwrap()).unwrap();
            assert!(config.contains("the-token"), "a watch whose session ends now looks for it");
            match refuse_weak.swap(false, std::sync::atomic::Ordering::SeqCst) {
                true => refuse(400, "invalid_argument", "WEAK_PASSWORD"),
                false => (200, "application/proto", Vec::new()),
            }
        }
        _ => (200, "application/proto", Vec::new()),
    });
    config_file.set(server.file("config.toml")).unwrap();
    std::fs::write(server.file("new"), "staple battery\r\n").unwrap();
    let line = format!("login --new-password-file {}", server.file("new").display());
    let weak = server.run(&line);
    assert_eq!(code(&weak), 2, "{}", err(&weak));
    assert_eq!(server.sent().last().unwrap().method, "SessionService.DeleteSession");
    let config = std::fs::read_to_string(server.file("config.toml")).unwrap();
    assert!(!config.contains("the-token") && !config.contains("current"), "{config}");
    let good = server.run(&line);
    assert_eq!(code(&good), 0, "{}", err(&good));
    assert_eq!(server.sent().last().unwrap().method, "UserService.ChangePassword");
    assert!(!err(&good).contains("must be changed"), "{}", err(&good));
    assert!(std::fs::read_to_string(server.file("config.toml")).unwrap().contains("the-token"));
    let missing = server.run(&format!("login --new-password-file {}", server.file("missing").display()));
    assert_eq!((code(&missing), server.sent().len()), (2, 5), "read before anything is sent");
}

#[test]
fn no_session_is_left_when_the_contexts_cannot_be_put_right() {
    let config_file = Arc::new(std::sync::OnceLock::<PathBuf>::new());
    let kept = Arc::clone(&config_file);
    let server = Server::start(move |method, _| match method {
        "SessionService.CreateSession" => {
            let session = Session { id: "s1".into(), password_change_required: true, ..Default::default() };
            ok(&CreateSessionResponse { session: Some(session), token: "the-token".into() })
        }
        "UserService.ChangePassword" => {
            // What somebody does to the file in the meantime.
            std::fs::write(kept.get().unwrap(), "contexts = 1").unwrap();
            refuse(400, "invalid_argument", "WEAK_PASSWORD")
        }
        _ => (200, "application/proto", Vec::new()),
    });
    config_file.set(server.file("config.toml")).unwrap();
    std::fs::write(server.file("new"), "staple battery\n").unwrap();
    let failed = server.run(&format!("login --new-password-file {}", server.file("new").display()));
    assert_eq!(code(&failed), 2);
    let last = server.sent().pop().unwrap();
    assert_eq!(
        (last.method.as_str(), last.authorization.as_str()),
        ("SessionService.DeleteSession", "Bearer the-token")
    );
    let told = err(&failed);
    assert!(told.contains("said no") && told.contains("config.toml"), "{told}");
}

#[test]
fn a_fleet_is_told_who_acts_before_it_is_asked_and_no_password_unencrypted() {
    let server = lists_hosts();
    let account = format!("--user admin --password-file {}", server.file("password").display());
    let fleet = |nats: &str, command: &str| format!("--timeout 2s {account} fleet --nats {nats} {command}");
    let refused = server.bare(&fleet("nats://fleet.example", "ls"));
    assert_eq!(code(&refused), 2, "{}", err(&refused));
    assert!(err(&refused).contains("tls://"), "{}", err(&refused));
    // Nobody is there: what is said is said before.
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for command in ["power on --all", "ls"] {
        let tried = server.bare(&fleet(&format!("nats://{unused}"), command));
        assert_ne!(code(&tried), 2, "{}", err(&tried));
        assert!(err(&tried).contains(&format!("fleet: nats://{unused} as admin")), "{}", err(&tried));
    }
    let role = server.bare(&format!("fleet --nats nats://{unused} power on --all"));
    assert!(err(&role).contains("role each BMC gives"), "{}", err(&role));
    let quiet = server.bare(&format!("fleet --nats nats://{unused} ls"));
    assert!(!err(&quiet).contains("fleet: "), "{}", err(&quiet));
    assert_eq!(code(&server.bare("fleet --nats tls://fleet.example power on")), 2, "on which?");
}
