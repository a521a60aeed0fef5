"""A machine with a disk of its own and systemd: started, talked to by a root shell on its serial line, and ended.

Emulated in software. What is written to the disk lasts as long as the machine, over its reboots too.
"""

import base64
import select
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from deploy.vm import supplies

BOOT_WITHIN_SECONDS = 300.0
WITHIN_SECONDS = 120.0
MEGABYTES = 1024
_HERE = Path(__file__).resolve().parent


class MachineFailed(Exception):
    """What it was asked, and what became of it."""


@dataclass(slots=True)
class Machine:
    """Use it as a context."""

    name: str
    disk: Path
    scratch: Path
    cargo: Path | None = None
    """A file that the machine sees as its second disk, /dev/vdb."""
    network: tuple[str, ...] = ()
    """Of QEMU."""
    words: tuple[str, ...] = ()
    """More for the kernel's command line."""
    _qemu: subprocess.Popen[bytes] | None = None
    _line: socket.socket | None = None
    _heard: bytearray = field(default_factory=bytearray)

    @property
    def console(self) -> Path:
        """All that kernel and systemd said."""
        return self.scratch / f"{self.name}.console"

    def __enter__(self) -> Self:
        initramfs = self.scratch / f"{self.name}.initramfs"
        supplies.pack(initramfs, {"init": _HERE / "systemd-boot.sh"})
        ours, theirs = socket.socketpair()
        with theirs:
            self._qemu = subprocess.Popen(
                self._command(initramfs, theirs.fileno()),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        self._line = ours
        self.wait_for_shell()
        self.run(f"hostnamectl hostname {self.name} || hostname {self.name}")
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """As when its power fails."""
        if self._qemu:
            self._qemu.kill()
            self._qemu.wait()
        if self._line:
            self._line.close()

    def wait_for_shell(self) -> None:
        """Until it has booted so far that it takes commands."""
        while self._read_line(BOOT_WITHIN_SECONDS, "to boot") != b"ready":
            pass

    def ask(self, command: str, within_seconds: float = WITHIN_SECONDS) -> tuple[int, str]:
        """The exit code of a bash script, and what it printed."""
        assert self._line
        self._line.sendall(base64.b64encode(command.encode()) + b"\n")
        code, _, said = self._read_line(within_seconds, command).partition(b" ")
        return int(code), base64.b64decode(said).decode(errors="replace")

    def run(self, command: str, within_seconds: float = WITHIN_SECONDS) -> str:
        """What it printed. Raises MachineFailed when it failed."""
        code, said = self.ask(command, within_seconds)
        if code:
            raise MachineFailed(f"{self.name}$ {command}\n{said}(exit code {code})")
        return said.strip()

    def put(self, path: str, content: str, mode: str = "0644") -> None:
        """Write a small file."""
        self.run(f"install -D -m {mode} /dev/stdin {path} <<'END OF FILE'\n{content}\nEND OF FILE")

    def until(self, command: str, within_seconds: float = WITHIN_SECONDS) -> str:
        """What it printed when it succeeded at last; it is tried again and again inside the machine."""
        loop = f'said() {{\n{command}\n}}\nuntil out=$(said 2>&1); do sleep 0.3; done; echo "$out"'
        code, said = self.ask(
            f"timeout {within_seconds:.0f} bash <<'LOOP'\n{loop}\nLOOP", within_seconds + 30
        )
        if code:
            raise MachineFailed(
                f"{self.name}: not within {within_seconds:.0f} s: {command}\n{self.ask(command)[1]}"
            )
        return said.strip()

    def reboot(self) -> None:
        """Orderly, as `systemctl reboot` does it; returns when it takes commands again."""
        assert self._line
        self._line.sendall(base64.b64encode(b"systemctl reboot") + b"\n")
        self.wait_for_shell()

    def _command(self, initramfs: Path, line: int) -> list[str]:
        words = "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on systemd.show_status=false"
        words = " ".join((words, *self.words))
        drives = [f"file={self.disk},format=raw,if=virtio,snapshot=on"]
        drives += [f"file={self.cargo},format=raw,if=virtio,readonly=on"] if self.cargo else []
        return [
            *("setpriv", "--pdeathsig", "KILL", supplies.PROGRAM, "-name", self.name),
            *("-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", str(MEGABYTES)),
            *("-nodefaults", "-no-user-config", "-display", "none", "-object", "rng-random,id=rng"),
            *("-device", "virtio-rng-pci,rng=rng", "-serial", f"file:{self.console}"),
            *("-chardev", f"socket,id=line,fd={line}", "-serial", "chardev:line"),
            *("-kernel", str(supplies.CACHE / "kernel" / "vmlinuz"), "-initrd", str(initramfs)),
            *("-append", words, *self.network),
            *(word for drive in drives for word in ("-drive", drive)),
        ]

    def _read_line(self, within_seconds: float, what: str) -> bytes:
        assert self._line
        deadline = time.monotonic() + within_seconds
        while b"\n" not in self._heard:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._line], [], [], left)[0]:
                raise MachineFailed(f"{self.name} took longer than {within_seconds:.0f} s: {what}")
            heard = self._line.recv(65536)
            if not heard:
                raise MachineFailed(f"{self.name} ended: {what}\n{self._last_words()}")
            self._heard += heard
        line, _, rest = bytes(self._heard).partition(b"\n")
        self._heard[:] = rest
        return line.strip()

    def _last_words(self) -> str:
        with self.console.open("rb") as said:
            said.seek(max(0, self.console.stat().st_size - 2000))
            return said.read().decode(errors="replace")
