"""`events`: usage every few seconds, and each out-of-memory kill, one JSON value a line, until it ends."""

import os
import select

from agent.orchrun import jsontext, state
from agent.orchrun.call import Call
from agent.orchrun.errors import Failed, Misused
from agent.runtime import cgroup_events, cgroup_oom, cgroup_stats

TYPE_CHECKING = False
if TYPE_CHECKING:
    from agent.orchrun.store import Record

OPTIONS = {"stats": "flag", "interval": "text"}
ARGUMENTS = "<container-id>"

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_INTERVAL = "5s"


def run(call: Call) -> int:
    record = call.record(call.container())
    pause = _seconds(call.options.text("interval") or _INTERVAL)
    if call.status(record) == state.STOPPED:
        raise Failed(f"container with id {record['id']} is not running")
    if not record["group"]:
        raise Failed("events need the container's cgroup, and it was made with --cgroup-manager disabled")
    if call.options.flag("stats"):
        _stats(call, record)
        return 0
    _follow(call, record, pause)
    return 0


def _follow(call: Call, record: "Record", pause: float) -> None:
    pidfd = os.pidfd_open(record["pid"])
    watch = cgroup_oom.Watch(call.cgroups, record["group"])
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(watch.fileno(), select.POLLIN | select.POLLPRI)
    while state.is_alive(record):
        ready = [fd for fd, _ in poll.poll(pause * 1000)]
        if watch.fileno() in ready:
            for _ in range(watch.take()):
                _tell({"type": "oom", "id": record["id"]})
        elif not ready:
            _stats(call, record)


def _stats(call: Call, record: "Record") -> None:
    stats = cgroup_stats.read(call.cgroups, record["group"])
    _tell(cgroup_events.stats(stats, record["id"]))


def _tell(event: object) -> None:
    text = event if isinstance(event, str) else jsontext.dumps(event)
    os.write(1, f"{text.rstrip()}\n".encode())


def _seconds(text: str) -> float:
    """5s, 500ms, 1m; as Go writes durations."""
    number = text.rstrip("hms")
    unit = text[len(number) :]
    try:
        seconds = float(number) * _UNITS[unit]
    except (KeyError, ValueError):
        raise Misused(f"invalid duration {text!r} for --interval; write 5s or 500ms") from None
    if seconds <= 0:
        raise Misused(f"duration {text!r} for --interval must be greater than 0")
    return seconds
