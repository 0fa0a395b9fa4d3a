//! Lights.

use std::time::Duration;

use schema::rpc::led_service;
use schema::v1alpha1::{
    GetLedRequest, Led, LedSource, ListLedsRequest, ReleaseLedRequest, SetLedRequest, TestLedsRequest,
};

use super::Session;
use crate::cli::{LedCommand, Lit};
use crate::failure::Failure;
use crate::output::{Card, Output, Table};
use crate::text::{enum_word, time};

pub(crate) async fn run(session: Session, command: LedCommand, output: Output) -> Result<(), Failure> {
    let client = match command {
        LedCommand::List | LedCommand::Get { .. } => session.client().await?,
        _ => session.changing().await?,
    };
    match command {
        LedCommand::List => {
            let reply = client.call(led_service::LIST_LEDS, &ListLedsRequest::default()).await?;
            output.reply(&reply, || {
                let head = ["NAME", "TYPE", "COLOR", "STATE", "BRIGHTNESS", "BECAUSE", "UNTIL", "FAULT"];
                let mut table = Table::new(&head).empty("no LEDs");
                for led in &reply.leds {
                    table.row([
                        led.name.clone(),
                        enum_word(led.r#type().as_str_name(), "LED_TYPE_"),
                        led.color.clone(),
                        state(led),
                        brightness(led),
                        because(led),
                        until(led),
                        fault(led),
                    ]);
                }
                table
            })
        }
        LedCommand::Get { name } => {
            let request = GetLedRequest { name, field_mask: None };
            let reply = client.call(led_service::GET_LED, &request).await?;
            output.card(&reply, || card(&reply.led.clone().unwrap_or_default()))
        }
        LedCommand::Set { name, state: Lit::Auto, .. } => {
            let reply = client.call(led_service::RELEASE_LED, &ReleaseLedRequest { name }).await?;
            output.line(&reply, || said(reply.led.as_ref()))
        }
        LedCommand::Set { name, state, brightness, lasts } => {
            let request = SetLedRequest {
                name,
                state: state.state().into(),
                brightness,
                duration: lasts.map(schema::time::duration),
            };
            let reply = client.call(led_service::SET_LED, &request).await?;
            output.line(&reply, || said(reply.led.as_ref()))
        }
        LedCommand::Test { lasts, stop } => {
            let lasts = if stop { Some(Duration::ZERO) } else { lasts };
            let request = TestLedsRequest { duration: lasts.map(schema::time::duration) };
            let reply = client.call(led_service::TEST_LEDS, &request).await?;
            output.line(&reply, || match &reply.until {
                Some(until) => format!("lamp test until {}", time(Some(until))),
                None => "no lamp test".to_owned(),
            })
        }
    }
}

fn state(led: &Led) -> String {
    enum_word(led.state().as_str_name(), "LED_STATE_")
}

/// In percent, of one that has brightness and is lit.
fn brightness(led: &Led) -> String {
    let dark = led.state() == schema::v1alpha1::LedState::Off;
    if led.dimmable() && !dark { format!("{} %", led.brightness) } else { String::new() }
}

fn because(led: &Led) -> String {
    match led.source() {
        LedSource::Group => led.group.clone(),
        LedSource::None | LedSource::Unspecified => String::new(),
        source => enum_word(source.as_str_name(), "LED_SOURCE_"),
    }
}

fn until(led: &Led) -> String {
    led.until.as_ref().map(|until| time(Some(until))).unwrap_or_default()
}

fn said(led: Option<&Led>) -> String {
    let Some(led) = led else { return "done".to_owned() };
    let ends = if led.until.is_some() { format!(" until {}", until(led)) } else { String::new() };
    format!("{}: {}{ends}", led.name, state(led))
}

fn card(led: &Led) -> Card {
    let mut card = Card::default();
    card.line("Name", led.name.clone())
        .line("Description", led.description.clone())
        .line("Type", enum_word(led.r#type().as_str_name(), "LED_TYPE_"))
        .line("Color", led.color.clone())
        .line("State", state(led))
        .line("Brightness", brightness(led))
        .line("Because of", because(led))
        .line("Until", until(led))
        .line("By hand", if led.settable { "yes" } else { "no" }.to_owned())
        .line("Fault", led.fault.clone())
        .line("Stale", led.stale.clone());
    card
}

/// Why it may not show what it should.
fn fault(led: &Led) -> String {
    match (led.fault.as_str(), led.stale.as_str()) {
        ("", "") => String::new(),
        ("", stale) => format!("stale: {stale}"),
        (fault, _) => fault.to_owned(),
    }
}
