//! Pixels as rectangles of an update: Raw (RFC 6143, 7.7.1), ZRLE (7.7.6) and Tight (rfbproto, "Tight Encoding").

use flate2::{Compress, Compression, FlushCompress};

use crate::encoding;
use crate::format::PixelFormat;
use crate::screen::{COMPACT_MAX, Rect, Screen, TILE};

/// Pixels to the right in one rectangle of Tight (rfbproto: more is not allowed).
pub(crate) const TIGHT_WIDTH_MAX: u16 = 2048;
/// What a stream of zlib begins with: deflate, a window of 32 KiB, the fastest level (RFC 1950, 2.2).
const ZLIB_HEAD: [u8; 2] = [0x78, 0x01];
/// Colours of a palette at most, so that two pixels are in a byte.
const PALETTE_MAX: usize = 16;
/// What is shorter Tight does not compress.
const TOO_SHORT: usize = 12;

/// Compresses for all viewers: each rectangle begins a stream of its own, so that nothing is kept for any of them.
#[derive(Debug)]
pub struct Deflater {
    compress: Compress,
    /// Without the head of zlib, for a stream that has begun already.
    bare: Compress,
    /// The pixels of a rectangle, before.
    plain: Vec<u8>,
    packed: Vec<u8>,
}

impl Default for Deflater {
    fn default() -> Self {
        // The fastest: a frame is late after 33 ms, and text is small anyway.
        let compress = |with_head| Compress::new(Compression::fast(), with_head);
        Self { compress: compress(true), bare: compress(false), plain: Vec::new(), packed: Vec::new() }
    }
}

impl Deflater {
    /// Compresses what is in `plain` into `packed`; whether that was possible.
    fn run(&mut self, with_head: bool) -> bool {
        let compress = if with_head { &mut self.compress } else { &mut self.bare };
        compress.reset();
        self.packed.clear();
        let mut done = 0;
        loop {
            self.packed.reserve(self.plain.len() / 2 + 128);
            let before = compress.total_in();
            let rest = self.plain.get(done..).unwrap_or_default();
            if compress.compress_vec(rest, &mut self.packed, FlushCompress::Sync).is_err() {
                return false;
            }
            done += usize::try_from(compress.total_in() - before).unwrap_or(0);
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
    if !deflater.run(true) || deflater.packed.len() > COMPACT_MAX {
        return raw(screen, at, format, out);
    }
    head(at, encoding::TIGHT, out);
    // Stream 0, which begins anew, without a filter.
    out.push(0x01);
    compact(deflater.packed.len(), out);
    out.extend(&deflater.packed);
}

/// A rectangle as ZRLE has it: tiles of one colour, of a few, or as they are. `has_begun` is whether the viewer's stream has: there is one for the whole
/// session. What is compressed here refers to nothing before it, and ends where a byte does, so that one compressor without a memory serves all.
pub(crate) fn zrle(
    screen: &Screen,
    at: Rect,
    format: &PixelFormat,
    deflater: &mut Deflater,
    has_begun: &mut bool,
    out: &mut Vec<u8>,
) {
    deflater.plain.clear();
    for y in (at.y..at.y.saturating_add(at.height)).step_by(usize::from(TILE)) {
        for x in (at.x..at.x.saturating_add(at.width)).step_by(usize::from(TILE)) {
            let tile = Rect { x, y, width: TILE, height: TILE }.and(at);
            zrle_tile(screen, tile, format, &mut deflater.plain);
        }
    }
    let length = if *has_begun { 0 } else { ZLIB_HEAD.len() };
    let Some(length) = deflater.run(false).then_some(length + deflater.packed.len()) else {
        return raw(screen, at, format, out);
    };
    head(at, encoding::ZRLE, out);
    out.extend(u32::try_from(length).unwrap_or(0).to_be_bytes());
    if !*has_begun {
        *has_begun = true;
        out.extend(ZLIB_HEAD);
    }
    out.extend(&deflater.packed);
}

fn zrle_tile(screen: &Screen, tile: Rect, format: &PixelFormat, out: &mut Vec<u8>) {
    let mut palette: Vec<u32> = Vec::with_capacity(PALETTE_MAX);
    let is_few = rows(screen, tile).flatten().all(|pixel| {
        let is_known = palette.contains(pixel);
        if !is_known && palette.len() < PALETTE_MAX {
            palette.push(*pixel);
            return true;
        }
        is_known
    });
    if !is_few {
        out.push(0);
        for row in rows(screen, tile) {
            format.put_short(row, out);
        }
        return;
    }
    out.push(u8::try_from(palette.len()).unwrap_or(0));
    format.put_short(&palette, out);
    let bits = match palette.len() {
        0 | 1 => return,
        2 => 1,
        3 | 4 => 2,
        _ => 4,
    };
    for row in rows(screen, tile) {
        // The leftmost pixel in the highest bits; rows end with a byte.
        for pixels in row.chunks(8 / bits) {
            let byte = pixels.iter().enumerate().fold(0_u8, |byte, (place, pixel)| {
                let index = palette.iter().position(|colour| colour == pixel).unwrap_or(0);
                byte | u8::try_from(index << (8 - bits * (place + 1))).unwrap_or(0)
            });
            out.push(byte);
        }
    }
}

/// What stands before the JPEG that all of a screen is.
pub(crate) fn jpeg_head(at: Rect, length: usize, out: &mut Vec<u8>) {
    head(at, encoding::TIGHT, out);
    out.push(0x90);
    compact(length, out);
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
