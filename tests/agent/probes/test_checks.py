"""Checks against real listeners, and the order in which probes are asked."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from agent.probes import command, http, schedule, tcp
from agent.probes.schedule import Probes
from agent.probes.verdict import Answer
from orch.model.probe import Health, HttpCheck, ProbeSpec

Reply = Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]


@asynccontextmanager
async def listening(reply: bytes | None) -> AsyncIterator[int]:
    """Answers every connection with `reply`; None says nothing."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if reply is not None:
            writer.write(reply)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def get(port: int, seconds: float = 2.0) -> Answer:
    return await http.check("127.0.0.1", port, "/healthz", {"Host": "shop.example.com"}, seconds)


async def test_200_to_399_is_well() -> None:
    for status, well in ((200, True), (302, True), (404, False), (503, False)):
        async with listening(b"HTTP/1.1 %d Whatever\r\n\r\n" % status) as port:
            answer = await get(port)

        assert answer.passing is well
        assert f"answered {status}" in answer.words


async def test_silence_nonsense_and_closed_ports_are_failures_with_words() -> None:
    async with listening(None) as port:
        assert "no answer within 0.1s" in (await get(port, 0.1)).words
    async with listening(b"220 smtp ready\r\n") as port:
        assert "not HTTP" in (await get(port)).words
    async with listening(b"x" * 100_000) as port:
        assert not (await get(port)).passing
    assert "refused" in (await get(port)).words
    assert "refused" in (await tcp.check("127.0.0.1", port, 1.0)).words


async def test_a_connection_is_enough_for_tcp() -> None:
    async with listening(None) as port:
        assert (await tcp.check("127.0.0.1", port, 1.0)).passing


class FakeEntered:
    def __init__(self, code: int | None) -> None:
        self.code = code
        self.signals: list[int] = []

    async def wait(self) -> int | None:
        if self.code is None:
            await asyncio.Event().wait()
        return self.code

    async def signal(self, signum: int) -> None:
        self.signals.append(signum)


class FakeRuntime:
    def __init__(self, code: int | None) -> None:
        self.entered = FakeEntered(code)

    async def enter(self, container: str, *, args: list[str]) -> FakeEntered:
        return self.entered


async def test_a_command_is_well_when_it_ends_with_0() -> None:
    assert (await command.check(FakeRuntime(0), "c", ["true"], 1.0)).passing
    assert "exit code 2" in (await command.check(FakeRuntime(2), "c", ["ls"], 1.0)).words


async def test_a_command_that_takes_too_long_is_killed() -> None:
    runtime = FakeRuntime(None)

    answer = await command.check(runtime, "c", ["sleep"], 0.05)

    assert "did not end within 0.05s" in answer.words
    assert runtime.entered.signals == [9]


async def test_readiness_and_liveness_wait_for_startup() -> None:
    startup, readiness, liveness = (
        ProbeSpec(http=HttpCheck(port=1, path=path)) for path in ("/startup", "/readiness", "/liveness")
    )
    left = {"startup": 2}
    asked: list[str] = []
    said: list[tuple[str, Health]] = []
    done = asyncio.Event()

    async def ask(probe: ProbeSpec) -> Answer:
        assert probe.http is not None
        name = probe.http.path.removeprefix("/")
        asked.append(name)
        left[name] = left.get(name, 0) - 1
        return Answer(left[name] < 0, "words")

    def hear(name: str, health: Health, words: str) -> None:
        said.append((name, health))
        if {each for each, health in said if health is Health.HEALTHY} >= {
            "startup",
            "readiness",
            "liveness",
        }:
            done.set()

    probing = asyncio.create_task(schedule.run(Probes(startup, readiness, liveness), ask, hear))
    await asyncio.wait_for(done.wait(), 5)
    probing.cancel()

    assert asked == ["startup", "startup", "startup", "readiness", "liveness"]
    assert said[-3:] == [(name, Health.HEALTHY) for name in ("startup", "readiness", "liveness")]
