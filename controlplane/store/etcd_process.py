"""One life of an etcd process: it says itself when it is ready, and the kernel says when it is gone.

Ready comes as a datagram to `NOTIFY_SOCKET`, which etcd sends as it would to systemd; gone comes by pidfd.
"""

import asyncio
import os
import socket
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO

from controlplane.store import port

LOG_FILE = "etcd.log"
LOG_BYTES_KEPT = 8 * 2**20
READY_WITHIN_SECONDS = 30.0
STOPPED_WITHIN_SECONDS = 5.0


class NotStarted(port.StoreError):
    """etcd could not be started; the message says why and what to do."""


class EtcdProcess:
    """Started when made; `wait_ready`, then `wait_gone` or `stop`."""

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
                async with asyncio.timeout(STOPPED_WITHIN_SECONDS):
                    await self._gone.wait()
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


def _environment() -> dict[str, str]:
    """Ours without `ETCD_…`, which etcd would take for settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ETCD_")}


def _log_file(path: Path) -> IO[bytes]:
    """Appends, and begins anew when the last lives said too much."""
    is_long = path.exists() and path.stat().st_size > LOG_BYTES_KEPT
    return path.open("wb" if is_long else "ab")
