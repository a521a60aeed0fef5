"""Kernel settings of a container's own namespaces.

Written through the host's /proc, held open from before the container's root: what an image or a volume puts
at /proc/sys can take no part in it (CVE-2025-52881). Whose setting it is, the namespaces of the writer say.
"""

import os

from agent.runtime import handshake


def apply(settings: "list[list[str]]", proc: int) -> None:
    for path, value in settings:
        try:
            fd = os.open(f"sys/{path}", os.O_WRONLY | os.O_CLOEXEC, dir_fd=proc)
            try:
                os.write(fd, value.encode())
            finally:
                os.close(fd)
        except OSError as error:
            what = f"set /proc/sys/{path} to {value}"
            raise handshake.failed("sysctl", what, error, "this kernel may not have it") from None
