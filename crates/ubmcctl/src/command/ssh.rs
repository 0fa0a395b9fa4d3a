//! The hosts' consoles over SSH: the switch.

use schema::rpc::ssh_service;
use schema::v1alpha1::{GetSshRequest, SetSshRequest, Ssh};

use super::Session;
use super::ipmi::place;
use crate::cli::SshCommand;
use crate::failure::Failure;
use crate::output::{Card, Output};

pub(crate) async fn run(session: Session, command: SshCommand, output: Output) -> Result<(), Failure> {
    let request = match command {
        SshCommand::Status => {
            let reply = session.client().await?.call(ssh_service::GET_SSH, &GetSshRequest::default()).await?;
            return output.card(&reply, || card(&reply.ssh.clone().unwrap_or_default()));
        }
        SshCommand::Enable { port } => SetSshRequest { enabled: Some(true), port: port.map(u32::from) },
        SshCommand::Disable => SetSshRequest { enabled: Some(false), port: None },
    };
    let reply = session.changing().await?.call(ssh_service::SET_SSH, &request).await?;
    output.line(&reply, || said(&reply.ssh.clone().unwrap_or_default()))
}

fn said(ssh: &Ssh) -> String {
    match ssh.enabled {
        true => format!("SSH is on at {}", place(&ssh.address, ssh.port)),
        false => "SSH is off".to_owned(),
    }
}

fn card(ssh: &Ssh) -> Card {
    let state = match (ssh.enabled, ssh.listening) {
        (false, _) => "off",
        (true, true) => "on",
        (true, false) => "on, and not served",
    };
    let mut card = Card::default();
    card.line("Consoles over SSH", state.to_owned())
        .line("Set by", if ssh.by_configuration { "the configuration" } else { "hand" }.to_owned())
        .line("Address", place(&ssh.address, ssh.port))
        .line("Sessions", format!("{} of {}", ssh.sessions, ssh.sessions_max))
        .line("Fault", ssh.fault.clone());
    card
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_it_is_served_can_be_copied() {
        let at = |address: &str| Ssh { enabled: true, address: address.into(), port: 2200, ..Ssh::default() };
        assert_eq!(said(&at("::")), "SSH is on at [::]:2200");
        assert_eq!(said(&at("127.0.0.1")), "SSH is on at 127.0.0.1:2200");
        assert_eq!(said(&Ssh::default()), "SSH is off");
    }
}
