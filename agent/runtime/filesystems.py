"""New file systems: proc, tmpfs, devpts and whatever else there is.

As mounts that are attached nowhere yet, or, where that will do, with one call in the directory that we are in.
"""

import os

from agent.linux import constants as c
from agent.linux import syscalls
from agent.runtime import handshake

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Plan = dict[str, Any]

_MESSAGE_BYTES = 1000
_MOST_DATA_BYTES = 4000  # mount(2) takes one page of them
_SAME_FLAGS = c.MOUNT_ATTR_NOSUID | c.MOUNT_ATTR_NODEV | c.MOUNT_ATTR_NOEXEC
"""mount(2) has the same bits for these; with MS_RDONLY it would make the whole file system read-only."""


def of(mount: "Plan") -> int:
    """As a plan's mount says; only what a fresh mount does not have already is set."""
    return make(mount["kind"], mount["data"], mount["set"], source=mount["source"])


def make(kind: str, data: "Sequence[str]", attributes: int, *, source: str = "") -> int:
    """StepFailed says what the kernel thinks of it."""
    try:
        context = syscalls.fsopen(kind)
    except OSError as error:
        raise handshake.failed("mounts", f"mount a {kind}", error) from None
    try:
        syscalls.fsconfig(context, c.FSCONFIG_SET_STRING, "source", source or kind)
        for word in data:
            key, equals, value = word.partition("=")
            command = c.FSCONFIG_SET_STRING if equals else c.FSCONFIG_SET_FLAG
            syscalls.fsconfig(context, command, key, value)
        syscalls.fsconfig(context, c.FSCONFIG_CMD_CREATE)
        return syscalls.fsmount(context, attributes)
    except OSError as error:
        hint = _said(context) or (f"look at its options ({', '.join(data)})" if data else "")
        raise handshake.failed("mounts", f"mount a {kind}", error, hint) from None
    finally:
        os.close(context)


def mount_here(kind: str, name: str, data: "Sequence[str]", attributes: int, *, source: str = "") -> bool:
    """On `name` in the current directory, "." for itself. False where `make` has to do it, or knows better why not."""
    flags = attributes & _SAME_FLAGS
    if attributes & c.MOUNT_ATTR_STRICTATIME:
        flags |= c.MS_STRICTATIME
    words = ",".join(data)
    if (
        attributes & ~(_SAME_FLAGS | c.MOUNT_ATTR_STRICTATIME)
        or words.count(",") >= max(len(data), 1)
        or len(words) > _MOST_DATA_BYTES
        or any(word.startswith("=") for word in data)
    ):
        return False
    try:
        syscalls.mount(source or kind, name, kind, flags, words)
    except OSError:
        return False
    return True


def _said(context: int) -> str:
    """What the kernel has to say, one message a read: "e tmpfs: Bad value for 'size'"."""
    said = []
    try:
        while text := os.read(context, _MESSAGE_BYTES):
            said.append(text.decode(errors="replace").strip()[2:])
    except OSError:
        pass
    return "; ".join(said)
