"""A file that is there whole or not at all, whatever is killed meanwhile. Not synced: for what a reboot makes void.

Helper processes that live in a few megabytes import this, and starts wait for it: plain calls.
"""

import errno
import os


def put(path: str, half: str, raw: bytes, mode: int) -> None:
    """Written at `half` beside it, then renamed. OSError leaves what stood at `path`, and maybe the half one."""
    fd = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        if os.write(fd, raw) < len(raw):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
    finally:
        os.close(fd)
    os.rename(half, path)
