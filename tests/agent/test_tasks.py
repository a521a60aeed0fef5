"""Tasks on a real node: containers, probes, files, names, and users who look in."""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from orch.model.assignment import Endpoint, File, ServiceEndpoints
from orch.model.container import (
    ContainerSpec,
    FileMount,
    PullPolicy,
    ResourceAmounts,
    ResourceSpec,
    VolumeMount,
)
from orch.model.names import ObjectName, ServiceName
from orch.model.policy import PortSpec, RestartPolicy, StopPolicy
from orch.model.probe import HttpCheck, ProbeSpec
from orch.model.service import TaskTemplate
from orch.model.task import TaskState, Wanted
from orch.v1 import control_pb2, sessions_pb2
from tests.agent import conftest
from tests.agent.tasks import (
    POLITE,
    STOP,
    a_container,
    a_task,
    a_template,
    main_pid,
    wait_pid_gone,
)
from tests.support.agent_node import AgentNode
from tests.support.scripted import ScriptedControlPlane

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("node")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plane(directory: Path) -> AsyncIterator[ScriptedControlPlane]:
    async with conftest.a_plane(directory) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(directory: Path, plane: ScriptedControlPlane) -> AsyncIterator[AgentNode]:
    """One node for all tests here: what the next test does not name is stopped and forgotten."""
    async with conftest.a_node(directory, plane) as made:
        await conftest.connect(made, plane)
        yield made


# --- life and death


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


# --- what cannot be


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


# --- probes


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


# --- files and names


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


# --- users look in


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
