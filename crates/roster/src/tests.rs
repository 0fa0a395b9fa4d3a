//! What no two rows may say, and what has to be said beside them.

use super::*;

const ROWS: &str = "crates/roster/src/rows.rs";

#[test]
fn a_daemon_calls_and_starts_after_rows_above_its_own() {
    // Then no path can come back: no two daemons wait for each other.
    for (index, daemon) in Daemon::ALL.iter().enumerate() {
        let row = daemon.row();
        for other in row.calls.iter().chain(row.after) {
            assert!(
                Daemon::ALL[..index].contains(other),
                "{0} calls or starts after {1}, whose row does not stand above its own: move the row of {1} up in {ROWS}",
                row.name,
                other.name()
            );
        }
        for callee in row.calls.iter().filter(|callee| **callee != Daemon::Operator) {
            assert!(
                row.after.contains(callee),
                "{} calls {callee:?}: add Daemon::{callee:?} to its `after` in {ROWS}",
                row.name
            );
        }
    }
}

#[test]
fn every_service_has_an_owner_with_a_row() {
    for service in schema::services() {
        let (name, owner) = (service.name, service.owner);
        assert!(
            Daemon::named(owner).is_some(),
            "{name} is owned by {owner}, which has no row: add one to {ROWS}"
        );
    }
}

#[test]
fn a_service_for_clients_is_called_by_what_clients_come_through() {
    for service in schema::services().iter().filter(|service| !service.internal) {
        let Some(owner) = Daemon::named(service.owner) else { continue };
        for way in [Daemon::Websrv, Daemon::Fleet] {
            assert!(
                way.row().calls.contains(&owner),
                "{} is for clients: add Daemon::{owner:?} to the `calls` and `after` of {way:?} in {ROWS}, or say \
                 `option (internal) = true` in its .proto",
                service.name
            );
        }
    }
}

#[test]
fn what_is_a_daemon_s_own_is_nobody_else_s() {
    let own = |what: &str, mut all: Vec<String>| {
        all.sort_unstable();
        let twice = all.windows(2).find(|pair| pair[0] == pair[1]);
        assert_eq!(twice, None, "{what} is of two rows in {ROWS}");
    };
    let rows = || Daemon::ALL.iter().map(|daemon| daemon.row());
    own("a name", rows().map(|row| row.name.to_owned()).collect());
    own("a user", rows().filter_map(|row| row.user).map(|user| user.to_string()).collect());
    own("a bucket", buckets().map(str::to_owned).collect());
    own("a device", rows().flat_map(|row| row.devices).map(|name| (*name).to_owned()).collect());
    for row in rows() {
        assert!(
            row.user.is_none_or(|user| user > SHARED_GROUP),
            "{}: the shared number is nobody's",
            row.name
        );
        let without: Vec<_> = row.trims.iter().filter(|stream| !row.streams.contains(stream)).collect();
        assert!(without.is_empty(), "{} trims {without:?}, which it may not read", row.name);
    }
    // What is no part of the management software runs as whoever started it.
    let root: Vec<_> = Daemon::ALL.iter().copied().filter(|daemon| daemon.row().user.is_none()).collect();
    assert_eq!(root, [Daemon::Operator, Daemon::Twin], "all others have a user of their own");
}

#[test]
fn nobody_hears_or_fakes_what_is_not_its_own() {
    for daemon in Daemon::ALL.iter().copied() {
        let (name, may) = (daemon.name(), permissions(daemon));
        for subject in &may.subscribe {
            assert!(subject != ">" && subject != "rpc.>" && subject != "_INBOX.>", "{name}: {subject}");
        }
        for subject in &may.publish {
            let own = *subject == ipc::sync_subject(name);
            assert!(own || !subject.starts_with("_INBOX"), "{name}: {subject}");
            assert!(subject != ">" && subject != "rpc.>" && subject != "event.>", "{name}: {subject}");
        }
        for service in services_of(daemon) {
            assert!(may.subscribe.contains(&format!("rpc.{service}.>")));
        }
    }
    assert_eq!(permissions(Daemon::Twin), Permissions::default());
}

#[test]
fn only_the_owners_of_secrets_reach_their_buckets() {
    for daemon in Daemon::ALL.iter().copied() {
        let may = permissions(daemon);
        let reaches = may
            .publish
            .iter()
            .any(|subject| subject.contains("KV_users") || subject.starts_with("$KV.users"));
        assert_eq!(reaches, daemon == Daemon::Usermgr, "{daemon:?}");
    }
}

/// The tables of daemons in the docs: file, head of the table, and the lines that follow from the rows. In a column that is not compared
/// (`…`) anything may stand.
fn tables() -> Vec<(&'static str, &'static str, Vec<Vec<String>>)> {
    let code = |names: &[&str], suffix: &str| {
        let names: Vec<_> = names.iter().map(|name| format!("`{name}{suffix}`")).collect();
        names.join(", ")
    };
    let or = |text: String, empty: &str| if text.is_empty() { empty.to_owned() } else { text };
    let rows =
        |wanted: fn(&Row) -> bool| Daemon::ALL.iter().copied().filter(move |daemon| wanted(daemon.row()));
    let started = |row: &Row| row.name != Daemon::Operator.name();

    let overview = rows(|_| true).map(|d| vec![d.name().into(), d.row().about.into(), "…".into()]);
    let bus = rows(|row| row.on_bus).map(|daemon| {
        let row = daemon.row();
        let calls: Vec<_> = row.calls.iter().map(|callee| callee.name()).collect();
        let keeps = |stream: &Stream| if row.trims.contains(stream) { " and keeps its room" } else { "" };
        let streams = row.streams.iter().map(|stream| format!("reads `{}`{}", stream.name(), keeps(stream)));
        let owns =
            if daemon == Daemon::Operator { "creates them all".to_owned() } else { code(row.buckets, "") };
        let stored: Vec<_> = [owns].into_iter().filter(|owns| !owns.is_empty()).chain(streams).collect();
        let calls = or(calls.join(", "), "–");
        vec![row.name.into(), calls, or(code(row.events, ""), "–"), or(stored.join("; "), "–")]
    });
    let limits = rows(started).map(|daemon| {
        let Limits { memory, tasks, files } = daemon.row().limits;
        let number = |limit: Option<u64>| limit.map_or_else(|| "–".to_owned(), |limit| limit.to_string());
        let memory = memory.map_or_else(|| "–".to_owned(), |bytes| format!("{} MiB", bytes >> 20));
        vec![daemon.name().into(), memory, number(tasks), number(files)]
    });
    let users = rows(started).map(|daemon| {
        let row = daemon.row();
        let Some(user) = row.user else {
            return vec![row.name.into(), "the operator's".into(), "the operator's".into(), "–".into()];
        };
        let mut names: Vec<_> = row.capabilities.iter_names().map(|(name, _)| name).collect();
        names.sort_unstable();
        let devices = or(code(row.devices, "*"), "–");
        vec![row.name.into(), user.to_string(), or(code(&names, ""), "none"), devices]
    });
    vec![
        ("docs/overview.md", "| daemon | does | page |", overview.collect()),
        ("docs/ipc.md", "| daemon | calls | publishes `event.` | buckets and streams |", bus.collect()),
        ("docs/operator.md", "| daemon | memory | tasks | files |", limits.collect()),
        ("docs/operator.md", "| daemon | user | capabilities | devices |", users.collect()),
    ]
}

#[test]
fn the_tables_in_the_docs_say_what_the_rows_say() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut wrong = String::new();
    for (file, head, rows) in tables() {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        let found: Vec<Vec<&str>> = text
            .lines()
            .skip_while(|line| *line != head)
            .skip(2)
            .take_while(|line| line.starts_with('|'))
            .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
            .collect();
        let same = |found: &Vec<&str>, row: &Vec<String>| {
            found.len() == row.len()
                && found.iter().zip(row).all(|(found, cell)| cell == "…" || found == cell)
        };
        if found.len() != rows.len() || !found.iter().zip(&rows).all(|(found, row)| same(found, row)) {
            wrong +=
                &format!("\n{file}: below the line\n{head}\nthere have to be exactly these (… is free):\n");
            rows.iter().for_each(|row| wrong += &format!("| {} |\n", row.join(" | ")));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
