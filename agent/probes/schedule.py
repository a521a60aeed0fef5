"""When which probe is asked: the startup probe first and alone, then readiness and liveness side by side."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from agent.probes import command, http, tcp
from agent.probes.verdict import Answer, Rhythm, Streak, judge
from orch.model.probe import Health, ProbeSpec

Said = Callable[[str, Health, str], None]
"""Which probe, what it says now, and its last answer in words."""
Ask = Callable[[ProbeSpec], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Probes:
    """The probes of one container."""

    startup: ProbeSpec | None = None
    readiness: ProbeSpec | None = None
    liveness: ProbeSpec | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """Where a container is asked."""

    container: str
    """Its name in the runtime."""
    address: str
    ports: dict[str, int]
    """Named ports."""


def asker(runtime: command.Runtime, target: Target) -> Ask:
    """Makes the check that a probe describes."""

    def ask(probe: ProbeSpec) -> Awaitable[Answer]:
        if probe.http is not None:
            port = _port(probe.http.port, target)
            return http.check(target.address, port, probe.http.path, probe.http.headers, probe.timeout)
        if probe.tcp is not None:
            return tcp.check(target.address, _port(probe.tcp.port, target), probe.timeout)
        return command.check(runtime, target.container, probe.exec, probe.timeout)

    return ask


async def run(probes: Probes, ask: Ask, said: Said, clock: Callable[[], float] = time.monotonic) -> None:
    """Until cancelled. `said` is called whenever health or the words of a failure change."""
    if probes.startup is not None:
        await _keep_asking("startup", probes.startup, ask, said, clock, until_healthy=True)
    async with asyncio.TaskGroup() as group:
        for name, probe in (("readiness", probes.readiness), ("liveness", probes.liveness)):
            if probe is not None:
                group.create_task(_keep_asking(name, probe, ask, said, clock))


async def _keep_asking(
    name: str,
    probe: ProbeSpec,
    ask: Ask,
    said: Said,
    clock: Callable[[], float],
    *,
    until_healthy: bool = False,
) -> None:
    await asyncio.sleep(probe.initial_delay)
    began = clock()
    rhythm = Rhythm(eager=name != "liveness")
    streak, health, words = Streak(), Health.UNKNOWN, ""
    while True:
        elapsed = clock() - began
        answer = await ask(probe)
        if answer.passing or rhythm.counts(elapsed):
            streak = streak.and_then(answer.passing)
        before, health = health, judge(health, streak, probe)
        if health is not before or (not answer.passing and answer.words != words):
            words = answer.words
            said(name, health, answer.words)
        if until_healthy and health is Health.HEALTHY:
            return
        rhythm, due = rhythm.after(elapsed, answer.passing, probe.period)
        await asyncio.sleep(max(began + due - clock(), 0.0))


def _port(port: int | str, target: Target) -> int:
    return port if isinstance(port, int) else target.ports[port]
