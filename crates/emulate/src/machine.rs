//! QEMU as a process, started from an image folder's `qemu.args`.

use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::json;
use tokio::process::{Child, Command};

use crate::console::Console;
use crate::qmp::Qmp;

/// Longest wait for QEMU to listen on its sockets.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A folder to run an image in: copies of its disks, which survive QEMU, and links to the rest.
#[derive(Debug)]
pub struct Disks {
    dir: tempfile::TempDir,
}

impl Disks {
    /// Copies the disks of the image in `folder`, holes kept, so that no run changes what was built.
    ///
    /// # Errors
    /// When a file cannot be read or copied.
    pub fn copy(folder: &Path) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let folder = folder.canonicalize().with_context(|| format!("no image in {}", folder.display()))?;
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let (from, to) = (entry.path(), dir.path().join(entry.file_name()));
            let is_disk = from.extension().is_some_and(|extension| extension == "img");
            if is_disk {
                let copied = std::process::Command::new("cp")
                    .args(["--sparse=always", "--reflink=auto"])
                    .arg(&from)
                    .arg(&to)
                    .status()
                    .context("cp could not be started")?;
                if !copied.success() {
                    bail!("cannot copy {}", from.display());
                }
            } else {
                std::os::unix::fs::symlink(&from, &to)?;
            }
        }
        Ok(Self { dir })
    }

    /// Where they are.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// How to run QEMU.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// More words for the kernel's command line.
    pub append: Vec<String>,
    /// More arguments for QEMU.
    pub args: Vec<String>,
    /// The port for HTTPS on 127.0.0.1; a free one when left out.
    pub https: Option<u16>,
}

/// A running QEMU. Dropping it kills it.
#[derive(Debug)]
pub struct Machine {
    child: Child,
    /// Removed with it.
    _sockets: tempfile::TempDir,
    /// Its monitor.
    pub qmp: Qmp,
    /// The BMC's console.
    pub console: Console,
    /// HTTPS of the BMC, as `address:port`.
    pub https: String,
    /// The UDP port on 127.0.0.1 that leads to the BMC's IPMI.
    pub ipmi: u16,
}

impl Machine {
    /// Starts QEMU on `disks`, halted before its first instruction; [`Machine::go`] lets it run.
    ///
    /// # Errors
    /// With what QEMU printed when it does not start.
    pub async fn start(disks: &Disks, options: &Options) -> Result<Self> {
        let sockets = tempfile::tempdir()?;
        let qmp = sockets.path().join("qmp");
        let console = sockets.path().join("console");
        // Free now; another process could take them before QEMU does, which then says so.
        let tcp = TcpListener::bind("127.0.0.1:0")?;
        let udp = UdpSocket::bind("127.0.0.1:0")?;
        let https = options.https.map_or_else(|| tcp.local_addr().map(|at| at.port()), Ok)?;
        let ipmi = udp.local_addr()?.port();
        drop((tcp, udp));
        let file = disks.path().join("qemu.args");
        let text =
            std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let fill = [
            ("@HTTPS_PORT@", https.to_string()),
            ("@IPMI_PORT@", ipmi.to_string()),
            ("@QMP@", qmp.display().to_string()),
            ("@CONSOLE@", console.display().to_string()),
        ];
        let args = arguments(&text, &fill, &options.append)?;
        let log = sockets.path().join("qemu.log");
        let binary = std::env::var_os("QEMU_SYSTEM_ARM").unwrap_or_else(|| "qemu-system-arm".into());
        let child = Command::new(&binary)
            .args(args)
            .args(&options.args)
            .arg("-S")
            .current_dir(disks.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log)?)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} could not be started; is it installed?", binary.display()))?;
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        let mut child = child;
        let qmp = tokio::select! {
            qmp = Qmp::connect(&qmp, START_LIMIT) => qmp.with_context(said)?,
            status = child.wait() => bail!("QEMU ended at once ({}): {}", status?, said()),
        };
        let console = Console::connect(&console).await?;
        Ok(Self { child, _sockets: sockets, qmp, console, https: format!("127.0.0.1:{https}"), ipmi })
    }

    /// Lets it run.
    ///
    /// # Errors
    /// When QEMU is gone.
    pub async fn go(&self) -> Result<()> {
        self.qmp.execute("cont", json!({})).await.map(drop)
    }

    /// Ends QEMU as a loss of power ends a BMC: at once, and nothing more is written.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn kill(mut self) -> Result<()> {
        self.child.kill().await.context("cannot kill QEMU")
    }

    /// Waits for QEMU to end by itself.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub async fn ended(&mut self) -> Result<()> {
        self.child.wait().await?;
        Ok(())
    }
}

/// The arguments of `qemu.args`, one a line, placeholders filled and `append` added to the kernel's command line.
fn arguments(text: &str, fill: &[(&str, String)], append: &[String]) -> Result<Vec<String>> {
    let mut args: Vec<String> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| fill.iter().fold(line.to_owned(), |line, (name, value)| line.replace(name, value)))
        .collect();
    if !append.is_empty() {
        let at = args.iter().position(|arg| arg == "-append").map(|at| at + 1);
        let line = at.and_then(|at| args.get_mut(at)).context("qemu.args has no -append")?;
        for word in append {
            line.push(' ');
            line.push_str(word);
        }
    }
    Ok(args)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_and_the_command_line_is_added_to() {
        let text = "-M\nast2600-evb\n\n-append\nconsole=ttyS4 quiet\n-qmp\nunix:@QMP@,server=on\n";
        let fill = [("@QMP@", "/run/q".to_owned())];
        let args = arguments(text, &fill, &["ubmc.storage=nor".to_owned()]).unwrap();
        let wanted = [
            "-M",
            "ast2600-evb",
            "-append",
            "console=ttyS4 quiet ubmc.storage=nor",
            "-qmp",
            "unix:/run/q,server=on",
        ];
        assert_eq!(args, wanted);
        assert!(arguments("-M\nx", &fill, &["y".to_owned()]).is_err());
    }

    #[test]
    fn disks_are_copied_and_the_rest_is_linked() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("emmc.img"), b"disk").unwrap();
        std::fs::write(folder.path().join("kernel"), b"kernel").unwrap();
        let disks = Disks::copy(folder.path()).unwrap();
        std::fs::write(disks.path().join("emmc.img"), b"changed").unwrap();
        assert_eq!(std::fs::read(folder.path().join("emmc.img")).unwrap(), b"disk");
        assert!(disks.path().join("kernel").is_symlink());
    }
}
