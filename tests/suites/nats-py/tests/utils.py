"""What the tests of nats-py start their servers with, by the names they use; the package has the tests without it.

SUITE_SERVER names the program, which takes the flags of nats-server. The tests want fixed ports: they run in a network of
their own. What needs certificates, keys or accounts is skipped: those files are not in the package, and u-bmc has none of it.
"""

import asyncio
import functools
import os
import shutil
import signal
import subprocess
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))


class NATSD:
    """A server; the port, and who may connect."""

    def __init__(
        self, port=4222, user="", password="", token="", timeout=0, http_port=8222, debug=False, tls=False,
        cluster_listen=None, routes=None, config_file=None, with_jetstream=None,
    ):
        self.port, self.http_port = port, http_port
        self.user, self.password, self.token, self.timeout = user, password, token, timeout
        self.tls, self.config_file, self.debug = tls, config_file, debug
        self.cluster_listen, self.routes, self.with_jetstream = cluster_listen, routes or [], with_jetstream
        self.store_dir = tempfile.mkdtemp() if with_jetstream else None
        self.proc = None

    def start(self):
        flags = ["-a", "127.0.0.1", "-p", str(self.port), "-m", str(self.http_port)]
        for flag, value in (("--user", self.user), ("--pass", self.password), ("--auth", self.token)):
            if value:
                flags += [flag, value]
        if self.with_jetstream:
            flags += ["-js", f"-sd={self.store_dir}"]
        if self.cluster_listen:
            flags += ["--cluster_listen", self.cluster_listen]
        if self.routes:
            flags += ["--routes", ",".join(self.routes), "--cluster_name", "suite"]
        if self.config_file:
            flags += ["--config", self.config_file]
        self.proc = subprocess.Popen(
            [os.environ["SUITE_SERVER"], *flags], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        return self.proc

    def wait(self):
        """Until it takes clients; what it says after that is not kept."""
        said = []
        for line in self.proc.stderr:
            said.append(line.decode(errors="replace"))
            if b"Server is ready" in line:
                break
        else:
            raise RuntimeError("the server did not start: " + "".join(said))
        drain = ["cat"]
        self.drain = subprocess.Popen(drain, stdin=self.proc.stderr, stdout=subprocess.DEVNULL)
        self.proc.stderr.close()

    def send_signal(self, number):
        if self.proc and self.proc.poll() is None:
            self.proc.send_signal(number)

    def stop(self):
        if self.proc is None:
            return
        self.send_signal(signal.SIGKILL)
        self.proc.wait()
        if hasattr(self, "drain"):
            self.drain.wait()


def start_natsd(server):
    server.start()
    server.wait()


def get_config_file(path):
    return os.path.join(HERE, path)


class Servers(unittest.TestCase):
    """A test with servers; the first `started` of them run when it begins."""

    servers = ()
    started = None

    def setUp(self):
        super().setUp()
        self.loop = asyncio.new_event_loop()
        self.server_pool = [NATSD(**options) for options in self.servers]
        try:
            for server in self.server_pool[: self.started]:
                start_natsd(server)
        except RuntimeError:
            self.tearDown()
            raise

    def tearDown(self):
        for server in self.server_pool:
            server.stop()
            if server.store_dir:
                shutil.rmtree(server.store_dir, ignore_errors=True)
        self.loop.close()


class SingleServerTestCase(Servers):
    servers = ({"port": 4222},)


class SingleJetStreamServerTestCase(Servers):
    servers = ({"port": 4222, "with_jetstream": True},)


class MultiServerAuthTestCase(Servers):
    servers = (
        {"port": 4223, "user": "foo", "password": "bar", "http_port": 8223},
        {"port": 4224, "user": "hoge", "password": "fuga", "http_port": 8224},
    )


class MultiServerAuthTokenTestCase(Servers):
    servers = (
        {"port": 4223, "token": "token", "http_port": 8223},
        {"port": 4224, "token": "token", "http_port": 8224},
        {"port": 4225, "token": "secret", "http_port": 8225},
    )


def without(what):
    """A kind of server that is not there."""

    class Without(unittest.TestCase):
        def setUp(self):
            self.skipTest(f"needs {what}")

    return Without


TLSServerTestCase = without("certificates")
MultiTLSServerAuthTestCase = without("certificates")
TLSServerHandshakeFirstTestCase = without("certificates")
ClusteringTestCase = without("a cluster")
ClusteringDiscoveryAuthTestCase = without("a cluster")
NkeysServerTestCase = without("keys")
TrustedServerTestCase = without("keys")
NoAuthUserServerTestCase = without("accounts")
SingleJetStreamServerLimitsTestCase = without("accounts")
SingleWebSocketServerTestCase = without("websockets")
SingleWebSocketTLSServerTestCase = without("websockets")


def async_test(test, timeout=5):
    @functools.wraps(test)
    def run(case, *args, **options):
        asyncio.set_event_loop(case.loop)
        return asyncio.run(asyncio.wait_for(test(case, *args, **options), timeout))

    return run


def async_long_test(test):
    return async_test(test, timeout=20)


def async_debug_test(test):
    return async_test(test, timeout=3600)
