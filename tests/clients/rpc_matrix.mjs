// The official RPC clients against a running u-bmc: connect-node, connect-web and google's grpc-web, each unary and streaming, in JSON and
// binary, with gzip, deadlines and error details.
//
//     rpc_matrix.mjs https://localhost:8443 DESCRIPTORS MODULES
//
// DESCRIPTORS is the schema's google.protobuf.FileDescriptorSet, so nothing here is generated; MODULES the folder with `node_modules`. The
// password of the administrator comes in UBMC_PASSWORD; NODE_EXTRA_CA_CERTS names the server's certificate. Ends with 0 when each row is as it
// has to be.

import { readFileSync } from "node:fs";
import https from "node:https";
import { createRequire } from "node:module";
import path from "node:path";

const [url, descriptors, modules] = process.argv.slice(2);
const require = createRequire(path.join(modules, "package.json"));
const { Code, ConnectError, createClient } = require("@connectrpc/connect");
const node = require("@connectrpc/connect-node");
const web = require("@connectrpc/connect-web");
const { create, createFileRegistry, fromBinary, toBinary } = require("@bufbuild/protobuf");
const { FileDescriptorSetSchema } = require("@bufbuild/protobuf/wkt");

const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(descriptors)));
const service = (name) => registry.getService(`schema.v1alpha1.${name}`);
const message = (name) => registry.getMessage(name);
const hosts = service("HostService");
const events = service("EventService");

// What a call ends with when it takes longer than any here may.
const LATE_MS = 60_000;

function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: nothing after ${LATE_MS} ms`)), LATE_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

function same(got, want, what) {
  const [a, b] = [JSON.stringify(got), JSON.stringify(want)];
  if (a !== b) throw new Error(`${what}: ${a} instead of ${b}`);
}

// --- The clients. Each has unary(method, fields, options) and stream(method, fields, options), and throws { code, words, violations }.

class Official {
  constructor(transport) {
    this.clients = { HostService: createClient(hosts, transport), EventService: createClient(events, transport) };
  }

  options({ token, headers = {}, timeoutMs, signal }) {
    const all = token ? { authorization: `Bearer ${token}`, ...headers } : headers;
    return { headers: all, timeoutMs, signal };
  }

  async unary(of, method, fields, options) {
    try {
      return await this.clients[of][method](fields, this.options(options));
    } catch (error) {
      throw told(error);
    }
  }

  async *stream(of, method, fields, options) {
    try {
      yield* this.clients[of][method](fields, this.options(options));
    } catch (error) {
      throw told(error);
    }
  }
}

function told(error) {
  const { code, rawMessage: words } = ConnectError.from(error);
  const details = error.findDetails?.(message("google.rpc.BadRequest")) ?? [];
  return { code, words, violations: details.flatMap((detail) => detail.fieldViolations.map((v) => v.field)) };
}

// A browser's XMLHttpRequest, as far as google's client uses it.
class Xhr {
  readyState = 0;
  status = 0;
  statusText = "";
  responseText = "";
  responseType = "";
  response = "";
  withCredentials = false;
  onreadystatechange = null;

  open(method, target) {
    this.request = https.request(target, { method });
    this.to(1);
  }

  setRequestHeader(name, value) {
    this.request.setHeader(name, value);
  }

  send(body) {
    this.request.on("response", (answer) => {
      this.answer = answer;
      this.status = answer.statusCode;
      this.to(2);
      const pieces = [];
      answer.on("data", (piece) => {
        pieces.push(piece);
        if (!this.responseType) this.responseText = this.response = Buffer.concat(pieces).toString("latin1");
        this.to(3);
      });
      answer.on("end", () => {
        const all = Buffer.concat(pieces);
        if (this.responseType) this.response = all.buffer.slice(all.byteOffset, all.byteOffset + all.length);
        this.to(4);
      });
      answer.on("error", () => this.to(4));
    });
    this.request.on("error", () => this.to(4));
    this.request.end(typeof body === "string" ? body : Buffer.from(body));
  }

  abort() {
    this.request.destroy();
  }

  getAllResponseHeaders() {
    const raw = this.answer?.rawHeaders ?? [];
    return raw.map((text, at) => (at % 2 ? `${text}\r\n` : `${text}: `)).join("");
  }

  getResponseHeader(name) {
    return this.answer?.headers[name.toLowerCase()] ?? null;
  }

  to(state) {
    if (this.readyState === 4) return;
    this.readyState = state;
    this.onreadystatechange?.();
  }
}

// google's client: one method descriptor a call, messages as bytes.
class Google {
  constructor(format) {
    globalThis.XMLHttpRequest = Xhr;
    const { GrpcWebClientBase, MethodDescriptor } = require("grpc-web");
    this.base = new GrpcWebClientBase({ format });
    this.describe = (kind, of, { input, output }) =>
      new MethodDescriptor(of, kind, Object, Object, (fields) => toBinary(input, create(input, fields)), (data) => fromBinary(output, data));
  }

  call(of, method) {
    const found = service(of).method[method];
    return { path: `/${service(of).typeName}/${found.name}`, found };
  }

  metadata({ token, headers = {}, timeoutMs }) {
    const all = { ...headers };
    if (token) all.authorization = `Bearer ${token}`;
    if (timeoutMs) all.deadline = String(Date.now() + timeoutMs);
    return all;
  }

  async unary(of, method, fields, options) {
    const { path, found } = this.call(of, method);
    const described = this.describe("unary", path, found);
    try {
      return await this.base.unaryCall(url + path, fields, this.metadata(options), described);
    } catch (error) {
      throw this.told(error);
    }
  }

  async *stream(of, method, fields, options) {
    const { path, found } = this.call(of, method);
    const described = this.describe("server_streaming", path, found);
    const stream = this.base.serverStreaming(url + path, fields, this.metadata(options), described);
    const queue = [];
    let wake = () => {};
    const push = (item) => {
      queue.push(item);
      wake();
    };
    stream.on("data", (value) => push({ value }));
    stream.on("error", (error) => push({ error }));
    stream.on("end", () => push({ end: true }));
    try {
      for (;;) {
        while (queue.length === 0) await new Promise((resolve) => (wake = resolve));
        const { value, error, end } = queue.shift();
        if (error) throw this.told(error);
        if (end) return;
        yield value;
      }
    } finally {
      stream.cancel();
    }
  }

  told(error) {
    const bin = error.metadata?.["grpc-status-details-bin"];
    const violations = [];
    if (bin) {
      const status = fromBinary(message("google.rpc.Status"), Buffer.from(bin, "base64"));
      const bad = message("google.rpc.BadRequest");
      for (const any of status.details.filter((any) => any.typeUrl.endsWith(bad.typeName))) {
        violations.push(...fromBinary(bad, any.value).fieldViolations.map((violation) => violation.field));
      }
    }
    return { code: error.code, words: decodeURIComponent(error.message), violations };
  }
}

// --- The rows: a name, a client, the header that limits a call's time, and what is as the client is.

const gzip = { acceptCompression: [node.compressionGzip], compressMinBytes: 0 };
const connectLimit = (ms) => ({ "connect-timeout-ms": String(ms) });
const grpcLimit = (ms) => ({ "grpc-timeout": ms ? `${ms}m` : "1n" });

function rows() {
  const all = [];
  for (const useBinaryFormat of [false, true]) {
    const codec = useBinaryFormat ? "binary" : "JSON";
    for (const httpVersion of ["1.1", "2"]) {
      const options = { baseUrl: url, httpVersion, useBinaryFormat, ...gzip };
      const sending = { ...options, sendCompression: node.compressionGzip };
      const both = (create, limit, name) => all.push({
        name: `connect-node ${name} ${codec} HTTP/${httpVersion}`,
        client: new Official(create(options)),
        compressing: new Official(create(sending)),
        limit,
      });
      both(node.createConnectTransport, connectLimit, "Connect");
      both(node.createGrpcWebTransport, grpcLimit, "gRPC-Web");
      if (httpVersion === "2") both(node.createGrpcTransport, grpcLimit, "gRPC");
    }
    const options = { baseUrl: url, useBinaryFormat };
    const fetched = (create, limit, name) =>
      all.push({ name: `connect-web ${name} ${codec}`, client: new Official(create), limit });
    fetched(web.createConnectTransport(options), connectLimit, "Connect");
    fetched(web.createConnectTransport({ ...options, useHttpGet: true }), connectLimit, "Connect by GET");
    fetched(web.createGrpcWebTransport(options), grpcLimit, "gRPC-Web");
  }
  all.push({ name: "grpc-web text", client: new Google("text"), limit: grpcLimit });
  all.push({ name: "grpc-web binary", client: new Google("binary"), limit: grpcLimit });
  return all;
}

async function refused(call, what) {
  try {
    await within(call(), what);
  } catch (error) {
    if (error instanceof Error) throw error;
    return error;
  }
  throw new Error(`${what}: an answer instead of an error`);
}

async function all(stream) {
  const seen = [];
  for await (const item of stream) seen.push(item);
  return seen;
}

// What each client is asked. Throws what is not as it has to be.
const CASES = {
  async "a unary call is answered"({ client }, token) {
    const reply = await within(client.unary("HostService", "getHost", { name: "system" }, { token }), "GetHost");
    same(reply.host.name, "system", "the host");
    const list = await within(client.unary("HostService", "listHosts", {}, { token }), "ListHosts");
    same(list.hosts.map((host) => host.name), ["system"], "the hosts");
  },
  async "an error has its code and words"({ client }, token) {
    const error = await refused(() => client.unary("HostService", "getHost", { name: "nobody" }, { token }), "GetHost");
    same([error.code, error.words.includes('"nobody"')], [Code.NotFound, true], error.words);
  },
  async "an error has its details"({ client }, token) {
    const error = await refused(() => client.unary("HostService", "getHost", { name: "" }, { token }), "GetHost");
    same([error.code, error.violations], [Code.InvalidArgument, ["name"]], error.words);
  },
  async "who is not logged in is told so"({ client }) {
    const unary = await refused(() => client.unary("HostService", "getHost", { name: "system" }, {}), "GetHost");
    same(unary.code, Code.Unauthenticated, "GetHost");
    const stream = await refused(() => all(client.stream("EventService", "watchEvents", {}, {})), "WatchEvents");
    same(stream.code, Code.Unauthenticated, "WatchEvents");
  },
  async "a unary call is over when its time is"({ client, limit }, token) {
    const options = { token, headers: limit(0) };
    const error = await refused(() => client.unary("HostService", "getHost", { name: "system" }, options), "GetHost");
    same(error.code, Code.DeadlineExceeded, error.words);
  },
  async "a stream begins where it shall and gives one event after the other"({ client }, token) {
    const stream = client.stream("EventService", "watchEvents", { afterSequence: 0n }, { token });
    const read = async () => {
      const seen = [];
      for await (const event of stream) {
        seen.push(event.sequence);
        if (seen.length === 3) return seen;
      }
      return seen;
    };
    const seen = await within(read(), "WatchEvents");
    same(seen.length === 3 && seen[0] < seen[1] && seen[1] < seen[2], true, `the numbers ${seen}`);
  },
  async "a stream that is refused says why"({ client }, token) {
    const fields = { domain: "not a token" };
    const error = await refused(() => all(client.stream("EventService", "watchEvents", fields, { token })), "WatchEvents");
    same([error.code, error.violations], [Code.InvalidArgument, ["domain"]], error.words);
  },
  async "a stream is over when its time is"({ client, limit }, token) {
    // The server ends it: the client knows of no limit.
    const options = { token, headers: limit(300) };
    const error = await refused(() => all(client.stream("EventService", "watchEvents", { domain: "nothing" }, options)), "WatchEvents");
    same(error.code, Code.DeadlineExceeded, error.words);
    const own = { token, timeoutMs: 300 };
    const late = await refused(() => all(client.stream("EventService", "watchEvents", { domain: "nothing" }, own)), "WatchEvents");
    same(late.code, Code.DeadlineExceeded, late.words);
  },
  async "a compressed message is refused as such"({ compressing }, token) {
    if (!compressing) return;
    const error = await refused(() => compressing.unary("HostService", "getHost", { name: "system" }, { token }), "GetHost");
    same(error.code, Code.Unimplemented, error.words);
    const fields = { domain: "nothing" };
    const stream = await refused(() => all(compressing.stream("EventService", "watchEvents", fields, { token })), "WatchEvents");
    same(stream.code, Code.Unimplemented, stream.words);
  },
};

async function login() {
  const { createSession } = createClient(service("SessionService"), node.createConnectTransport({ baseUrl: url, httpVersion: "2" }));
  return (await createSession({ username: "admin", password: process.env.UBMC_PASSWORD })).token;
}

const token = await login();
const wrong = [];
let passed = 0;

async function play(row) {
  for (const [name, run] of Object.entries(CASES)) {
    // google's client streams in text only: a browser gives it no part of a binary answer.
    if (row.name === "grpc-web binary" && name.includes("stream")) continue;
    try {
      await run(row, token);
      passed += 1;
    } catch (error) {
      wrong.push(`${row.name}: ${name}: ${error.message ?? JSON.stringify(error)}`);
    }
  }
}

// Most of it is waiting for a time to be over; an account may have 16 streams.
const waiting = rows();
const next = async () => {
  for (let row = waiting.shift(); row; row = waiting.shift()) await play(row);
};
await Promise.all(Array.from({ length: 6 }, next));
for (const line of wrong) console.error(line);
console.log(`${passed} passed, ${wrong.length} failed`);
process.exit(wrong.length ? 1 : 0);
