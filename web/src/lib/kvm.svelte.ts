// A session at a screen, over its WebSocket. What is told beside RFB is heard here; RFB is passed on to the viewer, which takes this for its own socket.
import { failureOf, isUnreachable, kvm, type Failure } from "./api";
import { live } from "./live.svelte";

export type KvmLink = "connecting" | "open" | "lost" | "ended";

/** What is told beside RFB; what is not known here is passed over. */
type Notice =
  | { type: "state"; writer: string; you_write: boolean; may_write: boolean; sessions: number; connected: boolean }
  | { type: "taken_over"; by: string }
  | { type: "refused"; reason: string }
  | { type: "end"; reason: string };

/** Pauses between attempts, ms. */
const PAUSES = [300, 700, 1500, 3000, 5000];
/** The BMC says by this that the session may not go on (RFC 6455, 7.4.1). */
const POLICY = 1008;

/** What noVNC wants of a socket, without what is not RFB. */
class Channel {
  binaryType = "arraybuffer";
  protocol = "";
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: ArrayBuffer }) => void) | null = null;
  onerror: ((event: Event) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  #socket: WebSocket;

  constructor(socket: WebSocket) {
    this.#socket = socket;
  }

  get readyState(): number {
    return this.#socket.readyState;
  }

  send(bytes: Uint8Array<ArrayBuffer>): void {
    this.#socket.send(bytes);
  }

  close(): void {
    this.#socket.close();
  }
}

export class KvmSession {
  link = $state<KvmLink>("connecting");
  /** Who has keyboard and mouse; empty for nobody. */
  writer = $state("");
  youWrite = $state(false);
  mayWrite = $state(false);
  sessions = $state(0);
  /** There is a picture. */
  hasSignal = $state(true);
  /** Who took keyboard and mouse from here. */
  takenBy = $state("");
  /** Why the last that was asked for had no effect, as the BMC says. */
  refused = $state("");
  /** Why it is over, as the BMC says. */
  reason = $state("");
  failure = $state.raw<Failure | undefined>();

  #name: string;
  #mayType: boolean;
  #begins: (channel: object) => void;
  #socket: WebSocket | undefined;
  #attempt = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isOver = false;
  #forget: () => void;

  /** `begins`: a new channel is there for a viewer. */
  constructor(name: string, mayType: boolean, begins: (channel: object) => void) {
    this.#name = name;
    this.#mayType = mayType;
    this.#begins = begins;
    // The BMC is back: no need to wait for one's turn.
    this.#forget = live.onReset(() => {
      if (this.link === "lost") this.#open();
    });
    this.#open();
  }

  ask(type: "take_over" | "release"): void {
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
    const way = this.#mayType ? "kvm" : "view";
    const socket = new WebSocket(`wss://${location.host}/api/v1alpha1/screens/${encodeURIComponent(this.#name)}/${way}`);
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    const channel = new Channel(socket);
    // A viewer that finds the channel open begins at once.
    socket.onopen = () => {
      if (this.#socket === socket) this.#begins(channel);
    };
    socket.onmessage = ({ data }: MessageEvent<ArrayBuffer | string>) => {
      if (this.#socket !== socket) return;
      live.heard();
      if (typeof data === "string") this.#told(data);
      else channel.onmessage?.({ data });
    };
    socket.onclose = ({ code, reason }) => {
      channel.onclose?.({ code, reason });
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
        this.hasSignal = notice.connected;
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
      const failure = await kvm.viewScreen({ name: this.#name }).then(() => undefined, failureOf);
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
