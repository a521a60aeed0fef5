"""Files between a user and a container: an orch-copy for each copy, and the user talks to it."""

import asyncio
import contextlib
import signal
import sys

from agent.answers import talk
from agent.answers.place import Place, Refused
from agent.answers.user import User
from orch.v1 import control_pb2


class _Copier:
    """The process, as `talk` wants it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def wait(self) -> int | None:
        return await self._process.wait()

    async def signal(self, signum: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signum)

    def resize(self, rows: int, columns: int) -> None:
        """It has no terminal."""


async def copy(start: control_pb2.CopyStart, place: Place, user: User) -> int:
    """Exit code: 0, or not all of it was copied, and the user has been told. Ends when the user goes."""
    running = place.container.running
    if running is None:
        raise Refused(f"container {place.container.name} does not run: only running ones can be copied from")
    words = [*(["as-is"] if start.as_is else []), *(["contents"] if start.contents else [])]
    way = "into" if start.into else "out"
    arguments = [str(running.pid), str(running.start_time), way, start.path, *words]
    pipes = talk.Pipes()
    try:
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-m", "agent.answers.copier"),
                *arguments,
                stdin=pipes.stdin,
                stdout=pipes.stdout,
                stderr=pipes.stderr,
                cwd="/",
            )
        finally:
            pipes.hand_over()
        copier = _Copier(process)
        try:
            code = await talk.talk(user, copier, pipes.outputs, pipes.given)
        finally:
            await copier.signal(signal.SIGKILL)
        return 1 if code is None else code
    finally:
        pipes.close()
