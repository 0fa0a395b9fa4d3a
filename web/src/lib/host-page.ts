// What the pages of a host's console and screen do alike.
import { asking } from "./act.svelte";
import type { HostSession } from "./host-session.svelte";
import { t } from "./i18n.svelte";

/** Takes over, after a question if that takes it from somebody; `done` then. */
export function takeOver<Other extends { type: string }>(at: HostSession<Other> | undefined, text: string, done: () => void): void {
  const from = at?.writer;
  if (!from) return at?.ask("take_over");
  asking.ask({
    title: t("console.takeOverAsk", { who: from }),
    text,
    confirm: t("console.takeOver"),
    isDangerous: true,
    then: () => {
      at?.ask("take_over");
      done();
    },
  });
}

/** Fills the screen with an element, or ends that; `done` once it fills it. */
export async function fill(whole: HTMLElement | undefined, done: () => void): Promise<void> {
  if (document.fullscreenElement) return document.exitFullscreen();
  await whole?.requestFullscreen();
  // Where the browser can: the keys it has for itself are the host's, too.
  const keyboard = (navigator as { keyboard?: { lock?: () => Promise<void> } }).keyboard;
  await keyboard?.lock?.().catch(() => {});
  done();
}
