// A keyboard on the screen, for who has none or whose browser keeps some keys for itself: what is on a key as X has it, and which key it is.

export interface ScreenKey {
  label: string;
  keysym: number;
  code: string;
  /** It stays down until it is pressed again, as nobody holds two keys on a screen. */
  holds?: boolean;
}

const key = (label: string, keysym: number, code: string): ScreenKey => ({ label, keysym, code });
const hold = (label: string, keysym: number, code: string): ScreenKey => ({ label, keysym, code, holds: true });
const letters = (all: string): ScreenKey[] => [...all].map((letter) => key(letter.toUpperCase(), letter.charCodeAt(0), `Key${letter.toUpperCase()}`));
const digits: ScreenKey[] = [..."1234567890"].map((digit) => key(digit, digit.charCodeAt(0), `Digit${digit}`));

/** Its rows, as an American keyboard has them. */
export const ROWS: ScreenKey[][] = [
  [
    key("Esc", 0xff1b, "Escape"),
    ...Array.from({ length: 12 }, (_, at) => key(`F${at + 1}`, 0xffbe + at, `F${at + 1}`)),
    key("Print", 0xff61, "PrintScreen"),
    key("Scroll", 0xff14, "ScrollLock"),
    key("Pause", 0xff13, "Pause"),
  ],
  [key("`", 0x60, "Backquote"), ...digits, key("-", 0x2d, "Minus"), key("=", 0x3d, "Equal"), key("⌫", 0xff08, "Backspace"), key("Ins", 0xff63, "Insert"), key("Home", 0xff50, "Home"), key("PgUp", 0xff55, "PageUp")],
  [key("Tab", 0xff09, "Tab"), ...letters("qwertyuiop"), key("[", 0x5b, "BracketLeft"), key("]", 0x5d, "BracketRight"), key("\\", 0x5c, "Backslash"), key("Del", 0xffff, "Delete"), key("End", 0xff57, "End"), key("PgDn", 0xff56, "PageDown")],
  [key("Caps", 0xffe5, "CapsLock"), ...letters("asdfghjkl"), key(";", 0x3b, "Semicolon"), key("'", 0x27, "Quote"), key("Enter", 0xff0d, "Enter"), key("Num", 0xff7f, "NumLock")],
  [hold("Shift", 0xffe1, "ShiftLeft"), ...letters("zxcvbnm"), key(",", 0x2c, "Comma"), key(".", 0x2e, "Period"), key("/", 0x2f, "Slash"), key("↑", 0xff52, "ArrowUp")],
  [
    hold("Ctrl", 0xffe3, "ControlLeft"),
    hold("Win", 0xffeb, "MetaLeft"),
    hold("Alt", 0xffe9, "AltLeft"),
    key("␣", 0x20, "Space"),
    hold("AltGr", 0xfe03, "AltRight"),
    key("Menu", 0xff67, "ContextMenu"),
    key("←", 0xff51, "ArrowLeft"),
    key("↓", 0xff54, "ArrowDown"),
    key("→", 0xff53, "ArrowRight"),
  ],
];
