//! The machine against a store in memory: what leaves a turn, and that nothing a client sends can hurt it.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::store::Memory;
use super::{Inbound, JetStream, Limits, Now, Output, Publish};

fn machine() -> (JetStream, Now) {
    let now = Now { mono: 1, wall: 1_800_000_000_000_000_000 };
    let mut machine = JetStream::open(Box::new(Memory::new(1 << 20)), Limits::default(), 1, now).unwrap();
    machine.commit(now);
    (machine, now)
}

fn send(machine: &mut JetStream, now: Now, subject: &str, payload: &str) {
    let payload = payload.as_bytes();
    machine.handle(now, Inbound { subject: subject.as_bytes(), reply: Some(b"r"), headers: b"", payload });
}

fn published(outputs: Vec<Output>) -> Vec<Publish> {
    outputs.into_iter().filter_map(|o| if let Output::Publish(p) = o { Some(p) } else { None }).collect()
}

fn api(machine: &mut JetStream, now: Now, subject: &str, request: &Value) -> Value {
    send(machine, now, &format!("$JS.API.{subject}"), &request.to_string());
    let answers = published(machine.commit(now));
    let answer = answers.iter().find(|p| p.route == "r").expect("an answer");
    serde_json::from_slice(&answer.payload).unwrap()
}

#[test]
fn a_capture_takes_effect_before_the_answer_that_promises_it() {
    let (mut machine, now) = machine();
    send(&mut machine, now, "$JS.API.STREAM.CREATE.A", r#"{"name":"A","subjects":["a.>"]}"#);
    let outputs = machine.commit(now);
    let capture = outputs.iter().position(|o| *o == Output::Capture(vec!["a.>".to_owned()])).unwrap();
    let answer = outputs.iter().position(|o| matches!(o, Output::Publish(_))).unwrap();
    assert!(capture < answer);
}

#[test]
fn only_the_get_of_one_message_is_answered_without_a_turn() {
    fn now_or_later(machine: &mut JetStream, now: Now, subject: &str, payload: &str) -> Option<Publish> {
        let payload = payload.as_bytes();
        let message = Inbound { subject: subject.as_bytes(), reply: Some(b"r"), headers: b"", payload };
        machine.answer_now(now, message).map(|outputs| published(outputs).pop().unwrap())
    }
    let (mut machine, now) = machine();
    let config = json!({"name": "A", "subjects": ["a.>"], "allow_direct": true});
    api(&mut machine, now, "STREAM.CREATE.A", &config);
    send(&mut machine, now, "a.1", "one");
    // The write is not committed, so nobody may see it.
    assert_eq!(now_or_later(&mut machine, now, "$JS.API.DIRECT.GET.A.a.1", ""), None);
    machine.commit(now);
    for (subject, payload) in [
        ("$JS.API.DIRECT.GET.A.a.1", ""),
        ("$JS.API.DIRECT.GET.A", r#"{"seq":1}"#),
        ("$JS.API.DIRECT.GET.A", r#"{"last_by_subj":"a.1"}"#),
    ] {
        let answer = now_or_later(&mut machine, now, subject, payload).unwrap();
        assert_eq!(answer.payload, "one", "{subject} {payload}");
        // The same as in a turn.
        send(&mut machine, now, subject, payload);
        assert_eq!(published(machine.commit(now)), [answer], "{subject} {payload}");
    }
    let missing = now_or_later(&mut machine, now, "$JS.API.DIRECT.GET.A.a.2", "").unwrap();
    assert!(missing.headers.starts_with(b"NATS/1.0 404"));
    for (subject, payload) in [
        ("a.1", "two"),
        ("$JS.API.STREAM.INFO.A", ""),
        ("$JS.API.DIRECT.GET.A.a.>", ""),
        ("$JS.API.DIRECT.GET.A", r#"{"seq":1,"batch":9}"#),
        ("$JS.API.DIRECT.GET.A", r#"{"multi_last":["a.>"]}"#),
        ("$JS.API.DIRECT.GET.A", r#"{"next_by_subj":"a.*"}"#),
        ("$JS.API.DIRECT.GET.A", r#"{"start_time":"2020-01-01T00:00:00Z"}"#),
    ] {
        assert_eq!(now_or_later(&mut machine, now, subject, payload), None, "{subject} {payload}");
    }
    assert_eq!(published(machine.commit(now)), [], "nothing was done for those");
}

#[test]
fn a_long_replay_leaves_in_turns_and_shares_them() {
    let (mut machine, now) = machine();
    api(&mut machine, now, "STREAM.CREATE.A", &json!({"name": "A", "subjects": ["a"]}));
    for _ in 0..2000 {
        send(&mut machine, now, "a", "x");
    }
    machine.commit(now);
    for name in ["one", "two"] {
        let config = json!({"name": name, "deliver_subject": format!("to.{name}")});
        api(
            &mut machine,
            now,
            &format!("CONSUMER.CREATE.A.{name}"),
            &json!({"stream_name": "A", "config": config}),
        );
    }
    machine.interest(now, "to.one", true);
    machine.interest(now, "to.two", true);
    let (mut one, mut two, mut turns) = (0, 0, 0);
    while one < 2000 || two < 2000 {
        let sent = published(machine.commit(now));
        assert!(!sent.is_empty() && sent.len() <= super::TURN_MESSAGES);
        let (a, b) = (
            sent.iter().filter(|p| p.route == "to.one").count(),
            sent.iter().filter(|p| p.route == "to.two").count(),
        );
        assert!((a > 0 || one == 2000) && (b > 0 || two == 2000), "both get their share");
        (one, two, turns) = (one + a, two + b, turns + 1);
    }
    assert!(turns > 4);
    // The other order of things: a full receiver is left alone until it drained.
    machine.pressure("to.one", true);
    send(&mut machine, now, "a", "y");
    let routes: Vec<String> = published(machine.commit(now)).into_iter().map(|p| p.route).collect();
    assert!(routes.contains(&"to.two".to_owned()) && !routes.contains(&"to.one".to_owned()));
    machine.pressure("to.one", false);
    assert!(published(machine.commit(now)).iter().any(|p| p.route == "to.one"));
}

#[test]
fn flow_control_stops_at_the_window_and_goes_on_with_the_answer() {
    let (mut machine, mut now) = machine();
    api(&mut machine, now, "STREAM.CREATE.A", &json!({"name": "A", "subjects": ["a"]}));
    let payload = "x".repeat(4096);
    for _ in 0..60 {
        send(&mut machine, now, "a", &payload);
    }
    machine.commit(now);
    let config =
        json!({"name": "c", "deliver_subject": "to", "flow_control": true, "idle_heartbeat": 1_000_000_000});
    api(&mut machine, now, "CONSUMER.CREATE.A.c", &json!({"stream_name": "A", "config": config}));
    machine.interest(now, "to", true);
    let mut delivered = 0;
    let mut rounds = 0;
    while delivered < 60 {
        rounds += 1;
        assert!(rounds < 60, "{delivered} delivered");
        let sent = published(machine.commit(now));
        delivered += sent.iter().filter(|p| p.subject == "a").count();
        match sent.iter().find_map(|p| p.reply.clone().filter(|r| r.starts_with("$JS.FC."))) {
            Some(question) => send(&mut machine, now, &question, ""),
            None if delivered < 60 => {
                // Stalled: the heartbeat says so, and repeats the question for a receiver that missed it.
                now.mono += 1000;
            }
            None => {}
        }
    }
}

#[test]
fn an_ephemeral_consumer_without_users_goes() {
    let (mut machine, mut now) = machine();
    api(&mut machine, now, "STREAM.CREATE.A", &json!({"name": "A", "subjects": ["a"]}));
    api(&mut machine, now, "CONSUMER.CREATE.A.c", &json!({"stream_name": "A", "config": {"name": "c"}}));
    assert!(machine.deadline(now).is_some());
    now.mono += 4000;
    machine.commit(now);
    assert_eq!(api(&mut machine, now, "CONSUMER.NAMES.A", &json!({}))["total"], 1);
    now.mono += 2000;
    machine.commit(now);
    assert_eq!(api(&mut machine, now, "CONSUMER.NAMES.A", &json!({}))["total"], 0);
}

const DAY: i64 = 86_400_000_000_000;

fn at(mono_seconds: u64, wall: i64) -> Now {
    Now { mono: mono_seconds * 1000, wall }
}

/// A stream that keeps for `days`, made at `now`.
fn keeping(now: Now, days: i64) -> JetStream {
    let mut machine = JetStream::open(Box::new(Memory::new(1 << 20)), Limits::default(), 1, now).unwrap();
    let config = json!({"name": "E", "subjects": ["e.>"], "max_age": days * DAY});
    api(&mut machine, now, "STREAM.CREATE.E", &config);
    machine
}

fn kept(machine: &mut JetStream, now: Now) -> u64 {
    machine.commit(now);
    api(machine, now, "STREAM.INFO.E", &json!({}))["state"]["messages"].as_u64().unwrap()
}

#[test]
fn age_is_the_time_that_passed_and_not_what_the_clock_was_set_to() {
    // From 1970 and from the date of a build, forward to the day of the first answer of a time server.
    for early in [1_000_000_000, 1_767_225_600_000_000_000] {
        let start = at(1, early);
        let mut machine = keeping(start, 30);
        (0..5).for_each(|n| send(&mut machine, start, &format!("e.{n}"), "boot"));
        machine.commit(start);
        let set = 1_800_000_000_000_000_000;
        assert_eq!(kept(&mut machine, at(31, set)), 5, "half a minute old");
        send(&mut machine, at(32, set + 1_000_000_000), "e.later", "x");
        assert_eq!(kept(&mut machine, at(29 * 86_400, set + 29 * DAY)), 6);
        assert_eq!(kept(&mut machine, at(31 * 86_400, set + 31 * DAY)), 0, "and they do go");
    }
}

#[test]
fn a_message_stamped_ahead_goes_with_those_of_its_time() {
    let wall = 1_800_000_000_000_000_000;
    let mut machine = keeping(at(1, wall), 30);
    // Somebody sets the clock to next year, and puts it right a minute later.
    let ahead = at(30, wall + 400 * DAY);
    send(&mut machine, ahead, "e.ahead", "x");
    machine.commit(ahead);
    let right = at(90, wall + 89_000_000_000);
    (0..5).for_each(|n| send(&mut machine, right, &format!("e.{n}"), "x"));
    assert_eq!(kept(&mut machine, right), 6);
    assert_eq!(kept(&mut machine, at(29 * 86_400, wall + 29 * DAY)), 6);
    assert_eq!(kept(&mut machine, at(31 * 86_400, wall + 31 * DAY)), 0);
}

#[test]
fn a_clock_that_is_set_neither_opens_nor_shuts_the_window_of_message_ids() {
    let wall = 1_800_000_000_000_000_000;
    let mut machine = keeping(at(1, wall), 30);
    let publish = |machine: &mut JetStream, now: Now| {
        let headers = b"NATS/1.0\r\nNats-Msg-Id: one\r\n\r\n";
        machine.handle(now, Inbound { subject: b"e.id", reply: Some(b"r"), headers, payload: b"" });
        let answer = published(machine.commit(now)).pop().unwrap();
        serde_json::from_slice::<Value>(&answer.payload).unwrap()["duplicate"] == true
    };
    assert!(!publish(&mut machine, at(2, wall)));
    assert!(publish(&mut machine, at(3, wall + 300 * DAY)), "a second later, whatever the clock says");
    assert!(publish(&mut machine, at(4, wall - 300 * DAY)));
    assert!(!publish(&mut machine, at(200, wall - 300 * DAY)), "two minutes are over");
}

#[test]
fn every_api_subject_is_answered() {
    let (mut machine, now) = machine();
    for subject in [
        "",
        "X",
        "STREAM",
        "STREAM.",
        "STREAM.X.Y",
        "CONSUMER",
        "CONSUMER.CREATE",
        "META.LEADER.STEPDOWN",
        "STREAM.SNAPSHOT.A",
        "STREAM.RESTORE.A",
        "ACCOUNT.PURGE.A",
        "INFO.X",
        "DIRECT.GET.A",
        "DIRECT",
        "CONSUMER.MSG.NEXT.A.b",
        "CONSUMER.UNPIN.A.b",
    ] {
        send(&mut machine, now, &format!("$JS.API.{subject}"), "");
        assert_eq!(published(machine.commit(now)).len(), 1, "{subject}");
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-3_i64..5).prop_map(Value::from),
        prop_oneof![
            "[a-c.*>]{0,6}",
            Just("all".to_owned()),
            Just("explicit".to_owned()),
            Just("2030-01-01T00:00:00Z".to_owned())
        ]
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| proptest::collection::vec(inner, 0..3).prop_map(Value::from))
}

const KEYS: [&str; 30] = [
    "subjects",
    "max_msgs",
    "max_bytes",
    "max_age",
    "max_msgs_per_subject",
    "discard",
    "storage",
    "first_seq",
    "allow_direct",
    "allow_rollup_hdrs",
    "allow_msg_ttl",
    "seq",
    "last_by_subj",
    "next_by_subj",
    "batch",
    "multi_last",
    "max_deliver",
    "ack_policy",
    "ack_wait",
    "backoff",
    "deliver_policy",
    "opt_start_seq",
    "opt_start_time",
    "filter_subject",
    "deliver_subject",
    "flow_control",
    "idle_heartbeat",
    "expires",
    "no_wait",
    "keep",
];

fn request() -> impl Strategy<Value = (String, Value, Vec<u8>)> {
    let subject = prop_oneof![
        Just("$JS.API.STREAM.CREATE.s"),
        Just("$JS.API.STREAM.UPDATE.s"),
        Just("$JS.API.STREAM.INFO.s"),
        Just("$JS.API.STREAM.PURGE.s"),
        Just("$JS.API.STREAM.MSG.GET.s"),
        Just("$JS.API.STREAM.MSG.DELETE.s"),
        Just("$JS.API.DIRECT.GET.s"),
        Just("$JS.API.DIRECT.GET.s.a"),
        Just("$JS.API.CONSUMER.CREATE.s.c"),
        Just("$JS.API.CONSUMER.MSG.NEXT.s.c"),
        Just("$JS.API.CONSUMER.INFO.s.c"),
        Just("$JS.API.CONSUMER.PAUSE.s.c"),
        Just("$JS.ACK.s.c.1.1.1.1.1"),
        Just("$JS.ACK.s.c.1.18446744073709551615.1.1.1"),
        Just("$JS.FC.s.c.1"),
        Just("a"),
        Just("a.b"),
        Just("b"),
    ];
    let fields = proptest::collection::vec((0..KEYS.len(), json_value()), 0..6).prop_map(|fields| {
        let map: serde_json::Map<String, Value> =
            fields.into_iter().map(|(k, v)| (KEYS[k].to_owned(), v)).collect();
        Value::Object(map)
    });
    (subject.prop_map(str::to_owned), fields, proptest::collection::vec(any::<u8>(), 0..20))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    /// No sequence of requests, well-formed or not, breaks the machine: it goes on answering.
    #[test]
    fn any_requests_are_survived(requests in proptest::collection::vec(request(), 1..60), raw in any::<u16>()) {
        let (mut machine, mut now) = machine();
        for (n, (subject, mut fields, noise)) in requests.into_iter().enumerate() {
            if subject.contains("STREAM.CREATE") || subject.contains("STREAM.UPDATE") {
                fields["name"] = "s".into();
            } else if subject.contains("CONSUMER.CREATE") {
                fields = json!({"stream_name": "s", "config": fields});
            }
            let text = fields.to_string();
            let payload = if n % 16 == usize::from(raw % 16) { noise.as_slice() } else { text.as_bytes() };
            machine.handle(now, Inbound { subject: subject.as_bytes(), reply: Some(b"r"), headers: b"", payload });
            machine.interest(now, "a.b", n % 3 != 0);
            machine.commit(now);
            now = Now { mono: now.mono + 40, wall: now.wall + 40_000_000 };
            let _ = machine.deadline(now);
        }
        let names = api(&mut machine, now, "STREAM.NAMES", &json!({}));
        prop_assert!(names.get("error").is_none(), "{}", names);
    }
}
