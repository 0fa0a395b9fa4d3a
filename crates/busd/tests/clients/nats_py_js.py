"""What nats-py sees of JetStream: run against ours and against nats-server, the output must be the same."""

import asyncio
import sys

import nats
from nats.errors import TimeoutError as NatsTimeout
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, KeyValueConfig, StorageType, StreamConfig
from nats.js.errors import APIError, BucketNotFoundError, KeyDeletedError, KeyNotFoundError, KeyWrongLastSequenceError

PATIENCE = 10


async def streams(js) -> None:
    info = await js.add_stream(name="LOG", subjects=["log.>"], max_msgs_per_subject=50, allow_direct=True)
    print(info.config.name, info.config.subjects, info.config.max_msgs_per_subject, info.state.messages)
    for n in range(30):
        ack = await js.publish(f"log.{n % 3}", str(n).encode(), headers={"Nats-Msg-Id": str(n)})
        print(ack.stream, ack.seq, ack.duplicate, end=" ")
    ack = await js.publish("log.0", b"again", headers={"Nats-Msg-Id": "3"})
    print("duplicate", ack.seq, ack.duplicate)
    for headers in ({"Nats-Expected-Last-Sequence": "1"}, {"Nats-Expected-Stream": "OTHER"}):
        try:
            await js.publish("log.0", b"x", headers=headers)
            print("taken")
        except APIError as error:
            print(error.code, error.err_code, error.description)
    message = await js.get_msg("LOG", seq=4)
    print(message.subject, message.seq, message.data, message.headers)
    message = await js.get_last_msg("LOG", "log.1")
    print(message.subject, message.seq, message.data)
    message = await js.get_msg("LOG", seq=4, direct=True)
    print("direct", message.subject, message.seq, message.data)
    info = await js.update_stream(StreamConfig(name="LOG", subjects=["log.>", "more"], allow_direct=True))
    print(info.config.subjects, info.config.max_msgs_per_subject)
    print([s.config.name for s in await js.streams_info()])
    print(await js.find_stream_name_by_subject("more"))
    try:
        await js.stream_info("NONE")
    except APIError as error:
        print(error.code, error.err_code, error.description)
    info = await js.add_stream(name="MEM", subjects=["mem"], storage=StorageType.MEMORY)
    print(info.config.storage)
    print("purge", await js.purge_stream("LOG", subject="log.2"))
    info = await js.stream_info("LOG", subjects_filter=">")
    print(info.state.messages, info.state.first_seq, info.state.last_seq, info.state.subjects)


async def consumers(js) -> None:
    sub = await js.pull_subscribe("log.>", durable="work", config=ConsumerConfig(ack_wait=1, max_deliver=3))
    messages = await sub.fetch(5, timeout=PATIENCE)
    for message in messages:
        print(message.subject, message.data, message.metadata.sequence, message.metadata.num_delivered, message.metadata.num_pending)
    await messages[0].ack_sync()
    await messages[1].nak()
    await messages[2].term()
    await messages[3].in_progress()
    # In which order the rest and what comes again arrive is not fixed.
    first, again = set(), set()
    while len(first) < 15 or len(again) < 3:
        for message in await sub.fetch(5, timeout=PATIENCE):
            await message.ack_sync()
            (again if message.metadata.num_delivered > 1 else first).add(message.data)
    print("first", sorted(first), "again", sorted(again))
    info = await sub.consumer_info()
    print(info.name, info.num_pending, info.num_ack_pending, info.ack_floor.stream_seq)
    try:
        await sub.fetch(1, timeout=0.3)
        print("more")
    except NatsTimeout:
        print("empty")

    pushed = await js.subscribe("log.0", ordered_consumer=True)
    print([(await pushed.next_msg(timeout=PATIENCE)).data for _ in range(10)])
    await pushed.unsubscribe()
    last = await js.subscribe("log.>", config=ConsumerConfig(deliver_policy=DeliverPolicy.LAST_PER_SUBJECT, ack_policy=AckPolicy.NONE))
    print([(await last.next_msg(timeout=PATIENCE)).data for _ in range(2)])
    await last.unsubscribe()
    push = await js.subscribe("log.1", durable="pusher", manual_ack=True)
    message = await push.next_msg(timeout=PATIENCE)
    await message.ack_sync()
    info = await push.consumer_info()
    print(info.name, info.ack_floor.stream_seq, info.push_bound)
    await push.unsubscribe()
    print("deleted", await js.delete_consumer("LOG", "work"))
    try:
        await js.consumer_info("LOG", "work")
    except APIError as error:
        print(error.code, error.err_code, error.description)


async def buckets(js) -> None:
    kv = await js.create_key_value(config=KeyValueConfig(bucket="state", history=4))
    watcher = await kv.watchall()
    print("initial", await watcher.updates(timeout=PATIENCE))
    print("put", await kv.put("host.system", b"off"))
    print("update", await kv.update("host.system", b"on", last=1))
    for last in (1, 9):
        try:
            await kv.update("host.system", b"no", last=last)
        except KeyWrongLastSequenceError as error:
            print(error.description)
    print("create", await kv.create("other", b"1"))
    try:
        await kv.create("other", b"2")
    except KeyWrongLastSequenceError as error:
        print(error.description)
    await kv.delete("other")
    for key in ("other", "missing"):
        try:
            await kv.get(key)
        except KeyDeletedError as error:
            print("deleted", error.op, error.entry.revision)
        except KeyNotFoundError:
            print("not found")
    print("create again", await kv.create("other", b"3"))
    entry = await kv.get("host.system")
    print(entry.key, entry.value, entry.revision)
    entry = await kv.get("host.system", revision=1)
    print(entry.value, entry.revision)
    print("history", [(e.revision, e.value, e.operation) for e in await kv.history("host.system")])
    await kv.purge("host.system")
    print("history", [(e.revision, e.operation) for e in await kv.history("host.system")])
    print("keys", sorted(await kv.keys()))
    for _ in range(6):
        entry = await watcher.updates(timeout=PATIENCE)
        print("watched", entry.key, entry.revision, entry.value, entry.operation)
    await watcher.stop()
    status = await kv.status()
    print("status", status.bucket, status.values, status.history)
    await kv.purge_deletes(olderthan=-1)
    status = await kv.status()
    print("after purge_deletes", status.values)
    print("deleted", await js.delete_key_value("state"))
    try:
        await js.key_value("state")
    except BucketNotFoundError:
        print("no bucket")


async def script(url: str) -> None:
    client = await nats.connect(url, name="conformance", connect_timeout=PATIENCE)
    js = client.jetstream(timeout=PATIENCE)
    await streams(js)
    await consumers(js)
    await buckets(js)
    info = await js.account_info()
    print("streams", info.streams, "consumers", info.consumers)
    await client.close()
    print("done")


asyncio.run(asyncio.wait_for(script(sys.argv[1]), 60))
