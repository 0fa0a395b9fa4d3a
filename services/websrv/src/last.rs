//! What is shown of things whose daemon is not there: what it last said, as the model has it, marked as old (I-8). What things are is kept, how they
//! are is not known any more.

use bytes::Bytes;
use model::{Domain, Reason, Snapshot, State};
use prost::Message as _;
use redfish::Need;
use schema::v1alpha1 as api;

/// The part of the model that a need is about, of those whose values can say that they are old.
fn domain(need: Need) -> Option<Domain> {
    match need {
        Need::Hosts => Some(Domain::Hosts),
        Need::Chassis => Some(Domain::Chassis),
        Need::Controllers => Some(Domain::Controllers),
        Need::Sensors => Some(Domain::Sensors),
        Need::Fans => Some(Domain::Fans),
        _ => None,
    }
}

/// Whether it is known already that nobody would answer, and what was last said.
pub(crate) fn is_gone(need: Need, snapshot: &Snapshot) -> bool {
    domain(need).is_some_and(|domain| snapshot.status(domain).state == State::Stale(Reason::Gone))
}

/// Whether it is known that this machine does not run a daemon.
pub(crate) fn is_without(daemon: &str, snapshot: &Snapshot) -> bool {
    let is_known = !matches!(snapshot.status(Domain::Daemons).state, State::Starting | State::Absent);
    is_known && snapshot.daemons().get(daemon).is_none()
}

/// Whether anything was said that can be shown as old.
pub(crate) fn is_known(need: Need, snapshot: &Snapshot) -> bool {
    domain(need)
        .is_some_and(|domain| !matches!(snapshot.status(domain).state, State::Starting | State::Absent))
}

/// What was last said, as an answer of the owner's; `None` when nothing was.
pub(crate) fn known(need: Need, snapshot: &Snapshot) -> Option<Bytes> {
    if !is_known(need, snapshot) {
        return None;
    }
    let answer = match need {
        Need::Hosts => {
            let old = |host: &api::Host| api::Host { stale: true, ..host.clone() };
            let hosts = snapshot.hosts().iter().map(|view| old(view.value)).collect();
            api::ListHostsResponse { hosts }.encode_to_vec()
        }
        Need::Chassis => {
            let old = |chassis: &api::Chassis| api::Chassis { stale: true, ..chassis.clone() };
            let chassis = snapshot.chassis().iter().map(|view| old(view.value)).collect();
            api::ListChassisResponse { chassis, ..Default::default() }.encode_to_vec()
        }
        Need::Controllers => {
            let old =
                |one: &api::ManagementController| api::ManagementController { status: None, ..one.clone() };
            let controllers = snapshot.controllers().iter().map(|view| old(view.value)).collect();
            api::ListManagementControllersResponse { controllers }.encode_to_vec()
        }
        Need::Sensors => {
            let old = |sensor: &api::Sensor| api::Sensor {
                quality: api::SensorQuality::Stale.into(),
                ..sensor.clone()
            };
            let sensors = snapshot.sensor_descriptions().iter().map(|view| old(view.value)).collect();
            api::ListSensorsResponse { sensors, ..Default::default() }.encode_to_vec()
        }
        Need::Fans => {
            let old = |fan: &api::CoolingDevice| api::CoolingDevice {
                status: api::CoolingDeviceStatus::Unknown.into(),
                cooling_power_percent: None,
                speed_rpm: None,
                ..fan.clone()
            };
            let cooling_devices = snapshot.fans().iter().map(|view| old(view.value)).collect();
            api::ListCoolingDevicesResponse { cooling_devices }.encode_to_vec()
        }
        _ => return None,
    };
    Some(answer.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Answer, Failure, Input, Model};
    use units::{Millis, Mono};

    const ALL: [Need; 5] = [Need::Hosts, Need::Chassis, Need::Controllers, Need::Sensors, Need::Fans];

    fn answer(domain: Domain) -> Option<Answer> {
        Some(match domain {
            Domain::Daemons => {
                let daemon = |name: &str| api::Daemon {
                    name: name.into(),
                    state: api::DaemonState::Ready.into(),
                    ..Default::default()
                };
                Answer::Daemons(["statemgr", "sensormon", "thermalmgr"].map(daemon).to_vec())
            }
            Domain::Hosts => {
                let status = Some(api::HostStatus::On.into());
                Answer::Hosts(vec![api::Host { name: "system".into(), status, ..Default::default() }])
            }
            Domain::Chassis => {
                let status = Some(api::ChassisStatus::On.into());
                Answer::Chassis(vec![api::Chassis { name: "chassis".into(), status, ..Default::default() }])
            }
            Domain::Controllers => {
                let status = Some(api::ManagementControllerStatus::Ready.into());
                let name = "bmc".into();
                Answer::Controllers(vec![api::ManagementController { name, status, ..Default::default() }])
            }
            Domain::Sensors => Answer::Sensors(vec![api::Sensor {
                id: "cpu0_temp".into(),
                quality: api::SensorQuality::Good.into(),
                ..Default::default()
            }]),
            Domain::Fans => Answer::Fans(vec![api::CoolingDevice {
                name: "fan0".into(),
                status: api::CoolingDeviceStatus::Enabled.into(),
                speed_rpm: Some(4200.0),
                cooling_power_percent: Some(40.0),
                ..Default::default()
            }]),
            _ => return None,
        })
    }

    /// Answers all that the model asks, as `answer` says.
    fn settle(model: &mut Model, now: Mono, answer: impl Fn(Domain) -> Option<Answer>) {
        let mut out = Vec::new();
        model.step(now, 0, Input::Tick, &mut out);
        for _ in 0..100 {
            let Some(query) = out.pop() else { return };
            let answer = answer(query.domain).ok_or(Failure::Gone);
            model.step(now, 0, Input::Answered(query, answer), &mut out);
        }
        panic!("the model asks for ever");
    }

    #[test]
    fn what_a_dead_daemon_last_said_is_shown_as_old_and_nothing_before_it_said_anything() {
        let mut model = Model::new(1);
        for need in ALL {
            assert!(!is_gone(need, model.snapshot()) && known(need, model.snapshot()).is_none(), "{need:?}");
        }
        settle(&mut model, Mono::ZERO, answer);
        for need in ALL {
            assert!(!is_gone(need, model.snapshot()), "{need:?}");
        }
        let later = Mono::ZERO + Millis::from_secs(3600);
        settle(&mut model, later, |domain| answer(domain).filter(|_| domain == Domain::Daemons));
        for need in ALL {
            assert!(is_gone(need, model.snapshot()), "{need:?}");
        }
        let known = |need| known(need, model.snapshot()).unwrap();
        let hosts = api::ListHostsResponse::decode(known(Need::Hosts)).unwrap().hosts;
        assert!(hosts[0].stale && hosts[0].name == "system");
        let chassis = api::ListChassisResponse::decode(known(Need::Chassis)).unwrap().chassis;
        assert!(chassis[0].stale && chassis[0].name == "chassis");
        let controllers = api::ListManagementControllersResponse::decode(known(Need::Controllers)).unwrap();
        assert_eq!(
            (controllers.controllers[0].name.as_str(), controllers.controllers[0].status),
            ("bmc", None)
        );
        let sensors = api::ListSensorsResponse::decode(known(Need::Sensors)).unwrap().sensors;
        assert_eq!((sensors[0].id.as_str(), sensors[0].quality()), ("cpu0_temp", api::SensorQuality::Stale));
        let fans = api::ListCoolingDevicesResponse::decode(known(Need::Fans)).unwrap().cooling_devices;
        assert_eq!(
            (fans[0].status(), fans[0].speed_rpm, fans[0].cooling_power_percent),
            (api::CoolingDeviceStatus::Unknown, None, None)
        );
        assert!(super::known(Need::Roles, model.snapshot()).is_none());
    }

    #[test]
    fn a_machine_without_the_network_s_daemon_is_known_once_the_daemons_are() {
        let mut model = Model::new(1);
        assert!(!is_without("netmgr", model.snapshot()));
        settle(&mut model, Mono::ZERO, answer);
        assert!(is_without("netmgr", model.snapshot()) && !is_without("thermalmgr", model.snapshot()));
        let mut model = Model::new(1);
        let netmgr = api::Daemon { name: "netmgr".into(), ..Default::default() };
        settle(&mut model, Mono::ZERO, |domain| match domain {
            Domain::Daemons => Some(Answer::Daemons(vec![netmgr.clone()])),
            other => answer(other),
        });
        assert!(!is_without("netmgr", model.snapshot()));
    }
}
