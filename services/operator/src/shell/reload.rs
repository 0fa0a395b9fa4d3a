//! SIGHUP: the configuration is read again, and who is set otherwise now starts anew.
//!
//! A daemon reads its settings at its start, so a change is a start: of those alone that it is for, and in no order, as when one of them dies. A
//! configuration that cannot be read changes nothing.

use ipc::EventBuilder;
use roster::{Daemon, When};
use schema::v1alpha1 as pb;
use service::{ErrorChain, Ignored};
use supervise::Event;

use super::Operator;
use crate::config::Configuration;
use crate::daemon_spec::DaemonSpec;
use crate::error::Error;

/// What a changed configuration asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    /// Daemons that run and are set otherwise.
    replaced: Vec<String>,
    /// What counts from the operator's next start on: its own table, and those that decide which daemons there are.
    later: Vec<String>,
}

/// Compares two configurations for these daemons.
fn changes(old: &Configuration, new: &Configuration, daemons: &[DaemonSpec]) -> Changes {
    let mut changes = Changes::default();
    for daemon in Daemon::ALL {
        let name = daemon.name();
        let (before, now) = (old.settings.of(name), new.settings.of(name));
        if before == now && old.image_settings.of(name) == new.image_settings.of(name) {
            continue;
        }
        let spec = daemons.iter().map(|daemon| &daemon.spec).find(|spec| spec.name == name);
        let goes = daemon.row().when == When::Configured && now.is_empty();
        let comes = daemon.row().when == When::Configured && !now.is_empty();
        match spec {
            Some(spec) if !spec.lasting && !goes => changes.replaced.push(name.to_owned()),
            Some(_) => changes.later.push(name.to_owned()),
            None if comes || *daemon == Daemon::Operator => changes.later.push(name.to_owned()),
            // It does not run on this board, whatever is set for it.
            None => {}
        }
    }
    changes
}

/// What was read, unless a file of it was there before and is not now: what runs with its settings is better off with them.
fn readable(old: &Configuration, new: Result<Configuration, Error>) -> Result<Configuration, String> {
    let new = new.map_err(|error| ErrorChain(&error).to_string())?;
    match new.unread.difference(&old.unread).next() {
        None => Ok(new),
        Some(path) => {
            let place = path.display().to_string();
            let why = new.ignored.iter().find(|ignored| ignored.place == place);
            Err(why.map_or(place, Ignored::to_string))
        }
    }
}

/// Leaves a daemon's settings as they were: a crash of it is no start of the operator.
fn keep(old: &Configuration, new: &mut Configuration, name: &str) {
    new.settings.replace(name, old.settings.of(name));
    new.image_settings.replace(name, old.image_settings.of(name));
    match old.site.contains(name) {
        true => _ = new.site.insert(name.to_owned()),
        false => _ = new.site.remove(name),
    }
}

impl Operator<'_> {
    /// Tells what was left out of the configuration.
    pub(super) fn tell_ignored(&mut self) {
        for ignored in &self.configuration.ignored {
            tracing::error!(%ignored, "invalid configuration value ignored");
        }
        let left_out = super::ignored_text(&self.configuration.ignored).into_iter();
        for message in left_out.chain(self.bus_fault.clone()) {
            self.configuration_event(message);
        }
    }

    /// Reads the configuration again, and replaces the daemons that it changes something for.
    pub(super) fn reread(&mut self) {
        if self.machine.is_stopping() {
            return;
        }
        let mut new = match readable(&self.configuration, self.options.reread.read()) {
            Ok(new) => new,
            Err(error) => {
                tracing::error!(error, "cannot read configuration: settings unchanged");
                return self.configuration_event(format!("the configuration is left as it was: {error}"));
            }
        };
        let Changes { replaced, later } = changes(&self.configuration, &new, &self.options.daemons);
        later.iter().for_each(|name| keep(&self.configuration, &mut new, name));
        self.configuration = new;
        self.tell_ignored();
        tracing::info!(daemons = replaced.join(","), "configuration read again");
        let text = match replaced.as_slice() {
            [] => "the configuration was read again: nothing changes for daemons that run".to_owned(),
            names => format!("the configuration was read again: new settings for {}", names.join(", ")),
        };
        let event = EventBuilder::new(Daemon::Operator.name(), "system", "configuration", "read")
            .severity(pb::EventSeverity::Info)
            .message(text);
        self.tell(event.at(self.clock.wall()));
        for name in later {
            tracing::warn!(daemon = name, "changed settings take effect when operator starts again");
            self.configuration_event(format!(
                "what changed in [{name}] counts from the operator's next start on"
            ));
        }
        for name in replaced {
            // What it refused before is not what it is given now.
            self.without_site.remove(&name);
            if let Some(id) = self.machine.id(&name) {
                self.step(Event::Replace(id));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon_spec::{BoardKind, daemon_specs};
    use board::HalKind;
    use service::Settings;

    fn of(text: &str) -> Configuration {
        let settings = Settings::from_toml("config.toml", text).unwrap();
        Configuration { image_settings: settings.clone(), settings, ..Configuration::default() }
    }

    #[test]
    fn who_is_set_otherwise_is_replaced_and_nobody_else() {
        let board = BoardKind { hal: HalKind::Sim, fans: false, media: false, screens: false };
        let rows: [(&str, &str, &[&str], &[&str]); 9] = [
            ("", "", &[], &[]),
            ("[websrv]\nhttp3 = true", "[websrv]\nhttp3 = true", &[], &[]),
            ("[websrv]\nhttp3 = true", "[websrv]\nhttp3 = false", &["websrv"], &[]),
            ("[websrv]\nhttp3 = true", "[usermgr]\nmax_users = 9", &["usermgr", "websrv"], &[]),
            ("", "[operator]\nlimits = false", &[], &["operator"]),
            // It runs without a table as well.
            ("", "[sshsrv]\nlisten = \"[::]:22\"", &["sshsrv"], &[]),
            // The simulated host goes on whatever happens.
            ("", "[twin]\nx = 1", &[], &["twin"]),
            // It is not there on this board.
            ("", "[thermalmgr]\nx = 1", &[], &[]),
            ("[fleet]\nnats.url = \"a\"", "[netmgr]\nhostname = \"b\"", &[], &["netmgr", "fleet"]),
        ];
        for (old, new, replaced, later) in rows {
            let (old, new) = (of(old), of(new));
            let daemons = daemon_specs(board, &[], |name| !old.settings.of(name).is_empty());
            let found = changes(&old, &new, &daemons);
            assert_eq!(found.replaced, replaced, "{old:?} {new:?}");
            assert_eq!(found.later, later, "{old:?} {new:?}");
        }
    }

    #[test]
    fn what_counts_later_does_not_count_at_the_next_crash() {
        let (old, mut new) = (of("[fleet]\nnats.url = \"a\""), of("[websrv]\nhttp3 = true"));
        keep(&old, &mut new, "fleet");
        assert_eq!(new.settings.of("fleet"), old.settings.of("fleet"));
        assert_eq!(new.image_settings.of("fleet"), old.settings.of("fleet"));
        let (old, mut new) = (of(""), of("[netmgr]\nhostname = \"b\""));
        new.site.insert("netmgr".to_owned());
        keep(&old, &mut new, "netmgr");
        assert_eq!(new, old, "as if nobody had said anything");
    }

    #[test]
    fn a_file_that_cannot_be_read_any_more_changes_nothing() {
        let ignored = Ignored {
            place: "site.toml".to_owned(),
            key: String::new(),
            reason: "it cannot be read: input/output error".to_owned(),
        };
        let unread = || Configuration {
            unread: [std::path::PathBuf::from("site.toml")].into(),
            ignored: vec![ignored.clone()],
            ..of("")
        };
        let why = readable(&of("[websrv]\nhttp3 = true"), Ok(unread())).unwrap_err();
        assert_eq!(why, "site.toml: it cannot be read: input/output error");
        assert_eq!(readable(&unread(), Ok(unread())), Ok(unread()), "as it was from the start");
        assert_eq!(readable(&unread(), Ok(of(""))), Ok(of("")));
    }
}
