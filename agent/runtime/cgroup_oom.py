"""Tells when a group runs out of memory, without asking again and again."""

import os

from agent.linux import constants as c
from agent.linux import syscalls
from agent.runtime import cgroup_files, cgroup_v1

TYPE_CHECKING = False
if TYPE_CHECKING:
    from agent.runtime.cgroup import Cgroups

_NUMBER_BYTES = 8


class Watch:
    """Its descriptor becomes readable when something happened; `take` says how often."""

    def __init__(self, cgroups: "Cgroups", group: str) -> None:
        if isinstance(cgroups, cgroup_v1.V1):
            self._v1(f"{cgroups.memory}/{group}")
        else:
            self._v2(f"{cgroups.mount}/{group}")

    def _v1(self, path: str) -> None:
        self.events = ""
        self.control = os.open(f"{path}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        self.path = path
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            cgroup_files.write(f"{path}/cgroup.event_control", f"{self.fd} {self.control}")
        except OSError:
            self.close()
            raise

    def _v2(self, path: str) -> None:
        self.path = path
        self.control = -1
        self.events = f"{path}/memory.events"
        self.fd = syscalls.inotify_init()
        try:
            syscalls.inotify_add_watch(self.fd, self.events, c.IN_MODIFY)
        except OSError:
            self.close()
            raise
        self.before = cgroup_files.field(self.events, "oom_kill")

    def fileno(self) -> int:
        return self.fd

    def take(self) -> int:
        """Since it was asked last: on v2 processes that were killed, on v1 times that memory ran out."""
        if not self.events:
            return self._take_v1()
        try:
            while os.read(self.fd, 4096):
                pass
        except BlockingIOError:
            pass
        before, self.before = self.before, cgroup_files.field(self.events, "oom_kill")
        return max(self.before - before, 0)

    def close(self) -> None:
        for fd in (self.fd, self.control):
            if fd >= 0:
                os.close(fd)
        self.fd = self.control = -1

    def _take_v1(self) -> int:
        try:
            raw = os.read(self.fd, _NUMBER_BYTES)
        except BlockingIOError:
            return 0
        if not os.path.exists(f"{self.path}/cgroup.procs"):
            return 0  # v1 also tells that the group is gone
        return int.from_bytes(raw, "little")
