//! Names and the resolver's file: what of them may come from outside, and how they are written.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::Path;

/// A resolver reads no more.
pub(crate) const MAX_DNS: usize = 3;
/// Time servers taken from one lease.
pub(crate) const MAX_NTP: usize = 4;

/// The first label of `name` when it can be a host name (RFC 1123): letters, digits and inner hyphens, at most 63.
pub(crate) fn hostname(name: &str) -> Option<String> {
    let label = name.split('.').next().unwrap_or_default();
    (is_label(label) && label != "localhost").then(|| label.to_owned())
}

/// `name` when it can be a domain: labels with dots between them, at most 253 bytes.
pub(crate) fn domain(name: &str) -> Option<String> {
    let name = name.trim_end_matches(['.', '\0']);
    (name.len() <= 253 && name.split('.').all(is_label)).then(|| name.to_owned())
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// The name of a controller that nobody named.
pub(crate) fn of_mac(mac: [u8; 6]) -> String {
    let [_, _, _, a, b, c] = mac;
    format!("u-bmc-{a:02x}{b:02x}{c:02x}")
}

/// The text of `resolv.conf`.
pub(crate) fn resolv_conf(domain: Option<&str>, servers: &[IpAddr]) -> String {
    let mut text = String::from("# Written by u-bmc from its configuration and leases.\n");
    if let Some(domain) = domain {
        let _ = writeln!(text, "search {domain}");
    }
    let mut seen: Vec<IpAddr> = Vec::new();
    for server in servers {
        if seen.len() < MAX_DNS && !seen.contains(server) {
            let _ = writeln!(text, "nameserver {server}");
            seen.push(*server);
        }
    }
    text
}

/// Replaces a file so that a reader sees the old text or the new one, nothing else.
pub(crate) fn replace_file(path: &Path, text: &str) -> std::io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let mut file = std::fs::File::create(&new)?;
    file.write_all(text.as_bytes())?;
    drop(file);
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_is_one_plain_label() {
        for (given, expect) in [
            ("node7", Some("node7")),
            ("node7.rack.example", Some("node7")),
            ("a-b", Some("a-b")),
            ("", None),
            ("-a", None),
            ("a-", None),
            ("localhost", None),
            ("a b", None),
            ("a\nnameserver 6.6.6.6", None),
            ("nöde", None),
        ] {
            assert_eq!(hostname(given).as_deref(), expect, "{given:?}");
        }
        assert_eq!(hostname(&"a".repeat(64)), None);
    }

    #[test]
    fn a_domain_cannot_smuggle_a_line() {
        assert_eq!(domain("rack.example.").as_deref(), Some("rack.example"));
        for bad in ["", ".", "a..b", "a\nnameserver 6.6.6.6", "a b", "x/y"] {
            assert_eq!(domain(bad), None, "{bad:?}");
        }
        assert_eq!(domain(&["abc"; 70].join(".")), None);
    }

    #[test]
    fn the_resolver_is_told_three_different_servers() {
        let servers: Vec<IpAddr> = ["192.0.2.1", "192.0.2.1", "2001:db8::1", "192.0.2.2", "192.0.2.3"]
            .map(|a| a.parse().unwrap())
            .into();
        let text = resolv_conf(Some("rack.example"), &servers);
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(
            lines,
            ["search rack.example", "nameserver 192.0.2.1", "nameserver 2001:db8::1", "nameserver 192.0.2.2"]
        );
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        replace_file(&path, "long text\n").unwrap();
        replace_file(&path, "short\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "short\n");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_unnamed_controller_is_called_by_its_hardware_address() {
        assert_eq!(of_mac([2, 0, 0, 0xab, 0, 0x0f]), "u-bmc-ab000f");
    }
}
