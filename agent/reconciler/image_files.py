"""Small files of an image, read from its layers without ever leaving them: the layers are a stranger's."""

import functools
import os
import stat

from agent.linux import constants as c
from agent.linux import syscalls

LARGEST_FILE_BYTES = 1 << 20


@functools.lru_cache(maxsize=32)
def read(layers: tuple[str, ...], path: str) -> str:
    """The file as the container will see it; empty when there is none. `layers` are lowest first."""
    for layer in reversed(layers):
        found = _read_in(layer, path.lstrip("/"))
        if found is not None:
            return found
    return ""


def _read_in(layer: str, path: str) -> str | None:
    """None: look in the layer below. Links are followed inside this layer only."""
    directory = os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd = syscalls.openat2(
            directory, path, os.O_RDONLY | os.O_NONBLOCK, c.RESOLVE_IN_ROOT | c.RESOLVE_NO_MAGICLINKS
        )
    except OSError:
        return "" if _is_whiteout(directory, path) else None
    finally:
        os.close(directory)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return ""
        return os.read(fd, LARGEST_FILE_BYTES).decode(errors="replace")
    finally:
        os.close(fd)


def _is_whiteout(directory: int, path: str) -> bool:
    """A character device 0:0 hides what lies below."""
    try:
        found = os.stat(path, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return False
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0
