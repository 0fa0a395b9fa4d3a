//! What is down and where the pointer is, as reports that wait for a host.

use std::collections::VecDeque;

use rfb::{Input, Leds};

use crate::descriptor::{KEYBOARD_REPORT, POINTER_REPORT};
use crate::usage;

/// Reports of the keyboard that wait: with so many nothing more should be passed on to it.
pub const KEYS_WAITING_MAX: usize = 64;
/// Reports of the pointer that wait. A host that asks only for the keyboard, as firmware does, makes none of them older.
pub const POINTERS_WAITING_MAX: usize = 32;
/// Keys in a report.
const KEYS: usize = KEYBOARD_REPORT - 2;
/// What stands in each place of a report when more keys are down than it has room for (HID 1.11, appendix C).
const ROLL_OVER: u8 = 0x01;
/// The first of eight modifiers, which have bits of their own.
const MODIFIERS: u8 = 0xe0;
/// The largest coordinate of the pointer.
const FAR: u32 = 0x7fff;
/// Buttons that the pointer has: those of RFB are left, middle, right; of HID left, right, middle.
const BUTTONS: [(u8, u8); 3] = [(0, 0), (1, 2), (2, 1)];
/// Those bits of RFB's buttons that are turns of the wheel, and by how much.
const WHEEL: [(u8, i8); 2] = [(3, 1), (4, -1)];

/// The lamps of the keyboard, from a report of the host (HID 1.11, appendix B.1).
#[must_use]
pub const fn leds(report: u8) -> Leds {
    Leds { num: report & 1 != 0, caps: report & 2 != 0, scroll: report & 4 != 0 }
}

/// Both devices.
#[derive(Debug, Default)]
pub struct Hid {
    /// Keys that are down, in the order in which they were pressed.
    down: Vec<u8>,
    modifiers: u8,
    keys: VecDeque<[u8; KEYBOARD_REPORT]>,
    /// Where the pointer is, in its own steps, and RFB's buttons.
    at: (u16, u16),
    buttons: u8,
    pointers: VecDeque<[u8; POINTER_REPORT]>,
}

impl Hid {
    /// Takes what somebody typed or pointed on a screen of this size. Whether it means something to these devices.
    pub fn input(&mut self, input: Input, size: (u16, u16)) -> bool {
        match input {
            Input::Key { down, keysym, code } => {
                let code = code.filter(|code| *code != 0).or_else(|| usage::of_keysym(keysym));
                let Some(usage) = code.and_then(usage::of_code) else { return false };
                self.key(usage, down);
            }
            Input::Pointer { buttons, x, y } => self.point(buttons, (x, y), size),
        }
        true
    }

    fn key(&mut self, usage: u8, down: bool) {
        let before = self.keyboard();
        if usage >= MODIFIERS {
            let bit = 1 << (usage & 7);
            self.modifiers = if down { self.modifiers | bit } else { self.modifiers & !bit };
        } else if !down {
            self.down.retain(|held| *held != usage);
        } else if !self.down.contains(&usage) && self.down.len() < rfb::HELD_MAX {
            self.down.push(usage);
        }
        let now = self.keyboard();
        if now != before {
            self.keys.push_back(now);
        }
    }

    /// The keyboard as it is.
    fn keyboard(&self) -> [u8; KEYBOARD_REPORT] {
        let mut report = [0; KEYBOARD_REPORT];
        let [modifiers, _, keys @ ..] = &mut report;
        *modifiers = self.modifiers;
        if self.down.len() > KEYS {
            keys.fill(ROLL_OVER);
        } else {
            for (place, usage) in keys.iter_mut().zip(&self.down) {
                *place = *usage;
            }
        }
        report
    }

    fn point(&mut self, buttons: u8, at: (u16, u16), size: (u16, u16)) {
        let step = |at: u16, size: u16| {
            // The last pixel is the last step.
            let last = u32::from(size.saturating_sub(1)).max(1);
            u16::try_from(u32::from(at).min(last) * FAR / last).unwrap_or(0)
        };
        let was = self.pointer(0);
        self.at = (step(at.0, size.0), step(at.1, size.1));
        let pressed = buttons & !self.buttons;
        self.buttons = buttons;
        // A turn is said by a button that goes down; the same button that comes up says nothing.
        let turns = WHEEL.iter().filter(|(bit, _)| pressed & 1 << bit != 0).map(|(_, turn)| *turn).sum();
        let now = self.pointer(turns);
        if now == was {
            return;
        }
        // Where it was on its way does not matter; where buttons change or the wheel turns does.
        let is_move = |report: &[u8; POINTER_REPORT]| report[5] == 0;
        if let [.., before, last] = self.pointers.make_contiguous()
            && is_move(&now)
            && is_move(last)
            && last[0] == now[0]
            && before[0] == now[0]
        {
            *last = now;
            return;
        }
        if self.pointers.len() >= POINTERS_WAITING_MAX {
            // Nobody takes them. What holds now says the last.
            self.pointers.clear();
        }
        self.pointers.push_back(now);
    }

    fn pointer(&self, turns: i8) -> [u8; POINTER_REPORT] {
        let set = BUTTONS.iter().filter(|(bit, _)| self.buttons & 1 << bit != 0);
        let buttons = set.fold(0, |all, (_, bit)| all | 1 << bit);
        let ([x_low, x_high], [y_low, y_high]) = (self.at.0.to_le_bytes(), self.at.1.to_le_bytes());
        let [turns] = turns.to_le_bytes();
        [buttons, x_low, x_high, y_low, y_high, turns]
    }

    /// The next report of the keyboard.
    #[must_use]
    pub fn next_keys(&self) -> Option<[u8; KEYBOARD_REPORT]> {
        self.keys.front().copied()
    }

    /// The host has it.
    pub fn keys_sent(&mut self) {
        self.keys.pop_front();
    }

    /// The next report of the pointer.
    #[must_use]
    pub fn next_pointer(&self) -> Option<[u8; POINTER_REPORT]> {
        self.pointers.front().copied()
    }

    /// The host has it.
    pub fn pointer_sent(&mut self) {
        self.pointers.pop_front();
    }

    /// Whether the keyboard takes more.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.keys.len() < KEYS_WAITING_MAX
    }

    /// The host is another, or took nothing for so long that what waits is not meant any more: all is up, and that is what both say next.
    pub fn all_up(&mut self) {
        (self.down, self.modifiers, self.buttons) = (Vec::new(), 0, 0);
        self.keys = [self.keyboard()].into();
        self.pointers = [self.pointer(0)].into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: (u16, u16) = (1920, 1080);

    const fn key(down: bool, code: u32) -> Input {
        Input::Key { down, keysym: 0, code: Some(code) }
    }

    fn keys(hid: &mut Hid) -> Vec<[u8; 8]> {
        std::iter::from_fn(|| {
            let report = hid.next_keys()?;
            hid.keys_sent();
            Some(report)
        })
        .collect()
    }

    fn pointers(hid: &mut Hid) -> Vec<[u8; 6]> {
        std::iter::from_fn(|| {
            let report = hid.next_pointer()?;
            hid.pointer_sent();
            Some(report)
        })
        .collect()
    }

    #[test]
    fn keys_are_reported_in_order_and_modifiers_have_bits() {
        let mut hid = Hid::default();
        for input in [key(true, 0x2a), key(true, 0x1e), key(true, 0x1e), key(false, 0x1e), key(false, 0x2a)] {
            assert!(hid.input(input, SIZE));
        }
        let expected = [[2, 0, 0, 0, 0, 0, 0, 0], [2, 0, 4, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0, 0, 0, 0], [0; 8]];
        assert_eq!(keys(&mut hid), expected, "a key that repeats is down once");
        assert!(!hid.input(key(true, 0x1ff), SIZE), "no such key");
        assert!(hid.input(Input::Key { down: true, keysym: 0x61, code: None }, SIZE));
        assert_eq!(keys(&mut hid), [[0, 0, 4, 0, 0, 0, 0, 0]]);
    }

    #[test]
    fn a_seventh_key_is_an_overflow_until_one_comes_up() {
        let mut hid = Hid::default();
        for code in 0x10..0x17 {
            hid.input(key(true, code), SIZE);
        }
        let all = keys(&mut hid);
        assert_eq!(all[5], [0, 0, 0x14, 0x1a, 0x08, 0x15, 0x17, 0x1c]);
        assert_eq!(all[6], [0, 0, 1, 1, 1, 1, 1, 1]);
        hid.input(key(false, 0x10), SIZE);
        assert_eq!(keys(&mut hid), [[0, 0, 0x1a, 0x08, 0x15, 0x17, 0x1c, 0x18]]);
    }

    #[test]
    fn the_pointer_goes_from_corner_to_corner_and_its_wheel_turns_once() {
        let mut hid = Hid::default();
        let point = |hid: &mut Hid, buttons, x, y| hid.input(Input::Pointer { buttons, x, y }, SIZE);
        point(&mut hid, 0, 1919, 1079);
        assert_eq!(pointers(&mut hid), [[0, 0xff, 0x7f, 0xff, 0x7f, 0]]);
        point(&mut hid, 0, 5000, 0);
        assert_eq!(pointers(&mut hid), [[0, 0xff, 0x7f, 0, 0, 0]], "what is beyond is the edge");
        point(&mut hid, 0b100, 0, 0);
        point(&mut hid, 0b1100, 0, 0);
        point(&mut hid, 0b0100, 0, 0);
        point(&mut hid, 0b10000, 0, 0);
        let buttons: Vec<_> = pointers(&mut hid).iter().map(|report| (report[0], report[5])).collect();
        assert_eq!(buttons, [(2, 0), (2, 1), (0, 0xff)]);
    }

    #[test]
    fn moves_that_wait_become_one_and_a_host_that_asks_for_no_pointer_costs_a_bound() {
        let mut hid = Hid::default();
        for x in 1..1000 {
            hid.input(Input::Pointer { buttons: 0, x, y: 0 }, SIZE);
        }
        assert!(pointers(&mut hid).len() <= 2);
        for round in 0..1000_u16 {
            hid.input(Input::Pointer { buttons: u8::from(round % 2 == 0), x: round, y: 0 }, SIZE);
        }
        let waiting = pointers(&mut hid);
        assert!(waiting.len() <= POINTERS_WAITING_MAX);
        assert_eq!(waiting.last().unwrap()[0], 0, "the last one holds");
    }

    #[test]
    fn all_up_says_so_whatever_waits() {
        let mut hid = Hid::default();
        hid.input(key(true, 0x1d), SIZE);
        hid.input(Input::Pointer { buttons: 1, x: 10, y: 10 }, SIZE);
        hid.all_up();
        assert_eq!(keys(&mut hid), [[0; 8]]);
        assert_eq!(pointers(&mut hid).iter().map(|report| report[0]).collect::<Vec<_>>(), [0]);
        assert!(hid.input(key(false, 0x1d), SIZE) && hid.next_keys().is_none(), "it is up already");
        assert_eq!(leds(0b110), Leds { num: false, caps: true, scroll: true });
    }

    proptest::proptest! {
        /// Whatever is pressed, once all of it is released nothing is down.
        #[test]
        fn what_is_released_is_up(codes in proptest::collection::vec(0..0x100_u32, 0..80)) {
            let mut hid = Hid::default();
            let mut last = [0; 8];
            for code in &codes {
                hid.input(key(true, *code), SIZE);
                last = keys(&mut hid).last().copied().unwrap_or(last);
            }
            for code in &codes {
                hid.input(key(false, *code), SIZE);
                last = keys(&mut hid).last().copied().unwrap_or(last);
            }
            proptest::prop_assert_eq!(last, [0; 8]);
        }
    }
}
