//! Clients that we did not write, against the whole suite.

#![allow(clippy::print_stderr, reason = "a test that is skipped says so")]

use std::process::Stdio;

use testkit::{ADMIN_PASSWORD, Suite};

const U_BMC: &str = env!("CARGO_BIN_EXE_u-bmc");

type Result<T = ()> = anyhow::Result<T>;

#[expect(clippy::print_stdout, reason = "a skip is counted by what it prints")]
fn skip(why: &str) {
    println!("SKIP: {why}");
}

#[tokio::test]
async fn every_protocol_over_every_http_gives_the_same_answer_and_the_same_error() -> Result {
    let modules = "grpc, httpx, aioquic, google.protobuf";
    let Some(python) = testkit::python("UBMC_TEST_PYTHON", Some("python3"), modules) else {
        skip("no Python with grpcio, httpx and aioquic (cargo xtask test installs one)");
        return Ok(());
    };
    let suite = Suite::builder(U_BMC).start().await?;
    let script = testkit::root().join("tests/clients/web_matrix.py");
    let password = suite.scratch().join("password");
    std::fs::write(&password, ADMIN_PASSWORD)?;
    let out = tokio::process::Command::new(python)
        .arg(script)
        .arg(format!("https://{}", suite.https()))
        .args(["--user", "admin", "--password-file"])
        .arg(password)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{said}");
    suite.stop().await
}
