// The viewer a screen is shown in: noVNC, over a channel that somebody else opened. Loaded when a screen is opened.
import RFB from "@novnc/novnc";

export interface Viewer {
  /** Takes keys and the mouse or not. */
  listens(does: boolean): void;
  /** As large as there is room for, or as it is. */
  scales(does: boolean): void;
  ctrlAltDel(): void;
  /** Presses or releases a key: what is on it as X has it, and which it is (`code` of a KeyboardEvent). */
  key(keysym: number, code: string, down: boolean): void;
  focus(): void;
  end(): void;
}

/** Shows what comes over a channel in an element; `leave`: the keyboard is to leave it. */
export function open(element: HTMLElement, channel: object, leave: () => void): Viewer {
  const rfb = new RFB(element, channel, { shared: true });
  rfb.scaleViewport = true;
  // A host that draws no pointer shows none else.
  rfb.showDotCursor = true;
  rfb.background = "#0d1116";
  let isOver = false;
  // Tab is the host's, so another key has to lead out (WCAG 2.1.2).
  const leaves = (event: KeyboardEvent) => {
    if (!event.ctrlKey || event.key !== "F6") return;
    event.preventDefault();
    event.stopPropagation();
    rfb.blur();
    leave();
  };
  element.addEventListener("keydown", leaves, { capture: true });
  // What is down comes up when the keyboard goes elsewhere: noVNC hears of that for the window alone.
  const lifts = (event: FocusEvent) => {
    if (!element.contains(event.relatedTarget as Node | null)) window.dispatchEvent(new Event("blur"));
  };
  element.addEventListener("focusout", lifts);
  rfb.addEventListener("disconnect", () => (isOver = true));
  return {
    listens: (does) => (rfb.viewOnly = !does),
    scales: (does) => (rfb.scaleViewport = does),
    ctrlAltDel: () => rfb.sendCtrlAltDel(),
    key: (keysym, code, down) => rfb.sendKey(keysym, code, down),
    focus: () => rfb.focus(),
    end: () => {
      element.removeEventListener("keydown", leaves, { capture: true });
      element.removeEventListener("focusout", lifts);
      if (!isOver) rfb.disconnect();
    },
  };
}
