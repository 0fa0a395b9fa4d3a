//! The port of plain HTTP, which leads to HTTPS: the switch.

use schema::rpc::redirect_service;
use schema::v1alpha1::{GetRedirectRequest, Redirect, SetRedirectRequest};

use super::Session;
use super::ipmi::place;
use crate::cli::RedirectCommand;
use crate::failure::Failure;
use crate::output::{Card, Output};

pub(crate) async fn run(session: Session, command: RedirectCommand, output: Output) -> Result<(), Failure> {
    let enabled = match command {
        RedirectCommand::Status => {
            let request = GetRedirectRequest::default();
            let reply = session.client().await?.call(redirect_service::GET_REDIRECT, &request).await?;
            return output.card(&reply, || card(&reply.redirect.clone().unwrap_or_default()));
        }
        RedirectCommand::Enable => true,
        RedirectCommand::Disable => false,
    };
    let request = SetRedirectRequest { enabled: Some(enabled) };
    let reply = session.changing().await?.call(redirect_service::SET_REDIRECT, &request).await?;
    output.line(&reply, || said(&reply.redirect.clone().unwrap_or_default()))
}

fn said(redirect: &Redirect) -> String {
    match redirect.enabled {
        true => format!("HTTP at {} leads to HTTPS", place(&redirect.address, redirect.port)),
        false => "HTTP is off".to_owned(),
    }
}

fn card(redirect: &Redirect) -> Card {
    let state = match (redirect.enabled, redirect.listening) {
        (false, _) => "off",
        (true, true) => "on",
        (true, false) => "on, and not served",
    };
    // Where the configuration has it nowhere.
    let address = if redirect.port == 0 { String::new() } else { place(&redirect.address, redirect.port) };
    let mut card = Card::default();
    card.line("Redirect from HTTP", state.to_owned())
        .line("Set by", if redirect.by_configuration { "the configuration" } else { "hand" }.to_owned())
        .line("Address", address)
        .line("Fault", redirect.fault.clone());
    card
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_it_is_open_can_be_copied() {
        let at = |address: &str| Redirect {
            enabled: true,
            address: address.into(),
            port: 80,
            ..Redirect::default()
        };
        assert_eq!(said(&at("::")), "HTTP at [::]:80 leads to HTTPS");
        assert_eq!(said(&at("192.0.2.7")), "HTTP at 192.0.2.7:80 leads to HTTPS");
        assert_eq!(said(&Redirect::default()), "HTTP is off");
    }
}
