//! Names and the resolver's file: what of them may come from outside, and how they are written.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use data_encoding::HEXLOWER;
use service::Folder;

/// A resolver reads no more.
pub(crate) const MAX_DNS: usize = 3;
/// Time servers taken from one lease.
pub(crate) const MAX_NTP: usize = 4;
/// Domains a resolver looks short names up in, and the most bytes they may have together.
pub(crate) const MAX_SEARCH: usize = 6;
const MAX_SEARCH_BYTES: usize = 256;

/// The first label of `name` when it can be a host name (RFC 1123): letters, digits and inner hyphens, at most 63.
pub(crate) fn hostname(name: &str) -> Option<String> {
    let name = name.trim_end_matches('\0');
    let label = name.split('.').next().unwrap_or_default();
    (is_label(label) && label != "localhost").then(|| label.to_owned())
}

/// `name` when it can be a domain: labels with dots between them, at most 253 bytes.
pub(crate) fn domain(name: &str) -> Option<String> {
    let name = name.trim_end_matches(['.', '\0']);
    (name.len() <= 253 && name.split('.').all(is_label)).then(|| name.to_owned())
}

/// Whether a text is a domain's name, as it is.
pub(crate) fn is_domain(text: &str) -> bool {
    domain(text).as_deref() == Some(text)
}

/// The domains of a list in the form of DNS messages (RFC 1035, 3.1), compressed by pointers into the list itself (RFC 3397) or not (RFC 3646, where it is
/// forbidden and never needed). `None` for what is no such list, the whole of it; names that are none are left out.
pub(crate) fn search_list(list: &[u8]) -> Option<Vec<String>> {
    let mut domains: Vec<String> = Vec::new();
    let mut at = 0;
    while at < list.len() {
        let (name, after) = dns_name(list, at)?;
        at = after;
        if let Some(domain) = domain(&name)
            && domains.len() < MAX_SEARCH
            && !domains.contains(&domain)
        {
            domains.push(domain);
        }
    }
    (!domains.is_empty()).then_some(domains)
}

/// The name that begins at `start`, and where what follows it stands. Pointers lead backwards only, so there is an end.
fn dns_name(list: &[u8], start: usize) -> Option<(String, usize)> {
    let (mut at, mut floor, mut after) = (start, start, None);
    let mut name = String::new();
    loop {
        match *list.get(at)? {
            0 => return Some((name, after.unwrap_or(at + 1))),
            length @ 1..=63 => {
                let label = list.get(at + 1..at + 1 + usize::from(length))?;
                if !name.is_empty() {
                    name.push('.');
                }
                name.push_str(std::str::from_utf8(label).ok()?);
                if name.len() > 253 {
                    return None;
                }
                at += 1 + usize::from(length);
            }
            high @ 0xc0.. => {
                let to = usize::from(u16::from_be_bytes([high & 0x3f, *list.get(at + 1)?]));
                if to >= floor {
                    return None;
                }
                after = after.or(Some(at + 2));
                (at, floor) = (to, to);
            }
            _ => return None,
        }
    }
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
    format!("u-bmc-{}", HEXLOWER.encode(&[a, b, c]))
}

/// The text of `resolv.conf`.
pub(crate) fn resolv_conf<'a>(search: impl Iterator<Item = &'a str>, servers: &[IpAddr]) -> String {
    let mut text = String::from("# Written by u-bmc from its configuration and leases.\n");
    let domains = domains(search);
    if !domains.is_empty() {
        let _ = writeln!(text, "search {}", domains.join(" "));
    }
    for server in self::servers(servers) {
        let _ = writeln!(text, "nameserver {server}");
    }
    text
}

/// Those of the domains that fit, each once.
pub(crate) fn domains<'a>(search: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut domains: Vec<&str> = Vec::new();
    for domain in search {
        let bytes: usize = domains.iter().map(|domain| domain.len() + 1).sum();
        if domains.len() < MAX_SEARCH
            && bytes + domain.len() <= MAX_SEARCH_BYTES
            && !domains.contains(&domain)
        {
            domains.push(domain);
        }
    }
    domains
}

/// Those of the name servers that a resolver reads, each once.
pub(crate) fn servers(servers: &[IpAddr]) -> Vec<IpAddr> {
    let mut seen: Vec<IpAddr> = Vec::new();
    for server in servers {
        if seen.len() < MAX_DNS && !seen.contains(server) {
            seen.push(*server);
        }
    }
    seen
}

/// Replaces a file so that a reader sees the old text or the new one, nothing else. No link is followed in its folder, which may be others' too.
pub(crate) fn replace_file(path: &Path, text: &str) -> std::io::Result<()> {
    let (folder, name) = place(path)?;
    folder.replace(name, text.as_bytes(), 0o644)
}

/// The folder of a file, and its name in it.
fn place(path: &Path) -> std::io::Result<(Folder, &str)> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Err(std::io::ErrorKind::InvalidInput.into());
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    Ok((Folder::open(folder)?, name))
}

/// Whether `text` and nothing else is in the file, as [`replace_file`] writes it. What the system does not tell counts as there: a medium that
/// cannot be read is not written to without need.
pub(crate) fn is_in_file(path: &Path, text: &str) -> bool {
    match place(path).and_then(|(folder, name)| folder.read(name, text.len())) {
        Ok(bytes) => bytes == text.as_bytes(),
        // Longer, gone, or a link: somebody else's.
        Err(error) => {
            use std::io::ErrorKind::{InvalidData, NotFound};
            let link = error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
            !link && !matches!(error.kind(), InvalidData | NotFound)
        }
    }
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
            ("node7\0\0", Some("node7")),
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
        let text = resolv_conf(["rack.example", "example", "example"].into_iter(), &servers);
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "search rack.example example",
                "nameserver 192.0.2.1",
                "nameserver 2001:db8::1",
                "nameserver 192.0.2.2"
            ]
        );
    }

    #[test]
    fn a_search_list_has_its_bounds() {
        let many: Vec<String> = (0..20).map(|n| format!("{}.example", "a".repeat(n + 1))).collect();
        let text = resolv_conf(many.iter().map(String::as_str), &[]);
        assert_eq!(text.lines().nth(1).unwrap().split(' ').count(), 1 + MAX_SEARCH);
        let long: Vec<String> = (0..4).map(|n| format!("{n}{}", "a.".repeat(50)) + "example").collect();
        let text = resolv_conf(long.iter().map(String::as_str), &[]);
        assert!(text.lines().nth(1).unwrap().len() <= MAX_SEARCH_BYTES + "search ".len(), "{text}");
    }

    #[test]
    fn a_search_list_is_read_with_its_pointers() {
        // The example of RFC 3397, 2: eng.apple.com, marketing.apple.com.
        let list = b"\x03eng\x05apple\x03com\0\x09marketing\xc0\x04";
        assert_eq!(search_list(list).unwrap(), ["eng.apple.com", "marketing.apple.com"]);
        let bad: [&[u8]; 9] = [
            b"",
            b"\0",
            b"\x03eng",
            b"\x03eng\x05app",
            b"\xc0\x00",
            b"\x01a\xc0\x00",
            b"\x01a\xc0\x02",
            b"\x40a\0",
            b"\x01a\0\x01b\xc0\xff",
        ];
        for list in bad {
            assert_eq!(search_list(list), None, "{list:?}");
        }
        assert_eq!(search_list(b"\x01a\0\x03a b\0").unwrap(), ["a"], "a name that is none is left out");
        let mut long = [b"\x3f".as_slice(), &[b'a'; 63]].concat().repeat(4);
        long.push(0);
        assert_eq!(search_list(&long), None);
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
    fn what_somebody_else_wrote_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        assert!(!is_in_file(&path, "ours\n"));
        replace_file(&path, "ours\n").unwrap();
        assert!(is_in_file(&path, "ours\n"));
        for other in ["", "hers\n", "ours\nand more\n"] {
            std::fs::write(&path, other).unwrap();
            assert!(!is_in_file(&path, "ours\n"), "{other:?}");
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::write(dir.path().join("other"), "ours\n").unwrap();
        std::os::unix::fs::symlink("other", &path).unwrap();
        assert!(!is_in_file(&path, "ours\n"), "a link to the same text");
    }

    #[test]
    fn others_may_read_the_resolvers_file() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        replace_file(&path, "nameserver 192.0.2.1\n").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    }

    #[test]
    fn a_link_in_the_folder_leads_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let (path, victim) = (dir.path().join("resolv.conf"), dir.path().join("victim"));
        std::fs::write(&victim, "untouched").unwrap();
        for link in ["resolv.conf", "resolv.conf.new"] {
            std::os::unix::fs::symlink(&victim, dir.path().join(link)).unwrap();
        }
        replace_file(&path, "nameserver 192.0.2.1\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "nameserver 192.0.2.1\n");
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "untouched");
    }

    #[test]
    fn an_unnamed_controller_is_called_by_its_hardware_address() {
        assert_eq!(of_mac([2, 0, 0, 0xab, 0, 0x0f]), "u-bmc-ab000f");
    }
}
