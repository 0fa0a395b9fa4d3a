// The one stream of events: what keeps every page true without asking again and again. It goes on after the last event it has, so that a
// connection that is cut costs nothing but time.
import { untrack } from "svelte";
import { Code } from "@connectrpc/connect";
import type { Event } from "../gen/schema/v1alpha1/event_pb";
import { ENDLESS, events, failureOf, isUnreachable, lostWhile, type Failure } from "./api";

export type LinkState = "off" | "connecting" | "live" | "lost";

/** Pauses between attempts, ms. */
const PAUSES = [300, 700, 1500, 3000, 5000, 10000];
/** Without a sign of life for so long the BMC is asked for one, ms. */
const QUIET = 8000;
/** How long it may take to give one, ms. */
const PATIENCE = 4000;
/** A stream that lasted so long was none that is refused as soon as it begins, ms. */
const LASTING = 3000;
/** Events kept for pages that show the latest. */
const KEPT = 200;
/** What a page shows does not wait longer for the stream to begin, ms. */
const HEAD = 1000;

class Live {
  link = $state<LinkState>("off");
  /** Since when there is no connection. */
  lostAt = $state(0);
  /** When the next attempt is due. */
  retryAt = $state(0);
  /** The BMC is there, and refuses the stream. */
  refusal = $state.raw<Failure | undefined>();
  /** The newest events, newest first. */
  recent = $state.raw<Event[]>([]);

  #after: bigint | undefined;
  #heard = 0;
  #attempt = 0;
  #beganAt = 0;
  #stop: AbortController | undefined;
  #hurry: (() => void) | undefined;
  #onEvent = new Set<(event: Event) => void>();
  #onReset = new Set<() => void>();
  #onLost = new Set<() => void>();
  #begun = Promise.resolve();
  /** The first stream begins; answers whether in time. `undefined` once it has. */
  #begin: (() => boolean) | undefined;

  constructor() {
    lostWhile(() => this.isLost);
    addEventListener("online", () => this.retryNow());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && this.link === "lost") this.retryNow();
    });
  }

  /** Tells of each event; the answer ends that. */
  onEvent(then: (event: Event) => void): () => void {
    this.#onEvent.add(then);
    return () => this.#onEvent.delete(then);
  }

  /** Tells when events may have been missed, or the connection is back: read the state again. */
  onReset(then: () => void): () => void {
    this.#onReset.add(then);
    return () => this.#onReset.delete(then);
  }

  /** Tells when the connection is lost: what still waits for it waits in vain. */
  onLost(then: () => void): () => void {
    this.#onLost.add(then);
    return () => this.#onLost.delete(then);
  }

  /** Nothing is to be expected from the BMC: what is shown may be old, and what would act is not offered. */
  get isLost(): boolean {
    return this.link === "lost";
  }

  /** What is read after this has come is followed by events: none falls between. */
  begun(): Promise<void> {
    return this.#begun;
  }

  /** Another stream showed life. */
  heard(): void {
    this.#heard = Date.now();
  }

  start(): void {
    if (this.#stop) return;
    this.#stop = new AbortController();
    const { signal } = this.#stop;
    this.#begun = new Promise((resolve) => {
      let isLate = false;
      const timer = setTimeout(() => {
        isLate = true;
        resolve();
      }, HEAD);
      this.#begin = () => {
        clearTimeout(timer);
        this.#begin = undefined;
        resolve();
        return !isLate;
      };
    });
    untrack(() => void this.#run(signal));
  }

  stop(): void {
    this.#stop?.abort();
    this.#stop = undefined;
    this.#begin?.();
    this.#after = undefined;
    this.recent = [];
    this.refusal = undefined;
    this.link = "off";
  }

  retryNow(): void {
    this.#hurry?.();
  }

  async #run(stop: AbortSignal): Promise<void> {
    while (!stop.aborted) {
      if (this.link !== "lost") this.link = "connecting";
      const cut = new AbortController();
      const end = () => cut.abort();
      stop.addEventListener("abort", end);
      const watch = setInterval(() => void this.#probe(cut), 1000);
      try {
        await this.#follow(cut.signal);
      } catch (thrown) {
        if (stop.aborted) return;
        const failure = failureOf(thrown);
        // The session is over: whoever looks after it has been told.
        if (failure.code === Code.Unauthenticated) return;
        this.refusal = isUnreachable(failure) || failure.code === Code.Canceled ? undefined : failure;
      } finally {
        clearInterval(watch);
        stop.removeEventListener("abort", end);
        cut.abort();
      }
      if (stop.aborted) return;
      if (this.link !== "lost") {
        this.link = "lost";
        this.lostAt = Date.now();
        for (const then of this.#onLost) then();
      }
      if (this.#beganAt && Date.now() - this.#beganAt > LASTING) this.#attempt = 0;
      this.#beganAt = 0;
      const pause = PAUSES[Math.min(this.#attempt, PAUSES.length - 1)]!;
      this.#attempt += 1;
      this.retryAt = Date.now() + pause;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, pause);
        this.#hurry = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.#hurry = undefined;
    }
  }

  async #follow(signal: AbortSignal): Promise<void> {
    this.#heard = Date.now();
    const request = this.#after === undefined ? {} : { afterSequence: this.#after };
    const stream = events.watchEvents(request, {
      ...ENDLESS,
      signal,
      onHeader: (headers) => {
        const began = headers.get("event-sequence");
        // A stream that is refused has a head as well: it says where no stream begins, and everything read anew for it would be asked of who has too much to do.
        if (began === null) return;
        if (this.#after === undefined) this.#after = BigInt(began);
        // What was read before the first stream began may have changed in between.
        const isLate = this.#begin?.() === false;
        const isBack = isLate || this.link === "lost";
        this.link = "live";
        this.refusal = undefined;
        this.#beganAt = Date.now();
        this.heard();
        if (isBack) this.#reset();
      },
    });
    for await (const event of stream) {
      this.heard();
      if (event.sequence > 0n) this.#after = event.sequence;
      if (event.payload.case === "gap") {
        this.#reset();
        continue;
      }
      this.recent = [event, ...this.recent].slice(0, KEPT);
      for (const then of this.#onEvent) then(event);
    }
  }

  /** A cut cable is silent: after a while without a word, ask for one. */
  async #probe(cut: AbortController): Promise<void> {
    if (Date.now() - this.#heard < QUIET) return;
    this.heard();
    try {
      const answer = await fetch("/healthz", { signal: AbortSignal.timeout(PATIENCE), cache: "no-store" });
      if (answer.ok) this.heard();
      else cut.abort();
    } catch {
      cut.abort();
    }
  }

  #reset(): void {
    for (const then of this.#onReset) then();
  }
}

export const live = new Live();
