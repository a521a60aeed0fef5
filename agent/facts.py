"""What this machine is and has, and what is wrong with it."""

import contextlib
import os
import platform
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

from agent.images.images import this_platform
from agent.settings import Settings
from orch.model.node import Facts

ALMOST_FULL = 0.95
"""Of a file system's space or of its files, beyond which the node says so."""
CAPABILITIES = ("logs", "exec", "configs", "secrets", "probes", "initContainers")


def gather(settings: Settings, address: str) -> Facts:
    """`cpu` and `memory` of the settings stand for the machine's own where they are given."""
    return Facts(
        hostname=socket.gethostname(),
        address=address,
        architecture=this_platform().architecture,
        kernel=platform.release(),
        cpu=cpu_of_machine(settings.cpu),
        memory=settings.memory or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        version=version(),
        capabilities=CAPABILITIES,
        boot_id=boot_id(),
        http_port=settings.http_port,
        https_port=settings.https_port,
    )


def cpu_of_machine(given: int) -> int:
    """Thousandths of a core, unless something else was given."""
    return given or len(os.sched_getaffinity(0)) * 1000


def address(given: str, control_planes: Sequence[str]) -> str:
    """Where other nodes reach this one: as given, or as it reaches a control plane itself; empty where it does not."""
    if given:
        return given
    with contextlib.suppress(OSError, IndexError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        host, _, port = control_planes[0].rpartition(":")
        probe.connect((host, int(port)))
        return str(probe.getsockname()[0])
    return ""


def boot_id() -> str:
    """Another one after every start of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def version() -> str:
    """Of the installed distribution."""
    from importlib import metadata

    try:
        return metadata.version("orch")
    except metadata.PackageNotFoundError:
        return "0"


def problems(state_dir: Path) -> list[str]:
    """Sentences; none when all is well."""
    found = []
    usage = shutil.disk_usage(state_dir)
    if usage.used > usage.total * ALMOST_FULL:
        free = usage.free >> 20
        found.append(f"disk almost full: {free} MiB free on the file system of {state_dir}: free some space")
    files = os.statvfs(state_dir)
    if files.f_files and files.f_ffree < files.f_files * (1 - ALMOST_FULL):
        found.append(
            f"disk almost full: {files.f_ffree} files can still be made on the file system of {state_dir}"
        )
    return found
