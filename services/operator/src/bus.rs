//! The bus: the embedded server with one credential per daemon, and the streams and buckets all rely on.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use busd::{JetStreamConfig, Server, ServerConfig, ServerHandle, StoreMonitor, jetstream};
use data_encoding::HEXLOWER;
use ipc::{Client, ConnectConfig};
use roster::{Daemon, Stream};
use service::{BusAddress, ErrorChain};

use crate::error::Error;

/// How long after a bucket could not be made it is tried again; doubled each time.
const MAKE_AGAIN: Duration = Duration::from_secs(2);
const MAKE_AGAIN_MAX: Duration = Duration::from_secs(5);
/// How long clients may stay after a stop was asked for: they have ended by then.
const GRACE: Duration = Duration::from_millis(200);

/// The running bus.
#[derive(Debug)]
pub(crate) struct Bus {
    /// Where it is.
    pub(crate) url: String,
    /// Our own connection.
    pub(crate) client: Client,
    /// The state of our own store.
    pub(crate) monitor: Option<StoreMonitor>,
    server: Option<ServerHandle>,
    passwords: BTreeMap<String, String>,
}

impl Bus {
    /// Starts the embedded server for `daemons`, or connects to the one at `url`, and creates what is missing there.
    pub(crate) async fn start(daemons: &[Daemon], url: Option<&str>, store: &Path) -> Result<Self, Error> {
        let mut passwords = BTreeMap::new();
        let monitor = url.is_none().then(StoreMonitor::default);
        let server = match url {
            Some(_) => None,
            None => {
                let mut users = Vec::new();
                for daemon in daemons.iter().copied().chain([Daemon::Operator]) {
                    let password = random_password()?;
                    passwords.insert(daemon.name().to_owned(), password.clone());
                    users.push(roster::user(daemon, password));
                }
                let streams = JetStreamConfig {
                    dir: Some(store.to_owned()),
                    list_outside: Some(store.with_extension("streams")),
                    monitor: monitor.clone().unwrap_or_default(),
                    // Also on a medium that takes nothing they are there, empty, for what can be done without it.
                    unstored: unstored(),
                    ..JetStreamConfig::default()
                };
                let config =
                    ServerConfig { users, extensions: vec![jetstream(streams)], ..ServerConfig::default() };
                Some(Server::start(config).map_err(bus_error)?)
            }
        };
        let url = match (&server, url) {
            (Some(server), _) => server.url(),
            (None, url) => url.unwrap_or_default().to_owned(),
        };
        let mut config = ConnectConfig::new(url.clone(), Daemon::Operator.name());
        if let Some(password) = passwords.get(Daemon::Operator.name()) {
            config = config.with_credentials(Daemon::Operator.name(), password.clone());
        }
        let client = Client::connect(&config).await.map_err(bus_error)?;
        // A finding stays until the next start, and the first try may fail for a moment alone: it is in the log.
        if !make(&client, None, true).await {
            // A medium that refuses now may not always: whoever needs what is missing waits for it.
            let client = client.clone();
            let mut untold = monitor.clone();
            tokio::spawn(async move {
                let mut pause = MAKE_AGAIN;
                loop {
                    tokio::time::sleep(pause).await;
                    // What the second try does not make either is a finding, once.
                    let tell = untold.take();
                    if make(&client, tell.as_ref(), false).await {
                        tracing::info!("buckets and event log created");
                        return;
                    }
                    pause = (pause * 2).min(MAKE_AGAIN_MAX);
                }
            });
        }
        Ok(Self { url, client, monitor, server, passwords })
    }

    /// Starts it as a site wants it, and when that fails as it is `instead`, the image's own: then with what is to be told. What a site sets
    /// may cost it the setting, never the controller.
    pub(crate) async fn start_or(
        daemons: &[Daemon],
        url: Option<&str>,
        instead: Option<Option<&str>>,
        store: &Path,
    ) -> Result<(Self, Option<String>), Error> {
        match (Self::start(daemons, url, store).await, instead) {
            (Ok(bus), _) => Ok((bus, None)),
            (Err(error), Some(own)) if own != url => {
                let fault = format!(
                    "operator.bus_url of the site's configuration does not count: {}",
                    ErrorChain(&error)
                );
                tracing::error!(fault, "invalid bus configuration: using image defaults");
                Ok((Self::start(daemons, own, store).await?, Some(fault)))
            }
            (Err(error), _) => Err(error),
        }
    }

    /// What `daemon` is told about the bus.
    pub(crate) fn address_for(&self, daemon: &str) -> BusAddress {
        match self.passwords.get(daemon) {
            Some(password) => {
                BusAddress { url: self.url.clone(), user: daemon.to_owned(), password: password.clone() }
            }
            None => BusAddress { url: self.url.clone(), user: String::new(), password: String::new() },
        }
    }

    /// Stops it; what is stored is durable then.
    pub(crate) async fn stop(self) {
        self.client.close().await;
        if let Some(server) = self.server {
            server.shutdown(GRACE).await;
        }
    }
}

/// The streams that are served before the medium takes them: all that [`make`] asks for.
fn unstored() -> Vec<String> {
    let buckets = roster::buckets().map(|bucket| format!("KV_{bucket}"));
    buckets.chain(roster::streams().map(|stream| stream.name().to_owned())).collect()
}

/// Makes the buckets and the event log that are missing; `false`: not all are there. One that cannot be made keeps none of the others,
/// and nobody, from starting; it is told in the log where it is to be said, and as a finding of the store that is given.
async fn make(client: &Client, monitor: Option<&StoreMonitor>, say: bool) -> bool {
    let mut all = true;
    let found = |stream: &str, why: String| {
        if let Some(monitor) = monitor {
            let why = format!("it cannot be made, and is tried again: {why}");
            monitor.note(crate::store::finding_of_file(stream, &why));
        }
    };
    for bucket in roster::buckets() {
        if let Err(error) = client.create_bucket(bucket).await {
            all = false;
            if say {
                tracing::error!(bucket, error = %ErrorChain(&error), "cannot create bucket");
            }
            found(&format!("KV_{bucket}"), ErrorChain(&error).to_string());
        }
    }
    for stream in roster::streams() {
        let made = match stream {
            Stream::Events => client.create_event_log().await,
        };
        if let Err(error) = made {
            all = false;
            if say {
                tracing::error!(stream = stream.name(), %error, "cannot create stream");
            }
            found(stream.name(), error.to_string());
        }
    }
    all
}

fn bus_error(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Bus(Box::new(error))
}

/// A password nobody can guess, made anew at each start and never stored: 192 bits.
fn random_password() -> Result<String, Error> {
    let mut bytes = [0u8; 24];
    getrandom::fill(&mut bytes).map_err(|error| Error::System {
        what: "get random bytes",
        source: std::io::Error::other(error.to_string()),
    })?;
    Ok(HEXLOWER.encode(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_password_is_another() {
        let (first, second) = (random_password().unwrap(), random_password().unwrap());
        assert_ne!(first, second);
        assert_eq!(first.len(), 48);
    }

    #[tokio::test]
    async fn a_bus_of_the_site_s_that_is_not_there_costs_the_site_its_setting() {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("bus");
        let (daemons, wrong) = ([Daemon::Websrv], Some("nats://a..b:4222"));
        assert!(Bus::start_or(&daemons, wrong, None, &store).await.is_err(), "a person's own mistake");
        assert!(Bus::start_or(&daemons, wrong, Some(wrong), &store).await.is_err());
        let (bus, fault) = Bus::start_or(&daemons, wrong, Some(None), &store).await.unwrap();
        assert!(fault.unwrap().contains("operator.bus_url"));
        assert!(!bus.address_for("websrv").password.is_empty(), "the embedded one");
        bus.stop().await;
    }
}
