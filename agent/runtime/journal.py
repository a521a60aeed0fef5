"""What the shim must remember to find its containers again: one small file each, replaced by rename.

It lies in the run directory, which a reboot empties. A process of ours may be killed at any moment and the
page cache keeps what it wrote; nothing here outlives the machine, so nothing waits for a disk.
"""

import marshal
import os

from agent.linux import whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Entry = dict[str, Any]

STARTING = "starting"
RUNNING = "running"
EXITED = "exited"


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
        return file.read().strip()


def start_time(pid: int) -> int:
    """Clock ticks since boot at which a process began; 0 when there is none. With the pid, its identity."""
    fields = stat_fields(pid)
    return int(fields[19]) if fields else 0


def stat_fields(pid: int) -> list[str]:
    """/proc/PID/stat from its third field (state) on."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):
        return []
    try:
        raw = os.read(fd, 4096).decode("utf-8", "replace")
    except ProcessLookupError:
        return []
    finally:
        os.close(fd)
    return raw[raw.rindex(")") + 2 :].split()


class Journal:
    """A directory for each container: its entry, and the FIFOs that its output goes through."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        os.makedirs(directory, 0o700, exist_ok=True)

    def path(self, container: str) -> str:
        return f"{self.directory}/{container}"

    def write(self, entry: "Entry") -> None:
        path = f"{self.path(entry['container'])}/entry"
        whole.put(path, f"{path}.new", marshal.dumps(entry, 4), 0o600)

    def read(self, container: str) -> "Entry | None":
        """None for a directory whose start was cut short before anything was made."""
        try:
            with open(f"{self.path(container)}/entry", "rb", buffering=0) as file:
                entry: Entry = marshal.loads(file.read())
        except (FileNotFoundError, EOFError, ValueError, TypeError):
            return None
        return entry

    def names(self) -> list[str]:
        return sorted(os.listdir(self.directory))

    def forget(self, container: str) -> None:
        path = self.path(container)
        for name in ("stdin", "stdout", "stderr", "entry.new", "entry"):
            try:
                os.unlink(f"{path}/{name}")
            except FileNotFoundError:
                continue
        try:
            os.rmdir(path)
        except FileNotFoundError:
            return
