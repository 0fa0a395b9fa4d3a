//! Certificate, network, IPMI, SSH, VNC and plain HTTP of the controller, and the watchdog timer that IPMI brings a host.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// The curve of a key.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Curve {
    P256,
    P384,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CertificateCommand {
    /// The one that is served
    Show {
        /// The chain as PEM
        #[arg(long)]
        pem: bool,
    },
    /// Make a key, which stays on the BMC, and print a request for a certificate of it
    Csr {
        /// A name or address it is to be good for; may be given several times [default: those the BMC is known by]
        #[arg(long = "name", value_name = "NAME")]
        names: Vec<String>,
        /// Whom it names [default: the first name]
        #[arg(long, value_name = "NAME")]
        common_name: Option<String>,
        #[arg(long, value_name = "TEXT")]
        organization: Option<String>,
        #[arg(long, value_name = "TEXT")]
        organizational_unit: Option<String>,
        #[arg(long, value_name = "TEXT")]
        city: Option<String>,
        #[arg(long, value_name = "TEXT")]
        state: Option<String>,
        /// Two letters
        #[arg(long, value_name = "CODE")]
        country: Option<String>,
        #[arg(long, value_name = "ADDRESS")]
        email: Option<String>,
        #[arg(long, value_enum, default_value_t = Curve::P256)]
        curve: Curve,
    },
    /// Serve another one from now on
    Replace {
        /// File with the chain as PEM, the BMC's certificate first
        chain: PathBuf,
        /// File with its private key, unless that is the one of the last request or the one in use
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
    /// Serve the self-made one again
    Reset,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NetworkCommand {
    /// All interfaces that are configured, with their addresses
    List,
    /// Names, name servers, time servers
    Show,
    /// Change it, also for restarts; another IPv4 address is taken back unless it is confirmed
    Set(NetworkSet),
    /// Keep the IPv4 address that is on trial
    Confirm,
    /// Set the clock, while no time server is asked
    SetTime {
        /// Such as 2027-01-31T18:00:00Z or 2027-01-31T19:00:00+01:00 [default: the time of this computer]
        time: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct NetworkSet {
    /// The interface that addresses and name servers are of
    #[arg(default_value = "")]
    pub interface: String,
    /// Ask DHCP for the IPv4 address
    #[arg(long, conflicts_with = "ipv4", requires = "interface")]
    pub dhcp: bool,
    /// IPv4 address with the length of its prefix, such as 192.0.2.5/24
    #[arg(long, requires = "interface")]
    pub ipv4: Option<String>,
    /// Router of the route to everywhere
    #[arg(long, requires = "ipv4", default_value = "")]
    pub gateway: String,
    /// Name server; can be given up to three times, and empty for none
    #[arg(long, requires = "interface")]
    pub dns: Option<Vec<String>>,
    /// What the controller calls itself; empty: as configured
    #[arg(long)]
    pub host_name: Option<String>,
    /// Its own domain; empty: as configured
    #[arg(long)]
    pub domain: Option<String>,
    /// Time server, by address or name, in place of the configured ones; can be given up to four times, and empty for those of DHCP alone
    #[arg(long)]
    pub ntp: Option<Vec<String>>,
    /// Whether time servers are asked
    #[arg(long, value_name = "ON|OFF", value_parser = ["on", "off"])]
    pub time: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum IpmiCommand {
    /// Whether it is on, where, and how many sessions there are
    Status,
    /// Switch it on, also for restarts
    Enable {
        /// UDP port [default: as it was, at first 623]
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
        port: Option<u16>,
    },
    /// Switch it off, also for restarts; its sessions end
    Disable,
    /// The watchdog timer that a host sets by IPMI
    #[command(subcommand)]
    Watchdog(WatchdogCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum WatchdogCommand {
    /// Whose it is, whether it runs, and what is done at its end
    Show,
    /// Switch it off or on, or change what is done at its end
    Set(WatchdogSet),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct WatchdogSet {
    /// Whether the host may start it; off stops it
    #[arg(long, value_name = "ON|OFF", value_parser = ["on", "off"])]
    pub enabled: Option<String>,
    /// What is done at its end, until the host sets it anew
    #[arg(long)]
    pub action: Option<WatchdogAction>,
}

/// What is done with a host at the end of its watchdog timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WatchdogAction {
    /// It is told in an event
    #[value(name = "none")]
    Nothing,
    /// Reset
    Reset,
    /// Off
    PowerDown,
    /// Off, and on again
    PowerCycle,
}

impl WatchdogAction {
    pub(crate) fn action(self) -> schema::v1alpha1::HostWatchdogAction {
        use schema::v1alpha1::HostWatchdogAction as To;
        match self {
            Self::Nothing => To::None,
            Self::Reset => To::ResetSystem,
            Self::PowerDown => To::PowerDown,
            Self::PowerCycle => To::PowerCycle,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum SshCommand {
    /// Whether it is on, where, and how many logins there are
    Status,
    /// Switch it on, also for restarts
    Enable {
        /// TCP port [default: as it was, at first 2200]
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
        port: Option<u16>,
    },
    /// Switch it off, also for restarts; its connections end
    Disable,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RedirectCommand {
    /// Whether it is open, and where
    Status,
    /// Open it, also for restarts
    Enable,
    /// Close it, also for restarts
    Disable,
}

#[derive(Debug, Subcommand)]
pub(crate) enum VncCommand {
    /// Whether it is open, and where
    Status,
    /// Open it, also for restarts
    Enable,
    /// Close it, also for restarts; its viewers end
    Disable,
}
