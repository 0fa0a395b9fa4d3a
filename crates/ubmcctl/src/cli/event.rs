//! Events.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use crate::text::parse_span;

#[derive(Debug, Clone, Args)]
pub(crate) struct EventFilter {
    /// Kind of component: host, chassis, sensor, thermal, led, inventory, user, session, daemon, bmc, system …
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) domain: String,
    /// Which one, such as system
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) component: String,
    /// What happened to it, such as state
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) what: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Severity {
    Debug,
    Info,
    Warning,
    Critical,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EventCommand {
    /// Events the BMC keeps, newest first
    List {
        #[command(flatten)]
        filter: EventFilter,
        /// This or worse
        #[arg(long, value_enum)]
        severity: Option<Severity>,
        /// Not older than this
        #[arg(long, value_name = "SPAN", value_parser = parse_span)]
        since: Option<Duration>,
        /// At most so many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Only those that nobody has resolved
        #[arg(long, conflicts_with = "resolved")]
        unresolved: bool,
        /// Only those that somebody has resolved
        #[arg(long)]
        resolved: bool,
    },
    /// Follow events until interrupted
    Watch {
        #[command(flatten)]
        filter: EventFilter,
    },
    /// Say that somebody has seen to events: all of them or, when one is not kept any more, none
    Resolve {
        /// Their ids, as `event list` shows them
        #[arg(required = true, num_args = 1..=100)]
        ids: Vec<String>,
        /// What was done about it
        #[arg(long, value_name = "TEXT", default_value = "")]
        note: String,
    },
    /// Take that back
    Reopen {
        /// Their ids, as `event list` shows them
        #[arg(required = true, num_args = 1..=100)]
        ids: Vec<String>,
    },
}
