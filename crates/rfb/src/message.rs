//! What a viewer sends once the session is open (RFC 6143, 7.5; rfbproto, "Client to Server Messages").

use crate::bytes::Bytes;
use crate::format::PixelFormat;
use crate::screen::Rect;
use crate::violation::Violation;

/// Encodings a viewer may name: there are some hundred in the registry.
pub const ENCODINGS_MAX: usize = 1024;
/// Bytes of text a viewer may put into the clipboard: what is longer is passed over.
pub const CUT_TEXT_MAX: usize = 64 * 1024;
/// Bytes of a fence's payload (rfbproto, "ClientFence").
pub const FENCE_MAX: usize = 64;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientMessage {
    /// How pixels are to come.
    SetPixelFormat(PixelFormat),
    /// Which encodings it takes, the best first.
    SetEncodings(Vec<i32>),
    /// It wants an update.
    UpdateRequest {
        /// Only what changed.
        incremental: bool,
        /// Of this part.
        region: Rect,
    },
    /// A key.
    Key {
        /// Pressed or released.
        down: bool,
        /// What is on it, as X has it.
        keysym: u32,
        /// Which it is: number of the XT keyboard's set, `0xe0` as bit 7 (rfbproto, "QEMU Extended Key Event Message").
        code: Option<u32>,
    },
    /// The pointer.
    Pointer {
        /// A bit for each button that is down, the left one first; four to seven are the wheel.
        buttons: u8,
        /// Pixels from the left.
        x: u16,
        /// Pixels from the top.
        y: u16,
    },
    /// Text of the clipboard, Latin-1.
    CutText(Vec<u8>),
    /// Updates without being asked for, or not any more.
    ContinuousUpdates {
        /// Whether.
        enable: bool,
        /// Of this part.
        region: Rect,
    },
    /// A mark.
    Fence {
        /// Whether it is to come back, and how it is to be kept in order.
        flags: u32,
        /// What is in it.
        payload: Vec<u8>,
    },
    /// It wants another size.
    SetDesktopSize,
    /// So much text that it is passed over: bytes that follow.
    TooMuchText(usize),
}

fn rect(bytes: &mut Bytes<'_>) -> Option<Rect> {
    Some(Rect { x: bytes.u16()?, y: bytes.u16()?, width: bytes.u16()?, height: bytes.u16()? })
}

impl ClientMessage {
    /// The first message, and how many bytes it took; `None`: not all of it is there.
    ///
    /// # Errors
    /// [`Violation`]: nothing that follows could be understood.
    pub fn parse(input: &[u8]) -> Result<Option<(Self, usize)>, Violation> {
        let mut bytes = Bytes(input);
        let Some(kind) = bytes.u8() else { return Ok(None) };
        let message = match kind {
            0 => match bytes.take(3) {
                Some(_) => PixelFormat::parse(&mut bytes)?.map(Self::SetPixelFormat),
                None => None,
            },
            2 => Self::encodings(&mut bytes)?,
            3 => Self::request(&mut bytes),
            4 => Self::key(&mut bytes),
            5 => Self::pointer(&mut bytes),
            6 => Self::cut_text(&mut bytes),
            150 => Self::continuous(&mut bytes),
            248 => Self::fence(&mut bytes)?,
            251 => Self::desktop_size(&mut bytes),
            255 => Self::extended_key(&mut bytes)?,
            other => return Err(Violation::Unknown(other)),
        };
        Ok(message.map(|message| (message, input.len() - bytes.0.len())))
    }

    fn encodings(bytes: &mut Bytes<'_>) -> Result<Option<Self>, Violation> {
        let Some(count) = bytes.take(1).and_then(|_| bytes.u16()) else { return Ok(None) };
        if usize::from(count) > ENCODINGS_MAX {
            return Err(Violation::TooLong);
        }
        let Some(mut listed) = bytes.take(usize::from(count) * 4).map(Bytes) else { return Ok(None) };
        Ok(Some(Self::SetEncodings(std::iter::from_fn(|| listed.i32()).collect())))
    }

    fn request(bytes: &mut Bytes<'_>) -> Option<Self> {
        Some(Self::UpdateRequest { incremental: bytes.u8()? != 0, region: rect(bytes)? })
    }

    fn key(bytes: &mut Bytes<'_>) -> Option<Self> {
        let down = bytes.u8()? != 0;
        bytes.take(2)?;
        Some(Self::Key { down, keysym: bytes.u32()?, code: None })
    }

    fn pointer(bytes: &mut Bytes<'_>) -> Option<Self> {
        Some(Self::Pointer { buttons: bytes.u8()?, x: bytes.u16()?, y: bytes.u16()? })
    }

    fn cut_text(bytes: &mut Bytes<'_>) -> Option<Self> {
        bytes.take(3)?;
        let length = usize::try_from(bytes.u32()?).unwrap_or(usize::MAX);
        if length > CUT_TEXT_MAX {
            return Some(Self::TooMuchText(length));
        }
        Some(Self::CutText(bytes.take(length)?.to_vec()))
    }

    fn continuous(bytes: &mut Bytes<'_>) -> Option<Self> {
        Some(Self::ContinuousUpdates { enable: bytes.u8()? != 0, region: rect(bytes)? })
    }

    fn fence(bytes: &mut Bytes<'_>) -> Result<Option<Self>, Violation> {
        let head = bytes.take(3).and_then(|_| Some((bytes.u32()?, bytes.u8()?)));
        let Some((flags, length)) = head else { return Ok(None) };
        if usize::from(length) > FENCE_MAX {
            return Err(Violation::TooLong);
        }
        let payload = bytes.take(usize::from(length));
        Ok(payload.map(|payload| Self::Fence { flags, payload: payload.to_vec() }))
    }

    fn desktop_size(bytes: &mut Bytes<'_>) -> Option<Self> {
        bytes.take(5)?;
        let screens = bytes.u8()?;
        bytes.take(1 + 16 * usize::from(screens))?;
        Some(Self::SetDesktopSize)
    }

    fn extended_key(bytes: &mut Bytes<'_>) -> Result<Option<Self>, Violation> {
        match bytes.u8() {
            None => return Ok(None),
            Some(0) => {}
            // Audio, which is not offered.
            Some(_) => return Err(Violation::Unknown(255)),
        }
        let read = |bytes: &mut Bytes<'_>| {
            let down = bytes.u16()? != 0;
            Some(Self::Key { down, keysym: bytes.u32()?, code: Some(bytes.u32()?) })
        };
        Ok(read(bytes))
    }
}
