"""The node's certificate is made anew long before it ends, and nobody notices (P41)."""

import asyncio
import time
from pathlib import Path

import pytest

from agent.identity import Vault
from orch.identity import certificate
from orch.model.task import TaskState
from tests.agent import conftest
from tests.agent.tasks import a_task, a_template, main_pid
from tests.support.agent_node import AgentNode
from tests.support.scripted import ScriptedControlPlane

pytestmark = pytest.mark.root
DAY = 24 * 3600.0


async def test_an_agent_renews_its_certificate_and_touches_neither_session_nor_task(
    idle_node: AgentNode, plane: ScriptedControlPlane
) -> None:
    plane.join(idle_node.state, days_ago=61)
    assert ends_at(idle_node.state) < time.time() + 30 * DAY
    await conftest.connect(idle_node, plane)
    plane.assign((a_task(), a_template()))
    before = await plane.wait_state(a_task(), TaskState.RUNNING)

    async with asyncio.timeout(10):
        while ends_at(idle_node.state) < time.time() + 89 * DAY:  # noqa: ASYNC110  nobody says when it is saved
            await asyncio.sleep(0.05)

    assert plane.renewals == 1
    assert plane.hellos == 1
    beats = plane.heartbeats
    await plane.wait(lambda: plane.heartbeats > beats + 2)
    assert plane.hellos == 1
    assert main_pid(plane.statuses[a_task()]) == main_pid(before)
    await idle_node.kill()
    idle_node.start()
    await idle_node.wait_ready()
    await plane.wait_connected(2)
    after = await plane.wait_status(a_task(), lambda status: status.incarnation > before.incarnation)
    assert main_pid(after) == main_pid(before)
    assert plane.renewals == 1


def ends_at(state: Path) -> float:
    credentials = Vault(state / "identity.json").load()
    assert credentials is not None
    return certificate.read(credentials.certificate).not_after
