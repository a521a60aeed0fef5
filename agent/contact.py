"""When the control plane was last heard, kept over a restart of the agent, not over one of the machine."""

import os
from pathlib import Path

NOTE_EVERY_SECONDS = 0.5


class Contact:
    def __init__(self, run_dir: Path, boot_id: str) -> None:
        self._path = run_dir / "contact"
        self._boot_id = boot_id
        self._noted = 0.0

    def last(self) -> float | None:
        """None: never since this machine began."""
        try:
            boot_id, at = self._path.read_text(encoding="ascii").split()
            return float(at) if boot_id == self._boot_id else None
        except (OSError, ValueError):
            return None

    def note(self, at: float) -> None:
        """Written in place: half a line reads as none."""
        if at - self._noted < NOTE_EVERY_SECONDS:
            return
        self._noted = at
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(fd, f"{self._boot_id} {at:017.3f}".encode(), 0)
        finally:
            os.close(fd)
