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
         Depends: {depends}\nSuggests: qemu-system-x86\nSection: net\nPriority: optional\nInstalled-Size: {size}\n\
         Description: simulated server with its management controller\n \
         A machine with sensors, fans, power supplies and a serial console, as data, and the whole\n \
         suite of u-bmc in front of it: Redfish, REST, gRPC and a Web UI. For people who test\n \
         programs that manage servers.\n"
    );
    let mut sums: BTreeMap<&str, String> = BTreeMap::new();
    for file in files {
        let digest = md5(&file.bytes);
        sums.insert(&file.path, digest.iter().map(|byte| format!("{byte:02x}")).collect());
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

/// MD5 (RFC 1321), which dpkg compares installed files by: it guards against damage, not against people.
fn md5(bytes: &[u8]) -> [u8; 16] {
    const TURNS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
    let mut padded = bytes.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend((bytes.len() as u64).wrapping_mul(8).to_le_bytes());
    let mut state = [0x6745_2301_u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    for block in padded.chunks_exact(64) {
        let words: Vec<u32> = block
            .chunks_exact(4)
            .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
            .collect();
        let [mut a, mut b, mut c, mut d] = state;
        for step in 0..64_usize {
            let (mixed, word) = match step / 16 {
                0 => ((b & c) | (!b & d), step),
                1 => ((d & b) | (!d & c), (5 * step + 1) % 16),
                2 => (b ^ c ^ d, (3 * step + 5) % 16),
                _ => (c ^ (b | !d), (7 * step) % 16),
            };
            // The sine of the step's number, as 32 bits of a fraction.
            let sine = ((step as f64 + 1.0).sin().abs() * 4_294_967_296.0) as u32;
            let sum = a.wrapping_add(mixed).wrapping_add(sine).wrapping_add(words[word]);
            (a, d, c, b) = (d, c, b, b.wrapping_add(sum.rotate_left(TURNS[step / 16][step % 4])));
        }
        for (place, value) in state.iter_mut().zip([a, b, c, d]) {
            *place = place.wrapping_add(value);
        }
    }
    let mut out = [0; 16];
    for (place, word) in out.chunks_exact_mut(4).zip(state) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// RFC 1321, A.5.
    #[test]
    fn the_sums_of_the_rfc() {
        let hex =
            |text: &str| md5(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(""), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(hex("abc"), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(
            hex("12345678901234567890123456789012345678901234567890123456789012345678901234567890"),
            "57edf4a22be3c955ac49da2e2107b67a"
        );
    }

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
