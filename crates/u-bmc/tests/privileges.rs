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
        eprintln!("skipped: not root");
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
