//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{ArgMatches, Args as _, FromArgMatches, Parser, Subcommand};
use operator::Listen;
use roster::Daemon;
use service::{LogConfig, LogFormat};

use crate::daemons::{Main, program};

/// Version, commit and target. Reads the image's file, so it is for who asks: not for each daemon's start.
pub(crate) fn version() -> String {
    // An image's programs are built without it.
    let built_from = Some(env!("UBMC_COMMIT")).filter(|commit| !commit.is_empty());
    let commit = built_from.map(str::to_owned).or_else(operator::image_commit);
    format!(
        "{} (commit {}, {}, {})",
        env!("CARGO_PKG_VERSION"),
        commit.as_deref().unwrap_or("unknown"),
        env!("UBMC_TARGET"),
        env!("UBMC_PROFILE")
    )
}

/// The userspace of a baseboard management controller.
#[derive(Debug, Parser)]
#[command(name = "u-bmc", version, disable_help_subcommand = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(about = Daemon::Operator.row().about)]
    Operator(Box<OperatorArgs>),
    /// The embedded NATS server alone
    Nats(NatsArgs),
    /// Check a board file
    Check(CheckArgs),
    /// List what this machine offers, as a proposal for its board file, or beside one
    Probe(ProbeArgs),
    #[command(flatten)]
    Daemon(DaemonCommand),
}

/// A subcommand for each daemon, with the name and the help of its row.
#[derive(Debug)]
pub(crate) struct DaemonCommand {
    pub(crate) daemon: Daemon,
    pub(crate) main: Main,
    pub(crate) args: DaemonArgs,
}

/// The daemons with a subcommand of this kind.
fn daemons() -> impl Iterator<Item = (Daemon, Main)> {
    Daemon::ALL.iter().filter_map(|daemon| Some((*daemon, program(*daemon).main?)))
}

impl Subcommand for DaemonCommand {
    fn augment_subcommands(command: clap::Command) -> clap::Command {
        daemons().fold(command, |command, (daemon, _)| {
            let row = daemon.row();
            command.subcommand(DaemonArgs::augment_args(clap::Command::new(row.name)).about(row.about))
        })
    }

    fn augment_subcommands_for_update(command: clap::Command) -> clap::Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        daemons().any(|(daemon, _)| daemon.name() == name)
    }
}

impl FromArgMatches for DaemonCommand {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let missing = || clap::Error::new(ErrorKind::MissingSubcommand);
        let (name, matches) = matches.subcommand().ok_or_else(missing)?;
        let (daemon, main) = daemons().find(|(daemon, _)| daemon.name() == name).ok_or_else(missing)?;
        Ok(Self { daemon, main, args: DaemonArgs::from_arg_matches(matches)? })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[derive(Debug, Parser)]
pub(crate) struct OperatorArgs {
    /// The board file
    #[arg(long, value_name = "FILE")]
    pub(crate) board: PathBuf,
    /// What is kept over restarts of the controller
    #[arg(long, value_name = "DIR", default_value = "/var/lib/u-bmc")]
    pub(crate) state_dir: PathBuf,
    /// Sockets; default: `run` in the state directory, /run/u-bmc as PID 1
    #[arg(long, value_name = "DIR")]
    pub(crate) run_dir: Option<PathBuf>,
    /// Where to serve HTTPS: ADDRESS:PORT or `off`; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "[::]:443")]
    pub(crate) https: Listen,
    /// Where to redirect HTTP to HTTPS: ADDRESS:PORT or `off`
    #[arg(long, value_name = "ADDR", default_value = "[::]:80")]
    pub(crate) http: Listen,
    /// Where to serve IPMI: ADDRESS:PORT, which switches it on; `off`: never; default: nowhere until it is switched on (`ubmcctl ipmi enable`), or as ipmisrv.listen says
    #[arg(long, value_name = "ADDR")]
    pub(crate) ipmi: Option<Listen>,
    /// First password of `admin`, which then need not be changed; without it a random one is shown once
    #[arg(long, value_name = "FILE")]
    pub(crate) admin_password_file: Option<PathBuf>,
    /// Written once everything is ready: JSON with the actual addresses
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,
    /// Configuration file (TOML, one table per daemon); given again, a later file wins key by key
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Vec<PathBuf>,
    /// Set one value: DAEMON.KEY=VALUE, or a key of the board file such as sim.host=qemu
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) sets: Vec<String>,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Debug, Parser)]
pub(crate) struct LogArgs {
    /// Shape of log lines on stderr
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = log_format)]
    pub(crate) log_format: LogFormat,
}

impl LogArgs {
    /// How to log, as the flags say; `UBMC_LOG` is looked at by the log itself.
    pub(crate) fn config(&self) -> LogConfig {
        LogConfig { format: self.log_format, ..LogConfig::default() }
    }
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("expected text or json".to_owned()),
    }
}

#[derive(Debug, Parser)]
pub(crate) struct NatsArgs {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4222")]
    pub(crate) listen: SocketAddr,
    /// Keep streams and key-value buckets here; without it there are none
    #[arg(long, value_name = "DIR")]
    pub(crate) store: Option<PathBuf>,
    /// The only user; without one everyone on this machine may connect
    #[arg(long, requires = "password_file")]
    pub(crate) user: Option<String>,
    /// The user's password
    #[arg(long, value_name = "FILE", requires = "user")]
    pub(crate) password_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Debug, Parser)]
pub(crate) struct CheckArgs {
    /// The board file
    #[arg(long, value_name = "FILE")]
    pub(crate) board: PathBuf,
    /// Lay a value over the file
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) sets: Vec<String>,
}

#[derive(Debug, Parser)]
pub(crate) struct ProbeArgs {
    /// Say what is there and not named in this file, and what is named and not there
    #[arg(long, value_name = "FILE")]
    pub(crate) board: Option<PathBuf>,
    /// The folder that has `sys` and `dev` of the machine; the run directory of a simulated board is one
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub(crate) root: PathBuf,
    /// Also read a byte from every address of every I2C bus that no driver has, as `i2cdetect -r` does. A device that only takes writes may mistake
    /// that for something else: not on a machine that has to go on
    #[arg(long)]
    pub(crate) scan_i2c: bool,
}

/// A daemon is started by the operator, which tells it everything on stdin. These flags are for running one by hand.
#[derive(Debug, clap::Args)]
pub(crate) struct DaemonArgs {
    /// Run by hand, with these flags instead of a bootstrap line on stdin
    #[arg(long)]
    pub(crate) standalone: bool,
    /// The bus, nats://ADDRESS:PORT
    #[arg(long, value_name = "URL", requires = "standalone")]
    pub(crate) bus: Option<String>,
    /// User on the bus
    #[arg(long, value_name = "NAME", requires = "bus")]
    pub(crate) bus_user: Option<String>,
    /// The user's password on the bus
    #[arg(long, value_name = "FILE", requires = "bus_user")]
    pub(crate) bus_password_file: Option<PathBuf>,
    /// The board file
    #[arg(long, value_name = "FILE", requires = "standalone")]
    pub(crate) board: Option<PathBuf>,
    /// What it keeps
    #[arg(long, value_name = "DIR", default_value = "/var/lib/u-bmc")]
    pub(crate) state_dir: PathBuf,
    /// Sockets
    #[arg(long, value_name = "DIR", default_value = "/run/u-bmc")]
    pub(crate) run_dir: PathBuf,
    /// Configuration file (TOML, one table per daemon)
    #[arg(long, value_name = "FILE", requires = "standalone")]
    pub(crate) config: Option<PathBuf>,
    /// Set one value: DAEMON.KEY=VALUE, or a key of the board file
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "standalone")]
    pub(crate) sets: Vec<String>,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_daemon_has_a_subcommand_with_its_help() {
        for daemon in Daemon::ALL {
            let command = Args::command();
            let found = command.find_subcommand(daemon.name()).and_then(|found| found.get_about());
            assert_eq!(found.map(ToString::to_string).as_deref(), Some(daemon.row().about), "{daemon:?}");
        }
        assert!(Args::try_parse_from(["u-bmc", "doormgr"]).is_err());
    }

    #[test]
    fn a_daemon_takes_flags_by_hand_only() {
        assert!(Args::try_parse_from(["u-bmc", "powermgr"]).is_ok());
        assert!(Args::try_parse_from(["u-bmc", "powermgr", "--bus", "nats://127.0.0.1:4222"]).is_err());
        assert!(
            Args::try_parse_from(["u-bmc", "powermgr", "--standalone", "--bus", "nats://127.0.0.1:4222"])
                .is_ok()
        );
    }

    #[test]
    fn a_bad_address_says_what_is_expected() {
        let error =
            Args::try_parse_from(["u-bmc", "operator", "--board", "b", "--https", "localhost"]).unwrap_err();
        assert!(error.to_string().contains("neither ADDRESS:PORT"), "{error}");
    }
}
