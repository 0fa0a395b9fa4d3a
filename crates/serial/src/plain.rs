//! The text in what a terminal is sent, for a log: without the sequences that move its cursor and colour it.

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// After ESC and an intermediate byte: one more follows.
    Designate,
    /// In a control sequence: until a byte from `@` to `~` (ECMA-48, 5.4).
    Control,
    /// In a string: until BEL or ESC \ (ECMA-48, 5.6).
    Text7,
    /// In a string, after ESC.
    TextEscape,
}

/// Leaves out control sequences, wherever the input is cut. Holds no bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain {
    state: State,
}

impl Plain {
    /// The byte, unless it belongs to a sequence.
    pub fn keep(&mut self, byte: u8) -> Option<u8> {
        const ESC: u8 = 0x1b;
        const BEL: u8 = 0x07;
        let (next, kept) = match (self.state, byte) {
            // A line that ends ends every sequence: one that was cut off must not swallow the rest of the log.
            (_, b'\n' | b'\r') => (State::Text, true),
            (State::TextEscape, b'\\') => (State::Text, false),
            (_, ESC) if self.state == State::Text7 => (State::TextEscape, false),
            (_, ESC) => (State::Escape, false),
            (State::Text, _) => (State::Text, true),
            (State::Escape | State::TextEscape, b'[') => (State::Control, false),
            // OSC, DCS, SOS, PM, APC.
            (State::Escape | State::TextEscape, b']' | b'P' | b'X' | b'^' | b'_') => (State::Text7, false),
            (State::Escape, b' '..=b'/') => (State::Designate, false),
            (State::Control, b' '..=b'?') => (State::Control, false),
            (State::Text7, BEL) => (State::Text, false),
            (State::Text7, _) => (State::Text7, false),
            (State::Escape | State::TextEscape | State::Designate | State::Control, _) => {
                (State::Text, false)
            }
        };
        self.state = next;
        kept.then_some(byte)
    }
}
