"""etcd as our own supervised child, for a cluster whose control plane is one machine.

It listens on two unix sockets in a private directory and on nothing else, tells by itself when it is ready
(`NOTIFY_SOCKET`, as to systemd), dies with us, and is started again when it dies alone.
"""

import asyncio
import fcntl
import logging
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from controlplane.store import port

CLIENT_SOCKET = "client:0"
PEER_SOCKET = "peer:0"
LOG_FILE = "etcd.log"
LOG_BYTES_KEPT = 8 * 2**20

READY_WITHIN_SECONDS = 30.0
STOPPED_WITHIN_SECONDS = 5.0
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
    progress_seconds: float = 5.0
    """How often an idle watch hears that it has missed nothing."""


class NotStarted(port.StoreError):
    """etcd could not be started; the message says why and what to do."""


class EmbeddedEtcd:
    """One etcd child; `start`, use `endpoint`, `stop`. A second one on the same directory is refused."""

    def __init__(self, settings: Settings, on_restart: Callable[[str], None] | None = None) -> None:
        self._settings = settings
        self._on_restart = on_restart or log.warning
        self._directory: int | None = None
        self._child: _Child | None = None
        self._supervisor: asyncio.Task[None] | None = None

    @property
    def endpoint(self) -> str:
        """For `etcd_channel.Connection`; by our descriptor, as a socket's path may have only 107 bytes."""
        return f"unix:/proc/{os.getpid()}/fd/{self._directory}/{CLIENT_SOCKET}"

    @property
    def pid(self) -> int | None:
        """The child's, while it lives."""
        return self._child.process.pid if self._child else None

    async def start(self) -> None:
        """Returns when etcd answers. Raises NotStarted."""
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
                self._on_restart(f"etcd ended ({self._child.ending()}); starting it again")
                self._child = None
            if loop.time() - started > STEADY_AFTER_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            try:
                self._child = await self._spawn()
            except NotStarted as failure:
                self._on_restart(str(failure))

    async def _spawn(self) -> "_Child":
        directory = self._settings.directory
        for name in (
            CLIENT_SOCKET,
            PEER_SOCKET,
        ):  # a killed etcd leaves its sockets, and then cannot bind them
            (directory / name).unlink(missing_ok=True)
        child = _Child(_command(self._settings), directory, self._directory)
        try:
            await child.wait_ready()
        except BaseException:
            await child.stop()
            raise
        return child

    def _unlock(self) -> None:
        if self._directory is not None:
            os.close(self._directory)
            self._directory = None


class _Child:
    """One life of etcd."""

    def __init__(self, command: list[str], directory: Path, lock: int | None) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise NotStarted(
                "etcd must be started from the main thread: it is told to die with the thread that starts it"
            )
        self._log = directory / LOG_FILE
        self._notified = socket.socket(
            socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        )
        self._notified.bind("")  # the kernel picks an abstract name
        name = self._notified.getsockname()
        with _log_file(self._log) as output:
            self.process = subprocess.Popen(
                command,
                cwd=directory,
                env={**_environment(), "NOTIFY_SOCKET": "@" + name[1:].decode("ascii")},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=() if lock is None else (lock,),  # the lock is held until etcd itself is gone
            )
        self._gone = asyncio.Event()
        self._pidfd = os.pidfd_open(self.process.pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._reap)

    async def wait_ready(self) -> None:
        """Until etcd says that it serves. Raises NotStarted with etcd's own last words."""
        loop = asyncio.get_running_loop()
        ready = asyncio.create_task(loop.sock_recv(self._notified, 256))
        gone = asyncio.create_task(self._gone.wait())
        try:
            await asyncio.wait(
                {ready, gone}, timeout=READY_WITHIN_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            if self._gone.is_set():
                raise NotStarted(f"etcd ended while it started ({self.ending()})")
            if not ready.done():
                raise NotStarted(f"etcd was not ready within {READY_WITHIN_SECONDS:.0f} s; see {self._log}")
        finally:
            ready.cancel()
            gone.cancel()
            await asyncio.gather(ready, gone, return_exceptions=True)
            self._notified.close()

    async def wait_gone(self) -> None:
        """Until the process has ended and is reaped."""
        await self._gone.wait()

    async def stop(self) -> None:
        """End it, politely first."""
        if not self._gone.is_set():
            self.process.terminate()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._gone.wait(), STOPPED_WITHIN_SECONDS)
        if not self._gone.is_set():
            self.process.kill()
            await self._gone.wait()

    def ending(self) -> str:
        """How it ended, and the last thing it said."""
        code = self.process.returncode
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        with suppress(OSError, IndexError):
            how += f"; last words: {self._log.read_text(errors='replace').splitlines()[-1][:400]}"
        return how

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self.process.wait()
        self._gone.set()


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
        "--heartbeat-interval", "20", "--election-timeout", "200",
        # Entries kept in memory; etcd's default of 100,000 can be gigabytes.
        "--snapshot-count", "2000",
        "--quota-backend-bytes", str(settings.quota_bytes),
        "--auto-compaction-mode", "periodic", "--auto-compaction-retention", settings.history_kept,
        "--experimental-watch-progress-notify-interval", f"{settings.progress_seconds}s",
        "--logger", "zap", "--log-level", "warn", "--log-outputs", "stderr",
    ]
    # fmt: on


def _environment() -> dict[str, str]:
    """Ours without `ETCD_…`, which etcd would take for settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ETCD_")}


def _check_installed() -> None:
    for program, package in (("etcd", "etcd-server"), ("setpriv", "util-linux")):
        if shutil.which(program) is None:
            raise NotStarted(
                f"{program} is not installed: `apt install {package}`, "
                "or give --etcd-endpoints to use an etcd that runs elsewhere"
            )


async def _locked(directory: Path) -> int:
    """An open descriptor of the directory with an exclusive lock. Raises NotStarted."""
    loop = asyncio.get_running_loop()
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    give_up = loop.time() + LOCKED_WITHIN_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if loop.time() > give_up:
                os.close(descriptor)
                raise NotStarted(
                    f"{directory} is in use by another control plane: stop that one, or use another directory"
                ) from None
            await asyncio.sleep(LOCK_RETRY_SECONDS)  # a predecessor may be on its way out; flock has no event
        else:
            return descriptor


def _log_file(path: Path) -> IO[bytes]:
    """Appends, and begins anew when the last lives said too much."""
    is_long = path.exists() and path.stat().st_size > LOG_BYTES_KEPT
    return path.open("wb" if is_long else "ab")
