//! What the firmware reports of itself, and the bounds of that: it comes from the host, which the controller does not trust.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

/// Most attributes of a report.
pub const ATTRIBUTES_MAX: usize = 512;
/// Most values that an enumeration can have.
pub const CHOICES_MAX: usize = 64;
/// Most boot options of a report.
pub const BOOT_OPTIONS_MAX: usize = 64;
/// Longest name, bytes.
pub const NAME_MAX: usize = 64;
/// Longest text, bytes.
pub const TEXT_MAX: usize = 512;

/// A value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// Of a switch.
    Boolean(bool),
    /// Of a number.
    Integer(i64),
    /// Of a text, or the name of a choice.
    Text(String),
}

/// A value that an enumeration can have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// As it is set.
    pub name: String,
    /// For people.
    #[serde(default)]
    pub display_name: String,
}

/// What an attribute can be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// One of these.
    Enumeration {
        /// At least one.
        choices: Vec<Choice>,
    },
    /// A text.
    Text {
        /// Fewest characters.
        shortest: u32,
        /// Most characters.
        longest: u32,
    },
    /// A number.
    Integer {
        /// The least.
        lower: i64,
        /// The most.
        upper: i64,
        /// It is `lower` and a multiple of this, which is at least 1.
        step: i64,
    },
    /// A switch.
    Boolean,
}

impl Kind {
    /// Whether it can be `value`.
    ///
    /// # Errors
    /// Why not, in words for people.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        match (self, value) {
            (Self::Enumeration { choices }, Value::Text(name)) => {
                if choices.iter().any(|choice| choice.name == *name) {
                    return Ok(());
                }
                let all: Vec<&str> = choices.iter().map(|choice| choice.name.as_str()).collect();
                Err(format!("it has to be one of {}", all.join(", ")))
            }
            (Self::Text { shortest, longest }, Value::Text(text)) => {
                let (length, most) = (text.chars().count(), usize::try_from(*longest).unwrap_or(usize::MAX));
                let is_clean = text.chars().all(is_plain) && text.len() <= TEXT_MAX;
                if is_clean && length <= most && u32::try_from(length).is_ok_and(|length| length >= *shortest)
                {
                    return Ok(());
                }
                Err(format!("it has to have {shortest} to {longest} characters, none of which controls"))
            }
            (Self::Integer { lower, upper, step }, Value::Integer(number)) => {
                let from_lower = i128::from(*number) - i128::from(*lower);
                if number <= upper && from_lower >= 0 && from_lower % i128::from((*step).max(1)) == 0 {
                    return Ok(());
                }
                let steps = if *step > 1 { format!(", in steps of {step}") } else { String::new() };
                Err(format!("it has to be from {lower} to {upper}{steps}"))
            }
            (Self::Boolean, Value::Boolean(_)) => Ok(()),
            (Self::Enumeration { .. } | Self::Text { .. }, _) => Err("it has to be a text".to_owned()),
            (Self::Integer { .. }, _) => Err("it has to be a whole number".to_owned()),
            (Self::Boolean, _) => Err("it has to be true or false".to_owned()),
        }
    }
}

/// One setting of the set-up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribute {
    /// As it is set: a letter, then letters, digits and `_`.
    pub name: String,
    /// For people.
    #[serde(default)]
    pub display_name: String,
    /// What it does, for people.
    #[serde(default)]
    pub help: String,
    /// Where it is in the set-up screens: `./Processor`.
    #[serde(default)]
    pub menu_path: String,
    /// What it can be.
    pub kind: Kind,
    /// It is shown only.
    #[serde(default)]
    pub read_only: bool,
    /// What it is.
    pub current: Value,
    /// What the manufacturer sets it to.
    pub default: Value,
}

/// What a boot option boots from, where that has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Alias {
    /// A disk.
    Hdd,
    /// A CD or DVD.
    Cd,
    /// A USB stick.
    Usb,
    /// The network, by DHCP and TFTP.
    Pxe,
    /// The network, by HTTP.
    UefiHttp,
    /// The set-up screens.
    BiosSetup,
    /// The manufacturer's diagnostics.
    Diags,
}

/// Something that the firmware can boot from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootOption {
    /// `Boot0001` (UEFI 2.10, 3.3).
    pub name: String,
    /// For people.
    #[serde(default)]
    pub display_name: String,
    /// Its device path in text form; empty where it has none.
    #[serde(default)]
    pub device_path: String,
    /// What it boots from.
    #[serde(default)]
    pub alias: Option<Alias>,
    /// Whether it is tried.
    pub enabled: bool,
}

/// Which keys secure boot has (UEFI 2.10, 32.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecureBootMode {
    /// No key of the platform: nothing is enforced.
    Setup,
    /// As it is shipped.
    User,
    /// As in set-up mode, but keys cannot be changed.
    Audit,
    /// The strictest.
    Deployed,
}

/// How secure boot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecureBoot {
    /// It is enforced from the next boot on.
    pub enabled: bool,
    /// It was enforced by the boot that runs, or ran last.
    pub active: bool,
    /// Which keys there are.
    pub mode: SecureBootMode,
}

/// What the firmware reports of itself at a boot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Its settings, [`ATTRIBUTES_MAX`] at most.
    pub attributes: Vec<Attribute>,
    /// What it can boot from, [`BOOT_OPTIONS_MAX`] at most.
    pub boot_options: Vec<BootOption>,
    /// The order in which those are tried: each of them once.
    pub boot_order: Vec<String>,
    /// `None`: it has none.
    pub secure_boot: Option<SecureBoot>,
}

/// Why a report is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}")]
pub struct Invalid {
    /// The attribute or boot option, or what is too long.
    pub what: String,
    /// Why.
    pub why: String,
}

impl Invalid {
    fn new(what: &str, why: impl Into<String>) -> Self {
        // What cannot be believed is not repeated at length.
        Self {
            what: what.chars().filter(|letter| is_plain(*letter)).take(NAME_MAX).collect(),
            why: why.into(),
        }
    }
}

fn is_name(name: &str) -> bool {
    name.len() <= NAME_MAX
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn is_text(text: &str) -> bool {
    text.len() <= TEXT_MAX && text.chars().all(is_plain)
}

/// Whether a character of the host's may be shown to people: it is no control, does not change the direction of what is around it, is no line of its own
/// and not invisible (Unicode, general categories Cc, Cf, Zl, Zp). Joiners (U+200C, U+200D) may be: some languages are not written without them.
#[must_use]
pub fn is_plain(letter: char) -> bool {
    !letter.is_control() && !is_unseen(letter)
}

/// Whether a character that is no control is not seen, or changes what is around it.
fn is_unseen(letter: char) -> bool {
    matches!(
        letter,
        '\u{ad}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{180e}'
            | '\u{200b}'
            | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

impl Report {
    /// Takes characters that are not seen or turn others out of texts for people: a soft hyphen in a help text is no reason not to believe the rest. Names,
    /// values, device paths and controls stay as they are.
    pub fn clean(&mut self) {
        let clean = |text: &mut String| text.retain(|letter| !is_unseen(letter));
        for attribute in &mut self.attributes {
            clean(&mut attribute.display_name);
            clean(&mut attribute.help);
            clean(&mut attribute.menu_path);
            if let Kind::Enumeration { choices } = &mut attribute.kind {
                for choice in choices {
                    clean(&mut choice.display_name);
                }
            }
        }
        for option in &mut self.boot_options {
            clean(&mut option.display_name);
        }
    }

    /// The attribute of that name.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }

    /// The boot option of that name.
    #[must_use]
    pub fn boot_option(&self, name: &str) -> Option<&BootOption> {
        self.boot_options.iter().find(|option| option.name == name)
    }

    /// The boot options in the order in which they are tried if `wanted` come first: what is no option, or named twice, is left out, and what is
    /// left out stays behind in the order there is.
    #[must_use]
    pub fn ordered(&self, wanted: &[String]) -> Vec<String> {
        let mut seen = HashSet::new();
        let all = wanted.iter().chain(&self.boot_order);
        all.filter(|name| self.boot_option(name).is_some() && seen.insert(name.as_str())).cloned().collect()
    }

    /// Whether it is one that can be believed: within the bounds, each name once, each value one that its attribute can have.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), Invalid> {
        let within = |what: &str, count: usize, most: usize| {
            if count > most {
                Err(Invalid::new(what, format!("{count}, and {most} at most can be")))
            } else {
                Ok(())
            }
        };
        within("attributes", self.attributes.len(), ATTRIBUTES_MAX)?;
        within("boot options", self.boot_options.len(), BOOT_OPTIONS_MAX)?;
        let mut names = HashSet::new();
        for attribute in &self.attributes {
            let wrong = |why: &str| Invalid::new(&attribute.name, why);
            if !is_name(&attribute.name) {
                return Err(wrong("no name of an attribute"));
            }
            if !names.insert(attribute.name.as_str()) {
                return Err(wrong("there twice"));
            }
            if ![&attribute.display_name, &attribute.help, &attribute.menu_path]
                .into_iter()
                .all(|text| is_text(text))
            {
                return Err(wrong("a text that is too long or has controls"));
            }
            attribute.check_kind().map_err(wrong)?;
            for value in [&attribute.current, &attribute.default] {
                attribute.kind.check(value).map_err(|why| wrong(&why))?;
            }
        }
        let mut names = HashSet::new();
        for option in &self.boot_options {
            if !is_name(&option.name) || !is_text(&option.display_name) || !is_text(&option.device_path) {
                return Err(Invalid::new(&option.name, "no boot option"));
            }
            if !names.insert(option.name.as_str()) {
                return Err(Invalid::new(&option.name, "there twice"));
            }
        }
        if self.boot_order.len() != self.boot_options.len()
            || self.ordered(&self.boot_order) != self.boot_order
        {
            return Err(Invalid::new("boot order", "it has to name each boot option once"));
        }
        Ok(())
    }

    /// A boot begins with the settings of secure boot there are. Whether that is another state of it.
    pub(crate) fn begin_boot(&mut self) -> bool {
        let Some(secure) = self.secure_boot.as_mut() else { return false };
        let has_keys = matches!(secure.mode, SecureBootMode::User | SecureBootMode::Deployed);
        let active = secure.enabled && has_keys;
        std::mem::replace(&mut secure.active, active) != active
    }
}

impl BootOption {
    /// One of this name that is tried; nothing else is said of it.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            display_name: String::new(),
            device_path: String::new(),
            alias: None,
            enabled: true,
        }
    }
}

impl Attribute {
    /// One that can be set, and is as the manufacturer sets it; nothing is said of it for people.
    #[must_use]
    pub fn new(name: &str, kind: Kind, value: Value) -> Self {
        Self {
            name: name.to_owned(),
            display_name: String::new(),
            help: String::new(),
            menu_path: String::new(),
            kind,
            read_only: false,
            current: value.clone(),
            default: value,
        }
    }

    fn check_kind(&self) -> Result<(), &'static str> {
        match &self.kind {
            Kind::Enumeration { choices } => {
                let mut names = HashSet::new();
                if choices.is_empty() || choices.len() > CHOICES_MAX {
                    return Err("too few or too many values");
                }
                let is_good = |choice: &Choice| {
                    !choice.name.is_empty()
                        && choice.name.len() <= NAME_MAX
                        && is_text(&choice.name)
                        && is_text(&choice.display_name)
                };
                if !choices.iter().all(|choice| is_good(choice) && names.insert(choice.name.as_str())) {
                    return Err("a value that is none, or there twice");
                }
            }
            Kind::Text { shortest, longest } if shortest > longest => return Err("no length can be"),
            Kind::Integer { lower, upper, step } if lower > upper || *step < 1 => {
                return Err("no number can be");
            }
            Kind::Text { .. } | Kind::Integer { .. } | Kind::Boolean => {}
        }
        Ok(())
    }
}
