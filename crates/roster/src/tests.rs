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
fn a_method_that_is_asked_is_there_and_of_another_daemon() {
    for row in Daemon::ALL.iter().map(|daemon| daemon.row()) {
        for name in row.asks {
            let method = schema::methods().iter().find(|method| method.subject == format!("rpc.{name}"));
            assert!(
                method.is_some_and(|method| method.owner != row.name),
                "{} asks {name}, which is no method of another daemon: see {ROWS}",
                row.name
            );
        }
    }
    let may = permissions(Daemon::Eventlog);
    let of_accounts = |subject: &&String| subject.contains("AuthService") || subject.contains("UserService");
    let asked: Vec<_> = may.publish.iter().filter(of_accounts).collect();
    let wanted = [ipc::ping_subject("rpc.AuthService"), "rpc.AuthService.ListAccountNames".to_owned()];
    assert!(asked.into_iter().eq(&wanted), "one that reaches outward changes no account: {:?}", may.publish);
}

#[test]
fn a_service_for_clients_is_called_by_what_clients_come_through() {
    for service in schema::services().iter().filter(|service| !service.internal) {
        let Some(owner) = Daemon::named(service.owner) else { continue };
        for way in [Daemon::Websrv, Daemon::Fleet] {
            assert!(
                way == owner || way.row().calls.contains(&owner),
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
    for row in rows() {
        // Files below are the operator's to hand over, one by one.
        for path in row.reads.iter().chain(row.writes).chain(row.replaces.iter().map(|(_, path)| path)) {
            let own = ["/proc/", "/sys/", "/etc", "/run", "/usr/share"];
            assert!(own.iter().any(|of| path.starts_with(of)), "{}: {path}", row.name);
        }
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

/// What docs/reference.md says of the daemons.
fn tables() -> String {
    let or = |text: String, empty: &str| if text.is_empty() { empty.to_owned() } else { text };
    let list = |names: &[&str], before: &str, after: &str| {
        let names: Vec<_> = names.iter().map(|name| format!("{before}{name}{after}")).collect();
        names.join(", ")
    };
    let code = |names: &[&str], after: &str| list(names, "`", &format!("{after}`"));
    let names = |daemons: &[Daemon]| {
        let names: Vec<_> = daemons.iter().map(|daemon| daemon.name()).collect();
        or(names.join(", "), "–")
    };
    let rows = |wanted: fn(&Row) -> bool| {
        Daemon::ALL.iter().map(|daemon| daemon.row()).filter(move |row| wanted(row))
    };
    let started = |row: &Row| row.name != Daemon::Operator.name();

    let mut text = table("", "daemon | does | runs | starts after | page", rows(|_| true), |row| {
        let runs = match row.when {
            When::Always => "always",
            When::Simulated => "on simulated boards",
            When::Cooled => "on boards with fans",
            When::Shown => "on boards with screens",
            When::Media => "on boards with drives for virtual media",
            When::Configured => "with a table in the configuration",
            When::Permitted => "unless the command line says `off`",
            When::Built => "unless the program was built without it",
        };
        let critical = if row.critical { ", critical" } else { "" };
        let pages: Vec<_> = row.pages.iter().map(|page| format!("[{page}]({page}.md)")).collect();
        vec![row.about.into(), format!("{runs}{critical}"), names(row.after), or(pages.join(", "), "–")]
    });
    let head = "daemon | calls | publishes `event.` | buckets | streams";
    text += &table("On the bus", head, rows(|row| row.on_bus), |row| {
        let streams = row.streams.iter().map(|stream| match row.trims.contains(stream) {
            true => format!("`{}`, keeps its room", stream.name()),
            false => format!("`{}`", stream.name()),
        });
        let streams = or(streams.collect::<Vec<_>>().join(", "), "–");
        let calls = row.calls.iter().map(|daemon| daemon.name().to_owned());
        let asks = row.asks.iter().map(|method| format!("`{method}`"));
        let calls = or(calls.chain(asks).collect::<Vec<_>>().join(", "), "–");
        vec![calls, or(code(row.events, ""), "–"), or(code(row.buckets, ""), "–"), streams]
    });
    text += &table("Limits", "daemon | memory | tasks | files | real time", rows(started), |row| {
        let Limits { memory, tasks, files, real_time } = row.limits;
        let number = |limit: Option<u64>| limit.map_or_else(|| "–".to_owned(), |limit| limit.to_string());
        let memory = memory.map_or_else(|| "–".to_owned(), |bytes| format!("{} MiB", bytes >> 20));
        let real_time =
            real_time.map_or_else(|| "–".to_owned(), |most| format!("{} ms in one go", most.get()));
        vec![memory, number(tasks), number(files), real_time]
    });
    let head = "daemon | user | capabilities | devices | files its settings name";
    text += &table("Users and rights", head, rows(started), |row| {
        let user = row.user.map_or_else(|| "the operator's".to_owned(), |user| user.to_string());
        let mut names: Vec<_> = row.capabilities.iter_names().map(|(name, _)| name).collect();
        names.sort_unstable();
        let capabilities =
            if row.user.is_some() { or(code(&names, ""), "none") } else { "the operator's".to_owned() };
        vec![user, capabilities, or(code(row.devices, "*"), "–"), or(code(row.files, ""), "–")]
    });
    let head =
        "daemon | reads of the system | writes of the system | connects to | system calls beyond the common";
    text += &table("Confinement", head, rows(|row| row.user.is_some()), |row| {
        let connects = match row.reach {
            Reach::Bus | Reach::Served | Reach::Listens(_) => "the bus",
            Reach::Names => "the bus, name servers",
            Reach::Outward => "anywhere",
        };
        let replaced = row.replaces.iter().map(|(key, default)| format!("`{default}` (`{key}`)"));
        let writes: Vec<_> = row.writes.iter().map(|path| format!("`{path}`")).chain(replaced).collect();
        let groups: Vec<_> = row.system_calls.names().collect();
        let [writes, groups] = [writes.join(", "), groups.join(", ")].map(|text| or(text, "–"));
        vec![or(code(row.reads, ""), "–"), writes, connects.to_owned(), groups]
    });
    text
}

/// One table, under a heading if it has a title.
fn table<'a>(
    title: &str,
    head: &str,
    rows: impl Iterator<Item = &'a Row>,
    cells: impl Fn(&Row) -> Vec<String>,
) -> String {
    let title = if title.is_empty() { String::new() } else { format!("\n### {title}\n\n") };
    let columns = head.split('|').map(|_| "---|").collect::<String>();
    let rows = rows.map(|row| format!("| {} | {} |\n", row.name, cells(row).join(" | ")));
    format!("{title}| {head} |\n|{columns}\n{}", rows.collect::<String>())
}

#[test]
fn the_page_of_reference_says_what_the_rows_say() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let open = "UPDATE_DOCS=1 cargo test -p roster -->\n";
    let start = page.find(open).unwrap() + open.len();
    let end = page.find("<!-- /daemons -->").unwrap();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{}{}{}", &page[..start], tables(), &page[end..])).unwrap();
        return;
    }
    assert_eq!(
        &page[start..end],
        tables(),
        "docs/reference.md differs from {ROWS}; rewrite it with UPDATE_DOCS=1 cargo test -p roster"
    );
}
