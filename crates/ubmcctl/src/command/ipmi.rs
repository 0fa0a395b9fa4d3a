//! IPMI over LAN, and the watchdog timer that a host sets by IPMI.

use schema::rpc::ipmi_service;
use schema::v1alpha1::{
    GetHostWatchdogRequest, GetIpmiRequest, HostWatchdog, HostWatchdogUse, Ipmi, SetHostWatchdogRequest,
    SetIpmiRequest,
};

use super::Session;
use crate::cli::{IpmiCommand, WatchdogCommand, WatchdogSet};
use crate::failure::Failure;
use crate::output::{Card, Output};
use crate::text::enum_word;

pub(crate) async fn run(session: Session, command: IpmiCommand, output: Output) -> Result<(), Failure> {
    let request = match command {
        IpmiCommand::Status => {
            let reply =
                session.client().await?.call(ipmi_service::GET_IPMI, &GetIpmiRequest::default()).await?;
            return output.card(&reply, || card(&reply.ipmi.clone().unwrap_or_default()));
        }
        IpmiCommand::Enable { port } => SetIpmiRequest { enabled: Some(true), port: port.map(u32::from) },
        IpmiCommand::Disable => SetIpmiRequest { enabled: Some(false), port: None },
        IpmiCommand::Watchdog(command) => return watchdog(session, command, output).await,
    };
    let reply = session.changing().await?.call(ipmi_service::SET_IPMI, &request).await?;
    output.line(&reply, || said(&reply.ipmi.clone().unwrap_or_default()))
}

async fn watchdog(session: Session, command: WatchdogCommand, output: Output) -> Result<(), Failure> {
    match command {
        WatchdogCommand::Show => {
            let request = GetHostWatchdogRequest::default();
            let reply = session.client().await?.call(ipmi_service::GET_HOST_WATCHDOG, &request).await?;
            output.card(&reply, || timer(reply.watchdog.as_ref()))
        }
        WatchdogCommand::Set(WatchdogSet { enabled, action }) => {
            let request = SetHostWatchdogRequest {
                // Whose it is.
                host_name: String::new(),
                enabled: enabled.map(|word| word == "on"),
                timeout_action: action.map(|action| action.action().into()),
            };
            let reply = session.changing().await?.call(ipmi_service::SET_HOST_WATCHDOG, &request).await?;
            output.line(&reply, || line(&reply.watchdog.clone().unwrap_or_default()))
        }
    }
}

fn timer_state(timer: &HostWatchdog) -> &'static str {
    match (timer.enabled, timer.running) {
        (_, true) => "runs",
        (true, false) => "stopped",
        (false, false) => "off: the host may not start it",
    }
}

fn timeout(timer: &HostWatchdog) -> String {
    enum_word(timer.timeout_action().as_str_name(), "HOST_WATCHDOG_ACTION_")
}

fn line(timer: &HostWatchdog) -> String {
    let end = if timer.configured { format!("; at its end: {}", timeout(timer)) } else { String::new() };
    format!("watchdog of {}: {}{end}", timer.host_name, timer_state(timer))
}

fn timer(timer: Option<&HostWatchdog>) -> Card {
    let mut card = Card::default();
    let Some(timer) = timer else {
        card.line("Watchdog", "none: IPMI is off, and the host has no way to it");
        return card;
    };
    card.line("Watchdog of", timer.host_name.clone()).line("State", timer_state(timer));
    if !timer.configured {
        card.line("Set by", "nobody");
        return card;
    }
    let word = |of: HostWatchdogUse| enum_word(of.as_str_name(), "HOST_WATCHDOG_USE_");
    let expired: Vec<String> = timer.expired().map(word).collect();
    let interrupt = enum_word(timer.interrupt().as_str_name(), "HOST_WATCHDOG_INTERRUPT_");
    let before = match timer.interrupt_before_ms {
        0 => interrupt,
        before => format!("{interrupt}, {} before its end", seconds(before)),
    };
    card.line("Use", word(timer.timer_use()))
        .line("At its end", timeout(timer))
        .line("Interrupt", before)
        .line("Counts from", seconds(timer.initial_ms))
        .line("Left", seconds(timer.left_ms))
        .line("Expired", expired.join(" "));
    card
}

/// `9.5 s`: it counts in tenths.
fn seconds(millis: u32) -> String {
    format!("{}.{} s", millis / 1000, millis % 1000 / 100)
}

/// `[::]:623`.
pub(super) fn place(address: &str, port: u32) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

fn said(ipmi: &Ipmi) -> String {
    match ipmi.enabled {
        true => format!("IPMI is on at {}", place(&ipmi.address, ipmi.port)),
        false => "IPMI is off".to_owned(),
    }
}

fn card(ipmi: &Ipmi) -> Card {
    let state = match (ipmi.enabled, ipmi.listening) {
        (false, _) => "off",
        (true, true) => "on",
        (true, false) => "on, and not served",
    };
    let suites: Vec<String> = ipmi.cipher_suites.iter().map(u32::to_string).collect();
    let mut card = Card::default();
    card.line("IPMI over LAN", state.to_owned())
        .line("Set by", if ipmi.by_configuration { "the configuration" } else { "hand" }.to_owned())
        .line("Address", place(&ipmi.address, ipmi.port))
        .line("Sessions", format!("{} of {}", ipmi.sessions, ipmi.sessions_max))
        .line("Cipher suites", suites.join(" "))
        .line("System interfaces", ipmi.system_interfaces.join(" "))
        .line("Fault", ipmi.fault.clone());
    card
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_is_told_with_what_is_done_at_its_end() {
        use schema::v1alpha1::HostWatchdogAction;
        let none = HostWatchdog { host_name: "system".into(), enabled: true, ..HostWatchdog::default() };
        assert_eq!(line(&none), "watchdog of system: stopped");
        let off = HostWatchdog { enabled: false, ..none.clone() };
        assert_eq!(line(&off), "watchdog of system: off: the host may not start it");
        let runs = HostWatchdog {
            configured: true,
            running: true,
            timeout_action: HostWatchdogAction::ResetSystem.into(),
            ..none
        };
        assert_eq!(line(&runs), "watchdog of system: runs; at its end: reset-system");
        assert_eq!(
            (seconds(0), seconds(9_500), seconds(6_553_500)),
            ("0.0 s".into(), "9.5 s".into(), "6553.5 s".into())
        );
    }

    #[test]
    fn where_it_is_served_can_be_copied() {
        let at =
            |address: &str| Ipmi { enabled: true, address: address.into(), port: 623, ..Ipmi::default() };
        assert_eq!(said(&at("::")), "IPMI is on at [::]:623");
        assert_eq!(said(&at("127.0.0.1")), "IPMI is on at 127.0.0.1:623");
        assert_eq!(said(&Ipmi::default()), "IPMI is off");
    }
}
