"""What a command's mounts leave in its layer: places they were mounted on, which nobody put there."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from agent.linux import constants as c
from agent.linux import syscalls


def forget(upper: Path, layers: Sequence[str], targets: Sequence[str]) -> None:
    """Empty files and directories that are only there because something was mounted on them."""
    root = os.open(upper, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for target in sorted(targets, key=len, reverse=True):
            path = Path(target.lstrip("/"))
            while path.parts and not _is_below(layers, path) and _remove_empty(root, path):
                path = path.parent
    finally:
        os.close(root)


def _remove_empty(root: int, path: Path) -> bool:
    """Whether an empty file or directory was there. The command may have put a link on the way: none is followed."""
    try:
        how = c.RESOLVE_BENEATH | c.RESOLVE_NO_SYMLINKS
        above = syscalls.openat2(root, str(path.parent), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, how)
    except OSError:
        return False
    try:
        about = os.lstat(path.name, dir_fd=above)
        if stat.S_ISDIR(about.st_mode):
            os.rmdir(path.name, dir_fd=above)
        elif stat.S_ISREG(about.st_mode) and about.st_size == 0:
            os.unlink(path.name, dir_fd=above)
        else:
            return False
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(above)


def _is_below(layers: Sequence[str], path: Path) -> bool:
    """Whether the image had it before."""
    for layer in layers:
        directory = os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            how = c.RESOLVE_IN_ROOT | c.RESOLVE_NO_MAGICLINKS
            os.close(syscalls.openat2(directory, str(path), os.O_PATH | os.O_NOFOLLOW, how))
        except OSError:
            continue
        else:
            return True
        finally:
            os.close(directory)
    return False
