//! How a viewer wants its pixels (RFC 6143, 7.4).

use crate::bytes::Bytes;
use crate::violation::Violation;

/// A format of pixels with true colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelFormat {
    /// Bits of a pixel: 8, 16 or 32.
    pub bits: u8,
    /// Bits of these that say something.
    pub depth: u8,
    /// The most significant byte comes first.
    pub big_endian: bool,
    /// The largest red, green and blue, each one less than a power of two.
    pub max: [u16; 3],
    /// By how much each of these is shifted left.
    pub shift: [u8; 3],
}

/// That of a [`Screen`](crate::Screen): `0x00RRGGBB`, little-endian.
pub const NATIVE: PixelFormat =
    PixelFormat { bits: 32, depth: 24, big_endian: false, max: [255; 3], shift: [16, 8, 0] };

impl PixelFormat {
    /// Bytes of a format on the wire.
    pub(crate) const LENGTH: usize = 16;

    /// Reads one; `None`: not all of it is there.
    ///
    /// # Errors
    /// [`Violation::Format`]: no such pixels, or a map of colours, which is not served.
    pub(crate) fn parse(bytes: &mut Bytes<'_>) -> Result<Option<Self>, Violation> {
        let Some(mut bytes) = bytes.take(Self::LENGTH).map(Bytes) else { return Ok(None) };
        let read = |bytes: &mut Bytes<'_>| {
            let (bits, depth) = (bytes.u8()?, bytes.u8()?);
            let (big_endian, true_colour) = (bytes.u8()? != 0, bytes.u8()? != 0);
            let max = [bytes.u16()?, bytes.u16()?, bytes.u16()?];
            let shift = [bytes.u8()?, bytes.u8()?, bytes.u8()?];
            Some((Self { bits, depth, big_endian, max, shift }, true_colour))
        };
        match read(&mut bytes) {
            Some((format, true)) if format.is_possible() => Ok(Some(format)),
            _ => Err(Violation::Format),
        }
    }

    fn is_possible(&self) -> bool {
        let fits = |(max, shift): (&u16, &u8)| {
            let width = 16 - max.leading_zeros();
            *max > 0 && max.count_ones() == width && u32::from(*shift) + width <= u32::from(self.bits)
        };
        matches!(self.bits, 8 | 16 | 32) && self.max.iter().zip(&self.shift).all(fits)
    }

    /// As it stands on the wire.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend([self.bits, self.depth, u8::from(self.big_endian), 1]);
        for max in self.max {
            out.extend(max.to_be_bytes());
        }
        out.extend(self.shift);
        out.extend([0; 3]);
    }

    /// Whether Tight packs a pixel of it into three bytes (rfbproto, "TPIXEL").
    pub(crate) fn is_packed(&self) -> bool {
        self.bits == 32 && self.depth == 24 && self.max == [255; 3]
    }

    /// Appends pixels of a screen.
    pub(crate) fn put(&self, pixels: &[u32], out: &mut Vec<u8>) {
        if *self == NATIVE {
            for pixel in pixels {
                out.extend(pixel.to_le_bytes());
            }
            return;
        }
        let bytes = usize::from(self.bits / 8);
        for pixel in pixels {
            let [_, red, green, blue] = pixel.to_be_bytes();
            let mut value = 0_u32;
            for ((colour, max), shift) in [red, green, blue].into_iter().zip(self.max).zip(self.shift) {
                // Rounded: white stays white, black black.
                let scaled = (u32::from(colour) * u32::from(max) + 127) / 255;
                value |= scaled.checked_shl(u32::from(shift)).unwrap_or(0);
            }
            if self.big_endian {
                out.extend(value.to_be_bytes().iter().skip(4 - bytes));
            } else {
                out.extend(value.to_le_bytes().iter().take(bytes));
            }
        }
    }

    /// Appends pixels of a screen as ZRLE has them: of four bytes of which one says nothing that one is left out (RFC 6143, 7.7.5).
    pub(crate) fn put_short(&self, pixels: &[u32], out: &mut Vec<u8>) {
        let used = self.max.iter().zip(self.shift).fold(0_u32, |used, (max, shift)| {
            used | u32::from(*max).checked_shl(u32::from(shift)).unwrap_or(0)
        });
        let (is_low, is_high) = (used & 0xff00_0000 == 0, used & 0xff == 0);
        if self.bits != 32 || self.depth > 24 || !(is_low || is_high) {
            return self.put(pixels, out);
        }
        // The byte that is left out: the most significant one, or the least.
        let drops_first = is_low == self.big_endian;
        for pixel in pixels {
            let start = out.len();
            self.put(std::slice::from_ref(pixel), out);
            if drops_first {
                out.remove(start);
            } else {
                out.pop();
            }
        }
    }

    /// Appends pixels of a screen as Tight has them.
    pub(crate) fn put_tight(&self, pixels: &[u32], out: &mut Vec<u8>) {
        if self.is_packed() {
            for pixel in pixels {
                let [_, red, green, blue] = pixel.to_be_bytes();
                out.extend([red, green, blue]);
            }
        } else {
            self.put(pixels, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_come_as_they_are_wanted() {
        let put = |format: PixelFormat, pixel| {
            let mut out = Vec::new();
            format.put(&[pixel], &mut out);
            out
        };
        assert_eq!(put(NATIVE, 0x0012_3456), [0x56, 0x34, 0x12, 0]);
        let big = PixelFormat { big_endian: true, ..NATIVE };
        assert_eq!(put(big, 0x0012_3456), [0, 0x12, 0x34, 0x56]);
        let small = PixelFormat { bits: 16, depth: 16, max: [31, 63, 31], shift: [11, 5, 0], ..NATIVE };
        assert_eq!(put(small, 0x00ff_ffff), [0xff, 0xff]);
        assert_eq!(put(small, 0x00ff_0000), [0, 0xf8]);
        let byte = PixelFormat { bits: 8, depth: 8, max: [7, 7, 3], shift: [0, 3, 6], ..NATIVE };
        assert_eq!(put(byte, 0x0000_00ff), [0xc0]);
        let short = |format: PixelFormat| {
            let mut out = Vec::new();
            format.put_short(&[0x0012_3456], &mut out);
            out
        };
        assert_eq!((short(NATIVE), short(big)), (vec![0x56, 0x34, 0x12], vec![0x12, 0x34, 0x56]));
        let high = PixelFormat { shift: [24, 16, 8], ..NATIVE };
        assert_eq!((short(high), short(small).len()), (vec![0x56, 0x34, 0x12], 2));
        assert_eq!(short(PixelFormat { big_endian: true, ..high }), [0x12, 0x34, 0x56]);
    }

    #[test]
    fn a_format_that_cannot_be_is_refused() {
        let parse = |format: PixelFormat, true_colour: u8| {
            let mut bytes = Vec::new();
            format.write(&mut bytes);
            bytes[3] = true_colour;
            PixelFormat::parse(&mut Bytes(&bytes))
        };
        assert_eq!(parse(NATIVE, 1), Ok(Some(NATIVE)));
        assert_eq!(parse(NATIVE, 0), Err(Violation::Format), "a map of colours");
        for wrong in [
            PixelFormat { bits: 24, ..NATIVE },
            PixelFormat { max: [0, 255, 255], ..NATIVE },
            PixelFormat { max: [200, 255, 255], ..NATIVE },
            PixelFormat { shift: [25, 8, 0], ..NATIVE },
            PixelFormat { bits: 16, ..NATIVE },
        ] {
            assert_eq!(parse(wrong, 1), Err(Violation::Format), "{wrong:?}");
        }
    }
}
