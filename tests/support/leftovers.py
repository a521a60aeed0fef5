"""What a test left on the machine: processes, mounts and cgroups, known by the test's own directory and names."""

import contextlib
import os
import select
import signal
import subprocess
from pathlib import Path

from cli.dev import sweep

GONE_WITHIN_SECONDS = 10


def processes(directory: Path) -> dict[int, str]:
    """Those with something of the directory on their command lines."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = entry.read_bytes().decode(errors="replace").split("\0")
            if int(entry.parent.name) != os.getpid() and any(_is_below(word, directory) for word in words):
                found[int(entry.parent.name)] = " ".join(words)[:300]
    return found


def mounts(directory: Path) -> list[str]:
    """Those at or below the directory, the deepest last."""
    points = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return sorted(point for point in points if _is_below(point, directory))


def take_away(directory: Path, cgroup: str = "") -> list[str]:
    """All of it ends here; what there was, in words."""
    found = [f"process {pid}: {words}" for pid, words in processes(directory).items()]
    for pid in processes(directory):
        _kill(pid)
    if cgroup:
        found += [f"process {pid} in cgroup {cgroup}" for pid in sweep.payloads(cgroup)]
        sweep.kill_payloads(cgroup)
        sweep.remove_cgroups(cgroup)
    for point in reversed(mounts(directory)):
        found.append(f"mount {point}")
        subprocess.run(["umount", "--lazy", point], check=False, capture_output=True)
    return found


def _is_below(word: str, directory: Path) -> bool:
    return word == str(directory) or word.startswith(f"{directory}/")


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        process = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(process, signal.SIGKILL)
            select.select([process], [], [], GONE_WITHIN_SECONDS)
        finally:
            os.close(process)
