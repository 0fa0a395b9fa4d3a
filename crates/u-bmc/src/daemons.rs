//! Each daemon's code, and what it says to its settings.

use std::process::ExitCode;

use roster::{Daemon, When};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use service::{Bootstrap, ErrorChain};

/// A daemon's main function.
pub(crate) type Main = fn(Option<Bootstrap>) -> ExitCode;

/// What this program knows of a daemon beyond its row.
pub(crate) struct Program {
    /// Runs it; `None`: its command line is another.
    pub(crate) main: Option<Main>,
    /// The check of settings that it makes itself at its start.
    pub(crate) check: fn(&Map<String, Value>) -> Result<(), String>,
}

/// A daemon on the bus. With `check`: its configuration has rules beyond its types.
macro_rules! on_bus {
    ($name:ident) => {
        on_bus!($name, |_: $name::Config| Ok(()))
    };
    ($name:ident, check) => {
        on_bus!($name, |config: $name::Config| config.check().map_err(chain))
    };
    ($name:ident, $check:expr) => {
        Program {
            main: Some(|bootstrap| service::run(stringify!($name), bootstrap, ::$name::run)),
            check: |settings| typed(settings).and_then($check),
        }
    };
}

/// A daemon whose code was left out of this program: a table for it is refused, and says why.
#[cfg(not(feature = "ssh"))]
macro_rules! left_out {
    ($name:literal, $feature:literal) => {
        Program {
            main: Some(|_| service::Exit::Config.into()),
            check: |settings| match settings.is_empty() {
                true => Ok(()),
                false => Err(concat!(
                    $name,
                    " is not in this program: it was built without the feature `",
                    $feature,
                    "`"
                )
                .to_owned()),
            },
        }
    };
}

/// Daemons whose code was left out of this program: they do not run.
pub(crate) const LEFT_OUT: &[&str] = if cfg!(feature = "ssh") { &[] } else { &["sshsrv"] };

/// Each daemon's code.
pub(crate) fn program(daemon: Daemon) -> Program {
    match daemon {
        Daemon::Operator => {
            Program { main: None, check: |settings| typed::<operator::Config>(settings).map(drop) }
        }
        // It has no settings; some may come with a later release.
        Daemon::Twin => Program {
            main: Some(|bootstrap| service::run_local("twin", bootstrap, |local, _| twinsim::run(local))),
            check: |_| Ok(()),
        },
        Daemon::Powermgr => on_bus!(powermgr),
        Daemon::Usermgr => on_bus!(usermgr, check),
        Daemon::Statemgr => on_bus!(statemgr),
        Daemon::Ledmgr => on_bus!(ledmgr),
        Daemon::Eventlog => on_bus!(eventlog),
        Daemon::Sensormon => on_bus!(sensormon),
        Daemon::Inventorymgr => on_bus!(inventorymgr),
        Daemon::Thermalmgr => on_bus!(thermalmgr),
        Daemon::Consolesrv => on_bus!(consolesrv),
        Daemon::Kvmsrv => on_bus!(kvmsrv),
        Daemon::Mediasrv => on_bus!(mediasrv),
        Daemon::Ipmisrv => on_bus!(ipmisrv, check),
        #[cfg(feature = "ssh")]
        Daemon::Sshsrv => on_bus!(sshsrv, check),
        #[cfg(not(feature = "ssh"))]
        Daemon::Sshsrv => left_out!("sshsrv", "ssh"),
        Daemon::Websrv => on_bus!(websrv, check),
        Daemon::Fleet => on_bus!(fleet, check),
        Daemon::Netmgr => on_bus!(netmgr, check),
    }
}

fn typed<T: DeserializeOwned>(settings: &Map<String, Value>) -> Result<T, String> {
    T::deserialize(Value::Object(settings.clone())).map_err(|error| error.to_string())
}

#[allow(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn chain(error: impl std::error::Error + 'static) -> String {
    ErrorChain(&error).to_string()
}

/// What a daemon says to settings; `None` where there is none of this name.
pub(crate) fn check_settings(daemon: &str, settings: &Map<String, Value>) -> Option<Result<(), String>> {
    let daemon = Daemon::named(daemon)?;
    // Without a table it does not run, and nothing is missing.
    let absent = daemon.row().when == When::Configured && settings.is_empty();
    Some(if absent { Ok(()) } else { (program(daemon).check)(settings) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_replaced_has_the_same_default_in_the_row_and_in_the_settings() {
        let files = Daemon::Netmgr.row().replaces.iter();
        let files: Vec<_> = files.map(|(key, path)| (*key, std::path::PathBuf::from(path))).collect();
        assert_eq!(files, [("resolv_conf", netmgr::Config::default().resolv_conf)]);
    }
}
