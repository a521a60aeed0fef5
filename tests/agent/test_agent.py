"""The whole agent against a scripted control plane: real containers, real network, real kills."""

import pytest

from orch.model.container import ContainerSpec
from orch.model.names import TaskId
from orch.model.policy import StopPolicy
from orch.model.service import TaskTemplate
from orch.model.task import TaskState, Wanted
from tests.support.agent_node import AgentNode
from tests.support.scripted import BIRTH, ScriptedControlPlane

pytestmark = pytest.mark.root


def a_task(slot: int = 1, service: str = "web") -> TaskId:
    return TaskId("default", service, BIRTH, slot, 1)


def a_template(
    script: str = "trap 'exit 0' TERM; while :; do sleep 0.05; done", **more: object
) -> TaskTemplate:
    container = ContainerSpec(image="busybox:1", entrypoint=("sh", "-c", script))
    return TaskTemplate(containers=(container,), stop=StopPolicy(drain_delay=0.0, grace_period=5.0), **more)


async def test_an_assigned_task_runs_and_stops(node: AgentNode, plane: ScriptedControlPlane) -> None:
    plane.assign((a_task(), a_template()))

    status = await plane.wait_state(a_task(), TaskState.RUNNING)
    assert status.ready
    assert status.addresses[0].startswith("10.208.4.")
    assert status.started_at

    plane.assign((a_task(), a_template(), Wanted.STOP))
    status = await plane.wait_state(a_task(), TaskState.COMPLETE)
    assert status.finished_at
