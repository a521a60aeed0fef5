"""What a starting process says to the shim, and how its failures become sentences.

The words on the socket pair: the child says step and message when it fails, or hands over its terminal;
the shim says GO; the child says READY just before it executes the payload, and then its end closes by itself.
An end that closes without READY is a process that was killed on its way.
"""

import errno
import os

GO = b"go"
READY = {"ready": True}

_MEANING = {
    errno.ENOENT: "no such file or directory",
    errno.EACCES: "permission denied",
    errno.EPERM: "the kernel does not permit it",
    errno.ENOEXEC: "not a program for this machine (wrong architecture, or a script without #!)",
    errno.ENOTDIR: "a part of the path is not a directory",
    errno.ELOOP: "too many symbolic links",
    errno.ENOSPC: "no space left",
    errno.ENODEV: "the kernel does not know this file system",
    errno.ETXTBSY: "the file is being written",
}


class StepFailed(Exception):
    """A step of a start that failed, as a sentence for people."""

    def __init__(self, step: str, message: str) -> None:
        super().__init__(step, message)
        self.step = step
        self.message = message


def failed(step: str, what: str, error: OSError, hint: str = "") -> StepFailed:
    """What was tried, on what, why it failed, and what to do."""
    number = error.errno or 0
    why = _MEANING.get(number) or os.strerror(number)
    return StepFailed(step, f"{what}: {why}" + (f"; {hint}" if hint else ""))
