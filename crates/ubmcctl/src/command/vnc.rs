//! The port of desktop viewers: the switch.

use schema::rpc::vnc_service;
use schema::v1alpha1::{GetVncRequest, SetVncRequest, Vnc};

use super::Session;
use super::ipmi::place;
use crate::cli::VncCommand;
use crate::failure::Failure;
use crate::output::{Card, Output};

pub(crate) async fn run(session: Session, command: VncCommand, output: Output) -> Result<(), Failure> {
    let enabled = match command {
        VncCommand::Status => {
            let reply = session.client().await?.call(vnc_service::GET_VNC, &GetVncRequest::default()).await?;
            return output.card(&reply, || card(&reply.vnc.clone().unwrap_or_default()));
        }
        VncCommand::Enable => true,
        VncCommand::Disable => false,
    };
    let request = SetVncRequest { enabled: Some(enabled) };
    let reply = session.changing().await?.call(vnc_service::SET_VNC, &request).await?;
    output.line(&reply, || said(&reply.vnc.clone().unwrap_or_default()))
}

fn said(vnc: &Vnc) -> String {
    match vnc.enabled {
        true => format!("VNC is on at {}", place(&vnc.address, vnc.port)),
        false => "VNC is off".to_owned(),
    }
}

fn card(vnc: &Vnc) -> Card {
    let state = match (vnc.enabled, vnc.listening) {
        (false, _) => "off",
        (true, true) => "on",
        (true, false) => "on, and not served",
    };
    let mut card = Card::default();
    card.line("Desktop viewers of VNC", state.to_owned())
        .line("Set by", if vnc.by_configuration { "the configuration" } else { "hand" }.to_owned())
        .line("Address", place(&vnc.address, vnc.port))
        .line("Fault", vnc.fault.clone());
    card
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_it_is_open_can_be_copied() {
        let at = |address: &str| Vnc { enabled: true, address: address.into(), port: 5900, ..Vnc::default() };
        assert_eq!(said(&at("::")), "VNC is on at [::]:5900");
        assert_eq!(said(&at("127.0.0.1")), "VNC is on at 127.0.0.1:5900");
        assert_eq!(said(&Vnc::default()), "VNC is off");
    }
}
