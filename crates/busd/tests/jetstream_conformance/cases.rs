//! The cases.

use serde_json::{Value, json};

use super::wire::{Case, Step};

fn api(subject: &str, payload: Value) -> Step {
    Step::Api(subject.to_owned(), if payload.is_null() { String::new() } else { payload.to_string() })
}

fn raw(subject: &str, payload: &str) -> Step {
    Step::Api(subject.to_owned(), payload.to_owned())
}

fn publish(subject: &str, payload: &str) -> Step {
    publish_with(subject, &[], payload)
}

fn publish_with(subject: &str, headers: &[(&str, &str)], payload: &str) -> Step {
    Step::Publish {
        subject: subject.to_owned(),
        headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        payload: payload.to_owned().into(),
    }
}

fn stream(subject: &str, payload: Value, answers: usize) -> Step {
    let payload = if payload.is_null() { String::new() } else { payload.to_string() };
    Step::Stream { subject: subject.to_owned(), payload, answers }
}

fn pull(name: &str, payload: Value, answers: usize) -> Step {
    stream(&format!("$JS.API.CONSUMER.MSG.NEXT.{name}"), payload, answers)
}

fn get(name: &str, payload: Value, answers: usize) -> Step {
    stream(&format!("$JS.API.DIRECT.GET.{name}"), payload, answers)
}

fn create(name: &str, mut config: Value) -> Step {
    config["name"] = name.into();
    api(&format!("STREAM.CREATE.{name}"), config)
}

fn consumer(stream: &str, name: &str, mut config: Value) -> Step {
    config["name"] = name.into();
    config["durable_name"] = name.into();
    api(&format!("CONSUMER.CREATE.{stream}.{name}"), json!({"stream_name": stream, "config": config}))
}

fn info(name: &str) -> Step {
    api(&format!("STREAM.INFO.{name}"), Value::Null)
}

/// Every case, in no order that matters.
pub(crate) fn all() -> Vec<Case> {
    vec![
        streams(),
        stream_errors(),
        lists(),
        publish_checks(),
        limits(),
        discard_new(),
        rollups(),
        purges(),
        message_get(),
        direct_get(),
        consumer_api(),
        consumer_errors(),
        pulling(),
        acknowledging(),
        redelivery(),
        policies(),
        places(),
        pushing(),
        flow_control(),
        sealed(),
        ttl(),
        out_of_scope(),
    ]
}

fn streams() -> Case {
    let steps = vec![
        create("A", json!({"subjects": ["a.>"]})),
        create("A", json!({"subjects": ["a.>"]})),
        create("A", json!({"subjects": ["a.>"], "max_msgs": 3})),
        info("A"),
        publish("a.1", "one"),
        publish("a.2", "two"),
        info("A"),
        api("STREAM.INFO.A", json!({"subjects_filter": ">"})),
        api("STREAM.INFO.A", json!({"subjects_filter": "a.2"})),
        api("STREAM.INFO.A", json!({"subjects_filter": "b"})),
        api(
            "STREAM.UPDATE.A",
            json!({"name": "A", "subjects": ["a.>", "b"], "max_msgs": 1, "description": "x"}),
        ),
        publish("b", "three"),
        info("A"),
        api("STREAM.UPDATE.A", json!({"name": "A", "subjects": ["a.>"], "storage": "memory"})),
        api("STREAM.UPDATE.B", json!({"name": "B"})),
        create("MEM", json!({"storage": "memory", "first_seq": 100, "max_age": 3_600_000_000_000_u64})),
        publish("MEM", "x"),
        info("MEM"),
        api("INFO", Value::Null),
        api("STREAM.DELETE.A", Value::Null),
        api("STREAM.DELETE.A", Value::Null),
        info("A"),
        create("A", json!({"subjects": ["a.>"]})),
        info("A"),
    ];
    Case { name: "streams", steps }
}

fn stream_errors() -> Case {
    let bad = |config: Value| create("E", config);
    let steps = vec![
        create("X", json!({"subjects": ["x.*"]})),
        create("Y", json!({"subjects": ["x.y"]})),
        bad(json!({"subjects": ["a.>", "a.b"]})),
        bad(json!({"subjects": ["a", "a"]})),
        bad(json!({"subjects": ["a..b"]})),
        bad(json!({"subjects": [">"]})),
        bad(json!({"subjects": ["$JS.API.>"]})),
        bad(json!({"max_age": -1})),
        bad(json!({"max_age": 1})),
        bad(json!({"duplicate_window": 1})),
        bad(json!({"max_age": 1_000_000_000_u64, "duplicate_window": 2_000_000_000_u64})),
        bad(json!({"num_replicas": 3})),
        bad(json!({"num_replicas": 9})),
        bad(json!({"num_replicas": -1})),
        bad(json!({"deny_purge": true, "allow_rollup_hdrs": true})),
        bad(json!({"discard_new_per_subject": true})),
        bad(json!({"discard": "new", "discard_new_per_subject": true})),
        bad(json!({"unknown": 1})),
        raw("STREAM.CREATE.E", "{"),
        raw("STREAM.CREATE.E", ""),
        raw("STREAM.CREATE.E", r#"{"name":"F"}"#),
        raw("STREAM.CREATE.E", &json!({"name": "E", "description": "d".repeat(5000)}).to_string()),
        raw("STREAM.INFO.E", ""),
        raw("STREAM.DELETE.X", "[]"),
        raw("STREAM.PURGE.E", ""),
        raw("STREAM.MSG.GET.E", r#"{"seq":1}"#),
        raw("STREAM.MSG.DELETE.E", r#"{"seq":1}"#),
        raw("CONSUMER.NAMES.E", ""),
        raw("CONSUMER.LIST.E", ""),
        raw("CONSUMER.INFO.E.c", ""),
        raw("CONSUMER.DELETE.E.c", ""),
    ];
    Case { name: "stream errors", steps }
}

fn lists() -> Case {
    let mut steps = vec![api("STREAM.NAMES", Value::Null), api("STREAM.LIST", Value::Null)];
    for name in ["L3", "L1", "L2"] {
        steps.push(create(name, json!({"subjects": [format!("{}.>", name.to_lowercase())]})));
    }
    steps.extend([
        api("STREAM.NAMES", Value::Null),
        api("STREAM.NAMES", json!({"subject": "l2.x"})),
        api("STREAM.NAMES", json!({"subject": "nothing"})),
        api("STREAM.NAMES", json!({"offset": 1})),
        api("STREAM.LIST", Value::Null),
        api("STREAM.LIST", json!({"subject": "l1.>"})),
        consumer("L1", "c2", json!({"ack_policy": "explicit"})),
        consumer("L1", "c1", json!({"ack_policy": "explicit"})),
        api("CONSUMER.NAMES.L1", Value::Null),
        api("CONSUMER.LIST.L1", Value::Null),
        api("CONSUMER.NAMES.L1", json!({"offset": 1})),
        api("CONSUMER.NAMES.L2", Value::Null),
        api("CONSUMER.LIST.L2", Value::Null),
    ]);
    Case { name: "lists", steps }
}

fn publish_checks() -> Case {
    let head = |headers: &[(&str, &str)]| publish_with("p.1", headers, "x");
    let steps = vec![
        create("P", json!({"subjects": ["p.>"], "max_msg_size": 400})),
        head(&[("Nats-Expected-Last-Sequence", "0")]),
        head(&[("Nats-Expected-Last-Sequence", "0")]),
        head(&[("Nats-Expected-Last-Sequence", "1")]),
        head(&[("Nats-Expected-Stream", "P")]),
        head(&[("Nats-Expected-Stream", "Q")]),
        head(&[("Nats-Msg-Id", "one")]),
        head(&[("Nats-Msg-Id", "one")]),
        head(&[("Nats-Expected-Last-Msg-Id", "two")]),
        head(&[("Nats-Expected-Last-Msg-Id", "one")]),
        head(&[("Nats-Expected-Last-Msg-Id", "one")]),
        head(&[("Nats-Expected-Last-Subject-Sequence", "0")]),
        head(&[("Nats-Expected-Last-Subject-Sequence", "5")]),
        publish_with("p.2", &[("Nats-Expected-Last-Subject-Sequence", "0")], "y"),
        publish_with(
            "p.3",
            &[
                ("Nats-Expected-Last-Subject-Sequence", "7"),
                ("Nats-Expected-Last-Subject-Sequence-Subject", "p.2"),
            ],
            "y",
        ),
        head(&[("Nats-Expected-Last-Subject-Sequence-Subject", "p.2")]),
        head(&[("Nats-TTL", "5s")]),
        head(&[("Nats-TTL", "nonsense")]),
        head(&[("Nats-Rollup", "sub")]),
        publish("p.1", &"z".repeat(401)),
        publish_with("p.1", &[("A", &"h".repeat(300))], &"z".repeat(200)),
        info("P"),
        api("STREAM.UPDATE.P", json!({"name": "P", "subjects": ["p.>"], "max_msg_size": -1})),
        publish_with("p.1", &[("A", &"h".repeat(70_000))], ""),
        create("N", json!({"subjects": ["n"], "no_ack": true})),
        create("O", json!({"subjects": ["o"]})),
        publish("o", ""),
        publish_with("o", &[("A", "b")], ""),
        api("STREAM.MSG.GET.O", json!({"seq": 1})),
        api("STREAM.MSG.GET.O", json!({"seq": 2})),
    ];
    Case { name: "publish checks", steps }
}

fn limits() -> Case {
    let mut steps = vec![
        create("M", json!({"subjects": ["m.>"], "max_msgs": 3})),
        create("B", json!({"subjects": ["b.>"], "max_bytes": 200})),
        create("S", json!({"subjects": ["s.>"], "max_msgs_per_subject": 2})),
    ];
    for n in 0..5 {
        for name in ["m", "b", "s"] {
            steps.push(publish(&format!("{name}.{}", n % 2), &"x".repeat(20 + n)));
        }
    }
    for name in ["M", "B", "S"] {
        steps.push(info(name));
        steps.push(api(
            &format!("STREAM.INFO.{name}"),
            json!({"deleted_details": true, "subjects_filter": ">"}),
        ));
    }
    let update = json!({"name": "S", "subjects": ["s.>"], "max_msgs_per_subject": 1});
    steps.extend([api("STREAM.UPDATE.S", update), info("S"), publish("b.big", &"x".repeat(300)), info("B")]);
    Case { name: "limits", steps }
}

fn discard_new() -> Case {
    let steps = vec![
        create("M", json!({"subjects": ["m.>"], "max_msgs": 2, "discard": "new"})),
        publish("m.1", "x"),
        publish("m.2", "x"),
        publish("m.3", "x"),
        create("B", json!({"subjects": ["b.>"], "max_bytes": 100, "discard": "new"})),
        publish("b.1", "x"),
        publish("b.2", "x"),
        publish("b.3", &"x".repeat(100)),
        create(
            "S",
            json!({"subjects": ["s.>"], "max_msgs_per_subject": 1, "discard": "new", "discard_new_per_subject": true}),
        ),
        publish("s.1", "x"),
        publish("s.1", "x"),
        publish("s.2", "x"),
        create("K", json!({"subjects": ["k.>"], "max_msgs_per_subject": 1, "max_msgs": 2, "discard": "new"})),
        publish("k.1", "x"),
        publish("k.2", "x"),
        publish("k.1", "y"),
        publish("k.3", "y"),
        info("M"),
        info("B"),
        info("S"),
        info("K"),
    ];
    Case { name: "discard new", steps }
}

fn rollups() -> Case {
    let roll = |subject: &str, value: &str| publish_with(subject, &[("Nats-Rollup", value)], "r");
    let steps = vec![
        create("R", json!({"subjects": ["r.>"], "allow_rollup_hdrs": true})),
        publish("r.1", "a"),
        publish("r.2", "b"),
        publish("r.1", "c"),
        roll("r.1", "sub"),
        info("R"),
        roll("r.1", "nonsense"),
        roll("r.2", "all"),
        info("R"),
    ];
    Case { name: "rollups", steps }
}

fn purges() -> Case {
    let mut steps = vec![create("P", json!({"subjects": ["p.>"]}))];
    for n in 0..12 {
        steps.push(publish(&format!("p.{}", n % 3), "x"));
    }
    steps.extend([
        api("STREAM.MSG.DELETE.P", json!({"seq": 5})),
        api("STREAM.MSG.DELETE.P", json!({"seq": 5})),
        api("STREAM.MSG.DELETE.P", json!({"seq": 99})),
        api("STREAM.INFO.P", json!({"deleted_details": true})),
        api("STREAM.PURGE.P", json!({"filter": "p.0"})),
        api("STREAM.INFO.P", json!({"deleted_details": true})),
        api("STREAM.PURGE.P", json!({"filter": "p.1", "keep": 1})),
        api("STREAM.PURGE.P", json!({"seq": 6})),
        api("STREAM.PURGE.P", json!({"seq": 6, "keep": 1})),
        api("STREAM.INFO.P", json!({"deleted_details": true})),
        api("STREAM.PURGE.P", json!({"keep": 1})),
        info("P"),
        api("STREAM.PURGE.P", Value::Null),
        info("P"),
        publish("p.1", "after"),
        info("P"),
        create("D", json!({"subjects": ["d"], "deny_delete": true, "deny_purge": true})),
        publish("d", "x"),
        api("STREAM.MSG.DELETE.D", json!({"seq": 1})),
        api("STREAM.PURGE.D", Value::Null),
        api(
            "STREAM.UPDATE.D",
            json!({"name": "D", "subjects": ["d"], "deny_delete": false, "deny_purge": true}),
        ),
        api(
            "STREAM.UPDATE.D",
            json!({"name": "D", "subjects": ["d"], "deny_delete": true, "deny_purge": false}),
        ),
    ]);
    Case { name: "purges", steps }
}

fn message_get() -> Case {
    let steps = vec![
        create("G", json!({"subjects": ["g.>"]})),
        publish("g.1", "one"),
        publish_with("g.2", &[("A", "b")], "two"),
        publish("g.1", "three"),
        api("STREAM.MSG.GET.G", json!({"seq": 2})),
        api("STREAM.MSG.GET.G", json!({"last_by_subj": "g.1"})),
        api("STREAM.MSG.GET.G", json!({"last_by_subj": "g.*"})),
        api("STREAM.MSG.GET.G", json!({"last_by_subj": "h"})),
        api("STREAM.MSG.GET.G", json!({"next_by_subj": "g.1", "seq": 2})),
        api("STREAM.MSG.GET.G", json!({"next_by_subj": "g.1"})),
        api("STREAM.MSG.GET.G", json!({"seq": 9})),
        api("STREAM.MSG.GET.G", json!({})),
        api("STREAM.MSG.GET.G", json!({"seq": 1, "last_by_subj": "g.1"})),
        raw("STREAM.MSG.GET.G", ""),
        raw("STREAM.MSG.GET.G", "{"),
    ];
    Case { name: "message get", steps }
}

fn direct_get() -> Case {
    let steps = vec![
        create("G", json!({"subjects": ["g.>"], "allow_direct": true})),
        create("N", json!({"subjects": ["n.>"]})),
        publish("g.1", "one"),
        publish_with("g.2", &[("A", "b")], "two"),
        publish("g.1", "three"),
        publish("g.3", "four"),
        get("G", json!({"seq": 2}), 1),
        get("G.g.1", Value::Null, 1),
        get("G.g.9", Value::Null, 1),
        get("G", json!({"last_by_subj": "g.2"}), 1),
        get("G", json!({"next_by_subj": "g.1", "seq": 2}), 1),
        get("G", json!({"next_by_subj": "g.*", "seq": 4}), 1),
        get("G", json!({"seq": 9}), 1),
        get("G", Value::Null, 1),
        get("G", json!({}), 1),
        get("G", json!({"seq": 1, "last_by_subj": "g.1"}), 1),
        get("G", json!({"seq": 1, "batch": 3}), 4),
        get("G", json!({"seq": 1, "batch": 10}), 5),
        get("G", json!({"batch": 2, "next_by_subj": "g.1"}), 3),
        get("G", json!({"batch": 2, "seq": 9}), 1),
        get("G", json!({"seq": 1, "batch": 10, "max_bytes": 10}), 3),
        get("G", json!({"multi_last": ["g.1", "g.2"]}), 3),
        get("G", json!({"multi_last": ["g.*"], "up_to_seq": 2}), 3),
        get("G", json!({"multi_last": ["g.*"], "batch": 1}), 2),
        get("G", json!({"multi_last": ["h.*"]}), 1),
        get("G", json!({"start_time": "2000-01-01T00:00:00Z", "batch": 1}), 2),
        get("G", json!({"start_time": "2100-01-01T00:00:00Z"}), 1),
        get("G", json!({"seq": 2, "no_hdr": true}), 1),
        get("N", json!({"seq": 1}), 1),
        get("Z", json!({"seq": 1}), 1),
    ];
    Case { name: "direct get", steps }
}

fn consumer_api() -> Case {
    let steps = vec![
        create("C", json!({"subjects": ["c.>"]})),
        publish("c.1", "one"),
        publish("c.2", "two"),
        api("CONSUMER.CREATE.C", json!({"stream_name": "C", "config": {"ack_policy": "explicit"}})),
        api("CONSUMER.INFO.C.GENERATED0", Value::Null),
        api(
            "CONSUMER.DURABLE.CREATE.C.d1",
            json!({"stream_name": "C", "config": {"durable_name": "d1", "ack_policy": "explicit"}}),
        ),
        api(
            "CONSUMER.CREATE.C.d2.c.1",
            json!({"stream_name": "C", "config": {"name": "d2", "durable_name": "d2", "filter_subject": "c.1", "ack_policy": "all"}}),
        ),
        consumer(
            "C",
            "d3",
            json!({"filter_subjects": ["c.1", "c.2"], "ack_policy": "none", "deliver_policy": "last"}),
        ),
        api(
            "CONSUMER.CREATE.C.e1",
            json!({"stream_name": "C", "config": {"name": "e1", "deliver_subject": "out", "ack_policy": "none"}}),
        ),
        api("CONSUMER.INFO.C.d1", Value::Null),
        api("CONSUMER.INFO.C.d2", Value::Null),
        api("CONSUMER.INFO.C.d9", Value::Null),
        consumer("C", "d1", json!({"ack_policy": "explicit"})),
        consumer("C", "d1", json!({"ack_policy": "explicit", "description": "changed", "max_deliver": 7})),
        consumer("C", "d1", json!({"ack_policy": "none"})),
        consumer("C", "d1", json!({"ack_policy": "explicit", "deliver_policy": "new"})),
        api(
            "CONSUMER.CREATE.C.d1",
            json!({"stream_name": "C", "action": "create", "config": {"name": "d1", "durable_name": "d1", "ack_policy": "explicit", "max_deliver": 3}}),
        ),
        api(
            "CONSUMER.CREATE.C.d7",
            json!({"stream_name": "C", "action": "update", "config": {"name": "d7", "durable_name": "d7", "ack_policy": "explicit"}}),
        ),
        api("CONSUMER.PAUSE.C.d1", json!({"pause_until": "2100-01-01T00:00:00Z"})),
        api("CONSUMER.INFO.C.d1", Value::Null),
        api("CONSUMER.PAUSE.C.d1", json!({})),
        api("CONSUMER.DELETE.C.d1", Value::Null),
        api("CONSUMER.DELETE.C.d1", Value::Null),
        info("C"),
    ];
    Case { name: "consumer api", steps }
}

fn consumer_errors() -> Case {
    let bad = |config: Value| api("CONSUMER.CREATE.C", json!({"stream_name": "C", "config": config}));
    let steps = vec![
        create("C", json!({"subjects": ["c.>"], "max_consumers": 1})),
        bad(json!({"durable_name": "x"})),
        bad(json!({"deliver_subject": "a.*"})),
        bad(json!({"deliver_subject": "c.x"})),
        bad(json!({"deliver_subject": "out", "max_waiting": 5})),
        bad(json!({"deliver_subject": "out", "max_ack_pending": 5})),
        bad(json!({"deliver_subject": "out", "idle_heartbeat": 5})),
        bad(json!({"deliver_subject": "out", "flow_control": true})),
        bad(json!({"idle_heartbeat": 500_000_000_u64})),
        bad(json!({"flow_control": true})),
        bad(json!({"rate_limit_bps": 5})),
        bad(json!({"max_expires": 5})),
        bad(json!({"num_replicas": 3})),
        bad(json!({"num_replicas": -3})),
        bad(json!({"ack_policy": "explicit", "ack_wait": -5})),
        bad(json!({"ack_policy": "explicit", "backoff": [-5]})),
        bad(json!({"ack_policy": "explicit", "backoff": [1, 2, 3], "max_deliver": 2})),
        bad(json!({"filter_subject": "a", "filter_subjects": ["b"]})),
        bad(json!({"filter_subjects": ["c.>", "c.1"]})),
        bad(json!({"filter_subjects": [""]})),
        bad(json!({"deliver_policy": "by_start_sequence"})),
        bad(json!({"deliver_policy": "by_start_time"})),
        bad(json!({"deliver_policy": "last_per_subject"})),
        bad(json!({"deliver_policy": "all", "opt_start_seq": 5})),
        bad(json!({"deliver_policy": "new", "opt_start_time": "2000-01-01T00:00:00Z"})),
        bad(json!({"unknown": 1})),
        raw("CONSUMER.CREATE.C", "{}"),
        raw("CONSUMER.CREATE.C", r#"{"stream_name":"D","config":{}}"#),
        raw("CONSUMER.CREATE.D", r#"{"stream_name":"D","config":{}}"#),
        api("CONSUMER.CREATE.C.n", json!({"stream_name": "C", "config": {"name": "m"}})),
        api(
            "CONSUMER.CREATE.C.n.c.1",
            json!({"stream_name": "C", "config": {"name": "n", "filter_subject": "c.2"}}),
        ),
        api("CONSUMER.CREATE.C.n", json!({"stream_name": "C", "config": {"name": "n", "durable_name": "m"}})),
        api("CONSUMER.DURABLE.CREATE.C.n", json!({"stream_name": "C", "config": {}})),
        api("CONSUMER.DURABLE.CREATE.C.n", json!({"stream_name": "C", "config": {"durable_name": "m"}})),
        consumer("C", "only", json!({"ack_policy": "explicit"})),
        consumer("C", "second", json!({"ack_policy": "explicit"})),
    ];
    Case { name: "consumer errors", steps }
}

fn pulling() -> Case {
    let mut steps = vec![create("P", json!({"subjects": ["p.>"]}))];
    for n in 1..=10 {
        steps.push(publish_with(&format!("p.{}", n % 2), &[("N", &n.to_string())], &format!("payload {n}")));
    }
    steps.extend([
        consumer("P", "c", json!({"ack_policy": "explicit", "max_batch": 50, "max_expires": 60_000_000_000_u64, "max_bytes": 5000})),
        pull("P.c", Value::Null, 1),
        pull("P.c", json!({"batch": 2}), 2),
        pull("P.c", json!({"batch": 3, "no_wait": true}), 3),
        pull("P.c", json!({"batch": 20, "no_wait": true}), 5),
        pull("P.c", json!({"batch": 1, "no_wait": true}), 1),
        pull("P.c", json!({"batch": 3, "expires": 200_000_000}), 1),
        pull("P.c", json!({"batch": 3, "expires": 900_000_000, "idle_heartbeat": 350_000_000}), 3),
        pull("P.c", json!({"batch": 3, "expires": 900_000_000, "idle_heartbeat": 600_000_000}), 1),
        pull("P.c", json!({"batch": 51}), 1),
        pull("P.c", json!({"batch": 1, "expires": 90_000_000_000_u64}), 1),
        pull("P.c", json!({"batch": 1, "max_bytes": 9000}), 1),
        api("CONSUMER.INFO.P.c", Value::Null),
        pull("P.nobody", json!({"batch": 1}), 1),
        consumer("P", "bytes", json!({"ack_policy": "none"})),
        pull("P.bytes", json!({"batch": 10, "max_bytes": 250, "expires": 300_000_000}), 4),
        pull("P.bytes", json!({"batch": 1, "max_bytes": 10, "expires": 300_000_000}), 1),
        consumer("P", "filtered", json!({"ack_policy": "none", "filter_subject": "p.1"})),
        pull("P.filtered", json!({"batch": 10, "no_wait": true}), 6),
        consumer("P", "bare", json!({"ack_policy": "none", "headers_only": true})),
        pull("P.bare", json!({"batch": 2}), 2),
        consumer("P", "one", json!({"ack_policy": "none", "max_waiting": 1, "deliver_policy": "new"})),
        pull("P.one", json!({"batch": 1, "expires": 5_000_000_000_u64}), 0),
        pull("P.one", json!({"batch": 1, "expires": 5_000_000_000_u64}), 1),
        api("CONSUMER.INFO.P.one", Value::Null),
        raw("CONSUMER.DELETE.P.one", ""),
    ]);
    Case { name: "pulling", steps }
}

fn acknowledging() -> Case {
    let mut steps = vec![create("K", json!({"subjects": ["k"]}))];
    for n in 1..=12 {
        steps.push(publish("k", &n.to_string()));
    }
    let look = |name: &str| api(&format!("CONSUMER.INFO.K.{name}"), Value::Null);
    let ack = |back: usize, text: &str| Step::Ack(back, text.to_owned());
    steps.extend([
        consumer("K", "e", json!({"ack_policy": "explicit", "max_ack_pending": 5})),
        pull("K.e", json!({"batch": 5}), 5),
        look("e"),
        ack(4, "+ACK"),
        ack(2, ""),
        look("e"),
        ack(3, "+WPI"),
        ack(3, "+TERM"),
        look("e"),
        ack(1, "+ACK"),
        ack(0, "+ACK"),
        ack(0, "+ACK"),
        look("e"),
        pull("K.e", json!({"batch": 1}), 1),
        ack(0, "+NXT"),
        ack(0, "+ACK"),
        look("e"),
        consumer("K", "a", json!({"ack_policy": "all"})),
        pull("K.a", json!({"batch": 6}), 6),
        ack(2, "+ACK"),
        look("a"),
        ack(0, "+ACK"),
        look("a"),
        consumer("K", "n", json!({"ack_policy": "none"})),
        pull("K.n", json!({"batch": 6}), 6),
        look("n"),
    ]);
    Case { name: "acknowledging", steps }
}

fn redelivery() -> Case {
    let ack = |back: usize, text: &str| Step::Ack(back, text.to_owned());
    let look = |name: &str| api(&format!("CONSUMER.INFO.D.{name}"), Value::Null);
    let wait = json!({"batch": 1, "expires": 5_000_000_000_u64});
    let steps = vec![
        create("D", json!({"subjects": ["d"]})),
        publish("d", "one"),
        publish("d", "two"),
        consumer("D", "nak", json!({"ack_policy": "explicit"})),
        pull("D.nak", json!({"batch": 1}), 1),
        ack(0, "-NAK"),
        pull("D.nak", json!({"batch": 1}), 1),
        look("nak"),
        ack(0, "-NAK {\"delay\": 200000000}"),
        pull("D.nak", wait.clone(), 1),
        pull("D.nak", wait.clone(), 1),
        look("nak"),
        ack(0, "+ACK"),
        ack(1, "+ACK"),
        look("nak"),
        consumer("D", "wait", json!({"ack_policy": "explicit", "ack_wait": 200_000_000, "max_deliver": 2})),
        pull("D.wait", json!({"batch": 1}), 1),
        pull("D.wait", json!({"batch": 1}), 1),
        pull("D.wait", wait.clone(), 1),
        pull("D.wait", wait.clone(), 1),
        pull("D.wait", json!({"batch": 1, "expires": 600_000_000}), 1),
        // How far the floor has moved past what was given up is not compared: nats-server leaves it behind.
        consumer(
            "D",
            "back",
            json!({"ack_policy": "explicit", "backoff": [100_000_000, 200_000_000], "max_deliver": 3}),
        ),
        pull("D.back", json!({"batch": 1}), 1),
        pull("D.back", json!({"batch": 1}), 1),
        pull("D.back", wait.clone(), 1),
        ack(0, "+ACK"),
    ];
    Case { name: "redelivery", steps }
}

fn policies() -> Case {
    let mut steps = vec![create("O", json!({"subjects": ["o.>"]}))];
    for n in 1..=6 {
        steps.push(publish(&format!("o.{}", n % 2), &n.to_string()));
    }
    let all = json!({"batch": 9, "no_wait": true});
    for (name, config, answers) in [
        ("all", json!({"deliver_policy": "all"}), 7),
        ("last", json!({"deliver_policy": "last"}), 2),
        ("lastf", json!({"deliver_policy": "last", "filter_subject": "o.1"}), 2),
        ("new", json!({"deliver_policy": "new"}), 1),
        ("seq", json!({"deliver_policy": "by_start_sequence", "opt_start_seq": 4}), 4),
        ("time", json!({"deliver_policy": "by_start_time", "opt_start_time": "2000-01-01T00:00:00Z"}), 7),
        ("later", json!({"deliver_policy": "by_start_time", "opt_start_time": "2100-01-01T00:00:00Z"}), 1),
        ("per", json!({"deliver_policy": "last_per_subject", "filter_subject": "o.>"}), 3),
        ("two", json!({"filter_subjects": ["o.0", "o.1"]}), 7),
    ] {
        steps.push(consumer("O", name, config));
        steps.push(pull(&format!("O.{name}"), all.clone(), answers));
        steps.push(api(&format!("CONSUMER.INFO.O.{name}"), Value::Null));
    }
    steps.extend([
        publish("o.1", "more"),
        pull("O.new", all.clone(), 2),
        pull("O.per", all.clone(), 2),
        consumer("O", "holes", json!({})),
        api("STREAM.MSG.DELETE.O", json!({"seq": 2})),
        api("STREAM.PURGE.O", json!({"filter": "o.0"})),
        api("CONSUMER.INFO.O.holes", Value::Null),
        pull("O.holes", all, 5),
    ]);
    Case { name: "deliver policies", steps }
}

/// A start beyond the end, and consumers that are set to another place.
fn places() -> Case {
    let mut steps = vec![create("P", json!({"subjects": ["p"]}))];
    steps.extend((1..=3).map(|n| publish("p", &n.to_string())));
    let all = json!({"batch": 9, "no_wait": true});
    for (name, config) in [
        ("ahead", json!({"deliver_policy": "by_start_sequence", "opt_start_seq": 5})),
        ("far", json!({"deliver_policy": "by_start_sequence", "opt_start_seq": u64::MAX})),
        ("seq", json!({"deliver_policy": "by_start_sequence", "opt_start_seq": 2})),
        ("all", json!({})),
        ("new", json!({"deliver_policy": "new"})),
        ("last", json!({"deliver_policy": "last"})),
        ("time", json!({"deliver_policy": "by_start_time", "opt_start_time": "2000-01-01T00:00:00Z"})),
    ] {
        steps.push(consumer("P", name, config));
        steps.push(api(&format!("CONSUMER.INFO.P.{name}"), Value::Null));
    }
    steps.extend([pull("P.ahead", all.clone(), 1), publish("p", "4"), pull("P.ahead", all.clone(), 1)]);
    steps.extend([
        publish("p", "5"),
        publish("p", "6"),
        pull("P.ahead", all.clone(), 3),
        pull("P.far", all, 1),
    ]);
    for name in ["seq", "all", "new", "last", "time"] {
        for seq in [1, 2, 5, 50] {
            steps.push(api(&format!("CONSUMER.RESET.P.{name}"), json!({"seq": seq})));
        }
        steps.push(api(&format!("CONSUMER.RESET.P.{name}"), Value::Null));
    }
    Case { name: "places", steps }
}

fn pushing() -> Case {
    let make = |name: &str, mut config: Value| {
        config["name"] = name.into();
        api(&format!("CONSUMER.CREATE.U.{name}"), json!({"stream_name": "U", "config": config}))
    };
    let steps = vec![
        create("U", json!({"subjects": ["u.>"]})),
        publish("u.1", "one"),
        publish("u.2", "two"),
        Step::Subscribe("out.1".to_owned()),
        make("p1", json!({"deliver_subject": "out.1", "ack_policy": "none"})),
        Step::Listen("out.1".to_owned(), 2),
        publish("u.1", "three"),
        Step::Listen("out.1".to_owned(), 1),
        api("CONSUMER.INFO.U.p1", Value::Null),
        // Nobody there yet: it starts when somebody is.
        make("p2", json!({"deliver_subject": "out.2", "ack_policy": "explicit", "durable_name": "p2"})),
        api("CONSUMER.INFO.U.p2", Value::Null),
        Step::Subscribe("out.2".to_owned()),
        Step::Listen("out.2".to_owned(), 3),
        Step::Ack(0, "+ACK".to_owned()),
        api("CONSUMER.INFO.U.p2", Value::Null),
        pull("U.p2", Value::Null, 1),
        make(
            "p3",
            json!({"deliver_subject": "out.3", "ack_policy": "none", "idle_heartbeat": 200_000_000, "deliver_policy": "new"}),
        ),
        Step::Subscribe("out.3".to_owned()),
        Step::Listen("out.3".to_owned(), 2),
        make(
            "p4",
            json!({"deliver_subject": "out.4", "ack_policy": "none", "deliver_policy": "last_per_subject", "filter_subject": "u.>", "headers_only": true}),
        ),
        Step::Subscribe("out.4".to_owned()),
        Step::Listen("out.4".to_owned(), 2),
    ];
    Case { name: "pushing", steps }
}

fn flow_control() -> Case {
    let steps = vec![
        create("F", json!({"subjects": ["f"]})),
        publish("f", "one"),
        Step::Subscribe("out".to_owned()),
        api(
            "CONSUMER.CREATE.F.fc",
            json!({"stream_name": "F", "config": {
                "name": "fc", "deliver_subject": "out", "ack_policy": "none", "flow_control": true,
                "idle_heartbeat": 300_000_000, "mem_storage": true, "num_replicas": 1, "max_deliver": 1,
                "ack_wait": 79_200_000_000_000_u64,
            }}),
        ),
        Step::Listen("out".to_owned(), 2),
        api("CONSUMER.INFO.F.fc", Value::Null),
    ];
    Case { name: "flow control", steps }
}

fn sealed() -> Case {
    let steps = vec![
        create("S", json!({"subjects": ["s"]})),
        publish("s", "x"),
        api("STREAM.UPDATE.S", json!({"name": "S", "subjects": ["s"], "sealed": true})),
        publish("s", "y"),
        api("STREAM.MSG.DELETE.S", json!({"seq": 1})),
        api("STREAM.PURGE.S", Value::Null),
        api("STREAM.UPDATE.S", json!({"name": "S", "subjects": ["s"], "sealed": false})),
        info("S"),
    ];
    Case { name: "sealed", steps }
}

fn ttl() -> Case {
    let steps = vec![
        create(
            "T",
            json!({"subjects": ["t.>"], "allow_msg_ttl": true, "max_age": 500_000_000, "duplicate_window": 100_000_000}),
        ),
        publish_with("t.never", &[("Nats-TTL", "never")], "x"),
        publish_with("t.bad", &[("Nats-TTL", "soon")], "x"),
        publish_with("t.bad", &[("Nats-TTL", "0.5s")], "x"),
        publish_with("t.long", &[("Nats-TTL", "1h")], "x"),
        publish("t.age", "x"),
        consumer("T", "c", json!({"deliver_policy": "new"})),
        // Two seconds pass.
        pull("T.c", json!({"batch": 1, "expires": 2_000_000_000_u64}), 1),
        info("T"),
        create("TTL", json!({"subjects": ["ttl"], "allow_msg_ttl": true})),
        publish_with("ttl", &[("Nats-TTL", "1")], "x"),
        publish("ttl", "x"),
        pull("T.c", json!({"batch": 1, "expires": 2_500_000_000_u64}), 1),
        info("TTL"),
    ];
    Case { name: "ttl", steps }
}

fn out_of_scope() -> Case {
    // Only what the real server answers in the same way, being alone.
    let steps = vec![
        create("S", json!({"subjects": ["s"]})),
        consumer("S", "c", json!({"ack_policy": "explicit"})),
        raw("STREAM.LEADER.STEPDOWN.S", "{}"),
        raw("STREAM.PEER.REMOVE.S", "{}"),
        raw("CONSUMER.LEADER.STEPDOWN.S.c", "{}"),
    ];
    Case { name: "out of scope", steps }
}
