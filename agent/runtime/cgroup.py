"""Limits, usage and the killing of whole groups, on cgroup v2 and on v1 or hybrid hosts.

A group is named by its path below the mount ("orch/dev/node-1/web.1/main-0"). Only groups that were
created here are touched. Imported by the shim: no heavy imports.
"""

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    Limits: TypeAlias = Mapping[str, int]
    Cgroups: TypeAlias = "V1 | V2"

_ROOT = "/sys/fs/cgroup"


def detect(mounts: str = "/proc/self/mounts") -> "Cgroups":
    """The driver that fits this machine."""
    with open(mounts, encoding="utf-8") as table:
        rows = [line.split() for line in table]
    unified = next((row[1] for row in rows if row[2] == "cgroup2"), "")
    named = {
        option: row[1]
        for row in rows
        if row[2] == "cgroup"
        for option in row[3].split(",")
        if option in {"cpu", "cpuacct", "memory", "pids", "freezer", "name=systemd"}
    }
    if "memory" not in named and unified:
        return V2(unified)
    return V1(named, unified)


class V2:
    """One hierarchy for everything."""

    def __init__(self, mount: str = _ROOT) -> None:
        self.mount = mount

    def create(self, group: str, limits: "Limits") -> None:
        path = self.mount
        for part in group.split("/"):
            _enable(path)
            path = f"{path}/{part}"
            _mkdir(path)
        if "memory" in limits:
            _write(f"{path}/memory.max", limits["memory"])
            if os.path.exists(f"{path}/memory.swap.max"):
                _write(f"{path}/memory.swap.max", limits.get("swap", 0))
        if "cpu_quota" in limits:
            _write(f"{path}/cpu.max", f"{limits['cpu_quota']} {limits.get('cpu_period', 100_000)}")
        if "cpu_shares" in limits:
            _write(f"{path}/cpu.weight", weight(limits["cpu_shares"]))
        if "pids" in limits:
            _write(f"{path}/pids.max", limits["pids"])

    def create_helper(self, group: str) -> None:
        self.create(group, {})

    def join(self, group: str, pid: int = 0) -> None:
        """The process itself, or another one with all its threads."""
        _write(f"{self.mount}/{group}/cgroup.procs", pid)

    def doors(self, group: str) -> list[int]:
        """Descriptors that a pid is written to, to have it join."""
        return [_open_door(f"{self.mount}/{group}")]

    def pids(self, group: str) -> list[int]:
        return _pids(f"{self.mount}/{group}")

    def kill(self, group: str) -> None:
        _kill(f"{self.mount}/{group}")

    def oom_kills(self, group: str) -> int:
        return _field(f"{self.mount}/{group}/memory.events", "oom_kill")

    def usage(self, group: str) -> tuple[float, int, int]:
        """CPU seconds so far, bytes of memory now, processes now."""
        path = f"{self.mount}/{group}"
        cpu = _field(f"{path}/cpu.stat", "usage_usec") / 1e6
        return cpu, _number(f"{path}/memory.current"), _number(f"{path}/pids.current")

    def remove(self, group: str) -> bool:
        """Whether it is gone; a group with dying processes in it is not, ask again."""
        return _rmdir(f"{self.mount}/{group}")

    def children(self, group: str) -> list[str]:
        return _children(f"{self.mount}/{group}")


class V1:
    """A hierarchy for each controller; a v2 mount beside them, where there is one, kills and counts time."""

    def __init__(self, mounts: "Mapping[str, str]", unified: str) -> None:
        self.memory = mounts.get("memory", "")
        self.cpu = mounts.get("cpu", "")
        self.pids_mount = mounts.get("pids", "")
        self.unified = unified
        wanted = [self.cpu, self.memory, self.pids_mount, unified or mounts.get("cpuacct", "")]
        self.mounts = [mount for mount in dict.fromkeys(wanted) if mount]
        self.killer = unified or self.pids_mount or self.memory
        self.accounting = mounts.get("cpuacct", "")
        self.systemd = mounts.get("name=systemd", "")
        self.made: set[str] = set()

    def create(self, group: str, limits: "Limits") -> None:
        parent = os.path.dirname(group)
        for mount in self.mounts:
            try:
                os.mkdir(f"{mount}/{group}")
            except FileExistsError:
                pass
            except FileNotFoundError:
                _makedirs(mount, parent)
                _mkdir(f"{mount}/{group}")
        if "memory" in limits:
            _write(f"{self.memory}/{group}/memory.limit_in_bytes", limits["memory"])
            if os.path.exists(f"{self.memory}/{group}/memory.memsw.limit_in_bytes"):
                swap = limits.get("swap", 0)
                _write(f"{self.memory}/{group}/memory.memsw.limit_in_bytes", limits["memory"] + swap)
        if "cpu_quota" in limits:
            _write(f"{self.cpu}/{group}/cpu.cfs_period_us", limits.get("cpu_period", 100_000))
            _write(f"{self.cpu}/{group}/cpu.cfs_quota_us", limits["cpu_quota"])
        if "cpu_shares" in limits:
            _write(f"{self.cpu}/{group}/cpu.shares", limits["cpu_shares"])
        if "pids" in limits:
            _write(f"{self.pids_mount}/{group}/pids.max", limits["pids"])

    def create_helper(self, group: str) -> None:
        """A group also in systemd's own hierarchy, by which it knows what to stop with a unit."""
        self.create(group, {})
        if self.systemd:
            _makedirs(self.systemd, group)

    def join(self, group: str, pid: int = 0) -> None:
        """The process itself, or another one with all its threads."""
        for mount in self.mounts:
            _write(f"{mount}/{group}/cgroup.procs", pid)
        if self.systemd and os.path.exists(f"{self.systemd}/{group}"):
            _write(f"{self.systemd}/{group}/cgroup.procs", pid)

    def doors(self, group: str) -> list[int]:
        """Descriptors that a pid is written to, to have it join."""
        return [_open_door(f"{mount}/{group}") for mount in self.mounts]

    def pids(self, group: str) -> list[int]:
        return _pids(f"{self.killer}/{group}")

    def kill(self, group: str) -> None:
        _kill(f"{self.killer}/{group}")

    def oom_kills(self, group: str) -> int:
        return _field(f"{self.memory}/{group}/memory.oom_control", "oom_kill")

    def usage(self, group: str) -> tuple[float, int, int]:
        """CPU seconds so far, bytes of memory now, processes now."""
        if self.unified:
            cpu = _field(f"{self.unified}/{group}/cpu.stat", "usage_usec") / 1e6
        else:
            cpu = _number(f"{self.accounting}/{group}/cpuacct.usage") / 1e9
        memory = _number(f"{self.memory}/{group}/memory.usage_in_bytes")
        return cpu, memory, _number(f"{self.pids_mount}/{group}/pids.current")

    def remove(self, group: str) -> bool:
        """Whether it is gone; a group with dying processes in it is not, ask again."""
        gone = [_rmdir(f"{mount}/{group}") for mount in (*self.mounts, self.systemd) if mount]
        return all(gone)

    def children(self, group: str) -> list[str]:
        return sorted({name for mount in self.mounts for name in _children(f"{mount}/{group}")})


def weight(shares: int) -> int:
    """v1 shares (2..262144, default 1024) as v2 weight (1..10000), as runc and crun convert them."""
    return 1 + ((shares - 2) * 9999) // 262142


def _open_door(path: str) -> int:
    return os.open(f"{path}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)


def _enable(path: str) -> None:
    """Let children be limited; a group whose parent already allows it is left alone."""
    available = _read(f"{path}/cgroup.controllers").split()
    enabled = _read(f"{path}/cgroup.subtree_control").split()
    missing = [f"+{name}" for name in ("cpu", "memory", "pids") if name in available and name not in enabled]
    if missing:
        _write(f"{path}/cgroup.subtree_control", " ".join(missing))


def _kill(path: str) -> None:
    """Every process in the group and below, also those being born."""
    if os.path.exists(f"{path}/cgroup.kill"):
        _write(f"{path}/cgroup.kill", "1")
        return
    for child in _children(path):
        _kill(f"{path}/{child}")
    for _ in range(100):  # a fork bomb is behind its pids limit; a hundred rounds are plenty
        pids = _pids(path)
        if not pids:
            return
        for pid in pids:
            try:
                os.kill(pid, 9)  # SIGKILL; the module signal would pull in enum
            except ProcessLookupError:
                continue


def _mkdir(path: str) -> None:
    try:
        os.mkdir(path)
    except FileExistsError:
        return


def _makedirs(mount: str, group: str) -> None:
    path = mount
    for part in group.split("/"):
        path = f"{path}/{part}"
        _mkdir(path)


def _rmdir(path: str) -> bool:
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in {errno.EBUSY, errno.ENOTEMPTY}:
            return False
        raise
    return True


def _children(path: str) -> list[str]:
    try:
        return [entry.name for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def _pids(path: str) -> list[int]:
    return [int(line) for line in _read(f"{path}/cgroup.procs").split()]


def _field(path: str, name: str) -> int:
    for line in _read(path).splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0


def _number(path: str) -> int:
    return int(_read(path) or 0)


def _read(path: str) -> str:
    """The content, or nothing: a group that is gone has no processes and uses nothing."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    try:
        return os.read(fd, 65536).decode()
    except OSError:  # ENODEV: removed between open and read
        return ""
    finally:
        os.close(fd)


def _write(path: str, value: "int | str") -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, str(value).encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        os.close(fd)
