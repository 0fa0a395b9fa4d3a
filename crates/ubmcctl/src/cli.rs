//! The command line.

mod account;
mod controller;
mod event;
mod kvm;
mod led;
mod media;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use account::{Account, LockoutCommand, RoleCommand, SessionCommand, UserCommand};
pub(crate) use controller::{
    CertificateCommand, Curve, IpmiCommand, NetworkCommand, NetworkSet, RedirectCommand, SshCommand,
    VncCommand, WatchdogCommand, WatchdogSet,
};
pub(crate) use event::{EventCommand, EventFilter, Severity};
pub(crate) use kvm::{KvmCommand, Layout as KvmLayout, Listen as KvmListen};
pub(crate) use led::{LedCommand, Lit};
pub(crate) use media::{MediaCommand, MediaInsert, MediaStoreCommand};

use crate::client::Fingerprint;
use crate::failure::EXIT_CODES;
use crate::listing::ListingCommand;
use crate::output::Format;
use crate::switch::Switch;
use crate::text::{parse_span, parse_timeout};
use crate::wait::Awaited;

/// Shown under `--help`.
fn exit_codes() -> String {
    EXIT_CODES
        .iter()
        .fold("Exit codes:".to_owned(), |text, (code, words)| format!("{text}\n{code:>5}  {words}"))
}

/// Manage machines through their u-bmc.
#[derive(Debug, Parser)]
#[command(name = "ubmcctl", version, after_help = exit_codes(), propagate_version = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Which BMC, and how")]
pub(crate) struct Global {
    /// Context to use instead of the current one
    #[arg(long, global = true, value_name = "NAME", env = "UBMC_CONTEXT")]
    pub(crate) context: Option<String>,
    /// Address of the BMC, instead of the context's: https://host[:port]
    #[arg(long, global = true, value_name = "URL", env = "UBMC_SERVER")]
    pub(crate) server: Option<String>,
    /// Account, instead of the context's
    #[arg(long, global = true, value_name = "NAME", env = "UBMC_USER")]
    pub(crate) user: Option<String>,
    /// File with the account's password in its first line; - is standard input
    #[arg(long, global = true, value_name = "FILE", env = "UBMC_PASSWORD_FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// PEM file with the CA to trust, instead of those of this machine
    #[arg(long, global = true, value_name = "FILE", env = "UBMC_CA", conflicts_with = "fingerprint")]
    pub(crate) ca: Option<PathBuf>,
    /// SHA-256 of the one certificate to accept
    #[arg(long, global = true, value_name = "SHA256", env = "UBMC_FINGERPRINT")]
    pub(crate) fingerprint: Option<Fingerprint>,
    /// Accept any certificate (for tests: whoever is in between reads the password)
    #[arg(long, global = true, env = "UBMC_INSECURE", value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) insecure: bool,
    /// How long a call may take, from looking up the name to the end of the answer
    #[arg(long, global = true, value_name = "SPAN", default_value = "15s", value_parser = parse_timeout)]
    pub(crate) timeout: Duration,
    /// How the answer is written
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT", default_value_t = Format::Table, env = "UBMC_OUTPUT")]
    pub(crate) output: Format,
    /// File with the contexts [default: ~/.config/ubmc/config.toml]
    #[arg(long, global = true, value_name = "FILE", env = "UBMC_CONFIG")]
    pub(crate) config: Option<PathBuf>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Remember BMCs by name
    #[command(subcommand)]
    Context(ContextCommand),
    /// Start a session and keep its token in the context
    Login(Login),
    /// End the session of the context
    Logout,
    /// The managed machines: state and power
    #[command(subcommand)]
    Host(HostCommand),
    /// The boxes they are in
    #[command(subcommand)]
    Chassis(ChassisCommand),
    /// Lights
    #[command(subcommand)]
    Led(LedCommand),
    /// Serial consoles: look at one and type there; ~. after a new line ends it
    Console(Console),
    /// Screens: who looks and types, and a picture of one
    #[command(subcommand)]
    Kvm(KvmCommand),
    /// Virtual media: what is in the hosts' drives, and the store
    #[command(subcommand)]
    Media(MediaCommand),
    /// The management controller itself
    #[command(subcommand)]
    Bmc(BmcCommand),
    /// The certificate of HTTPS
    #[command(subcommand)]
    Certificate(CertificateCommand),
    /// The controller's own network
    #[command(subcommand)]
    Network(NetworkCommand),
    /// IPMI over LAN, which is off unless switched on
    #[command(subcommand)]
    Ipmi(IpmiCommand),
    /// Consoles over SSH, which is off unless switched on
    #[command(subcommand)]
    Ssh(SshCommand),
    /// The port of desktop viewers, which is closed unless switched on
    #[command(subcommand)]
    Vnc(VncCommand),
    /// The port of plain HTTP, which leads to HTTPS and is open unless switched off
    #[command(subcommand)]
    Redirect(RedirectCommand),
    /// Accounts
    #[command(subcommand)]
    User(UserCommand),
    /// What accounts can be allowed to do
    #[command(subcommand)]
    Role(RoleCommand),
    #[command(flatten)]
    Listing(ListingCommand),
    /// Who is logged in
    #[command(subcommand)]
    Session(SessionCommand),
    /// Who is refused for a while after failed logins
    #[command(subcommand)]
    Lockout(LockoutCommand),
    /// What the machines are made of
    #[command(subcommand)]
    Inventory(InventoryCommand),
    /// What happened and what happens
    #[command(subcommand)]
    Event(EventCommand),
    /// What the machine measures of itself
    #[command(subcommand)]
    Sensor(SensorCommand),
    /// What is cooled together, and how
    #[command(subcommand)]
    Thermal(ThermalCommand),
    /// The simulated machine: what breaks, and how hard it works
    Sim(Sim),
    /// The software on the BMC
    #[command(subcommand)]
    System(SystemCommand),
    /// Every BMC of a fleet at once, through its NATS server
    Fleet(Fleet),
    /// Call any method of the API with JSON
    Call(Call),
    /// What Redfish shows
    #[command(subcommand)]
    Redfish(RedfishCommand),
    /// The version of this program; that of the BMC is in `system info`
    Version,
    /// Print a completion script for a shell
    Completion {
        /// Which shell
        shell: Shell,
    },
}

/// Where the fleet meets, and what to do there.
#[derive(Debug, Args)]
pub(crate) struct Fleet {
    /// The fleet's NATS server
    #[arg(long, value_name = "URL", env = "UBMC_FLEET_NATS")]
    pub(crate) nats: String,
    /// Who we are there, with --nats-password-file
    #[arg(long, value_name = "NAME", conflicts_with = "creds")]
    pub(crate) nats_user: Option<String>,
    /// File with that password in its first line
    #[arg(long, value_name = "FILE")]
    pub(crate) nats_password_file: Option<PathBuf>,
    /// A .creds file instead
    #[arg(long, value_name = "FILE")]
    pub(crate) creds: Option<PathBuf>,
    /// PEM file with the CA of the NATS server
    #[arg(long, value_name = "FILE")]
    pub(crate) nats_ca: Option<PathBuf>,
    /// Send passwords unencrypted as well (for tests: whoever is in between reads them)
    #[arg(long)]
    pub(crate) nats_plain: bool,
    /// How long to wait for those who have not answered
    #[arg(long, value_name = "SPAN", default_value = "3s", value_parser = parse_span)]
    pub(crate) wait: Duration,
    #[command(subcommand)]
    pub(crate) command: FleetCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FleetCommand {
    /// All BMCs and their hosts; those that do not answer are shown as such
    Ls,
    /// Some BMCs; fails when one does not answer
    Get {
        /// Their ids
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Power of a host on many BMCs; fails when one refuses or does not answer
    Power {
        /// What to do
        action: FleetAction,
        /// On this BMC; may be given several times
        #[arg(long, value_name = "ID", conflicts_with = "all")]
        bmc: Vec<String>,
        /// On every BMC of the fleet
        #[arg(long)]
        all: bool,
        /// Which host of each
        #[arg(long, default_value = "system")]
        host: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FleetAction {
    On,
    Off,
    ForceOff,
    Restart,
    ForceRestart,
    Cycle,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ContextCommand {
    /// Remember a BMC; takes --server, --user, --ca or --fingerprint
    Add {
        /// What to call it
        name: String,
        /// Pin the certificate the server shows now; asks first
        #[arg(long, conflicts_with_all = ["fingerprint", "ca"])]
        trust: bool,
        /// With --trust: do not ask
        #[arg(long, requires = "trust")]
        yes: bool,
        /// Change the context if there is one of this name; its session is forgotten
        #[arg(long)]
        replace: bool,
    },
    /// Make a context the current one
    Use {
        /// Which
        name: String,
    },
    /// All contexts; the current one has a star
    List,
    /// One context, with the whole fingerprint
    Get {
        /// Which; the current one when not given
        name: Option<String>,
    },
    /// Forget a context
    Rm {
        /// Which
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Login {
    /// Change the password right away to the one in this file (needed at the first login)
    #[arg(long, value_name = "FILE")]
    pub(crate) new_password_file: Option<PathBuf>,
}

/// Waiting for the real state.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Wait {
    /// Wait until the state is what was asked for, at most so long [default: 6m]
    #[arg(long, value_name = "SPAN", num_args = 0..=1, require_equals = true, default_missing_value = "6m", value_parser = parse_span)]
    pub(crate) wait: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct Power {
    /// Which host
    #[arg(default_value = "system")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HostCommand {
    /// All hosts
    List,
    /// One host
    Get {
        /// Which host
        #[arg(default_value = "system")]
        name: String,
    },
    /// Power on
    On(Power),
    /// Ask the operating system to shut down; never forced
    Off(Power),
    /// Power off at once
    ForceOff(Power),
    /// Shut down, then power on
    Restart(Power),
    /// Reset at once
    ForceRestart(Power),
    /// Power off at once, then on
    Cycle(Power),
    /// Non-maskable interrupt: crash dump
    Nmi(Power),
    /// Change description or restore policy
    Set {
        /// Which host
        #[arg(default_value = "system")]
        name: String,
        /// Free text; empty clears it
        #[arg(long)]
        description: Option<String>,
        /// What to do when power comes back
        #[arg(long, value_enum)]
        restore_policy: Option<RestorePolicy>,
    },
    /// What the host boots from next
    #[command(subcommand)]
    BootOverride(crate::boot_override::BootOverrideCommand),
    /// The settings of the host's firmware
    #[command(subcommand)]
    Firmware(crate::firmware::FirmwareCommand),
    /// Wait for a state, or for the end of the operation that is under way
    Wait {
        /// Which host
        #[arg(default_value = "system")]
        name: String,
        /// What to wait for
        #[arg(long = "for", value_enum, value_name = "STATE", default_value_t = Awaited::Done)]
        awaited: Awaited,
        /// At most so long
        #[arg(long, value_name = "SPAN", default_value = "6m", value_parser = parse_span)]
        within: Duration,
    },
    /// Follow state and power operations until interrupted
    Watch {
        /// Which host; all when not given
        name: Option<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RestorePolicy {
    AlwaysOn,
    AlwaysOff,
    Last,
}

#[derive(Debug, Args)]
pub(crate) struct ChassisPower {
    /// Which chassis
    #[arg(default_value = "chassis")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ChassisCommand {
    /// All chassis
    List,
    /// One chassis
    Get {
        /// Which chassis
        #[arg(default_value = "chassis")]
        name: String,
    },
    /// Power on every host in it
    On(ChassisPower),
    /// Ask every host in it to shut down
    Off(ChassisPower),
    /// Power every host off at once
    ForceOff(ChassisPower),
    /// Power every host off at once, then on
    Cycle(ChassisPower),
    /// Switch the identify light
    Identify {
        /// On or off
        #[arg(value_enum, default_value_t = Switch::On)]
        state: Switch,
        /// Which chassis
        #[arg(default_value = "chassis")]
        name: String,
        /// For so long, at most 7 days; without this until `off`
        #[arg(long = "for", value_name = "SPAN", value_parser = parse_timeout)]
        lasts: Option<Duration>,
    },
}

/// Looks at a console, or at what is known of them.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Console {
    #[command(subcommand)]
    pub(crate) command: Option<ConsoleCommand>,
    #[command(flatten)]
    pub(crate) open: ConsoleOpen,
}

/// How a console is looked at.
#[derive(Debug, Args)]
pub(crate) struct ConsoleOpen {
    /// Which host [default: the first]
    pub(crate) host: Option<String>,
    /// Show so much of what was printed before, in KiB
    #[arg(long, value_name = "KIB", default_value_t = 4, value_parser = clap::value_parser!(u32).range(0..=128))]
    pub(crate) replay: u32,
    /// Write what the host prints to this file, too
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    /// Only look
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Take the keyboard from whoever has it
    #[arg(long, conflicts_with = "read_only")]
    pub(crate) take_over: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConsoleCommand {
    /// All consoles, and who types
    List,
    /// What was printed, by line
    Log {
        /// Which host [default: the first]
        host: Option<String>,
        /// The last so many lines
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        lines: u32,
        /// No older ones than this
        #[arg(long, value_name = "SPAN", value_parser = parse_span)]
        since: Option<Duration>,
    },
    /// Switch a serial port that hosts share to one of them
    Select {
        /// Which host
        host: String,
        /// Also while somebody has the keyboard of the host that has the port now
        #[arg(long)]
        take_over: bool,
    },
    /// What was typed and by whom, as far as that is kept (consolesrv.audit)
    Typed {
        /// Which host [default: the first]
        host: Option<String>,
        /// The last so many lines
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        lines: u32,
        /// No older ones than this
        #[arg(long, value_name = "SPAN", value_parser = parse_span)]
        since: Option<Duration>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ResetKind {
    /// The management software only
    Warm,
    /// The controller, kernel included
    Cold,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BmcCommand {
    /// All management controllers
    List,
    /// One management controller
    Get {
        /// Which
        #[arg(default_value = "bmc")]
        name: String,
    },
    /// Restart it; hosts keep their power
    Reset {
        /// How much
        #[arg(long, value_enum, default_value_t = ResetKind::Warm)]
        kind: ResetKind,
        /// Which
        #[arg(default_value = "bmc")]
        name: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// Refuse every power action, force-off included, until `enable`: for work on the machine
    Disable {
        /// Which
        #[arg(default_value = "bmc")]
        name: String,
    },
    /// Take power actions again
    Enable {
        /// Which
        #[arg(default_value = "bmc")]
        name: String,
    },
    /// Forget everything stored, accounts and settings included, and restart as new; hosts keep their power
    FactoryReset {
        /// Which
        #[arg(default_value = "bmc")]
        name: String,
        /// Everything stored is lost: say that this is meant
        #[arg(long, required = true)]
        yes: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum InventoryCommand {
    /// All parts that are there
    List {
        /// Only those of this type
        #[arg(long = "type", value_enum, value_name = "TYPE")]
        kind: Option<InventoryType>,
        /// Only those of this host
        #[arg(long)]
        host: Option<String>,
        /// Those that were there once, too, and empty sockets and slots
        #[arg(long)]
        all: bool,
        /// In which order
        #[arg(long, value_enum, default_value_t = PartOrder::Id)]
        sort: PartOrder,
    },
    /// Follow parts until interrupted
    Watch {
        /// Only these
        ids: Vec<String>,
    },
    /// One part
    Show {
        /// Its id
        id: String,
    },
    /// Say what it is called, or where it is
    Set {
        /// Its id
        id: String,
        /// The owner's name for it; empty clears it
        #[arg(long, value_name = "TEXT")]
        asset_tag: Option<String>,
        /// Where it is; empty clears it
        #[arg(long, value_name = "TEXT")]
        location: Option<String>,
    },
    /// What was added, removed, replaced, changed or set; the newest first
    History {
        /// Only of this part
        id: Option<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum InventoryType {
    System,
    Chassis,
    Board,
    Processor,
    Memory,
    Drive,
    NetworkInterface,
    PowerSupply,
    Slot,
    Firmware,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PartOrder {
    /// By id
    Id,
    /// By type, then id
    Type,
    /// What is damaged, old or gone first
    State,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SensorCommand {
    /// All sensors with what they show
    List {
        /// Only those that measure this: temperature, voltage, current, tach, power, …
        #[arg(long, value_name = "WORD")]
        measures: Option<String>,
        /// Only those whose id begins so
        #[arg(long, value_name = "TEXT", default_value = "")]
        prefix: String,
        /// In which order
        #[arg(long, value_enum, default_value_t = SensorOrder::Id)]
        sort: SensorOrder,
    },
    /// One sensor with its thresholds and statistics
    Show {
        /// Its id
        id: String,
    },
    /// Follow readings until interrupted
    Watch {
        /// Only these
        ids: Vec<String>,
    },
    /// What a sensor showed in the last hour
    History {
        /// Its id
        id: String,
        /// The last day instead
        #[arg(long)]
        day: bool,
    },
    /// When a sensor is judged to be wrong
    #[command(subcommand)]
    Thresholds(ThresholdsCommand),
    /// Begin least, largest and mean value anew
    ResetStatistics {
        /// Of this sensor only
        id: Option<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SensorOrder {
    /// By id
    Id,
    /// The largest first
    Value,
    /// The worst first
    Status,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ThresholdsCommand {
    /// Change some; what is not named stays
    Set {
        /// The sensor
        id: String,
        #[command(flatten)]
        thresholds: ThresholdArgs,
    },
    /// Back to those of the board
    Reset {
        /// The sensor
        id: String,
    },
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct ThresholdArgs {
    /// At or above is worth a look; - for none
    #[arg(long, value_name = "VALUE", value_parser = parse_limit, allow_hyphen_values = true)]
    pub(crate) upper_warning: Option<Limit>,
    /// At or above is not allowed
    #[arg(long, value_name = "VALUE", value_parser = parse_limit, allow_hyphen_values = true)]
    pub(crate) upper_critical: Option<Limit>,
    /// At or above is damage
    #[arg(long, value_name = "VALUE", value_parser = parse_limit, allow_hyphen_values = true)]
    pub(crate) upper_fatal: Option<Limit>,
    /// At or below is worth a look
    #[arg(long, value_name = "VALUE", value_parser = parse_limit, allow_hyphen_values = true)]
    pub(crate) lower_warning: Option<Limit>,
    /// At or below is not allowed
    #[arg(long, value_name = "VALUE", value_parser = parse_limit, allow_hyphen_values = true)]
    pub(crate) lower_critical: Option<Limit>,
    /// At or below is damage
    #[arg(long, value_name = "VALUE", value_parser = parse_limit, allow_hyphen_values = true)]
    pub(crate) lower_fatal: Option<Limit>,
    /// How far back a value has to be before a threshold counts as left
    #[arg(long, value_name = "VALUE", allow_negative_numbers = true)]
    pub(crate) hysteresis: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ZoneOrder {
    /// As the board has them
    Board,
    /// By name
    Name,
    /// The hottest first
    Value,
    /// The worst first
    Status,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ThermalCommand {
    /// All zones with what they hold and want
    List {
        /// In which order
        #[arg(long, value_enum, default_value_t = ZoneOrder::Board)]
        sort: ZoneOrder,
    },
    /// Follow zones until interrupted
    Watch {
        /// Only these
        zones: Vec<String>,
    },
    /// One zone, and what is wrong in it
    Show {
        /// Its name
        zone: String,
    },
    /// The profile in force, or another one from now on
    Profile {
        /// What is more important, noise or heat
        #[arg(value_enum)]
        profile: Option<Profile>,
    },
    /// Decide what the fans of a zone do, for a while; failsafe goes before it
    Override {
        /// Its name
        zone: String,
        /// Percent of full speed, or `auto` for what the zone's law says
        #[arg(value_name = "PERCENT", value_parser = parse_duty, allow_negative_numbers = true)]
        duty: Driven,
        /// For so long, at most a day
        #[arg(long = "for", value_name = "SPAN", value_parser = parse_timeout)]
        lasts: Option<Duration>,
    },
    /// Zones that were too hot for too long
    #[command(subcommand)]
    Emergency(EmergencyCommand),
    /// Measure a zone by a step of its fans, and propose a controller; the load must stay even
    Tune(Tune),
}

#[derive(Debug, Subcommand)]
pub(crate) enum EmergencyCommand {
    /// Those nobody has cleared
    List,
    /// Say that one was seen to; refused while the zone is still over critical
    Clear {
        /// The zone
        zone: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    Quiet,
    Balanced,
    Performance,
}

/// What fans shall do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Driven {
    Auto,
    Percent(f64),
}

fn parse_duty(text: &str) -> Result<Driven, String> {
    if text == "auto" {
        return Ok(Driven::Auto);
    }
    let percent = text.trim_end_matches('%').parse().ok();
    percent
        .filter(|percent| (0.0..=100.0).contains(percent))
        .map(Driven::Percent)
        .ok_or_else(|| format!("`{text}` is neither 0 to 100 nor auto"))
}

/// How a zone is measured.
#[derive(Debug, Args)]
pub(crate) struct Tune {
    /// Its name
    #[arg(long, value_name = "NAME")]
    pub(crate) zone: String,
    /// Duty before the step, percent; what the zone wants now when not given
    #[arg(long, value_name = "PERCENT")]
    pub(crate) from: Option<f64>,
    /// How far it goes up, percent
    #[arg(long, value_name = "PERCENT", default_value_t = 20.0)]
    pub(crate) step: f64,
    /// End the test when the zone is hotter, °C (of a zone that holds a margin: that margin in K); 8 K from where it holds the zone when not given
    #[arg(long, value_name = "DEGREES", allow_hyphen_values = true)]
    pub(crate) limit: Option<f64>,
    /// The zone is steady when it moves by less than 0.3 K in so long
    #[arg(long, value_name = "SPAN", default_value = "30s", value_parser = parse_timeout)]
    pub(crate) window: Duration,
    /// Wait for that at most so long, before the step and after it
    #[arg(long, value_name = "SPAN", default_value = "10m", value_parser = parse_timeout)]
    pub(crate) longest: Duration,
    /// Time constant of the closed loop, seconds; a third of the zone's when not given
    #[arg(long, value_name = "SECONDS")]
    pub(crate) response: Option<f64>,
    /// Draw what was measured into this file, too
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
}

/// A threshold that is set, or taken away.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Limit(pub(crate) Option<f64>);

fn parse_limit(text: &str) -> Result<Limit, String> {
    if text == "-" {
        return Ok(Limit(None));
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(Limit(Some(value))),
        _ => Err(format!("`{text}` is no number; - stands for none")),
    }
}

/// The simulated machine, on this computer.
#[derive(Debug, Args)]
pub(crate) struct Sim {
    /// Folder with the sockets of the simulated machine: --run-dir of `u-bmc operator`
    #[arg(long, value_name = "FOLDER", env = "UBMC_RUN_DIR", default_value = "/run/u-bmc")]
    pub(crate) run_dir: PathBuf,
    #[command(subcommand)]
    pub(crate) command: SimCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SimCommand {
    /// What is broken
    #[command(subcommand)]
    Fault(SimFaultCommand),
    /// The host
    #[command(subcommand)]
    Host(SimHostCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum SimFaultCommand {
    /// Break something: cpu0_temp=missing|stale|implausible, fan0=stuck|slow, psu1=removed, psu0_alert=asserted, i2c3=hang
    Set {
        /// What, by its id in the board file, and how
        #[arg(required = true, value_name = "ID=FAULT", value_parser = parse_fault)]
        faults: Vec<(String, String)>,
    },
    /// What is broken and how
    List,
    /// Mend something
    Clear {
        /// What
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        ids: Vec<String>,
        /// Everything
        #[arg(long)]
        all: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SimHostCommand {
    /// How hard it works
    Load {
        /// From 0 to 1
        #[arg(value_parser = parse_load, allow_negative_numbers = true)]
        load: f64,
        /// Which host
        #[arg(long, default_value = "system")]
        host: String,
    },
}

fn parse_fault(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .filter(|(id, fault)| !id.is_empty() && !fault.is_empty())
        .map(|(id, fault)| (id.to_owned(), fault.to_owned()))
        .ok_or_else(|| format!("`{text}` does not say what and how; write fan0=stuck"))
}

fn parse_load(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|load| (0.0..=1.0).contains(load))
        .ok_or_else(|| format!("`{text}` is not from 0 to 1"))
}

#[derive(Debug, Subcommand)]
pub(crate) enum SystemCommand {
    /// Health, and every daemon with its state, restarts and memory
    Status,
    /// Name, version, board
    Info,
    /// The last lines of the BMC's log
    Log {
        /// How many lines
        #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        lines: u32,
        /// Only lines that hold this text
        #[arg(long, value_name = "TEXT")]
        contains: Option<String>,
        /// Go on with what comes, until interrupted
        #[arg(short, long)]
        follow: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Call {
    /// Service and method: HostService.GetHost
    pub(crate) method: String,
    /// The request in proto3 JSON; - reads standard input
    #[arg(default_value = "{}")]
    pub(crate) request: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RedfishCommand {
    /// The resource at a path
    Get {
        /// Below /redfish/v1, with a query if there is one: Systems/system
        #[arg(default_value = "")]
        path: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory as _, error::ErrorKind};

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("ubmcctl").chain(line.split_whitespace()))
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_parses() {
        for line in [
            "context add lab --server https://bmc --user admin",
            "context add lab --server bmc --trust --yes",
            "context add lab --server bmc --fingerprint sha256:abababababababababababababababababababababababababababababababab",
            "context use lab",
            "context list",
            "context get",
            "version",
            "host wait",
            "host wait host1 --for off --within 30s",
            "chassis force-off --wait",
            "bmc disable",
            "bmc enable",
            "lockout list op",
            "lockout delete 1",
            "context rm lab",
            "login --user admin --password-file -",
            "logout",
            "host list",
            "host get",
            "host get host1 -o json",
            "host on",
            "host off --wait",
            "host force-off --wait=30s",
            "host restart system --wait=5m",
            "host force-restart",
            "host cycle",
            "host nmi",
            "host set --description x --restore-policy last",
            "host watch",
            "chassis identify off",
            "chassis identify on --for 10m",
            "ipmi status",
            "ipmi enable --port 6230",
            "ipmi disable",
            "ssh status",
            "ssh enable --port 22",
            "ssh disable",
            "media status",
            "media enable",
            "media disable",
            "vnc status",
            "vnc enable",
            "vnc disable",
            "redirect status",
            "redirect enable",
            "redirect disable",
            "network set-time",
            "network set-time 2027-01-31T18:00:00Z",
            "ipmi watchdog show",
            "ipmi watchdog set --enabled off",
            "ipmi watchdog set --enabled on --action power-cycle",
            "led list",
            "led get identify",
            "led set status fast --brightness 50 --for 30s",
            "led set status auto",
            "led test --for 1m",
            "led test --stop",
            "chassis cycle --wait",
            "thermal list",
            "thermal list --sort status",
            "thermal watch cpu",
            "inventory list --sort state --all",
            "inventory watch -o csv",
            "thermal show cpu",
            "thermal profile",
            "thermal profile quiet",
            "thermal override cpu 80 --for 10m",
            "thermal override cpu auto",
            "thermal emergency list",
            "thermal emergency clear cpu",
            "thermal tune --zone cpu --svg cpu.svg",
            "host firmware show --attribute Smt -o json",
            "host firmware set Smt=off --host host1",
            "bmc reset --kind cold --wait=10m",
            "user create op --role Operator --new-password-file f --must-change",
            "user update op --disable",
            "user passwd",
            "user passwd op --generate",
            "user delete op",
            "role list",
            "role create night --allow login,configure-components --description x",
            "role update night --allow login",
            "role delete night",
            "user update op --expires 2027-01-31T18:00:00Z",
            "user update op --types redfish,web-ui --strict-types on",
            "session list --all",
            "session delete 1",
            "event list --domain host --since 1h --severity warning --limit 5",
            "event watch --what state",
            "system status",
            "system info",
            "call HostService.GetHost {}",
            "redfish get Systems/system?$select=PowerState",
            "redfish get",
            "completion zsh",
            "--context lab host on",
            "host on --context lab",
        ] {
            assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
        }
    }

    /// An option of a command that is called like one of all commands would be taken for it: another account than the one of the session.
    #[test]
    fn no_command_has_an_option_called_like_one_of_all() {
        fn below(command: &clap::Command, global: &[String]) {
            for command in command.get_subcommands() {
                for argument in command.get_arguments() {
                    let name = argument.get_id().to_string();
                    assert!(!global.contains(&name), "{}: {name}", command.get_name());
                }
                below(command, global);
            }
        }
        let command = Cli::command();
        let global: Vec<String> = command
            .get_arguments()
            .filter(|argument| argument.is_global_set())
            .map(|argument| argument.get_id().to_string())
            .collect();
        assert_eq!(global.len(), 10);
        below(&command, &global);
    }

    #[test]
    fn names_default_and_waits_take_an_optional_span() {
        let power = |line: &str| match parse(line).unwrap().command {
            Command::Host(HostCommand::Off(power)) => {
                (power.name, power.wait.wait.map(|wait| wait.as_secs()))
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(power("host off"), ("system".into(), None));
        assert_eq!(power("host off host1 --wait"), ("host1".into(), Some(360)));
        assert_eq!(power("host off --wait=90s host1"), ("host1".into(), Some(90)));
        // The name after a bare --wait is a name, not a span.
        assert_eq!(power("host off --wait host1"), ("host1".into(), Some(360)));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for (line, kind) in [
            ("", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
            ("host", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
            ("host fly", ErrorKind::InvalidSubcommand),
            ("host off --wait=soon", ErrorKind::ValueValidation),
            ("host list --timeout 0s", ErrorKind::ValueValidation),
            ("host wait --for fun", ErrorKind::InvalidValue),
            ("help", ErrorKind::DisplayHelp),
            ("help host", ErrorKind::DisplayHelp),
            ("host help on", ErrorKind::DisplayHelp),
            ("host list -o xml", ErrorKind::InvalidValue),
            ("host list --fingerprint ab", ErrorKind::ValueValidation),
            ("event list --limit 0", ErrorKind::ValueValidation),
            ("user passwd --generate", ErrorKind::MissingRequiredArgument),
            ("user update op --enable --disable", ErrorKind::ArgumentConflict),
            ("context add lab --yes", ErrorKind::MissingRequiredArgument),
        ] {
            assert_eq!(parse(line).unwrap_err().kind(), kind, "{line}");
        }
    }
}
