//! Things that daemons tell of in tests.
#![allow(dead_code, reason = "each test uses a part of it")]

use schema::v1alpha1 as v1;

use super::time;

/// A zone whose fans somebody holds at 40 percent.
pub fn zone() -> v1::ThermalZone {
    v1::ThermalZone {
        name: "main".into(),
        sensor_names: vec!["cpu0_temp".into()],
        cooling_device_names: vec!["fan0".into(), "fan1".into()],
        current_temperature: Some(41.5),
        target_temperature: Some(65.0),
        status: v1::ThermalZoneStatus::Normal.into(),
        control_mode: v1::ThermalControlMode::Manual.into(),
        demand_percent: 40.0,
        override_percent: Some(40.0),
        override_ends_at: time(1_790_003_700),
        min_override_percent: Some(20.0),
        ..v1::ThermalZone::default()
    }
}

/// A metric report that a client defined.
pub fn definition() -> v1::ReportDefinition {
    let metric = |kind: &str, sensors: &[&str]| v1::ReportMetric {
        kind: kind.to_owned(),
        sensors: sensors.iter().map(|id| (*id).to_owned()).collect(),
    };
    v1::ReportDefinition {
        id: "hot".into(),
        name: "What is hot".into(),
        r#type: v1::ReportDefinitionType::Periodic.into(),
        interval_ms: 30_000,
        metrics: vec![metric("Temperature", &[]), metric("", &["fan0"])],
        actions: vec![v1::ReportAction::Log.into(), v1::ReportAction::Event.into()],
        enabled: Some(true),
    }
}

/// A trigger that a client made.
pub fn trigger() -> v1::Trigger {
    let at = |reading: f64, activation: v1::TriggerActivation, dwell_ms| {
        Some(v1::TriggerThreshold { reading, activation: activation.into(), dwell_ms })
    };
    v1::Trigger {
        id: "hot".into(),
        name: "It is hot".into(),
        sensors: vec!["cpu0_temp".into()],
        upper_warning: at(80.0, v1::TriggerActivation::Increasing, 5_000),
        upper_critical: at(90.5, v1::TriggerActivation::Increasing, 0),
        lower_warning: at(5.0, v1::TriggerActivation::Either, 0),
        lower_critical: at(1.0, v1::TriggerActivation::Decreasing, 0),
        actions: vec![1, 2, 3],
        report_definitions: vec!["hot".into(), "Power".into()],
    }
}

/// A timer that the host has set and started: reset at its end, and an interrupt before it.
pub fn watchdog() -> v1::HostWatchdog {
    v1::HostWatchdog {
        host_name: "system".into(),
        enabled: true,
        configured: true,
        running: true,
        timer_use: v1::HostWatchdogUse::SmsOs.into(),
        timeout_action: v1::HostWatchdogAction::ResetSystem.into(),
        interrupt: v1::HostWatchdogInterrupt::Nmi.into(),
        interrupt_before_ms: 5_000,
        initial_ms: 60_000,
        left_ms: 50_000,
        expired: Vec::new(),
    }
}
