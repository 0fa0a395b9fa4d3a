//! Anything that daemons may say: the model takes it or leaves it, stays within its bounds, and numbers never go back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::{Answer, Domain, Input, Model};
use prost::Message as _;
use schema::v1alpha1 as v1;
use units::Mono;

fuzz_target!(|inputs: Vec<(u8, u16, &[u8])>| {
    let mut model = Model::new(1);
    let (mut queries, mut open, mut now) = (Vec::new(), Vec::new(), 0_u64);
    model.step(Mono::ZERO, 0, Input::Tick, &mut queries);
    for (kind, wait, bytes) in inputs {
        now += u64::from(wait);
        open.append(&mut queries);
        let input = match kind % 8 {
            0 | 1 => v1::SensorReadings::decode(bytes).ok().map(|message| Input::Readings(Box::new(message))),
            2 | 3 => v1::Event::decode(bytes).ok().map(|event| {
                let subject = format!("event.{}.{}.{}", event.domain, event.component, event.what);
                Input::Event { subject, event: Box::new(event) }
            }),
            4 => Some(Input::Unreadable(String::from_utf8_lossy(bytes).into_owned())),
            _ => open.pop().map(|ask: model::Query| {
                let answer = match ask.domain {
                    Domain::Readings => v1::SensorReadings::decode(bytes).ok().map(Answer::Readings),
                    Domain::Hosts => {
                        v1::ListHostsResponse::decode(bytes).ok().map(|all| Answer::Hosts(all.hosts))
                    }
                    Domain::Sensors => {
                        v1::ListSensorsResponse::decode(bytes).ok().map(|all| Answer::Sensors(all.sensors))
                    }
                    Domain::Daemons => {
                        v1::ListDaemonsResponse::decode(bytes).ok().map(|all| Answer::Daemons(all.daemons))
                    }
                    Domain::Assets => {
                        v1::ListAssetsResponse::decode(bytes).ok().map(|all| Answer::Assets(all.assets))
                    }
                    _ => None,
                };
                Input::Answered(ask, answer.ok_or(model::Failure::Other))
            }),
        };
        let before = model.snapshot().cursor();
        model.step(Mono::from_millis(now), now, input.unwrap_or(Input::Tick), &mut queries);
        let snapshot = model.snapshot();
        assert!(snapshot.change() >= before.change);
        assert!(snapshot.sensors().count() <= Domain::Readings.bounds().items);
        assert!(snapshot.hosts().len() <= Domain::Hosts.bounds().items);
        assert!(snapshot.events().count() <= Domain::Events.bounds().items);
        assert!(queries.len() <= Domain::ALL.len());
        let _ = snapshot.since(before);
    }
});
