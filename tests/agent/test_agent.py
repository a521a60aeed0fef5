"""The agent comes and goes, and whom it believes: real containers, real kills."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from orch.model.assignment import File
from orch.model.container import FileMount
from orch.model.names import ObjectName
from orch.model.policy import NodeLoss, OnNodeLoss, RestartPolicy
from orch.model.probe import ProbeSpec
from orch.model.service import TaskTemplate
from orch.model.task import TaskState
from tests.agent.tasks import (
    STOP,
    a_container,
    a_task,
    a_template,
    main_pid,
    start_time,
    wait_pid_gone,
)
from tests.support.agent_node import AgentNode
from tests.support.scripted import ScriptedControlPlane

pytestmark = pytest.mark.root

# --- the agent comes and goes


async def test_a_killed_agent_comes_back_to_the_same_processes(
    node: AgentNode, plane: ScriptedControlPlane
) -> None:
    readiness = ProbeSpec(exec=("test", "-e", "/tmp"), period=0.2)
    steady = TaskTemplate(containers=(a_container(readiness=readiness),), stop=STOP)
    plane.assign(
        (a_task(1), steady), (a_task(2), a_template("trap 'exit 7' USR1; while :; do sleep 0.05; done"))
    )
    first = await plane.wait_status(a_task(1), lambda s: s.ready)
    second = await plane.wait_state(a_task(2), TaskState.RUNNING)
    born = start_time(main_pid(first))
    assert plane.hello is not None
    incarnation = plane.hello.incarnation

    await node.kill()
    os.kill(main_pid(second), signal.SIGUSR1)
    node.start()
    await node.wait_ready()
    hello = await plane.wait_connected(2)

    assert hello.incarnation > incarnation
    assert {each.id.slot for each in hello.statuses} == {1, 2}
    after = await plane.wait_status(a_task(1), lambda s: s.incarnation > incarnation and s.ready)
    assert main_pid(after) == main_pid(first)
    assert start_time(main_pid(after)) == born
    died = await plane.wait_status(
        a_task(2), lambda s: s.incarnation > incarnation and s.state is TaskState.RUNNING
    )
    assert main_pid(died) != main_pid(second)
    assert "exit code 7" in died.containers[0].message


async def test_sigterm_leaves_containers_running_and_the_next_agent_still_stops_them(
    node: AgentNode, plane: ScriptedControlPlane
) -> None:
    plane.assign((a_task(), a_template()))
    status = await plane.wait_state(a_task(), TaskState.RUNNING)

    assert await node.stop() == 0
    os.kill(main_pid(status), 0)

    plane.assign()
    node.start()
    await node.wait_ready()
    await plane.wait_state(a_task(), TaskState.COMPLETE)
    with pytest.raises(ProcessLookupError):
        os.kill(main_pid(status), 0)


async def test_an_agent_that_stands_still_ends_all_the_same_and_says_where_it_stood(
    node: AgentNode, plane: ScriptedControlPlane
) -> None:
    plane.assign((a_task(), a_template()))
    status = await plane.wait_state(a_task(), TaskState.RUNNING)
    (node.run / "contact").unlink()
    os.mkfifo(node.run / "contact")  # nobody reads: whoever writes a note of the next contact waits for ever
    await asyncio.to_thread(node.wait_blocked)

    assert await node.stop() == 1

    assert "contact.py" in node.log.read_text()
    os.kill(main_pid(status), 0)
    (node.run / "contact").unlink()
    node.start()
    await node.wait_ready()
    await plane.wait_connected(2)


async def test_leftovers_of_a_lost_ledger_stay_until_a_valid_word_and_then_go(
    node: AgentNode, plane: ScriptedControlPlane
) -> None:
    plane.assign((a_task(), a_template()))
    status = await plane.wait_state(a_task(), TaskState.RUNNING)
    await node.kill()
    for path in node.state.glob("ledger.db*"):
        path.unlink()
    plane.forget("tasks")
    node.start()
    await node.wait_ready()
    await plane.wait_connected(2)
    os.kill(main_pid(status), 0)
    gone = wait_pid_gone(main_pid(status))

    plane.assign()

    await asyncio.wait_for(gone, 40)


async def test_a_finished_task_stays_finished_when_the_agent_restarts(
    node: AgentNode, plane: ScriptedControlPlane
) -> None:
    plane.assign((a_task(), a_template("exit 5", restart=RestartPolicy(policy="never"))))
    await plane.wait_state(a_task(), TaskState.FAILED)

    await node.kill()
    node.start()
    await node.wait_ready()
    hello = await plane.wait_connected(2)

    assert hello.statuses[0].state == TaskState.FAILED
    assert hello.statuses[0].reason == "ExitCode"


async def test_tasks_go_on_and_crash_and_restart_while_the_control_plane_is_away(
    node: AgentNode, plane: ScriptedControlPlane
) -> None:
    plane.assign((a_task(), a_template()))
    before = await plane.wait_state(a_task(), TaskState.RUNNING)

    await plane.stop()
    os.kill(main_pid(before), signal.SIGKILL)
    await plane.start()

    after = await plane.wait_status(
        a_task(), lambda s: s.state is TaskState.RUNNING and main_pid(s) != main_pid(before)
    )
    assert after.restarts == 1


async def test_without_a_control_plane_a_restarted_agent_goes_on_from_its_ledger(
    node: AgentNode, plane: ScriptedControlPlane
) -> None:
    plane.assign((a_task(), a_template()))
    before = await plane.wait_state(a_task(), TaskState.RUNNING)
    await plane.wait(lambda: plane.acknowledged.get("tasks"))
    await plane.stop()
    await node.kill()

    gone = wait_pid_gone(main_pid(before))
    os.kill(main_pid(before), signal.SIGKILL)
    await gone
    node.start()
    await node.wait_ready()
    await plane.start()
    hello = await plane.wait_connected(2)

    after = await plane.wait_status(
        a_task(), lambda s: s.incarnation == hello.incarnation and s.state is TaskState.RUNNING
    )
    assert main_pid(after) != main_pid(before)


async def test_a_node_alone_stops_what_may_exist_only_once(
    node: AgentNode, plane: ScriptedControlPlane
) -> None:
    loss = OnNodeLoss(action=NodeLoss.STOP_AFTER, stop_after=1.0)
    plane.assign((a_task(1), a_template(on_node_loss=loss)), (a_task(2), a_template()))
    once = await plane.wait_state(a_task(1), TaskState.RUNNING)
    other = await plane.wait_state(a_task(2), TaskState.RUNNING)
    gone = wait_pid_gone(main_pid(once))

    await plane.stop()
    await asyncio.wait_for(gone, 40)
    os.kill(main_pid(other), 0)

    await plane.start()
    status = await plane.wait_state(a_task(1), TaskState.COMPLETE)
    assert status.reason == "NodeAlone"


async def test_a_network_that_could_not_be_set_up_is_tried_again(
    idle_node: AgentNode, plane: ScriptedControlPlane
) -> None:
    in_the_way = idle_node.run / "netns"
    idle_node.run.mkdir()
    in_the_way.write_text("")
    idle_node.start()
    await idle_node.wait_ready()
    await plane.wait_connected()
    plane.give_range()
    plane.assign((a_task(), a_template()))
    await plane.wait(lambda: any(each.refusal for each in plane.acknowledged.get("peers", [])))

    in_the_way.unlink()

    await plane.wait_state(a_task(), TaskState.RUNNING)


# --- whom to believe


async def test_what_is_older_or_of_another_cluster_stops_nothing_and_is_told(
    node: AgentNode, plane: ScriptedControlPlane
) -> None:
    plane.assign((a_task(), a_template()))
    status = await plane.wait_state(a_task(), TaskState.RUNNING)
    true = plane.stamp

    for stamp in (
        true.__class__("other", 1, 1, 10_000),
        true.__class__(true.cluster, true.incarnation, true.epoch, 1),
        true.__class__(true.cluster, 0, 9, 10_000),
    ):
        refused = len(refusals(plane))
        plane.stamp = stamp
        plane.assign()
        await plane.wait(lambda refused=refused: len(refusals(plane)) > refused)

    os.kill(main_pid(status), 0)
    assert ["cluster" in why or "older" in why for why in refusals(plane)] == [True] * 3

    plane.stamp = true.__class__(true.cluster, true.incarnation + 1, 1, 1)
    plane.assign()
    await plane.wait_state(a_task(), TaskState.COMPLETE)


def refusals(plane: ScriptedControlPlane) -> list[str]:
    return [each.refusal for each in plane.acknowledged.get("tasks", []) if each.refusal]


async def test_a_follower_sends_the_node_on(
    idle_node: AgentNode, plane: ScriptedControlPlane, tmp_path: Path
) -> None:
    leader = ScriptedControlPlane(tmp_path / "leader")
    (tmp_path / "leader").mkdir()
    leader.authority = plane.authority
    await leader.start()
    try:
        plane.redirect = leader.address
        idle_node.start()
        await idle_node.wait_ready()
        await leader.wait_connected()
    finally:
        await leader.stop()


# --- the machine


async def test_after_a_reboot_the_node_comes_back_to_what_was_asked(
    node: AgentNode, plane: ScriptedControlPlane
) -> None:
    secret = FileMount(source="db", version=1)
    with_secret = TaskTemplate(containers=(a_container(secrets=(secret,)),), stop=STOP)
    plane.give_files(File(ObjectName("default", "db"), 1, secret=True, data={"password": b"hunter2"}))
    plane.assign((a_task(1), a_template()), (a_task(2), with_secret))
    before = await plane.wait_state(a_task(1), TaskState.RUNNING)
    await plane.wait_state(a_task(2), TaskState.RUNNING)
    await plane.wait(lambda: plane.acknowledged.get("tasks"))

    await plane.stop()
    await node.reboot()
    files = plane.forget("files")
    await plane.start()
    node.start()
    await node.wait_ready()
    await plane.wait_connected(2)

    after = await plane.wait_status(
        a_task(1), lambda s: s.incarnation > before.incarnation and s.state is TaskState.RUNNING
    )
    assert main_pid(after) != main_pid(before)
    waiting = await plane.wait_status(
        a_task(2), lambda s: s.incarnation > before.incarnation and s.reason == "WaitsForFiles"
    )
    assert "secret db" in waiting.message

    plane.say(files=files)
    await plane.wait_status(a_task(2), lambda s: s.incarnation > before.incarnation and s.ready)


async def test_cleanup_leaves_no_process_behind(node: AgentNode, plane: ScriptedControlPlane) -> None:
    plane.assign((a_task(), a_template()))
    status = await plane.wait_state(a_task(), TaskState.RUNNING)
    gone = asyncio.create_task(wait_pid_gone(main_pid(status)))

    await node.stop()
    await node.end_all()

    await gone
    assert node.processes() == []
