//! The machine of a drive, by tables and properties.

use proptest::prelude::*;

use super::*;

fn at(ms: u64) -> Mono {
    Mono::from_millis(ms)
}

fn url(name: &str) -> Medium {
    Medium {
        source: Source::Url {
            url: format!("https://192.0.2.1/{name}"),
            verify: true,
            username: String::new(),
            password: "secret".to_owned(),
        },
        name: name.to_owned(),
        is_read_only: true,
        account: "ann".to_owned(),
        inserted_ms: 1,
        size: 0,
        validator: None,
    }
}

fn found(size: u64) -> Opened {
    Opened { size, validator: Some("\"one\"".to_owned()) }
}

fn session(modified_ms: u64) -> Medium {
    Medium { source: Source::Session { size: 4096, modified_ms }, size: 4096, ..url("local.iso") }
}

fn inserted() -> Slot {
    let mut slot = Slot::new(Kind::Cd);
    let mut out = Vec::new();
    assert_eq!(slot.insert(url("a"), at(0), &mut out), Answer::Begun);
    slot.opened(Ok(found(2048)), at(0), &mut out);
    slot.kept(Ok(()), at(0), &mut out);
    slot.attached(Ok(()), at(0), &mut out);
    assert_eq!(
        out,
        [Effect::Open, Effect::Keep, Effect::Attach, Effect::Tell(Change::Inserted)],
        "kept before the host sees it"
    );
    assert_eq!((slot.state(), slot.percent(), slot.deadline()), (State::Inserted, 100, None));
    slot
}

#[test]
fn a_medium_is_inserted_and_ejected_and_what_is_so_already_changes_nothing() {
    let mut slot = inserted();
    let mut out = Vec::new();
    assert_eq!(slot.insert(url("a"), at(1), &mut out), Answer::AlreadySo);
    assert!(
        matches!(slot.insert(url("b"), at(1), &mut out), Answer::Refused(why) if why.contains("eject it first"))
    );
    assert_eq!(out, []);
    assert_eq!(slot.eject("bob", at(2), &mut out), Answer::Begun);
    assert_eq!(out, [Effect::Keep, Effect::Close, Effect::Detach]);
    assert_eq!(slot.to_keep(), None, "forgotten before it is out");
    assert!(matches!(slot.insert(url("b"), at(2), &mut Vec::new()), Answer::Refused(_)));
    out.clear();
    slot.detached(Ok(()), &mut out);
    assert_eq!((slot.state(), out.len()), (State::Ejecting, 0), "it is not forgotten yet");
    slot.kept(Ok(()), at(2), &mut out);
    assert_eq!(out, [Effect::Tell(Change::Ejected(Some("bob".to_owned())))]);
    assert_eq!((slot.state(), slot.medium(), slot.is_stale()), (State::Empty, None, false));
    assert_eq!(slot.forgotten(), Ok(()));
    assert_eq!(slot.eject("bob", at(3), &mut out), Answer::AlreadySo);
}

#[test]
fn whatever_fails_on_the_way_leaves_an_empty_drive_and_a_reason() {
    for step in 0..3 {
        let mut slot = Slot::new(Kind::Cd);
        let mut out = Vec::new();
        slot.insert(url("a"), at(0), &mut out);
        let result = |which: i32| if which == step { Err("no".to_owned()) } else { Ok(()) };
        slot.opened(result(0).map(|()| found(2048)), at(0), &mut out);
        slot.kept(result(1), at(0), &mut out);
        slot.attached(result(2), at(0), &mut out);
        // What may be kept is forgotten before it is told, and what may be in the drive is taken out.
        assert_eq!(slot.state(), if step == 0 { State::Empty } else { State::Ejecting });
        assert_eq!(out.contains(&Effect::Detach), step > 0);
        slot.detached(Ok(()), &mut out);
        slot.kept(Ok(()), at(0), &mut out);
        assert_eq!((slot.state(), slot.medium(), slot.to_keep()), (State::Empty, None, None));
        assert!(
            matches!(out.last(), Some(Effect::Tell(Change::Failed(why))) if why.contains("no")),
            "{out:?}"
        );
        assert!(slot.fault().contains("no") && slot.outcome().is_err());
        assert_eq!(slot.tried().map(|tried| (tried.name.as_str(), tried.inserted_ms)), Some(("a", 1)));
        slot.insert(url("b"), at(1), &mut out);
        assert_eq!(slot.tried(), None, "another one is on its way");
    }
    assert_eq!(inserted().tried(), None);
    let mut slot = Slot::new(Kind::Cd);
    let mut out = Vec::new();
    slot.insert(url("a"), at(0), &mut out);
    slot.opened(Ok(found(0)), at(0), &mut out);
    assert_eq!((slot.state(), slot.fault()), (State::Empty, "it is empty"));
}

#[test]
fn no_wait_is_without_an_end() {
    let mut slot = Slot::new(Kind::Cd);
    let mut out = Vec::new();
    slot.insert(url("a"), at(0), &mut out);
    slot.tick(at(19_999), &mut out);
    assert_eq!(slot.state(), State::Inserting);
    slot.tick(at(20_000), &mut out);
    assert_eq!(slot.fault(), "its source does not answer");
    // What comes late is of no effect.
    out.clear();
    slot.opened(Ok(found(2048)), at(20_001), &mut out);
    slot.kept(Ok(()), at(20_001), &mut out);
    assert_eq!((slot.state(), out.len()), (State::Empty, 0));

    // Neither the drive nor the medium of the state answers: the caller is told within its time all the same.
    let mut slot = Slot::new(Kind::Cd);
    slot.insert(url("a"), at(0), &mut out);
    slot.opened(Ok(found(2048)), at(0), &mut out);
    slot.kept(Ok(()), at(0), &mut out);
    slot.tick(at(20_000), &mut out);
    assert_eq!(slot.state(), State::Ejecting);
    slot.tick(at(23_000), &mut out);
    assert_eq!((slot.state(), slot.fault()), (State::Empty, "the host's drive does not answer"));
    assert!(slot.is_stale() && slot.forgotten().is_err());

    let mut slot = inserted();
    slot.eject("ann", at(0), &mut out);
    slot.kept(Ok(()), at(0), &mut out);
    out.clear();
    slot.tick(at(5000), &mut out);
    assert_eq!(out, [Effect::Tell(Change::Ejected(Some("ann".to_owned())))]);
    assert!(slot.is_stale(), "the drive is emptied once it answers");
    slot.detached(Ok(()), &mut out);
    assert!(!slot.is_stale());
}

#[test]
fn an_ejection_that_cannot_be_remembered_is_said_and_tried_until_it_is() {
    let mut slot = inserted();
    let mut out = Vec::new();
    slot.eject("ann", at(0), &mut out);
    slot.detached(Ok(()), &mut out);
    slot.kept(Err("no space".to_owned()), at(10), &mut out);
    assert_eq!((slot.state(), slot.deadline()), (State::Ejecting, Some(at(1010))));
    out.clear();
    slot.tick(at(1010), &mut out);
    assert_eq!(out, [Effect::Keep]);
    slot.kept(Err("no space".to_owned()), at(1020), &mut out);
    out.clear();
    slot.tick(at(5000), &mut out);
    assert!(out.contains(&Effect::Tell(Change::Ejected(Some("ann".to_owned())))), "it is out: {out:?}");
    assert!(slot.forgotten().unwrap_err().contains("no space") && slot.fault().contains("no space"));
    // Who asks again waits for it again.
    out.clear();
    assert_eq!(slot.eject("ann", at(5001), &mut out), Answer::Begun);
    assert_eq!(out, [Effect::Keep, Effect::Close, Effect::Detach]);
    out.clear();
    slot.kept(Ok(()), at(5002), &mut out);
    slot.detached(Ok(()), &mut out);
    assert_eq!((slot.state(), slot.forgotten(), slot.fault(), out.len()), (State::Empty, Ok(()), "", 0));
    assert_eq!(slot.eject("ann", at(5003), &mut out), Answer::AlreadySo);
}

#[test]
fn a_drive_of_which_nothing_is_known_is_emptied() {
    let mut slot = Slot::new(Kind::Usb);
    assert!(slot.is_stale(), "the daemon before may have died amid an ejection");
    let mut out = Vec::new();
    assert_eq!(slot.eject("ann", at(0), &mut out), Answer::Begun);
    assert!(out.contains(&Effect::Detach));
    slot.kept(Ok(()), at(0), &mut out);
    slot.detached(Ok(()), &mut out);
    assert!(!slot.is_stale() && slot.state() == State::Empty);
    assert!(!out.iter().any(|effect| matches!(effect, Effect::Tell(_))), "nobody ejected anything: {out:?}");
    // What is put back is not taken out first.
    let mut slot = Slot::new(Kind::Cd);
    slot.restore(Medium { size: 2048, ..url("a") }, at(0), &mut out);
    assert!(!slot.is_stale());
}

#[test]
fn a_source_that_comes_and_goes_is_told_so_often_and_how_often_it_was_not() {
    let mut slot = inserted();
    let mut told = Vec::new();
    for second in 0..100 {
        slot.lost("gone", at(second * 1000), &mut told);
        slot.back(at(second * 1000 + 500), &mut told);
        slot.tick(at(second * 1000 + 500), &mut told);
    }
    assert!(told.len() <= 12, "{}", told.len());
    assert_eq!(slot.state(), State::Inserted, "which is true at once");
    // As it stays is told, in the end.
    told.clear();
    slot.tick(slot.deadline().unwrap(), &mut told);
    let [Effect::Tell(Change::Ready { untold })] = told[..] else { panic!("{told:?}") };
    assert!(untold > 50, "{untold}");
    assert_eq!(slot.deadline(), None);
}

#[test]
fn what_tells_versions_of_an_image_is_kept_with_it_and_a_server_without_is_said() {
    assert_eq!(inserted().to_keep().unwrap().validator.as_deref(), Some("\"one\""));
    let text = serde_json::to_string(inserted().to_keep().unwrap()).unwrap();
    assert_eq!(serde_json::from_str::<Medium>(&text).unwrap(), *inserted().to_keep().unwrap());
    for (validator, is_unsure) in [(None, true), (Some("\"one\"".to_owned()), false)] {
        let mut slot = Slot::new(Kind::Cd);
        let mut out = Vec::new();
        slot.restore(Medium { size: 2048, validator, ..url("a") }, at(0), &mut out);
        slot.opened(Ok(found(2048)), at(0), &mut out);
        slot.attached(Ok(()), at(0), &mut out);
        assert!(out.contains(&Effect::Tell(Change::Reattached { is_unsure })), "{out:?}");
    }
}

#[test]
fn what_is_only_asked_for_is_not_kept_with_what_others_have() {
    let mut slot = Slot::new(Kind::Cd);
    slot.insert(url("a"), at(0), &mut Vec::new());
    assert_eq!(slot.to_keep(), None);
}

#[test]
fn a_medium_is_ejected_from_every_state() {
    for steps in 0..3 {
        let mut slot = Slot::new(Kind::Cd);
        let mut out = Vec::new();
        slot.insert(url("a"), at(0), &mut out);
        if steps > 0 {
            slot.opened(Ok(found(2048)), at(0), &mut out);
        }
        if steps > 1 {
            slot.kept(Ok(()), at(0), &mut out);
        }
        assert_eq!(slot.eject("ann", at(1), &mut out), Answer::Begun);
        // What was begun ends in between.
        slot.opened(Ok(found(2048)), at(0), &mut out);
        slot.kept(Ok(()), at(0), &mut out);
        slot.attached(Ok(()), at(0), &mut out);
        slot.detached(Ok(()), &mut out);
        slot.kept(Ok(()), at(1), &mut out);
        assert_eq!(slot.state(), State::Empty, "{steps}");
    }
    let mut slot = inserted();
    let mut out = Vec::new();
    slot.lost("gone", at(0), &mut out);
    assert_eq!(slot.state(), State::NotReady);
    assert_eq!(slot.eject("ann", at(1), &mut out), Answer::Begun);
}

#[test]
fn what_is_written_and_where_is_asked_for() {
    let writable = Medium { is_read_only: false, ..url("a") };
    let stored = Medium { source: Source::Store, is_read_only: false, ..url("a") };
    let mut out = Vec::new();
    let mut answer = |kind, medium: &Medium| Slot::new(kind).insert(medium.clone(), at(0), &mut out);
    assert!(matches!(answer(Kind::Cd, &stored), Answer::Refused(_)));
    assert!(matches!(answer(Kind::Usb, &writable), Answer::Refused(_)));
    assert_eq!(answer(Kind::Usb, &stored), Answer::Begun);
}

#[test]
fn what_was_kept_is_offered_again_and_that_is_told() {
    let restored = |medium: Medium, opened: Result<Opened, String>| {
        let mut slot = Slot::new(Kind::Cd);
        let mut out = Vec::new();
        slot.restore(medium, at(0), &mut out);
        slot.opened(opened, at(0), &mut out);
        slot.kept(Ok(()), at(0), &mut out);
        slot.attached(Ok(()), at(0), &mut out);
        (slot, out)
    };
    let kept = Medium { size: 2048, validator: found(0).validator, ..url("a") };
    let (slot, out) = restored(kept.clone(), Ok(found(2048)));
    assert_eq!(slot.state(), State::Inserted);
    assert!(out.contains(&Effect::Tell(Change::Reattached { is_unsure: false })));
    // A server that is away at that moment keeps the medium in the drive.
    let (mut slot, out) = restored(kept.clone(), Err("refused".to_owned()));
    assert_eq!((slot.state(), slot.fault()), (State::NotReady, "refused"));
    assert!(out.contains(&Effect::Tell(Change::NotReady { why: "refused".to_owned(), untold: 0 })));
    let mut out = Vec::new();
    slot.back(at(0), &mut out);
    assert_eq!((slot.state(), out), (State::Inserted, vec![Effect::Tell(Change::Ready { untold: 0 })]));
    // A drive that is not there at that moment gets it when it is.
    let mut slot = Slot::new(Kind::Cd);
    let mut out = Vec::new();
    slot.restore(kept.clone(), at(0), &mut out);
    slot.opened(Ok(found(2048)), at(0), &mut out);
    slot.kept(Ok(()), at(0), &mut out);
    slot.attached(Err("no twin".to_owned()), at(0), &mut out);
    assert_eq!((slot.state(), slot.fault()), (State::NotReady, "no twin"));
    slot.lost("gone", at(0), &mut out);
    slot.vanished(&mut out);
    slot.attached(Ok(()), at(0), &mut out);
    assert_eq!((slot.state(), slot.fault()), (State::NotReady, "gone"), "its source is not, yet");
    slot.back(at(0), &mut out);
    assert_eq!((slot.state(), slot.fault()), (State::Inserted, ""));
    // Another image under the same name is not what the host has in its drive.
    let (mut slot, mut out) = restored(kept, Ok(found(4096)));
    assert!(slot.state() == State::Ejecting && out.contains(&Effect::Detach) && slot.to_keep().is_none());
    slot.kept(Ok(()), at(1), &mut out);
    slot.detached(Ok(()), &mut out);
    assert_eq!(slot.fault(), "it has 4096 bytes and not 2048 any more");
}

#[test]
fn a_session_goes_on_with_the_same_file_of_the_same_account_only() {
    let first = session(5);
    assert!(first.goes_on_with(&session(5)) && !first.is_same(&session(5)));
    assert!(!first.goes_on_with(&session(6)));
    assert!(!first.goes_on_with(&Medium { account: "bob".to_owned(), ..session(5) }));
    assert!(!first.goes_on_with(&url("local.iso")));
}

#[test]
fn a_medium_is_remembered_from_when_it_is_kept_until_it_is_ejected() {
    let (mut slot, mut out) = (Slot::new(Kind::Cd), Vec::new());
    slot.insert(url("a"), at(0), &mut out);
    assert_eq!((slot.to_keep(), slot.remembered()), (None, None), "it is only asked for");
    slot.opened(Ok(found(2048)), at(0), &mut out);
    assert_eq!((slot.to_keep().is_some(), slot.remembered()), (true, None), "it is on its way to the store");
    slot.kept(Ok(()), at(0), &mut out);
    assert_eq!(slot.remembered().map(|medium| medium.name.as_str()), Some("a"));
    slot.attached(Ok(()), at(0), &mut out);
    assert_eq!(slot.remembered().map(|medium| medium.name.as_str()), Some("a"));
    slot.eject("ann", at(1), &mut out);
    assert_eq!(slot.remembered(), None);
}

#[test]
fn a_password_is_in_no_log() {
    assert!(!format!("{:?}", url("a")).contains("secret"));
}

#[test]
fn a_drive_that_was_made_anew_gets_its_medium_back() {
    let mut slot = inserted();
    let mut out = Vec::new();
    slot.vanished(&mut out);
    assert_eq!(out, [Effect::Attach]);
    out.clear();
    slot.attached(Ok(()), at(0), &mut out);
    assert_eq!((slot.state(), out.len()), (State::Inserted, 0));
    slot.ejected_by_host(at(1), &mut out);
    slot.kept(Ok(()), at(1), &mut out);
    slot.detached(Ok(()), &mut out);
    assert!(out.contains(&Effect::Tell(Change::Ejected(None))));
}

proptest! {
    #[test]
    fn whatever_happens_it_ends_and_can_be_ejected(steps in prop::collection::vec((0..12_u8, any::<bool>(), 0..30_000_u64), 0..60)) {
        let mut slot = Slot::new(Kind::Cd);
        let mut now = 0;
        // What was given to be kept last, and what is on flash.
        let (mut given, mut kept) = (false, false);
        let result = |good: bool| if good { Ok(()) } else { Err("no".to_owned()) };
        for (what, good, ms) in steps {
            let mut out = Vec::new();
            let before = slot.state();
            match what {
                0 | 1 => {
                    let answer = slot.insert(url(if good { "a" } else { "b" }), at(now), &mut out);
                    if answer != Answer::Begun {
                        prop_assert!(out.is_empty() && slot.state() == before, "a refused request has no effect");
                    }
                }
                2 => drop(slot.eject("ann", at(now), &mut out)),
                3 => slot.opened(result(good).map(|()| found(2048)), at(now), &mut out),
                4 => {
                    if good {
                        kept = given;
                    }
                    slot.kept(result(good), at(now), &mut out);
                }
                5 => slot.attached(result(good), at(now), &mut out),
                6 => slot.detached(result(good), &mut out),
                7 => slot.lost("x", at(now), &mut out),
                8 => slot.back(at(now), &mut out),
                9 => slot.ejected_by_host(at(now), &mut out),
                10 => slot.vanished(&mut out),
                _ => {
                    now += ms;
                    slot.tick(at(now), &mut out);
                }
            }
            if out.contains(&Effect::Keep) {
                given = slot.to_keep().is_some();
            }
            if slot.state() == State::Empty && slot.forgotten().is_ok() {
                prop_assert!(!kept, "what is told to be out is not inserted again by a restart");
            }
            prop_assert!(slot.remembered().is_none() || kept, "what is told to be in it is inserted again by a restart");
            prop_assert!(!slot.is_busy() || slot.deadline().is_some());
            prop_assert!(slot.state() == State::Ejecting || slot.medium().is_none() == (slot.state() == State::Empty));
        }
        let mut out = Vec::new();
        slot.tick(at(now + 20_000), &mut out);
        slot.tick(at(now + 25_000), &mut out);
        prop_assert!(!slot.is_busy());
        slot.eject("ann", at(now), &mut out);
        slot.tick(at(now + 5000), &mut out);
        prop_assert_eq!(slot.state(), State::Empty);
    }
}
