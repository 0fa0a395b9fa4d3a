//! What is meant for the program and not for the host, on a terminal: as ssh(1) has it, after a new line.

/// What may be typed after a new line.
pub const HELP: &str = "\r\n\
    ~.  end the session\r\n\
    ~b  send a break\r\n\
    ~t  take over the keyboard\r\n\
    ~r  release the keyboard\r\n\
    ~?  this\r\n\
    ~~  a tilde\r\n";

/// What somebody wants of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    /// End the session.
    End,
    /// Send a break.
    Break,
    /// Take the keyboard from who has it.
    TakeOver,
    /// Give it back.
    Release,
    /// Say what there is.
    Help,
}

/// What came of a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// It is for the host.
    Send(u8),
    /// These two are: a tilde was held back, and none of ours followed.
    SendTilde(u8),
    /// It is held back.
    Held,
    /// It is for the program.
    Command(Escape),
}

/// Finds escapes in what is typed, byte by byte.
#[derive(Clone, Copy, Debug)]
pub struct Escapes {
    /// The byte before was the end of a line, or there was none.
    fresh: bool,
    held: bool,
}

impl Default for Escapes {
    fn default() -> Self {
        Self { fresh: true, held: false }
    }
}

impl Escapes {
    /// Looks at a byte.
    pub fn key(&mut self, byte: u8) -> Key {
        if std::mem::take(&mut self.held) {
            let command = match byte {
                b'.' => Escape::End,
                b'b' | b'B' => Escape::Break,
                b't' => Escape::TakeOver,
                b'r' => Escape::Release,
                b'?' => Escape::Help,
                b'~' => {
                    self.fresh = false;
                    return Key::Send(b'~');
                }
                _ => {
                    self.fresh = byte == b'\r' || byte == b'\n';
                    return Key::SendTilde(byte);
                }
            };
            // As after a new line: ~t and then ~. needs no key between.
            self.fresh = true;
            return Key::Command(command);
        }
        if self.fresh && byte == b'~' {
            self.held = true;
            return Key::Held;
        }
        self.fresh = byte == b'\r' || byte == b'\n';
        Key::Send(byte)
    }
}
