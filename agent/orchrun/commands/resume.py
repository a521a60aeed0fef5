"""`resume`: let a paused container go on."""

from agent.orchrun import state
from agent.orchrun.call import Call
from agent.orchrun.errors import Failed

OPTIONS: dict[str, str] = {}
ARGUMENTS = "<container-id>"


def run(call: Call) -> int:
    record = call.record(call.container())
    if call.status(record) != state.PAUSED:
        raise Failed("container not paused")
    call.cgroups.thaw(record["group"])
    return 0
