//! The controller against a machine that gets hot, in closed loop.
//!
//! Each run is drawn. The pictures are written where `UBMC_CHARTS` says (a folder, from the root of the repository), or else beside what is
//! compiled; those in docs/charts and the table in docs/thermalmgr.md must be those of the runs, but for rounding.
//! `UBMC_CHARTS=docs/charts cargo test -p thermal --test closed_loop` makes them anew.

mod chart;
mod rig;

use std::path::{Path, PathBuf};

use thermal::{FanFault, Law, Mode, Model, Note, SensorFault, Stopped, TuneConfig};
use twin::FanHealth;
use units::{Duty, Millis};

use crate::rig::{CRITICAL, Change, FULL_AT, Run, TARGET, config, measured, run, run_with};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Draws the run and holds picture and table of the docs to it.
fn show(run: &Run, name: &str, title: &str, told: &str, marks: &[(u64, &str)]) {
    let svg = chart::chart(run, title, told, marks);
    let folder = std::env::var_os("UBMC_CHARTS")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), |folder| root().join(folder));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join(format!("thermal-{name}.svg"));
    std::fs::write(&file, &svg).unwrap();
    let kept = root().join(format!("docs/charts/thermal-{name}.svg"));
    let kept = std::fs::read_to_string(&kept).unwrap_or_else(|error| panic!("{}: {error}", kept.display()));
    assert!(chart::is_near(&svg, &kept, 2.0), "docs/charts/thermal-{name}.svg is not as {}", file.display());
    let row = format!("| [{title}](charts/thermal-{name}.svg) | {told} |");
    let page = std::fs::read_to_string(root().join("docs/thermalmgr.md")).unwrap();
    assert!(page.lines().any(|line| chart::is_near(line, &row, 2.0)), "docs/thermalmgr.md has no row\n{row}");
}

fn full_speed(run: &Run) -> Option<f64> {
    run.when(|note| matches!(note, Note::Failsafe { on: true, .. }))
}

#[test]
fn step_load() {
    let run = run(900, &[(100, Change::Load(1.0)), (600, Change::Load(0.0))]);
    let (peak, settled) = (run.peak(100, 599), run.settles(100, 599));
    let down = run.settles(600, 900);
    let told = format!(
        "overshoot {:.1} K over {TARGET} °C, within 1 K after {settled} s; back at idle after {down} s",
        peak - TARGET
    );
    show(&run, "step-load", "Step load: idle to full and back", &told, &[(100, "full load"), (600, "idle")]);
    assert!(peak < TARGET + 4.0, "{peak}");
    assert!(settled < 300, "{settled}");
    assert!(run.notes.iter().all(|(at, _)| at.as_millis() < 10_000), "{:?}", run.notes);
    // Quiet again, and without hunting: the duty turns round once at most.
    let duties: Vec<f64> = run.between(300, 599).map(|sample| sample.duty).collect();
    let swing = duties.iter().fold(0.0_f64, |most, duty| most.max(*duty))
        - duties.iter().fold(100.0_f64, |least, duty| least.min(*duty));
    assert!(swing < 15.0, "{swing}");
    assert_eq!(run.at(900).duty, 25.0);
}

#[test]
fn fan_loss() {
    let run = run(900, &[(0, Change::Load(1.0)), (500, Change::Fan(0, FanHealth::Stuck))]);
    let found = run.when(|note| *note == Note::Fan(0, Some(FanFault::Stuck))).unwrap() - 500.0;
    let peak = run.peak(500, 900);
    let told = format!(
        "full speed after {found:.1} s; at most {peak:.1} °C, within 1 K after {} s; redundancy lost is shown",
        run.settles(500, 900)
    );
    show(&run, "fan-loss", "Loss of one fan of four at full load", &told, &[(500, "fan stuck")]);
    assert!(found <= 2.0, "{found}");
    assert!(peak < FULL_AT, "{peak}");
    assert_eq!(run.at(503).duty, 100.0);
    let redundancy = run.machine.redundancy(0).unwrap();
    assert_eq!((redundancy.working, redundancy.spare(), redundancy.is_lost()), (3, 0, false));
}

/// Whichever fan is lost, however and whenever, at whatever load: never over critical.
#[test]
fn one_fan_of_n_plus_one_lost_is_never_over_critical() {
    let mut hottest = f64::MIN;
    for health in [FanHealth::Stuck, FanHealth::Gone, FanHealth::Slow(0.4)] {
        for at in [3, 99, 105, 140, 300] {
            for load in [0.0, 1.0] {
                let mut changes = [
                    (0, Change::Inlet(35.0)),
                    (0, Change::Load(load)),
                    (100, Change::Load(1.0)),
                    (at, Change::Fan(1, health)),
                ];
                changes.sort_by_key(|(second, _)| *second);
                let run = run(700, &changes);
                hottest = hottest.max(run.peak(0, 700));
                assert!(
                    run.cut.is_none() && run.peak(0, 700) < CRITICAL,
                    "{health:?} at {at}: {}",
                    run.peak(0, 700)
                );
                let fault = run.machine.fan(1).and_then(|fan| fan.fault);
                assert!(fault.is_some(), "{health:?} at {at}: nobody noticed");
            }
        }
    }
    assert!(hottest > TARGET, "the runs are not worth much: {hottest}");
}

#[test]
fn sensor_loss() {
    let changes = [(0, Change::Load(1.0)), (500, Change::Lost(0, true)), (700, Change::Lost(0, false))];
    let run = run(900, &changes);
    let full = run
        .notes
        .iter()
        .find(|(at, note)| at.as_millis() > 500_000 && matches!(note, Note::Failsafe { on: true, .. }));
    let full = full.unwrap().0.as_millis() as f64 / 1_000.0 - 500.0;
    let stale = run.when(|note| *note == Note::Sensor(0, Some(SensorFault::Stale)));
    let back = run.notes.iter().rev().find(|(_, note)| *note == Note::Failsafe { zone: 0, on: false });
    let back = back.unwrap().0.as_millis() as f64 / 1_000.0 - 700.0;
    let peak = run.peak(500, 900);
    let told = format!(
        "worst case projected, full speed after {full:.1} s; control again {back:.1} s after it is back; at most {peak:.1} °C"
    );
    let marks = [(500, "sensor lost"), (700, "sensor back")];
    show(&run, "sensor-loss", "Loss of a processor's sensor at full load", &told, &marks);
    assert!(stale.is_some() && full <= 5.0 && back <= 5.0, "{:?}", run.notes);
    assert!(peak < TARGET + 4.0, "{peak}");
    assert!(run.between(506, 700).all(|sample| sample.duty == 100.0));
    assert_eq!(run.machine.zone(0).unwrap().mode, Mode::Auto);
}

#[test]
fn a_sensor_that_lies_is_not_believed() {
    for lie in [f64::NAN, -40.0, 1e9] {
        let run = run(400, &[(0, Change::Load(1.0)), (200, Change::Says(0, Some(lie)))]);
        assert_eq!(run.at(201).duty, 100.0, "{lie}");
        assert!(run.between(201, 400).all(|sample| sample.duty == 100.0));
        assert!(run.cut.is_none());
    }
}

#[test]
fn blocked_airflow() {
    let run = run(900, &[(0, Change::Load(1.0)), (400, Change::Blocked(0.45))]);
    let peak = run.peak(400, 900);
    let told = format!(
        "full speed, {peak:.1} °C within 1 K after {} s: {:.0} K below critical",
        run.settles(400, 900),
        CRITICAL - peak
    );
    show(&run, "blocked-airflow", "45 % of the air blocked at full load", &told, &[(400, "blocked")]);
    assert!(peak < FULL_AT && run.cut.is_none(), "{peak}");
    assert_eq!(run.at(900).duty, 100.0);
    assert!(full_speed(&run).is_none_or(|at| at < 10.0), "there is no fault to be seen, only heat");
}

/// A controller that was proposed keeps the machine as cool as the one that was chosen by hand.
#[test]
fn a_step_of_the_fans_proposes_a_controller_that_holds() {
    let plan = TuneConfig {
        duties: (Duty::saturating(50.0), Duty::saturating(70.0)),
        limit: FULL_AT - 2.0,
        window: Millis::from_secs(30),
        steady: 0.3,
        longest: Millis::from_secs(600),
    };
    let response = measured(0.7, plan).unwrap();
    let model = Model::fit(&response).unwrap();
    let pid = model.controller(TARGET, model.response_time());
    let mut proposed = config();
    // Without what is known of the power: the controller has to do it alone.
    proposed.zones[0].law = Law::Pid(pid);
    proposed.zones[0].forward = None;
    let alone = run_with(proposed.clone(), 900, &[(100, Change::Load(1.0)), (600, Change::Load(0.0))]);
    proposed.zones[0].forward = config().zones[0].forward;
    let both = run_with(proposed, 900, &[(100, Change::Load(1.0)), (600, Change::Load(0.0))]);
    let settled = (alone.settles(100, 599), both.settles(100, 599));
    assert!(alone.peak(0, 900) < TARGET + 8.0, "{}", alone.peak(0, 900));
    assert!(both.peak(0, 900) < TARGET + 8.0, "{}", both.peak(0, 900));
    assert!(settled.0 < 300 && settled.1 < 300, "{settled:?}");
    // It does not hunt.
    let duties: Vec<f64> = both.between(400, 599).map(|sample| sample.duty).collect();
    let swing = duties.iter().copied().fold(0.0, f64::max) - duties.iter().copied().fold(100.0, f64::min);
    assert!(swing < 10.0, "{swing}");
}

/// The test of a zone that gets too hot ends; what it held is over, and failsafe goes before it anyway.
#[test]
fn a_step_ends_where_it_gets_too_hot() {
    let plan = TuneConfig {
        duties: (Duty::saturating(25.0), Duty::saturating(45.0)),
        limit: TARGET + 8.0,
        window: Millis::from_secs(30),
        steady: 0.3,
        longest: Millis::from_secs(600),
    };
    assert!(matches!(measured(1.0, plan), Err(Stopped::TooHot(_))));
    let plan = TuneConfig { limit: 200.0, ..plan };
    assert_eq!(measured(1.0, plan), Err(Stopped::Failsafe));
}

#[test]
fn no_airflow() {
    let run = run(900, &[(0, Change::Load(1.0)), (400, Change::Blocked(0.9))]);
    let second = |of: &dyn Fn(&Note) -> bool| run.when(of).unwrap() - 400.0;
    let critical = second(&|note| *note == Note::Critical { zone: 0, on: true });
    let cut_at = run.cut.unwrap().as_millis();
    let cut = cut_at as f64 / 1_000.0 - 400.0;
    let told = format!(
        "critical after {critical:.0} s, power cut after {cut:.0} s; at most {:.1} °C; latched",
        run.peak(400, 900)
    );
    show(
        &run,
        "no-airflow",
        "90 % of the air blocked at full load",
        &told,
        &[(400, "blocked"), (cut_at / 1_000, "cut")],
    );
    assert!((10.0..10.2).contains(&(cut - critical)), "{critical} {cut}");
    assert!(run.peak(400, 900) < CRITICAL + 6.0);
    assert!(run.machine.zone(0).unwrap().emergency);
    assert_eq!(run.at(900).duty, 100.0);
}
