// A window is closed by a click beside it. Its padding is its own, and so is a press that began in it: whoever marks a text may let go of it anywhere.
import type { Attachment } from "svelte/attachments";

/** Closes the window by a press and a click that are both outside of its box. */
export const closesOutside: Attachment<HTMLDialogElement> = (element) => {
  let beganOutside = false;
  const isOutside = ({ target, clientX, clientY }: MouseEvent) => {
    const { left, right, top, bottom } = element.getBoundingClientRect();
    return target === element && (clientX < left || clientX > right || clientY < top || clientY > bottom);
  };
  const pressed = (event: PointerEvent) => (beganOutside = isOutside(event));
  const clicked = (event: MouseEvent) => beganOutside && isOutside(event) && element.close();
  element.addEventListener("pointerdown", pressed);
  element.addEventListener("click", clicked);
  return () => {
    element.removeEventListener("pointerdown", pressed);
    element.removeEventListener("click", clicked);
  };
};
