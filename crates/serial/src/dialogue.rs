//! A session for somebody who has a terminal and nothing beside it: what the daemon tells becomes lines between those of the host, and what
//! has to be asked is asked there.
//!
//! The keyboard is taken over only by who asks for that. Where somebody types who has not got it, the next key answers a question; it does not
//! reach the host.

use crate::frame::{Command, Notice};

/// What is to be done with what somebody typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// It is for the host.
    Type,
    /// It asks the daemon for this.
    Ask(Command),
    /// It was an answer, and nothing follows from it but this line.
    Say(String),
}

/// One session's talk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dialogue {
    /// Whether somebody reads and types there, or a program.
    on_terminal: bool,
    /// A question is open: the next key answers it.
    asking: bool,
    /// Keyboard of another, which this session may take over.
    other: Option<String>,
    /// The keyboard was asked for here.
    wanted: bool,
    writes: bool,
    is_open: Option<bool>,
    /// What was refused last is not said again for each key.
    refused: Option<String>,
}

impl Dialogue {
    /// On a terminal, or for a program, which is asked nothing. `take_over`: the keyboard was asked for already.
    #[must_use]
    pub fn new(on_terminal: bool, take_over: bool) -> Self {
        Self { on_terminal, wanted: take_over, ..Self::default() }
    }

    /// Somebody typed this.
    pub fn typed(&mut self, bytes: &[u8]) -> Deed {
        if !std::mem::take(&mut self.asking) {
            return Deed::Type;
        }
        // One key alone: what is pasted, or was typed ahead, is no answer.
        if matches!(bytes, [b'y' | b'Y']) {
            self.wanted = true;
            return Deed::Ask(Command::TakeOver);
        }
        let other = self.other.as_deref().unwrap_or_default();
        Deed::Say(format!("{other} keeps the keyboard"))
    }

    /// The daemon tells something; the lines to show for it.
    pub fn told(&mut self, notice: &Notice) -> Vec<String> {
        match notice {
            Notice::State { console, writer, you_write, may_write, connected, .. } => {
                let mut lines = Vec::new();
                let is_first = self.is_open.is_none();
                if self.is_open != Some(*connected) {
                    self.is_open = Some(*connected);
                    if !*connected {
                        lines.push(format!("the port of {console} is not open"));
                    } else if !is_first {
                        lines.push(format!("the port of {console} is open"));
                    }
                }
                let other = Some(writer).filter(|writer| !you_write && !writer.is_empty());
                if is_first && let Some(other) = other {
                    lines.push(format!("{other} has the keyboard"));
                }
                if *you_write && !self.writes && std::mem::take(&mut self.wanted) {
                    lines.push("the keyboard is yours".to_owned());
                }
                self.writes = *you_write;
                let other = other.filter(|_| *may_write).cloned();
                if self.other != other {
                    self.refused = None;
                    // What was asked was about somebody else.
                    self.asking = false;
                }
                self.other = other;
                lines
            }
            Notice::Begin { .. } | Notice::Pong { .. } => Vec::new(),
            Notice::TakenOver { by } => vec![format!("{by} took over the keyboard")],
            Notice::Lost { bytes } => {
                vec![format!("{bytes} bytes are lost here: they came faster than they were shown")]
            }
            Notice::Refused { reason } => self.refused(reason),
            Notice::End { reason } => vec![reason.clone()],
        }
    }

    fn refused(&mut self, reason: &str) -> Vec<String> {
        self.wanted = false;
        match &self.other {
            Some(other) if self.on_terminal => {
                if std::mem::replace(&mut self.asking, true) {
                    return Vec::new();
                }
                vec![format!("{other} has the keyboard: press y to take it over, another key to leave it")]
            }
            _ if self.refused.as_deref() == Some(reason) => Vec::new(),
            _ => {
                self.refused = Some(reason.to_owned());
                vec![reason.to_owned()]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(writer: &str, you_write: bool, may_write: bool) -> Notice {
        Notice::State {
            console: "system".to_owned(),
            writer: writer.to_owned(),
            you_write,
            may_write,
            sessions: 2,
            connected: true,
        }
    }

    fn refused(reason: &str) -> Notice {
        Notice::Refused { reason: reason.to_owned() }
    }

    #[test]
    fn a_keyboard_of_another_is_asked_for_and_taken_over_by_one_key_alone() {
        let mut talk = Dialogue::new(true, false);
        assert_eq!(talk.told(&state("bob", false, true)), ["bob has the keyboard"]);
        assert_eq!(talk.typed(b"l"), Deed::Type);
        let asked = talk.told(&refused("bob has the keyboard: take it over first"));
        assert!(asked[0].contains("press y"), "{asked:?}");
        // What was on its way is refused as well, and asks nothing more.
        assert!(talk.told(&refused("bob has the keyboard: take it over first")).is_empty());
        for answer in [&b"yes\n"[..], b"n", b"\r", b""] {
            talk.asking = true;
            assert_eq!(talk.typed(answer), Deed::Say("bob keeps the keyboard".to_owned()), "{answer:?}");
        }
        talk.asking = true;
        assert_eq!(talk.typed(b"y"), Deed::Ask(Command::TakeOver));
        assert_eq!(talk.told(&state("ann", true, true)), ["the keyboard is yours"]);
        assert_eq!(talk.typed(b"y"), Deed::Type, "nothing is asked any more");
        let taken = talk.told(&Notice::TakenOver { by: "bob".to_owned() });
        assert_eq!(taken, ["bob took over the keyboard"]);
        assert!(talk.told(&state("bob", false, true)).is_empty());
    }

    #[test]
    fn a_question_ends_with_what_it_was_about() {
        let mut talk = Dialogue::new(true, false);
        talk.told(&state("bob", false, true));
        talk.told(&refused("busy"));
        talk.told(&state("", false, true));
        assert_eq!(talk.typed(b"y"), Deed::Type, "the keyboard is free");
        talk.told(&state("bob", false, true));
        talk.told(&refused("busy"));
        talk.told(&state("carol", false, true));
        assert_eq!(talk.typed(b"y"), Deed::Type, "carol was not asked about");
    }

    #[test]
    fn a_program_and_who_only_looks_are_asked_nothing_and_told_once() {
        for (on_terminal, may_write) in [(false, true), (true, false)] {
            let mut talk = Dialogue::new(on_terminal, false);
            talk.told(&state("bob", false, may_write));
            assert_eq!(talk.told(&refused("no")), ["no"]);
            assert!(talk.told(&refused("no")).is_empty());
            assert_eq!(talk.told(&refused("not that either")), ["not that either"]);
            assert_eq!(talk.typed(b"y"), Deed::Type);
        }
    }

    #[test]
    fn who_asked_for_the_keyboard_at_once_is_told_that_it_is_his_and_who_has_it_by_typing_is_not() {
        assert_eq!(Dialogue::new(true, true).told(&state("ann", true, true)), ["the keyboard is yours"]);
        assert!(Dialogue::new(true, false).told(&state("ann", true, true)).is_empty());
    }

    #[test]
    fn a_port_that_is_not_open_is_told_and_that_it_is_open_again() {
        let mut talk = Dialogue::new(true, false);
        let open = |connected| Notice::State {
            console: "system".to_owned(),
            writer: String::new(),
            you_write: false,
            may_write: true,
            sessions: 1,
            connected,
        };
        assert_eq!(talk.told(&open(false)), ["the port of system is not open"]);
        assert!(talk.told(&open(false)).is_empty());
        assert_eq!(talk.told(&open(true)), ["the port of system is open"]);
        assert!(talk.told(&open(true)).is_empty());
        assert!(talk.told(&Notice::Lost { bytes: 7 })[0].starts_with("7 bytes"));
        assert_eq!(talk.told(&Notice::End { reason: "over".to_owned() }), ["over"]);
    }
}
