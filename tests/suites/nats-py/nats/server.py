"""What the tests of nats-core, nats-jetstream and nats-key-value start their servers with, by the names they use; it is not in
their packages.

SUITE_SERVER names the program, which takes the flags of nats-server.
"""

import asyncio
import os
import re
import signal
import socket
import tempfile


class ServerError(Exception):
    """It did not start."""


class Server:
    """A running server."""

    def __init__(self, process, host, port, drain):
        self._process, self.host, self.port, self._drain = process, host, port, drain

    @property
    def client_url(self):
        return f"nats://{'127.0.0.1' if self.host == '0.0.0.0' else self.host}:{self.port}"

    @property
    def is_running(self):
        return self._process is not None and self._process.returncode is None

    def lame_duck_mode(self):
        self._process.send_signal(signal.SIGUSR2)

    async def shutdown(self, timeout=5.0):
        if self._process is None:
            return
        process, self._process = self._process, None
        if process.returncode is None:
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), timeout)
        except TimeoutError:
            process.kill()
            await process.wait()
        self._drain.cancel()

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.shutdown()


async def _drain(stream):
    while await stream.read(65536):
        pass


async def _start(flags, timeout):
    process = await asyncio.create_subprocess_exec(
        os.environ["SUITE_SERVER"], *flags, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    said, address = [], None
    async with asyncio.timeout(timeout):
        async for line in process.stderr:
            said.append(line.decode(errors="replace"))
            found = re.search(r"client connections on (\S+):(\d+)", said[-1])
            address = (found[1].strip("[]"), int(found[2])) if found else address
            if "Server is ready" in said[-1]:
                drain = asyncio.create_task(_drain(process.stderr))
                return Server(process, *address, drain)
    await process.wait()
    raise ServerError("the server did not start: " + "".join(said))


async def run(
    *, host=None, port=None, debug=False, jetstream=False, store_dir=None, config_path=None, server_name=None,
    timeout=10.0, more=(),
):
    """Starts a server; returns when it takes clients."""
    flags = list(more)
    for flag, value in (
        ("--addr", host), ("--port", -1 if port == 0 else port), ("--store_dir", store_dir),
        ("--config", config_path), ("--name", server_name),
    ):
        if value is not None:
            flags += [flag, str(value)]
    flags += ["--jetstream"] * jetstream
    return await _start(flags, timeout)


class ServerCluster:
    """Servers that know each other."""

    def __init__(self, servers):
        self.servers = servers

    def client_url(self):
        return self.servers[0].client_url

    async def shutdown(self):
        await asyncio.gather(*(server.shutdown() for server in self.servers), return_exceptions=True)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.shutdown()


def _free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


async def run_cluster(*, size=3, jetstream=False, store_dir=None, **_):
    """Starts `size` servers as a cluster."""
    routes = [f"nats://127.0.0.1:{_free_port()}" for _ in range(size)]
    servers = []
    for n, route in enumerate(routes):
        more = ["--cluster", route, "--cluster_name", "suite", "--routes", ",".join(routes)]
        folder = tempfile.mkdtemp(dir=store_dir) if jetstream else None
        servers.append(await run(port=0, jetstream=jetstream, store_dir=folder, server_name=f"n{n}", more=more))
    return ServerCluster(servers)
