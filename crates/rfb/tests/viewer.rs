//! Viewers that were written from the specification, beside the server: what they are shown is what is on the screen.

use std::ops::Range;
use std::sync::Arc;

use flate2::{Decompress, FlushDecompress};
use proptest::prelude::*;
use rfb::{
    CUT_TEXT_MAX, Client, Cursor, Deflater, ENCODINGS_MAX, Event, Input, Leds, Piece, Rect, Screen, Server,
    UPDATE_SOFT_MAX, Violation, encoding,
};

/// Version, kind of security, and that others may stay.
const HANDSHAKE: &[u8] = b"RFB 003.008\n\x01\x01";

fn encodings(list: &[i32]) -> Vec<u8> {
    let mut out = vec![2, 0];
    out.extend(u16::try_from(list.len()).unwrap().to_be_bytes());
    list.iter().for_each(|number| out.extend(number.to_be_bytes()));
    out
}

fn request(incremental: bool, at: Rect) -> Vec<u8> {
    let mut out = vec![3, u8::from(incremental)];
    [at.x, at.y, at.width, at.height].iter().for_each(|number| out.extend(number.to_be_bytes()));
    out
}

fn key(down: bool, keysym: u32, code: u32) -> Vec<u8> {
    let mut out = vec![255, 0, 0, u8::from(down)];
    out.extend(keysym.to_be_bytes());
    out.extend(code.to_be_bytes());
    out
}

fn cut_text(length: usize) -> Vec<u8> {
    let mut out = vec![6, 0, 0, 0];
    out.extend(u32::try_from(length).unwrap().to_be_bytes());
    out.extend(std::iter::repeat_n(b'x', length));
    out
}

fn continuous(enable: bool, at: Rect) -> Vec<u8> {
    let mut out = vec![150, u8::from(enable)];
    [at.x, at.y, at.width, at.height].iter().for_each(|number| out.extend(number.to_be_bytes()));
    out
}

/// What a viewer was sent, understood.
#[derive(Debug, PartialEq)]
enum Told {
    Size(u16, u16),
    ScreenSize { reason: u16, status: u16, width: u16, height: u16 },
    ExtendedKey,
    Cursor { at: Rect, bytes: Vec<u8> },
    Jpeg(Vec<u8>),
    Leds(u8),
    Fence(u32, Vec<u8>),
    EndOfContinuousUpdates,
    Update(u16),
}

/// A viewer with pixels of four bytes as they are, which it decodes.
struct Viewer {
    width: usize,
    height: usize,
    pixels: Vec<u32>,
    bytes: Vec<u8>,
    /// The stream of ZRLE, one for the session.
    zrle: Decompress,
}

impl Viewer {
    /// After the handshake, of which `bytes` are all the server sent.
    fn new(bytes: &[u8]) -> Self {
        assert_eq!(&bytes[..12], b"RFB 003.008\n");
        assert_eq!(bytes[12..18], [1, 1, 0, 0, 0, 0], "one kind of security, and that it went well");
        let number = |at: usize| usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
        let (width, height) = (number(18), number(20));
        assert_eq!(bytes[22..38], [32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0]);
        assert_eq!(&bytes[38..], b"\0\0\0\x06system");
        // Unlike anything that is shown.
        Self {
            width,
            height,
            pixels: vec![u32::MAX; width * height],
            bytes: Vec::new(),
            zrle: Decompress::new(true),
        }
    }

    fn take(&mut self, range: usize) -> Vec<u8> {
        self.bytes.drain(..range).collect()
    }

    fn u8(&mut self) -> u8 {
        self.take(1)[0]
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.take(2).try_into().unwrap())
    }

    fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.take(4).try_into().unwrap())
    }

    fn put(&mut self, at: Rect, colours: impl IntoIterator<Item = u32>) {
        let mut colours = colours.into_iter();
        for y in span(at.y, at.height) {
            for x in span(at.x, at.width) {
                assert!(x < self.width && y < self.height, "{at:?} is outside");
                self.pixels[y * self.width + x] = colours.next().unwrap();
            }
        }
        assert!(colours.next().is_none());
    }

    fn compact(&mut self) -> usize {
        let mut length = 0;
        for shift in [0, 7, 14] {
            let byte = usize::from(self.u8());
            if shift == 14 {
                return length | byte << 14;
            }
            length |= (byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        length
    }

    fn tight(&mut self, at: Rect) -> Option<Vec<u8>> {
        let three = |bytes: &[u8]| u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]);
        let pixels = usize::from(at.width) * usize::from(at.height);
        assert!(at.width <= 2048);
        match self.u8() {
            0x80 => {
                let colour = three(&self.take(3));
                self.put(at, std::iter::repeat_n(colour, pixels));
            }
            0x90 => {
                let length = self.compact();
                return Some(self.take(length));
            }
            control @ (0 | 1) => {
                let plain = if pixels * 3 < 12 {
                    self.take(pixels * 3)
                } else {
                    assert_eq!(control, 1, "the stream begins anew");
                    let length = self.compact();
                    let packed = self.take(length);
                    let mut plain = Vec::with_capacity(pixels * 3 + 16);
                    let mut inflate = Decompress::new(true);
                    inflate.decompress_vec(&packed, &mut plain, FlushDecompress::Sync).unwrap();
                    plain
                };
                assert_eq!(plain.len(), pixels * 3);
                self.put(at, plain.chunks(3).map(three));
            }
            other => panic!("control byte {other:#x}"),
        }
        None
    }

    fn zrle(&mut self, at: Rect) {
        let length = usize::try_from(self.u32()).unwrap();
        let packed = self.take(length);
        let mut plain = Vec::with_capacity(usize::from(at.width) * usize::from(at.height) * 3 + 4096);
        self.zrle.decompress_vec(&packed, &mut plain, FlushDecompress::Sync).unwrap();
        let mut plain = plain.into_iter();
        let pixel = |plain: &mut std::vec::IntoIter<u8>| {
            let [blue, green, red] = [(); 3].map(|()| plain.next().unwrap());
            u32::from_be_bytes([0, red, green, blue])
        };
        for y in span(at.y, at.height).step_by(64) {
            for x in span(at.x, at.width).step_by(64) {
                let [left, top] = [x, y].map(|at| u16::try_from(at).unwrap());
                let all = Rect { x: left, y: top, width: 64, height: 64 }.and(at);
                let kind = usize::from(plain.next().unwrap());
                let count = usize::from(all.width) * usize::from(all.height);
                if kind == 0 {
                    let colours: Vec<u32> = (0..count).map(|_| pixel(&mut plain)).collect();
                    self.put(all, colours);
                    continue;
                }
                assert!(kind <= 16, "no runs are made");
                let palette: Vec<u32> = (0..kind).map(|_| pixel(&mut plain)).collect();
                let bits = [0, 0, 1, 2, 2].get(kind).copied().unwrap_or(4);
                let mut colours = Vec::new();
                for _ in 0..all.height {
                    let mut left = 0;
                    let mut byte = 0;
                    for _ in 0..all.width {
                        if bits > 0 && left == 0 {
                            (byte, left) = (plain.next().unwrap(), 8);
                        }
                        left -= bits;
                        let index = if bits == 0 { 0 } else { byte >> left & ((1 << bits) - 1) };
                        colours.push(palette[usize::from(index)]);
                    }
                }
                self.put(all, colours);
            }
        }
        assert_eq!(plain.next(), None);
    }

    fn see(&mut self, bytes: &[u8]) -> Vec<Told> {
        self.bytes.extend(bytes);
        let mut told = Vec::new();
        while !self.bytes.is_empty() {
            match self.u8() {
                0 => {
                    self.u8();
                    let count = self.u16();
                    told.push(Told::Update(count));
                    for _ in 0..count {
                        let [x, y, width, height] = [(); 4].map(|()| self.u16());
                        let at = Rect { x, y, width, height };
                        let number = self.u32().cast_signed();
                        if number == encoding::LAST_RECT {
                            assert_eq!(at, Rect::default());
                            break;
                        }
                        self.rectangle(at, number, &mut told);
                    }
                }
                150 => told.push(Told::EndOfContinuousUpdates),
                248 => {
                    self.take(3);
                    let (flags, length) = (self.u32(), self.u8());
                    let payload = self.take(usize::from(length));
                    told.push(Told::Fence(flags, payload));
                }
                other => panic!("message {other}"),
            }
        }
        told
    }

    fn rectangle(&mut self, at: Rect, number: i32, told: &mut Vec<Told>) {
        let pixels = usize::from(at.width) * usize::from(at.height);
        match number {
            encoding::RAW => {
                let bytes = self.take(pixels * 4);
                let colours = bytes.chunks(4).map(|pixel| u32::from_le_bytes(pixel.try_into().unwrap()));
                self.put(at, colours.collect::<Vec<_>>());
            }
            encoding::TIGHT => told.extend(self.tight(at).map(Told::Jpeg)),
            encoding::ZRLE => self.zrle(at),
            encoding::LED_STATE => {
                let state = self.u8();
                told.push(Told::Leds(state));
            }
            encoding::QEMU_EXTENDED_KEY => told.push(Told::ExtendedKey),
            encoding::CURSOR => {
                let bytes =
                    self.take(pixels * 4 + usize::from(at.height) * usize::from(at.width).div_ceil(8));
                told.push(Told::Cursor { at, bytes });
            }
            encoding::DESKTOP_SIZE | encoding::EXTENDED_DESKTOP_SIZE => {
                (self.width, self.height) = (at.width.into(), at.height.into());
                self.pixels = vec![u32::MAX; pixels];
                if number == encoding::DESKTOP_SIZE {
                    return told.push(Told::Size(at.width, at.height));
                }
                let screens = self.take(4);
                assert_eq!(screens, [1, 0, 0, 0]);
                let screen = self.take(16);
                assert_eq!(screen[8..10], at.width.to_be_bytes());
                told.push(Told::ScreenSize {
                    reason: at.x,
                    status: at.y,
                    width: at.width,
                    height: at.height,
                });
            }
            other => panic!("encoding {other}"),
        }
    }

    fn shows(&self, screen: &Screen) -> bool {
        let (width, height) = screen.size();
        (self.width, self.height) == (width.into(), height.into())
            && self.pixels.chunks(self.width).zip(0..).all(|(row, y)| row == screen.row(y, 0, width))
    }
}

fn span(start: u16, length: u16) -> Range<usize> {
    usize::from(start)..usize::from(start) + usize::from(length)
}

fn open(screen: &Screen, list: &[i32]) -> (Server, Viewer) {
    let mut server = Server::new("system");
    let mut events = Vec::new();
    server.receive(HANDSHAKE, screen, &mut events).unwrap();
    assert_eq!(events, [Event::Open]);
    let viewer = Viewer::new(&server.take_output());
    server.receive(&encodings(list), screen, &mut events).unwrap();
    (server, viewer)
}

/// The viewer asks until it gets nothing more; the updates' sizes.
fn look(server: &mut Server, viewer: &mut Viewer, screen: &Screen, deflater: &mut Deflater) -> Vec<usize> {
    let mut sizes = Vec::new();
    loop {
        let ask = request(true, Rect::all(u16::MAX, u16::MAX));
        server.receive(&ask, screen, &mut Vec::new()).unwrap();
        if !server.update(screen, deflater).unwrap() {
            return sizes;
        }
        let bytes = server.take_output();
        sizes.push(bytes.len());
        viewer.see(&bytes);
    }
}

#[test]
fn nothing_is_sent_that_was_not_asked_for_and_nothing_twice() {
    let mut screen = Screen::new(640, 480).unwrap();
    let mut deflater = Deflater::default();
    let (mut server, mut viewer) = open(&screen, &[encoding::TIGHT, encoding::RAW]);
    assert!(!server.update(&screen, &mut deflater).unwrap(), "not asked");
    assert_eq!(look(&mut server, &mut viewer, &screen, &mut deflater).len(), 1);
    assert!(viewer.shows(&screen));
    screen.draw(Rect { x: 100, y: 100, width: 1, height: 1 }, &[0x00ab_cdef]);
    screen.draw(Rect { x: 100, y: 100, width: 1, height: 1 }, &[0x0012_3456]);
    // It waits since the last request, and gets what is there now: one tile.
    assert!(server.update(&screen, &mut deflater).unwrap());
    let bytes = server.take_output();
    assert!(bytes.len() < 200, "{} bytes for a tile of two colours", bytes.len());
    assert_eq!(viewer.see(&bytes), [Told::Update(1)]);
    assert!(viewer.shows(&screen));
    screen.draw(Rect { x: 3, y: 3, width: 1, height: 1 }, &[1]);
    assert!(!server.update(&screen, &mut deflater).unwrap(), "it has not asked again");
}

#[test]
fn an_update_is_bounded_and_the_rest_comes_when_it_is_wanted() {
    let mut screen = Screen::new(1920, 1080).unwrap();
    let noise: Vec<u32> = (0..1920 * 1080_u32).map(|at| at.wrapping_mul(2_654_435_761) >> 8).collect();
    screen.draw(Rect::all(1920, 1080), &noise);
    let mut deflater = Deflater::default();
    for list in [&[encoding::RAW][..], &[encoding::TIGHT], &[encoding::ZRLE]] {
        let (mut server, mut viewer) = open(&screen, list);
        let sizes = look(&mut server, &mut viewer, &screen, &mut deflater);
        assert!(sizes.len() > 8 && sizes.iter().all(|size| *size < UPDATE_SOFT_MAX + (1 << 20)), "{sizes:?}");
        assert!(viewer.shows(&screen));
    }
}

/// A large screen on which no two pixels beside each other are the same.
fn noise(width: u16, height: u16) -> Screen {
    let mut screen = Screen::new(width, height).unwrap();
    let pixels: Vec<u32> =
        (0..u32::from(width) * u32::from(height)).map(|at| at.wrapping_mul(2_654_435_761) >> 8).collect();
    screen.draw(Rect::all(width, height), &pixels);
    screen
}

/// What is sent until nothing more is wanted, which is understood as a whole; the sizes of the pieces.
fn rest(
    server: &mut Server,
    viewer: &mut Viewer,
    screen: &Screen,
    deflater: &mut Deflater,
) -> (Vec<Told>, Vec<usize>) {
    let (mut bytes, mut sizes) = (Vec::new(), Vec::new());
    loop {
        let is_more = server.update(screen, deflater).unwrap();
        let piece = server.take_output();
        assert_eq!(is_more, server.is_waiting() || !piece.is_empty());
        if piece.is_empty() {
            return (viewer.see(&bytes), sizes);
        }
        sizes.push(piece.len());
        bytes.extend(piece);
    }
}

/// A client that takes one update for all it asked for, as those do that save a picture.
#[test]
fn one_request_has_one_update_where_its_end_is_told() {
    let screen = noise(1920, 1080);
    let mut deflater = Deflater::default();
    for pixels in [encoding::RAW, encoding::TIGHT, encoding::ZRLE] {
        let (mut server, mut viewer) = open(&screen, &[pixels, encoding::LAST_RECT]);
        server.receive(&request(false, Rect::all(1920, 1080)), &screen, &mut Vec::new()).unwrap();
        let (told, sizes) = rest(&mut server, &mut viewer, &screen, &mut deflater);
        assert_eq!(told, [Told::Update(u16::MAX)], "{pixels}");
        assert!(sizes.len() > 8 && sizes.iter().all(|size| *size < UPDATE_SOFT_MAX + (1 << 20)), "{sizes:?}");
        assert!(viewer.shows(&screen));
        // What fits at once is told with its count.
        server
            .receive(&request(false, Rect { x: 0, y: 0, width: 9, height: 9 }), &screen, &mut Vec::new())
            .unwrap();
        assert_eq!(rest(&mut server, &mut viewer, &screen, &mut deflater).0, [Told::Update(1)], "{pixels}");
    }
}

#[test]
fn an_update_without_its_end_is_ended_before_anything_else_is_said() {
    let whole = Rect::all(1920, 1080);
    let fence = [&[248, 0, 0, 0, 0x80, 0, 0, 1, 1][..], b"x"].concat();
    let new = encodings(&[encoding::RAW, encoding::LAST_RECT, encoding::FENCE]);
    for (message, answer) in [(fence, Told::Fence(1, b"x".to_vec())), (new, Told::Fence(1 << 31, Vec::new()))]
    {
        let screen = noise(1920, 1080);
        let mut deflater = Deflater::default();
        let (mut server, mut viewer) = open(&screen, &[encoding::RAW, encoding::LAST_RECT]);
        server.receive(&request(false, whole), &screen, &mut Vec::new()).unwrap();
        assert!(!server.is_amid_update());
        assert!(server.update(&screen, &mut deflater).unwrap() && server.is_amid_update());
        server.receive(&message, &screen, &mut Vec::new()).unwrap();
        assert!(!server.is_waiting() && !server.is_amid_update());
        assert_eq!(viewer.see(&server.take_output()), [Told::Update(u16::MAX), answer]);
        assert!(!viewer.shows(&screen));
        server.receive(&request(true, whole), &screen, &mut Vec::new()).unwrap();
        assert_eq!(rest(&mut server, &mut viewer, &screen, &mut deflater).0, [Told::Update(u16::MAX)]);
        assert!(viewer.shows(&screen));
    }
}

#[test]
fn another_size_ends_an_update_and_is_told_to_who_has_asked_again() {
    let mut screen = noise(1920, 1080);
    let mut deflater = Deflater::default();
    let (mut server, mut viewer) =
        open(&screen, &[encoding::RAW, encoding::LAST_RECT, encoding::DESKTOP_SIZE]);
    server.receive(&request(false, Rect::all(1920, 1080)), &screen, &mut Vec::new()).unwrap();
    assert!(server.update(&screen, &mut deflater).unwrap());
    // Asked for while the answer to the first is on its way: it is not forgotten.
    server.receive(&request(true, Rect::all(1920, 1080)), &screen, &mut Vec::new()).unwrap();
    screen.resize(640, 480).unwrap();
    let mut bytes = server.take_output();
    while server.update(&screen, &mut deflater).unwrap() {
        bytes.extend(server.take_output());
    }
    assert_eq!(viewer.see(&bytes), [Told::Update(u16::MAX), Told::Update(1), Told::Size(640, 480)]);
    server.receive(&request(true, Rect::all(640, 480)), &screen, &mut Vec::new()).unwrap();
    assert_eq!(rest(&mut server, &mut viewer, &screen, &mut deflater).0, [Told::Update(u16::MAX)]);
    assert!(viewer.shows(&screen));
}

/// A part that changes all the time keeps no other from being shown, and no update from ending.
#[test]
fn an_update_ends_whatever_moves() {
    let mut screen = noise(1920, 1080);
    let mut deflater = Deflater::default();
    let (mut server, mut viewer) = open(&screen, &[encoding::RAW, encoding::LAST_RECT]);
    server.receive(&request(false, Rect::all(1920, 1080)), &screen, &mut Vec::new()).unwrap();
    let (mut bytes, mut colour) = (Vec::new(), 0);
    while server.update(&screen, &mut deflater).unwrap() {
        bytes.extend(server.take_output());
        colour += 1;
        assert!(colour < 100, "no end");
        screen.draw(Rect { x: 0, y: 0, width: 1920, height: 64 }, &vec![colour; 1920 * 64]);
    }
    assert_eq!(viewer.see(&bytes), [Told::Update(u16::MAX)]);
    assert!(!viewer.pixels.contains(&u32::MAX), "every part has come");
}

#[test]
fn who_asks_for_all_of_it_each_time_is_shown_all_of_it() {
    let mut screen = Screen::new(1024, 768).unwrap();
    let noise: Vec<u32> = (0..1024 * 768_u32).map(|at| at.wrapping_mul(2_654_435_761) >> 8).collect();
    screen.draw(Rect::all(1024, 768), &noise);
    let mut deflater = Deflater::default();
    for list in [&[encoding::RAW][..], &[encoding::TIGHT], &[encoding::ZRLE]] {
        let (mut server, mut viewer) = open(&screen, list);
        for _ in 0..40 {
            let ask = request(false, Rect::all(1024, 768));
            server.receive(&ask, &screen, &mut Vec::new()).unwrap();
            assert!(server.update(&screen, &mut deflater).unwrap());
            viewer.see(&server.take_output());
        }
        assert!(viewer.shows(&screen), "{list:?}");
    }
}

#[test]
fn a_jpeg_goes_through_untouched_and_only_to_who_takes_it() {
    let mut screen = Screen::new(64, 64).unwrap();
    let mut deflater = Deflater::default();
    let list = [encoding::TIGHT, encoding::JPEG_QUALITY_LOWEST + 6, encoding::DESKTOP_SIZE];
    let (mut server, mut viewer) = open(&screen, &list);
    let (mut plain, _) = open(&screen, &[encoding::RAW]);
    let jpeg: Vec<u8> = (0..200_000_u32).map(|at| at.to_le_bytes()[0]).collect();
    screen.show_jpeg(1920, 1080, &jpeg).unwrap();
    let ask = request(true, Rect::all(1920, 1080));
    server.receive(&ask, &screen, &mut Vec::new()).unwrap();
    assert!(server.update(&screen, &mut deflater).unwrap());
    assert_eq!(viewer.see(&server.take_output()), [Told::Update(1), Told::Size(1920, 1080)]);
    server.receive(&ask, &screen, &mut Vec::new()).unwrap();
    assert!(server.update(&screen, &mut deflater).unwrap());
    assert_eq!(viewer.see(&server.take_output()), [Told::Update(1), Told::Jpeg(jpeg.clone())]);
    server.receive(&ask, &screen, &mut Vec::new()).unwrap();
    assert!(!screen.show_jpeg(1920, 1080, &jpeg).unwrap());
    assert!(!server.update(&screen, &mut deflater).unwrap(), "the same frame");
    plain.receive(&ask, &screen, &mut Vec::new()).unwrap();
    assert_eq!(plain.update(&screen, &mut deflater), Err(Violation::NeedsJpeg));
}

#[test]
fn a_jpeg_is_copied_for_no_viewer() {
    let mut screen = Screen::new(64, 64).unwrap();
    let mut deflater = Deflater::default();
    screen.show_jpeg(64, 64, &[7; 100_000]).unwrap();
    let list =
        [encoding::TIGHT, encoding::JPEG_QUALITY_LOWEST, encoding::FENCE, encoding::CONTINUOUS_UPDATES];
    let (mut server, _) = open(&screen, &list);
    server.take_output();
    server.receive(&continuous(true, Rect::all(64, 64)), &screen, &mut Vec::new()).unwrap();
    assert!(server.update(&screen, &mut deflater).unwrap());
    let pieces = server.take_pieces();
    let [Piece::Own(head), Piece::Shared(jpeg), Piece::Own(fence)] = pieces.as_slice() else {
        panic!("{} pieces", pieces.len())
    };
    assert!(Arc::ptr_eq(jpeg, screen.jpeg().unwrap()));
    assert_eq!((head[..4].to_vec(), fence[0]), (vec![0, 0, 0, 1], 248));
}

#[test]
fn zrle_shows_what_there_is_in_one_stream() {
    let mut screen = Screen::new(200, 130).unwrap();
    let mut deflater = Deflater::default();
    let (mut server, mut viewer) = open(&screen, &[encoding::ZRLE, encoding::TIGHT, encoding::RAW]);
    for colours in [1, 2, 3, 4, 5, 16, 17, 1000] {
        let pixels: Vec<u32> =
            (0..200 * 130_u32).map(|at| at.wrapping_mul(2_654_435_761) % colours * 0x1234).collect();
        screen.draw(Rect::all(200, 130), &pixels);
        look(&mut server, &mut viewer, &screen, &mut deflater);
        assert!(viewer.shows(&screen), "{colours} colours");
    }
}

#[test]
fn a_new_size_is_told_to_who_has_just_asked_for_another() {
    let mut screen = Screen::new(64, 64).unwrap();
    let mut deflater = Deflater::default();
    let (mut server, mut viewer) = open(&screen, &[encoding::TIGHT, encoding::EXTENDED_DESKTOP_SIZE]);
    let wants = [&[251, 0, 3, 0, 2, 0, 1, 0][..], &[0; 16]].concat();
    server.receive(&wants, &screen, &mut Vec::new()).unwrap();
    screen.resize(128, 96).unwrap();
    server.receive(&request(true, Rect::all(64, 64)), &screen, &mut Vec::new()).unwrap();
    assert!(server.update(&screen, &mut deflater).unwrap());
    let size = Told::ScreenSize { reason: 0, status: 0, width: 128, height: 96 };
    assert_eq!(viewer.see(&server.take_output()), [Told::Update(1), size]);
}

#[test]
fn who_asks_and_never_confirms_is_served_as_it_asks() {
    let mut screen = Screen::new(64, 64).unwrap();
    let mut deflater = Deflater::default();
    let (mut server, mut viewer) =
        open(&screen, &[encoding::TIGHT, encoding::FENCE, encoding::CONTINUOUS_UPDATES]);
    server.receive(&continuous(true, Rect::all(64, 64)), &screen, &mut Vec::new()).unwrap();
    for colour in 1..1000 {
        screen.draw(Rect { x: 0, y: 0, width: 1, height: 1 }, &[colour]);
        server.receive(&request(true, Rect::all(64, 64)), &screen, &mut Vec::new()).unwrap();
        assert!(server.update(&screen, &mut deflater).unwrap());
        viewer.see(&server.take_output());
    }
    assert!(viewer.shows(&screen));
}

#[test]
fn lamps_are_told_when_they_change() {
    let mut screen = Screen::new(64, 64).unwrap();
    let mut deflater = Deflater::default();
    let (mut server, mut viewer) = open(&screen, &[encoding::TIGHT, encoding::LED_STATE]);
    look(&mut server, &mut viewer, &screen, &mut deflater);
    server.receive(&request(true, Rect::all(64, 64)), &screen, &mut Vec::new()).unwrap();
    screen.set_leds(Some(Leds { num: true, caps: true, scroll: false }));
    assert!(server.update(&screen, &mut deflater).unwrap());
    assert_eq!(viewer.see(&server.take_output()), [Told::Update(1), Told::Leds(0b110)]);
}

#[test]
fn who_wants_updates_by_themselves_is_paced_by_its_fences() {
    let mut screen = Screen::new(64, 64).unwrap();
    let mut deflater = Deflater::default();
    let list = [encoding::TIGHT, encoding::FENCE, encoding::CONTINUOUS_UPDATES];
    let (mut server, mut viewer) = open(&screen, &list);
    let told = viewer.see(&server.take_output());
    assert_eq!(told, [Told::Fence(1 << 31, Vec::new()), Told::EndOfContinuousUpdates]);
    server.receive(&continuous(true, Rect::all(64, 64)), &screen, &mut Vec::new()).unwrap();
    let mut updates = 0;
    let mut fence = Vec::new();
    for colour in 1..10 {
        screen.draw(Rect { x: 0, y: 0, width: 1, height: 1 }, &[colour]);
        if server.update(&screen, &mut deflater).unwrap() {
            updates += 1;
            let told = viewer.see(&server.take_output());
            let [Told::Update(1), Told::Fence(flags, payload)] = &told[..] else { panic!("{told:?}") };
            assert_eq!(flags >> 31, 1);
            fence =
                [&[248, 0, 0, 0, 0, 0, 0, 1, u8::try_from(payload.len()).unwrap()], &payload[..]].concat();
        }
    }
    assert_eq!(updates, 2, "the third waits for the first to be confirmed");
    assert!(!viewer.shows(&screen));
    server.receive(&fence, &screen, &mut Vec::new()).unwrap();
    assert!(server.update(&screen, &mut deflater).unwrap());
    viewer.see(&server.take_output());
    assert!(viewer.shows(&screen), "the latest, and nothing of what was between");
    // Its own fences come back, with the order they ask for.
    server.receive(b"\xf8\0\0\0\x80\0\0\x05\x02ab", &screen, &mut Vec::new()).unwrap();
    server.receive(&continuous(false, Rect::default()), &screen, &mut Vec::new()).unwrap();
    let told = viewer.see(&server.take_output());
    assert_eq!(told, [Told::Fence(5, b"ab".to_vec()), Told::EndOfContinuousUpdates]);
}

#[test]
fn sizes_keys_and_the_pointer_s_shape_are_told_to_who_wants_to_know() {
    let mut screen = Screen::new(64, 64).unwrap();
    let mut deflater = Deflater::default();
    let list = [
        encoding::RAW,
        encoding::EXTENDED_DESKTOP_SIZE,
        encoding::QEMU_EXTENDED_KEY,
        encoding::CURSOR,
        encoding::DESKTOP_SIZE,
    ];
    let (mut server, mut viewer) = open(&screen, &list);
    let cursor = Cursor { hotspot: (1, 0), width: 2, pixels: vec![1, 2], seen: vec![true, false] };
    screen.set_cursor(Some(cursor));
    let mut next = |server: &mut Server, screen: &Screen, ask: Vec<u8>| {
        server.receive(&ask, screen, &mut Vec::new()).unwrap();
        assert!(server.update(screen, &mut deflater).unwrap());
        viewer.see(&server.take_output())
    };
    let all = Rect::all(64, 64);
    let size = |reason, status, width, height| Told::ScreenSize { reason, status, width, height };
    assert_eq!(next(&mut server, &screen, request(false, all)), [Told::Update(1), size(0, 0, 64, 64)]);
    let told = next(&mut server, &screen, request(true, all));
    let at = Rect { x: 1, y: 0, width: 2, height: 1 };
    let shape = Told::Cursor { at, bytes: vec![1, 0, 0, 0, 2, 0, 0, 0, 0x80] };
    assert_eq!(told, [Told::Update(3), Told::ExtendedKey, shape]);
    // It may not change the size.
    let mut wish = vec![251, 0, 0, 9, 0, 9, 1, 0];
    wish.extend([0; 16]);
    wish.extend(request(true, all));
    assert_eq!(next(&mut server, &screen, wish), [Told::Update(1), size(1, 1, 64, 64)]);
    screen.resize(128, 70).unwrap();
    assert_eq!(next(&mut server, &screen, request(true, all)), [Told::Update(1), size(0, 0, 128, 70)]);
    assert_eq!(next(&mut server, &screen, request(true, Rect::all(128, 70))).len(), 1);
    assert!(viewer.shows(&screen));
}

#[test]
fn older_versions_are_spoken_to_and_others_are_not() {
    let screen = Screen::new(64, 64).unwrap();
    let begin = |bytes: &[u8]| {
        let mut server = Server::new("x");
        let result = server.receive(bytes, &screen, &mut Vec::new());
        (result, server.take_output()[12..].to_vec())
    };
    assert_eq!(begin(b"RFB 003.003\n"), (Ok(()), vec![0, 0, 0, 1]));
    let (result, output) = begin(b"RFB 003.007\n\x01\x00");
    assert_eq!(
        (result, output[..2].to_vec(), output[2..6].to_vec()),
        (Ok(()), vec![1, 1], vec![0, 64, 0, 64])
    );
    assert_eq!(begin(b"GET / HTTP/1.1\r\n").0, Err(Violation::Version));
    let (result, output) = begin(b"RFB 003.008\n\x02");
    assert_eq!((result, &output[2..6]), (Err(Violation::Security), &[0, 0, 0, 1][..]));
}

#[test]
fn long_text_is_passed_over_and_what_follows_is_heard() {
    let screen = Screen::new(64, 64).unwrap();
    let (mut server, _) = open(&screen, &[]);
    let mut events = Vec::new();
    let text = cut_text(CUT_TEXT_MAX + 1);
    for piece in text.chunks(1000) {
        server.receive(piece, &screen, &mut events).unwrap();
        assert_eq!(server.input_len(), 0);
    }
    server.receive(&cut_text(2), &screen, &mut events).unwrap();
    assert_eq!(events, [Event::CutText(b"xx".to_vec())]);
    let unknown = server.receive(&[99], &screen, &mut events);
    assert_eq!(unknown, Err(Violation::Unknown(99)));
}

#[test]
fn pixels_of_another_format_are_sent_in_it() {
    let mut screen = Screen::new(2, 1).unwrap();
    screen.draw(Rect::all(2, 1), &[0x00ff_0000, 0x0000_00ff]);
    let (mut server, _) = open(&screen, &[encoding::RAW]);
    server.take_output();
    let format = [0, 0, 0, 0, 16, 16, 0, 1, 0, 31, 0, 63, 0, 31, 11, 5, 0, 0, 0, 0];
    server.receive(&format, &screen, &mut Vec::new()).unwrap();
    server.receive(&request(false, Rect::all(2, 1)), &screen, &mut Vec::new()).unwrap();
    assert!(server.update(&screen, &mut Deflater::default()).unwrap());
    assert_eq!(server.take_output().get(16..).unwrap(), [0x00, 0xf8, 0x1f, 0x00]);
}

#[derive(Clone, Debug)]
enum Step {
    Draw(Rect, u32),
    Size(u16, u16),
    Look,
    Ask(Rect),
}

fn rect() -> impl Strategy<Value = Rect> {
    (0..300_u16, 0..200_u16, 1..200_u16, 1..150_u16).prop_map(|(x, y, width, height)| Rect {
        x,
        y,
        width,
        height,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (rect(), 0..0x0100_0000_u32).prop_map(|(at, colour)| Step::Draw(at, colour)),
        1 => (1..300_u16, 1..200_u16).prop_map(|(width, height)| Step::Size(width, height)),
        2 => Just(Step::Look),
        2 => rect().prop_map(Step::Ask),
    ]
}

fn message() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        (any::<bool>(), any::<u32>(), any::<u32>()).prop_map(|(down, sym, code)| key(down, sym, code)),
        (any::<u8>(), any::<[u8; 4]>()).prop_map(|(buttons, at)| [&[5, buttons][..], &at].concat()),
        (0..300_usize).prop_map(cut_text),
        Just(cut_text(CUT_TEXT_MAX + 7)),
        rect().prop_map(|at| request(true, at)),
        proptest::collection::vec(any::<i32>(), 0..20).prop_map(|list| encodings(&list)),
        proptest::collection::vec(any::<u8>(), 0..64).prop_map(|payload| {
            [&[248, 0, 0, 0, 0x80, 0, 0, 1, u8::try_from(payload.len()).unwrap()], &payload[..]].concat()
        }),
    ]
}

proptest! {
    #[test]
    fn a_viewer_is_shown_what_is_on_the_screen(
        steps in proptest::collection::vec(step(), 1..40),
        is_tight in any::<bool>(),
        is_extended in any::<bool>(),
    ) {
        let mut screen = Screen::new(200, 130).unwrap();
        let mut deflater = Deflater::default();
        let pixels = if is_tight { encoding::TIGHT } else { encoding::RAW };
        let size = if is_extended { encoding::EXTENDED_DESKTOP_SIZE } else { encoding::DESKTOP_SIZE };
        let (mut server, mut viewer) = open(&screen, &[pixels, size]);
        for step in steps {
            match step {
                Step::Draw(at, colour) => {
                    let pixels = u32::from(at.width) * u32::from(at.height);
                    // Some of one colour, some not.
                    let pixels: Vec<u32> = (0..pixels).map(|index| (colour + index * (colour & 1)) & 0x00ff_ffff).collect();
                    screen.draw(at, &pixels);
                }
                Step::Size(width, height) => screen.resize(width, height).unwrap(),
                Step::Look => {
                    look(&mut server, &mut viewer, &screen, &mut deflater);
                    prop_assert!(viewer.shows(&screen));
                }
                Step::Ask(at) => {
                    server.receive(&request(false, at), &screen, &mut Vec::new()).unwrap();
                    server.update(&screen, &mut deflater).unwrap();
                    viewer.see(&server.take_output());
                }
            }
        }
        look(&mut server, &mut viewer, &screen, &mut deflater);
        prop_assert!(viewer.shows(&screen));
    }

    #[test]
    fn however_bytes_are_cut_they_say_the_same(
        messages in proptest::collection::vec(message(), 1..12),
        cuts in proptest::collection::vec(1..4000_usize, 1..30),
    ) {
        let screen = Screen::new(640, 480).unwrap();
        let all = [HANDSHAKE, &messages.concat()].concat();
        let mut whole = (Server::new("system"), Vec::new());
        whole.0.receive(&all, &screen, &mut whole.1).unwrap();
        let mut cut = (Server::new("system"), Vec::new());
        let (mut rest, mut sizes) = (&all[..], cuts.iter().cycle());
        while !rest.is_empty() {
            let (piece, after) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
            cut.0.receive(piece, &screen, &mut cut.1).unwrap();
            prop_assert!(cut.0.input_len() <= CUT_TEXT_MAX + 8);
            rest = after;
        }
        prop_assert_eq!(whole.1, cut.1);
        prop_assert_eq!(whole.0.take_output(), cut.0.take_output());
    }

    #[test]
    fn no_bytes_of_a_viewer_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..2000), is_open in any::<bool>()) {
        let screen = Screen::new(640, 480).unwrap();
        let mut server = Server::new("system");
        let mut events = Vec::new();
        if is_open {
            server.receive(HANDSHAKE, &screen, &mut events).unwrap();
        }
        let mut deflater = Deflater::default();
        for piece in bytes.chunks(61) {
            if server.receive(piece, &screen, &mut events).is_err() {
                break;
            }
            prop_assert!(server.input_len() <= CUT_TEXT_MAX.max(4 * ENCODINGS_MAX) + 8);
            let _ = server.update(&screen, &mut deflater);
            server.take_output();
        }
    }

    #[test]
    fn no_bytes_of_a_server_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..4000)) {
        let mut screen = Screen::new(64, 64).unwrap();
        let mut client = Client::default();
        client.receive(b"RFB 003.008\n\x01\x01\0\0\0\0\x00\x40\x00\x40", &mut screen).unwrap();
        for piece in bytes.chunks(61) {
            if client.receive(piece, &mut screen).is_err() {
                break;
            }
        }
    }

    #[test]
    fn the_client_draws_what_a_server_shows(cuts in proptest::collection::vec(1..5000_usize, 1..20), steps in proptest::collection::vec((rect(), any::<u32>()), 1..10)) {
        let mut theirs = Screen::new(300, 200).unwrap();
        let mut ours = Screen::new(64, 64).unwrap();
        let (mut server, mut client) = (Server::new("qemu"), Client::default());
        let (mut deflater, mut sizes, mut heard) = (Deflater::default(), cuts.iter().cycle(), Vec::new());
        let mut carry = |server: &mut Server, client: &mut Client, theirs: &Screen, ours: &mut Screen| loop {
            let (down, up) = (server.take_output(), client.take_output());
            if down.is_empty() && up.is_empty() && !server.update(theirs, &mut deflater).unwrap() {
                break;
            }
            let mut rest = &down[..];
            while !rest.is_empty() {
                let (piece, after) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
                client.receive(piece, ours).unwrap();
                rest = after;
            }
            server.receive(&up, theirs, &mut heard).unwrap();
        };
        for (at, colour) in steps {
            let count = usize::from(at.width) * usize::from(at.height);
            theirs.draw(at, &vec![colour & 0x00ff_ffff; count]);
            client.request();
            carry(&mut server, &mut client, &theirs, &mut ours);
        }
        theirs.resize(100, 150).unwrap();
        client.request();
        carry(&mut server, &mut client, &theirs, &mut ours);
        client.request();
        carry(&mut server, &mut client, &theirs, &mut ours);
        prop_assert_eq!(ours.size(), theirs.size());
        for y in 0..150 {
            prop_assert_eq!(ours.row(y, 0, 100), theirs.row(y, 0, 100));
        }
        let typed = Input::Key { down: true, keysym: 65, code: Some(30) };
        client.input(typed);
        carry(&mut server, &mut client, &theirs, &mut ours);
        prop_assert!(heard.contains(&Event::Input(typed)));
    }
}
