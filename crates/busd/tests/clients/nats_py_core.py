"""What nats-py sees of a server: run against ours and against nats-server, the output must be the same."""

import asyncio
import sys

import nats
from nats.errors import MaxPayloadError, NoRespondersError

PATIENCE = 10


async def script(url: str) -> None:
    client = await nats.connect(url, name="conformance", connect_timeout=PATIENCE)
    print("max_payload", client.max_payload, "version major", client.connected_server_version.major)

    wild = await client.subscribe("events.*.state")
    deep = await client.subscribe("events.>")
    await client.publish("events.host.state", b"on", headers={"Traceparent": "00-1"})
    for subscription in (wild, deep):
        message = await subscription.next_msg(timeout=PATIENCE)
        print(message.subject, message.data, message.headers)

    async def echo(message):
        await message.respond(message.data)

    await client.subscribe("rpc.Echo.*", queue="echo", cb=echo)
    for size in (0, 1, 4096, 500_000):
        answer = await client.request("rpc.Echo.Say", bytes(size), timeout=PATIENCE)
        print("echo", len(answer.data))
    answer = await client.request("rpc.Echo.Say", b"old", timeout=PATIENCE, old_style=True)
    print("echo", answer.data)

    try:
        await client.request("rpc.Nobody.Home", b"", timeout=PATIENCE)
        print("somebody is home")
    except NoRespondersError:
        print("no responders")
    try:
        await client.publish("events.a.state", bytes(client.max_payload + 1))
        print("over max payload taken")
    except MaxPayloadError:
        print("over max payload refused")

    got = []
    enough = asyncio.Event()

    async def count(message):
        got.append(message.data)
        if len(got) == 2:
            enough.set()

    limited = await client.subscribe("limited", cb=count)
    await limited.unsubscribe(2)
    for n in range(4):
        await client.publish("limited", str(n).encode())
    await client.flush(timeout=PATIENCE)
    await asyncio.wait_for(enough.wait(), PATIENCE)
    print("limited", got)
    await client.drain()
    print("done")


asyncio.run(asyncio.wait_for(script(sys.argv[1]), 60))
