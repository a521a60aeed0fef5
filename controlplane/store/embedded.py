"""etcd as our own supervised child, for a cluster whose control plane is one machine.

It listens on two unix sockets in a private directory and on nothing else, tells by itself when it is ready
(`NOTIFY_SOCKET`, as to systemd), dies with us, and is started again when it dies alone.
"""

import asyncio
import fcntl
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from controlplane.store import etcd_process

CLIENT_SOCKET = "client:0"
PEER_SOCKET = "peer:0"
SOCKET_PATH_BYTES = 107
"""What the kernel has room for (sockaddr_un)."""

LOCKED_WITHIN_SECONDS = 5.0
LOCK_RETRY_SECONDS = 0.05
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 5.0
STEADY_AFTER_SECONDS = 30.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """What may be different from one cluster to another."""

    directory: Path
    quota_bytes: int = 2 * 2**30
    history_kept: str = "10m"
    """How much history compaction leaves, in etcd's notation of durations."""
    progress_seconds: float = 2.0
    """How often an idle watch hears that it has missed nothing."""


class EmbeddedEtcd:
    """One etcd child; `start`, use `endpoint`, `stop`. A second one on the same directory is refused."""

    def __init__(self, settings: Settings, on_restart: Callable[[str], None] | None = None) -> None:
        self._settings = settings
        self._on_restart = on_restart or log.warning
        self._directory: int | None = None
        self._child: etcd_process.EtcdProcess | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._serves = asyncio.Event()

    @property
    def endpoint(self) -> str:
        """For `etcd_channel.Connection`; a path too long for a socket goes by way of our descriptor."""
        path = self._settings.directory.absolute() / CLIENT_SOCKET
        if len(os.fsencode(path)) <= SOCKET_PATH_BYTES:
            return f"unix:{path}"
        return f"unix:/proc/{os.getpid()}/fd/{self._directory}/{CLIENT_SOCKET}"

    @property
    def pid(self) -> int | None:
        """The child's, while it lives."""
        return self._child.process.pid if self._child else None

    async def wait_serves(self) -> None:
        """Until etcd answers: at once, or after the restart that is under way."""
        await self._serves.wait()

    async def start(self) -> None:
        """Returns when etcd answers. Raises etcd_process.NotStarted."""
        _check_installed()
        self._settings.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._settings.directory.chmod(0o700)
        self._directory = await _locked(self._settings.directory)
        try:
            self._child = await self._spawn()
        except BaseException:
            self._unlock()
            raise
        self._supervisor = asyncio.create_task(self._supervise(), name="etcd supervisor")

    async def stop(self) -> None:
        """Ends etcd; returns when it is gone."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
            self._supervisor = None
        self._serves.clear()
        if self._child is not None:
            await self._child.stop()
            self._child = None
        self._unlock()

    async def _supervise(self) -> None:
        loop = asyncio.get_running_loop()
        pause = FIRST_PAUSE_SECONDS
        while True:
            started = loop.time()
            if self._child is not None:
                await self._child.wait_gone()
                ending, self._child = self._child.ending(), None
                self._serves.clear()
                self._on_restart(f"etcd ended ({ending}); starting it again")
            if loop.time() - started > STEADY_AFTER_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            try:
                self._child = await self._spawn()
            except etcd_process.NotStarted as failure:
                self._on_restart(str(failure))

    async def _spawn(self) -> etcd_process.EtcdProcess:
        directory = self._settings.directory
        for name in (
            CLIENT_SOCKET,
            PEER_SOCKET,
        ):  # a killed etcd leaves its sockets, and then cannot bind them
            (directory / name).unlink(missing_ok=True)
        child = etcd_process.EtcdProcess(_command(self._settings), directory, self._directory)
        try:
            await child.wait_ready()
        except BaseException:
            await child.stop()
            raise
        self._serves.set()
        return child

    def _unlock(self) -> None:
        if self._directory is not None:
            os.close(self._directory)
            self._directory = None


def _command(settings: Settings) -> list[str]:
    client, peer = f"unix://{CLIENT_SOCKET}", f"unix://{PEER_SOCKET}"
    # fmt: off
    return [
        "setpriv", "--pdeathsig", "TERM",
        "etcd", "--name", "orch", "--data-dir", "data",
        "--listen-client-urls", client, "--advertise-client-urls", client,
        "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
        "--initial-cluster", f"orch={peer}",
        # A lone member elects itself, so short ticks are safe: ready in 0.1 s, not 0.7 s; leases of 1 s.
        "--heartbeat-interval", "40", "--election-timeout", "200",
        # Entries kept in memory; etcd's default of 100,000 can be gigabytes.
        "--snapshot-count", "2000",
        "--quota-backend-bytes", str(settings.quota_bytes),
        "--auto-compaction-mode", "periodic", "--auto-compaction-retention", settings.history_kept,
        "--experimental-watch-progress-notify-interval", f"{settings.progress_seconds}s",
        "--logger", "zap", "--log-level", "warn", "--log-outputs", "stderr",
    ]
    # fmt: on


def _check_installed() -> None:
    for program, package in (("etcd", "etcd-server"), ("setpriv", "util-linux")):
        if shutil.which(program) is None:
            raise etcd_process.NotStarted(
                f"{program} is not installed: `apt install {package}`, "
                "or give --etcd-endpoints to use an etcd that runs elsewhere"
            )


async def _locked(directory: Path) -> int:
    """An open descriptor of the directory with an exclusive lock. Raises etcd_process.NotStarted."""
    loop = asyncio.get_running_loop()
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    give_up = loop.time() + LOCKED_WITHIN_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if loop.time() > give_up:
                os.close(descriptor)
                raise etcd_process.NotStarted(
                    f"{directory} is in use by another control plane: stop that one, or use another directory"
                ) from None
            await asyncio.sleep(LOCK_RETRY_SECONDS)  # a predecessor may be on its way out; flock has no event
        else:
            return descriptor
