//! The embedded server alone, as `u-bmc nats` runs it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nats::User;
use tokio::signal::unix::{SignalKind, signal};

use super::{JetStreamConfig, Server, ServerConfig, StartError, jetstream};

/// How long clients may stay after a stop was asked for.
const GRACE: Duration = Duration::from_secs(1);

/// What `u-bmc nats` is told.
#[derive(Debug, Clone)]
pub struct StandaloneConfig {
    /// Where clients connect; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where streams and buckets are kept; without it there are none.
    pub store: Option<PathBuf>,
    /// The only user; without one everyone may connect.
    pub user: Option<String>,
    /// The file that holds the user's password; a line end at its end is not part of it.
    pub password_file: Option<PathBuf>,
}

/// Why a server alone did not run.
#[derive(Debug, thiserror::Error)]
pub enum StandaloneError {
    /// One of the two was given without the other.
    #[error("--user and --password-file belong together")]
    HalfACredential,
    /// The password cannot be read.
    #[error("cannot read the password in {}", path.display())]
    Password {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The password file holds nothing.
    #[error("the password in {} is empty", path.display())]
    EmptyPassword {
        /// The file.
        path: PathBuf,
    },
    /// An address other machines reach, and no credential.
    #[error("listening on {0} needs --user and --password-file: other machines can reach it")]
    Open(SocketAddr),
    /// The server did not start.
    #[error("the server did not start")]
    Start(#[from] StartError),
    /// Signals cannot be waited for.
    #[error("cannot wait for signals")]
    Signals(#[source] std::io::Error),
}

fn user(name: Option<String>, password_file: Option<&Path>) -> Result<Option<User>, StandaloneError> {
    let (name, path) = match (name, password_file) {
        (None, None) => return Ok(None),
        (Some(name), Some(path)) => (name, path),
        _ => return Err(StandaloneError::HalfACredential),
    };
    let text = std::fs::read_to_string(path)
        .map_err(|source| StandaloneError::Password { path: path.to_owned(), source })?;
    let password = text.trim_end_matches(['\r', '\n']).to_owned();
    if password.is_empty() {
        return Err(StandaloneError::EmptyPassword { path: path.to_owned() });
    }
    Ok(Some(User { name, password, permissions: None }))
}

/// Runs a server until SIGTERM or SIGINT, then lets its clients leave and stops. The address it listens on is logged.
///
/// # Errors
/// When the configuration is wrong or the server cannot start.
pub fn run_standalone(config: StandaloneConfig) -> Result<(), StandaloneError> {
    let user = user(config.user, config.password_file.as_deref())?;
    if user.is_none() && !config.listen.ip().is_loopback() {
        return Err(StandaloneError::Open(config.listen));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(StandaloneError::Signals)?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(StandaloneError::Signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(StandaloneError::Signals)?;
        let server = Server::start(ServerConfig {
            listen: config.listen,
            users: user.into_iter().collect(),
            extensions: config
                .store
                .map(|dir| jetstream(JetStreamConfig { dir: Some(dir), ..JetStreamConfig::default() }))
                .into_iter()
                .collect(),
            ..ServerConfig::default()
        })?;
        tracing::info!(address = %server.addr, url = server.url(), "the bus is listening");
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("the bus is stopping");
        server.shutdown(GRACE).await;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_others_can_reach_needs_a_credential() {
        let config = |listen: &str, user: Option<&str>| StandaloneConfig {
            listen: listen.parse().unwrap(),
            store: None,
            user: user.map(str::to_owned),
            password_file: None,
        };
        assert!(matches!(run_standalone(config("0.0.0.0:0", None)), Err(StandaloneError::Open(_))));
        assert!(matches!(
            run_standalone(config("127.0.0.1:0", Some("u"))),
            Err(StandaloneError::HalfACredential)
        ));
    }

    #[test]
    fn the_line_end_is_not_part_of_a_password() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        std::fs::write(&path, "secret\n").unwrap();
        assert_eq!(user(Some("u".to_owned()), Some(&path)).unwrap().unwrap().password, "secret");
        std::fs::write(&path, "\n").unwrap();
        assert!(matches!(
            user(Some("u".to_owned()), Some(&path)),
            Err(StandaloneError::EmptyPassword { .. })
        ));
    }
}
