"""What a real node cannot start: it says why, and starts it once it can."""

import pytest

from orch.model.container import ContainerSpec, PullPolicy, VolumeMount
from orch.model.policy import PortSpec, RestartPolicy
from orch.model.service import TaskTemplate
from orch.model.task import TaskState
from tests.agent.tasks import STOP, a_task, a_template
from tests.support.agent_node import AgentNode
from tests.support.scripted import ScriptedControlPlane

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]


@pytest.mark.parametrize(
    ("container", "state", "reason", "words"),
    [
        (
            ContainerSpec(image="nowhere:1", pull_policy=PullPolicy.NEVER),
            TaskState.BACKOFF,
            "NotPresent",
            "pullPolicy is Never",
        ),
        (
            ContainerSpec(image="127.0.0.1:9/x:1"),
            TaskState.BACKOFF,
            "RegistryUnreachable",
            "127.0.0.1:9",
        ),
        (ContainerSpec(image="UPPER//case"), TaskState.REJECTED, "InvalidReference", "UPPER"),
        (
            ContainerSpec(image="busybox:1", command=("/no/such/thing",)),
            TaskState.BACKOFF,
            "CommandNotFound",
            "/no/such/thing",
        ),
        (
            ContainerSpec(image="busybox:1", user="nobody-here"),
            TaskState.REJECTED,
            "UnknownUser",
            "nobody-here",
        ),
        (
            ContainerSpec(image="busybox:1", volumes=(VolumeMount(source="/no/such/dir", target="/x"),)),
            TaskState.BACKOFF,
            "MountFailed",
            "/no/such/dir",
        ),
    ],
)
async def test_what_cannot_start_says_why(
    node: AgentNode,
    plane: ScriptedControlPlane,
    container: ContainerSpec,
    state: TaskState,
    reason: str,
    words: str,
) -> None:
    plane.assign((a_task(), TaskTemplate(containers=(container,), stop=STOP)))

    status = await plane.wait_state(a_task(), state)

    assert status.reason == reason
    assert words in status.message


async def test_a_port_that_is_taken_is_told_and_published_when_it_is_free(
    node: AgentNode, plane: ScriptedControlPlane
) -> None:
    ports = (PortSpec(target=8080, published=18080, mode="host"),)
    restart = RestartPolicy(backoff=0.2, max_backoff=0.2)
    template = a_template("httpd -f -p 8080", ports=ports, restart=restart, stop=STOP)
    plane.assign((a_task(1), template))
    await plane.wait_state(a_task(1), TaskState.RUNNING)

    plane.assign((a_task(1), template), (a_task(2), template))
    status = await plane.wait_state(a_task(2), TaskState.BACKOFF)
    assert status.reason == "PortTaken"
    assert "18080" in status.message

    plane.assign((a_task(2), template))
    await plane.wait_state(a_task(2), TaskState.RUNNING)
