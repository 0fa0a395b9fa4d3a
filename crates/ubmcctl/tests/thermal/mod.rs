//! Zones and fans: what is sent, and a zone that is measured.

use std::sync::{Arc, Mutex};

use prost::Message as _;
use schema::v1alpha1::{
    ClearThermalOverrideResponse, CoolingDevice, GetThermalZoneResponse, ListCoolingDevicesResponse,
    OverrideThermalZoneRequest, OverrideThermalZoneResponse, ThermalControlMode, ThermalZone,
};
use tokio::time::Instant;

use super::words::Reply;
use super::{Sent, Server, code, err, ok, out};

/// A thermal zone: a lag of 1.5 s, half a kelvin for each percent.
struct Plant {
    at: Instant,
    duty: f64,
    temperature: f64,
    overridden: bool,
    /// Something goes wrong from this duty on.
    breaks_at: f64,
}

impl Plant {
    fn start(breaks_at: f64) -> (Server, Arc<Mutex<Plant>>) {
        let at = Instant::now();
        let plant = Plant { at, duty: 30.0, temperature: 65.0, overridden: false, breaks_at };
        let plant = Arc::new(Mutex::new(plant));
        let played = Arc::clone(&plant);
        let server = Server::start(move |method, sent| played.lock().unwrap().answer(method, sent));
        (server, plant)
    }

    fn answer(&mut self, method: &str, sent: &Sent) -> Reply {
        let steady = 80.0 - self.duty * 0.5;
        self.temperature =
            steady + (self.temperature - steady) * (-self.at.elapsed().as_secs_f64() / 1.5).exp();
        self.at = Instant::now();
        match method {
            "ThermalService.OverrideThermalZone" => {
                let request = OverrideThermalZoneRequest::decode(sent.body.as_slice()).unwrap();
                assert!(request.name == "cpu" && (1..=60).contains(&request.seconds), "{request:?}");
                (self.duty, self.overridden) = (request.cooling_power_percent, true);
                ok(&OverrideThermalZoneResponse::default())
            }
            "ThermalService.ClearThermalOverride" => {
                (self.duty, self.overridden) = (30.0, false);
                ok(&ClearThermalOverrideResponse::default())
            }
            "ThermalService.GetThermalZone" => {
                let mode = match self.overridden {
                    _ if self.duty >= self.breaks_at => ThermalControlMode::Failsafe,
                    true => ThermalControlMode::Manual,
                    false => ThermalControlMode::Automatic,
                };
                ok(&GetThermalZoneResponse {
                    thermal_zone: Some(ThermalZone {
                        name: "cpu".into(),
                        cooling_device_names: vec!["fan0".into()],
                        current_temperature: Some(self.temperature),
                        target_temperature: Some(65.0),
                        control_mode: mode.into(),
                        demand_percent: self.duty,
                        ..ThermalZone::default()
                    }),
                })
            }
            "ThermalService.ListCoolingDevices" => {
                let fan = |name: &str, percent: f64| CoolingDevice {
                    name: name.into(),
                    cooling_power_percent: Some(percent),
                    ..CoolingDevice::default()
                };
                // One of another zone does what it likes.
                ok(&ListCoolingDevicesResponse {
                    cooling_devices: vec![fan("fan0", self.duty), fan("fan9", 5.0)],
                })
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn whatever_changes_something_says_first_where() {
    let server = Server::start(|_, _| (200, "application/proto", Vec::new()));
    for line in [
        "thermal profile quiet",
        "thermal override cpu 80 --for 10m",
        "thermal override cpu auto",
        "thermal emergency clear cpu",
        "chassis identify on --for 10m",
    ] {
        let output = server.run(&format!("{line} -o json"));
        assert_eq!(code(&output), 0, "{line}: {}", err(&output));
        assert!(err(&output).contains("BMC: ") && out(&output).starts_with('{'), "{line}: {}", err(&output));
    }
    for line in ["thermal list", "thermal show cpu", "thermal profile", "thermal emergency list"] {
        let output = server.run(line);
        assert_eq!(code(&output), 0, "{line}: {}", err(&output));
        assert!(!err(&output).contains("BMC: "), "{line}: {}", err(&output));
    }
    let sent: Vec<String> = server.sent().into_iter().map(|sent| sent.method).collect();
    let expected = [
        "SetThermalProfile",
        "OverrideThermalZone",
        "ClearThermalOverride",
        "ClearThermalEmergency",
        "ChangeChassisState",
        "ListThermalZones",
        "GetThermalZone",
        "GetThermalProfile",
        "ListThermalZones",
    ];
    assert!(sent.len() == expected.len(), "{sent:?}");
    assert!(sent.iter().zip(expected).all(|(sent, expected)| sent.ends_with(expected)), "{sent:?}");
}

#[test]
fn a_zone_is_measured_by_a_step_and_a_controller_is_proposed() {
    let (server, plant) = Plant::start(200.0);
    let svg = server.file("step.svg");
    let line = format!("thermal tune --zone cpu --window 2s --longest 60s --svg {} -o json", svg.display());
    let output = server.run(&line);
    assert_eq!(code(&output), 0, "{}", err(&output));
    let found: serde_json::Value = serde_json::from_str(&out(&output)).unwrap();
    let number = |name: &str| found[name].as_f64().unwrap();
    assert!((number("gain") + 0.5).abs() < 0.05 && (number("lag") - 1.5).abs() < 0.7, "{}", out(&output));
    assert!(number("kp") > 0.0 && number("ki") > 0.0 && number("filter_ms") >= 1_000.0, "{}", out(&output));
    assert!(found["points"].as_array().unwrap().len() > 10);
    let picture = std::fs::read_to_string(svg).unwrap();
    assert!(picture.starts_with("<svg ") && picture.contains("Zone cpu"), "{picture}");
    assert!(!plant.lock().unwrap().overridden, "the law decides again");
}

#[test]
fn a_measurement_that_goes_wrong_gives_the_fans_back() {
    let (server, plant) = Plant::start(45.0);
    let output = server.run("thermal tune --zone cpu --window 2s --longest 60s");
    assert_eq!(code(&output), 7, "{}", err(&output));
    assert!(err(&output).contains("failsafe") && out(&output).is_empty(), "{}", err(&output));
    assert!(!plant.lock().unwrap().overridden);
    // What makes no sense is not begun.
    let before = server.sent().len();
    for (line, expected) in [
        ("thermal tune --zone cpu --step 80", 2),
        ("thermal tune --zone cpu --step 2", 2),
        ("thermal tune --zone cpu --from -5", 2),
        ("thermal tune --zone cpu --window 10m --longest 5m", 2),
        ("thermal override cpu 80", 2),
        ("thermal override cpu 101 --for 1m", 2),
        ("chassis identify off --for 1m", 2),
    ] {
        let output = server.run(line);
        assert_eq!(code(&output), expected, "{line}: {}", err(&output));
    }
    let sent = server.sent();
    assert!(sent.iter().skip(before).all(|sent| !sent.method.contains("Override")), "{sent:?}");
}
