//! Virtual media as clients insert and eject it.

mod support;

use prost::Message as _;
use redfish::{Fault, Method};
use schema::Code;
use schema::v1alpha1 as v1;
use serde_json::{Value, json};
use support::{Bench, said};

const OF_MANAGER: &str = "/redfish/v1/Managers/bmc/VirtualMedia/cd";
const OF_SYSTEM: &str = "/redfish/v1/Systems/system/VirtualMedia/cd";

/// What mediasrv is asked to insert by this body; what is said where it is not asked.
fn inserted(
    bench: &mut Bench,
    method: Method,
    path: &str,
    body: &Value,
) -> Result<v1::InsertMediaRequest, String> {
    bench.called.clear();
    let answer = bench.send(method, path, body);
    match bench.called.last() {
        Some(call) if call.method.method == "InsertMedia" => {
            assert!(matches!(answer.status, 200 | 204), "{}", said(&answer));
            Ok(v1::InsertMediaRequest::decode(call.request.as_slice()).unwrap())
        }
        _ => Err(said(&answer)),
    }
}

#[test]
fn a_drive_is_shown_below_the_manager_and_below_its_machine() {
    let mut bench = Bench::agreeing();
    for path in [OF_MANAGER, OF_SYSTEM] {
        let shown = bench.shown(path);
        assert_eq!(shown["Inserted"], true);
        assert_eq!(shown["Image"], "https://images.example/a.iso");
        assert_eq!(shown["ImageName"], "a.iso");
        assert_eq!(
            (&shown["ConnectedVia"], &shown["TransferProtocolType"]),
            (&json!("URI"), &json!("HTTPS"))
        );
        assert_eq!(shown["WriteProtected"], true);
        assert_eq!(shown["MediaTypes"], json!(["CD", "DVD"]));
        // Clients give what they see, and a secret is never shown.
        for name in ["UserName", "Password"] {
            assert_eq!(shown.get(name), Some(&Value::Null), "{name}");
        }
    }
    assert_eq!(bench.get("/redfish/v1/Systems/system/VirtualMedia/none").status, 404);
    assert_eq!(bench.get("/redfish/v1/Systems/other/VirtualMedia").status, 404);
    let empty = v1::MediaSlot {
        name: "usb".into(),
        host_name: "system".into(),
        kind: v1::MediaKind::Usb.into(),
        state: v1::MediaState::Empty.into(),
        ..v1::MediaSlot::default()
    };
    bench.say(
        "rpc.MediaService.ListMedia",
        &v1::ListMediaResponse { slots: vec![empty], ..Default::default() },
    );
    let shown = bench.shown("/redfish/v1/Systems/system/VirtualMedia/usb");
    assert_eq!((&shown["Inserted"], &shown["ConnectedVia"]), (&json!(false), &json!("NotConnected")));
    // What clients compare with is there, and null.
    for name in ["Image", "ImageName", "UserName", "Password", "TransferMethod", "TransferProtocolType"] {
        assert_eq!(shown.get(name), Some(&Value::Null), "{name}");
    }
    assert_eq!(shown["MediaTypes"], json!(["USBStick"]));
    // A board without drives has no links to any.
    bench.refuse("rpc.MediaService.ListMedia", Fault::new(Code::Unavailable, "mediasrv does not run"));
    assert!(bench.shown("/redfish/v1/Systems/system").get("VirtualMedia").is_none());
    assert!(bench.shown("/redfish/v1/Managers/bmc").get("VirtualMedia").is_none());
}

#[test]
fn a_drive_is_where_it_is_and_nowhere_else() {
    let mut bench = Bench::agreeing();
    let body = json!({"Image": "https://images.example/a.iso"});
    for at in ["Managers/system", "Systems/bmc", "Managers/other", "Systems/other"] {
        let path = format!("/redfish/v1/{at}/VirtualMedia/cd");
        let action = format!("{path}/Actions/VirtualMedia.InsertMedia");
        for (method, path) in [
            (Method::Get, path.clone()),
            (Method::Get, format!("{path}/InsertMediaActionInfo")),
            (Method::Patch, path.clone()),
            (Method::Post, action),
            (Method::Post, format!("{path}/Actions/VirtualMedia.EjectMedia")),
        ] {
            let body = if path.ends_with("EjectMedia") { json!({}) } else { body.clone() };
            assert_eq!(bench.send(method, &path, &body).status, 404, "{} {path}", method.name());
        }
    }
    assert!(bench.called.is_empty(), "{:?}", bench.called);
}

#[test]
fn plain_http_is_offered_where_an_image_may_come_by_it() {
    let mut bench = Bench::agreeing();
    let media = |bench: &Bench, plain_http| {
        let known = bench.answers["rpc.MediaService.ListMedia"].clone().unwrap();
        v1::ListMediaResponse { plain_http, ..v1::ListMediaResponse::decode(known.as_slice()).unwrap() }
    };
    for (plain_http, expected) in [(false, json!(["HTTPS"])), (true, json!(["HTTPS", "HTTP"]))] {
        let media = media(&bench, plain_http);
        bench.say("rpc.MediaService.ListMedia", &media);
        for path in [OF_MANAGER, OF_SYSTEM] {
            let action = bench.shown(path)["Actions"]["#VirtualMedia.InsertMedia"].clone();
            assert_eq!(action["TransferProtocolType@Redfish.AllowableValues"], expected, "{path}");
            assert_eq!(action["TransferMethod@Redfish.AllowableValues"], json!(["Stream", "Upload"]));
            let info = bench.shown(action["@Redfish.ActionInfo"].as_str().unwrap());
            let parameters = info["Parameters"].as_array().unwrap();
            let protocol = parameters.iter().find(|one| one["Name"] == "TransferProtocolType").unwrap();
            assert_eq!(protocol["AllowableValues"], expected, "{path}");
        }
    }
}

#[test]
fn media_is_inserted_as_the_clients_ask() {
    let mut bench = Bench::agreeing();
    let action = format!("{OF_MANAGER}/Actions/VirtualMedia.InsertMedia");
    // sushy and Ansible.
    let url = "https://images.example/b.iso";
    let asked = inserted(
        &mut bench,
        Method::Post,
        &action,
        &json!({"Image": url, "Inserted": true, "WriteProtected": true}),
    );
    let asked = asked.unwrap();
    assert_eq!((asked.name.as_str(), asked.url.as_str(), asked.writable), ("cd", url, false));
    let body = json!({
        "Image": "images.example/b.iso",
        "TransferProtocolType": "HTTPS",
        "TransferMethod": "Stream",
        "UserName": "ann",
        "Password": "hush"
    });
    let asked = inserted(&mut bench, Method::Post, &action, &body).unwrap();
    assert_eq!(
        (asked.url.as_str(), asked.source_username.as_str(), asked.source_password.as_str()),
        (url, "ann", "hush")
    );
    let asked =
        inserted(&mut bench, Method::Post, &action, &json!({"Image": url, "WriteProtected": false})).unwrap();
    assert!(asked.writable);
    let asked =
        inserted(&mut bench, Method::Patch, OF_SYSTEM, &json!({"Image": url, "Inserted": true})).unwrap();
    assert_eq!((asked.url.as_str(), asked.writable), (url, false));
    for (body, wrong) in [
        (json!({}), "ActionParameterMissing"),
        (json!({"Image": url, "Inserted": false}), "ActionParameterNotSupported"),
        (json!({"Image": url, "TransferMethod": "Push"}), "ActionParameterValueNotInList"),
        (json!({"Image": url, "TransferProtocolType": "CIFS"}), "ActionParameterValueNotInList"),
    ] {
        let said = inserted(&mut bench, Method::Post, &action, &body).unwrap_err();
        assert!(said.contains(wrong), "{body}: {said}");
    }
    let dead = Fault {
        reason: "MEDIA_SOURCE_FAILED".into(),
        ..Fault::new(Code::FailedPrecondition, "no such file (404)")
    };
    bench.refuse("rpc.MediaService.InsertMedia", dead);
    let answer = bench.send(Method::Post, &action, &json!({"Image": url}));
    assert_eq!((answer.status, said(&answer).contains("CouldNotEstablishConnection")), (409, true));
}

#[test]
fn an_image_that_is_copied_first_is_a_task_until_it_is_inserted() {
    let mut bench = Bench::agreeing();
    let copy = |state: v1::MediaCopyState, received_bytes| v1::MediaCopy {
        id: "copy-1".into(),
        slot_name: "cd".into(),
        image_name: "a.iso".into(),
        state: state.into(),
        size_bytes: 1000,
        received_bytes,
        fault: if state == v1::MediaCopyState::Failed { "no such file (404)".into() } else { String::new() },
        ..v1::MediaCopy::default()
    };
    let running = copy(v1::MediaCopyState::Running, 250);
    bench.say(
        "rpc.MediaService.InsertMedia",
        &v1::InsertMediaResponse { copy: Some(running.clone()), ..v1::InsertMediaResponse::default() },
    );
    let body = json!({"Image": "https://images.example/a.iso", "TransferMethod": "Upload"});
    let action = format!("{OF_SYSTEM}/Actions/VirtualMedia.InsertMedia");
    let answer = bench.send(Method::Post, &action, &body);
    let monitor = "/redfish/v1/TaskService/TaskMonitors/copy-1";
    assert_eq!((answer.status, answer.header("location")), (202, Some(monitor)));
    // Some clients follow the monitor, others read the task in the body.
    assert_eq!(answer.header("retry-after"), Some("1"));
    let begun = answer.value().clone();
    let asked = v1::InsertMediaRequest::decode(bench.called.last().unwrap().request.as_slice()).unwrap();
    assert!(asked.copy);
    for (copy, state, percent, status) in [
        (running, "Running", 25, 202),
        (copy(v1::MediaCopyState::Done, 1000), "Completed", 100, 204),
        (copy(v1::MediaCopyState::Failed, 1000), "Exception", 99, 409),
        (copy(v1::MediaCopyState::Stopped, 500), "Cancelled", 50, 409),
    ] {
        bench.say(
            "rpc.MediaService.ListMedia",
            &v1::ListMediaResponse { copies: vec![copy], ..Default::default() },
        );
        let task = bench.shown("/redfish/v1/TaskService/Tasks/copy-1");
        assert_eq!(
            (&task["TaskState"], &task["PercentComplete"]),
            (&json!(state), &json!(percent)),
            "{task}"
        );
        assert_eq!(
            (task["TaskMonitor"].as_str(), task["Name"].as_str()),
            (Some(monitor), Some("cd: copy a.iso"))
        );
        for name in ["@odata.id", "@odata.type", "Id", "Name", "TaskMonitor"] {
            assert_eq!(begun[name], task[name], "{name}");
        }
        let monitored = bench.get(monitor);
        assert_eq!(monitored.status, status, "{state}");
        // Why, for who sees no more than this.
        let why = &monitored.value()["error"]["@Message.ExtendedInfo"][0]["Resolution"];
        match state {
            "Exception" => assert_eq!(why, "no such file (404)"),
            "Cancelled" => assert_eq!(why, "it was ejected before it was inserted"),
            _ => assert!(why.is_null(), "{why}"),
        }
        let tasks = bench.shown("/redfish/v1/TaskService/Tasks").to_string();
        assert!(tasks.contains("Tasks/copy-1") && tasks.contains("Tasks/op-1"), "{tasks}");
    }
}

#[test]
fn whether_a_certificate_is_verified_is_said_before_an_insertion() {
    let mut bench = Bench::agreeing();
    let answer = bench.send(Method::Patch, OF_SYSTEM, &json!({"VerifyCertificate": false}));
    assert!(matches!(answer.status, 200 | 204), "{}", said(&answer));
    let call = bench.called.last().unwrap();
    assert_eq!(call.method.method, "ConfigureMedia");
    let asked = v1::ConfigureMediaRequest::decode(call.request.as_slice()).unwrap();
    assert_eq!((asked.name.as_str(), asked.verify_certificate), ("cd", Some(false)));
    // Together with an image it is one call.
    bench.called.clear();
    let body = json!({"Image": "https://images.example/b.iso", "VerifyCertificate": true});
    let answer = bench.send(Method::Patch, OF_SYSTEM, &body);
    assert!(matches!(answer.status, 200 | 204), "{}", said(&answer));
    let methods: Vec<&str> = bench.called.iter().map(|call| call.method.method).collect();
    assert_eq!(methods, ["InsertMedia"]);
    let asked = v1::InsertMediaRequest::decode(bench.called[0].request.as_slice()).unwrap();
    assert_eq!(asked.verify_certificate, Some(true));
    // An empty drive says how the next one is inserted.
    let empty = v1::MediaSlot {
        name: "cd".into(),
        host_name: "system".into(),
        kind: v1::MediaKind::Cd.into(),
        state: v1::MediaState::Empty.into(),
        verify_certificate: true,
        ..v1::MediaSlot::default()
    };
    bench.say(
        "rpc.MediaService.ListMedia",
        &v1::ListMediaResponse { slots: vec![empty], ..Default::default() },
    );
    assert_eq!(bench.shown(OF_MANAGER)["VerifyCertificate"], true);
}

#[test]
fn media_is_ejected_by_the_action_and_by_an_image_that_is_none() {
    let mut bench = Bench::agreeing();
    let action = format!("{OF_SYSTEM}/Actions/VirtualMedia.EjectMedia");
    for (method, path, body) in
        [(Method::Post, action.as_str(), json!({})), (Method::Patch, OF_MANAGER, json!({"Image": null}))]
    {
        bench.called.clear();
        let answer = bench.send(method, path, &body);
        assert!(matches!(answer.status, 200 | 204), "{body}: {}", said(&answer));
        assert_eq!(bench.called.last().unwrap().method.method, "EjectMedia", "{body}");
    }
    for body in [json!({"Inserted": false}), json!({"UserName": "x"})] {
        bench.called.clear();
        let answer = bench.send(Method::Patch, OF_MANAGER, &body);
        assert_eq!((answer.status, bench.called.len()), (400, 0), "{body}: {}", said(&answer));
    }
}
