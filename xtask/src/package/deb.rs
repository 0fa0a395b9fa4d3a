//! A Debian package (deb(5)): an `ar` archive of its version, what is said of it, and its files.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Result;

use super::{File, NAME, archive, gzip};

/// The package's bytes.
pub(super) fn pack(files: &[File], version: &str, architecture: &str, depends: &str) -> Result<Vec<u8>> {
    let size: usize = files.iter().map(|file| file.bytes.len().div_ceil(1024)).sum();
    let control = format!(
        "Package: {NAME}\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: u-bmc <noreply@u-bmc.invalid>\n\
         Depends: {depends}\nSuggests: qemu-system-x86, ovmf\nSection: net\nPriority: optional\nInstalled-Size: {size}\n\
         Description: simulated server with its management controller\n \
         A machine with sensors, fans, power supplies and a serial console, as data, and the whole\n \
         suite of u-bmc in front of it: Redfish, REST, gRPC and a Web UI. For people who test\n \
         programs that manage servers.\n"
    );
    let mut sums: BTreeMap<&str, String> = BTreeMap::new();
    // What dpkg compares installed files by: it guards against damage, not against people.
    for file in files {
        sums.insert(&file.path, format!("{:x}", md5::compute(&file.bytes)));
    }
    let mut md5sums = String::new();
    for (path, sum) in sums {
        writeln!(md5sums, "{sum}  {path}")?;
    }
    let control = [File::new("control", 0o644, control), File::new("md5sums", 0o644, md5sums)];
    let mut out = b"!<arch>\n".to_vec();
    for (name, bytes) in [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar.gz", gzip(&archive(&control)?)?),
        ("data.tar.gz", gzip(&archive(files)?)?),
    ] {
        // ar(5): name, time, owner, group, mode, size.
        out.extend(
            format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, "100644", bytes.len()).bytes(),
        );
        out.extend(&bytes);
        if bytes.len() % 2 == 1 {
            out.push(b'\n');
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    #[expect(clippy::print_stdout, reason = "a skip is counted by what it prints")]
    fn dpkg_reads_the_package() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.deb");
        let files = [File::new("usr/bin/tool", 0o755, "#!/bin/sh\n"), File::new("usr/share/x", 0o644, "x")];
        std::fs::write(&file, pack(&files, "1.2.3", "amd64", "libc6 (>= 2.36)").unwrap()).unwrap();
        let said = |arguments: &[&str]| -> Option<String> {
            let done = Command::new("dpkg-deb").args(arguments).arg(&file).output().ok()?;
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            Some(String::from_utf8_lossy(&done.stdout).into_owned())
        };
        let Some(info) = said(&["--info"]) else {
            println!("SKIP: no dpkg-deb on this machine");
            return;
        };
        assert!(info.contains("Package: u-bmc-simulator") && info.contains("Version: 1.2.3"), "{info}");
        let contents = said(&["--contents"]).unwrap();
        assert!(
            contents.contains("-rwxr-xr-x root/root") || contents.contains("-rwxr-xr-x 0/0"),
            "{contents}"
        );
        assert!(contents.contains("usr/bin/tool") && contents.contains("usr/share/x"), "{contents}");
    }
}
