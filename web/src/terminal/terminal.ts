// The terminal a console is shown in: xterm.js, with nothing in it that what a host prints could reach. Loaded when a console is opened.
import { FitAddon } from "@xterm/addon-fit";
import { Terminal, type ITheme } from "@xterm/xterm";
import "@xterm/xterm/css/xterm.css";

/** What hosts take a terminal to have when nobody tells them: a serial line carries no size. */
const COLUMNS = 80;
const ROWS = 24;
/** Sizes of type, px: what does not fit at the smallest is scrolled to. */
const LARGEST = 14;
const SMALLEST = 9;
/** Lines that are kept. */
const SCROLLBACK = 10_000;

/** What somebody types or a program answers. */
export interface Options {
  label: string;
  /** Keys, and what the terminal answers to what the host asked it: `isAnswer`. */
  typed: (bytes: Uint8Array<ArrayBuffer>, isAnswer: boolean) => void;
  /** The keyboard is to leave the terminal. */
  leave: () => void;
  resized: (columns: number, rows: number) => void;
}

export interface Screen {
  write(bytes: Uint8Array): void;
  /** Puts a line of ours between what the host printed. */
  mark(text: string): void;
  clear(): void;
  focus(): void;
  /** Takes keys or not. */
  listens(does: boolean): void;
  /** Reads out what is printed, to screen readers. */
  readsOut(does: boolean): void;
  contrast(isHigh: boolean): void;
  end(): void;
}

const THEME: ITheme = {
  background: "#0d1116",
  foreground: "#e9edf2",
  cursor: "#e9edf2",
  cursorAccent: "#0d1116",
  selectionBackground: "#82b4ff",
  selectionForeground: "#0a1626",
  black: "#2a323d",
  brightBlack: "#75808f",
};
const HIGH: ITheme = { ...THEME, background: "#000000", foreground: "#ffffff", cursor: "#ffe14d", cursorAccent: "#000000", selectionBackground: "#ffe14d", selectionForeground: "#000000" };

/**
 * Answers of a terminal to what the host asked, and what it tells by itself: device attributes, positions, modes, colours, focus, the mouse (ECMA-48,
 * and xterm's control sequences). None of it is somebody typing.
 */
const ANSWER = /^(?:\x1b\[[?>=]?[\d;]*(?:\$y|[cnRtIO])|\x1b\[<[\d;]+[Mm]|\x1b\[M[^]{3}|\x1b[\]P][^]*)$/;

/** Opens a terminal in an element. */
export function open(element: HTMLElement, options: Options): Screen {
  Terminal.strings.promptLabel = options.label;
  const terminal = new Terminal({
    scrollback: SCROLLBACK,
    fontFamily: 'ui-monospace, "SF Mono", "Cascadia Mono", "DejaVu Sans Mono", monospace',
    fontSize: LARGEST,
    macOptionIsMeta: true,
    minimumContrastRatio: 4.5,
    theme: THEME,
    // A link is what the host says it is: it is not followed.
    linkHandler: { activate: () => {} },
  });
  const fit = new FitAddon();
  terminal.loadAddon(fit);
  terminal.open(element);
  const encoder = new TextEncoder();
  terminal.onData((text) => options.typed(encoder.encode(text), ANSWER.test(text)));
  // Reports of the mouse in the old form.
  terminal.onBinary((text) => options.typed(Uint8Array.from(text, (char) => char.charCodeAt(0)), true));
  terminal.onResize(({ cols, rows }) => options.resized(cols, rows));
  terminal.attachCustomKeyEventHandler((event) => {
    const isDown = event.type === "keydown";
    // Tab is the host's, so another key has to lead out (WCAG 2.1.2).
    if (event.ctrlKey && event.key === "F6") {
      event.preventDefault();
      if (isDown) options.leave();
      return false;
    }
    if (event.ctrlKey && event.shiftKey && event.key.toLowerCase() === "c" && terminal.hasSelection()) {
      event.preventDefault();
      if (isDown) void navigator.clipboard.writeText(terminal.getSelection());
      return false;
    }
    // The browser pastes, and the terminal gets what is pasted.
    return !(event.ctrlKey && event.shiftKey && event.key.toLowerCase() === "v");
  });

  function adapt(): void {
    for (let size = LARGEST; size >= SMALLEST; size -= 1) {
      terminal.options.fontSize = size;
      const room = fit.proposeDimensions();
      if (!room || !(room.cols > 0)) return;
      if (room.cols >= COLUMNS || size === SMALLEST) {
        terminal.resize(Math.max(COLUMNS, room.cols), Math.max(ROWS, room.rows));
        return;
      }
    }
  }
  let frame = 0;
  const seen = new ResizeObserver(() => {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(adapt);
  });
  seen.observe(element);

  return {
    write: (bytes) => terminal.write(bytes),
    mark: (text) => terminal.write(`\r\n\x1b[0;7m ${text.replace(/[\0-\x1f\x7f-\x9f]/g, " ")} \x1b[0m\r\n`),
    clear: () => terminal.clear(),
    focus: () => terminal.focus(),
    listens: (does) => (terminal.options.disableStdin = !does),
    readsOut: (does) => (terminal.options.screenReaderMode = does),
    contrast: (isHigh) => {
      terminal.options.theme = isHigh ? HIGH : THEME;
      terminal.options.minimumContrastRatio = isHigh ? 7 : 4.5;
    },
    end: () => {
      cancelAnimationFrame(frame);
      seen.disconnect();
      terminal.dispose();
    },
  };
}
