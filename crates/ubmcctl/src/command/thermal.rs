//! Zones: what they hold, who decides, and how a controller for one is found.

use std::time::Duration;

use schema::rpc::thermal_service;
use schema::v1alpha1::{
    ClearThermalEmergencyRequest, ClearThermalOverrideRequest, CoolingRedundancyStatus,
    GetThermalProfileRequest, GetThermalZoneRequest, ListCoolingDevicesRequest, ListThermalZonesRequest,
    ListThermalZonesResponse, OverrideThermalZoneRequest, SetThermalProfileRequest, ThermalControlMode,
    ThermalProfile, ThermalZone, ThermalZoneStatus,
};
use serde_json::json;
use thermal::{Model, Progress, Response, Seen, StepTest, Stopped, TuneConfig};
use tokio::time::{Instant, MissedTickBehavior, interval};
use units::{Duty, Millis, Mono};

use super::Session;
use crate::chart;
use crate::cli::{Driven, EmergencyCommand, Profile, ThermalCommand, Tune, ZoneOrder};
use crate::client::Client;
use crate::failure::Failure;
use crate::follow::follow;
use crate::output::{Card, Format, Output, Table, note};
use crate::text::{enum_word, time, when};
use crate::wait::Spinner;

/// How often a zone is looked at while it is measured.
const LOOK: Duration = Duration::from_millis(500);
/// How long one may be asked for.
const OVERRIDES: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);
/// An override lasts so long: who does not come back gives the fans back soon.
const HOLD: Duration = Duration::from_secs(60);
/// It is renewed that early, so that one that comes late ends nothing.
const RENEW: Duration = Duration::from_secs(30);
/// How long the answer to how hot it is may take before something is powered on all the same.
const ASK_HEAT: Duration = Duration::from_secs(2);
/// How far above what it holds a zone may get while it is measured, K.
const MARGIN: f64 = 8.0;
/// The zone is steady when it moves by less than this in the window, K.
const STEADY: f64 = 0.3;

pub(crate) async fn run(session: Session, command: ThermalCommand, output: Output) -> Result<(), Failure> {
    let reads = matches!(
        command,
        ThermalCommand::List { .. }
            | ThermalCommand::Watch { .. }
            | ThermalCommand::Show { .. }
            | ThermalCommand::Profile { profile: None }
            | ThermalCommand::Emergency(EmergencyCommand::List)
    );
    let client = if reads { session.client().await? } else { session.changing().await? };
    match command {
        ThermalCommand::List { sort } => {
            let mut reply = list(&client).await?;
            order(&mut reply.thermal_zones, sort);
            output.reply(&reply, || table(reply.thermal_zones.iter(), "no thermal zones"))
        }
        ThermalCommand::Watch { zones } => watch(&client, &zones, output).await,
        ThermalCommand::Show { zone } => {
            let request = GetThermalZoneRequest { name: zone };
            let reply = client.call(thermal_service::GET_THERMAL_ZONE, &request).await?;
            output.card(&reply, || card(&reply.thermal_zone.clone().unwrap_or_default()))
        }
        ThermalCommand::Profile { profile: None } => {
            let request = GetThermalProfileRequest {};
            let reply = client.call(thermal_service::GET_THERMAL_PROFILE, &request).await?;
            output.line(&reply, || profile_word(reply.profile()))
        }
        ThermalCommand::Profile { profile: Some(profile) } => {
            let profile = match profile {
                Profile::Quiet => ThermalProfile::Quiet,
                Profile::Balanced => ThermalProfile::Balanced,
                Profile::Performance => ThermalProfile::Performance,
            };
            let request = SetThermalProfileRequest { profile: profile.into() };
            let reply = client.call(thermal_service::SET_THERMAL_PROFILE, &request).await?;
            output.line(&reply, || profile_word(reply.profile()))
        }
        ThermalCommand::Override { duty: Driven::Auto, lasts: Some(_), .. } => {
            Err(Failure::Usage("auto holds from now on: it takes no --for".into()))
        }
        ThermalCommand::Override { lasts: Some(lasts), .. } if !OVERRIDES.contains(&lasts) => {
            Err(Failure::Usage("--for: an override lasts from 1 second to 24 hours".into()))
        }
        ThermalCommand::Override { zone, duty: Driven::Auto, .. } => {
            let request = ClearThermalOverrideRequest { name: zone };
            let reply = client.call(thermal_service::CLEAR_THERMAL_OVERRIDE, &request).await?;
            output.line(&reply, || said(reply.thermal_zone.as_ref()))
        }
        ThermalCommand::Override { lasts: None, .. } => {
            Err(Failure::Usage("for how long? An override ends by itself: --for 10m".into()))
        }
        ThermalCommand::Override { zone, duty: Driven::Percent(percent), lasts: Some(lasts) } => {
            let request = overriding(&zone, percent, lasts);
            let reply = client.call(thermal_service::OVERRIDE_THERMAL_ZONE, &request).await?;
            output.line(&reply, || said(reply.thermal_zone.as_ref()))
        }
        ThermalCommand::Emergency(EmergencyCommand::List) => {
            let mut reply = list(&client).await?;
            reply.thermal_zones.retain(|zone| zone.emergency);
            output.reply(&reply, || table(reply.thermal_zones.iter(), "no emergency"))
        }
        ThermalCommand::Emergency(EmergencyCommand::Clear { zone }) => {
            let request = ClearThermalEmergencyRequest { name: zone };
            let reply = client.call(thermal_service::CLEAR_THERMAL_EMERGENCY, &request).await?;
            output.line(&reply, || said(reply.thermal_zone.as_ref()))
        }
        ThermalCommand::Tune(tune) => measure(&client, tune, output).await,
    }
}

async fn list(client: &Client) -> Result<ListThermalZonesResponse, Failure> {
    client.call(thermal_service::LIST_THERMAL_ZONES, &ListThermalZonesRequest {}).await
}

/// Says on stderr, before something is powered on, which zones are over critical and whose emergency nobody has cleared. Nothing is said where nobody answers
/// within [`ASK_HEAT`]: power does not wait for that.
pub(crate) async fn warn_of_heat(client: &Client) {
    let Ok(Ok(reply)) = tokio::time::timeout(ASK_HEAT, list(client)).await else { return };
    for warning in reply.thermal_zones.iter().filter_map(heat) {
        note(&warning);
    }
}

/// What speaks against power for what a zone cools.
fn heat(zone: &ThermalZone) -> Option<String> {
    let name = &zone.name;
    if zone.emergency {
        Some(format!(
            "warning: zone {name}: an emergency was not cleared (ubmcctl thermal emergency clear {name})"
        ))
    } else if zone.status() == ThermalZoneStatus::Critical {
        Some(format!("warning: zone {name} is over its critical temperature: power may be cut again"))
    } else {
        None
    }
}

fn overriding(zone: &str, percent: f64, lasts: Duration) -> OverrideThermalZoneRequest {
    OverrideThermalZoneRequest {
        name: zone.to_owned(),
        cooling_power_percent: percent,
        seconds: u32::try_from(lasts.as_secs()).unwrap_or(u32::MAX),
    }
}

fn profile_word(profile: ThermalProfile) -> String {
    enum_word(profile.as_str_name(), "THERMAL_PROFILE_")
}

fn mode_word(zone: &ThermalZone) -> String {
    enum_word(zone.control_mode().as_str_name(), "THERMAL_CONTROL_MODE_")
}

fn status_word(zone: &ThermalZone) -> String {
    let word = enum_word(zone.status().as_str_name(), "THERMAL_ZONE_STATUS_");
    if zone.emergency { format!("{word} (emergency)") } else { word }
}

fn degrees(value: Option<f64>) -> String {
    value.map(|value| format!("{value:.1}")).unwrap_or_default()
}

fn fans_word(zone: &ThermalZone) -> String {
    let Some(fans) = &zone.redundancy else { return String::new() };
    let word = match fans.status() {
        CoolingRedundancyStatus::Unspecified => return String::new(),
        status => enum_word(status.as_str_name(), "COOLING_REDUNDANCY_STATUS_"),
    };
    format!("{} of {}, {} needed: {word}", fans.working, fans.total, fans.needed)
}

fn faults(zone: &ThermalZone) -> Vec<String> {
    let fault = |fault: &schema::v1alpha1::ThermalFault| {
        let reason = enum_word(fault.reason().as_str_name(), "THERMAL_FAULT_REASON_");
        format!("{}: {reason}", fault.component_name)
    };
    zone.faults.iter().map(fault).collect()
}

fn order(zones: &mut [ThermalZone], order: ZoneOrder) {
    let badness = |zone: &ThermalZone| match zone.status() {
        _ if zone.emergency => 0,
        ThermalZoneStatus::Critical => 1,
        ThermalZoneStatus::Error => 2,
        ThermalZoneStatus::Warning => 3,
        ThermalZoneStatus::Unspecified => 4,
        ThermalZoneStatus::Normal => 5,
    };
    match order {
        ZoneOrder::Board => {}
        ZoneOrder::Name => zones.sort_by(|one, other| one.name.cmp(&other.name)),
        // Those without a value come last.
        ZoneOrder::Value => zones.sort_by(|one, other| {
            let of = |zone: &ThermalZone| input(zone).unwrap_or(f64::NEG_INFINITY);
            of(other).total_cmp(&of(one))
        }),
        ZoneOrder::Status => zones.sort_by_key(badness),
    }
}

/// Prints zones until interrupted, each when it differs.
async fn watch(client: &Client, names: &[String], output: Output) -> Result<(), Failure> {
    let known = list(client).await?.thermal_zones;
    if let Some(unknown) = names.iter().find(|name| !known.iter().any(|zone| zone.name == **name)) {
        return Err(Failure::not_found(format!("there is no thermal zone `{unknown}`")));
    }
    let zones = async || {
        let mut zones = list(client).await?.thermal_zones;
        zones.retain(|zone| names.is_empty() || names.contains(&zone.name));
        Ok::<_, Failure>(zones)
    };
    let head = ["ZONE", "STATUS", "MODE", "NOW", "DEMAND %", "FANS", "FAULTS"];
    let row = |zone: &ThermalZone| {
        vec![
            zone.name.clone(),
            status_word(zone),
            mode_word(zone),
            degrees(zone.current_temperature),
            format!("{:.0}", zone.demand_percent),
            fans_word(zone),
            faults(zone).join(", "),
        ]
    };
    follow(output, &head, zones, row).await
}

fn table<'a>(zones: impl Iterator<Item = &'a ThermalZone>, empty: &'static str) -> Table {
    let head = ["ZONE", "STATUS", "MODE", "NOW", "TARGET", "DEMAND %", "UNTIL", "FANS", "SENSORS", "FAULTS"];
    let mut table = Table::new(&head).empty(empty);
    for zone in zones {
        table.row([
            zone.name.clone(),
            status_word(zone),
            mode_word(zone),
            degrees(zone.current_temperature),
            degrees(zone.target_temperature),
            format!("{:.1}", zone.demand_percent),
            zone.override_ends_at.as_ref().map(|at| time(Some(at))).unwrap_or_default(),
            fans_word(zone),
            zone.sensor_names.join(" "),
            faults(zone).join(", "),
        ]);
    }
    table
}

fn card(zone: &ThermalZone) -> Card {
    let mut card = Card::default();
    let unit = if zone.holds_margin { "K of margin" } else { "°C" };
    let with_unit = |value: Option<f64>| value.map(|value| format!("{value:.1} {unit}")).unwrap_or_default();
    card.line("Zone", zone.name.clone())
        .line("Status", status_word(zone))
        .line("Mode", mode_word(zone))
        .line("Now", with_unit(zone.current_temperature))
        .line("Target", with_unit(zone.target_temperature))
        .line("Demand", format!("{:.1} %", zone.demand_percent))
        .line("By hand", zone.override_percent.map(|percent| format!("{percent:.1} %")).unwrap_or_default())
        .line("  until", when(zone.override_ends_at.as_ref()))
        .line("Sensors", zone.sensor_names.join(", "))
        .line("Fans", zone.cooling_device_names.join(", "))
        .line("  working", fans_word(zone))
        .line("Faults", faults(zone).join("\n"));
    card
}

fn said(zone: Option<&ThermalZone>) -> String {
    let Some(zone) = zone else { return "done".to_owned() };
    let until = match &zone.override_ends_at {
        Some(at) => format!(" until {}", time(Some(at))),
        None => String::new(),
    };
    format!("{}: {}, {:.1} %{until}", zone.name, mode_word(zone), zone.demand_percent)
}

/// What the zone's law goes by, as it goes by it: hotter is more.
fn input(zone: &ThermalZone) -> Option<f64> {
    let sign = if zone.holds_margin { -1.0 } else { 1.0 };
    zone.current_temperature.map(|now| now * sign)
}

/// The lowest and the highest duty of the fans of a zone.
async fn duties(client: &Client, zone: &ThermalZone) -> Result<Option<(Duty, Duty)>, Failure> {
    let request = ListCoolingDevicesRequest {};
    let reply = client.call(thermal_service::LIST_COOLING_DEVICES, &request).await?;
    let own = reply.cooling_devices.iter().filter(|fan| zone.cooling_device_names.contains(&fan.name));
    let own = own.map(|fan| fan.cooling_power_percent.map(Duty::saturating));
    let duties: Option<Vec<Duty>> = own.collect();
    Ok(duties.and_then(|duties| Some((*duties.iter().min()?, *duties.iter().max()?))))
}

async fn zone_of(client: &Client, name: &str) -> Result<ThermalZone, Failure> {
    let request = GetThermalZoneRequest { name: name.to_owned() };
    let reply = client.call(thermal_service::GET_THERMAL_ZONE, &request).await?;
    Ok(reply.thermal_zone.unwrap_or_default())
}

fn plan(tune: &Tune, zone: &ThermalZone) -> Result<TuneConfig, Failure> {
    let name = &zone.name;
    if zone.control_mode() != ThermalControlMode::Automatic {
        let mode = mode_word(zone);
        return Err(Failure::Wait(format!("{name}: the mode is {mode}, and only automatic is measured")));
    }
    let Some(now) = input(zone) else {
        return Err(Failure::Wait(format!("{name}: there is no temperature; is its host on?")));
    };
    let from = tune.from.unwrap_or(zone.demand_percent);
    if from + tune.step > 100.0 || !(0.0..=100.0).contains(&from) {
        return Err(Failure::Usage(format!(
            "from {from:.0} % there is no step of {:.0} %: less load, or --from and --step",
            tune.step
        )));
    }
    let sign = if zone.holds_margin { -1.0 } else { 1.0 };
    let held = zone.target_temperature.map_or(now, |target| target * sign).max(now);
    let config = TuneConfig {
        duties: (Duty::saturating(from), Duty::saturating(from + tune.step)),
        limit: tune.limit.map_or(held + MARGIN, |limit| limit * sign),
        window: Millis::from(tune.window),
        steady: STEADY,
        longest: Millis::from(tune.longest),
    };
    config.check().map_err(|why| Failure::Usage(why.to_string()))?;
    Ok(config)
}

async fn measure(client: &Client, tune: Tune, output: Output) -> Result<(), Failure> {
    let zone = zone_of(client, &tune.zone).await?;
    let config = plan(&tune, &zone)?;
    note(&format!(
        "{}: fans at {} until it is steady, then at {}; given back beyond {:.1}, at any fault, and {} s after this ends",
        zone.name,
        config.duties.0,
        config.duties.1,
        config.limit,
        HOLD.as_secs()
    ));
    let result = hold(client, &zone.name, config).await;
    // Whatever came of it: the law decides again, now and not when the override ends. It may have ended already.
    let request = ClearThermalOverrideRequest { name: zone.name.clone() };
    let _ended = client.call(thermal_service::CLEAR_THERMAL_OVERRIDE, &request).await;
    let response = result?;
    let stopped = |why: Stopped| Failure::Wait(format!("{}: {why}", zone.name));
    let model = Model::fit(&response).map_err(stopped)?;
    show(&tune, &zone, &response, &model, output)
}

/// Holds the duties of the test until it is over.
async fn hold(client: &Client, name: &str, config: TuneConfig) -> Result<Response, Failure> {
    let begun = Instant::now();
    let now = || Mono::from_millis(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX));
    let stopped = |why: Stopped| Failure::Wait(format!("{name}: {why}"));
    let mut test = StepTest::new(config, now()).map_err(stopped)?;
    let spinner = Spinner::new(name);
    let mut held: Option<(Duty, Instant)> = None;
    let mut turns = interval(LOOK);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let duty = test.duty();
        if held.is_none_or(|(last, at)| last != duty || at.elapsed() >= HOLD.saturating_sub(RENEW)) {
            let request = overriding(name, duty.percent(), HOLD);
            client.call(thermal_service::OVERRIDE_THERMAL_ZONE, &request).await?;
            held = Some((duty, Instant::now()));
        }
        turns.tick().await;
        let zone = zone_of(client, name).await?;
        let seen = Seen {
            input: input(&zone),
            failsafe: zone.emergency || zone.control_mode() == ThermalControlMode::Failsafe,
            duties: duties(client, &zone).await?,
        };
        match test.look(now(), seen).map_err(stopped)? {
            Progress::Done => break,
            Progress::Hold(duty, drift) => spinner.say(&format!(
                "{} at {duty}{}",
                degrees(zone.current_temperature),
                drift.map(|drift| format!(", moves by {drift:+.1}")).unwrap_or_default()
            )),
        }
    }
    test.response().ok_or_else(|| stopped(Stopped::NotSteady))
}

fn show(
    tune: &Tune,
    zone: &ThermalZone,
    response: &Response,
    model: &Model,
    output: Output,
) -> Result<(), Failure> {
    let time = tune.response.filter(|time| *time > 0.0).unwrap_or_else(|| model.response_time());
    let sign = if zone.holds_margin { -1.0 } else { 1.0 };
    let pid = model.controller(zone.target_temperature.unwrap_or_default() * sign, time);
    let name = &zone.name;
    let told = format!(
        "gain {:.2} K/%, lag {:.1} s, delay {:.1} s, wrong by {:.2} K",
        model.gain, model.lag, model.delay, model.error
    );
    if let Some(file) = &tune.svg {
        let title = format!("Zone {name}: a step of {:.0} % of the fans", response.step);
        std::fs::write(file, chart::svg(&title, &told, &response.points, |second| model.at(second)))
            .map_err(|error| Failure::Local(format!("cannot write {}: {error}", file.display())))?;
    }
    match output.format {
        Format::Json => output.value(&json!({
            "zone": name,
            "step": response.step,
            "gain": model.gain,
            "lag": model.lag,
            "delay": model.delay,
            "error": model.error,
            "kp": pid.kp,
            "ki": pid.ki,
            "kd": pid.kd,
            "filter_ms": (pid.filter * 1_000.0).round(),
            "points": response.points,
        })),
        Format::Csv => {
            let mut table = Table::new(&["SECOND", "MEASURED", "MODEL"]);
            for (second, value) in &response.points {
                table.row([
                    format!("{second:.1}"),
                    format!("{value:.3}"),
                    format!("{:.3}", model.at(*second)),
                ]);
            }
            output.table(&table)
        }
        Format::Table => {
            for line in chart::text(&response.points, |second| model.at(second)) {
                output.text(&line)?;
            }
            output.text(&format!("{name}: {told}"))?;
            output.text("A controller for that, for the zone's table in board.toml:")?;
            output.text("control = \"pid\"")?;
            let filter = (pid.filter * 1_000.0).round();
            for (key, value) in [("kp", pid.kp), ("ki", pid.ki), ("kd", pid.kd), ("filter_ms", filter)] {
                output.text(&format!("{key} = {value}"))?;
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_critical_or_latched_speaks_against_power() {
        let rows = [
            (ThermalZoneStatus::Normal, false, None),
            (ThermalZoneStatus::Warning, false, None),
            (ThermalZoneStatus::Error, false, None),
            (ThermalZoneStatus::Critical, false, Some("over its critical temperature")),
            (ThermalZoneStatus::Critical, true, Some("emergency clear cpu")),
            (ThermalZoneStatus::Normal, true, Some("emergency clear cpu")),
        ];
        for (status, emergency, wanted) in rows {
            let name = "cpu".to_owned();
            let zone = ThermalZone { name, status: status.into(), emergency, ..ThermalZone::default() };
            let said = heat(&zone);
            assert_eq!(said.is_some(), wanted.is_some(), "{status:?} {emergency}: {said:?}");
            assert!(said.unwrap_or_default().contains(wanted.unwrap_or_default()), "{status:?} {emergency}");
        }
    }

    #[test]
    fn zones_are_sorted_by_name_heat_and_how_bad_they_are() {
        let zone = |name: &str, now: Option<f64>, status: ThermalZoneStatus| ThermalZone {
            name: name.into(),
            current_temperature: now,
            status: status.into(),
            ..ThermalZone::default()
        };
        let board = [
            zone("b", None, ThermalZoneStatus::Normal),
            zone("c", Some(40.0), ThermalZoneStatus::Warning),
            zone("a", Some(70.0), ThermalZoneStatus::Normal),
            ThermalZone { emergency: true, ..zone("d", Some(50.0), ThermalZoneStatus::Normal) },
        ];
        for (sort, wanted) in [
            (ZoneOrder::Board, "bcad"),
            (ZoneOrder::Name, "abcd"),
            (ZoneOrder::Value, "adcb"),
            (ZoneOrder::Status, "dcba"),
        ] {
            let mut zones = board.to_vec();
            order(&mut zones, sort);
            assert_eq!(zones.iter().map(|zone| zone.name.as_str()).collect::<String>(), wanted, "{sort:?}");
        }
    }
}
