"""Groups of processes on cgroup v2: one hierarchy for everything. Imported by the shim: no heavy imports."""

import errno

from agent.runtime import cgroup_files as files
from agent.runtime import cgroup_freeze, cgroup_guard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TypeAlias

    Limits: TypeAlias = dict[str, Any]

_ROOT = "/sys/fs/cgroup"
_ALWAYS = ("cpu", "memory", "pids")


class V2:
    """One hierarchy for everything."""

    version = 2

    def __init__(self, mount: str = _ROOT) -> None:
        self.mount = self.unified = mount
        self.programs: dict[bytes, int] = {}

    def narrow(self, root: str) -> None:
        """There is one place to look."""

    def controllers(self) -> list[str]:
        """What can be limited here."""
        return files.read(f"{self.mount}/cgroup.controllers").split()

    def create(self, group: str, limits: "Limits") -> None:
        """With its limits."""
        self.begin(group, limits)
        self.complete(group, limits)

    def begin(self, group: str, limits: "Limits") -> None:
        """What a process is born into."""
        wanted = {row[0] for row in limits.get("rows", []) if row[0]}
        path = self.mount
        for part in group.split("/"):
            _enable(path, wanted)
            path = f"{path}/{part}"
            files.mkdir(path)

    def complete(self, group: str, limits: "Limits") -> None:
        """Its limits, which who was born there feels from now on."""
        path = f"{self.mount}/{group}"
        files.apply(limits.get("rows", []), lambda _: path)
        if limits.get("devices"):
            self._guard_devices(path, limits)

    def _guard_devices(self, path: str, limits: "Limits") -> None:
        try:
            cgroup_guard.guard(self.programs, path, limits["devices"])
        except OSError:
            if limits["devices_asked"]:
                raise

    def create_helper(self, group: str) -> None:
        self.create(group, {})

    def spread(self, group: str) -> None:
        """There is one hierarchy, and it is there."""

    def update(self, group: str, limits: "Limits") -> None:
        """Other limits for a group that runs."""
        rows = limits["rows"]
        path = self.mount
        for part in group.split("/"):
            _enable(path, {row[0] for row in rows if row[0]})
            path = f"{path}/{part}"
        files.apply(rows, lambda _: path)

    def join(self, group: str, pid: int = 0) -> None:
        """The process itself, or another one with all its threads."""
        files.write(f"{self.mount}/{group}/cgroup.procs", pid)

    def cradle(self, group: str) -> str:
        """The directory of the group that a process can be born into."""
        return f"{self.mount}/{group}"

    def doors(self, group: str, *, born: bool) -> list[int]:
        """Where a process with a single thread writes 0 to join; one that was born there has no more to do."""
        return [] if born else files.open_doors([f"{self.mount}/{group}/cgroup.procs"])

    def pids(self, group: str) -> list[int]:
        return files.pids(f"{self.mount}/{group}")

    def tree_pids(self, group: str) -> list[int]:
        """Also of the groups below."""
        return files.tree_pids(f"{self.mount}/{group}")

    def kill(self, group: str) -> None:
        files.kill(f"{self.mount}/{group}")

    def freeze(self, group: str) -> None:
        """Returns when the last process stands still."""
        cgroup_freeze.freeze(f"{self.mount}/{group}")

    def thaw(self, group: str) -> None:
        cgroup_freeze.thaw(f"{self.mount}/{group}")

    def is_frozen(self, group: str) -> bool:
        return cgroup_freeze.is_frozen(f"{self.mount}/{group}")

    def oom_kills(self, group: str) -> int:
        return files.field(f"{self.mount}/{group}/memory.events", "oom_kill")

    def usage(self, group: str) -> tuple[float, int, int]:
        """CPU seconds so far, bytes of memory now, processes now."""
        path = f"{self.mount}/{group}"
        cpu = files.field(f"{path}/cpu.stat", "usage_usec") / 1e6
        return cpu, files.number(f"{path}/memory.current"), files.number(f"{path}/pids.current")

    def remove(self, group: str) -> bool:
        """Whether it is gone; a group with dying processes in it is not, ask again."""
        return files.rmdir(f"{self.mount}/{group}")

    def children(self, group: str) -> list[str]:
        return files.children(f"{self.mount}/{group}")


def _enable(path: str, wanted: "Iterable[str]") -> None:
    """Let children be limited; a group whose parent already allows it is left alone."""
    enabled = files.read(f"{path}/cgroup.subtree_control").split()
    if all(name in enabled for name in (*_ALWAYS, *wanted)):
        return
    available = files.read(f"{path}/cgroup.controllers").split()
    missing = [name for name in dict.fromkeys((*_ALWAYS, *wanted)) if name not in enabled]
    if lacking := [name for name in missing if name in wanted and name not in available]:
        what = f"{path} is not given the cgroup controller {' '.join(lacking)}"
        raise files.Refused(errno.ENOENT, "missing", what)
    names = " ".join(f"+{name}" for name in missing if name in available)
    if not names:
        return
    try:
        files.write(f"{path}/cgroup.subtree_control", names)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        what = f"hand {names} on from {path}; cgroup v2 wants the processes in it in a group below"
        raise files.Refused(error.errno, "in use", what) from None
