"""The end of a container: its processes, its cgroup, its hooks, its directory, in this order."""

import os
import select
import time

from agent.linux import syscalls
from agent.orchrun import state
from agent.orchrun.errors import Failed
from agent.runtime import cgroup, hooks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from agent.orchrun.call import Call
    from agent.orchrun.store import Record

_SIGKILL = 9
_DEATH_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 0.001
_LONGEST_PAUSE_SECONDS = 0.05


def destroy(call: "Call", record: "Record") -> None:
    """Nothing is left, or Failed says what is; asking again goes on where it stopped."""
    kill(call, record)
    if record.get("unit"):
        _end_unit(call, record)
    if record["group"]:
        _remove_group(call, record["group"])
    try:
        told = call.store.process(record["id"])["hooks"]
    except FileNotFoundError:
        told = {}
    for problem in hooks.run_all("poststop", told, state.told(record, state.STOPPED)):
        call.log.warning(problem)
    call.store.forget(record["id"])


def kill(call: "Call", record: "Record") -> None:
    """The first process, then whoever is left in the group; back when the first one is dead."""
    try:
        pidfd = os.pidfd_open(record["pid"]) if record["pid"] else -1
    except ProcessLookupError:
        pidfd = -1
    try:
        if pidfd >= 0 and state.is_alive(record):
            syscalls.kill_process(pidfd, _SIGKILL)
            _kill_group(call, record["group"])
            _wait_for_death(record, pidfd)
            return
    finally:
        if pidfd >= 0:
            os.close(pidfd)
    _kill_group(call, record["group"])


def _end_unit(call: "Call", record: "Record") -> None:
    """Before its group goes: systemd wants to be the one to remove it."""
    from agent.orchrun import scope

    try:
        scope.end(record)
    except Failed as failed:
        problem = f"{failed.message}; {record['unit']} may be left over as a unit"
        call.log.warning(problem)


def _kill_group(call: "Call", group: str) -> None:
    if not group:
        return
    call.cgroups.kill(group)
    if call.cgroups.is_frozen(group):
        call.cgroups.thaw(group)  # on v1 what is frozen does not die


def _wait_for_death(record: "Record", pidfd: int) -> None:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if not poll.poll(_DEATH_SECONDS * 1000):
        raise Failed(f"process {record['pid']} does not die; it may wait for a disk or a file system")


def _remove_group(call: "Call", group: str) -> None:
    """With the groups that the container made below it; the dying take a moment to leave."""
    deadline = time.monotonic() + _DEATH_SECONDS
    pause = _FIRST_PAUSE_SECONDS
    while not cgroup.remove_tree(call.cgroups, group):
        if time.monotonic() > deadline:
            pids = call.cgroups.tree_pids(group)
            raise Failed(f"cgroup {group} is still in use after a kill, by processes {pids}")
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
        call.cgroups.kill(group)
