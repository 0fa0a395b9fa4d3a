// Which events somebody has seen to: shown as it is wished at once, marked until the BMC has answered, and as it is from then on.
import { create } from "@bufbuild/protobuf";
import { timestampNow } from "@bufbuild/protobuf/wkt";
import { EventResolutionSchema, type Event, type EventResolution } from "../gen/schema/v1alpha1/event_pb";
import { act } from "./act.svelte";
import { events } from "./api";
import type { Key } from "./i18n.svelte";
import { session } from "./session.svelte";

interface Mark {
  /** How it is resolved, if it is. */
  resolution: EventResolution | undefined;
  /** The BMC has not answered yet. */
  isPending: boolean;
  /** Which one it was, counted. */
  at?: number;
}

/** So many are taken in one call. */
const AT_ONCE = 100;

export class Resolutions {
  /** What was heard since the events were read. */
  #marks = $state.raw<ReadonlyMap<string, Mark>>(new Map());
  #count = 0;

  of(event: Event): Mark {
    return this.#marks.get(event.id) ?? { resolution: event.resolution, isPending: false };
  }

  /** Whether an event is one that a filter wants: while it is not known what becomes of it, it stays. */
  fits(event: Event, wanted: boolean | undefined): boolean {
    const { resolution, isPending } = this.of(event);
    return wanted === undefined || isPending || wanted === (resolution !== undefined);
  }

  /** Until here, for {@link clear}. */
  get now(): number {
    return this.#count;
  }

  /** The events were read anew, by a question that was asked at `since`: what was heard after that may be newer than its answer. */
  clear(since: number): void {
    this.#marks = new Map([...this.#marks].filter(([, { isPending, at }]) => isPending || (at ?? 0) > since));
  }

  /** Somebody resolved or reopened events. */
  heard({ payload }: Event): void {
    if (payload.case !== "eventResolutionChange") return;
    const { ids, resolution } = payload.value;
    this.#mark(ids.map((id) => [id, { resolution, isPending: false }]));
  }

  /**
   * Resolves events, or reopens them, and tells. What is refused shows as it was before. Answers whether all is known then: if not, the list is to be read
   * anew, as somebody else was faster or something went wrong.
   */
  async set(all: Event[], isResolved: boolean, note: string, done: Key): Promise<boolean> {
    const before = new Map(all.map((event) => [event.id, this.of(event)]));
    const ids = [...before.keys()];
    const wish = isResolved ? create(EventResolutionSchema, { time: timestampNow(), username: session.who?.username ?? "", note }) : undefined;
    this.#mark(ids.map((id) => [id, { resolution: wish, isPending: true }]));
    let isKnown = true;
    const well = await act(
      async () => {
        for (let from = 0; from < ids.length; from += AT_ONCE) {
          const some = ids.slice(from, from + AT_ONCE);
          const answer = isResolved ? await events.resolveEvents({ ids: some, note }) : await events.reopenEvents({ ids: some });
          const resolution = "resolution" in answer ? answer.resolution : undefined;
          isKnown &&= answer.changed.length === some.length;
          this.#mark(some.map((id) => [id, answer.changed.includes(id) ? { resolution, isPending: false } : { ...before.get(id)!, isPending: false }]));
        }
      },
      done,
      { n: ids.length },
    );
    const left = ids.filter((id) => this.#marks.get(id)?.isPending);
    this.#mark(left.map((id) => [id, before.get(id)!]));
    return well && isKnown;
  }

  #mark(marks: [string, Mark][]): void {
    const at = ++this.#count;
    this.#marks = new Map([...this.#marks, ...marks.map(([id, mark]): [string, Mark] => [id, { ...mark, at }])]);
  }
}
