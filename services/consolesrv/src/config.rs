//! What can be set.

use serde::Deserialize;
use serial::Redaction;

/// KiB of flash that the audit log of one console may have.
const KIB: std::ops::RangeInclusive<u16> = 16..=1024;

/// consolesrv's own configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What is kept of what is typed.
    pub audit: Audit,
}

/// The audit log.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Given")]
pub struct Audit {
    /// Whether there is one.
    pub enabled: bool,
    /// KiB of flash for each console.
    pub kib: u16,
    prompts: Vec<String>,
    redact: Vec<String>,
}

impl Default for Audit {
    fn default() -> Self {
        let Given { enabled, kib, prompts, redact } = Given::default();
        Self { enabled, kib, prompts, redact }
    }
}

impl Audit {
    /// What is not kept.
    #[must_use]
    pub fn redaction(&self) -> Redaction {
        // They were tried when they were read.
        Redaction::new(&self.prompts, &self.redact).unwrap_or_default()
    }
}

/// As it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Given {
    enabled: bool,
    kib: u16,
    prompts: Vec<String>,
    redact: Vec<String>,
}

impl Default for Given {
    fn default() -> Self {
        // The last is how Debian asks for the passphrase of a disk.
        let prompts = [
            "password",
            "passphrase",
            "passcode",
            "passwort",
            "kennwort",
            r"\bpin\b",
            "secret",
            "unlock disk",
        ];
        Self {
            enabled: false,
            kib: 128,
            // With what it is for before the colon, and behind it what some print for each key, and a hint as systemd's.
            prompts: vec![format!(r"(?i)({})[^:]*:[ *]*(\([^()]*\)[ *]*)?$", prompts.join("|"))],
            redact: Vec::new(),
        }
    }
}

impl TryFrom<Given> for Audit {
    type Error = String;

    fn try_from(given: Given) -> Result<Self, String> {
        let Given { enabled, kib, prompts, redact } = given;
        if !KIB.contains(&kib) {
            return Err(format!("kib = {kib}: {} to {} is possible", KIB.start(), KIB.end()));
        }
        Redaction::new(&prompts, &redact)?;
        Ok(Self { enabled, kib, prompts, redact })
    }
}

#[cfg(test)]
mod tests {
    use units::Mono;

    use super::*;

    fn read(text: &str) -> Result<Audit, String> {
        let read: Result<Config, _> = toml::from_str(text);
        read.map(|config| config.audit).map_err(|error| error.to_string())
    }

    #[test]
    fn the_example_shows_every_default() {
        let example: toml::Table = toml::from_str(include_str!("../config.example.toml")).unwrap();
        let shown: Config = example["consolesrv"].clone().try_into().unwrap();
        assert_eq!(shown, Config::default());
        assert_eq!(shown.audit, Audit::try_from(Given::default()).unwrap(), "they are possible");
        assert!(!Config::default().audit.enabled, "nothing is kept unless it is asked for");
    }

    #[test]
    fn what_the_usual_programs_ask_for_as_a_secret_is_not_kept() {
        let mut audit = serial::Audit::new(Config::default().audit.redaction());
        let prompts = [
            "Password: ",
            "[sudo] password for ann: ",
            "Enter passphrase for key '/root/.ssh/id_ed25519': ",
            "\u{1f510} Please enter passphrase for disk QEMU (luks-7): (press TAB for no echo) ",
            "\u{1f510} Please enter LUKS2 token PIN: (no echo) ",
            "Please unlock disk sda3_crypt: ",
            "Enter passphrase for hd0,gpt2 (0c2f): ",
            "Enter password: \r\n",
        ];
        for prompt in prompts {
            audit.printed(format!("\r\nready\r\n{prompt}").as_bytes());
            for key in b"hunter2\r" {
                audit.typed(1, ["ann", ""], &[*key], Mono::ZERO, 0);
            }
        }
        audit.printed(b"\r\n# ");
        audit.typed(1, ["ann", ""], b"cat secrets: x\r", Mono::ZERO, 0);
        let text = String::from_utf8(audit.finish(Mono::ZERO).unwrap().bytes).unwrap();
        assert!(!text.contains("hunter"), "{text}");
        assert_eq!(text.matches("[redacted]").count(), prompts.len(), "{text}");
        assert!(text.contains("cat secrets: x"), "{text}");
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_reason() {
        assert!(read("[audit]\nenabled = true\nredact = ['token=\\S+']").unwrap().enabled);
        assert!(read("[audit]\nredact = ['(']").unwrap_err().contains("is none"));
        assert!(read("[audit]\nkib = 8").unwrap_err().contains("16 to 1024"));
        assert!(read("[audit]\nkeep = 8").unwrap_err().contains("keep"));
    }
}
