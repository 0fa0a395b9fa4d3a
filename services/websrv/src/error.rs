//! What can go wrong before the first request.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A configuration that cannot work.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A bound of zero forbids everything.
    #[error("{0} must be at least 1")]
    Zero(&'static str),
    /// Below what the parsers need.
    #[error("limits.header_bytes must be at least {0}")]
    HeaderBytes(u32),
    /// A certificate without its key, or the reverse.
    #[error("tls.cert_file and tls.key_file belong together: set both or none")]
    HalfCertificate,
    /// What no certificate can name.
    #[error("tls.names: {0:?} is neither an address nor a host name such as bmc-7.example.net")]
    Name(String),
    /// Viewers without what they need.
    #[error(
        "vnc needs https, whose certificate it has, and auth.basic, as its logins are by name and password"
    )]
    Vnc,
    /// Not an origin.
    #[error("cors.origins: {0:?} is not an origin such as https://console.example.net")]
    Origin(String),
    /// `routes` names what does not exist.
    #[error("routes: there is no method {0:?}")]
    UnknownMethod(String),
}

/// Why the certificate or the TLS set-up could not be had.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read or written.
    #[error("cannot {action} {path}")]
    File {
        /// `read`, `write` …
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A PEM file does not hold what it should.
    #[error("{path} holds no usable {what}")]
    Pem {
        /// `certificate` or `private key`.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// Making the self-signed certificate failed.
    #[error("cannot make a self-signed certificate")]
    Make(#[from] rcgen::Error),
    /// Certificate and key do not fit together, or the crypto provider refuses them.
    #[error("TLS refuses the certificate or the key")]
    Rustls(#[from] rustls::Error),
    /// QUIC needs a suite the provider lacks.
    #[error("TLS has no suite for QUIC")]
    Quic(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
}

/// The schema says something the gateway cannot serve. Found at start, so that no request meets it.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// A path template is malformed.
    #[error("{method}: path template {template:?}: {reason}")]
    Template {
        /// Full method name.
        method: String,
        /// The template.
        template: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Two methods want the same verb and path.
    #[error("{method}: {verb} {template} is already taken by {other}")]
    Conflict {
        /// Full method name.
        method: String,
        /// HTTP verb.
        verb: String,
        /// The template.
        template: String,
        /// Who has it.
        other: String,
    },
    /// A template, body, self or stream option names a field that is not there.
    #[error("{method}: {option} names field {field:?}, which {message} does not have")]
    Field {
        /// Full method name.
        method: String,
        /// Which option.
        option: &'static str,
        /// The path.
        field: String,
        /// The request message.
        message: String,
    },
    /// A client-streaming method, or a server-streaming one without a `stream` option on `event.…`.
    #[error("{method}: {reason}")]
    Streaming {
        /// Full method name.
        method: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// Why websrv ends.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings do not have the shape of a configuration.
    #[error("the configuration cannot be read")]
    Settings(#[from] service::ConfigError),
    /// Bad configuration.
    #[error("bad configuration")]
    Config(#[from] ConfigError),
    /// Bad schema.
    #[error("the schema cannot be served")]
    Schema(#[from] SchemaError),
    /// No certificate.
    #[error("cannot set up TLS")]
    Tls(#[from] TlsError),
    /// No socket.
    #[error("cannot listen on {protocol} {address}")]
    Listen {
        /// `HTTPS`, `HTTP` or `HTTP/3`.
        protocol: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No randomness for keys.
    #[error("the kernel gives no random bytes: {0}")]
    Entropy(getrandom::Error),
    /// No thread for connections.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// The bus refused.
    #[error("no event can be received")]
    Bus(#[source] ipc::Status),
}

impl service::Failure for Error {
    fn exit(&self) -> service::Exit {
        match self {
            Self::Settings(_) | Self::Config(_) => service::Exit::Config,
            Self::Schema(_) => service::Exit::Bug,
            // A port still held by a predecessor, a bus that starts later: again may help. So may a disk that was full.
            Self::Tls(_) | Self::Listen { .. } | Self::Entropy(_) | Self::Thread(_) | Self::Bus(_) => {
                service::Exit::Retry
            }
        }
    }
}
