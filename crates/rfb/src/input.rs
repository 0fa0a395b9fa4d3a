//! What somebody types and points, on its way to the host.

use std::collections::VecDeque;

/// Keys that are down at a time: nobody has more fingers, and what is pressed beyond is not passed on.
pub const HELD_MAX: usize = 32;
/// Inputs that wait for a host that takes none: what is pressed or moved beyond is not passed on. Releases are.
pub const WAITING_MAX: usize = 256;

/// One input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// A key.
    Key {
        /// Pressed or released.
        down: bool,
        /// What is on it, as X has it.
        keysym: u32,
        /// Which it is, if that is known: number of the XT keyboard's set.
        code: Option<u32>,
    },
    /// The pointer.
    Pointer {
        /// A bit for each button that is down.
        buttons: u8,
        /// Pixels from the left.
        x: u16,
        /// Pixels from the top.
        y: u16,
    },
}

/// Inputs that wait, and which keys and buttons are down. Whoever leaves has all of them released.
#[derive(Debug, Default)]
pub struct Inputs {
    waiting: VecDeque<Input>,
    /// Keys that are down.
    held: Vec<(u32, Option<u32>)>,
    /// Buttons that are down, and where the pointer is.
    pointer: (u8, u16, u16),
    /// What waits last is a place of the pointer, and nothing more: no button changed with it.
    moved_last: bool,
}

impl Inputs {
    /// Takes an input; whether it is passed on.
    pub fn push(&mut self, input: Input) -> bool {
        let has_room = self.waiting.len() < WAITING_MAX;
        match input {
            Input::Key { down: true, keysym, code } => {
                // A key that is held repeats itself.
                let is_held = self.held.iter().any(|held| is_same(*held, (keysym, code)));
                if !has_room || (!is_held && self.held.len() >= HELD_MAX) {
                    return false;
                }
                if !is_held {
                    self.held.push((keysym, code));
                }
            }
            Input::Key { down: false, keysym, code } => {
                let Some(index) = self.held.iter().position(|held| is_same(*held, (keysym, code))) else {
                    return false;
                };
                // As it was pressed: the layout, or what Shift makes of the key, may be another by now.
                let (keysym, code) = self.held.swap_remove(index);
                self.moved_last = false;
                self.waiting.push_back(Input::Key { down: false, keysym, code });
                return true;
            }
            Input::Pointer { buttons, x, y } => {
                let before = self.pointer;
                let is_move = before.0 == buttons;
                // Where it was on its way does not matter to the host; where buttons change does.
                if let Some(Input::Pointer { x: last_x, y: last_y, .. }) = self.waiting.back_mut()
                    && is_move
                    && self.moved_last
                {
                    (*last_x, *last_y) = (x, y);
                    self.pointer = (buttons, x, y);
                    return true;
                }
                let releases = before.0 & !buttons != 0 && buttons & !before.0 == 0;
                if !has_room && !releases {
                    return false;
                }
                self.pointer = (buttons, x, y);
                self.waiting.push_back(input);
                self.moved_last = is_move;
                return true;
            }
        }
        self.moved_last = false;
        self.waiting.push_back(input);
        true
    }

    /// Releases all that is down.
    pub fn release_all(&mut self) {
        self.moved_last = false;
        for (keysym, code) in self.held.drain(..) {
            self.waiting.push_back(Input::Key { down: false, keysym, code });
        }
        let (buttons, x, y) = self.pointer;
        if buttons != 0 {
            self.waiting.push_back(Input::Pointer { buttons: 0, x, y });
            self.pointer.0 = 0;
        }
    }

    /// The host is another, or gone: nothing is down there and nothing waits.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// What is to be passed on next.
    pub fn pop(&mut self) -> Option<Input> {
        self.waiting.pop_front()
    }

    /// Keys that are down.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// Whether this is the same key: by its number where both have one.
fn is_same(one: (u32, Option<u32>), other: (u32, Option<u32>)) -> bool {
    match (one.1, other.1) {
        (Some(one), Some(other)) => one == other,
        _ => one.0 == other.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn key(down: bool, keysym: u32, code: u32) -> Input {
        Input::Key { down, keysym, code: Some(code) }
    }

    #[test]
    fn all_that_is_down_is_released_once() {
        let mut inputs = Inputs::default();
        assert!(inputs.push(key(true, 0xffe3, 29)));
        assert!(inputs.push(key(true, 0xffe9, 56)));
        assert!(inputs.push(key(false, 0xffe9, 56)));
        assert!(inputs.push(Input::Pointer { buttons: 1, x: 3, y: 4 }));
        inputs.release_all();
        inputs.release_all();
        let all: Vec<_> = std::iter::from_fn(|| inputs.pop()).collect();
        assert_eq!(
            all.get(4..).unwrap(),
            [key(false, 0xffe3, 29), Input::Pointer { buttons: 0, x: 3, y: 4 }],
            "{all:?}"
        );
        assert!(!inputs.push(key(false, 0xffe3, 29)), "it is up already");
    }

    #[test]
    fn a_key_is_released_as_it_was_pressed() {
        let mut inputs = Inputs::default();
        inputs.push(key(true, u32::from(b'A'), 30));
        assert!(inputs.push(key(false, u32::from(b'a'), 30)), "Shift was released first");
        inputs.pop();
        assert_eq!(inputs.pop(), Some(key(false, u32::from(b'A'), 30)));
        assert_eq!(inputs.held(), 0);
    }

    #[test]
    fn moves_that_wait_become_one_and_clicks_stay() {
        let mut inputs = Inputs::default();
        for (buttons, x) in [(0, 1), (0, 2), (1, 2), (1, 3), (0, 3), (0, 4)] {
            assert!(inputs.push(Input::Pointer { buttons, x, y: 0 }));
        }
        let all: Vec<_> = std::iter::from_fn(|| inputs.pop()).collect();
        // A button goes down and comes up where it did, whatever moved after that.
        let expected =
            [(0, 2), (1, 2), (1, 3), (0, 3), (0, 4)].map(|(buttons, x)| Input::Pointer { buttons, x, y: 0 });
        assert_eq!(all, expected);
    }

    #[test]
    fn a_host_that_takes_nothing_costs_a_bound_and_no_stuck_key() {
        let mut inputs = Inputs::default();
        let mut passed = 0;
        for code in 0..10_000 {
            passed += usize::from(inputs.push(key(true, code, code % 40)));
        }
        assert!(passed <= WAITING_MAX);
        assert_eq!(inputs.held(), HELD_MAX);
        inputs.release_all();
        let mut down = std::collections::BTreeSet::new();
        let mut count = 0;
        while let Some(Input::Key { down: is_down, code, .. }) = inputs.pop() {
            count += 1;
            if is_down {
                down.insert(code);
            } else {
                down.remove(&code);
            }
        }
        assert!(count <= WAITING_MAX + HELD_MAX && down.is_empty(), "{count}, {down:?}");
    }
}
