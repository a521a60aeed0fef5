"""The agent's side of orch-dns: starts it where it does not run, and tells it the cluster's names.

The records lie in a file, so that orch-dns has them again after a restart of its own; the word `reload`
only says that there is something new.
"""

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from agent.network.attachment import NetworkError

START_TIMEOUT_SECONDS = 10
WORD_TIMEOUT_SECONDS = 5
RESTART_AFTER_SECONDS = 0.5
_log = logging.getLogger(__name__)
_SOURCE_ROOT = Path(__file__).resolve().parents[2]


class Names:
    """`folder` is shared with orch-dns; `addresses` are what it listens on."""

    def __init__(
        self,
        folder: Path,
        addresses: Sequence[str],
        resolv_conf: Path,
        settle: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Starts nothing yet. `settle` is told the pid of each orch-dns: it is to outlive the agent."""
        self._folder = folder
        self._addresses = tuple(addresses)
        self._resolv_conf = resolv_conf
        self._settle = settle
        self._turn = asyncio.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._revival: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Finds orch-dns running as it should, or starts it; returns when it answers."""
        self._folder.mkdir(parents=True, exist_ok=True)
        async with self._turn:
            await self._start()

    async def set(self, records: Mapping[str, Sequence[str]]) -> None:
        """Replaces all records; returns when orch-dns answers with them."""
        async with self._turn:
            half = self._folder / "records.new"
            half.write_text(json.dumps({name: list(addresses) for name, addresses in records.items()}))
            half.replace(self._folder / "records.json")
            if await _say(self._folder, "reload") is None:
                await self._start()

    def close(self) -> None:
        """Watches it no longer; it goes on."""
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
        if self._revival is not None:
            self._revival.cancel()

    async def end(self) -> None:
        """Ends orch-dns and removes its folder; idempotent."""
        self.close()
        async with self._turn:
            await dismiss(self._folder)

    async def _start(self) -> None:
        said = await _say(self._folder, "hello")
        wanted = " ".join((str(self._resolv_conf), *self._addresses))
        if said is None or said.split(" ", 2)[-1] != wanted:
            if said is not None:
                await _say(self._folder, "end")
            await asyncio.to_thread(_wait_unlocked, self._folder)
            async with asyncio.timeout(START_TIMEOUT_SECONDS):
                verdict = await self._spawn()
            if verdict != "ok":
                raise NetworkError(verdict or f"orch-dns ended at once: see {self._folder / 'log'}")
            said = await _say(self._folder, "hello")
        self._watch(said)

    def _watch(self, said: str | None) -> None:
        """Notices its end at once, also where another agent started it."""
        if said is None:
            return
        self.close()
        pid = int(said.split(" ")[1])
        self._settle(pid)
        with contextlib.suppress(ProcessLookupError):
            self._pidfd = os.pidfd_open(pid)
            asyncio.get_running_loop().add_reader(self._pidfd, self._lost)

    def _lost(self) -> None:
        self.close()
        if self._process is not None:
            self._process.poll()
        self._revival = asyncio.create_task(self._revive())

    async def _revive(self) -> None:
        while True:
            await asyncio.sleep(RESTART_AFTER_SECONDS)
            try:
                async with self._turn:
                    self._revival = None
                    await self._start()
            except (NetworkError, OSError, TimeoutError) as trouble:
                _log.warning("orch-dns ended and does not start again yet: %s", trouble)
            else:
                return

    async def _spawn(self) -> str:
        """Its first line. It gets a session of its own, for it outlives the agent."""
        reader, writer = os.pipe()
        try:
            with (self._folder / "log").open("wb") as log:
                self._process = subprocess.Popen(  # noqa: ASYNC220  returns once the child runs; nobody waits for its end
                    self._command(writer),
                    env={"PYTHONPATH": str(_SOURCE_ROOT), "PATH": os.defpath},
                    cwd="/",
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(writer,),
                    start_new_session=True,
                )
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        return await _first_line(reader)

    def _command(self, ready: int) -> list[str]:
        """Without site packages: it needs none, and starts in half the time."""
        own = [str(self._folder), str(self._resolv_conf), str(ready), *self._addresses]
        return [sys.executable, "-S", "-m", "agent.network.dns", *own]


async def _first_line(pipe: int) -> str:
    """Not on a thread: one that waits for a pipe can be neither cancelled nor joined. Closes the pipe."""
    source = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(source), os.fdopen(pipe, "rb", buffering=0)
    )
    try:
        return (await source.readline()).decode().strip()
    finally:
        transport.close()


async def dismiss(folder: Path) -> None:
    """Ends the orch-dns of a folder, whoever started it, and removes the folder; idempotent."""
    await _say(folder, "end")
    await asyncio.to_thread(remove_folder, folder)


def remove_folder(folder: Path, patience_seconds: float = WORD_TIMEOUT_SECONDS) -> None:
    """Once orch-dns has let go of it; it is killed where that takes longer."""
    if not folder.is_dir():
        return
    _wait_unlocked(folder, patience_seconds)
    for entry in os.scandir(folder):
        Path(entry.path).unlink(missing_ok=True)
    folder.rmdir()


def _wait_unlocked(folder: Path, patience_seconds: float = WORD_TIMEOUT_SECONDS) -> None:
    """Returns when no orch-dns holds the folder; one that does not listen to words is killed."""
    with (folder / "lock").open("a+b") as lock:
        deadline = time.monotonic() + patience_seconds
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            if time.monotonic() >= deadline:
                break
            time.sleep(0.01)  # flock cannot wait for a bounded time
        lock.seek(0)
        _kill(int(lock.read()))
        fcntl.flock(lock, fcntl.LOCK_EX)


def _kill(pid: int) -> None:
    """Returns when the process is gone."""
    with contextlib.suppress(ProcessLookupError):
        process = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(process, signal.SIGKILL)
            select.select([process], [], [], WORD_TIMEOUT_SECONDS)
        finally:
            os.close(process)


async def _say(folder: Path, word: str) -> str | None:
    """Its answer, or None where nobody is there."""
    try:
        async with asyncio.timeout(WORD_TIMEOUT_SECONDS):
            reader, writer = await asyncio.open_unix_connection(folder / "control.sock")
            try:
                writer.write(word.encode() + b"\n")
                return (await reader.readline()).decode().strip() or None
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError):
        return None
