//! Events as they are listed, resolved and reopened.

use prost::Message;
use schema::v1alpha1::{
    Event, EventResolution, ListEventsRequest, ListEventsResponse, ReopenEventsResponse,
    ResolveEventsRequest, ResolveEventsResponse,
};

use super::{Server, code, err, ok, out};

#[test]
fn through_a_pipe_a_row_is_one_line() {
    let message = "the operating system did not shut down in time ".repeat(8).trim().to_owned();
    let event = Event { message: message.clone(), what: "operation".into(), ..Default::default() };
    let server = Server::start(move |_, _| {
        ok(&ListEventsResponse { events: vec![event.clone(), event.clone()], ..Default::default() })
    });
    let listed = out(&server.run("event list"));
    assert_eq!(listed.lines().filter(|line| line.contains(&message)).count(), 2, "{listed}");
    assert_eq!(listed.lines().count(), 3, "{listed}");
}

#[test]
fn events_are_resolved_by_their_ids_and_listed_by_it() {
    let server = Server::start(|method, _| match method {
        "EventService.ResolveEvents" => {
            ok(&ResolveEventsResponse { changed: vec!["b".into()], ..Default::default() })
        }
        "EventService.ReopenEvents" => ok(&ReopenEventsResponse { changed: vec!["a".into()] }),
        _ => {
            let resolution =
                EventResolution { username: "olga".into(), note: "fan replaced".into(), time: None };
            let event = Event { id: "0a".into(), resolution: Some(resolution), ..Default::default() };
            ok(&ListEventsResponse { events: vec![event], resolutions_unknown: true, ..Default::default() })
        }
    });
    let done = server.run("event resolve a b --note seen");
    assert_eq!(out(&done), "1 event is resolved, 1 was so before\n", "{}", err(&done));
    let sent = ResolveEventsRequest::decode(server.sent().pop().unwrap().body.as_slice()).unwrap();
    assert_eq!((sent.ids, sent.note.as_str()), (vec!["a".to_owned(), "b".to_owned()], "seen"));
    assert_eq!(out(&server.run("event reopen a")), "1 event is reopened\n");
    for (flag, resolved) in [("", None), (" --unresolved", Some(false)), (" --resolved", Some(true))] {
        let listed = server.run(&format!("event list{flag}"));
        assert!(
            out(&listed).contains("olga, -: fan replaced") && out(&listed).contains("0a"),
            "{}",
            out(&listed)
        );
        assert!(err(&listed).contains("cannot be read now"), "{}", err(&listed));
        let sent = ListEventsRequest::decode(server.sent().pop().unwrap().body.as_slice()).unwrap();
        assert_eq!(sent.resolved, resolved);
    }
    assert_eq!(code(&server.run("event resolve")), 2);
    assert_eq!(code(&server.run("event list --resolved --unresolved")), 2);
}
