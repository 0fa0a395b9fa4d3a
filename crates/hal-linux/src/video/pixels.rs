//! What the bytes of a frame are.

/// A format, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pixels {
    /// A whole picture, compressed.
    Jpeg,
    /// Blue, green, red and nothing, a byte each.
    Bgrx,
    /// Blue, green, red.
    Bgr,
    /// Red, green, blue.
    Rgb,
    /// Five bits of red, six of green, five of blue, the lower byte first.
    Rgb565,
    /// Brightness of each pixel, colour for two: Y Cb Y Cr.
    Yuyv,
    /// The same: Cb Y Cr Y.
    Uyvy,
}

/// The codes that the kernel has for them (linux/videodev2.h).
const CODES: [(&[u8; 4], Pixels); 8] = [
    (b"JPEG", Pixels::Jpeg),
    (b"MJPG", Pixels::Jpeg),
    (b"XR24", Pixels::Bgrx),
    (b"BGR3", Pixels::Bgr),
    (b"RGB3", Pixels::Rgb),
    (b"RGBP", Pixels::Rgb565),
    (b"YUYV", Pixels::Yuyv),
    (b"UYVY", Pixels::Uyvy),
];

impl Pixels {
    pub(crate) fn of_code(code: u32) -> Option<Self> {
        let code = code.to_le_bytes();
        CODES.iter().find(|(known, _)| **known == code).map(|(_, pixels)| *pixels)
    }

    pub(crate) fn code(self) -> u32 {
        let code = CODES.iter().find(|(_, pixels)| *pixels == self).map(|(code, _)| **code);
        u32::from_le_bytes(code.unwrap_or_default())
    }

    /// Makes pixels `0x00RRGGBB` of a row of bytes; what it has too few bytes for is left out. A JPEG has no rows.
    pub fn row(self, bytes: &[u8], out: &mut Vec<u32>) {
        let rgb = |red: u8, green: u8, blue: u8| u32::from_be_bytes([0, red, green, blue]);
        match self {
            Self::Jpeg => {}
            Self::Bgrx => {
                out.extend(
                    bytes.as_chunks::<4>().0.iter().map(|pixel| u32::from_le_bytes(*pixel) & 0x00ff_ffff),
                );
            }
            Self::Bgr => out.extend(bytes.as_chunks::<3>().0.iter().map(|[b, g, r]| rgb(*r, *g, *b))),
            Self::Rgb => out.extend(bytes.as_chunks::<3>().0.iter().map(|[r, g, b]| rgb(*r, *g, *b))),
            Self::Rgb565 => out.extend(bytes.as_chunks::<2>().0.iter().map(|pixel| {
                let all = u16::from_le_bytes(*pixel);
                // Each colour to the full eight bits: its high bits again below.
                let wide = |value: u16, bits: u32| {
                    let value = u32::from(value) << (8 - bits);
                    value | value >> bits
                };
                wide(all >> 11, 5) << 16 | wide(all >> 5 & 0x3f, 6) << 8 | wide(all & 0x1f, 5)
            })),
            Self::Yuyv => {
                for [first, cb, second, cr] in bytes.as_chunks::<4>().0 {
                    out.extend([colour(*first, *cb, *cr), colour(*second, *cb, *cr)]);
                }
            }
            Self::Uyvy => {
                for [cb, first, cr, second] in bytes.as_chunks::<4>().0 {
                    out.extend([colour(*first, *cb, *cr), colour(*second, *cb, *cr)]);
                }
            }
        }
    }
}

/// A pixel of brightness and colour, in the narrow range (ITU-R BT.601), in 1/256.
fn colour(y: u8, cb: u8, cr: u8) -> u32 {
    let (y, cb, cr) = (298 * (i32::from(y) - 16), i32::from(cb) - 128, i32::from(cr) - 128);
    let byte = |value: i32| u32::from(u8::try_from(((value + 128) >> 8).clamp(0, 255)).unwrap_or(0));
    byte(y + 409 * cr) << 16 | byte(y - 100 * cb - 208 * cr) << 8 | byte(y + 516 * cb)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(pixels: Pixels, bytes: &[u8]) -> Vec<u32> {
        let mut out = Vec::new();
        pixels.row(bytes, &mut out);
        out
    }

    #[test]
    fn every_format_says_the_same_colours() {
        assert_eq!(row(Pixels::Bgrx, &[3, 2, 1, 9]), [0x0001_0203]);
        assert_eq!(row(Pixels::Bgr, &[3, 2, 1, 6, 5]), [0x0001_0203], "half a pixel is none");
        assert_eq!(row(Pixels::Rgb, &[1, 2, 3]), [0x0001_0203]);
        assert_eq!(row(Pixels::Rgb565, &[0xff, 0xff, 0, 0xf8, 0, 0]), [0x00ff_ffff, 0x00ff_0000, 0]);
        // White, black; then the red and blue bars of a broadcaster's picture.
        assert_eq!(row(Pixels::Yuyv, &[235, 128, 16, 128]), [0x00ff_ffff, 0]);
        assert_eq!(
            row(Pixels::Uyvy, &[90, 81, 240, 81]),
            [0x00ff_0000; 2].map(|_: u32| row(Pixels::Yuyv, &[81, 90, 81, 240])[0])
        );
        let red = row(Pixels::Yuyv, &[81, 90, 81, 240])[0].to_be_bytes();
        assert!(red[1] > 250 && red[2] < 5 && red[3] < 5, "{red:?}");
        assert!(row(Pixels::Jpeg, &[1, 2, 3, 4]).is_empty());
    }

    #[test]
    fn codes_are_the_kernels_and_what_is_compressed_is_best() {
        assert_eq!(Pixels::of_code(0x4745_504a), Some(Pixels::Jpeg));
        assert_eq!(Pixels::of_code(u32::from_le_bytes(*b"MJPG")), Some(Pixels::Jpeg));
        assert_eq!(Pixels::Yuyv.code(), 0x5659_5559);
        assert_eq!(Pixels::of_code(0), None);
        assert!(Pixels::Jpeg < Pixels::Bgrx && Pixels::Rgb < Pixels::Yuyv);
    }
}
