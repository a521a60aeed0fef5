"""What a starting process says to the shim, and how its failures become sentences.

The words on the socket pair, in their order:

    parent  GO        pid and start time are written down, without which there is no container, and limits are set;
                      beside it come descriptors of its groups, the doors by which the child goes in
    child   RUNTIME   (only with hooks prestart or createRuntime) namespaces and root are there: run them
    parent  HOOKED    they have succeeded
    child   terminal  (only with one, and no console socket) its master, beside the packet
    child   CREATED   (only with a gate) all is done up to exec; from here on the gate is where it speaks
    child   READY     just before it executes the payload; then its end closes by itself

Instead of any of its words the child may say the step and message of a failure. An end that closes without
READY or CREATED is a process that was killed on its way.
"""

import errno
import os

GO = b"go"
HOOKED = b"hooked"
RUNTIME = {"runtime": True}
CREATED = {"created": True}
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
