//! Screens of hosts.

use schema::rpc::kvm_service;
use schema::v1alpha1::{
    GetKeptScreenRequest, KeyboardLayout, ListKeptScreensRequest, ListScreensRequest, ScreenshotRequest,
    StopTextRequest, TypeTextRequest,
};

use super::Session;
use super::kvm_vnc::{Way, serve};
use crate::cli::{KvmCommand, KvmLayout as Layout};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Output, Table};
use crate::text::{enum_word, time};

pub(crate) async fn run(session: Session, command: KvmCommand, output: Output) -> Result<(), Failure> {
    let client = session.client().await?;
    let list = ListScreensRequest::default();
    match command {
        KvmCommand::List => {
            let reply = client.call(kvm_service::LIST_SCREENS, &list).await?;
            output.reply(&reply, || {
                let head = ["NAME", "SOURCE", "SIGNAL", "SIZE", "VIEWERS", "INPUT", "FAULT"];
                let mut table = Table::new(&head).empty("no screens");
                for screen in &reply.screens {
                    let size = if screen.width == 0 {
                        String::new()
                    } else {
                        format!("{}x{}", screen.width, screen.height)
                    };
                    table.row([
                        screen.name.clone(),
                        enum_word(screen.source().as_str_name(), "SCREEN_SOURCE_"),
                        // Without a viewer nothing is captured, so nothing is known.
                        if screen.signal {
                            "yes"
                        } else if screen.fault.is_empty() {
                            ""
                        } else {
                            "no"
                        }
                        .to_owned(),
                        size,
                        screen.viewers.to_string(),
                        screen.input_holder.clone(),
                        screen.fault.clone(),
                    ]);
                }
                table
            })
        }
        KvmCommand::Screenshot { host, file } => {
            let name = named(&client, host).await?;
            let reply = client.call(kvm_service::SCREENSHOT, &ScreenshotRequest { name }).await?;
            let (picture, called) = if reply.png.is_empty() {
                (&reply.jpeg, "screenshot.jpg")
            } else {
                (&reply.png, "screenshot.png")
            };
            let file = file.unwrap_or_else(|| called.into());
            std::fs::write(&file, picture)
                .map_err(|error| Failure::Local(format!("cannot write {}: {error}", file.display())))?;
            let shrunk = if reply.shrunk > 1 {
                format!(", one of {} pixels each way", reply.shrunk)
            } else {
                String::new()
            };
            let said = format!("{}: {}x{}{shrunk}", file.display(), reply.width, reply.height);
            output.line(&reply, || said)
        }
        KvmCommand::Vnc { host, listen, view_only, take_over, once } => {
            let host = named(&client, host).await?;
            session.tell();
            serve(&client, &Way { host, view_only, take_over }, &listen, once).await
        }
        KvmCommand::Type { text, host, layout } => {
            let name = named(&client, host).await?;
            let text = if text == "-" {
                std::io::read_to_string(std::io::stdin().lock())
                    .map_err(|error| Failure::Local(format!("cannot read standard input: {error}")))?
            } else {
                text
            };
            let layout = match layout {
                Layout::Us => KeyboardLayout::Us,
                Layout::Gb => KeyboardLayout::Gb,
                Layout::De => KeyboardLayout::De,
            };
            session.tell();
            let typed = TypeTextRequest { name: name.clone(), text, layout: layout.into() };
            let reply = client.call(kvm_service::TYPE_TEXT, &typed).await?;
            output.line(&reply, || format!("{name}: {} characters are being typed", reply.characters))
        }
        KvmCommand::Stop { host } => {
            let name = named(&client, host).await?;
            let reply = client.call(kvm_service::STOP_TEXT, &StopTextRequest { name: name.clone() }).await?;
            output.line(&reply, || match reply.text_holder.as_str() {
                "" => format!("{name}: no text is being typed"),
                holder => format!("{name}: stopped the text of {holder}"),
            })
        }
        KvmCommand::Kept { host, file: Some(file), id } => {
            let name = named(&client, host).await?;
            let request = GetKeptScreenRequest { name, id: id.unwrap_or_default() };
            let reply = client.call(kvm_service::GET_KEPT_SCREEN, &request).await?;
            let picture = if reply.png.is_empty() { &reply.jpeg } else { &reply.png };
            std::fs::write(&file, picture)
                .map_err(|error| Failure::Local(format!("cannot write {}: {error}", file.display())))?;
            let taken = reply.screen.as_ref().and_then(|screen| screen.taken_at);
            output.line(&reply, || format!("{}: as it was at {}", file.display(), time(taken.as_ref())))
        }
        KvmCommand::Kept { host, file: None, id: _ } => {
            let name = named(&client, host).await?;
            let reply = client.call(kvm_service::LIST_KEPT_SCREENS, &ListKeptScreensRequest { name }).await?;
            output.reply(&reply, || {
                let mut table =
                    Table::new(&["ID", "SEEN", "HOST", "AT", "BYTES"]).empty("no screens are kept");
                for screen in &reply.screens {
                    table.row([
                        screen.id.clone(),
                        time(screen.taken_at.as_ref()),
                        enum_word(screen.reason().as_str_name(), "KEPT_SCREEN_REASON_"),
                        time(screen.kept_at.as_ref()),
                        screen.size_bytes.to_string(),
                    ]);
                }
                table
            })
        }
    }
}

/// The host that is meant.
async fn named(client: &Client, host: Option<String>) -> Result<String, Failure> {
    if let Some(host) = host {
        // It may become a part of a path.
        let is_id = !host.is_empty()
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        return is_id.then_some(host).ok_or_else(|| Failure::Usage("that is no name of a host".to_owned()));
    }
    let reply = client.call(kvm_service::LIST_SCREENS, &ListScreensRequest::default()).await?;
    let first = reply.screens.into_iter().next().map(|screen| screen.name);
    first.ok_or_else(|| Failure::Usage("this BMC has no screens".to_owned()))
}
