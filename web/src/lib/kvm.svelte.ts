// A session at a screen. RFB is passed on to the viewer, which takes a channel of it for its own socket.
import { kvm } from "./api";
import { HostSession } from "./host-session.svelte";

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

interface Pong {
  type: "pong";
  at: number;
  sent: number;
}

/** Between two measurements, ms. */
const EVERY = 2000;

export class KvmSession extends HostSession<Pong> {
  /** How long a key takes to the BMC's screen and back, ms; undefined while it is not known. */
  latency = $state<number | undefined>();
  /** Pictures in a second. */
  pictures = $state(0);
  /** Bytes in a second. */
  rate = $state(0);
  #bytes = 0;
  #before: { at: number; sent: number; bytes: number } | undefined;
  #meter: ReturnType<typeof setInterval>;
  #name: string;
  #mayType: boolean;
  #begins: (channel: object) => void;
  #channels = new WeakMap<WebSocket, Channel>();

  /** `begins`: a new channel is there for a viewer. */
  constructor(name: string, mayType: boolean, begins: (channel: object) => void) {
    super();
    this.#name = name;
    this.#mayType = mayType;
    this.#begins = begins;
    this.#meter = setInterval(() => this.#measure(), EVERY);
    this.begin();
  }

  override end(): void {
    clearInterval(this.#meter);
    super.end();
  }

  #measure(): void {
    if (this.link === "open") this.tell({ type: "ping", at: Math.round(performance.now()) });
    else this.latency = undefined;
  }

  protected override other(pong: Pong): void {
    if (pong.type !== "pong") return;
    const now = performance.now();
    this.latency = now - pong.at;
    const before = this.#before;
    this.#before = { at: now, sent: pong.sent, bytes: this.#bytes };
    if (!before || pong.sent < before.sent) return;
    const seconds = Math.max(0.001, (now - before.at) / 1000);
    this.pictures = (pong.sent - before.sent) / seconds;
    this.rate = (this.#bytes - before.bytes) / seconds;
  }

  protected path(): string {
    return `screens/${encodeURIComponent(this.#name)}/${this.#mayType ? "kvm" : "view"}`;
  }

  protected probe(): Promise<unknown> {
    // Of what it is a session of: who may look may not type any more.
    return this.#mayType ? kvm.openKvm({ name: this.#name }) : kvm.viewScreen({ name: this.#name });
  }

  /** A viewer that finds the channel open begins at once. */
  protected override opened(socket: WebSocket): void {
    const channel = new Channel(socket);
    this.#channels.set(socket, channel);
    this.#begins(channel);
  }

  protected heard(data: ArrayBuffer, socket: WebSocket): void {
    this.#bytes += data.byteLength;
    this.#channels.get(socket)?.onmessage?.({ data });
  }

  protected override left(socket: WebSocket, code: number, reason: string): void {
    this.#channels.get(socket)?.onclose?.({ code, reason });
  }
}
