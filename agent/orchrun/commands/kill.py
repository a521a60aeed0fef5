"""`kill`: a signal to the container's first process, or to all of them."""

import os

from agent.orchrun import signals, state
from agent.orchrun.call import Call
from agent.orchrun.errors import Failed

OPTIONS = {"all,a": "flag"}
ARGUMENTS = "<container-id> [signal]"

_SIGKILL = 9


def run(call: Call) -> int:
    call.expect(1, 2)
    record = call.record(call.arguments[0])
    number = signals.number(call.arguments[1] if len(call.arguments) > 1 else "TERM")
    if call.options.flag("all"):
        _all(call, record["group"], number)
        if state.is_alive(record) and not record["group"]:
            _one(record, number)
        return 0
    # Its words are what containerd takes for "it has ended already".
    if not state.is_alive(record):
        raise Failed("container not running")
    _one(record, number)
    if number == _SIGKILL and record["group"] and call.cgroups.is_frozen(record["group"]):
        call.cgroups.thaw(record["group"])  # v1: what is frozen does not die
    return 0


def _one(record: "dict[str, int]", number: int) -> None:
    try:
        pidfd = os.pidfd_open(record["pid"])
    except ProcessLookupError:
        raise Failed("container not running") from None
    try:
        if not state.is_alive(record):
            raise Failed("container not running")
        _send(pidfd, number)
    finally:
        os.close(pidfd)


def _send(pidfd: int, number: int) -> None:
    from agent.linux import syscalls

    try:
        syscalls.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        raise Failed("container not running") from None


def _all(call: Call, group: str, number: int) -> None:
    if not group:
        return
    if number == _SIGKILL:
        call.cgroups.kill(group)
        return
    for pid in call.cgroups.tree_pids(group):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
