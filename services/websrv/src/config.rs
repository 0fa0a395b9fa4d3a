//! What can be set, and why each default is what it is. `config.example.toml` shows every key.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::error::ConfigError;

/// websrv's own configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address and port of HTTPS (TCP) and HTTP/3 (UDP), or `off`.
    pub https: Listen,
    /// Address and port that redirects plain HTTP to HTTPS, or `off`. No API is served there. It is open unless it is switched off while websrv runs (`redirect`).
    pub http: Listen,
    /// Address and port at which desktop viewers of VNC see the hosts' screens, by TLS with a login (VeNCrypt, X509Plain); `off`: closed
    /// until it is switched on, and then at port 5900.
    pub vnc: Listen,
    /// Whether to serve HTTP/3 and announce it with `Alt-Svc`.
    pub http3: bool,
    /// Certificate and protocol versions.
    pub tls: Tls,
    /// Ways to log in.
    pub auth: Auth,
    /// Who else's scripts may call from a browser.
    pub cors: Cors,
    /// Bounds (invariant I-6).
    pub limits: Limits,
    /// Bounds of single methods that differ from `limits`.
    pub routes: Vec<RouteLimits>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            https: Listen::At(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 0], 443))),
            http: Listen::At(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 0], 80))),
            vnc: Listen::Off,
            http3: true,
            tls: Tls::default(),
            auth: Auth::default(),
            cors: Cors::default(),
            limits: Limits::default(),
            routes: Vec::new(),
        }
    }
}

/// Where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Listen {
    /// Not at all.
    Off,
    /// Here; port 0 takes a free one and says which.
    At(SocketAddr),
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        text.parse().map(Self::At).map_err(|_| format!("{text:?} is neither ADDRESS:PORT nor \"off\""))
    }
}

/// Certificate and protocol versions.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// Which protocol versions.
    pub profile: Profile,
    /// PEM chain to present instead of the self-signed certificate. Needs `key_file`.
    pub cert_file: Option<PathBuf>,
    /// PEM private key of `cert_file`.
    pub key_file: Option<PathBuf>,
    /// Names and addresses the self-signed certificate gets beside those of this machine.
    pub names: Vec<String>,
}

/// TLS versions and suites, in Mozilla's terms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// TLS 1.3 only.
    #[default]
    Modern,
    /// TLS 1.3, and 1.2 with ECDHE and an AEAD, for clients that have no 1.3 (older Java and Python).
    Intermediate,
}

/// Ways to log in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// Whether HTTP Basic is accepted. Redfish clients need it; session tokens are always accepted.
    pub basic: bool,
    /// How long a verified name and password is remembered, seconds. 0: ask each time.
    pub basic_cache_s: u64,
    /// How long a verified token is remembered, seconds. It also bounds how late a session's idle clock is reset.
    pub token_cache_s: u64,
}

impl Default for Auth {
    fn default() -> Self {
        // 30 s: a poller with a 10 s period pays one hash in three requests; long enough for a burst, and every change of an
        // account drops the entry at once, so the time only bounds what a lost event could cost.
        // 5 s: a session idles out after minutes; being 5 s late is not noticed, and a busy client costs usermgr 0.2 calls/s.
        Self { basic: true, basic_cache_s: 30, token_cache_s: 5 }
    }
}

/// Cross-origin access from browsers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cors {
    /// Exact origins, e.g. `https://console.example.net`. Empty: no cross-origin access, and writes that a browser marks as
    /// coming from another origin are refused.
    pub origins: Vec<String>,
}

/// Bounds. The derivations are in `docs/websrv.md`, which a test compares with these numbers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections in total, over all listeners.
    pub connections: usize,
    /// Connections from one IPv4 address or IPv6 /64.
    pub connections_per_address: usize,
    /// For the TLS or QUIC handshake, milliseconds.
    pub handshake_ms: u64,
    /// For a request head, and from the handshake to the first request, milliseconds.
    pub header_ms: u64,
    /// Between requests, milliseconds.
    pub idle_ms: u64,
    /// For a client to take any byte of an answer, milliseconds.
    pub write_ms: u64,
    /// For a request body, milliseconds.
    pub body_ms: u64,
    /// Size of a request head, bytes.
    pub header_bytes: u32,
    /// Body of an authenticated request, bytes.
    pub body_bytes: usize,
    /// Body of any other request, bytes.
    pub unauthenticated_body_bytes: usize,
    /// Concurrent requests on one HTTP/2 or HTTP/3 connection.
    pub requests_per_connection: u32,
    /// Streams in total: of events, of health, of reflection.
    pub streams: usize,
    /// Streams of one account.
    pub streams_per_account: usize,
    /// Streams from one IPv4 address or IPv6 /64, but those of administrators.
    pub streams_per_address: usize,
    /// Streams of the total that only administrators get; at most half of it.
    pub streams_reserved: usize,
    /// Newest events kept in memory, once for all streams; who is further behind reads the event log.
    pub stream_buffer: usize,
    /// Silence after which a stream says that it is alive, milliseconds.
    pub heartbeat_ms: u64,
    /// Longest deadline a client may ask for, milliseconds.
    pub deadline_ms: u64,
    /// Password checks waiting for usermgr at once.
    pub logins: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            connections_per_address: 64,
            handshake_ms: 10_000,
            header_ms: 10_000,
            idle_ms: 75_000,
            write_ms: 30_000,
            body_ms: 10_000,
            header_bytes: 8192,
            body_bytes: 256 * 1024,
            unauthenticated_body_bytes: 4096,
            requests_per_connection: 32,
            streams: 64,
            streams_per_account: 16,
            streams_per_address: 32,
            streams_reserved: 8,
            stream_buffer: 256,
            heartbeat_ms: 15_000,
            deadline_ms: 300_000,
            logins: 32,
        }
    }
}

impl Limits {
    pub(crate) fn handshake(&self) -> Duration {
        Duration::from_millis(self.handshake_ms)
    }

    pub(crate) fn body(&self) -> Duration {
        Duration::from_millis(self.body_ms)
    }

    pub(crate) fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.heartbeat_ms)
    }

    pub(crate) fn timeouts(&self) -> crate::admission::Timeouts {
        crate::admission::Timeouts {
            header: Duration::from_millis(self.header_ms),
            idle: Duration::from_millis(self.idle_ms),
            write: Duration::from_millis(self.write_ms),
        }
    }
}

/// Bounds of one method.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteLimits {
    /// Full name, e.g. `schema.v1alpha1.HostService/UpdateHost`.
    pub method: String,
    /// Body, bytes.
    pub body_bytes: Option<usize>,
    /// Time for the backend to answer, milliseconds, in place of the schema's.
    pub deadline_ms: Option<u64>,
}

/// What the transports cannot go below: hyper needs 8 KiB of buffer to parse a head.
const HEADER_BYTES_MIN: u32 = 8192;

impl Config {
    /// Checks what types cannot say.
    ///
    /// # Errors
    /// [`ConfigError`] naming the key.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.vnc != Listen::Off && (self.https == Listen::Off || !self.auth.basic) {
            return Err(ConfigError::Vnc);
        }
        let l = &self.limits;
        for (key, value) in [
            ("limits.connections", l.connections),
            ("limits.connections_per_address", l.connections_per_address),
            ("limits.stream_buffer", l.stream_buffer),
            ("limits.logins", l.logins),
        ] {
            if value == 0 {
                return Err(ConfigError::Zero(key));
            }
        }
        for (key, value) in [
            ("limits.handshake_ms", l.handshake_ms),
            ("limits.header_ms", l.header_ms),
            ("limits.idle_ms", l.idle_ms),
            ("limits.write_ms", l.write_ms),
            ("limits.body_ms", l.body_ms),
            ("limits.heartbeat_ms", l.heartbeat_ms),
            ("limits.deadline_ms", l.deadline_ms),
            ("limits.requests_per_connection", u64::from(l.requests_per_connection)),
        ] {
            if value == 0 {
                return Err(ConfigError::Zero(key));
            }
        }
        if l.header_bytes < HEADER_BYTES_MIN {
            return Err(ConfigError::HeaderBytes(HEADER_BYTES_MIN));
        }
        if self.tls.cert_file.is_some() != self.tls.key_file.is_some() {
            return Err(ConfigError::HalfCertificate);
        }
        let is_name = |name: &str| {
            let host = name.strip_prefix("*.").unwrap_or(name);
            name.parse::<std::net::IpAddr>().is_ok() || rustls::pki_types::DnsName::try_from(host).is_ok()
        };
        if let Some(name) = self.tls.names.iter().find(|name| !is_name(name)) {
            return Err(ConfigError::Name(name.clone()));
        }
        self.check_routes()?;
        for origin in &self.cors.origins {
            let uri: http::Uri = origin.parse().map_err(|_| ConfigError::Origin(origin.clone()))?;
            let bare = uri.scheme().is_some() && uri.authority().is_some() && uri.path() == "/";
            if !bare || origin.ends_with('/') || uri.query().is_some() {
                return Err(ConfigError::Origin(origin.clone()));
            }
        }
        Ok(())
    }

    /// Checks that the methods of `routes` are some of the schema's.
    pub(crate) fn check_routes(&self) -> Result<(), ConfigError> {
        for limits in &self.routes {
            let is_it =
                |m: &schema::MethodInfo| !m.internal && m.path.get(1..) == Some(limits.method.as_str());
            if !schema::methods().iter().any(is_it) {
                return Err(ConfigError::UnknownMethod(limits.method.clone()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_file_is_the_defaults() {
        let example: Config = toml::from_str(include_str!("../config.example.toml")).unwrap();
        example.check().unwrap();
        assert_eq!(format!("{example:?}"), format!("{:?}", Config::default()));
    }

    #[test]
    fn the_documented_limits_are_the_defaults() {
        let page = include_str!("../../../docs/websrv.md");
        let limits = format!("{:#?}", Limits::default());
        for line in limits.lines().filter_map(|l| l.trim().strip_suffix(',')) {
            let (key, value) = line.split_once(": ").unwrap();
            assert!(
                page.contains(&format!("| `{key}` | {value} |")),
                "docs/websrv.md does not say that `{key}` is {value}"
            );
        }
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        let bad = |text: &str| {
            let config: Config = toml::from_str(text).unwrap();
            config.check().unwrap_err().to_string()
        };
        assert!(bad("[limits]\nconnections = 0").contains("limits.connections"));
        assert!(bad("[limits]\nheader_bytes = 100").contains("limits.header_bytes"));
        assert!(bad("[tls]\ncert_file = \"/x\"").contains("tls.key_file"));
        assert!(bad("[tls]\nnames = [\"bmc.example\", \"bä mc\"]").contains("tls.names"));
        assert!(bad("[tls]\nnames = [\"\"]").contains("tls.names"));
        assert!(bad("[[routes]]\nmethod = \"schema.v1alpha1.NoService/Get\"").contains("routes"));
        let good = "[tls]\nnames = [\"*.bmc.example\", \"rack_7\", \"192.0.2.7\", \"2001:db8::7\"]";
        toml::from_str::<Config>(good).unwrap().check().unwrap();
        assert!(bad("[cors]\norigins = [\"*\"]").contains("cors.origins"));
        assert!(bad("[cors]\norigins = [\"https://a.example/\"]").contains("cors.origins"));
        assert!(toml::from_str::<Config>("https = \"here\"").is_err());
        assert!(toml::from_str::<Config>("httpz = \"off\"").is_err());
        assert_eq!(toml::from_str::<Config>("https = \"off\"").unwrap().https, Listen::Off);
    }
}
