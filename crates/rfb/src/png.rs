//! A picture of a screen (PNG, W3C Recommendation of 2025, 5 and 9).

use std::io::Write as _;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use crate::screen::Screen;

const SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

/// The screen as a PNG, of which each pixel stands for `shrink` times `shrink` of the screen: the first of them. `None`: it is a JPEG, which is a picture
/// already.
#[must_use]
pub fn png(screen: &Screen, shrink: u16) -> Option<Vec<u8>> {
    if screen.jpeg().is_some() {
        return None;
    }
    let (width, height) = screen.size();
    let step = usize::from(shrink.max(1));
    let (columns, rows) = (width.div_ceil(shrink.max(1)), height.div_ceil(shrink.max(1)));
    let mut head = Vec::with_capacity(13);
    head.extend(u32::from(columns).to_be_bytes());
    head.extend(u32::from(rows).to_be_bytes());
    // Eight bits, true colour; the only compression and filtering there are; not interlaced.
    head.extend([8, 2, 0, 0, 0]);
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(4));
    let length = usize::from(columns) * 3;
    let (mut before, mut line, mut filtered) = (vec![0; length], Vec::with_capacity(length), Vec::new());
    for y in (0..height).step_by(step) {
        line.clear();
        for pixel in screen.row(y, 0, width).iter().step_by(step) {
            let [_, red, green, blue] = pixel.to_be_bytes();
            line.extend([red, green, blue]);
        }
        // Filter "up": most rows of a screen are as the one above.
        filtered.clear();
        filtered.push(2);
        filtered.extend(line.iter().zip(&before).map(|(byte, above)| byte.wrapping_sub(*above)));
        encoder.write_all(&filtered).ok()?;
        std::mem::swap(&mut before, &mut line);
    }
    let data = encoder.finish().ok()?;
    let mut out = SIGNATURE.to_vec();
    chunk(*b"IHDR", &head, &mut out);
    chunk(*b"IDAT", &data, &mut out);
    chunk(*b"IEND", &[], &mut out);
    Some(out)
}

/// Whether this is a whole PNG: chunks with the right sums from its signature to its end (PNG, 5.3).
#[must_use]
pub fn is_png(bytes: &[u8]) -> bool {
    let Some(mut rest) = bytes.strip_prefix(&SIGNATURE) else { return false };
    loop {
        let Some((length, after)) = rest.split_first_chunk::<4>() else { return false };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        // The kind is summed with the data.
        let Some((summed, after)) = length.checked_add(4).and_then(|count| after.split_at_checked(count))
        else {
            return false;
        };
        let Some((sum, after)) = after.split_first_chunk::<4>() else { return false };
        if u32::from_be_bytes(*sum) != crc32fast::hash(summed) {
            return false;
        }
        if summed.starts_with(b"IEND") {
            return after.is_empty();
        }
        rest = after;
    }
}

fn chunk(kind: [u8; 4], data: &[u8], out: &mut Vec<u8>) {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&kind);
    sum.update(data);
    out.extend(u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend(kind);
    out.extend(data);
    out.extend(sum.finalize().to_be_bytes());
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::screen::Rect;

    #[test]
    fn the_pixels_are_in_it() {
        let mut screen = Screen::new(5, 3).unwrap();
        screen.draw(Rect { x: 4, y: 2, width: 1, height: 1 }, &[0x0012_3456]);
        screen.draw(Rect { x: 0, y: 0, width: 2, height: 1 }, &[0x00ff_ffff, 0x00ff_0000]);
        let png = png(&screen, 1).unwrap();
        assert_eq!(png[..8], SIGNATURE);
        assert_eq!(png[16..24], [0, 0, 0, 5, 0, 0, 0, 3]);
        let length = u32::from_be_bytes(png[33..37].try_into().unwrap()) as usize;
        assert_eq!(&png[37..41], b"IDAT");
        let mut all = Vec::new();
        flate2::read::ZlibDecoder::new(&png[41..41 + length]).read_to_end(&mut all).unwrap();
        let mut rows: Vec<Vec<u8>> = Vec::new();
        for line in all.chunks(16) {
            assert_eq!(line[0], 2);
            let above = rows.last().cloned().unwrap_or_else(|| vec![0; 15]);
            rows.push(line[1..].iter().zip(above).map(|(byte, above)| byte.wrapping_add(above)).collect());
        }
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[0][..7], [255, 255, 255, 255, 0, 0, 0]);
        assert_eq!(rows[2][12..], [0x12, 0x34, 0x56]);
        assert_eq!(png.get(png.len() - 12..).unwrap(), b"\0\0\0\0IEND\xaeB`\x82");
    }

    #[test]
    fn one_that_is_cut_or_has_another_bit_is_not_whole() {
        let whole = png(&Screen::new(20, 10).unwrap(), 1).unwrap();
        assert!(is_png(&whole));
        for length in 0..whole.len() {
            assert!(!is_png(&whole[..length]), "{length}");
        }
        assert!(!is_png(&[&whole[..], &[0]].concat()));
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_png(&flipped), "bit {bit}");
        }
    }

    #[test]
    fn half_of_it_has_half_the_sides() {
        let screen = Screen::new(5, 4).unwrap();
        assert_eq!(png(&screen, 2).unwrap()[16..24], [0, 0, 0, 3, 0, 0, 0, 2]);
    }
}
