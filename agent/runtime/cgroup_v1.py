"""Groups of processes on cgroup v1 and hybrid hosts: a hierarchy for each controller.

Imported by the shim: no heavy imports.
"""

import os

from agent.runtime import cgroup_files as files
from agent.runtime import cgroup_freeze, cgroup_guard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, TypeAlias

    Limits: TypeAlias = dict[str, Any]


class V1:
    """A hierarchy for each controller; a v2 mount beside them, where there is one, kills and counts time.

    A group lies in the usual hierarchies, and in another one when a limit asks for it.
    """

    version = 1

    def __init__(self, mounts: "Mapping[str, str]", unified: str) -> None:
        self.places = {name: mount for name, mount in mounts.items() if not name.startswith("name=")}
        self.memory = mounts.get("memory", "")
        self.cpu = mounts.get("cpu", "")
        self.pids_mount = mounts.get("pids", "")
        self.unified = unified
        self.freezer = unified or mounts.get("freezer", "")
        self.accounting = mounts.get("cpuacct", "")
        wanted = [self.cpu, self.memory, self.pids_mount, unified or self.accounting, self.freezer]
        self.mounts = [mount for mount in dict.fromkeys(wanted) if mount]
        self.others = [mount for mount in dict.fromkeys(self.places.values()) if mount not in self.mounts]
        self.killer = unified or self.pids_mount or self.memory
        self.in_use = list(self.others)
        """Of the others those where groups of ours may lie."""
        self.systemd = mounts.get("name=systemd", "")
        self.programs: dict[bytes, int] = {}

    def narrow(self, root: str) -> None:
        """Nobody else makes groups below `root`: where it is not, nothing of ours is looked for."""
        self.in_use = self._others_of(root)

    def controllers(self) -> list[str]:
        """What can be limited here."""
        return list(self.places)

    def create(self, group: str, limits: "Limits") -> None:
        """With its limits."""
        self.begin(group, limits)
        self.complete(group, limits)

    def begin(self, group: str, _: "Limits") -> None:
        """What a process is born into, if anything."""
        if self.unified:
            files.makedirs(self.unified, group)

    def complete(self, group: str, limits: "Limits") -> None:
        """The rest of it, which nobody needs before he goes in by its doors."""
        for mount in self.mounts:
            if mount != self.unified:
                files.makedirs(mount, group)
        if limits:
            self._limit(group, limits["rows"])
            self._guard_devices(group, limits)

    def create_helper(self, group: str) -> None:
        """A group also in systemd's own hierarchy, by which it knows what to stop with a unit."""
        self.create(group, {})
        if self.systemd:
            files.makedirs(self.systemd, group)

    def spread(self, group: str) -> None:
        """Into all hierarchies, asked for or not: docker and podman look for a container in each of them."""
        for mount in self.others:
            self._make_in(mount, group)
        if self.systemd:
            files.makedirs(self.systemd, group)

    def update(self, group: str, limits: "Limits") -> None:
        """Other limits for a group that runs; its processes follow into hierarchies that are new to it."""
        before = self._others_of(group)
        self._limit(group, limits["rows"])
        for mount in self._others_of(group):
            if mount not in before:
                for pid in self.pids(group):
                    files.write(f"{mount}/{group}/cgroup.procs", pid)

    def join(self, group: str, pid: int = 0) -> None:
        """The process itself, or another one with all its threads."""
        for mount in (*self.mounts, *self._others_of(group)):
            files.write(f"{mount}/{group}/cgroup.procs", pid)
        if self.systemd and os.path.exists(f"{self.systemd}/{group}"):
            files.write(f"{self.systemd}/{group}/cgroup.procs", pid)

    def cradle(self, group: str) -> str:
        """The directory of the group that a process can be born into; "" where v2 is not there."""
        return f"{self.unified}/{group}" if self.unified else ""

    def doors(self, group: str, *, born: bool) -> list[int]:
        """Where a process with a single thread writes 0 to join; of v2 none for who was born there.

        In `tasks`, not in `cgroup.procs`: who moves a process waits for an RCU grace period, some eight
        milliseconds, so that it makes no thread meanwhile. Who moves only itself waits for nobody.
        """
        mounts = [mount for mount in (*self.mounts, *self._others_of(group)) if mount != self.unified]
        if self.systemd and os.path.exists(f"{self.systemd}/{group}"):
            mounts.append(self.systemd)
        places = [f"{mount}/{group}/tasks" for mount in mounts]
        if self.unified and not born:
            places.append(f"{self.unified}/{group}/cgroup.procs")
        return files.open_doors(places)

    def pids(self, group: str) -> list[int]:
        return files.pids(f"{self.killer}/{group}")

    def tree_pids(self, group: str) -> list[int]:
        """Also of the groups below."""
        return files.tree_pids(f"{self.killer}/{group}")

    def kill(self, group: str) -> None:
        files.kill(f"{self.killer}/{group}")
        if self.freezer and not self.unified:
            with_freezer = f"{self.freezer}/{group}"
            if os.path.exists(with_freezer):  # else it is removed already, from this hierarchy first
                cgroup_freeze.thaw(with_freezer)  # what v1 froze does not even die

    def freeze(self, group: str) -> None:
        """Returns when the last process stands still."""
        cgroup_freeze.freeze(f"{self.freezer}/{group}")

    def thaw(self, group: str) -> None:
        cgroup_freeze.thaw(f"{self.freezer}/{group}")

    def is_frozen(self, group: str) -> bool:
        return cgroup_freeze.is_frozen(f"{self.freezer}/{group}")

    def oom_kills(self, group: str) -> int:
        return files.field(f"{self.memory}/{group}/memory.oom_control", "oom_kill")

    def usage(self, group: str) -> tuple[float, int, int]:
        """CPU seconds so far, bytes of memory now, processes now."""
        if self.unified:
            cpu = files.field(f"{self.unified}/{group}/cpu.stat", "usage_usec") / 1e6
        else:
            cpu = files.number(f"{self.accounting}/{group}/cpuacct.usage") / 1e9
        memory = files.number(f"{self.memory}/{group}/memory.usage_in_bytes")
        return cpu, memory, files.number(f"{self.pids_mount}/{group}/pids.current")

    def remove(self, group: str) -> bool:
        """Whether it is gone; a group with dying processes in it is not, ask again."""
        gone = [
            files.rmdir(f"{mount}/{group}") for mount in (*self.mounts, *self.in_use, self.systemd) if mount
        ]
        return all(gone)

    def children(self, group: str) -> list[str]:
        return sorted({name for mount in self.mounts for name in files.children(f"{mount}/{group}")})

    def _limit(self, group: str, rows: "Iterable[list[str]]") -> None:
        def directory_of(controller: str) -> str:
            mount = self.places[controller]
            if mount not in self.mounts:
                self._make_in(mount, group)
            return f"{mount}/{group}"

        files.apply(rows, directory_of)

    def _guard_devices(self, group: str, limits: "Limits") -> None:
        """By a program where there is a v2 mount: one hierarchy fewer to join."""
        program, rows = limits["devices"], limits.get("device_rows", [])
        if program:
            try:
                cgroup_guard.guard(self.programs, f"{self.unified}/{group}", program)
            except OSError:
                if not rows and limits["devices_asked"]:
                    raise
            else:
                return
        self._limit(group, rows)

    def _others_of(self, group: str) -> list[str]:
        return [mount for mount in self.in_use if os.path.exists(f"{mount}/{group}")]

    def _make_in(self, mount: str, group: str) -> None:
        if mount not in self.in_use:
            self.in_use.append(mount)
        _make_in(mount, group)


def _make_in(mount: str, group: str) -> None:
    """In a cpuset hierarchy a new group has no cpus and no memory, and nobody could join it."""
    path = mount
    for part in group.split("/"):
        parent, path = path, f"{path}/{part}"
        if files.mkdir(path) and os.path.exists(f"{path}/cpuset.cpus"):
            for name in ("cpuset.cpus", "cpuset.mems"):
                files.write(f"{path}/{name}", files.read(f"{parent}/{name}").strip())
