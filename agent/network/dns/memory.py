"""The file in which the agent keeps the lines of all services: read whole, then only on from where it ended.

The agent replaces it now and then, and otherwise only appends; a later line about a service replaces an earlier one.
"""

import os
import sys

from agent.network.dns import entry
from agent.network.dns.table import Table

STEP_BYTES = 32 * 1024
"""What is read in one go: a few milliseconds, in which nobody is answered."""


class Memory:
    """A file, and the table that holds what is in it."""

    def __init__(self, path: str, table: Table) -> None:
        """An absent file is an empty one. Read it by `step`."""
        self.table = table
        self._path = path
        self._file = -1
        self._half = b""
        self._unseen: set[str] | None = None
        self.begin_anew()

    def begin_anew(self) -> None:
        """The file has been replaced: what is in the table and not in it is gone when it was read to its end."""
        if self._file >= 0:
            os.close(self._file)
        self._half = b""
        self._unseen = self.table.names()
        try:
            self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            self._file = -1

    def step(self) -> bool:
        """Read a little; whether that was all. A last line that is cut off waits for the rest of it."""
        data = os.read(self._file, STEP_BYTES) if self._file >= 0 else b""
        if not data:
            for name in self._unseen or ():
                self.table.put(name.encode("ascii"))
            self._unseen = None
            return True
        *lines, self._half = (self._half + data).split(b"\n")
        for line in lines:
            try:
                self.table.put(line)
                if self._unseen:
                    self._unseen.discard(entry.split(line)[0])
            except (ValueError, TypeError, IndexError) as error:
                sys.stderr.write(f"orch-dns: a line of its file makes no sense: {line[:80]!r}: {error}\n")
        return False
