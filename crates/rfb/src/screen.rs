//! What is on the host's screen, and which parts of it changed when.

use std::sync::Arc;

use crate::room::{Room, Share};

/// The largest length that Tight can say.
pub(crate) const COMPACT_MAX: usize = (1 << 22) - 1;

/// Pixels of a screen at most, as those of BMCs have: 1920x1200, and 2560x1600 of the newer ones.
pub const PIXELS_MAX: usize = 2560 * 1600;
/// Pixels of one side at most.
pub const SIDE_MAX: u16 = 4096;
/// Pixels of a side of the squares in which is counted what changed.
pub const TILE: u16 = 64;

/// A part of a screen, in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rect {
    /// From the left.
    pub x: u16,
    /// From the top.
    pub y: u16,
    /// To the right.
    pub width: u16,
    /// Down.
    pub height: u16,
}

impl Rect {
    /// All of a screen of this size.
    #[must_use]
    pub const fn all(width: u16, height: u16) -> Self {
        Self { x: 0, y: 0, width, height }
    }

    /// What is in both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let span = |start: u16, length: u16, other: u16, other_length: u16| {
            let from = start.max(other);
            let to = start.saturating_add(length).min(other.saturating_add(other_length));
            (from, to.saturating_sub(from))
        };
        let (x, width) = span(self.x, self.width, other.x, other.width);
        let (y, height) = span(self.y, self.height, other.y, other.height);
        Self { x, y, width, height }
    }

    /// Whether nothing is in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.width == 0 || self.height == 0
    }
}

/// Lamps of a keyboard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leds {
    /// Num Lock.
    pub num: bool,
    /// Caps Lock.
    pub caps: bool,
    /// Scroll Lock.
    pub scroll: bool,
}

/// The shape of the pointer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The pixel of it that points.
    pub hotspot: (u16, u16),
    /// Pixels to the right.
    pub width: u16,
    /// Pixels for each, row by row.
    pub pixels: Vec<u32>,
    /// Which of them are seen.
    pub seen: Vec<bool>,
}

/// Why a screen cannot be of a size. Each has the pixels to the right and down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unshown {
    /// It would be larger than [`PIXELS_MAX`], or has a side of nothing or of more than [`SIDE_MAX`]; or its JPEG is none that can be carried.
    #[error("a screen of {0}x{1} pixels cannot be shown")]
    TooLarge(u16, u16),
    /// There is no memory left for it in its [`Room`].
    #[error(
        "there is no memory for a screen of {0}x{1} pixels beside the others that are watched: end one of them"
    )]
    NoRoom(u16, u16),
}

/// A host's screen: pixels `0x00RRGGBB`, or one JPEG as its hardware made it.
#[derive(Clone, Debug)]
pub struct Screen {
    width: u16,
    height: u16,
    pixels: Vec<u32>,
    /// Shared with those to whom it is on its way: empty where there are pixels.
    jpeg: Arc<[u8]>,
    cursor: Option<Cursor>,
    /// The number of the change at which each tile changed last, row by row.
    tiles: Vec<u64>,
    changes: u64,
    cursor_change: u64,
    leds: Option<Leds>,
    leds_change: u64,
    share: Share,
}

impl Screen {
    /// A black one.
    ///
    /// # Errors
    /// [`Unshown::TooLarge`]
    pub fn new(width: u16, height: u16) -> Result<Self, Unshown> {
        Self::of(Share::default(), width, height)
    }

    /// As [`Screen::new`], with the memory that it shares with others. Its clones have none of that.
    ///
    /// # Errors
    /// [`Unshown`]
    pub fn within(room: &Room, width: u16, height: u16) -> Result<Self, Unshown> {
        Self::of(Share::of(room), width, height)
    }

    fn of(share: Share, width: u16, height: u16) -> Result<Self, Unshown> {
        let mut screen = Self {
            width: 0,
            height: 0,
            pixels: Vec::new(),
            jpeg: Arc::default(),
            cursor: None,
            tiles: Vec::new(),
            changes: 0,
            cursor_change: 0,
            leds: None,
            leds_change: 0,
            share,
        };
        screen.set_size(width, height, None)?;
        Ok(screen)
    }

    /// Pixels to the right and down.
    #[must_use]
    pub const fn size(&self) -> (u16, u16) {
        (self.width, self.height)
    }

    /// How often something changed: what was seen at this number is unchanged while it is the same.
    #[must_use]
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    /// Another size, black at first. The same size leaves what is there.
    ///
    /// # Errors
    /// [`Unshown`]; nothing changes then.
    pub fn resize(&mut self, width: u16, height: u16) -> Result<(), Unshown> {
        if self.size() == (width, height) && self.jpeg.is_empty() {
            return Ok(());
        }
        self.set_size(width, height, None)
    }

    /// A black one of this size, whatever was there.
    ///
    /// # Errors
    /// [`Unshown`]; nothing changes then.
    pub fn blank(&mut self, width: u16, height: u16) -> Result<(), Unshown> {
        self.set_size(width, height, None)
    }

    /// Another size, for pixels or for a JPEG of so many bytes.
    fn set_size(&mut self, width: u16, height: u16, jpeg: Option<usize>) -> Result<(), Unshown> {
        let count = usize::from(width) * usize::from(height);
        if count == 0 || count > PIXELS_MAX || width > SIDE_MAX || height > SIDE_MAX {
            return Err(Unshown::TooLarge(width, height));
        }
        if !self.share.change(jpeg.unwrap_or(count * size_of::<u32>())) {
            return Err(Unshown::NoRoom(width, height));
        }
        (self.width, self.height) = (width, height);
        self.jpeg = Arc::default();
        // The memory of what was there before goes back first: both together are more than was counted.
        self.pixels = Vec::new();
        if jpeg.is_none() {
            self.pixels = vec![0; count];
        }
        self.changes += 1;
        let (columns, rows) = self.grid();
        self.tiles = vec![self.changes; columns * rows];
        Ok(())
    }

    /// Tiles to the right and down.
    pub(crate) fn grid(&self) -> (usize, usize) {
        (usize::from(self.width.div_ceil(TILE)), usize::from(self.height.div_ceil(TILE)))
    }

    /// The numbers of the changes of its tiles, row by row.
    pub(crate) fn tiles(&self) -> &[u64] {
        &self.tiles
    }

    /// Draws pixels, row by row; tells whether anything is other than before. What is outside the screen is left out, and pixels that are missing are as they
    /// were.
    pub fn draw(&mut self, at: Rect, pixels: &[u32]) -> bool {
        let inside = at.and(Rect::all(self.width, self.height));
        if inside.is_empty() || !self.jpeg.is_empty() {
            return false;
        }
        let next = self.changes + 1;
        let (columns, _) = self.grid();
        let mut has_changed = false;
        for (row, source) in
            (inside.y..).zip(pixels.chunks(usize::from(at.width)).take(usize::from(inside.height)))
        {
            let mut x = inside.x;
            let end = inside.x + inside.width;
            let tile_row = usize::from(row / TILE) * columns;
            while x < end {
                // To the end of the tile.
                let to = end.min((x / TILE + 1) * TILE);
                let from = source.get(usize::from(x - at.x)..usize::from(to - at.x));
                let start = usize::from(row) * usize::from(self.width);
                let old = self.pixels.get_mut(start + usize::from(x)..start + usize::from(to));
                if let (Some(new), Some(old)) = (from, old)
                    && new != old
                {
                    old.copy_from_slice(new);
                    has_changed = true;
                    if let Some(tile) = self.tiles.get_mut(tile_row + usize::from(x / TILE)) {
                        *tile = next;
                    }
                }
                x = to;
            }
        }
        if has_changed {
            self.changes = next;
        }
        has_changed
    }

    /// Shows a picture as the hardware compressed it; tells whether it is another than before.
    ///
    /// # Errors
    /// [`Unshown`], also for a JPEG that Tight cannot carry (4 MiB); nothing changes then.
    pub fn show_jpeg(&mut self, width: u16, height: u16, jpeg: &[u8]) -> Result<bool, Unshown> {
        if jpeg.len() > COMPACT_MAX || jpeg.is_empty() {
            return Err(Unshown::TooLarge(width, height));
        }
        if self.size() == (width, height) && *self.jpeg == *jpeg {
            return Ok(false);
        }
        if self.size() != (width, height) || self.jpeg.is_empty() {
            self.set_size(width, height, Some(jpeg.len()))?;
        } else if !self.share.change(jpeg.len()) {
            return Err(Unshown::NoRoom(width, height));
        } else {
            self.changes += 1;
            self.tiles.fill(self.changes);
        }
        // The one copy that is made of it.
        self.jpeg = jpeg.into();
        Ok(true)
    }

    /// The JPEG, while the screen is one.
    #[must_use]
    pub fn jpeg(&self) -> Option<&Arc<[u8]>> {
        (!self.jpeg.is_empty()).then_some(&self.jpeg)
    }

    /// Pixels of one row from `x` on; fewer or none where there are no more.
    #[must_use]
    pub fn row(&self, y: u16, x: u16, count: u16) -> &[u32] {
        if y >= self.height || x >= self.width {
            return &[];
        }
        let count = count.min(self.width - x);
        let start = usize::from(y) * usize::from(self.width) + usize::from(x);
        self.pixels.get(start..start + usize::from(count)).unwrap_or_default()
    }

    /// Another shape of the pointer; `None`: it is part of the picture.
    pub fn set_cursor(&mut self, cursor: Option<Cursor>) {
        if self.cursor != cursor {
            self.cursor = cursor;
            self.changes += 1;
            self.cursor_change = self.changes;
        }
    }

    /// The lamps of the keyboard, as the host has them; `None`: that is not known.
    pub fn set_leds(&mut self, leds: Option<Leds>) {
        if self.leds != leds {
            self.leds = leds;
            self.changes += 1;
            self.leds_change = self.changes;
        }
    }

    /// The lamps, and the number of the change at which they came.
    pub(crate) const fn leds(&self) -> (Option<Leds>, u64) {
        (self.leds, self.leds_change)
    }

    /// The pointer's shape, and the number of the change at which it came.
    pub(crate) const fn cursor(&self) -> (Option<&Cursor>, u64) {
        (self.cursor.as_ref(), self.cursor_change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tiles_that_are_other_than_before_count_as_changed() {
        let mut screen = Screen::new(130, 70).unwrap();
        assert_eq!(screen.grid(), (3, 2));
        let before = screen.changes();
        assert!(!screen.draw(Rect::all(130, 70), &[0; 130 * 70]), "black on black");
        assert!(screen.draw(Rect { x: 63, y: 63, width: 2, height: 1 }, &[1, 0]));
        let changed: Vec<_> = screen.tiles().iter().map(|tile| *tile > before).collect();
        assert_eq!(changed, [true, false, false, false, false, false]);
        assert!(screen.draw(Rect { x: 128, y: 60, width: 9, height: 20 }, &[7; 9 * 20]), "beyond the edge");
        assert_eq!((screen.row(69, 127, 9), screen.row(70, 0, 1)), (&[0, 7, 7][..], &[][..]));
    }

    #[test]
    fn a_screen_has_bounds_and_the_same_jpeg_is_no_change() {
        assert_eq!(Screen::new(0, 5).unwrap_err(), Unshown::TooLarge(0, 5));
        assert!(Screen::new(4096, 4096).is_err());
        let mut screen = Screen::new(64, 64).unwrap();
        assert!(screen.resize(u16::MAX, 2).is_err());
        assert_eq!(screen.size(), (64, 64));
        assert_eq!(screen.show_jpeg(1920, 1080, b"jpeg"), Ok(true));
        assert_eq!(screen.show_jpeg(1920, 1080, b"jpeg"), Ok(false));
        assert_eq!(screen.show_jpeg(1920, 1080, b"other"), Ok(true));
        assert_eq!((screen.size(), screen.jpeg().map(|jpeg| &**jpeg)), ((1920, 1080), Some(&b"other"[..])));
        assert!(screen.show_jpeg(1920, 1080, &vec![0; 1 << 22]).is_err());
        screen.resize(1920, 1080).unwrap();
        assert_eq!((screen.jpeg(), screen.row(0, 1919, 9)), (None, &[0][..]));
    }

    #[test]
    fn screens_of_one_room_have_no_more_together_and_a_refusal_changes_nothing() {
        let room = Room::new(1920 * 1200 * 4);
        let mut one = Screen::within(&room, 1920, 1200).unwrap();
        let mut other = Screen::within(&room, 640, 480).unwrap();
        other.draw(Rect { x: 639, y: 0, width: 1, height: 1 }, &[7]);
        let before = other.changes();
        assert_eq!(other.resize(1920, 1080), Err(Unshown::NoRoom(1920, 1080)));
        assert_eq!(other.show_jpeg(1920, 1080, &vec![1; 3 << 20]), Err(Unshown::NoRoom(1920, 1080)));
        assert_eq!((other.size(), other.changes(), other.row(0, 639, 1)), ((640, 480), before, &[7][..]));
        // A JPEG is counted by its bytes; what has no more than its own always fits.
        assert_eq!(other.show_jpeg(1920, 1080, &[1; 1000]), Ok(true));
        assert_eq!(other.show_jpeg(1920, 1080, &vec![1; 3 << 20]), Err(Unshown::NoRoom(1920, 1080)));
        assert_eq!(other.jpeg().map(|jpeg| jpeg.len()), Some(1000));
        drop(one.clone());
        one.blank(640, 480).unwrap();
        assert_eq!(other.show_jpeg(1920, 1080, &vec![1; 3 << 20]), Ok(true));
        other.resize(1920, 1080).unwrap();
    }
}
