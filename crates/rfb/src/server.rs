//! One viewer's session (RFC 6143, 7; rfbproto): handshake, what it asked for, what it lacks, what is on its way to it.

use std::sync::Arc;

use crate::encode::{Deflater, TIGHT_WIDTH_MAX, head, jpeg_head, raw, tight, zrle};
use crate::encoding;
use crate::format::{NATIVE, PixelFormat};
use crate::input::Input;
use crate::message::ClientMessage;
use crate::screen::{Cursor, Rect, Screen, TILE};
use crate::violation::Violation;

/// What is made of an update at a time has no further rectangle once it has this many bytes: what is left comes with the next update, which the viewer has to
/// want; or, for who asks for each update and is told where one ends (LastRect), as the rest of the same one once this was taken. A rectangle is a row of
/// tiles, 1 MiB of pixels of four bytes at most.
pub const UPDATE_SOFT_MAX: usize = 256 * 1024;
/// As with [`UPDATE_SOFT_MAX`], in pixels: to compress them takes time, in which nothing else is done.
const PIXELS_SOFT_MAX: u32 = 512 * 1024;
/// Updates on their way to a viewer that gets them without asking for each.
const UNCONFIRMED_MAX: u8 = 2;
/// The only version (RFC 6143, 7.1.1); the older ones are spoken to as they can.
const VERSION: &[u8; 12] = b"RFB 003.008\n";
/// The kind of security "None": who comes has shown that he may.
const NONE: u8 = 1;
/// A fence is to be sent back (rfbproto, "ClientFence").
const FENCE_REQUEST: u32 = 1 << 31;
/// Those flags of a fence whose order is kept here, as one message is done after the other.
const FENCE_ORDER: u32 = 0b111;
/// What is in a fence of ours.
const FENCE_OURS: &[u8] = b"u";
/// Why a size is told, and with what result, to a viewer that wants another: it asked itself, and that is prohibited (rfbproto, "ExtendedDesktopSize").
const PROHIBITED: (u16, u16) = (1, 1);

/// Bytes to a viewer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Made for it.
    Own(Vec<u8>),
    /// A picture as the hardware compressed it, which all get.
    Shared(Arc<[u8]>),
}

impl Piece {
    /// These bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

/// What a viewer did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The session is open.
    Open,
    /// It typed or pointed.
    Input(Input),
    /// It put text into the clipboard, Latin-1.
    CutText(Vec<u8>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Version,
    /// The kind of security; whether its result is told.
    Security {
        with_result: bool,
    },
    Init,
    Open,
}

/// What the viewer takes.
#[derive(Clone, Copy, Debug, Default)]
struct Takes {
    tight: bool,
    zrle: bool,
    jpeg: bool,
    cursor: bool,
    desktop_size: bool,
    extended_desktop_size: bool,
    extended_key: bool,
    leds: bool,
    fence: bool,
    continuous: bool,
    last_rect: bool,
}

impl Takes {
    fn of(list: &[i32]) -> Self {
        let has = |number: i32| list.contains(&number);
        // The first that is had of those that carry pixels is what it likes best.
        let best =
            list.iter().find(|number| matches!(**number, encoding::RAW | encoding::TIGHT | encoding::ZRLE));
        let quality = encoding::JPEG_QUALITY_LOWEST..=encoding::JPEG_QUALITY_HIGHEST;
        Self {
            tight: best == Some(&encoding::TIGHT),
            zrle: best == Some(&encoding::ZRLE),
            jpeg: has(encoding::TIGHT) && list.iter().any(|number| quality.contains(number)),
            cursor: has(encoding::CURSOR),
            desktop_size: has(encoding::DESKTOP_SIZE),
            extended_desktop_size: has(encoding::EXTENDED_DESKTOP_SIZE),
            extended_key: has(encoding::QEMU_EXTENDED_KEY),
            leds: has(encoding::LED_STATE),
            fence: has(encoding::FENCE),
            continuous: has(encoding::CONTINUOUS_UPDATES),
            last_rect: has(encoding::LAST_RECT),
        }
    }
}

/// Which tiles a viewer lacks.
#[derive(Debug, Default)]
struct Damage {
    grid: (usize, usize),
    tiles: Vec<bool>,
    /// The screen's number at which it was looked at.
    seen: u64,
}

impl Damage {
    fn refresh(&mut self, screen: &Screen) {
        if self.grid != screen.grid() || self.tiles.len() != screen.tiles().len() {
            self.grid = screen.grid();
            self.tiles = vec![true; screen.tiles().len()];
        }
        for (tile, change) in self.tiles.iter_mut().zip(screen.tiles()) {
            *tile |= *change > self.seen;
        }
        self.seen = screen.changes();
    }

    /// The tiles of one row, with the parts of the screen they are.
    fn row(&mut self, row: usize) -> &mut [bool] {
        let columns = self.grid.0;
        self.tiles.get_mut(row * columns..(row + 1) * columns).unwrap_or_default()
    }

    /// All that is in a part is to come once more.
    fn add(&mut self, region: Rect) {
        let columns = self.grid.0.max(1);
        for (index, tile) in self.tiles.iter_mut().enumerate() {
            *tile |= !tile_rect(index % columns, index / columns, 1).and(region).is_empty();
        }
    }
}

/// An update whose end has not been told: the tiles from here on are yet to come in it.
#[derive(Clone, Copy, Debug)]
struct Begun {
    /// Of the screen it is of.
    grid: (usize, usize),
    row: usize,
    column: usize,
}

/// The part of the screen that tiles beside each other are.
fn tile_rect(column: usize, row: usize, count: usize) -> Rect {
    let pixels = |tiles: usize| u16::try_from(tiles * usize::from(TILE)).unwrap_or(u16::MAX);
    Rect { x: pixels(column), y: pixels(row), width: pixels(count), height: TILE }
}

/// One viewer. Bytes of it go in by [`Server::receive`], bytes to it come out by [`Server::take_output`]; updates are made by [`Server::update`] when they are
/// wanted and not before.
#[derive(Debug)]
pub struct Server {
    name: String,
    stage: Stage,
    input: Vec<u8>,
    /// Bytes of the viewer that are passed over.
    skip: usize,
    output: Vec<u8>,
    /// Pictures that belong into the output, before the byte of this number.
    pictures: Vec<(usize, Arc<[u8]>)>,
    format: PixelFormat,
    takes: Takes,
    /// What it was told that there is.
    told_fence: bool,
    told_continuous: bool,
    told_key: bool,
    damage: Damage,
    /// The row of tiles that the next update begins at: where one ended for want of room. Who asks for all of the picture each time would be shown the top of
    /// it for ever otherwise.
    next_row: usize,
    /// The size that it knows.
    size: (u16, u16),
    /// It has to be told of the size: why (rfbproto, "ExtendedDesktopSize"), and with what result.
    tell_size: Option<(u16, u16)>,
    cursor_seen: Option<u64>,
    leds_seen: u64,
    /// Its stream of ZRLE has begun.
    zrle_begun: bool,
    requested: Option<Rect>,
    /// The update that answers the request has begun, and has no end yet. Nothing else may come in between.
    begun: Option<Begun>,
    /// What was asked for since it began.
    requested_next: Option<Rect>,
    continuous: Option<Rect>,
    unconfirmed: u8,
}

impl Server {
    /// A viewer that has just come, of a screen with this name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            stage: Stage::Version,
            input: Vec::new(),
            skip: 0,
            output: VERSION.to_vec(),
            pictures: Vec::new(),
            format: NATIVE,
            takes: Takes::default(),
            told_fence: false,
            told_continuous: false,
            told_key: false,
            damage: Damage::default(),
            next_row: 0,
            size: (0, 0),
            tell_size: None,
            cursor_seen: None,
            leds_seen: 0,
            zrle_begun: false,
            requested: None,
            begun: None,
            requested_next: None,
            continuous: None,
            unconfirmed: 0,
        }
    }

    /// What is to be sent, which is forgotten here, in one piece: pictures that all share are copied.
    pub fn take_output(&mut self) -> Vec<u8> {
        let mut pieces = self.take_pieces().into_iter();
        let Some(Piece::Own(mut all)) = pieces.next() else { return Vec::new() };
        for piece in pieces {
            all.extend(piece.bytes());
        }
        all
    }

    /// What is to be sent, which is forgotten here. The first piece is the viewer's own.
    pub fn take_pieces(&mut self) -> Vec<Piece> {
        let mut rest = std::mem::take(&mut self.output);
        let mut pieces = Vec::new();
        // From the last one on, so that each cut leaves the numbers of those before as they are.
        for (at, picture) in std::mem::take(&mut self.pictures).into_iter().rev() {
            let after = rest.split_off(at.min(rest.len()));
            pieces.extend([Piece::Own(after), Piece::Shared(picture)]);
        }
        pieces.push(Piece::Own(rest));
        pieces.reverse();
        pieces.retain(|piece| !piece.bytes().is_empty());
        pieces
    }

    /// Bytes that are to be sent: with many of them nothing more should be read.
    #[must_use]
    pub const fn output_len(&self) -> usize {
        self.output.len()
    }

    /// Bytes of a message that has begun.
    #[must_use]
    pub const fn input_len(&self) -> usize {
        self.input.len()
    }

    /// Takes what came from the viewer, in pieces of any size; what it did is appended to `events`.
    ///
    /// # Errors
    /// [`Violation`]: the session is over. What is in the output may still be sent, as it says why.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        screen: &Screen,
        events: &mut Vec<Event>,
    ) -> Result<(), Violation> {
        let passed = self.skip.min(bytes.len());
        self.skip -= passed;
        self.input.extend(bytes.get(passed..).unwrap_or_default());
        let mut input = std::mem::take(&mut self.input);
        let mut at = 0;
        let result = loop {
            let rest = input.get(at..).unwrap_or_default();
            match self.step(rest, screen, events) {
                Ok(0) => break Ok(()),
                Ok(used) => at += used,
                Err(violation) => break Err(violation),
            }
        };
        input.drain(..at.min(input.len()));
        if input.is_empty() {
            // The room of a long text goes back.
            input = Vec::new();
        }
        self.input = input;
        result
    }

    /// Does what the first message says; how many bytes it took, none if not all of it is there.
    fn step(&mut self, input: &[u8], screen: &Screen, events: &mut Vec<Event>) -> Result<usize, Violation> {
        match self.stage {
            Stage::Version => {
                let Some(version) = input.first_chunk::<12>() else { return Ok(0) };
                let (is_old, with_result) = match version {
                    b"RFB 003.003\n" => (true, false),
                    b"RFB 003.007\n" => (false, false),
                    VERSION => (false, true),
                    _ => return Err(Violation::Version),
                };
                if is_old {
                    // RFC 6143, appendix A.1: the server chooses.
                    self.output.extend(u32::from(NONE).to_be_bytes());
                    self.stage = Stage::Init;
                } else {
                    self.output.extend([1, NONE]);
                    self.stage = Stage::Security { with_result };
                }
                Ok(version.len())
            }
            Stage::Security { with_result } => match input.first() {
                None => Ok(0),
                Some(&NONE) => {
                    if with_result {
                        self.output.extend(0_u32.to_be_bytes());
                    }
                    self.stage = Stage::Init;
                    Ok(1)
                }
                Some(_) => {
                    if with_result {
                        let reason = b"no such kind of security";
                        self.output.extend(1_u32.to_be_bytes());
                        self.output.extend(u32::try_from(reason.len()).unwrap_or(0).to_be_bytes());
                        self.output.extend(reason);
                    }
                    Err(Violation::Security)
                }
            },
            Stage::Init => {
                // Whether others may stay (7.3.1) is not up to it.
                if input.is_empty() {
                    return Ok(0);
                }
                self.size = screen.size();
                self.output.extend(self.size.0.to_be_bytes());
                self.output.extend(self.size.1.to_be_bytes());
                NATIVE.write(&mut self.output);
                self.output.extend(u32::try_from(self.name.len()).unwrap_or(0).to_be_bytes());
                self.output.extend(self.name.as_bytes());
                self.damage.refresh(screen);
                self.stage = Stage::Open;
                events.push(Event::Open);
                Ok(1)
            }
            Stage::Open => match ClientMessage::parse(input)? {
                None => Ok(0),
                Some((ClientMessage::TooMuchText(length), used)) => {
                    // What of it is here already is passed over at once.
                    let here = length.min(input.len() - used);
                    self.skip = length - here;
                    Ok(used + here)
                }
                Some((message, used)) => {
                    self.heard(message, screen, events);
                    Ok(used)
                }
            },
        }
    }

    fn heard(&mut self, message: ClientMessage, screen: &Screen, events: &mut Vec<Event>) {
        match message {
            ClientMessage::SetPixelFormat(format) => {
                self.end_update();
                self.format = format;
                self.cursor_seen = None;
            }
            ClientMessage::SetEncodings(list) => self.set_encodings(&list),
            ClientMessage::UpdateRequest { incremental, region } => {
                if !incremental {
                    self.damage.refresh(screen);
                    self.damage.add(region);
                    // rfbproto, "ExtendedDesktopSize": the size is told again to who asks for everything.
                    if self.takes.extended_desktop_size && self.tell_size.is_none() {
                        self.tell_size = Some((0, 0));
                    }
                }
                if self.begun.is_some() {
                    self.requested_next = Some(region);
                } else {
                    self.requested = Some(region);
                }
            }
            ClientMessage::Key { down, keysym, code } => {
                events.push(Event::Input(Input::Key { down, keysym, code }));
            }
            ClientMessage::Pointer { buttons, x, y } => {
                let (width, height) = self.size;
                let (x, y) = (x.min(width.saturating_sub(1)), y.min(height.saturating_sub(1)));
                events.push(Event::Input(Input::Pointer { buttons, x, y }));
            }
            ClientMessage::CutText(text) => events.push(Event::CutText(text)),
            ClientMessage::ContinuousUpdates { enable: true, region } if self.takes_continuous() => {
                self.end_update();
                self.continuous = Some(region);
            }
            ClientMessage::ContinuousUpdates { .. } => {
                if self.continuous.take().is_some() {
                    self.end_of_continuous_updates();
                }
            }
            ClientMessage::Fence { flags, payload } if flags & FENCE_REQUEST == 0 => {
                if payload == FENCE_OURS {
                    self.unconfirmed = self.unconfirmed.saturating_sub(1);
                }
            }
            ClientMessage::Fence { flags, payload } => self.fence(flags & FENCE_ORDER, &payload),
            ClientMessage::SetDesktopSize => self.tell_size = Some(PROHIBITED),
            // Dealt with where its bytes are.
            ClientMessage::TooMuchText(_) => {}
        }
    }

    fn set_encodings(&mut self, list: &[i32]) {
        self.end_update();
        self.takes = Takes::of(list);
        if self.takes.fence && !self.told_fence {
            self.told_fence = true;
            self.fence(FENCE_REQUEST, &[]);
        }
        if self.takes_continuous() && !self.told_continuous {
            self.told_continuous = true;
            // It says that there are such (rfbproto, "EndOfContinuousUpdates").
            self.end_of_continuous_updates();
        }
    }

    /// Without fences nothing would tell how much is on its way.
    const fn takes_continuous(&self) -> bool {
        self.takes.continuous && self.takes.fence
    }

    /// Tells the end of an update that has begun; what it lacks comes when it is wanted.
    fn end_update(&mut self) {
        if self.begun.take().is_some() {
            head(Rect::default(), encoding::LAST_RECT, &mut self.output);
            self.requested = self.requested_next.take();
        }
    }

    fn end_of_continuous_updates(&mut self) {
        self.end_update();
        self.output.push(150);
    }

    fn fence(&mut self, flags: u32, payload: &[u8]) {
        self.end_update();
        self.output.extend([248, 0, 0, 0]);
        self.output.extend(flags.to_be_bytes());
        self.output.push(u8::try_from(payload.len()).unwrap_or(0));
        self.output.extend(payload);
    }

    /// Whether the viewer waits for an update, and has taken those before.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.stage == Stage::Open
            && (self.requested.is_some() || (self.continuous.is_some() && self.unconfirmed < UNCONFIRMED_MAX))
    }

    /// Whether an update has begun whose end has not been told: what was put out of it is no whole picture.
    #[must_use]
    pub fn is_amid_update(&self) -> bool {
        self.begun.is_some()
    }

    /// Appends an update to the output if the viewer waits for one and something is other than it knows; whether it did.
    ///
    /// # Errors
    /// [`Violation::NeedsJpeg`]: this viewer cannot be shown what there is.
    pub fn update(&mut self, screen: &Screen, deflater: &mut Deflater) -> Result<bool, Violation> {
        if !self.is_waiting() {
            return Ok(false);
        }
        self.damage.refresh(screen);
        if let Some(begun) = self.begun {
            self.go_on(begun, screen, deflater)?;
            return Ok(true);
        }
        let start = self.output.len();
        self.output.extend([0, 0, 0, 0]);
        let mut count: u16 = 0;
        if self.size != screen.size() && (self.takes.desktop_size || self.takes.extended_desktop_size) {
            self.size = screen.size();
            // Whatever it asked for itself: of a refusal it would not take the size.
            self.tell_size = Some((0, 0));
        }
        if self.put_size() {
            // It stands alone: a viewer may throw away what it has, also where the size is the same.
            self.damage.tiles.fill(true);
            count = 1;
        } else {
            count += u16::from(self.put_extended_key());
            count += u16::from(self.put_cursor(screen));
            count += u16::from(self.put_leds(screen));
            let region = self.requested.or(self.continuous).unwrap_or_default();
            match self.put_pixels(screen, region, None, deflater) {
                Ok(pixels) => count = count.saturating_add(pixels),
                Err(violation) => {
                    self.output.truncate(start);
                    return Err(violation);
                }
            }
        }
        if count == 0 {
            self.output.truncate(start);
            return Ok(false);
        }
        if self.begun.is_some() {
            count = u16::MAX;
        }
        if let Some(place) = self.output.get_mut(start + 2..start + 4) {
            place.copy_from_slice(&count.to_be_bytes());
        }
        if self.begun.is_some() {
            return Ok(true);
        }
        self.requested = None;
        if self.continuous.is_some() {
            self.fence(FENCE_REQUEST | 1, FENCE_OURS);
            // Who asks for each as well may have more on their way.
            self.unconfirmed = self.unconfirmed.saturating_add(1);
        }
        Ok(true)
    }

    /// More of an update that has begun, or its end: also where the screen is another than it began with.
    fn go_on(&mut self, begun: Begun, screen: &Screen, deflater: &mut Deflater) -> Result<(), Violation> {
        let region = self.requested.unwrap_or_default();
        if begun.grid == self.damage.grid && screen.jpeg().is_none() {
            self.put_pixels(screen, region, Some(begun), deflater)?;
            if self.begun.is_some_and(|begun| begun.row < begun.grid.1) {
                return Ok(());
            }
        }
        self.begun = Some(begun);
        self.end_update();
        Ok(())
    }

    fn put_size(&mut self) -> bool {
        let Some((reason, status)) = self.tell_size.take() else { return false };
        let (width, height) = self.size;
        if self.takes.extended_desktop_size {
            let at = Rect { x: reason, y: status, width, height };
            head(at, encoding::EXTENDED_DESKTOP_SIZE, &mut self.output);
            // One screen, with the number 0, all over.
            self.output.extend([1, 0, 0, 0]);
            self.output.extend([0; 8]);
            self.output.extend(width.to_be_bytes());
            self.output.extend(height.to_be_bytes());
            self.output.extend([0; 4]);
            true
        } else if self.takes.desktop_size && reason == 0 {
            head(Rect::all(width, height), encoding::DESKTOP_SIZE, &mut self.output);
            true
        } else {
            false
        }
    }

    fn put_extended_key(&mut self) -> bool {
        let tell = self.takes.extended_key && !self.told_key;
        if tell {
            self.told_key = true;
            head(Rect::default(), encoding::QEMU_EXTENDED_KEY, &mut self.output);
        }
        tell
    }

    /// The lamps of the keyboard, once they are known (rfbproto, "QEMU LED State Pseudo-encoding").
    fn put_leds(&mut self, screen: &Screen) -> bool {
        let (leds, change) = screen.leds();
        if !self.takes.leds || change <= self.leds_seen {
            return false;
        }
        self.leds_seen = change;
        let Some(leds) = leds else { return false };
        head(Rect::default(), encoding::LED_STATE, &mut self.output);
        self.output.push(u8::from(leds.scroll) | u8::from(leds.num) << 1 | u8::from(leds.caps) << 2);
        true
    }

    fn put_cursor(&mut self, screen: &Screen) -> bool {
        let (cursor, change) = screen.cursor();
        // Who was never told of one needs not be told that there is none.
        let known = self.cursor_seen.unwrap_or(0);
        if !self.takes.cursor || change <= known {
            return false;
        }
        self.cursor_seen = Some(change);
        let none = Cursor::default();
        let cursor = cursor.unwrap_or(&none);
        let width = usize::from(cursor.width);
        let height = cursor.pixels.len().checked_div(width).unwrap_or(0);
        let Ok(rows) = u16::try_from(height) else { return false };
        let at = Rect { x: cursor.hotspot.0, y: cursor.hotspot.1, width: cursor.width, height: rows };
        head(at, encoding::CURSOR, &mut self.output);
        let pixels = cursor.pixels.get(..width * height).unwrap_or_default();
        self.format.put(pixels, &mut self.output);
        // A bit for each pixel, rows padded to bytes, the leftmost first (RFC 6143, 7.8.1).
        for row in 0..height {
            let mut bits = vec![0_u8; width.div_ceil(8)];
            for column in 0..width {
                let is_seen = cursor.seen.get(row * width + column).copied().unwrap_or(false);
                if let (true, Some(byte)) = (is_seen, bits.get_mut(column / 8)) {
                    *byte |= 0x80 >> (column % 8);
                }
            }
            self.output.extend(bits);
        }
        true
    }

    /// The tiles that the viewer lacks and that `region` touches, side by side ones as one rectangle; how many rectangles. Whole ones, or it would ask for
    /// their rest forever; what is beyond the size it knows it cannot have. Where they go on, `begun` has where.
    fn put_pixels(
        &mut self,
        screen: &Screen,
        region: Rect,
        begun: Option<Begun>,
        deflater: &mut Deflater,
    ) -> Result<u16, Violation> {
        self.begun = None;
        let known = Rect::all(self.size.0, self.size.1).and(Rect::all(screen.size().0, screen.size().1));
        if region.and(known).is_empty() || !self.damage.tiles.iter().any(|lacks| *lacks) {
            return Ok(0);
        }
        let start = self.output.len();
        if let Some(picture) = screen.jpeg() {
            if !self.takes.jpeg || self.format.bits == 8 {
                return Err(Violation::NeedsJpeg);
            }
            let (width, height) = screen.size();
            jpeg_head(Rect::all(width, height), picture.len(), &mut self.output);
            self.pictures.push((self.output.len(), Arc::clone(picture)));
            self.damage.tiles.fill(false);
            return Ok(1);
        }
        let widest = if self.takes.tight { TIGHT_WIDTH_MAX } else { u16::MAX };
        let widest = usize::from(widest / TILE);
        let (mut count, mut pixels) = (0_u16, 0_u32);
        let grid @ (columns, rows) = self.damage.grid;
        // Who gets updates without asking takes the newest of each part, and not the rest of one that has begun.
        let has_end = self.takes.last_rect && self.continuous.is_none();
        let (first, mut column) = match begun {
            Some(begun) => (begun.row, begun.column),
            None if has_end => (0, 0),
            None => (if self.next_row < rows { self.next_row } else { 0 }, 0),
        };
        let before = if has_end { 0 } else { first };
        for row in (first..rows).chain(0..before) {
            while column < columns {
                let tiles = self.damage.row(row).get_mut(column..).unwrap_or_default();
                let is_wanted = |index: usize| !tile_rect(column + index, row, 1).and(region).is_empty();
                let lacking = tiles.iter().take(widest).enumerate();
                let run = lacking.take_while(|(index, lacks)| **lacks && is_wanted(*index)).count();
                if run == 0 {
                    column += 1;
                    continue;
                }
                tiles.iter_mut().take(run).for_each(|lacks| *lacks = false);
                let at = tile_rect(column, row, run).and(known);
                column += run;
                if at.is_empty() {
                    continue;
                }
                if self.takes.tight {
                    tight(screen, at, &self.format, deflater, &mut self.output);
                } else if self.takes.zrle {
                    let out = &mut self.output;
                    zrle(screen, at, &self.format, deflater, &mut self.zrle_begun, out);
                } else {
                    raw(screen, at, &self.format, &mut self.output);
                }
                count += 1;
                pixels += u32::from(at.width) * u32::from(at.height);
                if self.output.len() - start >= UPDATE_SOFT_MAX
                    || pixels >= PIXELS_SOFT_MAX
                    || count == u16::MAX
                {
                    if has_end {
                        let is_done = column >= columns;
                        let column = if is_done { 0 } else { column };
                        self.begun = Some(Begun { grid, row: row + usize::from(is_done), column });
                    } else {
                        self.next_row = row + usize::from(column >= columns || row == first);
                    }
                    return Ok(count);
                }
            }
            column = 0;
        }
        self.next_row = 0;
        Ok(count)
    }
}
