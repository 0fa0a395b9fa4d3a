//! What there is to be listed and nothing else: a row for each, from which command, help and table follow.

use clap::error::ErrorKind;
use clap::{ArgMatches, Command, FromArgMatches, Subcommand};
use prost_reflect::{DynamicMessage, EnumDescriptor, Kind, ReflectMessage as _, Value};
use schema::{MethodInfo, rpc};

use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Format, Output, Table};
use crate::text::{enum_word, span, time};

/// `ubmcctl <name> list`.
#[derive(Debug)]
struct Listing {
    name: &'static str,
    /// Help of `<name>` and of `list`.
    about: [&'static str; 2],
    /// Takes an empty request; its answer has one page.
    method: &'static MethodInfo,
    /// The field of the answer with the entries.
    entries: &'static str,
    /// Heads of the columns, and the field of an entry below each.
    columns: &'static [(&'static str, &'static str)],
    /// What is said when there are no entries.
    empty: &'static str,
}

static LISTINGS: &[Listing] = &[
    Listing {
        name: "fan",
        about: ["What cools the machine", "All fans with duty and speed"],
        method: rpc::thermal_service::LIST_COOLING_DEVICES.info,
        entries: "cooling_devices",
        columns: &[
            ("FAN", "name"),
            ("STATUS", "status"),
            ("DUTY %", "cooling_power_percent"),
            ("RPM", "speed_rpm"),
            ("ZONES", "zone_names"),
        ],
        empty: "no fans",
    },
    Listing {
        name: "metric-report",
        about: ["Metric reports that clients have defined", "All of them"],
        method: rpc::telemetry_service::LIST_REPORT_DEFINITIONS.info,
        entries: "definitions",
        columns: &[
            ("REPORT", "id"),
            ("NAME", "name"),
            ("TYPE", "type"),
            ("EVERY MS", "interval_ms"),
            ("ACTIONS", "actions"),
            ("ENABLED", "enabled"),
        ],
        empty: "no metric reports that clients have defined",
    },
    Listing {
        name: "trigger",
        about: ["Triggers that clients have made", "All of them"],
        method: rpc::telemetry_service::LIST_TRIGGERS.info,
        entries: "triggers",
        columns: &[
            ("TRIGGER", "id"),
            ("NAME", "name"),
            ("SENSORS", "sensors"),
            ("ACTIONS", "actions"),
            ("REPORTS", "report_definitions"),
        ],
        empty: "no triggers that clients have made",
    },
];

/// A command for each row.
#[derive(Debug)]
pub(crate) struct ListingCommand(&'static Listing);

impl Subcommand for ListingCommand {
    fn augment_subcommands(command: Command) -> Command {
        LISTINGS.iter().fold(command, |command, listing| {
            let [about, about_list] = listing.about;
            let list = Command::new("list").about(about_list);
            let noun = Command::new(listing.name).about(about).subcommand(list);
            command.subcommand(noun.subcommand_required(true).arg_required_else_help(true))
        })
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        LISTINGS.iter().any(|listing| listing.name == name)
    }
}

impl FromArgMatches for ListingCommand {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let found = LISTINGS.iter().find(|listing| matches.subcommand_name() == Some(listing.name));
        found.map(Self).ok_or_else(|| clap::Error::new(ErrorKind::MissingSubcommand))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

pub(crate) async fn run(client: &Client, command: ListingCommand, output: Output) -> Result<(), Failure> {
    let method = command.0.method;
    let reply = client.raw(method, Vec::new().into()).await?;
    let reply = DynamicMessage::decode(method.output(), reply)
        .map_err(|error| Failure::Local(format!("{}: answer not understood: {error}", method.method)))?;
    match output.format {
        Format::Table | Format::Csv => output.table(&table(command.0, &reply)),
        Format::Json => {
            let reply = serde_json::to_value(&reply)
                .map_err(|error| Failure::Local(format!("the answer has no JSON form: {error}")))?;
            output.value(&reply)
        }
    }
}

fn table(listing: &Listing, reply: &DynamicMessage) -> Table {
    let heads: Vec<&'static str> = listing.columns.iter().map(|(head, _)| *head).collect();
    let mut table = Table::new(&heads).empty(listing.empty);
    let entries = reply.get_field_by_name(listing.entries);
    for entry in
        entries.iter().filter_map(|entries| entries.as_list()).flatten().filter_map(Value::as_message)
    {
        table.cells(listing.columns.iter().map(|(_, field)| cell(entry, field)));
    }
    table
}

/// A field of an entry, for people.
fn cell(entry: &DynamicMessage, field: &str) -> String {
    let Some(field) = entry.descriptor().get_field_by_name(field) else { return String::new() };
    if field.supports_presence() && !entry.has_field(&field) {
        return String::new();
    }
    let words = match field.kind() {
        Kind::Enum(words) => Some(words),
        _ => None,
    };
    text(&entry.get_field(&field), words.as_ref())
}

fn text(value: &Value, words: Option<&EnumDescriptor>) -> String {
    match value {
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::I32(number) => number.to_string(),
        Value::I64(number) => number.to_string(),
        Value::U32(number) => number.to_string(),
        Value::U64(number) => number.to_string(),
        Value::F32(number) => format!("{number:.1}"),
        Value::F64(number) => format!("{number:.1}"),
        Value::String(text) => text.clone(),
        Value::EnumNumber(number) => match words.and_then(|words| words.get_value(*number)) {
            Some(value) => enum_word(value.name(), &prefix(value.parent_enum().name())),
            None => number.to_string(),
        },
        Value::List(values) => {
            let values: Vec<String> = values.iter().map(|value| text(value, words)).collect();
            values.join(" ")
        }
        Value::Message(message) => match message.descriptor().full_name() {
            "google.protobuf.Timestamp" => time(message.transcode_to().ok().as_ref()),
            "google.protobuf.Duration" => span(message.transcode_to().ok().as_ref()),
            _ => serde_json::to_string(message).unwrap_or_default(),
        },
        Value::Bytes(_) | Value::Map(_) => String::new(),
    }
}

/// What the values of an enum begin with: `LockoutScope`, `LOCKOUT_SCOPE_`.
fn prefix(name: &str) -> String {
    let mut prefix = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !prefix.is_empty() {
            prefix.push('_');
        }
        prefix.extend(letter.to_uppercase());
    }
    prefix + "_"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Paint;
    use schema::Idempotency;
    use schema::v1alpha1::{ListLockoutsResponse, ListRolesResponse, Lockout, LockoutScope, Privilege, Role};

    #[test]
    fn each_row_is_of_the_contract() {
        for Listing { name, method, entries, columns, .. } in LISTINGS {
            assert!(!method.internal && method.idempotency == Idempotency::NoSideEffects, "{name}");
            let output = method.output();
            assert!(output.get_field_by_name("next_page_token").is_none(), "{name}: it has pages");
            let entries = output.get_field_by_name(entries).filter(|field| field.is_list());
            let Some(Kind::Message(entry)) = entries.map(|field| field.kind()) else {
                panic!("{name}: no list")
            };
            for (_, field) in *columns {
                assert!(entry.get_field_by_name(field).is_some(), "{name}: there is no field {field}");
            }
        }
    }

    fn shown(listing: &Listing, reply: &impl prost::Message) -> String {
        let reply =
            DynamicMessage::decode(listing.method.output(), reply.encode_to_vec().as_slice()).unwrap();
        let mut out = Vec::new();
        table(listing, &reply).write(&mut out, Paint::PLAIN, 80).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_are_shown_as_words() {
        let role = Role {
            id: "ReadOnly".into(),
            description: "looks".into(),
            privileges: vec![Privilege::Login.into(), Privilege::ConfigureSelf.into()],
            ..Default::default()
        };
        let roles = Listing {
            name: "role",
            about: [""; 2],
            method: rpc::role_service::LIST_ROLES.info,
            entries: "roles",
            columns: &[("ROLE", "id"), ("PRIVILEGES", "privileges"), ("DESCRIPTION", "description")],
            empty: "no roles",
        };
        let roles = shown(&roles, &ListRolesResponse { roles: vec![role] });
        assert_eq!(
            roles,
            "ROLE      PRIVILEGES            DESCRIPTION\nReadOnly  login configure-self  looks\n"
        );
        let locks = Listing {
            name: "lockout",
            about: [""; 2],
            method: rpc::lockout_service::LIST_LOCKOUTS.info,
            entries: "lockouts",
            columns: &[("ID", "id"), ("SCOPE", "scope"), ("FAILED", "failed_attempts"), ("UNTIL", "ends_at")],
            empty: "",
        };
        let lock = Lockout {
            id: "a".into(),
            scope: LockoutScope::AccountAndAddress.into(),
            failed_attempts: 5,
            ends_at: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
            ..Default::default()
        };
        let locks = shown(&locks, &ListLockoutsResponse { lockouts: vec![lock, Lockout::default()] });
        assert_eq!(
            locks,
            "ID  SCOPE                FAILED  UNTIL\n\
             a   account-and-address  5       2023-11-14 22:13:20Z\n\
             -   unspecified          0       -\n"
        );
    }
}
