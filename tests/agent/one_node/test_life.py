"""Tasks on a real node live and die: containers start, crash, become ready, fail their probes and stop."""

import os
import signal

import pytest

from orch.model.container import ResourceAmounts, ResourceSpec, VolumeMount
from orch.model.policy import PortSpec, RestartPolicy, StopPolicy
from orch.model.probe import HttpCheck, ProbeSpec
from orch.model.service import TaskTemplate
from orch.model.task import TaskState, Wanted
from tests.agent.tasks import POLITE, STOP, a_container, a_task, a_template, main_pid
from tests.support.agent_node import AgentNode
from tests.support.scripted import ScriptedControlPlane

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]


async def test_an_assigned_task_runs_and_stops_and_leaves_nothing(
    node: AgentNode, plane: ScriptedControlPlane
) -> None:
    plane.assign((a_task(), a_template()))

    status = await plane.wait_state(a_task(), TaskState.RUNNING)
    assert status.ready
    assert status.addresses[0].startswith("10.208.4.")
    assert status.started_at
    assert status.containers[0].image_digest.startswith("sha256:")

    plane.assign((a_task(), a_template(), Wanted.STOP))
    status = await plane.wait_state(a_task(), TaskState.COMPLETE)
    assert status.finished_at >= status.started_at
    assert status.restarts == 0
    assert not list(node.run.glob("files/tasks/*"))
    assert not list((node.state / "runtime/roots").iterdir())


async def test_a_task_that_is_no_longer_named_is_stopped_and_forgotten(
    node: AgentNode, plane: ScriptedControlPlane
) -> None:
    plane.assign((a_task(1), a_template()), (a_task(2), a_template()))
    await plane.wait_state(a_task(1), TaskState.RUNNING)
    kept = await plane.wait_state(a_task(2), TaskState.RUNNING)

    plane.assign((a_task(2), a_template()))

    await plane.wait_state(a_task(1), TaskState.COMPLETE)
    os.kill(main_pid(kept), 0)


async def test_a_killed_container_is_back_at_once_with_the_same_address(
    node: AgentNode, plane: ScriptedControlPlane
) -> None:
    plane.assign((a_task(), a_template()))
    before = await plane.wait_state(a_task(), TaskState.RUNNING)

    os.kill(main_pid(before), signal.SIGKILL)

    after = await plane.wait_status(
        a_task(), lambda s: s.state is TaskState.RUNNING and main_pid(s) != main_pid(before)
    )
    assert after.restarts == 1
    assert after.addresses == before.addresses
    assert "signal 9" in after.containers[0].message
    assert after.containers[0].restarts == 1


async def test_a_crash_loop_backs_off_shows_last_words_and_spends_its_attempts(
    node: AgentNode, plane: ScriptedControlPlane
) -> None:
    restart = RestartPolicy(backoff=0.1, attempts=2)
    plane.assign((a_task(), a_template("echo about to fail; exit 3", restart=restart)))

    backoff = await plane.wait_state(a_task(), TaskState.BACKOFF)
    assert backoff.retry_at
    status = await plane.wait_state(a_task(), TaskState.FAILED)

    assert status.reason == "ExitCode"
    assert "tried 3 times" in status.message
    assert status.containers[0].exit_code == 3
    assert status.log_tail == ("about to fail",)
    assert status.restarts == 2


async def test_one_of_two_containers_crashes_and_the_other_does_not_notice(
    node: AgentNode, plane: ScriptedControlPlane
) -> None:
    containers = (a_container(), a_container(name="proxy"))
    plane.assign((a_task(), TaskTemplate(containers=containers, stop=STOP)))
    before = await plane.wait_state(a_task(), TaskState.RUNNING)

    os.kill(before.containers[1].pid, signal.SIGKILL)

    after = await plane.wait_status(
        a_task(), lambda s: s.state is TaskState.RUNNING and s.containers[1].pid != before.containers[1].pid
    )
    assert main_pid(after) == main_pid(before)


async def test_containers_of_a_task_share_its_network_and_init_containers_come_first(
    node: AgentNode, plane: ScriptedControlPlane
) -> None:
    ready = ProbeSpec(exec=("sh", "-c", "wget -qO- http://127.0.0.1:8080/who | grep init"), period=0.2)
    template = TaskTemplate(
        init_containers=(
            a_container("echo init > /shared/who", name="setup", volumes=(_shared(node),)),
            a_container("test -s /shared/who", name="check", volumes=(_shared(node),)),
        ),
        containers=(
            a_container("httpd -f -p 8080 -h /shared", volumes=(_shared(node),)),
            a_container(name="client", readiness=ready),
        ),
        stop=StopPolicy(signal="SIGKILL", drain_delay=0.0),
    )
    plane.assign((a_task(), template))

    status = await plane.wait_status(a_task(), lambda s: s.ready)
    assert [each.exit_code for each in status.containers[:2]] == [0, 0]
    assert status.restarts == 0


def _shared(node: AgentNode) -> VolumeMount:
    directory = node.state.parent / "shared"
    directory.mkdir(exist_ok=True)
    return VolumeMount(source=str(directory), target="/shared")


async def test_on_failure_ends_complete_after_work_done(node: AgentNode, plane: ScriptedControlPlane) -> None:
    plane.assign((a_task(), a_template("exit 0", restart=RestartPolicy(policy="on-failure"))))

    status = await plane.wait_state(a_task(), TaskState.COMPLETE)

    assert status.reason == "Completed"


async def test_a_stubborn_container_is_killed_after_its_grace(
    node: AgentNode, plane: ScriptedControlPlane
) -> None:
    stop = StopPolicy(drain_delay=0.0, grace_period=0.3)
    template = a_template("trap '' TERM; while :; do sleep 0.05; done", stop=stop)
    plane.assign((a_task(), template))
    await plane.wait_state(a_task(), TaskState.RUNNING)

    plane.assign((a_task(), template, Wanted.STOP))

    status = await plane.wait_state(a_task(), TaskState.COMPLETE)
    assert status.containers[0].exit_signal == signal.SIGKILL


async def test_too_much_memory_is_told_as_such(node: AgentNode, plane: ScriptedControlPlane) -> None:
    resources = ResourceSpec(limits=ResourceAmounts(memory="16Mi"))
    container = a_container("exec dd if=/dev/zero of=/dev/null bs=100M count=1", resources=resources)
    template = TaskTemplate(containers=(container,), stop=STOP, restart=RestartPolicy(policy="never"))
    plane.assign((a_task(), template))

    status = await plane.wait_state(a_task(), TaskState.FAILED)

    assert status.reason == "OOMKilled"
    assert status.containers[0].oom_killed


async def test_a_service_is_ready_within_moments_of_listening(
    node: AgentNode, plane: ScriptedControlPlane
) -> None:
    readiness = ProbeSpec(http=HttpCheck(path="/", port="http"), period=10.0)
    container = a_container(
        "mkdir /www2; echo hi > /www2/index.html; httpd -f -p 8080 -h /www2", readiness=readiness
    )
    template = TaskTemplate(containers=(container,), stop=STOP, ports=(PortSpec(name="http", target=8080),))
    plane.assign((a_task(), template))

    status = await plane.wait_status(a_task(), lambda s: s.ready)

    assert status.ready_since - status.started_at < 2.0


async def test_unready_says_why_and_failing_liveness_restarts(
    node: AgentNode, plane: ScriptedControlPlane
) -> None:
    readiness = ProbeSpec(http=HttpCheck(path="/", port=8080), period=0.2)
    liveness = ProbeSpec(exec=("test", "-e", "/alive"), period=0.1, failure_threshold=2, initial_delay=0.3)
    container = a_container(POLITE, readiness=readiness, liveness=liveness)
    plane.assign((a_task(), TaskTemplate(containers=(container,), stop=STOP)))

    unready = await plane.wait_status(a_task(), lambda s: s.reason == "NotReady" and "refused" in s.message)
    assert unready.state is TaskState.RUNNING

    restarted = await plane.wait_status(a_task(), lambda s: s.containers[0].restarts > 0)
    assert restarted.containers[0].reason == "Unhealthy"
    assert "liveness" in restarted.containers[0].message
