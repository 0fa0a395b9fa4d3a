//! Redfish as its clients ask for it: sushy (Ironic, Metal3), gofish, bmclib, MAAS, Ansible, curl and browsers, each with the head it writes and the bytes of its
//! body, over HTTP/1.1; and what must hold of the answer, and of what was done.

/// A machine with everything on it, as the tests of what resources are have it.
#[path = "../../../crates/redfish/tests/support/mod.rs"]
mod machine;
mod support;

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use ipc::Status;
use schema::v1alpha1 as v1;
use serde_json::{Value, json};
use support::{ADMIN, Reply, SOON, Stack, Version};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const SYSTEM: &str = "/redfish/v1/Systems/system";
/// `admin` with the password `right`.
const BASIC: &str = "Authorization: Basic YWRtaW46cmlnaHQ=";
const TOKEN: &str = "X-Auth-Token: admin-token";
const JSON: &str = "Content-Type: application/json";

/// A machine whose daemons say yes to everything.
async fn start() -> Stack {
    let stack = Stack::start().await;
    let mut bench = machine::Bench::new();
    bench.agree();
    let answers = bench.answers.into_iter().map(|(subject, answer)| {
        (subject.trim_start_matches("rpc.").to_owned(), Bytes::from(answer.unwrap()))
    });
    stack.world.answers.lock().unwrap().extend(answers);
    stack
}

/// What a client writes is sent as it is, but for the host and that the connection ends with it.
async fn send(stack: &Stack, request: &str, head: &[&str], body: &[u8]) -> Reply {
    let mut bytes =
        format!("{request} HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\n", stack.https.port());
    for line in head {
        bytes.push_str(line);
        bytes.push_str("\r\n");
    }
    bytes.push_str("\r\n");
    let mut stream = support::connect(stack.https, b"http/1.1").await.unwrap();
    stream.write_all(&[bytes.as_bytes(), body].concat()).await.unwrap();
    let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
    let read = async {
        while let Ok(n @ 1..) = stream.read(&mut buffer).await {
            all.extend_from_slice(&buffer[..n]);
        }
    };
    tokio::time::timeout(SOON, read).await.unwrap_or_else(|_| panic!("{request}: not closed"));
    answer(&all).unwrap_or_else(|| panic!("{request}: {:?}", String::from_utf8_lossy(&all)))
}

/// The answer in these bytes; that the body may come is none.
fn answer(bytes: &[u8]) -> Option<Reply> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let (head, body) = (std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 4..]);
    let mut lines = head.split("\r\n");
    let status: u16 = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    if status == 100 {
        return answer(body);
    }
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':')?;
        headers.append(HeaderName::try_from(name).ok()?, HeaderValue::from_str(value.trim()).ok()?);
    }
    assert!(!headers.contains_key("transfer-encoding"), "{head}");
    let status = StatusCode::from_u16(status).ok()?;
    Some(Reply { status, headers, trailers: HeaderMap::new(), body: Bytes::copy_from_slice(body) })
}

/// Methods that were called since the last time and change something.
fn changed(stack: &Stack) -> HashSet<String> {
    let seen = std::mem::take(&mut *stack.world.seen.lock().unwrap());
    let changes = |name: &String| {
        let method = schema::method(&format!("rpc.{name}")).unwrap();
        !method.internal && !method.read_only()
    };
    seen.into_keys().filter(changes).collect()
}

/// The first message of an error, without its registry.
fn said(reply: &Reply) -> String {
    let first = &reply.json()["error"]["@Message.ExtendedInfo"][0];
    first["MessageId"].as_str().unwrap_or_default().replace("Base.1.22.", "")
}

fn header<'r>(reply: &'r Reply, name: &str) -> &'r str {
    reply.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

/// What a client sends, and what must come of it.
struct Habit {
    client: &'static str,
    /// Method and path.
    request: String,
    head: Vec<&'static str>,
    body: &'static [u8],
    status: u16,
    /// The methods of the contract that are called by it and change something.
    calls: &'static [&'static str],
    holds: fn(&Reply),
}

fn habit(client: &'static str, request: &str, head: &[&'static str], body: &'static [u8]) -> Habit {
    let (head, request) = (head.to_vec(), request.to_owned());
    Habit { client, request, head, body, status: 200, calls: &[], holds: |_| {} }
}

impl Habit {
    fn gives(self, status: u16) -> Self {
        Self { status, ..self }
    }

    fn calls(self, calls: &'static [&'static str]) -> Self {
        Self { calls, ..self }
    }

    fn holds(self, holds: fn(&Reply)) -> Self {
        Self { holds, ..self }
    }
}

/// A row, with the length of its body said as clients do.
fn with_length(habit: Habit) -> Habit {
    let length: &'static str = match habit.body.len() {
        0 => "Content-Length: 0",
        length => Box::leak(format!("Content-Length: {length}").into_boxed_str()),
    };
    Habit { head: [habit.head, vec![length]].concat(), ..habit }
}

async fn all_hold(stack: &Stack, habits: Vec<Habit>) {
    for habit in habits {
        let about = format!("{}: {} {:?}", habit.client, habit.request, habit.head);
        changed(stack);
        let reply = send(stack, &habit.request, &habit.head, habit.body).await;
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        assert_eq!(reply.status.as_u16(), habit.status, "{about}: {text}");
        assert_eq!(header(&reply, "odata-version"), "4.0", "{about}");
        let calls: HashSet<String> = habit.calls.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(changed(stack), calls, "{about}");
        (habit.holds)(&reply);
    }
}

#[tokio::test]
async fn what_clients_read_is_shown_to_them() {
    let stack = start().await;
    let requests = ["User-Agent: python-requests/2.32.3", "Accept-Encoding: identity", "Accept: */*"];
    let sushy = [&requests[..], &[JSON, "OData-Version: 4.0"]].concat();
    let sushy_in = [&sushy[..], &[TOKEN]].concat();
    let gofish = ["User-Agent: gofish/1.0", "Accept: application/json", BASIC];
    let ansible = ["Accept: application/json", "OData-Version: 4.0", "User-Agent: ansible-httpget", BASIC];
    let maas = ["User-Agent: MAAS", "Accept: application/json", JSON, BASIC];
    let page = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let browser = ["Sec-Fetch-Mode: navigate", page];
    let is_root = |reply: &Reply| assert_eq!(reply.json()["Id"], "RootService");
    let is_system = |reply: &Reply| {
        let shown = reply.json();
        assert_eq!((&shown["Id"], &shown["@odata.etag"]), (&json!("system"), &json!(header(reply, "etag"))));
    };
    let is_missing = |reply: &Reply| assert_eq!(said(reply), "ResourceMissingAtURI");
    let is_xml = |reply: &Reply| {
        assert!(header(reply, "content-type").starts_with("application/xml"));
        assert!(reply.body.starts_with(b"<?xml"));
    };
    let refuses = |reply: &Reply| {
        assert_eq!(said(reply), "HeaderInvalid");
        assert_eq!(reply.json()["error"]["@Message.ExtendedInfo"][0]["MessageArgs"], json!(["Accept"]));
    };
    let get = |path: &str| format!("GET {path}");
    let stream = "GET /redfish/v1/EventService/SSE";
    let archive = "GET /redfish/v1/Managers/bmc/LogServices/Diagnostics/Entries/none/Attachment";
    all_hold(
        &stack,
        vec![
            // A type of content that is none, with a GET.
            habit("sushy", "GET /redfish/v1/", &sushy, b"").holds(is_root),
            habit("sushy", &get(SYSTEM), &sushy_in, b"").holds(is_system),
            habit("gofish", "GET /redfish/v1/", &gofish[..2], b"").holds(is_root),
            habit("gofish", &get(SYSTEM), &gofish, b"").holds(is_system),
            habit("Ansible", &get(SYSTEM), &ansible, b"").holds(is_system),
            habit("MAAS", &get(SYSTEM), &maas, b"").holds(is_system),
            // It asks once more so where it is told that there is nothing.
            habit("MAAS", &get(&format!("{SYSTEM}/")), &maas, b"").holds(is_system),
            // A base address that ends with a slash, before a path.
            habit("Ansible", &format!("GET /{SYSTEM}"), &ansible, b"").holds(is_system),
            habit("gofish", "GET //redfish/v1/", &gofish[..2], b"").holds(is_root),
            // Inside of a path they are no habit: who keeps a part of it from somebody may go by its beginning.
            habit("a script", "GET /redfish//v1/AccountService", &gofish, b"").gives(404).holds(is_missing),
            habit("a script", "GET //redfish/v1//Systems/system", &gofish, b"").gives(404).holds(is_missing),
            habit("Ansible", "GET //redfish/v1/Nope", &ansible, b"").gives(404).holds(|reply| {
                assert_eq!(said(reply), "ResourceMissingAtURI");
                let args = &reply.json()["error"]["@Message.ExtendedInfo"][0]["MessageArgs"];
                assert_eq!(args, &json!(["/redfish/v1/Nope"]));
            }),
            // A person who looks at it.
            habit("a browser", "GET /redfish/v1/", &browser, b"").holds(is_root),
            habit("a browser", "GET //redfish/v1/", &browser, b"").holds(is_root),
            habit("lynx", "GET /redfish/v1/", &["Accept: text/html, text/plain, text/*;q=0.5"], b"")
                .holds(is_root),
            // No dialogue of the browser's over a page, and one for who may use it.
            habit("a browser", &get(SYSTEM), &browser, b"")
                .gives(401)
                .holds(|reply| assert_eq!(header(reply, "www-authenticate"), "Bearer")),
            habit("curl", &get(SYSTEM), &["Accept: */*"], b"")
                .gives(401)
                .holds(|reply| assert!(header(reply, "www-authenticate").contains("Basic realm="))),
            // What may be taken is sent.
            habit("a script", &get(SYSTEM), &[TOKEN], b"").holds(is_system),
            habit("a script", &get(SYSTEM), &[TOKEN, "Accept:"], b"").holds(is_system),
            habit("a script", &get(SYSTEM), &[TOKEN, "Accept: application/*"], b"").holds(is_system),
            habit("a script", &get(SYSTEM), &[TOKEN, "Accept: */*;q=0.1"], b"").holds(is_system),
            habit("Java", &get(SYSTEM), &[TOKEN, "Accept: image/gif, *; q=.2, */*; q=.2"], b"")
                .holds(is_system),
            habit(
                "PowerShell",
                &get(SYSTEM),
                &[TOKEN, "Accept: application/json;odata.metadata=minimal"],
                b"",
            )
            .holds(is_system),
            habit("a script", &get(SYSTEM), &[TOKEN, "Accept: text/plain", "Accept: application/json"], b"")
                .holds(is_system),
            // What cannot be taken is not.
            habit("a script", &get(SYSTEM), &[TOKEN, "Accept: application/yaml"], b"")
                .gives(406)
                .holds(refuses),
            // What has one form is sent in that: some name JSON with whatever they ask for.
            habit("gofish", "GET /redfish/v1/$metadata", &gofish[..2], b"").holds(is_xml),
            habit("a validator", "GET /redfish/v1/$metadata", &["Accept: application/xml"], b"")
                .holds(is_xml),
            habit("a validator", stream, &[TOKEN, "Accept: application/json"], b"").gives(406).holds(refuses),
            habit("a browser", stream, &[TOKEN, "Accept: text/html"], b"").gives(406).holds(refuses),
            habit("a script", stream, &[TOKEN, "OData-Version: 4.1"], b"").gives(412),
            habit("a script", archive, &[TOKEN, "OData-Version: 4.1"], b"").gives(412),
            habit("a script", archive, &[TOKEN, "Accept: application/json"], b"")
                .gives(404)
                .holds(is_missing),
            habit("a browser", archive, &[TOKEN, page], b"").gives(404).holds(|reply| {
                assert_eq!(said(reply), "ResourceMissingAtURI");
                let args = reply.json()["error"]["@Message.ExtendedInfo"][0]["MessageArgs"].clone();
                assert!(args[0].as_str().unwrap().ends_with("/Entries/none/Attachment"), "{args}");
            }),
            habit("a browser", &format!("OPTIONS {SYSTEM}"), &[], b"")
                .gives(204)
                .holds(|reply| assert_eq!(header(reply, "allow"), "GET, HEAD, PATCH, OPTIONS")),
        ],
    )
    .await;
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn what_clients_ask_for_is_done_however_they_write_it() {
    let stack = start().await;
    let sushy = ["User-Agent: python-requests/2.32.3", "Accept: */*", JSON, "OData-Version: 4.0", TOKEN];
    let gofish = ["User-Agent: gofish/1.0", "Accept: application/json", JSON, BASIC];
    let ansible = [JSON, "Accept: application/json", "OData-Version: 4.0", BASIC];
    let maas = ["User-Agent: MAAS", "Accept: application/json", JSON, BASIC];
    let older_maas = ["User-Agent: MAAS", "Content-Type: application/json; charset=utf-8", BASIC];
    let chunked = [JSON, TOKEN, "Transfer-Encoding: chunked"];
    let reset = format!("POST {SYSTEM}/Actions/ComputerSystem.Reset");
    let (of_manager, of_system) = ("Managers/bmc/VirtualMedia/cd", "Systems/system/VirtualMedia/cd");
    let media = |at: &str, action: &str| format!("POST /redfish/v1/{at}/Actions/VirtualMedia.{action}Media");
    let (insert, eject) = (media(of_system, "Insert"), media(of_manager, "Eject"));
    let patch = format!("PATCH {SYSTEM}");
    let sessions = "POST /redfish/v1/SessionService/Sessions";
    let session = "DELETE /redfish/v1/SessionService/Sessions/session-of-olga";
    const STATE: &[&str] = &["HostService.ChangeHostState"];
    const INSERTED: &[&str] = &["MediaService.InsertMedia"];
    const EJECTED: &[&str] = &["MediaService.EjectMedia"];
    const BOOT: &[&str] = &["HostService.UpdateHost"];
    const LOGIN: &[&str] = &["SessionService.CreateSession"];
    const LOGOUT: &[&str] = &["SessionService.DeleteSession"];
    let is_login = |reply: &Reply| {
        assert!(!header(reply, "x-auth-token").is_empty());
        assert!(header(reply, "location").starts_with("/redfish/v1/SessionService/Sessions/"));
    };
    let is_shown = |reply: &Reply| assert_eq!(reply.json()["Id"], "system");
    let rows = vec![
        // Power.
        habit("MAAS", &reset, &maas, br#"{"ResetType": "ForceOff"}"#).gives(204).calls(STATE),
        habit("MAAS", &reset, &older_maas, br#"{"ResetType": "On"}"#).gives(204).calls(STATE),
        habit("gofish", &reset, &gofish, br#"{"ResetType":"PowerCycle"}"#).gives(204).calls(STATE),
        habit("Ansible", &format!("{reset}/"), &ansible, br#"{"ResetType": "ForceRestart"}"#)
            .gives(204)
            .calls(STATE),
        habit("curl", &reset, &[JSON, TOKEN, "Expect: 100-continue"], br#"{"ResetType":"On"}"#)
            .gives(204)
            .calls(STATE),
        habit("curl", &reset, &["Content-Type: application/x-www-form-urlencoded", TOKEN], b"ResetType=On")
            .gives(415),
        // What comes back is of no use to it, and what it asked for is done.
        habit("a script", &reset, &[JSON, TOKEN, "Accept: text/plain"], br#"{"ResetType":"On"}"#)
            .gives(204)
            .calls(STATE),
        // Boot.
        habit(
            "MAAS",
            &patch,
            &maas,
            br#"{"Boot": {"BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": "Pxe"}}"#,
        )
        .calls(BOOT)
        .holds(is_shown),
        habit(
            "bmclib",
            &patch,
            &gofish,
            br#"{"Boot":{"BootSourceOverrideEnabled":"Once","BootSourceOverrideMode":"UEFI","BootSourceOverrideTarget":"Cd"}}"#,
        )
        .calls(BOOT)
        .holds(is_shown),
        // Virtual media: without a body, with an empty one, and one that holds nothing.
        habit("sushy", &insert, &sushy, br#"{"Image": "https://images.example/a.iso"}"#).gives(204).calls(INSERTED),
        habit(
            "bmclib",
            &insert,
            &gofish,
            br#"{"Image":"https://images.example/a.iso","Inserted":true,"WriteProtected":true}"#,
        )
        .gives(204)
        .calls(INSERTED),
        habit("sushy", &eject, &sushy, b"").gives(204).calls(EJECTED),
        habit("sushy", &eject, &sushy, b"{}").gives(204).calls(EJECTED),
        habit("Ansible", &eject, &ansible, b"{}").gives(204).calls(EJECTED),
        habit("gofish", &eject, &gofish[..2], b"").gives(401),
        // Sessions.
        habit("gofish", sessions, &gofish[..3], br#"{"UserName":"olga","Password":"right"}"#)
            .gives(201)
            .calls(LOGIN)
            .holds(is_login),
        habit("sushy", sessions, &sushy[..4], br#"{"UserName": "olga", "Password": "right"}"#)
            .gives(201)
            .calls(LOGIN)
            .holds(is_login),
        habit("gofish", session, &gofish[..3], b"").gives(401),
        habit("sushy", session, &sushy, b"").gives(204).calls(LOGOUT),
        habit("a script", session, &[JSON, TOKEN], b"{}").gives(204).calls(LOGOUT),
    ];
    all_hold(&stack, rows.into_iter().map(with_length).collect()).await;
    // Without a length: nothing follows, or pieces do.
    let rows = vec![
        habit("curl", &eject, &[TOKEN], b"").gives(204).calls(EJECTED),
        habit("Go", &reset, &chunked, b"8\r\n{\"ResetT\r\n9\r\nype\":\"On\"\r\n1\r\n}\r\n0\r\n\r\n")
            .gives(204)
            .calls(STATE),
        habit("Go", &eject, &chunked, b"0\r\n\r\n").gives(204).calls(EJECTED),
        habit("a script", session, &chunked, b"2\r\n{}\r\n0\r\n\r\n").gives(204).calls(LOGOUT),
    ];
    all_hold(&stack, rows).await;
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn what_clients_subscribe_and_leave_empty_is_taken_as_they_write_it() {
    let stack = start().await;
    let sushy = ["Accept: */*", JSON, "OData-Version: 4.0", TOKEN];
    let gofish = ["User-Agent: gofish/1.0", "Accept: application/json", JSON, BASIC];
    let ansible = [JSON, "Accept: application/json", "OData-Version: 4.0", BASIC];
    let subscribe = "POST /redfish/v1/EventService/Subscriptions";
    let test = "POST /redfish/v1/EventService/Actions/EventService.SubmitTestEvent";
    let interface = "PATCH /redfish/v1/Managers/bmc/EthernetInterfaces/eth0";
    let protocol = "PATCH /redfish/v1/Managers/bmc/NetworkProtocol";
    const SUBSCRIBED: &[&str] = &["EventService.CreateEventSubscription"];
    const NETWORK: &[&str] = &["NetworkService.ChangeNetwork"];
    let rows = vec![
        habit(
            "Ironic",
            subscribe,
            &sushy,
            br#"{"Destination": "https://collector.example/events", "Protocol": "Redfish", "Context": "", "EventTypes": ["Alert"]}"#,
        )
        .gives(201)
        .calls(SUBSCRIBED),
        habit(
            "gofish",
            subscribe,
            &gofish,
            br#"{"Destination":"https://collector.example/events","EventTypes":["Alert"],"HttpHeaders":{"X-Token":"abc"},"Protocol":"Redfish","Context":"rack 7"}"#,
        )
        .gives(201)
        .calls(SUBSCRIBED),
        habit(
            "sushy",
            test,
            &sushy,
            br#"{"EventId": "1", "EventTimestamp": "2026-09-21T14:14:10Z", "EventType": "Alert", "Message": "a test", "MessageArgs": [], "MessageId": "UBmc.1.0.EventOK", "OriginOfCondition": "/redfish/v1/Systems/system", "Severity": "OK"}"#,
        )
        // With what is said of those that nothing becomes of.
        .calls(&["EventService.SendTestEvent"]),
        // An item of a list is left as it is, and one is taken out (DSP0266, "PATCH on array properties").
        habit("a validator", protocol, &sushy, br#"{"NTP": {"NTPServers": [{}, "192.0.2.7"]}}"#).calls(NETWORK),
        habit("a validator", protocol, &sushy, br#"{"NTP": {"NTPServers": [null, "192.0.2.7"]}}"#).calls(NETWORK),
        // netmgr is asked for no other address.
        habit("a validator", interface, &sushy, br#"{"IPv4StaticAddresses": [{}]}"#).calls(NETWORK),
        // It names what is not set yet, and knows of what a resource takes by what it shows alone.
        habit("Ansible", "GET /redfish/v1/AccountService/Accounts/rita", &ansible[1..], b"")
            .holds(|reply| assert!(reply.json().get("AccountExpiration").is_some_and(Value::is_null))),
    ];
    all_hold(&stack, rows.into_iter().map(with_length).collect()).await;
    let empty = v1::MediaSlot {
        name: "cd".into(),
        host_name: "system".into(),
        kind: v1::MediaKind::Cd.into(),
        state: v1::MediaState::Empty.into(),
        ..v1::MediaSlot::default()
    };
    let media = v1::ListMediaResponse { slots: vec![empty], ..Default::default() };
    let media = Bytes::from(prost::Message::encode_to_vec(&media));
    stack.world.answers.lock().unwrap().insert("MediaService.ListMedia".into(), media);
    let drive = "GET /redfish/v1/Managers/bmc/VirtualMedia/cd";
    let is_whole = |reply: &Reply| {
        let shown = reply.json();
        for name in ["Image", "UserName", "Password", "TransferMethod", "TransferProtocolType"] {
            assert!(shown.get(name).is_some_and(Value::is_null), "{name}: {shown}");
        }
    };
    // What is said of a drive may be for a quarter of a second.
    let fresh = async {
        while send(&stack, drive, &[TOKEN], b"").await.json()["Inserted"] == true {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, fresh).await.expect("the drive is empty");
    all_hold(&stack, vec![habit("Ansible", drive, &ansible[1..], b"").holds(is_whole)]).await;
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn a_condition_holds_in_each_form_that_clients_write() {
    let stack = start().await;
    // What is shown of it comes from one owner alone, so that it is the same whenever it is asked for.
    let path = "/redfish/v1/SessionService";
    let tag = async || {
        let reply = send(&stack, &format!("GET {path}"), &[TOKEN], b"").await;
        assert_eq!(reply.json()["@odata.etag"], header(&reply, "etag"));
        header(&reply, "etag").to_owned()
    };
    let (own, body) = (tag().await, br#"{"SessionTimeout": 600}"#);
    let length = format!("Content-Length: {}", body.len());
    for (client, conditions, is_met) in [
        ("Ansible, MAAS", vec![format!("If-Match: {own}")], true),
        ("gofish", vec!["If-Match: *".to_owned()], true),
        ("a script", vec![format!("If-Match: \"0\", {own}")], true),
        // RFC 9110 §5.3: two lines are one list.
        ("a proxy", vec!["If-Match: \"0\"".to_owned(), format!("If-Match: {own}")], true),
        ("a proxy", vec![format!("If-Match: {own}"), "If-Match: \"0\"".to_owned()], true),
        ("a proxy", vec!["If-Match: \"0\"".to_owned(), "If-Match: \"1\"".to_owned()], false),
        // Ansible where it was told to strip the quotes, and sushy, which tries a strong one next.
        ("Ansible", vec![format!("If-Match: {}", own.trim_matches('"'))], false),
        ("sushy", vec![format!("If-Match: W/{own}")], false),
        ("a script", vec!["If-Match: \"0\"".to_owned()], false),
        ("a script", vec!["If-Match: \u{e4}".to_owned()], false),
        ("a script", vec!["If-None-Match: *".to_owned()], false),
        ("a script", vec!["If-None-Match: \"0\"".to_owned(), format!("If-None-Match: {own}")], false),
        ("a script", vec!["If-None-Match: \"0\"".to_owned()], true),
        ("a script", vec![format!("If-Match: {own}"), format!("If-None-Match: W/{own}")], false),
    ] {
        let mut head = vec![JSON, TOKEN, length.as_str()];
        head.extend(conditions.iter().map(String::as_str));
        changed(&stack);
        let reply = send(&stack, &format!("PATCH {path}"), &head, body).await;
        let calls = changed(&stack);
        assert_eq!(reply.status.as_u16(), if is_met { 200 } else { 412 }, "{client}: {conditions:?}");
        assert_eq!(calls.contains("UserService.UpdateAccountPolicy"), is_met, "{client}: {calls:?}");
        if !is_met {
            assert_eq!((said(&reply).as_str(), calls.len()), ("PreconditionFailed", 0), "{client}");
            // With what it may try next.
            assert_eq!(header(&reply, "etag"), own, "{client}");
        }
    }
    let get = async |line: String| {
        let reply = send(&stack, &format!("GET {path}"), &[TOKEN, line.as_str()], b"").await;
        (reply.status.as_u16(), reply.body.is_empty())
    };
    assert_eq!(get(format!("If-None-Match: \"0\"\r\nIf-None-Match: W/{own}")).await, (304, true));
    assert_eq!(get("If-None-Match: \"0\"\r\nIf-None-Match: \"1\"".to_owned()).await, (200, false));
    assert_eq!(get(format!("If-Match: {own}")).await, (200, false));
    assert_eq!(get("If-Match: \"0\"".to_owned()).await.0, 412);
    // Nor is an answer that is kept for others sent to who wants another.
    let system = "GET /redfish/v1/Systems/system";
    for (condition, status) in [("If-Match: *", 200), ("If-Match: \"0\"", 412)] {
        assert_eq!(send(&stack, system, &[TOKEN], b"").await.status, 200);
        assert_eq!(send(&stack, system, &[TOKEN, condition], b"").await.status, status, "{condition}");
    }
    changed(&stack);
    let reset = "POST /redfish/v1/Systems/system/Actions/ComputerSystem.Reset";
    let body = br#"{"ResetType": "ForceRestart"}"#;
    let length = format!("Content-Length: {}", body.len());
    let reply = send(&stack, reset, &[JSON, TOKEN, length.as_str(), "If-Match: \"0\""], body).await;
    assert_eq!((reply.status.as_u16(), said(&reply).as_str()), (412, "PreconditionFailed"));
    assert!(changed(&stack).is_empty());
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn a_login_by_a_body_is_refused_with_a_challenge_and_says_how_long_to_wait() {
    let stack = start().await;
    let method = "SessionService.CreateSession".to_owned();
    let path = "/redfish/v1/SessionService/Sessions";
    let body = json!({"UserName": "admin", "Password": "wrong"}).to_string();
    let login = |more: &[(&'static str, &'static str)]| {
        let mut request = stack.post(path, "application/json", None, body.clone());
        for (name, value) in more {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        request
    };
    let wrong = Status::unauthenticated("the name or the password is wrong");
    stack.world.refusals.lock().unwrap().insert(method.clone(), wrong.with_reason("INVALID_CREDENTIALS"));
    for version in [Version::H1, Version::H2, Version::H3] {
        let reply = stack.send(version, login(&[])).await;
        assert_eq!((reply.status.as_u16(), said(&reply).as_str()), (401, "NoValidSession"));
        assert_eq!(
            header(&reply, "www-authenticate"),
            "Bearer, Basic realm=\"u-bmc\", charset=\"UTF-8\"",
            "{version:?}"
        );
        assert_eq!(reply.headers.get_all("www-authenticate").iter().count(), 1);
        assert!(!reply.headers.contains_key("retry-after"));
        // No browser opens a dialogue over the page that asks.
        for script in [("sec-fetch-mode", "cors"), ("x-requested-with", "XMLHttpRequest")] {
            let reply = stack.send(version, login(&[script])).await;
            assert_eq!(header(&reply, "www-authenticate"), "Bearer", "{script:?}");
        }
    }
    let locked = Status::unauthenticated("locked out for 42 s").with_reason("LOCKED_OUT");
    stack.world.refusals.lock().unwrap().insert(method, locked.with_wait(Duration::from_secs(42)));
    let reply = stack.send(Version::H1, login(&[])).await;
    assert_eq!((reply.status.as_u16(), said(&reply).as_str()), (401, "NoValidSession"));
    assert_eq!(header(&reply, "retry-after"), "42");
    assert!(header(&reply, "www-authenticate").contains("Basic"));
    let told = &reply.json()["error"]["@Message.ExtendedInfo"][0]["Resolution"];
    assert_eq!(told, "locked out for 42 s");
    // Who is logged in and may not do it is not asked to log in.
    let mut request = stack.get("/redfish/v1/AccountService/Accounts/olga", Some(support::READER));
    *request.method_mut() = http::Method::DELETE;
    let reply = stack.send(Version::H1, request).await;
    assert_eq!((reply.status.as_u16(), header(&reply, "www-authenticate")), (403, ""));
    assert_eq!(TOKEN, format!("X-Auth-Token: {ADMIN}"));
    stack.stop().await.unwrap();
}
