//! What a host boots from next.

use clap::{Subcommand, ValueEnum};
use prost_types::FieldMask;
use schema::rpc::host_service;
use schema::v1alpha1::{
    BootMode, BootOverride, BootOverrideEnabled, BootTarget, GetHostRequest, Host, UpdateHostRequest,
};

use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Card, Output};
use crate::text::{enum_word, when};

#[derive(Debug, Subcommand)]
pub(crate) enum BootOverrideCommand {
    /// What is set, what was used, and what the host can be told
    Show {
        /// Which host
        #[arg(default_value = "system")]
        name: String,
    },
    /// Boot from this, once
    Set {
        /// From what
        #[arg(value_enum)]
        target: BootFrom,
        /// Which host
        #[arg(default_value = "system")]
        name: String,
        /// At each boot until it is cleared, not only at the next one
        #[arg(long)]
        continuous: bool,
        /// How firmware that can do both boots [default: as it is set up]
        #[arg(long, value_enum)]
        mode: Option<Mode>,
        /// For uefi-http: from where; without it DHCP names it
        #[arg(long)]
        uri: Option<String>,
        /// For uefi-target: a UEFI device path
        #[arg(long)]
        path: Option<String>,
        /// For uefi-boot-next: a boot option, Boot0001
        #[arg(long)]
        option: Option<String>,
    },
    /// Boot as the firmware is set up
    Clear {
        /// Which host
        #[arg(default_value = "system")]
        name: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BootFrom {
    None,
    Pxe,
    Hdd,
    Cd,
    Usb,
    BiosSetup,
    Diags,
    UefiHttp,
    UefiTarget,
    UefiBootNext,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    Uefi,
    Legacy,
}

impl BootOverrideCommand {
    /// Looks whether its options go together.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let Self::Set { target, uri, path, option, .. } = self else { return Ok(()) };
        let of = [
            ("--uri", uri, BootFrom::UefiHttp, "uefi-http"),
            ("--path", path, BootFrom::UefiTarget, "uefi-target"),
            ("--option", option, BootFrom::UefiBootNext, "uefi-boot-next"),
        ];
        match of.iter().find(|(_, given, only, _)| given.is_some() && target != only) {
            Some((name, .., word)) => Err(Failure::Usage(format!("{name} is of {word}"))),
            None => Ok(()),
        }
    }
}

pub(crate) async fn run(
    client: &Client,
    command: BootOverrideCommand,
    output: Output,
) -> Result<(), Failure> {
    let (name, boot, paths) = match command {
        BootOverrideCommand::Show { name } => {
            let request = GetHostRequest { name, field_mask: None };
            let reply = client.call(host_service::GET_HOST, &request).await?;
            return output.card(&reply, || card(&reply.host.clone().unwrap_or_default()));
        }
        BootOverrideCommand::Clear { name } => {
            let boot = BootOverride {
                target: BootTarget::None.into(),
                enabled: BootOverrideEnabled::Disabled.into(),
                ..BootOverride::default()
            };
            (name, boot, ["target", "enabled"].to_vec())
        }
        BootOverrideCommand::Set { target, name, continuous, mode, uri, path, option } => {
            let (boot, paths) = wanted(target, continuous, mode, uri, path, option);
            (name, boot, paths)
        }
    };
    let request = UpdateHostRequest {
        host_name: name,
        host: Some(Host { boot_override: Some(boot), ..Host::default() }),
        field_mask: Some(FieldMask {
            paths: paths.iter().map(|path| format!("boot_override.{path}")).collect(),
        }),
    };
    let reply = client.call(host_service::UPDATE_HOST, &request).await?;
    output.card(&reply, || card(&reply.host.clone().unwrap_or_default()))
}

/// What is asked for, and which fields of it are to be written.
fn wanted(
    target: BootFrom,
    continuous: bool,
    mode: Option<Mode>,
    uri: Option<String>,
    path: Option<String>,
    option: Option<String>,
) -> (BootOverride, Vec<&'static str>) {
    let mut paths = vec!["target", "enabled", "mode"];
    let (field, target) = match target {
        BootFrom::None => (None, BootTarget::None),
        BootFrom::Pxe => (None, BootTarget::Pxe),
        BootFrom::Hdd => (None, BootTarget::Hdd),
        BootFrom::Cd => (None, BootTarget::Cd),
        BootFrom::Usb => (None, BootTarget::Usb),
        BootFrom::BiosSetup => (None, BootTarget::BiosSetup),
        BootFrom::Diags => (None, BootTarget::Diags),
        BootFrom::UefiHttp => (Some("http_boot_uri"), BootTarget::UefiHttp),
        BootFrom::UefiTarget => (Some("uefi_target"), BootTarget::UefiTarget),
        BootFrom::UefiBootNext => (Some("boot_next"), BootTarget::UefiBootNext),
    };
    paths.extend(field);
    let enabled = if continuous { BootOverrideEnabled::Continuous } else { BootOverrideEnabled::Once };
    let boot = BootOverride {
        target: target.into(),
        enabled: enabled.into(),
        mode: match mode {
            None => BootMode::Unspecified,
            Some(Mode::Uefi) => BootMode::Uefi,
            Some(Mode::Legacy) => BootMode::Legacy,
        }
        .into(),
        http_boot_uri: uri.unwrap_or_default(),
        uefi_target: path.unwrap_or_default(),
        boot_next: option.unwrap_or_default(),
        ..BootOverride::default()
    };
    (boot, paths)
}

fn target_word(target: BootTarget) -> String {
    enum_word(target.as_str_name(), "BOOT_TARGET_")
}

/// `pxe, once`; empty when nothing is overridden.
pub(crate) fn words(boot: &BootOverride) -> String {
    match boot.enabled() {
        BootOverrideEnabled::Unspecified | BootOverrideEnabled::Disabled => String::new(),
        enabled => {
            let enabled = enum_word(enabled.as_str_name(), "BOOT_OVERRIDE_ENABLED_");
            format!("{}, {enabled}", target_word(boot.target()))
        }
    }
}

fn card(host: &Host) -> Card {
    let mut card = Card::default();
    card.line("Name", host.name.clone());
    let Some(boot) = &host.boot_override else {
        card.line("Boot override", "nothing tells this host what to boot from");
        return card;
    };
    let words = words(boot);
    card.line("Boot override", if words.is_empty() { "none".to_owned() } else { words });
    if boot.mode() != BootMode::Unspecified {
        card.line("  mode", enum_word(boot.mode().as_str_name(), "BOOT_MODE_"));
    }
    card.line("  URI", boot.http_boot_uri.clone())
        .line("  UEFI path", boot.uefi_target.clone())
        .line("  boot option", boot.boot_next.clone());
    if let Some(used) = &boot.last_use {
        card.line("Last used", format!("{}, {}", target_word(used.target()), when(used.used_at.as_ref())));
    }
    let targets: Vec<String> = boot.supported_targets().map(target_word).collect();
    card.line("Possible", targets.join(", "));
    let modes: Vec<String> =
        boot.supported_modes().map(|mode| enum_word(mode.as_str_name(), "BOOT_MODE_")).collect();
    card.line("  modes", modes.join(", "));
    card
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::output::Paint;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(subcommand)]
        command: BootOverrideCommand,
    }

    fn parse(line: &str) -> Result<BootOverrideCommand, clap::Error> {
        Ok(Line::try_parse_from(["boot-override"].into_iter().chain(line.split(' ')))?.command)
    }

    #[test]
    fn what_is_said_is_what_is_asked_for() {
        let set = |target, uri: Option<&str>, continuous| {
            wanted(target, continuous, Some(Mode::Uefi), uri.map(str::to_owned), None, None)
        };
        let (boot, paths) = set(BootFrom::UefiHttp, Some("http://a/b"), false);
        assert_eq!(paths, ["target", "enabled", "mode", "http_boot_uri"]);
        assert_eq!(
            (boot.target(), boot.enabled(), boot.mode(), boot.http_boot_uri.as_str()),
            (BootTarget::UefiHttp, BootOverrideEnabled::Once, BootMode::Uefi, "http://a/b")
        );
        // What DHCP is to name is no left-over.
        let (boot, paths) = set(BootFrom::UefiHttp, None, false);
        assert_eq!((boot.http_boot_uri.as_str(), paths.len()), ("", 4));
        let (boot, paths) = set(BootFrom::Hdd, None, true);
        assert_eq!((boot.enabled(), paths.len()), (BootOverrideEnabled::Continuous, 3));
    }

    #[test]
    fn commands_are_understood() {
        for line in [
            "show",
            "show host1",
            "set pxe",
            "set cd host1 --continuous --mode legacy",
            "set uefi-http --uri https://a/b.efi",
            "set uefi-target --path PciRoot(0x0)/Pci(0x1,0x0)",
            "set uefi-boot-next --option Boot0001",
            "clear",
        ] {
            assert!(parse(line).is_ok_and(|command| command.check().is_ok()), "{line}");
        }
        for line in ["set pxe --uri http://a", "set uefi-http --path a", "set cd --option Boot0001"] {
            let command = parse(line).unwrap();
            assert!(matches!(command.check(), Err(Failure::Usage(_))), "{line}");
        }
    }

    #[test]
    fn an_override_reads_as_a_card() {
        let host = Host {
            name: "system".into(),
            boot_override: Some(BootOverride {
                target: BootTarget::UefiHttp.into(),
                enabled: BootOverrideEnabled::Once.into(),
                http_boot_uri: "http://a".into(),
                supported_targets: vec![1, 2, 8],
                supported_modes: vec![2],
                ..BootOverride::default()
            }),
            ..Host::default()
        };
        let mut out = Vec::new();
        card(&host).write(&mut out, Paint::PLAIN).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "\
Name           system
Boot override  uefi-http, once
  URI          http://a
Possible       none, pxe, uefi-http
  modes        legacy
"
        );
    }
}
