"""One call of the program: what the options before the command said, and what every command needs."""

import os

from agent.orchrun import state
from agent.orchrun.errors import Failed, Misused
from agent.orchrun.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from agent.orchrun.log import Log
    from agent.orchrun.options import Options
    from agent.orchrun.store import Record
    from agent.runtime.cgroup import Cgroups

GLOBAL = {
    "root": "text",
    "log": "text",
    "log-format": "text",
    "debug": "flag",
    "cgroup-manager": "text",
    "systemd-cgroup": "flag",
    "rootless": "text",
    "criu": "text",
    "version,v": "flag",
    "help,h": "flag",
}
_MANAGERS = {"cgroupfs", "systemd", "disabled"}


class Call:
    """The world of one command; the cgroups are looked at when somebody asks."""

    __slots__ = ("_cgroups", "arguments", "log", "manager", "options", "root", "store", "verb")

    def __init__(self, given: "Options", log: "Log", verb: str) -> None:
        self.log = log
        self.verb = verb
        self.root = given.text("root") or default_root()
        self.store = Store(self.root)
        self.manager = given.text("cgroup-manager") or "cgroupfs"
        if self.manager not in _MANAGERS:
            raise Misused(f"--cgroup-manager {self.manager}: use cgroupfs, systemd or disabled")
        if given.flag("systemd-cgroup"):
            self.manager = "systemd"
        self.options: Options
        self.arguments: list[str] = []
        self._cgroups: Cgroups | None = None

    @property
    def cgroups(self) -> "Cgroups":
        if self._cgroups is None:
            from agent.runtime import cgroup  # with it comes ctypes, which takes as long as all the rest

            self._cgroups = cgroup.detect()
        return self._cgroups

    def container(self) -> str:
        """The only argument."""
        self.expect(1, 1)
        return self.arguments[0]

    def expect(self, least: int, most: int | None) -> None:
        count = len(self.arguments)
        if count < least or (most is not None and count > most):
            wanted = f"exactly {least}" if least == most else f"at least {least}"
            raise Misused(f'orchrun: "{self.verb}" requires {wanted} argument(s)')

    def record(self, container: str) -> "Record":
        return self.store.read(container)

    def status(self, record: "Record") -> str:
        return state.status(self, record)


def default_root() -> str:
    if os.geteuid() == 0:
        return "/run/orchrun"
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        return f"{runtime}/orchrun"
    raise Failed("orchrun needs root: it makes namespaces, mounts and cgroups; run it as root")
