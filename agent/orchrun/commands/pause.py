"""`pause`: freeze all of a container's processes."""

from agent.orchrun import state
from agent.orchrun.call import Call
from agent.orchrun.errors import Failed

OPTIONS: dict[str, str] = {}
ARGUMENTS = "<container-id>"


def run(call: Call) -> int:
    record = call.record(call.container())
    now = call.status(record)
    if now == state.PAUSED:
        raise Failed("container already paused")
    if now not in {state.RUNNING, state.CREATED}:
        raise Failed("container not running")
    if not record["group"]:
        raise Failed("pause needs the container's cgroup, and it was made with --cgroup-manager disabled")
    call.cgroups.freeze(record["group"])
    return 0
