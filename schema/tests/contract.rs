//! The method table, and what must never be shown.

use std::collections::BTreeSet;

use schema::v1alpha1::{
    AccountType, ChangePasswordRequest, CreateSessionRequest, CreateSessionResponse, CreateUserRequest,
    GetHostRequest, Host, HostStatus, Privilege, ResetPasswordRequest, ResetPasswordResponse,
    UpdateUserRequest, VerifyPasswordRequest, VerifyTokenRequest,
};
use schema::{FieldOrigin, Idempotency};

#[test]
fn the_table_says_what_the_contract_says() {
    let get = schema::method("schema.v1alpha1.HostService.GetHost").unwrap();
    assert_eq!(get.subject, "rpc.HostService.GetHost");
    assert_eq!(get.path, "/schema.v1alpha1.HostService/GetHost");
    assert_eq!((get.owner, get.internal, get.privilege), ("statemgr", false, Privilege::Login));
    assert_eq!((get.idempotency, get.deadline.as_secs()), (Idempotency::NoSideEffects, 10));
    assert_eq!(get.input().full_name(), "schema.v1alpha1.GetHostRequest");
    assert_eq!(get.output().full_name(), "schema.v1alpha1.GetHostResponse");
    assert_eq!(schema::method("rpc.HostService.GetHost"), Some(get));
    assert_eq!(schema::method("rpc.HostService.Nothing"), None);

    let login = schema::rpc::session_service::CREATE_SESSION.info;
    assert_eq!(login.privilege, Privilege::None);
    let paths: Vec<&str> = login.http.iter().map(|binding| binding.path).collect();
    assert_eq!(paths, ["/api/v1alpha1/sessions", "/api/v1alpha1/auth/authenticate"]);
    assert_eq!(
        login.origins,
        [("address", FieldOrigin::ClientAddress), ("user_agent", FieldOrigin::UserAgent)]
    );

    let own = schema::rpc::user_service::CHANGE_PASSWORD.info;
    assert_eq!((own.self_field, own.with_expired_password), (Some("id"), true));

    let open = schema::rpc::console_service::OPEN_CONSOLE.info;
    assert_eq!((open.account_type, get.account_type), (Some(AccountType::HostConsole), None));
    for method in schema::methods().iter().filter(|method| method.account_type.is_some()) {
        let is_plain = method.privilege != Privilege::None && method.self_field.is_none() && !method.internal;
        assert!(is_plain, "{}", method.full_name);
        // What only tells what there is stays open.
        assert_ne!(method.privilege, Privilege::Login, "{}", method.full_name);
    }

    let watch = schema::method("schema.v1alpha1.EventService.WatchEvents").unwrap();
    assert_eq!((watch.server_streaming, watch.stream), (true, Some("event.{domain}.{component}.{what}")));
}

#[test]
fn services_hold_their_methods_and_every_method_has_a_service() {
    let counted: usize = schema::services().iter().map(|service| service.methods().len()).sum();
    assert_eq!(counted, schema::methods().len());
    for service in schema::services() {
        assert!(!service.owner.is_empty() && !service.methods().is_empty(), "{}", service.name);
        for method in service.methods() {
            assert_eq!((method.service, method.owner), (service.name, service.owner));
            assert_eq!(method.internal, method.http.is_empty(), "{}", method.full_name);
            assert_ne!(method.privilege, Privilege::Unspecified, "{}", method.full_name);
        }
    }
    let internal: BTreeSet<&str> = schema::services().iter().filter(|s| s.internal).map(|s| s.name).collect();
    assert_eq!(
        internal,
        BTreeSet::from(["AuthService", "BootProgressService", "OperatorService", "PowerService"])
    );
}

#[test]
fn only_logging_in_needs_no_login() {
    let open: Vec<&str> = schema::methods()
        .iter()
        .filter(|method| !method.internal && method.privilege == Privilege::None)
        .map(|method| method.full_name)
        .collect();
    assert_eq!(open, ["schema.v1alpha1.SessionService.CreateSession"]);
}

#[test]
fn a_method_that_changes_something_asks_for_more_than_a_login() {
    // The ticket of a session that only looks is good once, so its call is not idempotent; of the machine it changes nothing.
    let only_looks =
        |method: &schema::MethodInfo| method.full_name == "schema.v1alpha1.KvmService.ViewScreen";
    for method in schema::methods().iter().filter(|m| !m.internal && !m.read_only() && !only_looks(m)) {
        let weak = matches!(method.privilege, Privilege::Login | Privilege::Unspecified);
        assert!(!weak, "{}", method.full_name);
    }
}

#[test]
fn rest_paths_match_whole_segments() {
    let binding = schema::rpc::host_service::CHANGE_HOST_STATE.info.http[0];
    assert_eq!(binding.verb, "POST");
    assert_eq!(binding.matches("/api/v1alpha1/hosts/system/state"), Some(vec![("host_name", "system")]));
    for other in [
        "/api/v1alpha1/hosts//state",
        "/api/v1alpha1/hosts/system",
        "/api/v1alpha1/hosts/system/state/",
        "/api/v1alpha1/hosts/a/b/state",
        "api/v1alpha1/hosts/system/state",
    ] {
        assert_eq!(binding.matches(other), None, "{other}");
    }
}

#[test]
fn debug_never_shows_a_password_or_token() {
    const SECRET: &str = "correct horse";
    let secret = || SECRET.to_owned();
    let shown = [
        format!("{:?}", CreateUserRequest { password: secret(), ..Default::default() }),
        format!(
            "{:?}",
            ChangePasswordRequest { id: "1".into(), current_password: secret(), new_password: secret() }
        ),
        format!("{:?}", ResetPasswordRequest { new_password: Some(secret()), ..Default::default() }),
        format!("{:?}", UpdateUserRequest { password: Some(secret()), ..Default::default() }),
        format!("{:?}", ResetPasswordResponse { new_password: secret() }),
        format!("{:?}", CreateSessionRequest { password: secret(), ..Default::default() }),
        format!("{:?}", CreateSessionResponse { token: secret(), ..Default::default() }),
        format!("{:?}", VerifyPasswordRequest { password: secret(), ..Default::default() }),
        format!("{:?}", VerifyTokenRequest { token: secret(), ..Default::default() }),
    ];
    for text in shown {
        assert!(!text.contains(SECRET) && text.contains("[redacted]"), "{text}");
    }
}

#[test]
fn fields_that_sound_secret_are_marked_and_read_models_have_none() {
    for message in schema::pool().all_messages().filter(|m| m.package_name() == "schema.v1alpha1") {
        for field in message.fields().filter(|field| field.kind() == prost_reflect::Kind::String) {
            let name = field.name();
            let marked =
                field.options().get_field_by_name("debug_redact").is_some_and(|v| v.as_bool() == Some(true));
            let secret = name.ends_with("password")
                || name == "token"
                || name == "ticket"
                || name.contains("secret")
                || name.contains("hash")
                // What is typed at a host may be a password.
                || field.full_name().ends_with(".TypeTextRequest.text")
                // What a receiver of events knows the controller by; it is set and not shown.
                || field.full_name().ends_with(".HttpHeader.value")
                // A chain that may come with its key.
                || field.full_name().ends_with(".ReplaceCertificateRequest.pem");
            assert_eq!(marked, secret, "{}", field.full_name());
            let exchange = message.name().ends_with("Request")
                || message.name().ends_with("Response")
                || message.name() == "HttpHeader";
            assert!(!secret || exchange, "{} is in a read model", field.full_name());
        }
    }
}

#[test]
fn redaction_reaches_into_messages() {
    let request = CreateUserRequest { password: "p".repeat(12), ..Default::default() };
    let mut dynamic = schema::reflect(&request).unwrap();
    schema::redact(&mut dynamic);
    assert_eq!(dynamic.transcode_to::<CreateUserRequest>().unwrap().password, "");
}

#[test]
fn json_is_the_proto3_form_and_skips_what_it_does_not_know() {
    let host = Host {
        name: "system".into(),
        status: Some(HostStatus::On.into()),
        updated_at: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
        ..Default::default()
    };
    let json = schema::to_json(&host).unwrap();
    assert_eq!(
        json,
        serde_json::json!({"name": "system", "status": "HOST_STATUS_ON", "updatedAt": "2023-11-14T22:13:20Z"})
    );
    assert_eq!(schema::from_json::<Host>(&json).unwrap(), host);
    let newer = serde_json::json!({"name": "system", "somethingNew": {"a": 1}});
    assert_eq!(schema::from_json::<GetHostRequest>(&newer).unwrap().name, "system");
    assert!(schema::from_json::<Host>(&serde_json::json!({"name": 1})).is_err());
}
