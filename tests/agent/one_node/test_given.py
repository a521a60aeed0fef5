"""What tasks on a real node are given: configs and secrets as files, and each other's names."""

import asyncio
import subprocess

import pytest

from orch.model.assignment import Endpoint, File, ServiceEndpoints
from orch.model.container import ContainerSpec, FileMount
from orch.model.names import ObjectName, ServiceName
from orch.model.policy import StopPolicy
from orch.model.service import TaskTemplate
from orch.model.task import TaskState, Wanted
from orch.v1 import sessions_pb2
from tests.agent.tasks import a_task, a_template
from tests.support.agent_node import AgentNode
from tests.support.scripted import ScriptedControlPlane

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]


async def test_configs_and_secrets_come_as_files_and_secrets_only_in_memory(
    node: AgentNode, plane: ScriptedControlPlane
) -> None:
    container = ContainerSpec(
        image="busybox:1",
        user="www",
        entrypoint=(
            "sh",
            "-c",
            "id -u; cat /etc/app.conf /run/secrets/password; ls -l /run/secrets; sleep 60",
        ),
        configs=(FileMount(source="app", key="app.conf", target="/etc/app.conf", version=1),),
        secrets=(FileMount(source="db", version=2),),
    )
    template = TaskTemplate(containers=(container,), stop=StopPolicy(signal="SIGKILL", drain_delay=0.0))
    plane.assign((a_task(), template))
    waiting = await plane.wait_status(a_task(), lambda s: s.reason == "WaitsForFiles")
    assert "secret db, version 2" in waiting.message

    plane.give_files(
        File(ObjectName("default", "app"), 1, data={"app.conf": b"port=80\n"}),
        File(ObjectName("default", "db"), 2, secret=True, data={"password": b"hunter2\n"}),
    )
    await plane.wait_state(a_task(), TaskState.RUNNING)

    text = await the_log(plane, lines=4)
    assert text[:3] == ["1000", "port=80", "hunter2"]
    assert "-r--------" in text[4]
    found = await asyncio.to_thread(
        subprocess.run, ["grep", "-rl", "hunter2", node.state], capture_output=True, text=True, check=False
    )
    on_disk = [line for line in found.stdout.split() if "/logs/" not in line]
    assert on_disk == []

    plane.assign((a_task(), template, Wanted.STOP))
    await plane.wait_state(a_task(), TaskState.COMPLETE)
    assert not list((node.run / "secrets/tasks").iterdir())


async def the_log(plane: ScriptedControlPlane, lines: int) -> list[str]:
    """Follows until there are more than so many lines."""
    stream = await plane.ask(a_task(), logs=sessions_pb2.TaskLogsAsk(follow=True, tail=-1))
    found: list[str] = []
    async with asyncio.timeout(40):
        while len(found) <= lines:
            found.append((await stream.up.get()).log.text.decode())
    stream.down.put_nowait(None)
    return found


async def test_names_point_to_tasks(node: AgentNode, plane: ScriptedControlPlane) -> None:
    plane.assign((a_task(1), a_template("mkdir /w; echo one > /w/who; exec httpd -f -p 80 -h /w")))
    one = await plane.wait_state(a_task(1), TaskState.RUNNING)
    endpoint = Endpoint(a_task(1), "n1", one.addresses)
    plane.give_endpoints(ServiceEndpoints(ServiceName("default", "web"), (endpoint,)))
    await plane.wait(lambda: plane.acknowledged.get("endpoints"))

    once = "wget -qO- http://web/who && wget -qO- http://1.web.default.orch/who"
    client = f"until {once}; do sleep 0.1; done; sleep 60"
    plane.assign(
        (a_task(1), a_template("mkdir /w; echo one > /w/who; exec httpd -f -p 80 -h /w")),
        (a_task(2), a_template(client)),
    )
    await plane.wait_state(a_task(2), TaskState.RUNNING)

    stream = await plane.ask(a_task(2), logs=sessions_pb2.TaskLogsAsk(follow=True, tail=-1))
    async with asyncio.timeout(40):
        while (await stream.up.get()).log.text != b"one":
            continue
    stream.down.put_nowait(None)
