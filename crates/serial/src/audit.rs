//! What is typed at a console, for who has to answer for it: lines with who and when, without what must not be kept.
//!
//! A line of the file is that of the [log](crate::Log), whose text is `account address what was typed`. Keys are kept as they came, also those that take others
//! back (`\x7f`): whether a program at the host takes them for that nobody here knows. What must not be kept is looked for in the line as an editor of lines
//! leaves it, too.

use std::fmt::Write as _;

use regex_lite::{Regex, RegexBuilder};
use units::Mono;

use crate::log::{Batch, LINE_MAX, Log, Rate};
use crate::plain::Plain;
use crate::session::SessionId;

/// What may be kept of one console: a script that is pasted, and then 5.5 MB a day, which is more than a hand types.
pub const AUDIT_RATE: Rate = Rate { burst: 32 * 1024, per_second: 64 };
/// Patterns of one kind.
const PATTERNS_MAX: usize = 32;
/// Bytes of a pattern.
const PATTERN_MAX: usize = 256;
/// Bytes of a pattern once it is compiled: a short one may count to a million.
const COMPILED_MAX: usize = 64 * 1024;
/// Bytes of a line that are looked at; of what is more only the count is kept.
const LOOKED_AT: usize = 2 * LINE_MAX;
/// Bytes of the last line a host printed.
const PROMPT_MAX: usize = 256;
/// What stands for what is not kept. It says nothing of its length.
const REDACTED: &str = "[redacted]";

/// What of a line is not kept.
#[derive(Clone, Debug, Default)]
pub struct Redaction {
    prompts: Vec<Regex>,
    patterns: Vec<Regex>,
}

impl Redaction {
    /// `prompts`: what is typed while the last line that the host printed matches one of these is not kept at all. `patterns`: of other lines what matches is not.
    ///
    /// # Errors
    /// Which pattern is wrong, and why.
    pub fn new(prompts: &[String], patterns: &[String]) -> Result<Self, String> {
        Ok(Self { prompts: compile(prompts)?, patterns: compile(patterns)? })
    }

    /// A line without what must not be kept.
    fn apply(&self, raw: &[u8]) -> String {
        let kept = String::from_utf8_lossy(raw);
        let edited = edit(raw);
        let edited = String::from_utf8_lossy(&edited);
        if kept != edited && self.patterns.iter().any(|pattern| pattern.is_match(&edited)) {
            // What matches was typed with keys between that took others back: which of them belong to it cannot be told.
            return REDACTED.to_owned();
        }
        let all = self.patterns.iter().fold(kept, |text, pattern| {
            // What a pattern keeps of its match is its first group, if it has one: `(password=)\S+`.
            let replaced = pattern.replace_all(&text, |found: &regex_lite::Captures<'_>| {
                format!("{}{REDACTED}", found.get(1).map_or("", |group| group.as_str()))
            });
            replaced.into_owned().into()
        });
        all.into_owned()
    }
}

fn compile(patterns: &[String]) -> Result<Vec<Regex>, String> {
    if patterns.len() > PATTERNS_MAX {
        return Err(format!("{} patterns are too many: {PATTERNS_MAX} at most", patterns.len()));
    }
    let one = |pattern: &String| {
        if pattern.is_empty() || pattern.len() > PATTERN_MAX {
            return Err(format!("the pattern {pattern:?} has to have 1 to {PATTERN_MAX} bytes"));
        }
        let compiled = RegexBuilder::new(pattern).size_limit(COMPILED_MAX).build();
        compiled.map_err(|error| format!("the pattern {pattern:?} is none: {error}"))
    };
    patterns.iter().map(one).collect()
}

/// A line as a terminal in its usual mode has it at the end: backspace and ^U taken back what they take back.
fn edit(raw: &[u8]) -> Vec<u8> {
    let mut line = Vec::new();
    for byte in raw {
        match byte {
            0x08 | 0x7f => back(&mut line),
            0x15 => line.clear(),
            byte => line.push(*byte),
        }
    }
    line
}

/// Takes the last character back; one of several bytes is one.
fn back(line: &mut Vec<u8>) {
    while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
}

/// A line that has not ended.
#[derive(Debug)]
struct Line {
    by: SessionId,
    /// Account and address.
    who: String,
    text: Vec<u8>,
    /// Bytes that are not in it.
    beyond: u64,
    wall: i64,
    /// It answers a prompt for what must not be kept.
    is_secret: bool,
}

/// Makes lines of what is typed at one console.
#[derive(Debug)]
pub struct Audit {
    redaction: Redaction,
    log: Log,
    /// The last line of the host that has text, as far as a terminal shows it.
    prompt: Vec<u8>,
    /// It has ended, and there is none on the next one yet: GRUB asks for a password on a line of its own.
    has_ended: bool,
    plain: Plain,
    line: Option<Line>,
}

impl Audit {
    /// One that has seen nothing.
    #[must_use]
    pub fn new(redaction: Redaction) -> Self {
        let log = Log::new(AUDIT_RATE);
        Self { redaction, log, prompt: Vec::new(), has_ended: false, plain: Plain::default(), line: None }
    }

    /// The host printed something: it may be a prompt.
    pub fn printed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match self.plain.keep(*byte) {
                None => {}
                Some(b'\n' | b'\r') => self.has_ended = true,
                // What was printed to be taken back is no part of a prompt: systemd's hint beside it, stars for keys.
                Some(0x08) if !self.has_ended => back(&mut self.prompt),
                Some(b' ') if self.has_ended => {}
                // A bell, and the like.
                Some(byte) if byte.is_ascii_control() => {}
                Some(byte) => {
                    if std::mem::take(&mut self.has_ended) {
                        self.prompt.clear();
                    }
                    if self.prompt.len() >= PROMPT_MAX {
                        // Its end is what says what it is.
                        self.prompt.drain(..PROMPT_MAX / 2);
                    }
                    self.prompt.push(byte);
                }
            }
        }
    }

    /// A session typed this, at `now`, which the wall clock calls `wall` (milliseconds since 1970); whether lines ended.
    pub fn typed(
        &mut self,
        by: SessionId,
        [account, address]: [&str; 2],
        bytes: &[u8],
        now: Mono,
        wall: i64,
    ) -> bool {
        let mut has_ended = self.line.as_ref().is_some_and(|line| line.by != by) && self.end(now);
        let prompt = String::from_utf8_lossy(&self.prompt).into_owned();
        let is_secret = self.redaction.prompts.iter().any(|pattern| pattern.is_match(&prompt));
        if let Some(line) = &mut self.line {
            line.is_secret |= is_secret;
        }
        for byte in bytes {
            if matches!(byte, b'\r' | b'\n') {
                has_ended |= self.end(now);
                continue;
            }
            let line = self.line.get_or_insert_with(|| Line {
                by,
                who: format!("{account} {}", if address.is_empty() { "-" } else { address }),
                text: Vec::new(),
                beyond: 0,
                wall,
                is_secret,
            });
            if line.text.len() < LOOKED_AT {
                line.text.push(*byte);
            } else {
                line.beyond += 1;
            }
        }
        has_ended
    }

    /// Who typed leaves or gives the keyboard to another: its line has ended, too. Whether there was one.
    pub fn end(&mut self, now: Mono) -> bool {
        let Some(line) = self.line.take() else { return false };
        let mut text = if line.is_secret { REDACTED.to_owned() } else { self.redaction.apply(&line.text) };
        let mut beyond = line.beyond;
        if text.len() > LINE_MAX {
            let cut = text.floor_char_boundary(LINE_MAX);
            beyond += (text.len() - cut) as u64;
            text.truncate(cut);
        }
        if beyond > 0 && !line.is_secret {
            let _ = write!(text, "[{beyond} bytes more]");
        }
        self.log.put(format!("{} {text}", line.who).as_bytes(), now, line.wall);
        true
    }

    /// As [`Log::due`].
    #[must_use]
    pub fn due(&self) -> Option<Mono> {
        self.log.due()
    }

    /// As [`Log::take`].
    pub fn take(&mut self, now: Mono) -> Option<Batch> {
        self.log.take(now)
    }

    /// As [`Log::finish`]: what has not ended is kept as well.
    pub fn finish(&mut self, now: Mono) -> Option<Batch> {
        self.end(now);
        self.log.finish(now)
    }
}

/// What was typed, by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditLine {
    /// The account; empty for what the controller says itself, as that lines are missing.
    pub account: String,
    /// Where it came from; empty where that is not known.
    pub address: String,
    /// What was typed.
    pub text: String,
}

impl AuditLine {
    /// Reads the text of a line of the file.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let words = text.split_once(' ').and_then(|(account, rest)| Some((account, rest.split_once(' ')?)));
        match words {
            // No account begins with a bracket.
            Some((account, (address, text))) if !account.starts_with('[') => Self {
                account: account.to_owned(),
                address: if address == "-" { String::new() } else { address.to_owned() },
                text: text.to_owned(),
            },
            _ => Self { account: String::new(), address: String::new(), text: text.to_owned() },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::parse_line;

    const ANN: [&str; 2] = ["ann", "192.0.2.7"];

    fn audit() -> Audit {
        let prompts = ["(?i)password[^:]*: *$".to_owned()];
        let patterns = [r"(?i)(token[= ])\S+".to_owned(), "hunter2".to_owned()];
        Audit::new(Redaction::new(&prompts, &patterns).unwrap())
    }

    fn lines(audit: &mut Audit) -> Vec<AuditLine> {
        let Some(batch) = audit.finish(Mono::ZERO) else { return Vec::new() };
        let text = String::from_utf8(batch.bytes).unwrap();
        text.lines().map(|line| AuditLine::parse(&parse_line(line.as_bytes()).unwrap().text)).collect()
    }

    fn texts(audit: &mut Audit) -> Vec<String> {
        lines(audit).into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn lines_are_kept_with_who_typed_them_also_those_that_another_ended() {
        let mut audit = audit();
        assert!(!audit.typed(1, ANN, b"id", Mono::ZERO, 0));
        assert!(audit.typed(1, ANN, b"\r\n\r", Mono::ZERO, 0));
        assert!(!audit.typed(1, ANN, b"half", Mono::ZERO, 0));
        assert!(audit.typed(2, ["bob", ""], b"ls\x1b[A\xff\r", Mono::ZERO, 0));
        assert!(!audit.typed(2, ["bob", ""], b"rest", Mono::ZERO, 0));
        let found = lines(&mut audit);
        let shown: Vec<_> =
            found.iter().map(|line| [line.account.as_str(), &line.address, &line.text]).collect();
        assert_eq!(
            shown,
            [
                ["ann", "192.0.2.7", "id"],
                ["ann", "192.0.2.7", "half"],
                ["bob", "", "ls\\x1b[A\u{fffd}"],
                ["bob", "", "rest"]
            ]
        );
    }

    #[test]
    fn what_answers_a_prompt_for_a_secret_is_not_kept_and_neither_is_its_length() {
        let mut audit = audit();
        audit.printed(b"\r\nlogin: ");
        audit.typed(1, ANN, b"root\r", Mono::ZERO, 0);
        audit.printed(b"root\r\n\x1b[1mPassword: \x1b[0m");
        for key in b"secret\r" {
            audit.typed(1, ANN, &[*key], Mono::ZERO, 0);
        }
        audit.printed(b"\r\n# ");
        audit.typed(1, ANN, b"whoami\r", Mono::ZERO, 0);
        // A prompt that comes while its answer is typed already.
        audit.typed(1, ANN, b"sec", Mono::ZERO, 0);
        audit.printed(b"\r\nEnter password for disk: ");
        audit.typed(1, ANN, b"ret\r", Mono::ZERO, 0);
        // And one that comes when only Enter is missing.
        audit.printed(b"\r\n# ");
        audit.typed(1, ANN, b"secret", Mono::ZERO, 0);
        audit.printed(b"\r\nPassword: ");
        audit.typed(1, ANN, b"\r", Mono::ZERO, 0);
        assert_eq!(texts(&mut audit), ["root", REDACTED, "whoami", REDACTED, REDACTED]);
    }

    #[test]
    fn a_prompt_is_what_a_terminal_shows_of_it_and_stays_while_the_next_line_is_empty() {
        let mut audit = audit();
        audit.printed(b"\r\nPassword: (hint) ");
        audit.printed(&[&[0x08_u8; 7][..], &[b' '; 7], &[0x08; 7]].concat());
        audit.typed(1, ANN, b"secret\r", Mono::ZERO, 0);
        audit.printed("\r\nPassword: \u{2022}\x08\x07".as_bytes());
        audit.typed(1, ANN, b"secret\r", Mono::ZERO, 0);
        audit.printed(b"\r\nEnter password: \r\n\x1b[2K ");
        audit.typed(1, ANN, b"secret\r", Mono::ZERO, 0);
        audit.printed(b"\r\ngrub> ");
        audit.typed(1, ANN, b"ls\r", Mono::ZERO, 0);
        audit.printed(&[0x08_u8; PROMPT_MAX * 2]);
        audit.typed(1, ANN, b"boot\r", Mono::ZERO, 0);
        assert_eq!(texts(&mut audit), [REDACTED, REDACTED, REDACTED, "ls", "boot"]);
    }

    #[test]
    fn patterns_take_what_matches_also_where_it_was_mistyped() {
        let mut audit = audit();
        audit.typed(1, ANN, b"curl -H token=abc.def x\r", Mono::ZERO, 0);
        audit.typed(1, ANN, b"echo hunter2 | login hunter2\r", Mono::ZERO, 0);
        audit.typed(1, ANN, b"echo hunx\x7fter2\r", Mono::ZERO, 0);
        audit.typed(1, ANN, b"rm x\x15echo hunter2\r", Mono::ZERO, 0);
        audit.typed(1, ANN, b"lx\x7fs\r", Mono::ZERO, 0);
        assert_eq!(
            texts(&mut audit),
            [
                "curl -H token=[redacted] x",
                "echo [redacted] | login [redacted]",
                REDACTED,
                REDACTED,
                "lx\\x7fs"
            ]
        );
    }

    #[test]
    fn a_long_line_is_cut_after_it_was_looked_at() {
        let mut audit = audit();
        let long = [&vec![b'x'; LINE_MAX - 3][..], b"hunter2", &[b'y'; 1000]].concat();
        audit.typed(1, ANN, &long, Mono::ZERO, 0);
        let text = texts(&mut audit).remove(0);
        assert!(text.starts_with("xxx") && text.ends_with(" bytes more]") && !text.contains("hun"), "{text}");
        assert!(text.len() < LINE_MAX + 40);
    }

    #[test]
    fn what_is_missing_is_said_by_nobody() {
        let said = AuditLine::parse("[3 lines were lost: the medium did not take them]");
        assert_eq!((said.account.as_str(), said.text.len()), ("", 49));
        assert_eq!(AuditLine::parse("ann").text, "ann");
    }

    #[test]
    fn patterns_that_are_none_are_refused_with_the_reason() {
        let refused = |pattern: &str| Redaction::new(&[], &[pattern.to_owned()]).unwrap_err();
        assert!(refused("(").contains("is none"));
        assert!(refused("").contains("1 to 256"));
        assert!(refused("(a{1000}){1000}").contains("is none"));
        let many = vec!["a".to_owned(); PATTERNS_MAX + 1];
        assert!(Redaction::new(&many, &[]).unwrap_err().contains("too many"));
    }

    proptest! {
        #[test]
        fn nothing_of_an_answer_to_a_prompt_is_kept_however_it_comes(
            pieces in proptest::collection::vec("[a-z]{1,20}", 1..8),
        ) {
            let mut audit = audit();
            audit.printed(b"Password: ");
            for piece in &pieces {
                audit.typed(1, ANN, piece.to_uppercase().as_bytes(), Mono::ZERO, 0);
            }
            audit.typed(1, ANN, b"\r", Mono::ZERO, 0);
            prop_assert_eq!(texts(&mut audit), [REDACTED]);
        }

        #[test]
        fn whatever_is_typed_is_bounded(bytes in proptest::collection::vec(any::<u8>(), 0..6000)) {
            let mut audit = audit();
            audit.typed(1, ANN, &bytes, Mono::ZERO, 0);
            audit.printed(&bytes);
            prop_assert!(audit.prompt.len() <= PROMPT_MAX);
            prop_assert!(audit.line.as_ref().is_none_or(|line| line.text.len() <= LOOKED_AT));
            for line in lines(&mut audit) {
                prop_assert!(line.text.len() <= 4 * LINE_MAX + 100);
            }
        }
    }
}
