// A page that stays open keeps its session in use, so the BMC cannot tell that nobody sits before it: the page can, and signs out as the BMC would.
import { untrack } from "svelte";
import { seconds } from "./format";
import { users } from "./api";
import { live } from "./live.svelte";
import { served } from "./media.svelte";
import { prefs } from "./prefs.svelte";
import { session } from "./session.svelte";

/** How long before the end the person is asked, ms. */
const NOTICE = 60_000;
/** What a person does. */
const SIGNS = ["pointerdown", "pointermove", "keydown", "wheel", "touchstart"] as const;
/** Pause before a sign-out, or a question for the limit, that failed is tried again, ms. */
const AGAIN = 10_000;
/** Other tabs hear of it so often at most, ms. */
const TELL = 5000;

class Idle {
  /** When the session is ended unless somebody moves; 0 while nobody is asked. */
  endsAt = $state(0);
  /** As the BMC has it for sessions nobody uses, ms; 0 while it is not known. */
  limit = $state(0);
  #last = Date.now();
  #told = 0;
  #isEnding = false;
  // A tab in which somebody works keeps the others signed in.
  #channel = new BroadcastChannel("u-bmc-activity");

  /** Watches until the answer is called. */
  watch(): () => void {
    const moved = (event: Event) => {
      // What a script does is no sign of life, nor a page that moves under a mouse that lies still.
      const isStill = event instanceof PointerEvent && event.type === "pointermove" && event.movementX === 0 && event.movementY === 0;
      if (event.isTrusted && !isStill && this.endsAt === 0) this.stay();
    };
    for (const sign of SIGNS) addEventListener(sign, moved, { capture: true, passive: true });
    this.#channel.onmessage = () => this.#heard();
    const timer = setInterval(() => this.#look(), 1000);
    untrack(() => this.#heard());
    const forget = this.#know();
    return () => {
      forget();
      for (const sign of SIGNS) removeEventListener(sign, moved, { capture: true });
      clearInterval(timer);
      this.#channel.onmessage = null;
      this.endsAt = 0;
    };
  }

  /** Reads the BMC's limit until it is known, and again when it may have changed; ends with the answer. */
  #know(): () => void {
    let isOver = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const read = async () => {
      clearTimeout(timer);
      const limit = await users.getAccountPolicy({}).then(
        ({ policy }) => (seconds(policy?.sessionIdle) ?? 0) * 1000,
        () => undefined,
      );
      if (isOver) return;
      if (limit === undefined) timer = setTimeout(() => void read(), AGAIN);
      else this.limit = limit;
    };
    const ends = [
      live.onEvent((event) => void (event.domain === "user" && event.component === "policy" && read())),
      live.onReset(() => void read()),
    ];
    void live.begun().then(() => (isOver ? undefined : read()));
    return () => {
      isOver = true;
      clearTimeout(timer);
      ends.forEach((end) => end());
    };
  }

  /** Somebody is here. */
  stay(): void {
    this.#heard();
    if (this.#last - this.#told < TELL) return;
    this.#told = this.#last;
    this.#channel.postMessage("here");
  }

  #heard(): void {
    this.#last = Date.now();
    this.endsAt = 0;
  }

  /** Where the BMC is out of reach, it is tried again: without requests it ends the session by itself meanwhile. */
  #signOut(): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    void session.signOut(true).finally(() => setTimeout(() => (this.#isEnding = false), AGAIN));
  }

  #look(): void {
    const limit = prefs.idle === "bmc" ? this.limit : prefs.idle * 60_000;
    if (limit <= 0) {
      this.endsAt = 0;
      return;
    }
    // A host that reads a disc of this computer would lose it in the middle of its installation. One that is out of reach reads nothing.
    if (served.isRead && !live.isLost) {
      this.stay();
      return;
    }
    const end = this.#last + limit;
    if (Date.now() >= end) this.#signOut();
    else this.endsAt = Date.now() >= end - Math.min(NOTICE, limit / 2) ? end : 0;
  }
}

export const idle = new Idle();
