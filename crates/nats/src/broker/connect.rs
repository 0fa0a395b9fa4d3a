//! `CONNECT` and `INFO`: the JSON of the protocol.

use serde_json::{Map, Value};

use super::config::Config;

/// The version told to clients. They read it to decide which parts of the protocol and of JetStream they may use,
/// so it names the nats-server whose behaviour ours is compared with, and then us.
pub const SERVER_VERSION: &str = concat!("2.15.0-u-bmc.", env!("CARGO_PKG_VERSION"));

/// What a client asked for in `CONNECT`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "they are the protocol's")]
pub(crate) struct Options {
    pub(crate) verbose: bool,
    pub(crate) pedantic: bool,
    pub(crate) echo: bool,
    pub(crate) headers: bool,
    pub(crate) no_responders: bool,
    pub(crate) protocol: i64,
    pub(crate) name: String,
    pub(crate) user: String,
    pub(crate) pass: String,
    pub(crate) account: String,
}

impl Default for Options {
    /// What holds for a client that never says: verbose, pedantic, echo.
    fn default() -> Self {
        Options {
            verbose: true,
            pedantic: true,
            echo: true,
            headers: false,
            no_responders: false,
            protocol: 0,
            name: String::new(),
            user: String::new(),
            pass: String::new(),
            account: String::new(),
        }
    }
}

impl Options {
    /// Takes over what a `CONNECT` says; what it leaves out stays. `false`: not JSON, or a value of the wrong type.
    pub(crate) fn update(&mut self, json: &[u8]) -> bool {
        let text = String::from_utf8_lossy(json);
        let Ok(Value::Object(map)) = serde_json::from_str::<Value>(&text) else { return false };
        map.iter().all(|(key, value)| self.set(key, value))
    }

    fn set(&mut self, key: &str, value: &Value) -> bool {
        // Keys match in any case and `null` changes nothing: the decoder of nats-server works so.
        let key = key.to_ascii_lowercase();
        if value.is_null() {
            return true;
        }
        let flag = match key.as_str() {
            "verbose" => Some(&mut self.verbose),
            "pedantic" => Some(&mut self.pedantic),
            "echo" => Some(&mut self.echo),
            "headers" => Some(&mut self.headers),
            "no_responders" => Some(&mut self.no_responders),
            _ => None,
        };
        if let Some(flag) = flag {
            return value.as_bool().map(|v| *flag = v).is_some();
        }
        let text = match key.as_str() {
            "name" => Some(&mut self.name),
            "user" => Some(&mut self.user),
            "pass" => Some(&mut self.pass),
            "account" => Some(&mut self.account),
            _ => None,
        };
        if let Some(text) = text {
            return value.as_str().map(|v| v.clone_into(text)).is_some();
        }
        match key.as_str() {
            "protocol" => value.as_i64().map(|v| self.protocol = v).is_some(),
            "lang" | "version" | "jwt" | "nkey" | "sig" | "auth_token" => value.is_string(),
            "tls_required" | "new_account" => value.is_boolean(),
            _ => true,
        }
    }
}

/// What of `INFO` differs between connections and moments.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InfoFor<'a> {
    pub(crate) client_id: u64,
    pub(crate) client_ip: &'a str,
    pub(crate) lame_duck: bool,
    /// The answer to the first `PING`: the client is connected now.
    pub(crate) connected: bool,
}

/// An `INFO` line.
pub(crate) fn write_info(config: &Config, about: InfoFor<'_>) -> Vec<u8> {
    let mut info = Map::new();
    let mut set = |key: &str, value: Value| {
        info.insert(key.to_owned(), value);
    };
    set("server_id", config.server_id.as_str().into());
    set("server_name", config.server_name.as_str().into());
    set("version", SERVER_VERSION.into());
    set("proto", 1.into());
    // The protocol has it always there, as the version of the compiler of Go; clients refuse a server without it.
    set("go", "none (Rust)".into());
    set("host", config.host.as_str().into());
    set("port", config.port.into());
    set("headers", true.into());
    if !config.users.is_empty() {
        set("auth_required", true.into());
    }
    set("max_payload", config.limits.max_payload.into());
    if config.jetstream {
        set("jetstream", true.into());
    }
    set("client_id", about.client_id.into());
    set("client_ip", about.client_ip.into());
    if about.lame_duck {
        set("ldm", true.into());
    }
    if about.connected {
        set("connect_info", true.into());
        set("remote_account", super::ACCOUNT.into());
    }
    format!("INFO {} \r\n", Value::Object(info)).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_changes_what_it_names_and_refuses_wrong_types() {
        let mut options = Options::default();
        assert!(
            options.update(br#"{"verbose":false,"Pedantic":false,"user":"u","echo":null,"unknown":[1]}"#)
        );
        assert!(!options.verbose && !options.pedantic && options.echo);
        assert_eq!(options.user, "u");
        for bad in [&b""[..], b"[]", b"{", br#"{"verbose":1}"#, br#"{"user":1}"#, br#"{"lang":1}"#] {
            assert!(!Options::default().update(bad), "{}", String::from_utf8_lossy(bad));
        }
    }
}
