"""Volumes that an image declares and the service says nothing about: a directory for each, as long as the task.

STATE/volumes/KEY/CONTAINER/…    one volume; a container that is restarted finds what it wrote

As Docker's anonymous volumes, it begins with what the image has at its place: the container's own start copies it,
with the powers of the container's root and no others.
"""

import hashlib
import os
import posixpath
import stat
from collections.abc import Collection
from pathlib import Path

from agent.linux import removal
from agent.reconciler.configuration import Mounted
from agent.runtime import copyup
from orch.model.container import ContainerSpec
from orch.oci.failure import bad_image
from orch.oci.image_config import ImageConfig

MOST = 64
"""In one image: each is a directory and a mount, and the image is a stranger's."""

_KERNELS_OWN = ("/proc", "/sys", "/dev")


def declared(spec: ContainerSpec, image: ImageConfig, files: Collection[Mounted] = ()) -> tuple[str, ...]:
    """Where the image wants volumes and nothing else is mounted. Raises ImageFailure."""
    targets = [*(each.target for each in spec.volumes), *(each.target for each in files)]
    taken = {posixpath.normpath(target) for target in targets}
    found = sorted({posixpath.normpath(f"/{path.lstrip('/')}") for path in image.volumes} - taken)
    for path in found:
        if path == "/" or path.startswith("/../") or _is_kernels(path):
            raise bad_image(f"image {spec.image} declares the volume {path}, where none can be")
    if len(found) > MOST:
        raise bad_image(f"image {spec.image} declares {len(found)} volumes; {MOST} is the limit")
    return tuple(found)


class Volumes:
    """One per state directory. `remove` waits for the disk."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def prepare(self, key: str, container: str, targets: Collection[str], owner: int) -> tuple[Mounted, ...]:
        """A directory for each target, empty ones the first time; `owner`: the host's id of the container's root."""
        return tuple(Mounted(self._one(key, container, target, owner), target) for target in targets)

    def remove(self, key: str) -> None:
        """All of a task; what is gone already is fine."""
        removal.tree(self._directory / key)

    def tasks(self) -> set[str]:
        """The keys of all tasks that have volumes here."""
        try:
            return {path.name for path in self._directory.iterdir()}
        except FileNotFoundError:
            return set()

    def _one(self, key: str, container: str, target: str, owner: int) -> str:
        path = self._directory / key / container / hashlib.sha256(target.encode()).hexdigest()[:16]
        if path.exists():
            if stat.S_IMODE(path.lstat().st_mode) != copyup.UNFILLED:
                return str(path)
            removal.tree(path)  # a start was cut short while it was filled
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.mkdir(mode=0o700)
        os.chown(path, owner, owner)
        path.chmod(copyup.UNFILLED)
        return str(path)


def _is_kernels(path: str) -> bool:
    return any(path == one or path.startswith(f"{one}/") for one in _KERNELS_OWN)
