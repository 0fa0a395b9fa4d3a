// A session at a console. A cut is healed by coming again: the BMC counts the bytes, so that nothing is shown twice, and what is missing is told.
import { consoles } from "./api";
import { HostSession } from "./host-session.svelte";

/** What only consoles tell. */
type Other = { type: "begin"; run: string; at: number } | { type: "lost"; bytes: number };

/** What shows what is printed. */
export interface Shows {
  write(bytes: Uint8Array): void;
  /** Bytes are missing here; `undefined`: nobody knows how many, as the daemon started anew. */
  missing(bytes: number | undefined): void;
}

/** All that the BMC keeps. */
const REPLAY = 128 * 1024;
/** Bytes in one message: the BMC takes 64 KiB. */
const PIECE = 16 * 1024;
/** What is pasted and has not left yet may be so much: a port is slow. */
const UNSENT_MAX = 1024 * 1024;

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

export class ConsoleSession extends HostSession<Other> {
  #name: string;
  #shows: Shows;
  #place = new Place();

  constructor(name: string, shows: Shows) {
    super();
    this.#name = name;
    this.#shows = shows;
    this.begin();
  }

  /** Types. What somebody else's keyboard keeps from the host is not sent. */
  type(bytes: Uint8Array<ArrayBuffer>): void {
    const socket = this.socket;
    if (this.link !== "open" || !socket || (this.writer && !this.youWrite)) return;
    if (socket.bufferedAmount + bytes.length > UNSENT_MAX) return;
    for (let at = 0; at < bytes.length; at += PIECE) socket.send(bytes.subarray(at, at + PIECE));
    this.refused = "";
  }

  protected path(): string {
    return `consoles/${encodeURIComponent(this.#name)}/socket?replayBytes=${REPLAY}`;
  }

  protected probe(): Promise<unknown> {
    return consoles.openConsole({ name: this.#name, readOnly: true });
  }

  protected heard(data: ArrayBuffer): void {
    const bytes = this.#place.take(new Uint8Array(data));
    if (bytes.length) this.#shows.write(bytes);
  }

  protected override other(notice: Other): void {
    switch (notice.type) {
      case "begin": {
        const missing = this.#place.begin(notice.run, notice.at);
        if (missing !== 0) this.#shows.missing(missing);
        break;
      }
      case "lost":
        this.#place.lost(notice.bytes);
        this.#shows.missing(notice.bytes);
        break;
    }
  }
}
