"""What the new Python clients (nats-core, and nats-jetstream where it is installed) see of a server; the output is compared between servers.

It takes `URL core` or `URL jetstream`: the second needs a server with streams.
"""

import asyncio
import sys

from nats.client import NoRespondersError, connect

PATIENCE = 10.0


async def core(client) -> None:
    info = client.server_info
    print("info", info.proto, info.headers, info.max_payload, bool(info.server_id), bool(info.host))
    async with await client.subscribe("a.*") as one, await client.subscribe("a.>", queue="g") as group:
        await client.flush(PATIENCE)
        for n in range(20):
            await client.publish(f"a.{n}", str(n).encode(), headers={"N": str(n)})
        for sub in (one, group):
            for _ in range(20):
                message = await sub.next(PATIENCE)
                print(message.subject, message.data, message.headers.get("N"))
        await client.publish("a.big", b"x" * info.max_payload)
        print("big", len((await one.next(PATIENCE)).data))

    def answer(message):
        asyncio.get_running_loop().create_task(client.publish(message.reply, b"re:" + message.data))

    service = await client.subscribe("svc", queue="q")
    asked = asyncio.create_task(client.request("svc", b"hi", timeout=PATIENCE))
    answer(await service.next(PATIENCE))
    print("answer", (await asked).data)
    try:
        await client.request("nobody", b"", timeout=PATIENCE)
    except NoRespondersError as error:
        print("no responders", error.subject)
    print("rtt", await client.rtt(PATIENCE) > 0)
    await service.drain()


async def streams(client) -> None:
    from nats.jetstream import new

    js = new(client)
    stream = await js.create_stream(name="JOBS", subjects=["jobs.>"])
    for n in range(12):
        ack = await js.publish(f"jobs.{n % 2}", str(n).encode())
        print("stored", ack.stream, ack.sequence, ack.duplicate)
    message = await stream.get_message(3)
    print("get", message.subject, message.sequence, message.data)
    message = await stream.get_last_message_for_subject("jobs.0")
    print("last", message.sequence, message.data)
    consumer = await stream.create_consumer(name="w", durable_name="w", filter_subject="jobs.1", ack_policy="explicit")
    batch = await consumer.fetch(max_messages=4, max_wait=PATIENCE)
    async for message in batch:
        print("pulled", message.subject, message.data, message.metadata.sequence.stream)
        await message.ack()
    ordered = await stream.ordered_consumer()
    batch = await ordered.fetch(max_messages=12, max_wait=PATIENCE)
    print("ordered", [message.data async for message in batch])
    await stream.delete_message(2)
    print("purged", await stream.purge(filter="jobs.1"))
    state = (await stream.get_info()).state
    print("state", state.messages, state.first_sequence, state.last_sequence)
    print("names", [name async for name in js.stream_names()])
    print("deleted", await js.delete_stream("JOBS"))
    try:
        await js.get_stream("JOBS")
    except Exception as error:  # noqa: BLE001 - which one it is is what is compared
        print("gone", type(error).__name__)


async def script(url: str, what: str) -> None:
    client = await connect(url, timeout=PATIENCE)
    await (core if what == "core" else streams)(client)
    await client.close()
    print("done")


asyncio.run(asyncio.wait_for(script(*sys.argv[1:]), 60))
