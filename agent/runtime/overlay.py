"""The root of a container: an overlay of its image's layers, or a plain directory.

With a user namespace the layers are seen through a mount that maps their owners, one for each directory that
holds layers: usually a single one, whatever their number. The container's own directory is not mapped (the
kernel would have to make its work directory as somebody whom the mapping does not know), so its files lie on
the disk under the ids that the host knows, which nobody minds: they go when the container goes.
"""

import errno
import os

from agent.linux import constants as c
from agent.linux import syscalls
from agent.runtime import binds, handshake

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Plan = dict[str, Any]

_MOST_OPTIONS_BYTES = 4000  # mount(2) takes one page of options
_FDS = "/proc/self/fd"


def mount(plan: "Plan", place: str, upper: str, users: int) -> str:
    """Where the root is now: at `place`, or where the plain directory lies.

    `upper` is the container's own directory, with upper/ and work/ in it.
    """
    if plan["rootfs"]:
        _plain(plan["rootfs"])
        return str(plan["rootfs"])
    layers = plan["layers"]
    opened: list[int] = []
    try:
        stores = _stores(layers, place, users, opened) if users >= 0 else {}
        rest = f",upperdir={upper}/upper,workdir={upper}/work,volatile"
        lower = ":".join(reversed(layers))
        if users >= 0 or len(lower) + len(rest) >= _MOST_OPTIONS_BYTES:
            lower = ":".join(str(_open(layer, stores, opened)) for layer in reversed(layers))
            os.chdir(_FDS)  # the shortest names that a directory can have
        # volatile: the root is thrown away with its container, so nobody waits for it to reach a disk.
        flags = 0 if plan["every_device"] else c.MS_NODEV
        syscalls.mount("overlay", place, "overlay", flags, f"lowerdir={lower}{rest}")
    except OSError as error:
        raise _failed(layers, upper, error) from None
    for fd in opened:
        os.close(fd)
    return place


def _plain(path: str) -> None:
    """On itself, for pivot_root wants a mount; there hooks look for it too. Its owners are as they are."""
    tree = binds.copy(path, "root", recursive=True)
    try:
        syscalls.mount_setattr(tree, 0, c.MS_PRIVATE, recursive=True)
        syscalls.move_mount(tree, path)
    except OSError as error:
        raise handshake.failed("root", f"mount {path} as the root", error, "it must be a directory") from None
    os.close(tree)


def _stores(layers: list[str], place: str, users: int, opened: list[int]) -> dict[str, int]:
    """Mounts with mapped owners of the directories that hold layers.

    They are stacked on `place` and reached by descriptor: before Linux 6.15 an overlay takes no layer from
    a mount that is attached nowhere. They vanish with the old root.
    """
    stores = {}
    for path in dict.fromkeys(os.path.dirname(layer) for layer in layers):
        stores[path] = fd = binds.copy(path, "layers")
        opened.append(fd)
        binds.map_ids(fd, users, path)
        syscalls.move_mount(fd, place)
    return stores


def _open(layer: str, stores: dict[str, int], opened: list[int]) -> int:
    store = stores.get(os.path.dirname(layer))
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    if store is None:
        opened.append(os.open(layer, flags))
    else:
        opened.append(os.open(os.path.basename(layer), flags, dir_fd=store))
    return opened[-1]


def _failed(layers: list[str], upper: str, error: OSError) -> handshake.StepFailed:
    what = f"overlay of {len(layers)} layers with {upper}"
    missing = [layer for layer in layers if not os.path.isdir(layer)]
    if missing:
        return handshake.StepFailed("root", f"{what}: layer {missing[0]} is not there; pull again")
    hint = "the state directory must be on ext4, xfs, btrfs or tmpfs" if error.errno == errno.EINVAL else ""
    return handshake.failed("root", what, error, hint)
