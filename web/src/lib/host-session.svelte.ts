// A session at a host's console or screen, over its WebSocket: how it is, who types, and coming again after a cut. What goes over it beside that is the
// matter of the kind of session.
import { failureOf, isUnreachable, type Failure } from "./api";
import { live } from "./live.svelte";

export type Link = "connecting" | "open" | "lost" | "ended";

/** What every session is told; what is not known here is passed over. */
export type Notice =
  | { type: "state"; writer: string; you_write: boolean; may_write: boolean; sessions: number; connected: boolean }
  | { type: "taken_over"; by: string }
  | { type: "refused"; reason: string }
  | { type: "end"; reason: string };

/** Pauses between attempts, ms. */
const PAUSES = [300, 700, 1500, 3000, 5000];
/** The BMC says by this that the session may not go on (RFC 6455, 7.4.1). */
const POLICY = 1008;

export abstract class HostSession<Other extends { type: string } = never> {
  link = $state<Link>("connecting");
  /** Who types; empty for nobody. */
  writer = $state("");
  youWrite = $state(false);
  mayWrite = $state(false);
  sessions = $state(0);
  /** The host's port is open, or there is a picture. */
  isConnected = $state(true);
  /** Who took over from here. */
  takenBy = $state("");
  /** Why the last that was asked for had no effect, as the BMC says. */
  refused = $state("");
  /** Why it is over, as the BMC says. */
  reason = $state("");
  failure = $state.raw<Failure | undefined>();

  protected socket: WebSocket | undefined;
  #attempt = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isOver = false;
  #forget: (() => void) | undefined;

  /** The path of its socket below the API's. */
  protected abstract path(): string;
  /** The call that it is a session of, asked for nothing but why it is refused. */
  protected abstract probe(): Promise<unknown>;
  protected abstract heard(bytes: ArrayBuffer, socket: WebSocket): void;
  /** What only this kind of session is told. */
  protected other?(notice: Other): void;
  protected opened?(socket: WebSocket): void;
  protected left?(socket: WebSocket, code: number, reason: string): void;

  /** Begins, once all that the kind of session needs is there. */
  protected begin(): void {
    // The BMC is back: no need to wait for one's turn.
    this.#forget = live.onReset(() => {
      if (this.link === "lost") this.#open();
    });
    this.#open();
  }

  ask(type: "take_over" | "release" | "break"): void {
    this.refused = "";
    this.takenBy = "";
    this.tell({ type });
  }

  protected tell(said: object): void {
    if (this.link === "open") this.socket?.send(JSON.stringify(said));
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
    this.#forget?.();
    clearTimeout(this.#timer);
    this.socket?.close();
  }

  #open(): void {
    clearTimeout(this.#timer);
    this.socket?.close();
    const socket = new WebSocket(`wss://${location.host}/api/v1alpha1/${this.path()}`);
    this.socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      if (this.socket === socket) this.opened?.(socket);
    };
    socket.onmessage = ({ data }: MessageEvent<ArrayBuffer | string>) => {
      if (this.socket !== socket) return;
      live.heard();
      if (typeof data === "string") this.#told(JSON.parse(data) as Notice | Other);
      else this.heard(data, socket);
    };
    socket.onclose = ({ code, reason }) => {
      this.left?.(socket, code, reason);
      if (this.socket !== socket) return;
      this.socket = undefined;
      if (!this.#isOver) void this.#closed(code, reason);
    };
  }

  #told(told: Notice | Other): void {
    const notice = told as Notice;
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
      case "taken_over":
        this.takenBy = notice.by;
        break;
      case "refused":
        this.refused = notice.reason;
        break;
      case "end":
        this.reason = notice.reason;
        break;
      default:
        this.other?.(told as Other);
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
      const failure = await this.probe().then(() => undefined, failureOf);
      if (this.#isOver || this.socket) return;
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
