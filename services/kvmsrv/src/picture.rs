//! A moving test picture: bars of colour, a square that goes round, the pointer, and a mark for each key that is down.

use std::time::Duration;

use rfb::{Input, Rect, Screen};

/// Its size.
pub(crate) const SIZE: (u16, u16) = (640, 480);
/// Between two frames.
pub(crate) const EVERY: Duration = Duration::from_millis(100);
/// The bars, white to black as broadcasters have them.
const BARS: [u32; 8] =
    [0x00c0_c0c0, 0x00c0_c000, 0x0000_c0c0, 0x0000_c000, 0x00c0_00c0, 0x00c0_0000, 0x0000_00c0, 0x0010_1010];
const WHITE: u32 = 0x00ff_ffff;
const GREY: u32 = 0x0030_3030;
/// The row in which the square goes.
const WAY: Rect = Rect { x: 0, y: 320, width: 640, height: 64 };
const SQUARE: u16 = 64;
/// By how much it goes at each frame.
const STEP: u16 = 16;
/// The row in which keys are shown.
const KEYS: Rect = Rect { x: 0, y: 400, width: 640, height: 32 };
/// The pointer.
const MARK: u16 = 9;

/// The picture.
#[derive(Debug, Default)]
pub(crate) struct Picture {
    frame: u16,
    keys: Vec<u32>,
    pointer: Option<(u16, u16)>,
    drawn: Option<Rect>,
    has_begun: bool,
}

impl Picture {
    /// Somebody typed or pointed.
    pub(crate) fn input(&mut self, input: Input) {
        match input {
            Input::Key { down: true, keysym, .. } if !self.keys.contains(&keysym) => self.keys.push(keysym),
            Input::Key { down: true, .. } => {}
            Input::Key { down: false, keysym, .. } => self.keys.retain(|held| *held != keysym),
            Input::Pointer { x, y, .. } => self.pointer = Some((x, y)),
        }
    }

    /// Draws what is other than before.
    pub(crate) fn draw(&mut self, screen: &mut Screen) {
        let (width, height) = SIZE;
        if !self.has_begun {
            self.has_begun = true;
            let bar = usize::from(width) / BARS.len();
            let line: Vec<u32> = BARS.iter().flat_map(|colour| std::iter::repeat_n(*colour, bar)).collect();
            for y in 0..height {
                screen.draw(Rect { x: 0, y, width, height: 1 }, &line);
            }
        }
        if let Some(at) = self.drawn.take() {
            bars(screen, at);
        }
        fill(screen, WAY, GREY);
        let room = width - SQUARE;
        let at = self.frame.wrapping_mul(STEP) % (2 * room);
        let x = if at > room { 2 * room - at } else { at };
        fill(screen, Rect { x, width: SQUARE, ..WAY }, WHITE);
        self.frame = (self.frame + 1) % (2 * room / STEP);
        fill(screen, KEYS, 0);
        for (keysym, x) in self.keys.iter().zip((0..KEYS.width).step_by(20)) {
            // Each key has its colour, none of which is black.
            fill(
                screen,
                Rect { x, width: 16, ..KEYS },
                0x0080_8080 | (keysym.wrapping_mul(0x9e37) & 0x007f_7f7f),
            );
        }
        if let Some((x, y)) = self.pointer {
            let at = Rect {
                x: x.saturating_sub(MARK / 2),
                y: y.saturating_sub(MARK / 2),
                width: MARK,
                height: MARK,
            };
            let at = at.and(Rect::all(width, height));
            fill(screen, at, WHITE);
            self.drawn = Some(at);
        }
    }
}

/// The bars as they are without the pointer.
fn bars(screen: &mut Screen, at: Rect) {
    let bar = usize::from(SIZE.0) / BARS.len();
    let line: Vec<u32> = (at.x..at.x + at.width)
        .map(|x| BARS.get(usize::from(x) / bar).copied().unwrap_or_default())
        .collect();
    for y in at.y..at.y + at.height {
        screen.draw(Rect { y, height: 1, ..at }, &line);
    }
}

fn fill(screen: &mut Screen, at: Rect, colour: u32) {
    screen.draw(at, &vec![colour; usize::from(at.width) * usize::from(at.height)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_moves_and_shows_keys_and_the_pointer_and_forgets_them() {
        let mut screen = Screen::new(SIZE.0, SIZE.1).unwrap();
        let mut picture = Picture::default();
        picture.draw(&mut screen);
        assert_eq!((screen.row(0, 0, 1), screen.row(0, 639, 1)), (&BARS[..1], &BARS[7..]));
        let square =
            |screen: &Screen| screen.row(330, 0, 640).iter().position(|pixel| *pixel == WHITE).unwrap();
        assert_eq!(square(&screen), 0);
        picture.draw(&mut screen);
        assert_eq!(square(&screen), 16);
        for _ in 0..200 {
            picture.draw(&mut screen);
            assert!(square(&screen) <= 576);
        }
        picture.input(Input::Key { down: true, keysym: 65, code: None });
        picture.input(Input::Pointer { buttons: 0, x: 639, y: 20 });
        picture.draw(&mut screen);
        assert!(screen.row(410, 0, 1) != [0] && screen.row(20, 639, 1) == [WHITE]);
        picture.input(Input::Key { down: false, keysym: 65, code: None });
        picture.input(Input::Pointer { buttons: 0, x: 100, y: 20 });
        picture.draw(&mut screen);
        assert_eq!((screen.row(410, 0, 1), screen.row(20, 639, 1)), (&[0][..], &BARS[7..]));
    }
}
