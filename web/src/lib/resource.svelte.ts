// Something that is read from the BMC, and read again when an event says that it changed.
import { untrack } from "svelte";
import { Code } from "@connectrpc/connect";
import type { Event } from "../gen/schema/v1alpha1/event_pb";
import { DaemonState } from "../gen/schema/v1alpha1/system_pb";
import { failureOf, isUnreachable, type Failure } from "./api";
import { live } from "./live.svelte";

export interface When {
  /** Events after which it is read again. */
  on?: (event: Event) => boolean;
  /** For what changes without events: how often it is read while the page can be seen, ms. */
  every?: number;
  /** The daemon that knows it: what it said is in doubt once it is not there any more. */
  owner?: string;
}

/** After an event others follow: one read for all of them, ms. */
const SETTLE = 120;
const RETRY = 3000;
/** Who has not answered for so long may not be there, ms. */
const SLOW = 4000;

export class Resource<T> {
  data = $state.raw<T | undefined>();
  failure = $state.raw<Failure | undefined>();
  /** When the data came. */
  at = $state(0);
  loading = $state(true);
  #load: () => Promise<T>;
  #when: When;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isDoubted = $state(false);
  #underway: Promise<void> | undefined;
  #next: Promise<void> | undefined;
  /** What was begun in an earlier one counts no more. */
  #life = 0;
  #isRunning = false;

  constructor(load: () => Promise<T>, when: When = {}) {
    this.#load = load;
    this.#when = when;
  }

  /** The data is not known to be true any more: the BMC, or the daemon that owns it, does not answer. */
  get isStale(): boolean {
    return this.data !== undefined && (this.failure !== undefined || this.#isDoubted || live.isLost);
  }

  /** Reads it. There is one read at a time: whoever asks during one waits for another that begins after it. */
  refresh(): Promise<void> {
    if (!this.#underway) return this.#start();
    const life = this.#life;
    this.#next ??= this.#underway.then(() => {
      if (life !== this.#life) return;
      this.#next = undefined;
      return this.#start();
    });
    return this.#next;
  }

  #start(): Promise<void> {
    const read = this.#read(this.#life).finally(() => {
      if (this.#underway === read) this.#underway = undefined;
    });
    this.#underway = read;
    return read;
  }

  async #read(life: number): Promise<void> {
    this.loading = true;
    const slow = setTimeout(() => {
      if (life === this.#life) this.#isDoubted = true;
    }, SLOW);
    try {
      const data = await this.#load();
      if (life !== this.#life) return;
      this.data = data;
      this.failure = undefined;
      this.#isDoubted = false;
      this.at = Date.now();
    } catch (thrown) {
      if (life !== this.#life) return;
      const failure = failureOf(thrown);
      if (failure.code !== Code.Canceled) this.failure = failure;
      if (isUnreachable(failure) || failure.code === Code.ResourceExhausted) this.#soon(RETRY);
    } finally {
      clearTimeout(slow);
      if (life === this.#life) this.loading = false;
    }
  }

  /** Reads it, and goes on until the answer is called. */
  run(): () => void {
    const life = this.#life;
    this.#isRunning = true;
    // Whoever starts it does not depend on what it reads.
    untrack(() => void live.begun().then(() => life === this.#life && void this.refresh()));
    const ends = [live.onReset(() => void this.refresh())];
    const { on, every, owner } = this.#when;
    if (on || owner)
      ends.push(
        live.onEvent((event) => {
          const { case: kind, value } = event.payload;
          const isOwner = kind === "daemonStateChange" && value.daemonName === owner;
          if (isOwner && value.currentState !== DaemonState.READY) this.#isDoubted = true;
          if (isOwner || on?.(event)) this.#soon(SETTLE);
        }),
      );
    if (every) {
      const timer = setInterval(() => {
        if (!document.hidden && !this.loading) void this.refresh();
      }, every);
      ends.push(() => clearInterval(timer));
    }
    return () => {
      ends.forEach((end) => end());
      clearTimeout(this.#timer);
      this.#timer = this.#underway = this.#next = undefined;
      this.#isRunning = this.#isDoubted = false;
      this.#life += 1;
    };
  }

  #soon(pause: number): void {
    // Nobody looks any more at what a page that was left asks for once again.
    if (!this.#isRunning || this.#timer !== undefined) return;
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
