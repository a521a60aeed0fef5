"""The agent as a process: one per state directory, as root, told to end by a signal, watched by systemd."""

import asyncio
import contextlib
import faulthandler
import fcntl
import gc
import os
import signal
import socket
from pathlib import Path

from agent import identity
from agent.errors import CannotStart
from agent.node import Node
from agent.settings import Settings
from orch import journal

END_SECONDS = 8.0
"""From the signal to the end, whatever hangs: a thread in the kernel, a loop that stands still."""


def run(settings: Settings) -> int:
    """The exit code."""
    journal.begin(verbose=settings.verbose)
    try:
        return asyncio.run(_main(settings))
    except (CannotStart, identity.CannotJoin) as error:
        print(f"orch-agent: {error}")  # noqa: T201  to whoever started us
        return 1


async def _main(settings: Settings) -> int:
    if os.geteuid() != 0:
        raise CannotStart("it must run as root: it makes namespaces, mounts and cgroups")
    lock = _lock(settings.state_dir)
    try:
        if settings.cleanup:
            from agent import cleanup

            await cleanup.run(settings)
            return 0
        await _work(settings)
    finally:
        os.close(lock)
    return 0


async def _work(settings: Settings) -> None:
    node = Node(settings)
    await node.start()
    try:
        gc.collect()
        gc.freeze()
        stop = asyncio.Event()
        _when_told_to_end(stop)
        try:
            await node.work(lambda: _say_ready(settings.name), stop)
        finally:
            _notify("STOPPING=1")
    finally:
        await node.close()


def _say_ready(name: str) -> None:
    print(f"orch-agent: node {name} is ready", flush=True)  # noqa: T201  the ready line
    _notify("READY=1")


def _lock(state_dir: Path) -> int:
    """Only one agent per state directory."""
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(state_dir / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CannotStart(f"the state directory {state_dir} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise CannotStart(f"another orch-agent works with {state_dir}: end it first") from error
    return fd


def _when_told_to_end(stop: asyncio.Event) -> None:
    """Sets the event. Not by the loop's own handler, which is not called where the loop stands still."""
    loop = asyncio.get_running_loop()

    def told(_signum: int, _frame: object) -> None:
        faulthandler.dump_traceback_later(END_SECONDS, exit=True)
        loop.call_soon_threadsafe(stop.set)

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, told)


def _notify(word: str) -> None:
    """To systemd, where it listens."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to,
    ):
        to.sendto(word.encode(), "\0" + path[1:] if path.startswith("@") else path)
