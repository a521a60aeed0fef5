"""The state directory: one directory for each container, claimed by mkdir, its record replaced by rename.

`state.json` is for people and for us; `process` holds what a second process needs, with a compiled seccomp
filter in it, so that `exec` compiles nothing; `gate` is the socket at which the created container waits.
"""

import marshal
import os

from agent.orchrun import jsontext
from agent.orchrun.errors import Failed, NoContainer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Record = dict[str, Any]
    Plan = dict[str, Any]

_ALLOWED = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-.")
_LONGEST_ID = 200
"""A directory is named like it, with room for the names of what lies beside."""
GATE = "gate"
FILTERS = "seccomp~"
"""Beside the containers: compiled filters. No container can have this name."""


class Store:
    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)

    def path(self, container: str) -> str:
        return f"{self.root}/{container}"

    def claim(self, container: str) -> str:
        """Make the directory; a second container of that name fails here, whoever comes second."""
        check(container)
        os.makedirs(self.root, 0o700, exist_ok=True)
        path = self.path(container)
        try:
            os.mkdir(path, 0o711)
        except FileExistsError:
            raise _taken(container) from None
        return path

    def write(self, record: "Record") -> None:
        self._replace(record["id"], "state.json", jsontext.dumps(record).encode())

    def write_process(self, container: str, process: "Plan") -> None:
        self._replace(container, "process", marshal.dumps(process, 4))

    def read(self, container: str) -> "Record":
        """NoContainer also for a name that was claimed and whose start was cut short."""
        check(container)
        path = f"{self.path(container)}/state.json"
        if not os.path.exists(path):
            raise NoContainer
        try:
            record: Record = jsontext.load(path)
        except Failed:
            if not os.path.exists(path):  # deleted since we looked
                raise NoContainer from None
            raise
        return record

    def process(self, container: str) -> "Plan":
        with open(f"{self.path(container)}/process", "rb", buffering=0) as file:
            plan: Plan = marshal.loads(file.read())
        return plan

    def names(self) -> list[str]:
        try:
            return sorted(name for name in os.listdir(self.root) if set(name) <= _ALLOWED)
        except FileNotFoundError:
            return []

    def refuse_if_claimed(self, container: str) -> None:
        check(container)
        if self.is_claimed(container):
            raise _taken(container)

    def is_claimed(self, container: str) -> bool:
        return os.path.isdir(self.path(container))

    def forget(self, container: str) -> None:
        path = self.path(container)
        try:
            for name in os.listdir(path):
                entry = f"{path}/{name}"
                if os.path.isdir(entry) and not os.path.islink(entry):
                    os.rmdir(entry)
                else:
                    os.unlink(entry)
            os.rmdir(path)
        except FileNotFoundError:
            return

    def _replace(self, container: str, name: str, content: bytes) -> None:
        path = f"{self.path(container)}/{name}"
        fd = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, content)
        finally:
            os.close(fd)
        os.rename(f"{path}.new", path)


def _taken(container: str) -> Failed:
    return Failed(f"container with given ID already exists: {container}")


def check(container: str) -> None:
    """Names become directories and cgroups, so they are what runc allows."""
    if not container:
        raise Failed("container id cannot be empty")
    if not set(container) <= _ALLOWED or container in {".", ".."}:
        raise Failed(f"invalid container ID format: {container!r}; use letters, digits and _ + - .")
    if len(container) > _LONGEST_ID:
        raise Failed(f"invalid container ID format: {len(container)} characters, at most {_LONGEST_ID}")
