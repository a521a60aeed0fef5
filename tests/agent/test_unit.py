"""The agent as a unit of systemd: all that is in the unit's cgroup may be killed with it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.runtime import cgroup
from orch.model.task import TaskState
from tests.agent.tasks import a_task, a_template, main_pid, wait_pid_gone
from tests.support.agent_node import AgentNode
from tests.support.scripted import ScriptedControlPlane

pytestmark = pytest.mark.root
INTO_THE_UNIT = 'for door in $DOORS; do echo $$ > "$door/cgroup.procs" || exit 1; done; exec "$@"'


@pytest.fixture
def unit(idle_node: AgentNode) -> Iterator[str]:
    """A cgroup as systemd makes one for a service, in every hierarchy."""
    cgroups, name = cgroup.detect(), f"{idle_node.unique}.service"
    cgroups.create_helper(name)
    yield name
    cgroups.kill(name)
    while not cgroups.remove(name):
        pass


def doors_of(unit: str) -> list[str]:
    mount = Path("/sys/fs/cgroup")
    return [str(path) for path in (*mount.glob(unit), *mount.glob(f"*/{unit}"))]


def read(pid: int, file: str) -> str:
    return Path(f"/proc/{pid}/{file}").read_text().replace("\0", " ")


async def test_helpers_and_containers_outlive_a_unit_that_is_killed_wholly(
    idle_node: AgentNode, plane: ScriptedControlPlane, unit: str
) -> None:
    doors = " ".join(doors_of(unit))
    idle_node.start(through=("env", f"DOORS={doors}", "sh", "-c", INTO_THE_UNIT, "sh"))
    await idle_node.wait_ready()
    await plane.wait_connected()
    plane.give_range()
    plane.assign((a_task(), a_template()))
    status = await plane.wait_state(a_task(), TaskState.RUNNING)
    agent = idle_node.pid()
    helpers = set(idle_node.processes()) - {agent}
    titles = {read(pid, "cmdline") for pid in helpers}
    for each in ("orch-shim", "orch-log", "agent.network.dns"):
        assert any(each in title for title in titles), f"{each} does not run"
    for pid in (*helpers, main_pid(status)):
        assert unit not in read(pid, "cgroup"), f"in the unit: {read(pid, 'cmdline')}"

    cgroup.detect().kill(unit)
    await wait_pid_gone(agent)
    await idle_node.kill()
    idle_node.start()
    await idle_node.wait_ready()
    await plane.wait_connected(2)
    plane.give_range()

    assert set(idle_node.processes()) - {idle_node.pid()} == helpers
    assert plane.statuses[a_task()].state is TaskState.RUNNING
    assert main_pid(plane.statuses[a_task()]) == main_pid(status)
