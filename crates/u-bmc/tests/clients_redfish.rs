//! Redfish clients and checkers that we did not write, against the whole suite: DMTF's validators, sushy, redfishtool; and OCP's profiles.
//!
//! They come from the Python environment that `cargo xtask test` makes. The schemas that the Service Validator checks against are those that the crate
//! `nv-redfish-schema` carries: nothing is fetched.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use testkit::{ADMIN_PASSWORD, ImageServer, Suite, bootable};

/// How long what is certain to come may take.
const SOON: Duration = Duration::from_secs(90);
const U_BMC: &str = env!("CARGO_BIN_EXE_u-bmc");

type Result<T = ()> = anyhow::Result<T>;

/// The Python that has the clients, if there is one.
fn python() -> Option<PathBuf> {
    let modules = "redfish_service_validator, redfish_protocol_validator, sushy, redfishtoollib";
    testkit::python("UBMC_TEST_PYTHON_REDFISH", None, modules)
}

#[expect(clippy::print_stdout, reason = "a skip is counted by what it prints")]
fn skip() {
    println!("SKIP: no Python with DMTF's Redfish validators (cargo xtask test installs one)");
}

async fn run(python: &PathBuf, suite: &Suite, part: &str) -> Result {
    run_with(python, suite, part, &[]).await
}

async fn run_with(python: &PathBuf, suite: &Suite, part: &str, more: &[&str]) -> Result {
    let script = testkit::root().join("tests/clients/redfish_clients.py");
    let password = suite.scratch().join("password");
    std::fs::write(&password, ADMIN_PASSWORD)?;
    let out = tokio::process::Command::new(python)
        .arg(script)
        .arg(part)
        .arg(suite.https())
        .args(["--user", "admin", "--password-file"])
        .arg(password)
        .arg("--schemas")
        .arg(nv_redfish_schema::REDFISH_CSDL_DIR)
        .arg("--scratch")
        .arg(suite.scratch())
        .args(more)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    anyhow::ensure!(out.status.success(), "{part}:\n{said}");
    Ok(())
}

#[tokio::test]
async fn the_service_validator_finds_nothing() -> Result {
    let Some(python) = python() else {
        skip();
        return Ok(());
    };
    let suite = Suite::builder(U_BMC).start().await?;
    run(&python, &suite, "service").await?;
    suite.stop().await
}

/// What a host that runs has told of its parts.
#[tokio::test]
async fn the_service_validator_finds_nothing_while_the_host_is_on() -> Result {
    let Some(python) = python() else {
        skip();
        return Ok(());
    };
    let suite = Suite::builder(U_BMC).set("netmgr.observe=true").start().await?;
    run_with(&python, &suite, "service", &["--host-on"]).await?;
    suite.stop().await
}

/// What it last said is shown, as old: no resource goes with it, nor any that only a host that runs has.
#[tokio::test]
async fn the_service_validator_finds_nothing_while_sensormon_is_dead() -> Result {
    let Some(python) = python() else {
        skip();
        return Ok(());
    };
    let suite = Suite::builder(U_BMC).start().await?;
    let sensor = "/redfish/v1/Chassis/chassis/Sensors/inlet_temp";
    let seen = || async { suite.admin().get(sensor).await?.json() };
    testkit::eventually("a reading", SOON, || async { Ok(seen().await?["Reading"].is_number()) }).await?;
    let reaper = testkit::Reaper::of(suite.ready.pid, "sensormon");
    testkit::eventually("a reading that is gone", SOON, || async {
        let sensor = seen().await?;
        Ok(sensor["Reading"].is_null() && sensor["Status"]["State"] == "UnavailableOffline")
    })
    .await?;
    run_with(&python, &suite, "service", &["--host-on"]).await?;
    drop(reaper);
    suite.stop().await
}

/// The Service Validator on another machine: a run for `--long`, as it takes minutes.
#[expect(clippy::print_stdout, reason = "a skip is counted by what it prints")]
async fn service_on(board: &str, more: &[&str]) -> Result {
    let Some(python) = python() else {
        skip();
        return Ok(());
    };
    if std::env::var_os("UBMC_TEST_LARGE_MACHINE").is_none() {
        println!("SKIP: UBMC_TEST_LARGE_MACHINE is not set (cargo xtask test --long)");
        return Ok(());
    }
    let suite = Suite::builder(U_BMC).board(board).start().await?;
    run_with(&python, &suite, "service", more).await?;
    suite.stop().await
}

#[tokio::test]
async fn the_service_validator_finds_nothing_on_a_large_machine() -> Result {
    service_on("targets/sim/big.toml", &["--host-on"]).await
}

#[tokio::test]
async fn the_service_validator_finds_nothing_on_a_large_machine_that_is_off() -> Result {
    service_on("targets/sim/big.toml", &[]).await
}

/// One of four hosts is on, the others are off.
#[tokio::test]
async fn the_service_validator_finds_nothing_on_a_machine_of_several_hosts() -> Result {
    service_on("targets/sim/hosts.toml", &["--host-on"]).await
}

#[tokio::test]
async fn the_protocol_validator_finds_nothing() -> Result {
    let Some(python) = python() else {
        skip();
        return Ok(());
    };
    let suite = Suite::builder(U_BMC).start().await?;
    run(&python, &suite, "protocol").await?;
    suite.stop().await
}

#[tokio::test]
async fn the_use_case_checkers_find_nothing() -> Result {
    let Some(python) = python() else {
        skip();
        return Ok(());
    };
    let suite = Suite::builder(U_BMC).start().await?;
    run(&python, &suite, "use-cases").await?;
    suite.stop().await
}

#[tokio::test]
async fn provisioning_tools_claim_a_host() -> Result {
    let Some(python) = python() else {
        skip();
        return Ok(());
    };
    let image = ImageServer::start(bootable::cd("CLAIM"), None).await?;
    let suite = Suite::builder(U_BMC)
        .set("mediasrv.allow_http=true")
        .set("mediasrv.allow_local=true")
        // A host is forced off a dozen times.
        .set("sim.scripted.override_hold_ms=1500")
        .start()
        .await?;
    run_with(&python, &suite, "claim", &["--image", &image.url("http", "claim.iso")]).await?;
    suite.stop().await
}

/// NVIDIA's client, whose types are made of DMTF's schemas.
#[tokio::test]
async fn nv_redfish_claims_a_host() -> Result {
    let Some(program) = testkit::given(
        "UBMC_TEST_NV_REDFISH",
        "UBMC_TEST_NV_REDFISH names no client (cargo xtask test --long)",
    ) else {
        return Ok(());
    };
    let suite = Suite::builder(U_BMC).start().await?;
    let out = tokio::process::Command::new(program)
        .args([suite.https(), "admin", ADMIN_PASSWORD])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    anyhow::ensure!(out.status.success() && said.contains("claimed"), "{said}");
    suite.stop().await
}

/// OCP's profiles, from the folder that `UBMC_TEST_OCP_PROFILES` names: they are OCP's and not here.
#[tokio::test]
async fn the_profiles_of_ocp_are_met_as_far_as_dmtf_s_schemas_let_them() -> Result {
    let Some(python) = python() else {
        skip();
        return Ok(());
    };
    let Some(profiles) = testkit::given(
        "UBMC_TEST_OCP_PROFILES",
        "UBMC_TEST_OCP_PROFILES names no folder with OCP's profiles",
    ) else {
        return Ok(());
    };
    let suite = Suite::builder(U_BMC).set("netmgr.observe=true").start().await?;
    run_with(&python, &suite, "profiles", &["--profiles", &profiles]).await?;
    suite.stop().await
}
