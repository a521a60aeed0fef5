"""Which run of a container its logs are of, and when they are all there."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agent.answers import output
from agent.answers.place import Place, Refused
from agent.answers.user import User
from agent.runtime import logs
from agent.runtime.logfile import LogFile
from orch.v1 import sessions_pb2
from tests.agent.reconciler.pictures import TASK, an_asked, running


class Call:
    """A user who listens, and says nothing."""

    def __init__(self) -> None:
        self.said: list[bytes] = []

    async def write(self, message: sessions_pb2.AnswerUp) -> None:
        self.said.append(message.log.text)

    async def read(self) -> Any:
        return await asyncio.Event().wait()

    def cancel(self) -> None:
        pass


def write(directory: Path, run: int, text: str) -> LogFile:
    file = LogFile(str(directory / f"{TASK.key}.main.1.{run}.log"), 1 << 20, 1)
    file.write(b"stdout", f"{text}\n".encode())
    return file


async def told(directory: Path, run: int, **how: Any) -> list[bytes]:
    """What a user is told while this run is the present one."""
    call = Call()
    user = User(call)
    place = Place(an_asked(), running(run=run), (), {})
    try:
        ask = sessions_pb2.TaskLogsAsk(tail=-1, **how)
        await output.send(directory, TASK, ask, lambda: place, user)
    finally:
        user.hang_up()
    return call.said


async def test_the_run_before_is_told_though_the_present_one_has_written_nothing_yet(tmp_path: Path) -> None:
    write(tmp_path, 1, "one")
    write(tmp_path, 2, "two")

    assert await told(tmp_path, 3, previous=True) == [b"two"]
    assert await told(tmp_path, 2, previous=True) == [b"one"]
    assert await told(tmp_path, 3) == []
    assert await told(tmp_path, 2) == [b"two"]


async def test_the_first_run_has_none_before_it(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"main of web\.1\.1 has no earlier run"):
        await told(tmp_path, 1, previous=True)


async def test_all_is_written_when_the_file_is_closed_for_good(tmp_path: Path) -> None:
    waiting = asyncio.ensure_future(logs.written(tmp_path, f"{TASK.key}.main.1.1"))
    file = write(tmp_path, 1, "one")
    await asyncio.sleep(0)
    assert not waiting.done()

    file.finish()

    await asyncio.wait_for(waiting, 30)
    await asyncio.wait_for(logs.written(tmp_path, f"{TASK.key}.main.1.1"), 30)
