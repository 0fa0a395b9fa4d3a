//! The whole suite as a user meets it: the real binary, real processes, the simulated board, HTTPS.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{ADMIN_PASSWORD, Client, Credential, Suite, children, eventually};

/// The binary under test.
const U_BMC: &str = env!("CARGO_BIN_EXE_u-bmc");
/// Longest wait for a host of the simulated board to follow: its power-good comes within a second, on a machine that is not busy.
const FOLLOW: Duration = Duration::from_secs(90);

type Result<T = ()> = anyhow::Result<T>;

async fn status(client: &Client, host: &str) -> Result<String> {
    let reply = client.get(&format!("/api/v1alpha1/hosts/{host}")).await?;
    anyhow::ensure!(reply.status == 200, "{}: {}", reply.status, reply.text());
    Ok(reply.json()?["host"]["status"].as_str().unwrap_or_default().to_string())
}

async fn act(client: &Client, host: &str, action: &str) -> Result<testkit::Reply> {
    client.post(&format!("/api/v1alpha1/hosts/{host}/state"), &json!({ "action": action })).await
}

async fn becomes(client: &Client, host: &str, wanted: &str) -> Result {
    eventually(&format!("{host} becomes {wanted}"), FOLLOW, || async {
        Ok(status(client, host).await? == wanted)
    })
    .await
}

/// As [`becomes`], while daemons come and go: an answer that names a component that is down is no answer.
async fn becomes_in_the_end(client: &Client, host: &str, wanted: &str) -> Result {
    eventually(&format!("{host} becomes {wanted}"), FOLLOW, || async {
        Ok(status(client, host).await.is_ok_and(|s| s == wanted))
    })
    .await
}

#[tokio::test]
async fn a_host_goes_through_its_day() -> Result {
    let suite = Suite::builder(U_BMC).start().await?;
    let admin = suite.admin();
    assert_eq!(status(&admin, "system").await?, "HOST_STATUS_OFF");

    let reply = act(&admin, "system", "HOST_ACTION_ON").await?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    becomes(&admin, "system", "HOST_STATUS_ON").await?;
    let again = act(&admin, "system", "HOST_ACTION_ON").await?;
    assert_eq!(again.status, 200, "on when on is fine: {}", again.text());

    for (action, end) in [
        ("HOST_ACTION_FORCE_RESTART", "HOST_STATUS_ON"),
        ("HOST_ACTION_POWER_CYCLE", "HOST_STATUS_ON"),
        ("HOST_ACTION_OFF", "HOST_STATUS_OFF"),
        ("HOST_ACTION_ON", "HOST_STATUS_ON"),
        ("HOST_ACTION_FORCE_OFF", "HOST_STATUS_OFF"),
    ] {
        let reply = act(&admin, "system", action).await?;
        assert_eq!(reply.status, 200, "{action}: {}", reply.text());
        becomes(&admin, "system", end).await.map_err(|e| e.context(action))?;
    }
    let reply = act(&admin, "system", "HOST_ACTION_NMI").await?;
    assert!(
        reply.status >= 400 && reply.text().contains("HOST_OFF"),
        "an NMI needs a running host: {}",
        reply.text()
    );
    let reply = act(&admin, "nosuch", "HOST_ACTION_ON").await?;
    assert_eq!(reply.status, 404, "{}", reply.text());
    assert!(reply.text().contains("system"), "the error names what there is: {}", reply.text());
    suite.stop().await
}

#[tokio::test]
async fn the_real_state_is_found_again_and_what_was_stored_is_there_after_a_restart() -> Result {
    let dir = tempfile::tempdir()?;
    let suite = Suite::builder(U_BMC).state_dir(dir.path()).start().await?;
    let admin = suite.admin();
    let body = json!({ "host": { "description": "rack 7, the loud one" }, "fieldMask": "description" });
    let reply = admin
        .send(
            "PATCH".parse()?,
            "/api/v1alpha1/hosts/system",
            &[("content-type", "application/json")],
            body.to_string().into(),
        )
        .await?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let reply = act(&admin, "system", "HOST_ACTION_ON").await?;
    let operation = reply.json()?["operationId"].as_str().unwrap_or_default().to_owned();
    assert!(!operation.is_empty(), "{}", reply.text());
    let task = format!("/redfish/v1/TaskService/Tasks/{operation}");
    eventually("the end of the operation is in the event log", FOLLOW, || async {
        let events = admin.get("/api/v1alpha1/events?domain=host&what=operation").await?;
        Ok(events.text().contains(&operation))
    })
    .await?;
    let told = admin.get(&task).await?.json()?;
    assert_eq!(told["TaskState"], "Completed", "{told}");
    suite.crash().await?;

    let suite = Suite::builder(U_BMC).state_dir(dir.path()).start().await?;
    let admin = suite.admin();
    let host = admin.get("/api/v1alpha1/hosts/system").await?.json()?;
    assert_eq!(host["host"]["description"], "rack 7, the loud one");
    // Who follows an operation finds how it ended.
    let again = admin.get(&task).await?.json()?;
    for field in ["Name", "TaskState", "TaskStatus", "StartTime", "EndTime"] {
        assert_eq!(again[field], told[field], "{field}: {again} {told}");
    }
    let monitor = admin.get(&format!("/redfish/v1/TaskService/TaskMonitors/{operation}")).await?;
    assert_eq!(monitor.status, 204, "{}", monitor.text());
    suite.stop().await
}

#[tokio::test]
async fn the_first_credential_is_printed_once_and_must_be_changed() -> Result {
    let dir = tempfile::tempdir()?;
    let suite = Suite::builder(U_BMC).first_boot().state_dir(dir.path()).start().await?;
    let banner = suite.wait_log("│   password").await?;
    let password = banner.split_whitespace().nth(2).unwrap_or_default().to_string();
    assert!(password.len() >= 16, "no password at the end of: {banner}");
    let first = suite.client(Credential::Basic("admin".into(), password.clone()));
    let refused = first.get("/api/v1alpha1/hosts").await?;
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert!(refused.text().contains("PASSWORD_CHANGE_REQUIRED"), "{}", refused.text());

    let session = suite
        .client(Credential::None)
        .post("/api/v1alpha1/sessions", &json!({ "username": "admin", "password": password }))
        .await?;
    assert_eq!(session.status, 200, "{}", session.text());
    let users = first.get("/api/v1alpha1/users/admin").await?;
    let id = users.json()?["user"]["id"].as_str().unwrap_or("admin").to_string();
    let changed = first
        .post(
            &format!("/api/v1alpha1/users/{id}/change-password"),
            &json!({ "currentPassword": password, "newPassword": "a-better-Pa55phrase" }),
        )
        .await?;
    assert_eq!(changed.status, 200, "{}", changed.text());
    let changed = suite.client(Credential::Basic("admin".into(), "a-better-Pa55phrase".into()));
    eventually("the new password is let in", FOLLOW, || async {
        Ok(changed.get("/api/v1alpha1/hosts").await?.status == 200)
    })
    .await?;
    suite.stop().await?;

    let suite = Suite::builder(U_BMC).first_boot().state_dir(dir.path()).start().await?;
    let again = suite.client(Credential::Basic("admin".into(), "a-better-Pa55phrase".into()));
    assert_eq!(again.get("/api/v1alpha1/hosts").await?.status, 200);
    assert!(
        !suite.log().iter().any(|l| l.contains("│   password")),
        "a credential is printed at the first start only"
    );
    suite.stop().await
}

#[tokio::test]
async fn no_secret_is_ever_logged() -> Result {
    let suite = Suite::builder(U_BMC).arg("--log-format").arg("json").start().await?;
    let admin = suite.admin();
    let session = admin
        .post("/api/v1alpha1/sessions", &json!({ "username": "admin", "password": ADMIN_PASSWORD }))
        .await?;
    let token = session.json()?["token"].as_str().unwrap_or_default().to_string();
    assert!(token.len() >= 32, "{}", session.text());
    let by_token = suite.client(Credential::Token(token.clone()));
    assert_eq!(by_token.get("/api/v1alpha1/hosts").await?.status, 200);
    let created = admin
        .post("/api/v1alpha1/users", &json!({ "user": { "username": "eve", "role": "Operator", "enabled": true }, "password": "0perator-Passphrase" }))
        .await?;
    assert_eq!(created.status, 200, "{}", created.text());
    let log = suite.log().join("\n");
    for secret in [ADMIN_PASSWORD, &token, "0perator-Passphrase"] {
        assert!(!log.contains(secret), "a secret is in the log");
    }
    suite.stop().await
}

#[tokio::test]
async fn when_the_operator_dies_its_daemons_go_with_it() -> Result {
    let suite = Suite::builder(U_BMC).start().await?;
    let daemons = children(suite.ready.pid);
    assert!(daemons.len() >= 5, "{daemons:?}");
    suite.crash().await?;
    eventually("every daemon is gone", FOLLOW, || async {
        Ok(daemons.iter().all(|(pid, name)| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            !String::from_utf8_lossy(&line).contains(name.as_str())
        }))
    })
    .await
}

/// The promise of the milestone: each daemon in turn is killed, 20 rounds, under a stream of power requests.
/// No wrong state, no acknowledged request lost, all healed.
#[tokio::test]
async fn killing_daemons_under_load_heals_and_loses_nothing() -> Result {
    let suite = Suite::builder(U_BMC).start().await?;
    let admin = suite.admin();
    let mut acknowledged: Option<&str> = None;
    for round in 0..20 {
        for daemon in ["powermgr", "statemgr", "eventlog", "usermgr", "websrv"] {
            let action = if round % 2 == 0 { "HOST_ACTION_ON" } else { "HOST_ACTION_FORCE_OFF" };
            let https = suite.https().to_string();
            let requests = tokio::spawn(async move {
                // Requests before, during and after the kill; what counts is what was acknowledged.
                let client = Client::new(&https, Credential::Basic("admin".into(), ADMIN_PASSWORD.into()));
                let mut ok = 0_u32;
                for _ in 0..6 {
                    if act(&client, "system", action).await.is_ok_and(|reply| reply.status == 200) {
                        ok += 1;
                    }
                }
                ok
            });
            let before = suite.kill_daemon(daemon).map_err(|e| e.context(format!("round {round}")))?;
            if requests.await? > 0 {
                acknowledged = Some(action);
            }
            eventually(&format!("{daemon} is back, round {round}"), FOLLOW, || async {
                Ok(suite.pid_of(daemon).is_some_and(|pid| pid != before))
            })
            .await?;
            // Every acknowledged request of this round asked for the same end: it must come about.
            if let Some(action) = acknowledged {
                let wanted = if action == "HOST_ACTION_ON" { "HOST_STATUS_ON" } else { "HOST_STATUS_OFF" };
                becomes_in_the_end(&admin, "system", wanted)
                    .await
                    .map_err(|e| e.context(format!("round {round}, {daemon}")))?;
            }
        }
    }
    let health = eventually("the system is healthy again", 2 * FOLLOW, || async {
        let reply = admin.get("/api/v1alpha1/system/health").await?;
        Ok(reply.status == 200 && reply.json()?["health"]["status"] == "HEALTH_STATUS_OK")
    })
    .await;
    health.map_err(|e| e.context(suite.log().join("\n")))?;
    suite.stop().await
}

#[tokio::test]
async fn a_machine_that_runs_by_itself_outlives_the_operator_and_is_replaced_when_it_ends() -> Result {
    let dir = tempfile::tempdir()?;
    testkit::open_to_all(dir.path())?;
    let run_dir = dir.path().join("run");
    std::fs::create_dir(&run_dir)?;
    let board = testkit::root().join("targets/sim/board.toml");
    let machine = testkit::Machine::start(U_BMC.as_ref(), &board, &run_dir).await?;
    let start = || {
        let run_dir = run_dir.display().to_string();
        Suite::builder(U_BMC).state_dir(dir.path().join("state")).arg("--run-dir").arg(run_dir).start()
    };
    let suite = start().await?;
    assert_eq!(act(&suite.admin(), "system", "HOST_ACTION_ON").await?.status, 200);
    becomes(&suite.admin(), "system", "HOST_STATUS_ON").await?;
    suite.crash().await?;

    let suite = start().await?;
    becomes(&suite.admin(), "system", "HOST_STATUS_ON").await?;
    drop(machine);
    suite.wait_log("starting a new one").await?;
    becomes(&suite.admin(), "system", "HOST_STATUS_OFF").await?;
    suite.stop().await
}

/// Runs the binary to its end and returns exit code and what it said.
fn finish(args: &[&str]) -> Result<(i32, String)> {
    let out = std::process::Command::new(U_BMC)
        .current_dir(testkit::root())
        .args(args)
        .stdin(std::process::Stdio::null())
        .output()?;
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    Ok((out.status.code().unwrap_or(-1), said))
}

#[test]
fn bad_input_gets_an_error_that_says_what_to_do() -> Result {
    let dir = tempfile::tempdir()?;
    let state = dir.path().join("state").display().to_string();
    let base = ["operator", "--state-dir", &state, "--https", "127.0.0.1:0", "--http", "off"];

    let (code, said) = finish(&[&base[..], &["--board", "no/such/board.toml"]].concat())?;
    assert_eq!(code, 64, "{said}");
    assert!(said.contains("no/such/board.toml"), "{said}");

    let board = dir.path().join("board.toml");
    std::fs::write(&board, "nonsense = 1\n")?;
    let (code, said) = finish(&[&base[..], &["--board", &board.display().to_string()]].concat())?;
    assert_eq!(code, 64, "{said}");
    assert!(said.contains("board.toml:1:1"), "{said}");
    let (code, said) = finish(&["check", "--board", &board.display().to_string()])?;
    assert_ne!(code, 0, "{said}");
    assert!(said.contains("board.toml:1:1"), "{said}");
    let (code, said) = finish(&["check", "--board", "targets/sim/board.toml"])?;
    assert_eq!(code, 0, "{said}");

    let (code, said) =
        finish(&[&base[..], &["--board", "targets/sim/board.toml", "--ipmi", "nowhere"]].concat())?;
    assert_eq!(code, 64, "{said}");
    assert!(said.to_lowercase().contains("ipmi"), "{said}");
    let (code, said) =
        finish(&[&base[..], &["--board", "targets/sim/board.toml", "--set", "no.such=1"]].concat())?;
    assert_eq!(code, 64, "{said}");
    assert!(said.contains("no daemon \"no\"") && said.contains("websrv"), "{said}");

    // A port that is taken is named with its flag.
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let (code, said) = finish(&[
        "operator",
        "--state-dir",
        &state,
        "--https",
        &address,
        "--http",
        "off",
        "--board",
        "targets/sim/board.toml",
    ])?;
    assert_ne!(code, 0, "{said}");
    assert!(said.contains(&address) && said.contains("https"), "{said}");
    Ok(())
}

#[tokio::test]
async fn the_system_tells_how_its_daemons_are() -> Result {
    let suite = Suite::builder(U_BMC).start().await?;
    let admin = suite.admin();
    let daemons = admin.get("/api/v1alpha1/system/daemons").await?;
    assert_eq!(daemons.status, 200, "{}", daemons.text());
    let listed: Vec<Value> = daemons.json()?["daemons"].as_array().cloned().unwrap_or_default();
    for name in ["powermgr", "statemgr", "ledmgr", "eventlog", "usermgr", "websrv"] {
        let daemon = listed
            .iter()
            .find(|d| d["name"] == name)
            .unwrap_or_else(|| panic!("{name} is not in {listed:?}"));
        assert_eq!(daemon["state"], "DAEMON_STATE_READY", "{daemon}");
    }
    suite.stop().await
}

/// What changed in the configuration reaches the daemons that it is for, and a mistake in it nobody.
#[tokio::test]
async fn a_changed_configuration_is_taken_on_sighup_by_whom_it_is_for() -> Result {
    let dir = tempfile::tempdir()?;
    let config = dir.path().join("config.toml");
    std::fs::write(&config, "[websrv.auth]\nbasic = true\n")?;
    let suite = Suite::builder(U_BMC).arg("--config").arg(config.display().to_string()).start().await?;
    let pids =
        |suite: &Suite| ["websrv", "usermgr", "statemgr", "powermgr", "twin"].map(|name| suite.pid_of(name));
    let before = pids(&suite);
    let host = "/api/v1alpha1/hosts/system";
    assert_eq!(suite.admin().get(host).await?.status, 200);

    std::fs::write(&config, "[websrv.auth]\nbasic = 3\n")?;
    testkit::signal(suite.ready.pid, "HUP")?;
    let line = suite.wait_log("cannot read configuration: settings unchanged").await?;
    assert!(line.contains("config.toml:2:1: websrv.auth.basic: "), "{line}");
    assert_eq!(pids(&suite), before);

    std::fs::write(&config, "[websrv.auth]\nbasic = false\n[operator]\nlimits = false\n")?;
    testkit::signal(suite.ready.pid, "HUP")?;
    suite.wait_log("changed settings take effect when operator starts again").await?;
    testkit::eventually("Basic is refused", FOLLOW, || async {
        Ok(suite.admin().get(host).await.is_ok_and(|reply| reply.status == 401))
    })
    .await?;
    let after = pids(&suite);
    assert!(after[0].is_some() && after[0] != before[0], "websrv has new settings");
    assert_eq!(after[1..], before[1..], "and nobody else");
    assert!(!suite.log().iter().any(|line| line.contains("daemon ended")), "it was no failure");
    suite.stop().await
}
