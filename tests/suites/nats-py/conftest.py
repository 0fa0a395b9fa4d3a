"""The fixtures of the tests of nats-core, nats-jetstream and nats-key-value, which are not in their packages."""

import os

import pytest
import pytest_asyncio

JETSTREAM = os.environ.get("SUITE_JETSTREAM") == "1"

if os.environ.get("SUITE_FIXTURES") == "1":
    from nats.client import connect
    from nats.server import run

    @pytest.fixture
    def store_dir(tmp_path):
        return str(tmp_path / "store")

    @pytest_asyncio.fixture
    async def server(store_dir):
        async with await run(port=0, jetstream=JETSTREAM, store_dir=store_dir if JETSTREAM else None) as server:
            yield server

    @pytest_asyncio.fixture
    async def client(server):
        client = await connect(server.client_url, timeout=5.0)
        yield client
        await client.close()

    @pytest_asyncio.fixture
    async def jetstream(client):
        from nats.jetstream import new

        # The keyword came after the first release.
        try:
            return new(client, strict=True)
        except TypeError:
            return new(client)
