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

export class KvmSession extends HostSession {
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
    this.begin();
  }

  protected path(): string {
    return `screens/${encodeURIComponent(this.#name)}/${this.#mayType ? "kvm" : "view"}`;
  }

  protected probe(): Promise<unknown> {
    return kvm.viewScreen({ name: this.#name });
  }

  /** A viewer that finds the channel open begins at once. */
  protected override opened(socket: WebSocket): void {
    const channel = new Channel(socket);
    this.#channels.set(socket, channel);
    this.#begins(channel);
  }

  protected heard(data: ArrayBuffer, socket: WebSocket): void {
    this.#channels.get(socket)?.onmessage?.({ data });
  }

  protected override left(socket: WebSocket, code: number, reason: string): void {
    this.#channels.get(socket)?.onclose?.({ code, reason });
  }
}
