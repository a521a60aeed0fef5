"""Certificates are made anew while everything goes on (P41): no session ends, no task is touched."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent import identity
from controlplane import plane
from controlplane.store import keys
from orch.identity import certificate
from tests.support import agents, planes

DAY = 24 * 3600.0


class Clock:
    """The machine's; `behind` seconds late for whoever asks for the date."""

    def __init__(self, behind: float) -> None:
        self.behind = behind

    def now(self) -> float:
        return time.time() - self.behind

    def steady(self) -> float:
        return time.monotonic()


@dataclass
class Stage:
    """Certificates of 61 days ago, valid for 90; two tasks run."""

    clock: Clock
    running: planes.Running
    agent: agents.Agent

    def wanted(self) -> dict[str, int]:
        """Every task's desired key with its last write."""
        modified = self.running.plane.picture.cluster.modified
        return {key: at for key, at in modified.items() if key.startswith(keys.TASKS) and "desired" in key}

    async def is_in_touch(self) -> bool:
        """The first session still hears and is heard."""
        stored = self.agent.stored
        self.agent.say(*self.agent.said.values())
        await self.agent.wait_until(lambda it: it.stored > stored)
        return not self.agent.ended

    async def begin_another_session(self) -> None:
        await self.agent.stop()
        self.agent.welcomed.clear()
        self.agent.stored = 0
        await self.agent.start()


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setattr(plane, "RENEWAL_CHECK_SECONDS", 0.05)
    clock = Clock(behind=61 * DAY)
    running = await planes.start(tmp_path / "data", time=clock)
    try:
        agent = await running.agent("n1")
        await running.stub.Apply(planes.applying(planes.a_service(replicas=2)))
        await running.ready(2)
        yield Stage(clock, running, agent)
    finally:
        await running.stop()


async def test_the_servers_certificate_is_made_anew_and_the_session_goes_on(stage: Stage) -> None:
    wanted = stage.wanted()
    assert await stage.is_in_touch()
    before = await shown(stage.running.join_address)
    assert before < time.time() + 30 * DAY

    stage.clock.behind = 0.0
    assert await another_is_shown(stage.running.join_address, before) > time.time() + 89 * DAY

    assert await stage.is_in_touch()
    await stage.begin_another_session()
    assert await stage.is_in_touch()
    assert stage.wanted() == wanted


async def test_a_nodes_certificate_is_made_anew_and_its_session_goes_on(stage: Stage) -> None:
    wanted = stage.wanted()
    credential = stage.agent.credential
    known = identity.Credentials(
        credential.key, credential.certificate, credential.ca, "", (), stage.running.join_address
    )
    assert known.is_due_for_renewal(time.time())

    stage.clock.behind = 0.0
    renewed = await identity.renew("n1", known)

    assert certificate.read(renewed.certificate).not_after > time.time() + 89 * DAY
    assert not renewed.is_due_for_renewal(time.time())
    assert await stage.is_in_touch()
    stage.agent.credential = agents.Credential(renewed.certificate, renewed.key, renewed.ca)
    await stage.begin_another_session()
    assert await stage.is_in_touch()
    assert stage.wanted() == wanted


async def shown(address: str) -> float:
    """Until when the certificate is valid that a new connection is shown."""
    host, _, port = address.rpartition(":")
    pem = await asyncio.to_thread(ssl.get_server_certificate, (host, int(port)))
    return certificate.read(pem.encode()).not_after


async def another_is_shown(address: str, before: float) -> float:
    """Renewals are looked for 20 times a second here; nobody says when one was made."""
    async with asyncio.timeout(agents.WAIT_SECONDS):
        while (found := await shown(address)) == before:  # noqa: ASYNC110  each look is a handshake
            await asyncio.sleep(0.05)
    return found
