//! Pixels as rectangles of an update: Raw (RFC 6143, 7.7.1) and Tight (rfbproto, "Tight Encoding").

use flate2::{Compress, Compression, FlushCompress};

use crate::encoding;
use crate::format::PixelFormat;
use crate::screen::{COMPACT_MAX, Rect, Screen};

/// Pixels to the right in one rectangle of Tight (rfbproto: more is not allowed).
pub(crate) const TIGHT_WIDTH_MAX: u16 = 2048;
/// What is shorter Tight does not compress.
const TOO_SHORT: usize = 12;

/// Compresses for all viewers: each rectangle begins a stream of its own, so that nothing is kept for any of them.
#[derive(Debug)]
pub struct Deflater {
    compress: Compress,
    /// The pixels of a rectangle, before.
    plain: Vec<u8>,
    packed: Vec<u8>,
}

impl Default for Deflater {
    fn default() -> Self {
        // The fastest: a frame is late after 33 ms, and text is small anyway.
        Self { compress: Compress::new(Compression::fast(), true), plain: Vec::new(), packed: Vec::new() }
    }
}

impl Deflater {
    /// Compresses what is in `plain` into `packed`; whether that was possible.
    fn run(&mut self) -> bool {
        self.compress.reset();
        self.packed.clear();
        let mut done = 0;
        loop {
            self.packed.reserve(self.plain.len() / 2 + 128);
            let before = self.compress.total_in();
            let rest = self.plain.get(done..).unwrap_or_default();
            if self.compress.compress_vec(rest, &mut self.packed, FlushCompress::Sync).is_err() {
                return false;
            }
            done += usize::try_from(self.compress.total_in() - before).unwrap_or(0);
            // With room left all of it is out.
            if done == self.plain.len() && self.packed.len() < self.packed.capacity() {
                return true;
            }
        }
    }
}

/// The head of a rectangle.
pub(crate) fn head(at: Rect, encoding: i32, out: &mut Vec<u8>) {
    for number in [at.x, at.y, at.width, at.height] {
        out.extend(number.to_be_bytes());
    }
    out.extend(encoding.to_be_bytes());
}

/// A length as Tight has it: seven bits, seven bits, eight bits.
pub(crate) fn compact(length: usize, out: &mut Vec<u8>) {
    let part = |shift: u32| u8::try_from((length >> shift) & 0x7f).unwrap_or(0);
    match length {
        0..=0x7f => out.push(part(0)),
        0x80..=0x3fff => out.extend([part(0) | 0x80, part(7)]),
        _ => out.extend([part(0) | 0x80, part(7) | 0x80, u8::try_from(length >> 14 & 0xff).unwrap_or(0)]),
    }
}

fn rows(screen: &Screen, at: Rect) -> impl Iterator<Item = &[u32]> {
    (at.y..at.y.saturating_add(at.height)).map(move |y| screen.row(y, at.x, at.width))
}

/// A rectangle as it is.
pub(crate) fn raw(screen: &Screen, at: Rect, format: &PixelFormat, out: &mut Vec<u8>) {
    head(at, encoding::RAW, out);
    for row in rows(screen, at) {
        format.put(row, out);
    }
}

/// A rectangle as Tight has it: one colour, or compressed.
pub(crate) fn tight(
    screen: &Screen,
    at: Rect,
    format: &PixelFormat,
    deflater: &mut Deflater,
    out: &mut Vec<u8>,
) {
    let first = screen.row(at.y, at.x, 1);
    if let [colour] = first
        && rows(screen, at).all(|row| row.iter().all(|pixel| pixel == colour))
    {
        head(at, encoding::TIGHT, out);
        out.push(0x80);
        format.put_tight(first, out);
        return;
    }
    deflater.plain.clear();
    for row in rows(screen, at) {
        format.put_tight(row, &mut deflater.plain);
    }
    if deflater.plain.len() < TOO_SHORT {
        head(at, encoding::TIGHT, out);
        out.push(0);
        out.extend(&deflater.plain);
        return;
    }
    if !deflater.run() || deflater.packed.len() > COMPACT_MAX {
        return raw(screen, at, format, out);
    }
    head(at, encoding::TIGHT, out);
    // Stream 0, which begins anew, without a filter.
    out.push(0x01);
    compact(deflater.packed.len(), out);
    out.extend(&deflater.packed);
}

/// All of a screen that is a JPEG.
pub(crate) fn jpeg(at: Rect, jpeg: &[u8], out: &mut Vec<u8>) {
    head(at, encoding::TIGHT, out);
    out.push(0x90);
    compact(jpeg.len(), out);
    out.extend(jpeg);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_as_tight_has_them() {
        let of = |length| {
            let mut out = Vec::new();
            compact(length, &mut out);
            out
        };
        assert_eq!((of(0), of(127)), (vec![0], vec![127]));
        // The example of rfbproto: 10000 is 0x90 0x4e.
        assert_eq!((of(128), of(10_000)), (vec![0x80, 1], vec![0x90, 0x4e]));
        assert_eq!((of(16_384), of(COMPACT_MAX)), (vec![0x80, 0x80, 1], vec![0xff, 0xff, 0xff]));
    }
}
