"""New user and network namespaces without a fork: a child holds them for the moment that it takes to open them.

Helper processes that live in a few megabytes import this.
"""

import os

from agent.linux import constants as c
from agent.linux import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Ranges = Sequence[Sequence[int]]


class Holder:
    """A user namespace with its ids mapped, and beside it, where asked, a network namespace that it owns."""

    def __init__(self, uid: "Ranges", gid: "Ranges", *, network: bool = False) -> None:
        """Rows of ids are [inside, outside, count]."""
        self._pid = syscalls.holding_child(c.CLONE_NEWUSER | (c.CLONE_NEWNET if network else 0))
        try:
            self._map("uid_map", uid)
            self._map("gid_map", gid)
        except BaseException:
            self.close()
            raise

    def path(self, kind: str) -> str:
        """The file of the "user" or "net" namespace, good until `close`."""
        return f"/proc/{self._pid}/ns/{kind}"

    def open(self, kind: str) -> int:
        """A descriptor that keeps the namespace, whatever becomes of the child."""
        return os.open(self.path(kind), os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """Ends the child; what nobody has opened or mounted is gone with it."""
        syscalls.end_holding_child(self._pid)

    def _map(self, name: str, ranges: "Ranges") -> None:
        path = f"/proc/{self._pid}/{name}"
        text = "".join(f"{inside} {outside} {count}\n" for inside, outside, count in ranges)
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        except OSError as error:
            raise OSError(error.errno, error.strerror, f"map the ids {text.strip()}") from None
        finally:
            os.close(fd)
