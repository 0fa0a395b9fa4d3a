// A session at a console, over its WebSocket. A cut is healed by coming again: the BMC counts the bytes, so that nothing is shown twice, and what is
// missing is told.
import { consoles, failureOf, isUnreachable, type Failure } from "./api";
import { live } from "./live.svelte";

export type ConsoleLink = "connecting" | "open" | "lost" | "ended";

/** What is told beside bytes; what is not known here is passed over. */
type Notice =
  | { type: "state"; writer: string; you_write: boolean; may_write: boolean; sessions: number; connected: boolean }
  | { type: "begin"; run: string; at: number }
  | { type: "taken_over"; by: string }
  | { type: "lost"; bytes: number }
  | { type: "refused"; reason: string }
  | { type: "end"; reason: string };

/** What shows what is printed. */
export interface Shows {
  write(bytes: Uint8Array): void;
  /** Bytes are missing here; `undefined`: nobody knows how many, as the daemon started anew. */
  missing(bytes: number | undefined): void;
}

/** All that the BMC keeps. */
const REPLAY = 128 * 1024;
/** Pauses between attempts, ms. */
const PAUSES = [300, 700, 1500, 3000, 5000];
/** Bytes in one message: the BMC takes 64 KiB. */
const PIECE = 16 * 1024;
/** What is pasted and has not left yet may be so much: a port is slow. */
const UNSENT_MAX = 1024 * 1024;
/** The BMC says by this that the session may not go on (RFC 6455, 7.4.1). */
const POLICY = 1008;

/** Which bytes of a console have been shown. */
class Place {
  #run: string | undefined;
  #at = 0;
  #skip = 0;

  /** What follows begins at `at`: how many bytes are missing before it. */
  begin(run: string, at: number): number | undefined {
    const isFirst = this.#run === undefined;
    const isSame = this.#run === run;
    this.#run = run;
    this.#skip = isSame ? Math.max(0, this.#at - at) : 0;
    const missing = isSame ? Math.max(0, at - this.#at) : 0;
    if (!isSame || missing) this.#at = at;
    return isSame || isFirst ? missing : undefined;
  }

  /** Those of `bytes` that have not been shown. */
  take(bytes: Uint8Array): Uint8Array {
    const known = Math.min(this.#skip, bytes.length);
    this.#skip -= known;
    this.#at += bytes.length - known;
    return bytes.subarray(known);
  }

  lost(bytes: number): void {
    this.#at += bytes;
  }
}

export class ConsoleSession {
  link = $state<ConsoleLink>("connecting");
  /** Who has the keyboard; empty for nobody. */
  writer = $state("");
  youWrite = $state(false);
  mayWrite = $state(false);
  sessions = $state(0);
  /** The host's port is open. */
  isConnected = $state(true);
  /** Who took the keyboard from here. */
  takenBy = $state("");
  /** Why the last that was asked for had no effect, as the BMC says. */
  refused = $state("");
  /** Why it is over, as the BMC says. */
  reason = $state("");
  failure = $state.raw<Failure | undefined>();

  #name: string;
  #shows: Shows;
  #socket: WebSocket | undefined;
  #place = new Place();
  #attempt = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isOver = false;
  #forget: () => void;

  constructor(name: string, shows: Shows) {
    this.#name = name;
    this.#shows = shows;
    // The BMC is back: no need to wait for one's turn.
    this.#forget = live.onReset(() => {
      if (this.link === "lost") this.#open();
    });
    this.#open();
  }

  /** Types. What somebody else's keyboard keeps from the host is not sent. */
  type(bytes: Uint8Array<ArrayBuffer>): void {
    const socket = this.#socket;
    if (this.link !== "open" || !socket || (this.writer && !this.youWrite)) return;
    if (socket.bufferedAmount + bytes.length > UNSENT_MAX) return;
    for (let at = 0; at < bytes.length; at += PIECE) socket.send(bytes.subarray(at, at + PIECE));
    this.refused = "";
  }

  ask(type: "take_over" | "release" | "break"): void {
    this.refused = "";
    this.takenBy = "";
    if (this.link === "open") this.#socket?.send(JSON.stringify({ type }));
  }

  /** Begins again after it was over. */
  again(): void {
    this.#attempt = 0;
    this.reason = "";
    this.failure = undefined;
    this.link = "connecting";
    this.#open();
  }

  end(): void {
    this.#isOver = true;
    this.#forget();
    clearTimeout(this.#timer);
    this.#socket?.close();
  }

  #open(): void {
    clearTimeout(this.#timer);
    this.#socket?.close();
    const socket = new WebSocket(`wss://${location.host}/api/v1alpha1/consoles/${encodeURIComponent(this.#name)}/socket?replayBytes=${REPLAY}`);
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }: MessageEvent<ArrayBuffer | string>) => {
      if (this.#socket !== socket) return;
      live.heard();
      if (typeof data === "string") this.#told(data);
      else {
        const bytes = this.#place.take(new Uint8Array(data));
        if (bytes.length) this.#shows.write(bytes);
      }
    };
    socket.onclose = ({ code, reason }) => {
      if (this.#socket !== socket) return;
      this.#socket = undefined;
      if (!this.#isOver) void this.#closed(code, reason);
    };
  }

  #told(text: string): void {
    const notice = JSON.parse(text) as Notice;
    switch (notice.type) {
      case "state":
        this.link = "open";
        this.#attempt = 0;
        this.writer = notice.writer;
        this.youWrite = notice.you_write;
        this.mayWrite = notice.may_write;
        this.sessions = notice.sessions;
        this.isConnected = notice.connected;
        if (notice.you_write || !notice.writer) this.takenBy = "";
        break;
      case "begin": {
        const missing = this.#place.begin(notice.run, notice.at);
        if (missing !== 0) this.#shows.missing(missing);
        break;
      }
      case "taken_over":
        this.takenBy = notice.by;
        break;
      case "lost":
        this.#place.lost(notice.bytes);
        this.#shows.missing(notice.bytes);
        break;
      case "refused":
        this.refused = notice.reason;
        break;
      case "end":
        this.reason = notice.reason;
        break;
    }
  }

  async #closed(code: number, reason: string): Promise<void> {
    const wasOpen = this.link === "open";
    this.youWrite = false;
    this.writer = "";
    if (code === POLICY || this.reason) {
      this.reason ||= reason;
      this.link = "ended";
      return;
    }
    this.link = "lost";
    // A browser does not say why a socket was refused; the call that it is a session of does.
    if (!wasOpen && this.#attempt > 0) {
      const failure = await consoles.openConsole({ name: this.#name, readOnly: true }).then(() => undefined, failureOf);
      if (this.#isOver || this.#socket) return;
      if (failure && !isUnreachable(failure)) {
        this.failure = failure;
        this.link = "ended";
        return;
      }
    }
    const pause = PAUSES[Math.min(this.#attempt, PAUSES.length - 1)]!;
    this.#attempt += 1;
    this.#timer = setTimeout(() => this.#open(), pause);
  }
}
