"""Joining the namespaces that a configuration names by path, and a time namespace of one's own."""

import os

from agent.linux import constants as c
from agent.linux import syscalls
from agent.runtime import handshake

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_KINDS = {
    c.CLONE_NEWNS: "mount",
    c.CLONE_NEWPID: "pid",
    c.CLONE_NEWUTS: "uts",
    c.CLONE_NEWIPC: "ipc",
    c.CLONE_NEWNET: "network",
    c.CLONE_NEWCGROUP: "cgroup",
    c.CLONE_NEWTIME: "time",
}


def join(spaces: "list[list[Any]]") -> None:
    """[flag, path] each; a pid namespace apart, which one can only be born into."""
    for flag, path in spaces:
        if flag != c.CLONE_NEWPID:
            _join(flag, path)


def _join(flag: int, path: str) -> None:
    name = _KINDS[flag]
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            syscalls.setns(fd, flag)
        finally:
            os.close(fd)
    except OSError as error:
        hint = f"a {name} namespace must be there before the start"
        raise handshake.failed(name, f"join {path}", error, hint) from None


def make_time(offsets: "list[list[Any]]") -> None:
    """Its clocks may be moved only while nobody is in it."""
    try:
        syscalls.unshare(c.CLONE_NEWTIME)
        for clock, seconds, nanoseconds in offsets:
            fd = os.open("/proc/self/timens_offsets", os.O_WRONLY | os.O_CLOEXEC)
            os.write(fd, f"{clock} {seconds} {nanoseconds}".encode())
            os.close(fd)
        inside = os.open("/proc/self/ns/time_for_children", os.O_RDONLY | os.O_CLOEXEC)
        syscalls.setns(inside, c.CLONE_NEWTIME)
        os.close(inside)
    except OSError as error:
        raise handshake.failed("time", f"make a time namespace with {offsets}", error) from None
