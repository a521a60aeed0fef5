"""The process of orch-dns as the agent handles it: started, spoken to, ended, by whichever agent lives."""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

WORD_TIMEOUT_SECONDS = 5
LONG_WORD_TIMEOUT_SECONDS = 60
"""For reading everything anew."""
_SOURCE_ROOT = Path(__file__).resolve().parents[2]


def code() -> str:
    """Changes with the program: one that an older agent started is replaced."""
    files = sorted((Path(__file__).parent / "dns").glob("*.py"))
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:12]


async def spawn(
    folder: Path, arguments: Sequence[str], doors: Sequence[int]
) -> tuple[subprocess.Popen[bytes], str]:
    """The process and its first line. It gets a session of its own, for it outlives the agent."""
    reader, writer = os.pipe()
    try:
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(  # noqa: ASYNC220  returns once the child runs; nobody waits for its end
                _command(folder, (writer, *doors), arguments),
                env={"PYTHONPATH": str(_SOURCE_ROOT), "PATH": os.defpath},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(writer, *doors),
                start_new_session=True,
            )
    except BaseException:
        os.close(reader)
        raise
    finally:
        os.close(writer)
    return process, await _first_line(reader)


async def say(folder: Path, word: str, timeout_seconds: float = WORD_TIMEOUT_SECONDS) -> str | None:
    """Its answer, or None where nobody is there."""
    try:
        async with asyncio.timeout(timeout_seconds):
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


def remove_folder(folder: Path, patience_seconds: float = WORD_TIMEOUT_SECONDS) -> None:
    """Once orch-dns has let go of it; it is killed where that takes longer."""
    if not folder.is_dir():
        return
    wait_unlocked(folder, patience_seconds)
    for entry in os.scandir(folder):
        Path(entry.path).unlink(missing_ok=True)
    folder.rmdir()


def wait_unlocked(folder: Path, patience_seconds: float = WORD_TIMEOUT_SECONDS) -> None:
    """Returns when no orch-dns holds the folder; one that does not listen to words is killed."""
    with locked(folder, patience_seconds):
        pass


@contextlib.contextmanager
def locked(folder: Path, patience_seconds: float) -> Iterator[int]:
    """The folder is nobody else's; the descriptor that says so."""
    with (folder / "lock").open("a+b") as lock:
        if not _is_taken(lock.fileno(), patience_seconds):
            lock.seek(0)
            _kill(int(lock.read()))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()
        # To close it is not enough: who is being forked just now has it open too.
        fcntl.flock(lock, fcntl.LOCK_UN)


def _is_taken(lock: int, patience_seconds: float) -> bool:
    deadline = time.monotonic() + patience_seconds
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.01)  # flock cannot wait for a bounded time


def _command(folder: Path, descriptors: Sequence[int], arguments: Sequence[str]) -> list[str]:
    """Without site packages: it needs none, and starts in half the time."""
    resolv_conf, *rest = arguments
    passed = ",".join(map(str, descriptors))
    return [sys.executable, "-S", "-m", "agent.network.dns", str(folder), resolv_conf, passed, *rest]


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


def _kill(pid: int) -> None:
    """Returns when the process is gone."""
    with contextlib.suppress(ProcessLookupError):
        process = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(process, signal.SIGKILL)
            select.select([process], [], [], WORD_TIMEOUT_SECONDS)
        finally:
            os.close(process)
