"""The file in which the agent keeps the lines of all services: read whole, then only on from where it ended.

The agent replaces it now and then, and otherwise only appends; a later line about a service replaces an earlier one.
"""

import os
import sys

from agent.network.dns.table import Table

STEP_BYTES = 64 * 1024
"""What is read in one go: a few milliseconds, in which nobody is answered."""


class Memory:
    """A file that is read to its end, and again when more has been appended."""

    def __init__(self, path: str, table: Table) -> None:
        """An absent file is an empty one."""
        self.table = table
        self._half = b""
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            self._file = -1

    def step(self) -> bool:
        """Read a little; whether that was all. A last line that is cut off waits for the rest of it."""
        data = os.read(self._file, STEP_BYTES) if self._file >= 0 else b""
        if not data:
            self.table.settle()
            return True
        *lines, self._half = (self._half + data).split(b"\n")
        for line in lines:
            try:
                self.table.put(line)
            except (ValueError, TypeError, IndexError) as error:
                sys.stderr.write(f"orch-dns: a line of its file makes no sense: {line[:80]!r}: {error}\n")
        return False

    def close(self) -> None:
        """Idempotent."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
