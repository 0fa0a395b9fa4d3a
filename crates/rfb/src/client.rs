//! The other end, as far as QEMU's VNC server needs it: pixels as they are, into a [`Screen`].

use crate::bytes::Bytes;
use crate::encoding;
use crate::format::{NATIVE, PixelFormat};
use crate::input::Input;
use crate::screen::{Rect, Screen, Unshown};
use crate::violation::Violation;

/// Bytes of a name, or of text for the clipboard, that are passed over; more is no server.
const TEXT_MAX: usize = 1024 * 1024;
/// Kinds of security a server may offer.
const SECURITY_NONE: u8 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Version,
    Security,
    Result,
    Init,
    /// Between messages.
    Open,
    /// In an update: rectangles that follow.
    Update(u16),
    /// In a rectangle of an update: the rows of it that follow, and the rectangles after it.
    Rows(Rect, u16),
}

/// A connection to a server.
#[derive(Debug)]
pub struct Client {
    stage: Stage,
    input: Vec<u8>,
    skip: usize,
    output: Vec<u8>,
    size: (u16, u16),
    /// Keys by their number are understood.
    extended_key: bool,
    updates: u64,
    row: Vec<u32>,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            stage: Stage::Version,
            input: Vec::new(),
            skip: 0,
            output: Vec::new(),
            size: (0, 0),
            extended_key: false,
            updates: 0,
            row: Vec::new(),
        }
    }
}

impl Client {
    /// What is to be sent, which is forgotten here.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Updates that have come whole. The next comes after [`Client::request`].
    #[must_use]
    pub const fn updates(&self) -> u64 {
        self.updates
    }

    /// Asks for what changed since the last update, once the session is open.
    pub fn request(&mut self) {
        if self.is_open() {
            self.ask(true);
        }
    }

    fn ask(&mut self, incremental: bool) {
        self.output.extend([3, u8::from(incremental), 0, 0, 0, 0]);
        self.output.extend(self.size.0.to_be_bytes());
        self.output.extend(self.size.1.to_be_bytes());
    }

    /// Types or points, once the session is open.
    pub fn input(&mut self, input: Input) {
        match input {
            _ if !self.is_open() => {}
            Input::Key { down, keysym, code: Some(code) } if self.extended_key => {
                self.output.extend([255, 0, 0, u8::from(down)]);
                self.output.extend(keysym.to_be_bytes());
                self.output.extend(code.to_be_bytes());
            }
            Input::Key { down, keysym, .. } => {
                self.output.extend([4, u8::from(down), 0, 0]);
                self.output.extend(keysym.to_be_bytes());
            }
            Input::Pointer { buttons, x, y } => {
                self.output.extend([5, buttons]);
                self.output.extend(x.to_be_bytes());
                self.output.extend(y.to_be_bytes());
            }
        }
    }

    /// Whether the session is open, so that input may be sent.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open | Stage::Update(_) | Stage::Rows(..))
    }

    /// Takes what came from the server, in pieces of any size, and draws it.
    ///
    /// # Errors
    /// [`Violation`]: the connection is of no use any more.
    pub fn receive(&mut self, bytes: &[u8], screen: &mut Screen) -> Result<(), Violation> {
        let passed = self.skip.min(bytes.len());
        self.skip -= passed;
        self.input.extend(bytes.get(passed..).unwrap_or_default());
        let input = std::mem::take(&mut self.input);
        let mut at = 0;
        loop {
            let rest = input.get(at..).unwrap_or_default();
            match self.step(rest, screen)? {
                Some(used) => at += used,
                None => break,
            }
        }
        // What is to be passed over may not have come yet.
        let over = at.saturating_sub(input.len());
        self.skip += over;
        self.input = input.get(at..).unwrap_or_default().to_vec();
        Ok(())
    }

    /// One step; how many bytes it took, which may be more than there are: these are to be passed over. `None`: more has to come.
    fn step(&mut self, input: &[u8], screen: &mut Screen) -> Result<Option<usize>, Violation> {
        let mut bytes = Bytes(input);
        let used = |bytes: Bytes<'_>| Some(input.len() - bytes.0.len());
        match self.stage {
            Stage::Version => {
                let Some(version) = bytes.take(12) else { return Ok(None) };
                if !version.starts_with(b"RFB 003.00") || version.get(10) < Some(&b'7') {
                    return Err(Violation::Version);
                }
                self.output.extend(b"RFB 003.008\n");
                self.stage = Stage::Security;
                Ok(used(bytes))
            }
            Stage::Security => {
                let Some(kinds) = bytes.u8() else { return Ok(None) };
                let Some(kinds) = bytes.take(usize::from(kinds)) else { return Ok(None) };
                if !kinds.contains(&SECURITY_NONE) {
                    return Err(Violation::Security);
                }
                self.output.push(SECURITY_NONE);
                self.stage = Stage::Result;
                Ok(used(bytes))
            }
            Stage::Result => match bytes.u32() {
                None => Ok(None),
                Some(0) => {
                    // Others may stay.
                    self.output.push(1);
                    self.stage = Stage::Init;
                    Ok(used(bytes))
                }
                Some(_) => Err(Violation::Security),
            },
            Stage::Init => {
                let (Some(width), Some(height)) = (bytes.u16(), bytes.u16()) else { return Ok(None) };
                let name = bytes.take(PixelFormat::LENGTH).and_then(|_| bytes.u32());
                let Some(name) = name else { return Ok(None) };
                let name = usize::try_from(name).ok().filter(|name| *name <= TEXT_MAX);
                let name = name.ok_or(Violation::TooLong)?;
                self.resize(width, height, screen)?;
                self.begin();
                self.stage = Stage::Open;
                Ok(used(bytes).map(|used| used + name))
            }
            Stage::Open => self.message(bytes, input.len()),
            Stage::Update(0) => {
                self.updates += 1;
                self.stage = Stage::Open;
                Ok(Some(0))
            }
            Stage::Update(left) => {
                let (Some(x), Some(y), Some(width), Some(height)) =
                    (bytes.u16(), bytes.u16(), bytes.u16(), bytes.u16())
                else {
                    return Ok(None);
                };
                let Some(encoding) = bytes.i32() else { return Ok(None) };
                let at = Rect { x, y, width, height };
                let mut left = left - 1;
                match encoding {
                    encoding::RAW => {
                        if at.and(Rect::all(self.size.0, self.size.1)) != at {
                            return Err(Violation::Size);
                        }
                        if !at.is_empty() {
                            self.stage = Stage::Rows(at, left);
                            return Ok(used(bytes));
                        }
                    }
                    encoding::DESKTOP_SIZE => {
                        self.resize(width, height, screen)?;
                        // What is there of the old size is of no use.
                        self.ask(false);
                    }
                    encoding::QEMU_EXTENDED_KEY => self.extended_key = true,
                    encoding::LAST_RECT => left = 0,
                    other => return Err(Violation::Encoding(other)),
                }
                self.stage = Stage::Update(left);
                Ok(used(bytes))
            }
            Stage::Rows(at, left) => {
                let Some(pixels) = bytes.take(usize::from(at.width) * 4) else { return Ok(None) };
                self.row.clear();
                let (chunks, _) = pixels.as_chunks::<4>();
                self.row.extend(chunks.iter().map(|pixel| u32::from_le_bytes(*pixel) & 0x00ff_ffff));
                screen.draw(Rect { height: 1, ..at }, &self.row);
                self.stage = if at.height == 1 {
                    Stage::Update(left)
                } else {
                    Stage::Rows(Rect { y: at.y + 1, height: at.height - 1, ..at }, left)
                };
                Ok(used(bytes))
            }
        }
    }

    fn message(&mut self, mut bytes: Bytes<'_>, all: usize) -> Result<Option<usize>, Violation> {
        match bytes.u8() {
            None => Ok(None),
            Some(0) => {
                let Some(count) = bytes.take(1).and_then(|_| bytes.u16()) else { return Ok(None) };
                self.stage = Stage::Update(count);
                Ok(Some(all - bytes.0.len()))
            }
            // A map of colours, which was not asked for.
            Some(1) => {
                let Some(count) = bytes.take(3).and_then(|_| bytes.u16()) else { return Ok(None) };
                Ok(Some(all - bytes.0.len() + 6 * usize::from(count)))
            }
            // Bell.
            Some(2) => Ok(Some(1)),
            Some(3) => {
                let Some(length) = bytes.take(3).and_then(|_| bytes.u32()) else { return Ok(None) };
                let length = usize::try_from(length).ok().filter(|length| *length <= TEXT_MAX);
                Ok(Some(all - bytes.0.len() + length.ok_or(Violation::TooLong)?))
            }
            Some(other) => Err(Violation::Unknown(other)),
        }
    }

    fn resize(&mut self, width: u16, height: u16, screen: &mut Screen) -> Result<(), Violation> {
        screen.resize(width, height).map_err(|unshown| match unshown {
            Unshown::TooLarge(..) => Violation::Size,
            Unshown::NoRoom(width, height) => Violation::NoRoom(width, height),
        })?;
        self.size = (width, height);
        Ok(())
    }

    /// Says what is wanted, and asks for all of the screen.
    fn begin(&mut self) {
        self.output.extend([0; 4]);
        NATIVE.write(&mut self.output);
        let wanted = [encoding::RAW, encoding::DESKTOP_SIZE, encoding::QEMU_EXTENDED_KEY];
        self.output.extend([2, 0]);
        self.output.extend(u16::try_from(wanted.len()).unwrap_or(0).to_be_bytes());
        for number in wanted {
            self.output.extend(number.to_be_bytes());
        }
        self.ask(false);
    }
}
