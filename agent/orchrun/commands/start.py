"""`start`: let a created container go on to its program."""

import contextlib
import os

from agent.orchrun import failure, state, store
from agent.orchrun.call import Call
from agent.orchrun.errors import Failed
from agent.runtime import gate, hooks

OPTIONS: dict[str, str] = {}
ARGUMENTS = "<container-id>"

_REFUSED = {
    state.STOPPED: "cannot start a container that has stopped",
    state.RUNNING: "cannot start an already running container",
    state.PAUSED: "cannot start a paused container; resume it first",
    state.CREATING: "cannot start a container that is still being created",
}


def run(call: Call) -> int:
    record = call.record(call.container())
    now = call.status(record)
    if now != state.CREATED:
        raise Failed(_REFUSED[now])
    path = f"{call.store.path(record['id'])}/{store.GATE}"
    try:
        failed = gate.open_(path)
    except (ConnectionRefusedError, FileNotFoundError):
        raise Failed(_REFUSED[call.status(record)]) from None  # somebody else was faster, or it has died
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    if failed:
        raise failure.of(*failed)
    told = call.store.process(record["id"])["hooks"]
    for problem in hooks.run_all("poststart", told, state.told(record, state.RUNNING)):
        call.log.warning(problem)
    return 0
