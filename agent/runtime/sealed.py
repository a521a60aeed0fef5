"""The interpreter as a file that nobody can write: what runs as the shim, and is forked into containers.

A process that is on its way into a container shows its program there as /proc/PID/exe. An image whose
program is a script for "#!/proc/self/exe" makes the kernel execute that file once more, as a process of the
container that may open it (CVE-2019-5736). So it is no file of the host: it is seen through a read-only
overlay that is mounted nowhere, so that nobody can mount it again otherwise. Its pages are those of the
host's file: it costs no memory.
"""

import fcntl
import os

from agent.linux import constants as c
from agent.linux import syscalls

_F_ADD_SEALS = 1033
_ALL_SEALS = 0xF


def interpreter(path: str) -> int:
    """A descriptor to execute in place of the interpreter at this path; yours to close."""
    path = os.path.realpath(path)
    try:
        return _through_overlay(path)
    except OSError:  # its directory lies where no overlay can be put over it
        return _copied(path)


def is_sealed() -> bool:
    """Whether the program of this very process cannot be written by anybody."""
    fd = os.open("/proc/self/exe", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.fstatvfs(fd).f_flag & os.ST_RDONLY:
            return True
        return _seals(fd) == _ALL_SEALS
    finally:
        os.close(fd)


def _through_overlay(path: str) -> int:
    directory, name = os.path.split(path)
    empty = f"/run/orch-empty-{os.getpid()}"  # an overlay of nothing but lower layers needs two
    os.mkdir(empty, 0o700)
    try:
        context = syscalls.fsopen("overlay")
        try:
            layers = ":".join(part.replace("\\", "\\\\").replace(":", "\\:") for part in (directory, empty))
            syscalls.fsconfig(context, c.FSCONFIG_SET_STRING, "lowerdir", layers)
            syscalls.fsconfig(context, c.FSCONFIG_CMD_CREATE)
            mount = syscalls.fsmount(context, c.MOUNT_ATTR_RDONLY | c.MOUNT_ATTR_NODEV)
        finally:
            os.close(context)
    finally:
        os.rmdir(empty)
    try:
        return os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=mount)
    finally:
        os.close(mount)


def _copied(path: str) -> int:
    copy = os.memfd_create("orch-python", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        while size and (sent := os.sendfile(copy, file.fileno(), None, size)):
            size -= sent
    fcntl.fcntl(copy, _F_ADD_SEALS, _ALL_SEALS)
    return copy


def _seals(fd: int) -> int:
    try:
        return fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError:
        return 0
