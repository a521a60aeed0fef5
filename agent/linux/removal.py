"""A directory with all that is in it removed, however deep strangers nested it; no link in it is followed."""

import contextlib
import os
import uuid

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DEPTH = 100
"""What lies deeper is moved up first: neither descriptors nor the stack may run out."""


def tree(path: str | os.PathLike[str], *, ignore_errors: bool = False) -> None:
    """It may be gone already, or be removed by somebody else meanwhile. Raises OSError for what cannot go."""
    try:
        _tree(os.fspath(path))
    except OSError:
        if not ignore_errors:
            raise


def _tree(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        top = os.open(path, _DIRECTORY)
        try:
            while _empty(top, top, _DEPTH):
                pass
        finally:
            os.close(top)
        os.rmdir(path)


def _empty(directory: int, top: int, depth: int) -> bool:
    """Whether something was moved up, so that there is more to do."""
    moved = False
    for name, is_directory in _members(directory):
        with contextlib.suppress(FileNotFoundError):
            if not is_directory:
                os.unlink(name, dir_fd=directory)
            elif depth:
                moved |= _empty_below(directory, name, top, depth - 1)
                os.rmdir(name, dir_fd=directory)
            else:
                os.rename(name, f".{uuid.uuid4().hex}", src_dir_fd=directory, dst_dir_fd=top)
                moved = True
    return moved


def _empty_below(directory: int, name: str, top: int, depth: int) -> bool:
    inner = os.open(name, _DIRECTORY, dir_fd=directory)
    try:
        return _empty(inner, top, depth)
    finally:
        os.close(inner)


def _members(directory: int) -> list[tuple[str, bool]]:
    with os.scandir(directory) as found:
        return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
