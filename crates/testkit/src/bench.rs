//! What benchmarks have in common: who runs on which processor, and nginx beside us.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Result;
use tokio::process::{Child, Command};

use crate::{Client, Credential, eventually};

/// Runs a program on this process, its id last. Without the program, or the right to, all stays as it is.
pub fn tell(program: &str, args: &[&str]) {
    let own = std::process::id().to_string();
    let _ = std::process::Command::new(program)
        .args(args)
        .arg(own)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

/// Has this process, and what it starts from now on, run on the servers' processor or on the other. Whether the machine has two: with one
/// both share it.
pub fn run_with(server: bool) -> bool {
    // Of the machine: once it is told where to run, there is one.
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    let two = *PROCESSORS.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from)) > 1;
    if two {
        tell("taskset", &["-pc", if server { "0" } else { "1" }]);
    }
    two
}

/// Starts nginx with `nginx.conf` in `dir`, and waits until it answers at `address`.
///
/// # Errors
/// When it does not.
pub async fn nginx(program: &Path, dir: &Path, address: SocketAddr) -> Result<(Child, Client)> {
    let child = Command::new(program)
        .arg("-p")
        .arg(dir)
        .arg("-c")
        .arg(dir.join("nginx.conf"))
        .args(["-g", "daemon off;"])
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let client = Client::new(&address.to_string(), Credential::None);
    eventually("nginx answers", Duration::from_secs(10), || async { Ok(client.get("/").await.is_ok()) })
        .await?;
    Ok((child, client))
}
