//! What each daemon may do, as the kernel tells it: needs root to be started as.

#![allow(clippy::print_stderr, reason = "a test that is skipped says so")]

use std::collections::{BTreeMap, BTreeSet};

use testkit::Suite;

type Result<T = ()> = anyhow::Result<T>;

const U_BMC: &str = env!("CARGO_BIN_EXE_u-bmc");

/// The fields of `/proc/PID/status`.
fn status(pid: u32) -> Result<BTreeMap<String, Vec<String>>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, rest)| (key.to_owned(), rest.split_whitespace().map(str::to_owned).collect()))
        .collect())
}

#[tokio::test]
async fn as_root_each_daemon_has_a_user_of_its_own_and_no_capabilities() -> Result {
    if status(std::process::id())?["Uid"][1] != "0" {
        eprintln!("SKIP: the operator gives daemons their own users as root only");
        return Ok(());
    }
    let suite = Suite::builder(U_BMC).start().await?;
    let mut users = BTreeSet::new();
    for daemon in ["powermgr", "statemgr", "usermgr", "websrv"] {
        let pid = suite.pid_of(daemon).unwrap_or_default();
        let about = status(pid)?;
        for key in ["Uid", "Gid"] {
            assert_eq!(
                about[key].iter().collect::<BTreeSet<_>>().len(),
                1,
                "{daemon} {key}: {:?}",
                about[key]
            );
        }
        assert_ne!(about["Uid"][0], "0", "{daemon}");
        assert_eq!(about["Groups"], ["64000"], "{daemon}");
        for key in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(u64::from_str_radix(&about[key][0], 16)?, 0, "{daemon} {key}");
        }
        assert_eq!(about["NoNewPrivs"], ["1"], "{daemon}");
        users.insert(about["Uid"][0].clone());
    }
    assert_eq!(users.len(), 4);
    suite.stop().await
}

/// A file with a second name may be root's: it stays root's, and that is told. It is no reason to run anybody as root.
#[tokio::test]
async fn what_cannot_be_given_to_a_daemon_is_told_and_nobody_runs_as_root_for_it() -> Result {
    if status(std::process::id())?["Uid"][1] != "0" {
        eprintln!("SKIP: the operator gives daemons their own users as root only");
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    testkit::open_to_all(dir.path())?;
    let folder = dir.path().join("statemgr");
    std::fs::create_dir(&folder)?;
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "root's")?;
    std::fs::hard_link(&secret, folder.join("planted"))?;
    let suite = Suite::builder(U_BMC).state_dir(dir.path()).start().await?;
    for daemon in ["powermgr", "statemgr", "usermgr", "websrv"] {
        let about = status(suite.pid_of(daemon).unwrap_or_default())?;
        assert_ne!(about["Uid"][0], "0", "{daemon}");
    }
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&secret)?), 0);
    let admin = suite.admin();
    let health = admin.get("/api/v1alpha1/system/health").await?.json()?.to_string();
    assert!(health.contains("privileges") && health.contains("planted"), "{health}");
    let events = admin.get("/api/v1alpha1/events?domain=system").await?.json()?.to_string();
    assert!(events.contains("not_given"), "{events}");
    suite.stop().await
}

/// Who has lost every password puts a file there as root and restarts usermgr, or only waits for its next start.
#[tokio::test]
async fn a_recovery_password_put_there_by_root_is_used_at_a_restart_of_usermgr_alone() -> Result {
    if status(std::process::id())?["Uid"][1] != "0" {
        eprintln!("SKIP: the operator gives daemons their own users as root only");
        return Ok(());
    }
    let suite = Suite::builder(U_BMC).start().await?;
    let file = suite.state_dir().join("usermgr/recovery-password");
    std::fs::write(&file, "nine copper kettles\n")?;
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    suite.kill_daemon("usermgr")?;
    let body = serde_json::json!({ "username": "admin", "password": "nine copper kettles" });
    let stranger = suite.client(testkit::Credential::None);
    testkit::eventually("a login with it", std::time::Duration::from_secs(20), || async {
        Ok(stranger.post("/api/v1alpha1/sessions", &body).await?.status == 200)
    })
    .await?;
    assert!(!file.exists(), "it is used once");
    let admin = suite.admin().get("/api/v1alpha1/hosts").await?;
    assert_eq!(admin.status, 401, "the password before it is over at once");
    suite.stop().await
}
