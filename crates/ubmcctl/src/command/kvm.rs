//! Screens of hosts.

use schema::rpc::kvm_service;
use schema::v1alpha1::{ListScreensRequest, ScreenshotRequest};

use super::Session;
use crate::cli::KvmCommand;
use crate::failure::Failure;
use crate::output::{Output, Table};
use crate::text::enum_word;

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
            let name = match host {
                Some(host) => host,
                None => {
                    let first =
                        client.call(kvm_service::LIST_SCREENS, &list).await?.screens.into_iter().next();
                    first
                        .map(|screen| screen.name)
                        .ok_or_else(|| Failure::Usage("this BMC has no screens".to_owned()))?
                }
            };
            let reply = client.call(kvm_service::SCREENSHOT, &ScreenshotRequest { name }).await?;
            std::fs::write(&file, &reply.png)
                .map_err(|error| Failure::Local(format!("cannot write {}: {error}", file.display())))?;
            let shrunk = if reply.shrunk > 1 {
                format!(", one of {} pixels each way", reply.shrunk)
            } else {
                String::new()
            };
            let said = format!("{}: {}x{}{shrunk}", file.display(), reply.width, reply.height);
            output.line(&reply, || said)
        }
    }
}
