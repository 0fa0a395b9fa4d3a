// Something that is read from the BMC, and read again when an event says that it changed.
import { untrack } from "svelte";
import { Code } from "@connectrpc/connect";
import type { Event } from "../gen/schema/v1alpha1/event_pb";
import { failureOf, isUnreachable, type Failure } from "./api";
import { live } from "./live.svelte";

export interface When {
  /** Events after which it is read again. */
  on?: (event: Event) => boolean;
  /** For what changes without events: how often it is read while the page can be seen, ms. */
  every?: number;
}

/** After an event others follow: one read for all of them, ms. */
const SETTLE = 120;
const RETRY = 3000;

export class Resource<T> {
  data = $state.raw<T | undefined>();
  failure = $state.raw<Failure | undefined>();
  /** When the data came. */
  at = $state(0);
  loading = $state(true);
  #load: () => Promise<T>;
  #when: When;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #turn = 0;

  constructor(load: () => Promise<T>, when: When = {}) {
    this.#load = load;
    this.#when = when;
  }

  /** The data is not known to be true any more: the BMC, or the daemon that owns it, does not answer. */
  get isStale(): boolean {
    return this.data !== undefined && (this.failure !== undefined || live.link === "lost");
  }

  async refresh(): Promise<void> {
    const turn = ++this.#turn;
    this.loading = true;
    try {
      const data = await this.#load();
      if (turn !== this.#turn) return;
      this.data = data;
      this.failure = undefined;
      this.at = Date.now();
    } catch (thrown) {
      if (turn !== this.#turn) return;
      const failure = failureOf(thrown);
      if (failure.code !== Code.Canceled) this.failure = failure;
      if (isUnreachable(failure)) this.#soon(RETRY);
    } finally {
      if (turn === this.#turn) this.loading = false;
    }
  }

  /** Reads it, and goes on until the answer is called. */
  run(): () => void {
    // Whoever starts it does not depend on what it reads.
    untrack(() => void this.refresh());
    const ends = [live.onReset(() => void this.refresh())];
    const { on, every } = this.#when;
    if (on) ends.push(live.onEvent((event) => on(event) && this.#soon(SETTLE)));
    if (every) {
      const timer = setInterval(() => {
        if (!document.hidden && !this.loading) void this.refresh();
      }, every);
      ends.push(() => clearInterval(timer));
    }
    return () => {
      ends.forEach((end) => end());
      clearTimeout(this.#timer);
      this.#timer = undefined;
      this.#turn += 1;
    };
  }

  #soon(pause: number): void {
    if (this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      void this.refresh();
    }, pause);
  }
}

/** A resource for as long as the component lives that asks for it. */
export function resource<T>(load: () => Promise<T>, when: When = {}): Resource<T> {
  const made = new Resource(load, when);
  $effect(() => made.run());
  return made;
}
