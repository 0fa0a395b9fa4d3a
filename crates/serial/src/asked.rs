//! What a client asks for that says it in words, as over SSH: which console, and how.

/// Bytes of what is asked for that are looked at; a name of a host has 64.
const ASKED_MAX: usize = 256;
/// KiB that are shown of what was printed before, where nobody says how much: a page, and some more.
const REPLAY_KIB: u32 = 4;
/// KiB there are at most.
const REPLAY_KIB_MAX: u32 = 128;

/// The words there are.
pub const USAGE: &str = "[HOST] [--replay KIB] [--read-only] [--take-over] [--break]";

/// What is asked for. Without words: the first console, with the last 4 KiB of what it printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The console; `None` for the first one.
    pub host: Option<String>,
    /// Bytes of what was printed before that are shown first, 0 to 131072.
    pub replay: u32,
    /// Only look.
    pub read_only: bool,
    /// Take the keyboard at once, from whoever has it.
    pub take_over: bool,
    /// Send a break first of all.
    pub sends_break: bool,
}

impl Default for Asked {
    fn default() -> Self {
        Self { host: None, replay: REPLAY_KIB * 1024, read_only: false, take_over: false, sends_break: false }
    }
}

impl Asked {
    /// Reads the words of a client, in the order in which they come.
    ///
    /// # Errors
    /// What is wrong with them, for people, with what there is.
    pub fn parse(words: &[u8]) -> Result<Self, String> {
        let wrong = |what: &str| format!("{what}; there is: {USAGE}");
        let text = Some(words).filter(|words| words.len() <= ASKED_MAX);
        let text = text.and_then(|text| std::str::from_utf8(text).ok());
        let text = text.ok_or_else(|| wrong("what is asked for cannot be read"))?;
        let mut asked = Self::default();
        let mut words = text.split_ascii_whitespace();
        while let Some(word) = words.next() {
            match word {
                "--read-only" => asked.read_only = true,
                "--take-over" => asked.take_over = true,
                "--break" => asked.sends_break = true,
                "--replay" => {
                    let kib = words.next().and_then(|kib| kib.parse::<u32>().ok());
                    let kib = kib.filter(|kib| *kib <= REPLAY_KIB_MAX);
                    asked.replay =
                        kib.ok_or_else(|| wrong("--replay takes 0 to 128, in KiB"))?.saturating_mul(1024);
                }
                flag if flag.starts_with('-') => return Err(wrong(&format!("{flag:?} is not known"))),
                _ if asked.host.is_some() => return Err(wrong("one console at a time")),
                host => asked.host = Some(host.to_owned()),
            }
        }
        if asked.read_only && (asked.take_over || asked.sends_break) {
            return Err(wrong("who only looks takes nothing over and sends no break"));
        }
        Ok(asked)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_are_read_in_any_order_and_what_is_wrong_is_said() {
        assert_eq!(Asked::parse(b""), Ok(Asked::default()));
        assert_eq!(Asked::parse(b"  \t"), Ok(Asked::default()));
        let all = Asked {
            host: Some("node1".to_owned()),
            replay: 128 * 1024,
            take_over: true,
            sends_break: true,
            ..Asked::default()
        };
        for words in
            ["node1 --take-over --replay 128 --break", "--break --replay 128  node1 --take-over --take-over"]
        {
            assert_eq!(Asked::parse(words.as_bytes()), Ok(all.clone()), "{words}");
        }
        let nothing = Asked { replay: 0, read_only: true, ..Asked::default() };
        assert_eq!(Asked::parse(b"--replay 0 --read-only"), Ok(nothing));
        for (words, why) in [
            (&b"--replay"[..], "takes 0 to 128"),
            (b"--replay 129", "takes 0 to 128"),
            (b"--replay -1", "takes 0 to 128"),
            (b"-v", "\"-v\" is not known"),
            (b"--help", "[HOST]"),
            (b"node1 node2", "one console"),
            (b"--read-only --take-over", "only looks"),
            (b"--read-only --break", "only looks"),
            (b"\xff", "cannot be read"),
            (&[b'a'; 257], "cannot be read"),
        ] {
            let said = Asked::parse(words).unwrap_err();
            assert!(said.contains(why) && said.contains(USAGE), "{words:?}: {said}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_asked_is_within_bounds_or_refused(words in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(asked) = Asked::parse(&words) {
                prop_assert!(asked.replay <= 131_072);
                prop_assert!(asked.host.is_none_or(|host| !host.is_empty() && host.len() <= ASKED_MAX));
            }
        }
    }
}
