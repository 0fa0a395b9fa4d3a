// Files of this computer that are served to the BMC block by block: for a drive of a host, or once for the store. They go on being served while other pages are
// looked at, and end with the tab.
import { MediaState } from "../gen/schema/v1alpha1/media_pb";
import { media } from "./api";
import { live } from "./live.svelte";

/** What is told beside what is asked for; what is not known here is passed over. */
type Notice = { type: "inserted" } | { type: "stored" } | { type: "end"; reason: string };

export type ServedState = "connecting" | "served" | "lost" | "done" | "ended";

/** Before the bytes of an answer, and of a question. */
const HEAD = 9;
const ASK = 17;
/** Bytes of a question at most. */
const PART_MAX = 32 * 1024;
/** Pauses between attempts, ms. */
const PAUSES = [500, 1000, 2000, 5000];
/** The BMC says by this that the session may not go on (RFC 6455, 7.4.1). */
const POLICY = 1008;

/** The answer to a question: bytes, or why there are none. */
function message(kind: "D" | "F", id: number, bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(HEAD + bytes.length);
  const view = new DataView(out.buffer);
  view.setUint8(0, kind.charCodeAt(0));
  view.setUint32(1, id);
  view.setUint32(5, bytes.length);
  out.set(bytes, HEAD);
  return out;
}

export class Served {
  state = $state<ServedState>("connecting");
  /** Why it is over, as the BMC says. */
  reason = $state("");
  /** Bytes that were sent. */
  sent = $state(0);
  /** Bytes each second, of the last one. */
  rate = $state(0);
  readonly file: File;
  /** The drive; none for the store. */
  readonly slot: string | undefined;
  #socket: WebSocket | undefined;
  #attempt = 0;
  #wasServed = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #meter: ReturnType<typeof setInterval>;
  #metered = 0;

  constructor(file: File, slot: string | undefined) {
    this.file = file;
    this.slot = slot;
    this.#meter = setInterval(() => {
      this.rate = this.sent - this.#metered;
      this.#metered = this.sent;
    }, 1000);
    this.#open();
  }

  get isOver(): boolean {
    return this.state === "done" || this.state === "ended";
  }

  /** Serves no more. */
  end(): void {
    this.#finish("ended", "");
    this.#socket?.close();
  }

  #path(): string {
    const { name, size, lastModified } = this.file;
    if (this.slot === undefined) return `media-files/${encodeURIComponent(storeName(name))}/socket?sizeBytes=${size}`;
    return `media/${encodeURIComponent(this.slot)}/socket?imageName=${encodeURIComponent(name)}&sizeBytes=${size}&modifiedMs=${lastModified}${this.#wasServed ? "&resume=true" : ""}`;
  }

  #open(): void {
    const socket = new WebSocket(`wss://${location.host}/api/v1alpha1/${this.#path()}`);
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }: MessageEvent<ArrayBuffer | string>) => {
      if (this.#socket !== socket) return;
      live.heard();
      if (typeof data === "string") this.#told(JSON.parse(data) as Notice);
      else void this.#answer(new DataView(data), socket);
    };
    socket.onclose = ({ code, reason }) => {
      if (this.#socket === socket && !this.isOver) void this.#closed(code, reason);
    };
  }

  async #answer(question: DataView, socket: WebSocket): Promise<void> {
    if (question.byteLength !== ASK || question.getUint8(0) !== "R".charCodeAt(0)) return socket.close();
    const id = question.getUint32(1);
    const offset = Number(question.getBigUint64(5));
    const length = Math.min(question.getUint32(13), PART_MAX);
    let answer: Uint8Array<ArrayBuffer>;
    try {
      const bytes = new Uint8Array(await this.file.slice(offset, offset + length).arrayBuffer());
      answer = message("D", id, bytes);
      this.sent += bytes.length;
    } catch (thrown) {
      answer = message("F", id, new TextEncoder().encode(String(thrown).slice(0, 200)));
    }
    if (socket.readyState === WebSocket.OPEN) socket.send(answer);
  }

  #told(notice: Notice): void {
    if (notice.type === "inserted") {
      this.state = "served";
      this.#wasServed = true;
      this.#attempt = 0;
    } else if (notice.type === "stored") this.#finish("done", "");
    else if (notice.type === "end") this.#finish(this.state === "done" ? "done" : "ended", notice.reason);
  }

  async #closed(code: number, reason: string): Promise<void> {
    // A copy that was cut begins anew; only a drive waits for the rest.
    if (code === POLICY || this.slot === undefined || (this.state === "connecting" && this.#attempt >= PAUSES.length)) {
      return this.#finish("ended", reason);
    }
    if (this.state === "served") this.state = "lost";
    // A browser does not say why a socket was refused: somebody may have ejected it meanwhile.
    if (this.#wasServed && this.#attempt > 0) {
      const slot = await media.getMedia({ name: this.slot }).then((answer) => answer.slot, () => undefined);
      if (this.isOver) return;
      if (slot?.state === MediaState.EMPTY) return this.#finish("ended", "");
    }
    const pause = PAUSES[Math.min(this.#attempt, PAUSES.length - 1)]!;
    this.#attempt += 1;
    this.#timer = setTimeout(() => this.#open(), pause);
  }

  #finish(state: ServedState, reason: string): void {
    if (this.state !== "done") this.state = state;
    this.reason ||= reason;
    clearTimeout(this.#timer);
    clearInterval(this.#meter);
    this.rate = 0;
  }
}

/** What a file may be called in the store. */
export function storeName(name: string): string {
  return name.replace(/[^A-Za-z0-9_.+-]/g, "_").replace(/^[^A-Za-z0-9_]+/, "") || "image";
}

class AllServed {
  list = $state.raw<Served[]>([]);

  add(file: File, slot: string | undefined): void {
    this.list = [...this.list.filter((one) => !one.isOver && (slot === undefined || one.slot !== slot)), new Served(file, slot)];
  }

  drop(one: Served): void {
    one.end();
    this.list = this.list.filter((other) => other !== one);
  }

  /** Whose files they are has left. */
  clear(): void {
    for (const one of this.list) one.end();
    this.list = [];
  }

  /** Whether a host or the store reads from this tab now. */
  get isRead(): boolean {
    return this.list.some((one) => one.state === "connecting" || one.state === "served");
  }

  /** Whether a host or the store needs this tab. */
  get isNeeded(): boolean {
    return this.list.some((one) => !one.isOver);
  }
}

export const served = new AllServed();

// Whoever closes the tab is asked: the host would lose its disc.
addEventListener("beforeunload", (event) => {
  if (served.isNeeded) event.preventDefault();
});
