#!/usr/bin/env python3
"""The same call by Connect, gRPC, gRPC-Web and REST over HTTP/1.1, 2 and 3, by clients that are not ours (grpcio, httpx,
aioquic): same answer, same error.

    web_matrix.py https://127.0.0.1:8443 --user admin --password-file FILE

Message types come from the server's reflection, so nothing here is generated. Ends with 0 when all agree, 1 with a list of the
differences otherwise.
"""

import argparse
import asyncio
import base64
import json
import ssl
import sys
import threading
import urllib.parse

import grpc
import httpx
from aioquic.asyncio.client import connect as quic_connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

PACKAGE = "schema.v1alpha1"
API = "/api/v1alpha1"
WAIT = 60

# gRPC's numbers by Connect's names.
CODES = [
    "ok", "canceled", "unknown", "invalid_argument", "deadline_exceeded", "not_found", "already_exists",
    "permission_denied", "resource_exhausted", "failed_precondition", "aborted", "out_of_range", "unimplemented",
    "internal", "unavailable", "data_loss", "unauthenticated",
]  # fmt: skip

# Values that differ from one call to the next.
VOLATILE = {"uptime", "bootTime", "updatedAt", "lastUpdated", "lastUsedAt", "idleExpiresAt", "memoryBytes", "timestamp"}


def frame(message, flags=0):
    return bytes([flags]) + len(message).to_bytes(4, "big") + message


def frames(body):
    while body:
        length = int.from_bytes(body[1:5], "big")
        yield body[0], body[5 : 5 + length]
        body = body[5 + length :]


def stable(value):
    if isinstance(value, dict):
        return {k: stable(v) for k, v in sorted(value.items()) if k not in VOLATILE}
    if isinstance(value, list):
        return [stable(v) for v in value]
    return value


def varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        at += 1
        shift += 7
        if not data[at - 1] & 0x80:
            return value, at


def field(data, number):
    """All values of a length-delimited field."""
    at, found = 0, []
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 2:
            length, at = varint(data, at)
            if key >> 3 == number:
                found.append(data[at : at + length])
            at += length
        elif key & 7 == 0:
            _, at = varint(data, at)
        else:
            at += 8 if key & 7 == 1 else 4
    return found


class H3(QuicConnectionProtocol):
    """One HTTP/3 connection; requests one after the other."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = None
        self.waiting = {}

    def quic_event_received(self, event):
        if self.http is None:
            self.http = H3Connection(self._quic)
        for happened in self.http.handle_event(event):
            if isinstance(happened, (HeadersReceived, DataReceived)) and happened.stream_id in self.waiting:
                heads, body, done = self.waiting[happened.stream_id]
                if isinstance(happened, HeadersReceived):
                    heads.append({k.decode(): v.decode() for k, v in happened.headers})
                else:
                    body.extend(happened.data)
                if happened.stream_ended and not done.done():
                    done.set_result(None)

    async def ask(self, verb, authority, path, headers, body):
        if self.http is None:
            self.http = H3Connection(self._quic)
        stream = self._quic.get_next_available_stream_id()
        done = asyncio.get_running_loop().create_future()
        self.waiting[stream] = ([], bytearray(), done)
        head = [(":method", verb), (":scheme", "https"), (":authority", authority), (":path", path)]
        head += list(headers.items())
        self.http.send_headers(stream, [(k.encode(), v.encode()) for k, v in head], end_stream=not body)
        if body:
            self.http.send_data(stream, body, end_stream=True)
        self.transmit()
        await asyncio.wait_for(done, WAIT)
        heads, data, _ = self.waiting.pop(stream)
        return int(heads[0][":status"]), heads[0], bytes(data), heads[1] if len(heads) > 1 else {}


class Client:
    """Sends a request over a chosen HTTP version: (status, headers, body, trailers)."""

    def __init__(self, base):
        self.base = base.rstrip("/")
        url = urllib.parse.urlsplit(self.base)
        self.host, self.port = url.hostname, url.port or 443
        self.h1 = httpx.Client(verify=False, http1=True, http2=False, timeout=WAIT)
        self.h2 = httpx.Client(verify=False, http1=False, http2=True, timeout=WAIT)
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.h3 = self.run(self.open_h3())

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(WAIT * 2)

    async def open_h3(self):
        config = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, verify_mode=ssl.CERT_NONE)
        self.quic = quic_connect(self.host, self.port, configuration=config, create_protocol=H3)
        return await self.quic.__aenter__()

    def send(self, version, verb, path, headers, body=b""):
        if version == "h3":
            authority = f"{self.host}:{self.port}"
            return self.run(self.h3.ask(verb, authority, path, headers, body))
        client = self.h1 if version == "h1" else self.h2
        reply = client.request(verb, self.base + path, headers=headers, content=body or None)
        want = "HTTP/1.1" if version == "h1" else "HTTP/2"
        assert reply.http_version == want, f"{reply.http_version} instead of {want}"
        return reply.status_code, {k.lower(): v for k, v in reply.headers.items()}, reply.content, {}


class Types:
    """Request and response classes by method, from the server's reflection."""

    def __init__(self, channel, metadata):
        self.pool = descriptor_pool.DescriptorPool()
        self.known = {}
        path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
        ask = channel.stream_stream(path, request_serializer=bytes, response_deserializer=bytes)
        services = next(iter(ask(iter([b"\x3a\x01*"]), metadata=metadata, timeout=WAIT)))
        self.services = [field(s, 1)[0].decode() for s in field(field(services, 6)[0], 1)]
        for service in self.services:
            name = service.encode()
            answer = next(iter(ask(iter([b"\x22" + bytes([len(name)]) + name]), metadata=metadata, timeout=WAIT)))
            for data in field(field(answer, 4)[0], 1):
                file = descriptor_pb2.FileDescriptorProto.FromString(data)
                self.known[file.name] = file
        added = set()
        for name in self.known:
            self.add(name, added)

    def add(self, name, added):
        if name in added:
            return
        added.add(name)
        for dependency in self.known[name].dependency:
            self.add(dependency, added)
        self.pool.Add(self.known[name])

    def of(self, method):
        service, name = method.split("/")
        found = self.pool.FindServiceByName(f"{PACKAGE}.{service}").methods_by_name[name]
        return message_factory.GetMessageClass(found.input_type), message_factory.GetMessageClass(found.output_type)


def show(message):
    return stable(json_format.MessageToDict(message))


def plain_error(body):
    """Code and words of a Connect or REST error."""
    error = json.loads(body)
    code = error["code"]
    return ("error", CODES[code] if isinstance(code, int) else code, error["message"])


def grpc_error(trailers):
    return ("error", CODES[int(trailers["grpc-status"])], urllib.parse.unquote(trailers.get("grpc-message", "")))


def channel_of(client):
    """grpcio, trusting the certificate the server shows."""
    pem = ssl.get_server_certificate((client.host, client.port)).encode()
    credentials = grpc.ssl_channel_credentials(root_certificates=pem)
    options = [("grpc.ssl_target_name_override", "localhost")]
    return grpc.secure_channel(f"{client.host}:{client.port}", credentials, options=options)


def variants(client, channel, types, method, fields, rest, token):
    """Every way to make one call: its name and what came back."""
    path = f"/{PACKAGE}.{method}"
    request_type, response_type = types.of(method)
    request = json_format.ParseDict(fields, request_type())
    text, data = json.dumps(fields).encode(), request.SerializeToString()
    auth = {"authorization": f"Bearer {token}"} if token else {}

    def decode(bytes_):
        return ("ok", show(response_type.FromString(bytes_)))

    for version in ("h1", "h2", "h3"):
        for codec, body in (("json", text), ("proto", data)):
            kind = {"content-type": f"application/{codec}", "connect-protocol-version": "1"}
            status, _, reply, _ = client.send(version, "POST", path, auth | kind, body)
            good = decode(reply) if codec == "proto" and status == 200 else None
            good = good or (("ok", stable(json.loads(reply))) if status == 200 else plain_error(reply))
            yield f"Connect {codec} {version}", good

            message = base64.urlsafe_b64encode(body).decode().rstrip("=")
            query = f"{path}?connect=v1&encoding={codec}&base64=1&message={message}"
            status, _, reply, _ = client.send(version, "GET", query, auth)
            good = decode(reply) if codec == "proto" and status == 200 else None
            good = good or (("ok", stable(json.loads(reply))) if status == 200 else plain_error(reply))
            yield f"Connect GET {codec} {version}", good

        for text_mode in (False, True):
            kind = "application/grpc-web-text" if text_mode else "application/grpc-web+proto"
            body = base64.b64encode(frame(data)) if text_mode else frame(data)
            _, _, reply, _ = client.send(version, "POST", path, auth | {"content-type": kind, "x-grpc-web": "1"}, body)
            if text_mode:
                pieces = reply.replace(b"=", b"= ").replace(b"= =", b"==").split()
                reply = b"".join(base64.b64decode(piece) for piece in pieces)
            answer, trailers = None, {}
            for flags, content in frames(reply):
                if flags & 0x80:
                    trailers = dict(line.split(": ", 1) for line in content.decode().strip().split("\r\n"))
                else:
                    answer = decode(content)
            yield f"{kind} {version}", answer if trailers["grpc-status"] == "0" else grpc_error(trailers)

        if rest is not None:
            status, _, reply, _ = client.send(version, "GET", API + rest, auth)
            yield f"REST {version}", ("ok", stable(json.loads(reply))) if status == 200 else plain_error(reply)

    kind = {"content-type": "application/grpc", "te": "trailers"}
    _, head, reply, trailers = client.send("h3", "POST", path, auth | kind, frame(data))
    trailers = trailers or head
    bodies = [content for _, content in frames(reply)]
    yield "gRPC h3", decode(bodies[0]) if trailers["grpc-status"] == "0" else grpc_error(trailers)

    call = channel.unary_unary(path, request_serializer=bytes, response_deserializer=bytes)
    try:
        answer = decode(call(data, metadata=list(auth.items()), timeout=WAIT))
    except grpc.RpcError as error:
        answer = ("error", CODES[error.code().value[0]], error.details())
    yield "gRPC h2 (grpcio)", answer


def compare(client, channel, types, token):
    """The list of differences."""
    wrong, count = [], 0
    calls = [
        ("HostService/GetHost", {"name": "system"}, "/hosts/system", token),
        ("HostService/GetHost", {"name": "no-such-host"}, "/hosts/no-such-host", token),
        ("HostService/GetHost", {"name": "x" * 100}, "/hosts/" + "x" * 100, token),
        ("HostService/ListHosts", {}, "/hosts", token),
        ("HostService/GetHost", {"name": "system"}, "/hosts/system", None),
        ("HostService/GetHost", {"name": "system"}, "/hosts/system", "not-a-token"),
        ("ChassisService/GetChassis", {"name": "chassis"}, "/chassis/chassis", token),
        ("UserService/ListUsers", {}, "/users", token),
        ("UserService/GetUser", {"id": "nobody-here"}, "/users/nobody-here", token),
        ("RoleService/ListRoles", {}, "/roles", token),
        ("EventService/ListEvents", {"domain": "nothing"}, "/events?domain=nothing", token),
    ]
    for method, fields, rest, token_ in calls:
        answers = list(variants(client, channel, types, method, fields, rest, token_))
        count += len(answers)
        first = answers[0][1]
        print(f"{method} {json.dumps(fields)[:40]}: {str(first)[:100]}")
        for name, answer in answers[1:]:
            if answer != first:
                wrong.append(f"{method} {fields} by {name}: {answer}\n    but by {answers[0][0]}: {first}")
    return wrong, count


def watch(client, channel, types, token, login):
    """A login is told to a gRPC, a Connect and a REST watcher alike."""
    wrong = []
    _, event_type = types.of("EventService/WatchEvents")
    path = f"/{PACKAGE}.EventService/WatchEvents"
    seen = {}
    ready = [threading.Event() for _ in range(2)]

    def connect_stream():
        headers = {"authorization": f"Bearer {token}", "content-type": "application/connect+json"}
        body = frame(b'{"domain":"session"}')
        with client.h2.stream("POST", client.base + path, headers=headers, content=body) as reply:
            ready[0].set()
            data = b""
            for piece in reply.iter_bytes():
                data += piece
                if len(data) >= 5 and len(data) >= 5 + int.from_bytes(data[1:5], "big"):
                    seen["Connect"] = json.loads(next(frames(data))[1])
                    return

    def sse():
        url = client.base + API + "/events:watch?domain=session"
        with client.h1.stream("GET", url, headers={"x-auth-token": token}) as reply:
            ready[1].set()
            for line in reply.iter_lines():
                if line.startswith("data: "):
                    seen["REST"] = json.loads(line[6:])
                    return

    threads = [threading.Thread(target=target, daemon=True) for target in (connect_stream, sse)]
    for thread in threads:
        thread.start()
    for event in ready:
        assert event.wait(WAIT), "a stream does not open"
    call = channel.unary_stream(path, request_serializer=bytes, response_deserializer=bytes)
    request = types.of("EventService/WatchEvents")[0](domain="session").SerializeToString()
    stream = call(request, metadata=[("authorization", f"Bearer {token}")], timeout=WAIT)
    stream.initial_metadata()
    login()
    seen["gRPC"] = json_format.MessageToDict(event_type.FromString(next(iter(stream))))
    stream.cancel()
    for thread in threads:
        thread.join(WAIT)
    ids = {name: event.get("id") for name, event in seen.items()}
    if len(ids) != 3 or len(set(ids.values())) != 1 or None in ids.values():
        wrong.append(f"a login was told as {ids}")
    return wrong


def refused(call):
    """Code and fields complained about of a call by grpcio that has to fail."""
    try:
        answer = call()
    except grpc.RpcError as error:
        details = dict(error.trailing_metadata() or []).get("grpc-status-details-bin", b"")
        # Of google.rpc.Status the details, of each the message, of google.rpc.BadRequest the violations, of each the field.
        bad = [value for any_ in field(details, 3) for value in field(any_, 2)]
        return error.code(), [field(violation, 1)[0].decode() for value in bad for violation in field(value, 1)]
    return "an answer", answer


def grpcio(channel, types, token):
    """What grpcio is told of errors, deadlines, streams and compression; the list of what is not as it has to be."""
    auth = [("authorization", f"Bearer {token}")]
    get = channel.unary_unary(f"/{PACKAGE}.HostService/GetHost", request_serializer=bytes, response_deserializer=bytes)
    path = f"/{PACKAGE}.EventService/WatchEvents"
    watch = channel.unary_stream(path, request_serializer=bytes, response_deserializer=bytes)
    host, _ = types.of("HostService/GetHost")
    watched, event = types.of("EventService/WatchEvents")
    system, nobody = host(name="system").SerializeToString(), host().SerializeToString()
    code = grpc.StatusCode
    # Long enough for the events there are to be told on a busy machine.
    late = ("grpc-timeout", "8S")
    wrong = []

    def expect(what, got, want):
        if got != want:
            wrong.append(f"grpcio: {what}: {got} instead of {want}")

    unnamed = refused(lambda: get(nobody, metadata=auth, timeout=WAIT))
    expect("details of an error", unnamed, (code.INVALID_ARGUMENT, ["name"]))
    zipped = {"metadata": auth, "timeout": WAIT, "compression": grpc.Compression.Gzip}
    expect("a compressed message", refused(lambda: get(system, **zipped))[0], code.UNIMPLEMENTED)
    numbers = []
    first = watched(after_sequence=0).SerializeToString()

    def read():
        for data in watch(first, metadata=[*auth, late]):
            numbers.append(event.FromString(data).sequence)

    expect("a stream whose time is over", refused(read)[0], code.DEADLINE_EXCEEDED)
    expect("its events", len(numbers) > 2 and numbers == sorted(set(numbers)), True)
    bad = watched(domain="not a token").SerializeToString()
    ended = refused(lambda: list(watch(bad, metadata=auth, timeout=WAIT)))
    expect("a stream that is refused", ended, (code.INVALID_ARGUMENT, ["domain"]))
    own = watched(domain="nothing").SerializeToString()
    ended = refused(lambda: list(watch(own, metadata=auth, timeout=0.3)))
    expect("the client's own limit", ended[0], code.DEADLINE_EXCEEDED)
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="https://ADDRESS:PORT")
    parser.add_argument("--user", default="admin")
    parser.add_argument("--password-file", required=True)
    arguments = parser.parse_args()
    with open(arguments.password_file, encoding="utf-8") as file:
        password = file.read().strip()
    client = Client(arguments.url)

    def login():
        body = json.dumps({"username": arguments.user, "password": password}).encode()
        headers = {"content-type": "application/json"}
        status, head, reply, _ = client.send("h1", "POST", API + "/sessions", headers, body)
        assert status == 200, (status, reply)
        assert "h3=" in head["alt-svc"], head
        return json.loads(reply)["token"]

    token = login()
    channel = channel_of(client)
    types = Types(channel, [("authorization", f"Bearer {token}")])
    assert f"{PACKAGE}.HostService" in types.services, types.services
    wrong, count = compare(client, channel, types, token)
    wrong += watch(client, channel, types, token, login)
    wrong += grpcio(channel, types, token)
    for difference in wrong:
        print("DIFFERENT:", difference, file=sys.stderr)
    print(f"{count} calls compared, {len(wrong)} differences")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
