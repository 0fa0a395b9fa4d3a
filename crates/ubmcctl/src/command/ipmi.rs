//! IPMI over LAN.

use schema::rpc::ipmi_service;
use schema::v1alpha1::{GetIpmiRequest, Ipmi, SetIpmiRequest};

use super::Session;
use crate::cli::IpmiCommand;
use crate::failure::Failure;
use crate::output::{Card, Output};

pub(crate) async fn run(session: Session, command: IpmiCommand, output: Output) -> Result<(), Failure> {
    let request = match command {
        IpmiCommand::Status => {
            let reply =
                session.client().await?.call(ipmi_service::GET_IPMI, &GetIpmiRequest::default()).await?;
            return output.card(&reply, || card(&reply.ipmi.clone().unwrap_or_default()));
        }
        IpmiCommand::Enable { port } => SetIpmiRequest { enabled: Some(true), port: port.map(u32::from) },
        IpmiCommand::Disable => SetIpmiRequest { enabled: Some(false), port: None },
    };
    let reply = session.changing().await?.call(ipmi_service::SET_IPMI, &request).await?;
    output.line(&reply, || said(&reply.ipmi.clone().unwrap_or_default()))
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
    fn where_it_is_served_can_be_copied() {
        let at =
            |address: &str| Ipmi { enabled: true, address: address.into(), port: 623, ..Ipmi::default() };
        assert_eq!(said(&at("::")), "IPMI is on at [::]:623");
        assert_eq!(said(&at("127.0.0.1")), "IPMI is on at 127.0.0.1:623");
        assert_eq!(said(&Ipmi::default()), "IPMI is off");
    }
}
