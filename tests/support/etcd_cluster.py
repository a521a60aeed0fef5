"""Three etcd members on loopback that want TLS from both sides."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from controlplane.store import etcd_channel, etcd_process
from tests.support import certificates


class Cluster:
    """The members, by index, and how to connect to all of them."""

    def __init__(self, directory: Path) -> None:
        self.authority = certificates.Authority(directory)
        self.client = self.authority.issue("client")
        self._server = self.authority.issue("server")
        self._directory = directory
        ports = _free_ports(6)
        self.urls = tuple(f"https://127.0.0.1:{number}" for number in ports[:3])
        self._peers = tuple(f"http://127.0.0.1:{number}" for number in ports[3:])
        self.members: list[etcd_process.EtcdProcess] = []

    def connection(self, **changes: object) -> etcd_channel.Connection:
        """With a certificate the cluster trusts, unless told otherwise."""
        options = {
            "endpoints": self.urls,
            "ca_file": self.authority.file,
            "cert_file": self.client.cert,
            "key_file": self.client.key,
        }
        return etcd_channel.Connection(**(options | changes))  # type: ignore[arg-type]

    async def start(self) -> None:
        for index in range(3):
            home = self._directory / f"member{index}"
            home.mkdir()
            self.members.append(etcd_process.EtcdProcess(self._command(index), home, None))
        await asyncio.gather(*(member.wait_ready() for member in self.members))

    async def stop(self) -> None:
        for member in self.members:  # politely they would wait for each other
            with suppress(ProcessLookupError):
                member.process.kill()
        await asyncio.gather(*(member.stop() for member in self.members))

    def _command(self, index: int) -> list[str]:
        everybody = ",".join(f"m{number}={url}" for number, url in enumerate(self._peers))
        # fmt: off
        return [
            "setpriv", "--pdeathsig", "KILL",
            "etcd", "--name", f"m{index}", "--data-dir", "data", "--initial-cluster", everybody,
            "--listen-peer-urls", self._peers[index], "--initial-advertise-peer-urls", self._peers[index],
            "--listen-client-urls", self.urls[index], "--advertise-client-urls", self.urls[index],
            "--client-cert-auth", "--trusted-ca-file", str(self.authority.file),
            "--cert-file", str(self._server.cert), "--key-file", str(self._server.key),
            "--heartbeat-interval", "50", "--election-timeout", "500",
            "--experimental-watch-progress-notify-interval", "1s",
            "--logger", "zap", "--log-level", "error", "--log-outputs", "stderr",
        ]
        # fmt: on


@asynccontextmanager
async def running(directory: Path) -> AsyncIterator[Cluster]:
    cluster = Cluster(directory)
    try:
        await cluster.start()
        yield cluster
    finally:
        await cluster.stop()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [listener.getsockname()[1] for listener in sockets]
    finally:
        for listener in sockets:
            listener.close()
