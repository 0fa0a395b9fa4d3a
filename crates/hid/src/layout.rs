//! Text as keys: which keys a person with a layout would press.

use rfb::Input;

/// Numbers of Shift, AltGr, space, Tab and Enter, with their symbols.
const SHIFT: (u32, u32) = (0x2a, 0xffe1);
const ALT_GR: (u32, u32) = (0xb8, 0xfe03);
const SPACE: (u32, u32) = (0x39, 0x20);
const TAB: (u32, u32) = (0x0f, 0xff09);
const ENTER: (u32, u32) = (0x1c, 0xff0d);

/// How keys are printed: that which the host takes its keyboard for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// American.
    #[default]
    Us,
    /// British.
    Gb,
    /// German.
    De,
}

/// The numbers of the keys in a row, from the left.
const NUMBERS: [u32; 48] = [
    0x29, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, //
    0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, //
    0x1e, 0x1f, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, 0x2b, //
    0x56, 0x2c, 0x2d, 0x2e, 0x2f, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35,
];

/// What is on those keys: alone, with Shift, with AltGr; `\0` where there is nothing. Another layout is another three rows.
struct Table {
    plain: &'static str,
    shift: &'static str,
    alt_gr: &'static str,
    /// Accents, which stand alone only when a space follows.
    dead: &'static str,
}

const US: Table = Table {
    plain: "`1234567890-=qwertyuiop[]asdfghjkl;'\\\0zxcvbnm,./",
    shift: "~!@#$%^&*()_+QWERTYUIOP{}ASDFGHJKL:\"|\0ZXCVBNM<>?",
    alt_gr: "",
    dead: "",
};
const GB: Table = Table {
    plain: "`1234567890-=qwertyuiop[]asdfghjkl;'#\\zxcvbnm,./",
    shift: "¬!\"£$%^&*()_+QWERTYUIOP{}ASDFGHJKL:@~|ZXCVBNM<>?",
    alt_gr: "¦\0\0\0€\0\0\0\0\0\0\0\0\0\0é\0\0\0úíó",
    dead: "",
};
const DE: Table = Table {
    plain: "^1234567890ß´qwertzuiopü+asdfghjklöä#<yxcvbnm,.-",
    shift: "°!\"§$%&/()=?`QWERTZUIOPÜ*ASDFGHJKLÖÄ'>YXCVBNM;:_",
    alt_gr: "\0\0²³\0\0\0{[]}\\\0@\0€\0\0\0\0\0\0\0\0~\0\0\0\0\0\0\0\0\0\0\0\0|\0\0\0\0\0\0µ",
    dead: "^´`",
};

/// How a character is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stroke {
    /// The key.
    pub(crate) code: u32,
    shift: bool,
    alt_gr: bool,
    /// It is an accent, so that a space has to follow.
    dead: bool,
}

/// A character that is on no key of the layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{character:?} (character {place}) is on no key of the layout {layout}", layout = layout.name())]
pub struct Untypable {
    /// Which.
    pub character: char,
    /// Where in the text, from 1.
    pub place: usize,
    /// Of what layout.
    pub layout: Layout,
}

impl Layout {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Us, Self::Gb, Self::De];

    /// As X and consoles call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Us => "us",
            Self::Gb => "gb",
            Self::De => "de",
        }
    }

    /// By that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|layout| layout.name() == name)
    }

    const fn table(self) -> &'static Table {
        match self {
            Self::Us => &US,
            Self::Gb => &GB,
            Self::De => &DE,
        }
    }
}

/// How a character is typed with a layout; `None`: it is on no key.
pub(crate) fn stroke(layout: Layout, character: char) -> Option<Stroke> {
    let plain = |code| Stroke { code, shift: false, alt_gr: false, dead: false };
    match character {
        ' ' => return Some(plain(SPACE.0)),
        '\t' => return Some(plain(TAB.0)),
        '\n' => return Some(plain(ENTER.0)),
        // What stands for nothing in the tables.
        '\0' => return None,
        _ => {}
    }
    let table = layout.table();
    let rows = [(table.plain, false, false), (table.shift, true, false), (table.alt_gr, false, true)];
    rows.into_iter().find_map(|(row, shift, alt_gr)| {
        let (_, code) = row.chars().zip(NUMBERS).find(|(on_it, _)| *on_it == character)?;
        Some(Stroke { code, shift, alt_gr, dead: table.dead.contains(character) })
    })
}

/// The keys that type a text, pressed and released in order. A line's end is Enter, whether it has a carriage return or not.
///
/// # Errors
/// [`Untypable`]
pub fn strokes(layout: Layout, text: &str) -> Result<Vec<Input>, Untypable> {
    let mut inputs = Vec::new();
    let mut characters = text.chars().enumerate().peekable();
    while let Some((at, character)) = characters.next() {
        let character = match character {
            '\r' => {
                let _ = characters.next_if(|(_, next)| *next == '\n');
                '\n'
            }
            other => other,
        };
        let untypable = Untypable { character, place: at + 1, layout };
        let stroke = stroke(layout, character).ok_or(untypable)?;
        let held = [(stroke.shift, SHIFT), (stroke.alt_gr, ALT_GR)];
        let held = || held.into_iter().filter_map(|(is_held, key)| is_held.then_some(key));
        let mut press = |down, (code, keysym): (u32, u32)| {
            inputs.push(Input::Key { down, keysym, code: Some(code) });
        };
        held().for_each(|key| press(true, key));
        let key = match stroke.code {
            code if code == TAB.0 => TAB,
            code if code == ENTER.0 => ENTER,
            code => (code, keysym(character)),
        };
        press(true, key);
        press(false, key);
        held().for_each(|key| press(false, key));
        if stroke.dead {
            press(true, SPACE);
            press(false, SPACE);
        }
    }
    Ok(inputs)
}

/// X's symbol of a character (X11/keysymdef.h): those of Latin-1 are themselves.
fn keysym(character: char) -> u32 {
    match u32::from(character) {
        latin @ 0..=0xff => latin,
        other => 0x0100_0000 | other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(layout: Layout, text: &str) -> Vec<(u32, bool)> {
        let keys = strokes(layout, text).unwrap().into_iter();
        keys.map(|input| match input {
            Input::Key { down, code, .. } => (code.unwrap(), down),
            Input::Pointer { .. } => unreachable!(),
        })
        .collect()
    }

    #[test]
    fn every_row_is_as_long_as_there_are_keys_and_no_character_is_on_two() {
        for layout in Layout::ALL {
            let table = layout.table();
            assert_eq!(table.plain.chars().count(), NUMBERS.len(), "{layout:?}");
            assert_eq!(table.shift.chars().count(), NUMBERS.len(), "{layout:?}");
            assert!(table.alt_gr.chars().count() <= NUMBERS.len(), "{layout:?}");
            let rows = [table.plain, table.shift, table.alt_gr].concat();
            let mut all: Vec<char> = rows.chars().filter(|character| *character != '\0').collect();
            let count = all.len();
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len(), count, "{layout:?}");
            for character in ' '..='~' {
                assert!(stroke(layout, character).is_some(), "{layout:?} has {character:?}");
            }
            assert_eq!(Layout::named(layout.name()), Some(layout));
        }
        assert_eq!(Layout::named("fr"), None);
    }

    #[test]
    fn text_is_typed_as_the_layout_has_it() {
        let (shift, alt_gr) = (0x2a, 0xb8);
        assert_eq!(
            typed(Layout::Us, "aY\r\n"),
            [
                (0x1e, true),
                (0x1e, false),
                (shift, true),
                (0x15, true),
                (0x15, false),
                (shift, false),
                (0x1c, true),
                (0x1c, false)
            ]
        );
        assert_eq!(typed(Layout::De, "y"), [(0x2c, true), (0x2c, false)]);
        assert_eq!(
            typed(Layout::De, "@^"),
            [
                (alt_gr, true),
                (0x10, true),
                (0x10, false),
                (alt_gr, false),
                (0x29, true),
                (0x29, false),
                (0x39, true),
                (0x39, false)
            ]
        );
        for (layout, character, code) in [
            (Layout::De, '€', 0x12),
            (Layout::De, '~', 0x1b),
            (Layout::De, '|', 0x56),
            (Layout::De, 'µ', 0x32),
            (Layout::De, '\\', 0x0c),
            (Layout::Gb, '€', 0x05),
            (Layout::Gb, '\\', 0x56),
            (Layout::Gb, '#', 0x2b),
            (Layout::Gb, 'ú', 0x16),
            (Layout::Us, '\\', 0x2b),
        ] {
            assert_eq!(
                stroke(layout, character).map(|stroke| stroke.code),
                Some(code),
                "{layout:?} {character}"
            );
        }
    }

    #[test]
    fn what_is_on_no_key_is_named_and_nothing_is_typed() {
        let untypable = strokes(Layout::Us, "grün").unwrap_err();
        assert_eq!(untypable.to_string(), "'ü' (character 3) is on no key of the layout us");
        assert!(strokes(Layout::De, "grün").is_ok());
        assert!(strokes(Layout::Us, "\0").is_err() && strokes(Layout::De, "\u{1b}").is_err());
    }
}
