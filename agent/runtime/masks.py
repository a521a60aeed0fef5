"""Masked and read-only paths, put on what they mean by descriptor.

Below /proc and /sys they are looked up from the very mounts that were made there, not by a path from the
root: whatever moves in between, the kernel's own files are the ones that get covered (CVE-2025-31133).
"""

import os

from agent.linux import constants as c
from agent.linux import syscalls
from agent.runtime import binds, filesystems, handshake, inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_STAY = c.RESOLVE_BENEATH | c.RESOLVE_NO_SYMLINKS | c.RESOLVE_NO_MAGICLINKS
_EMPTY = c.MOUNT_ATTR_RDONLY | c.MOUNT_ATTR_NOSUID | c.MOUNT_ATTR_NODEV | c.MOUNT_ATTR_NOEXEC


class Places:
    """Finds a path: from the mount of /proc or /sys where it lies below one, else inside the root."""

    def __init__(self, root: "inside.Inside", mounted: dict[str, int]) -> None:
        """`mounted`: where file systems of the kernel's own were mounted, and their roots."""
        self.root = root
        self.mounted = mounted

    def find(self, path: str) -> int:
        for place, fd in self.mounted.items():
            if path.startswith(f"{place}/"):
                return syscalls.openat2(fd, path.removeprefix(f"{place}/"), os.O_PATH, _STAY)
        return self.root.find(path)


def make_readonly(places: Places, paths: "Sequence[str]") -> None:
    for path in paths:
        try:
            target = places.find(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise handshake.failed("mounts", f"find {path} to make it read-only", error) from None
        try:
            copy = binds.copy_of(target, recursive=True)
            syscalls.mount_setattr(copy, c.MOUNT_ATTR_RDONLY, recursive=True)
            syscalls.move_mount_on(copy, target)
            os.close(copy)
        except OSError as error:
            raise handshake.failed("mounts", f"make {path} read-only", error) from None
        finally:
            os.close(target)


def mask(places: Places, paths: "Sequence[str]", null: int) -> None:
    """A file becomes /dev/null (which is attached by now, and so can be copied), a directory an empty one."""
    empty = -1
    for path in paths:
        try:
            target = places.find(path)
        except (FileNotFoundError, NotADirectoryError):
            continue  # what is not there needs no mask
        except OSError as error:
            raise handshake.failed("mounts", f"find {path} to mask it", error) from None
        try:
            if not inside.is_directory(target):
                cover = binds.copy_of(null)
            elif empty < 0:
                cover = empty = filesystems.make("tmpfs", ["size=0k", "mode=0555"], _EMPTY)
            else:
                cover = binds.copy_of(empty)
            syscalls.move_mount_on(cover, target)
            if cover != empty:
                os.close(cover)
        except OSError as error:
            raise handshake.failed("mounts", f"mask {path}", error) from None
        finally:
            os.close(target)
    if empty >= 0:
        os.close(empty)
