// The one way to the BMC: the public API, by Connect. Who calls is in a cookie that no script can read; the header below is what a page of
// another origin cannot send, and without it the BMC does not look at the cookie.
import { createClient, Code, ConnectError, type Interceptor, type Transport } from "@connectrpc/connect";
import type { DescMessage, DescMethod, DescMethodUnary, MessageInitShape } from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel } from "@bufbuild/protobuf/wkt";
import { createConnectTransport } from "@connectrpc/connect-web";
import { clock } from "./clock.svelte";
import { ErrorInfoSchema, BadRequestSchema } from "../gen/google/rpc/error_details_pb";
import { AssetService } from "../gen/schema/v1alpha1/asset_pb";
import { CertificateService } from "../gen/schema/v1alpha1/certificate_pb";
import { ChassisService } from "../gen/schema/v1alpha1/chassis_pb";
import { ConsoleService } from "../gen/schema/v1alpha1/console_pb";
import { IpmiService } from "../gen/schema/v1alpha1/ipmi_pb";
import { KvmService } from "../gen/schema/v1alpha1/kvm_pb";
import { MediaService } from "../gen/schema/v1alpha1/media_pb";
import { EventService } from "../gen/schema/v1alpha1/event_pb";
import { HostService } from "../gen/schema/v1alpha1/host_pb";
import { LedService } from "../gen/schema/v1alpha1/led_pb";
import { LockoutService } from "../gen/schema/v1alpha1/lockout_pb";
import { ManagementControllerService } from "../gen/schema/v1alpha1/managementcontroller_pb";
import { NetworkService } from "../gen/schema/v1alpha1/network_pb";
import { RedirectService } from "../gen/schema/v1alpha1/redirect_pb";
import { RoleService } from "../gen/schema/v1alpha1/role_pb";
import { SensorService } from "../gen/schema/v1alpha1/sensor_pb";
import { SessionService } from "../gen/schema/v1alpha1/session_pb";
import { SshService } from "../gen/schema/v1alpha1/ssh_pb";
import { SystemService } from "../gen/schema/v1alpha1/system_pb";
import { ThermalService } from "../gen/schema/v1alpha1/thermal_pb";
import { UserService } from "../gen/schema/v1alpha1/user_pb";
import { VncService } from "../gen/schema/v1alpha1/vnc_pb";

/** Marks a request as one of our own pages. */
export const UI_HEADER = "x-u-bmc-ui";

/** What went wrong, for people and for support. */
export interface Failure {
  code: Code;
  /** In capitals, such as `HOST_OFF`; empty when there is none. */
  reason: string;
  /** What the BMC says, in English. */
  message: string;
  metadata: Record<string, string>;
  /** Field and what is wrong with it. */
  fields: { field: string; description: string }[];
  requestId: string;
  /** Nobody answered something that acts: it may have been done, or be done yet. */
  isOpen?: boolean;
}

let ended: () => void = () => {};
/** Is called when the BMC does not know the session any more. */
export function onSessionEnd(then: () => void): void {
  ended = then;
}

let isLost: () => boolean = () => false;
/** Says when the BMC is out of reach. */
export function lostWhile(says: () => boolean): void {
  isLost = says;
}

/** What would act is not sent into a cut: it might arrive long after the person has given up. */
export function assertReach(): void {
  if (isLost()) throw new ConnectError("the BMC is out of reach", Code.Unavailable, undefined, [{ desc: ErrorInfoSchema, value: { reason: "NO_CONNECTION" } }]);
}

/** Of calls that act: nobody said what became of them. */
const unanswered = new WeakSet<object>();

/** Whatever was thrown, as a failure. */
export function failureOf(thrown: unknown): Failure {
  if (thrown && typeof thrown === "object" && "requestId" in thrown && "code" in thrown) return thrown as Failure;
  const error = ConnectError.from(thrown);
  const info = error.findDetails(ErrorInfoSchema)[0];
  const bad = error.findDetails(BadRequestSchema)[0];
  return {
    code: error.code,
    reason: info?.reason ?? "",
    message: error.rawMessage,
    metadata: info?.metadata ?? {},
    fields: (bad?.fieldViolations ?? []).map(({ field, description }) => ({ field, description })),
    requestId: error.metadata.get("x-request-id") ?? "",
    isOpen: unanswered.has(error),
  };
}

/** What a plain request failed with. One that was given up at its limit is not cancelled: nobody answered in time. */
export function cutShort(thrown: unknown): ConnectError {
  const isLate = thrown instanceof DOMException && thrown.name === "TimeoutError";
  return isLate ? new ConnectError(thrown.message, Code.DeadlineExceeded) : ConnectError.from(thrown, Code.Unavailable);
}

/** Whether a call failed because nobody answered, and not because it was refused. */
export function isUnreachable(failure: Failure): boolean {
  return failure.code === Code.Unknown || failure.code === Code.Unavailable || failure.code === Code.DeadlineExceeded;
}

const acts = (method: DescMethod) => method.idempotency !== MethodOptions_IdempotencyLevel.NO_SIDE_EFFECTS;

const marked: Interceptor = (next) => async (request) => {
  if (acts(request.method)) assertReach();
  request.header.set(UI_HEADER, "1");
  const asked = Date.now();
  try {
    const response = await next(request);
    if (!response.stream) clock.told(response.header.get("date"), asked);
    return response.stream ? { ...response, message: watched(response.message) } : response;
  } catch (thrown) {
    noteEnd(thrown);
    throw thrown;
  }
};

function noteEnd(thrown: unknown): void {
  if (ConnectError.from(thrown).code === Code.Unauthenticated) ended();
}

/** A stream ends with its session. */
async function* watched<T>(messages: AsyncIterable<T>): AsyncIterable<T> {
  try {
    yield* messages;
  } catch (thrown) {
    noteEnd(thrown);
    throw thrown;
  }
}

/** A daemon has 10 s to answer (`deadline_ms` of the schema), and 25 s where a server elsewhere is asked: who waits longer waits for nobody, ms. */
const PATIENCE = 12_000;
export const LONG = 28_000;
/** For streams, which have no end. */
export const ENDLESS = { timeoutMs: 0 };

/** Remembers of what acts that nobody answered. The limit's own end is told out here, and to no interceptor. */
function noting(inner: Transport): Transport {
  return {
    async unary<I extends DescMessage, O extends DescMessage>(method: DescMethodUnary<I, O>, signal: AbortSignal | undefined, timeoutMs: number | undefined, header: HeadersInit | undefined, input: MessageInitShape<I>) {
      try {
        return await inner.unary(method, signal, timeoutMs, header, input);
      } catch (thrown) {
        const error = ConnectError.from(thrown);
        const failure = failureOf(error);
        if (acts(method) && isUnreachable(failure) && !failure.requestId && !failure.reason) unanswered.add(error);
        throw error;
      }
    },
    stream: inner.stream,
  };
}

const within = (defaultTimeoutMs: number) => noting(createConnectTransport({ baseUrl: location.origin, useBinaryFormat: true, interceptors: [marked], defaultTimeoutMs }));
const transport = within(PATIENCE);

export const assets = createClient(AssetService, transport);
export const certificates = createClient(CertificateService, transport);
export const chassis = createClient(ChassisService, transport);
export const consoles = createClient(ConsoleService, transport);
export const ipmi = createClient(IpmiService, transport);
export const kvm = createClient(KvmService, transport);
export const media = createClient(MediaService, within(LONG));
export const controllers = createClient(ManagementControllerService, transport);
export const events = createClient(EventService, transport);
export const hosts = createClient(HostService, transport);
export const leds = createClient(LedService, transport);
export const lockouts = createClient(LockoutService, transport);
export const network = createClient(NetworkService, transport);
export const redirect = createClient(RedirectService, transport);
export const roles = createClient(RoleService, transport);
export const sensors = createClient(SensorService, transport);
export const sessions = createClient(SessionService, transport);
export const ssh = createClient(SshService, transport);
export const system = createClient(SystemService, transport);
export const thermal = createClient(ThermalService, transport);
export const users = createClient(UserService, transport);
export const vnc = createClient(VncService, transport);

/** What `/ui/session` and the REST API answer when they refuse: the JSON of google.rpc.Status. */
interface RestStatus {
  code?: number;
  message?: string;
  details?: { reason?: string; metadata?: Record<string, string>; fieldViolations?: Failure["fields"] }[];
}

/** How long it may take to say who is signed in, ms. */
const ASK_PATIENCE = 10_000;

/** A request of `/ui/session`. */
async function uiSession(method: string, body?: unknown): Promise<unknown> {
  let response: Response;
  try {
    response = await fetch("/ui/session", {
      method,
      // Who is signed in is asked before anything is shown: it must not take for ever to learn that nobody answers.
      signal: AbortSignal.timeout(method === "GET" ? ASK_PATIENCE : PATIENCE),
      headers: { [UI_HEADER]: "1", ...(body ? { "content-type": "application/json" } : {}) },
      ...(body ? { body: JSON.stringify(body) } : {}),
    });
  } catch (thrown) {
    throw failureOf(cutShort(thrown));
  }
  const answer: unknown = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  const status = answer as RestStatus;
  const details = status.details ?? [];
  throw {
    code: status.code ?? Code.Unavailable,
    reason: details.find((detail) => detail.reason)?.reason ?? "",
    message: status.message ?? response.statusText,
    metadata: details.find((detail) => detail.metadata)?.metadata ?? {},
    fields: details.find((detail) => detail.fieldViolations)?.fieldViolations ?? [],
    requestId: response.headers.get("x-request-id") ?? "",
  } satisfies Failure;
}

/** Who is signed in, as the BMC says. */
export interface Principal {
  username: string;
  userId: string;
  role: string;
  privileges: string[];
  accountTypes: string[];
  sessionId: string;
  passwordChangeRequired: boolean;
}

export const signIn = (username: string, password: string) => uiSession("POST", { username, password });
/** `undefined` when nobody is. */
export async function whoAmI(): Promise<Principal | undefined> {
  const answer = (await uiSession("GET")) as { principal?: Principal };
  return answer.principal;
}
export const signOut = () => uiSession("DELETE");
