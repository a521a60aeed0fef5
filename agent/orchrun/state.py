"""What a container is just now, asked of the kernel, never remembered: created, running, paused, stopped."""

import _socket
import os

from agent.orchrun import store
from agent.runtime import journal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from agent.orchrun.call import Call
    from agent.orchrun.store import Record, Store

CREATING = "creating"
CREATED = "created"
RUNNING = "running"
PAUSED = "paused"
STOPPED = "stopped"


def status(call: "Call", record: "Record") -> str:
    if not is_alive(record):
        return STOPPED
    if record["group"] and call.cgroups.is_frozen(record["group"]):
        return PAUSED
    if record["creating"]:
        return CREATING
    return CREATED if is_waiting(call.store, record["id"]) else RUNNING


def is_alive(record: "Record") -> bool:
    """The very process that was started: a pid comes back, with its start time it does not."""
    fields = journal.stat_fields(record["pid"]) if record["pid"] else []
    return bool(fields) and fields[0] not in "ZX" and int(fields[19]) == record["startTime"]


def is_waiting(where: "Store", container: str) -> bool:
    """Whether somebody listens at the gate: the listener is closed by the exec of the payload itself."""
    try:
        sock = connect(where, container)
    except OSError:
        return False
    sock.close()
    return True


def connect(where: "Store", container: str) -> "_socket.socket":
    """Through a descriptor of the directory: the address of a socket holds 107 bytes, paths are longer."""
    directory = os.open(where.path(container), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    try:
        sock.connect(f"/proc/self/fd/{directory}/{store.GATE}")
    except OSError:
        sock.close()
        raise
    finally:
        os.close(directory)
    return sock


def told(record: "Record", now: str) -> "dict[str, object]":
    """The state as the specification words it: what hooks read, and `state` prints."""
    value: dict[str, object] = {
        "ociVersion": record["ociVersion"],
        "id": record["id"],
        "status": now,
        "pid": 0 if now == STOPPED else record["pid"],
        "bundle": record["bundle"],
    }
    if record["annotations"]:
        value["annotations"] = record["annotations"]
    return value


def shown(record: "Record", now: str) -> "dict[str, object]":
    """With what runc and crun tell besides."""
    return {
        "ociVersion": record["ociVersion"],
        "id": record["id"],
        "pid": 0 if now == STOPPED else record["pid"],
        "status": now,
        "bundle": record["bundle"],
        "rootfs": record["rootfs"],
        "created": record["created"],
        **({"annotations": record["annotations"]} if record["annotations"] else {}),
        "owner": record["owner"],
    }
