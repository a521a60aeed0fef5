"""Users look into tasks on a real node: logs, commands, terminals, and what the machine is."""

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest

from orch.model.task import TaskState
from orch.v1 import control_pb2, sessions_pb2
from tests.agent.tasks import POLITE, a_task, a_template, main_pid, wait_pid_gone
from tests.support.agent_node import AgentNode
from tests.support.scripted import ScriptedControlPlane

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]


async def test_logs_of_this_run_and_the_one_before(node: AgentNode, plane: ScriptedControlPlane) -> None:
    plane.assign((a_task(), a_template("echo out; echo err >&2; " + POLITE)))
    before = await plane.wait_state(a_task(), TaskState.RUNNING)
    said = await plane.ask(a_task(), logs=sessions_pb2.TaskLogsAsk(tail=-1, follow=True))
    async with asyncio.timeout(40):  # it runs before it has said anything
        assert [(await said.up.get()).HasField("log") for _ in range(2)] == [True, True]
    os.kill(main_pid(before), signal.SIGKILL)
    await plane.wait_status(a_task(), lambda s: s.state is TaskState.RUNNING and s.restarts == 1)

    stream = await plane.ask(a_task(), logs=sessions_pb2.TaskLogsAsk(tail=-1, previous=True))

    lines = [message.log for message in await stream.all()]
    assert {(line.stream, line.text) for line in lines} == {("stdout", b"out"), ("stderr", b"err")}
    assert lines[0].task == "web.1.1"


async def test_a_command_with_input_output_and_exit_code(
    node: AgentNode, plane: ScriptedControlPlane
) -> None:
    plane.assign((a_task(), a_template()))
    await plane.wait_state(a_task(), TaskState.RUNNING)
    script = "read word; echo $word $EXTRA; echo bad >&2; exit 3"
    start = control_pb2.ExecStart(args=["sh", "-c", script], interactive=True, environment={"EXTRA": "x"})

    stream = await plane.ask(a_task(), exec=start)
    stream.down.put_nowait(control_pb2.ExecInput(stdin=b"hello\n"))

    said = [message.exec for message in await stream.all()]
    assert b"".join(each.stdout for each in said) == b"hello x\n"
    assert b"".join(each.stderr for each in said) == b"bad\n"
    assert said[-1].end.exit_code == 3


async def test_a_command_on_a_terminal_that_is_resized(node: AgentNode, plane: ScriptedControlPlane) -> None:
    plane.assign((a_task(), a_template()))
    await plane.wait_state(a_task(), TaskState.RUNNING)
    size = control_pb2.TerminalSize(rows=33, columns=99)
    start = control_pb2.ExecStart(args=["sh"], terminal=True, interactive=True, size=size)

    stream = await plane.ask(a_task(), exec=start)
    stream.down.put_nowait(control_pb2.ExecInput(stdin=b"stty size\n"))
    seen = b""
    async with asyncio.timeout(40):
        while b"33 99" not in seen:
            seen += (await stream.up.get()).exec.stdout
        resized = control_pb2.TerminalSize(rows=44, columns=111)
        stream.down.put_nowait(control_pb2.ExecInput(resize=resized))
        stream.down.put_nowait(control_pb2.ExecInput(stdin=b"stty size; exit 4\n"))
        while b"44 111" not in seen:
            seen += (await stream.up.get()).exec.stdout
    assert (await stream.all())[-1].exec.end.exit_code == 4


async def test_a_user_who_goes_away_takes_the_command_along(
    node: AgentNode, plane: ScriptedControlPlane
) -> None:
    plane.assign((a_task(), a_template()))
    await plane.wait_state(a_task(), TaskState.RUNNING)
    stream = await plane.ask(a_task(), exec=control_pb2.ExecStart(args=["sh", "-c", "echo $$ up; sleep 600"]))
    async with asyncio.timeout(40):
        number, word = (await stream.up.get()).exec.stdout.split()
    assert word == b"up"
    (pid,) = [pid for pid in node.contained() if pids_of(pid)[-1] == int(number)]
    gone = asyncio.create_task(wait_pid_gone(pid))

    stream.down.put_nowait(None)

    await gone


async def test_output_that_a_child_keeps_open_holds_nobody_once_the_user_has_gone(
    node: AgentNode, plane: ScriptedControlPlane
) -> None:
    plane.assign((a_task(), a_template()))
    await plane.wait_state(a_task(), TaskState.RUNNING)
    before = node.descriptors()
    command = ["sh", "-c", "sleep 600 & echo up; sleep 600"]
    stream = await plane.ask(a_task(), exec=control_pb2.ExecStart(args=command))
    async with asyncio.timeout(40):
        assert (await stream.up.get()).exec.stdout == b"up\n"

    stream.down.put_nowait(None)

    async with asyncio.timeout(40):
        while node.descriptors() > before:  # noqa: ASYNC110  nobody is told when they are closed
            await asyncio.sleep(0.02)


def pids_of(pid: int) -> list[int]:
    """As each namespace counts it, the innermost last; none when it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return [0]
    return [int(each) for each in status.partition("NSpid:")[2].splitlines()[0].split()]


async def test_what_is_asked_of_a_task_that_is_not_here_is_answered_with_a_problem(
    node: AgentNode, plane: ScriptedControlPlane
) -> None:
    await plane.wait(lambda: plane.acknowledged.get("peers"))

    stream = await plane.ask(a_task(9), exec=control_pb2.ExecStart(args=["true"]))

    assert "does not run" in (await stream.all())[-1].problem


async def test_the_agent_says_what_the_machine_is(node: AgentNode, plane: ScriptedControlPlane) -> None:
    hello = await plane.wait_connected()

    assert hello.facts.cpu >= 1000
    assert hello.facts.memory > 1 << 28
    assert hello.facts.architecture in {"amd64", "arm64"}
    assert hello.facts.address == "192.0.2.1"
    assert json.dumps(list(hello.facts.capabilities))
    await plane.wait(lambda: plane.heartbeats >= 2)
