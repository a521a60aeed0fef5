"""What a step depends on, as one digest: the same key means the same layer (pure)."""

import hashlib
import json
from collections.abc import Sequence

from orch.dockerfile import instructions as i
from orch.dockerfile.steps import PROXIES, Execute, MakeDirectory, Place

_VERSION = 1


def base(digest: str) -> str:
    """Of a stage that begins with this image; "" is scratch."""
    return _key("", "from", digest)


def execute(parent: str, step: Execute, binds: Sequence[str]) -> str:
    """`binds`: digests of what its bind mounts show."""
    environment = [pair for pair in step.environment if pair[0] not in PROXIES]
    mounts = [_mount(mount) for mount in step.mounts]
    about = [step.argv, environment, step.user, step.cwd, mounts, step.network, step.script, list(binds)]
    return _key(parent, "run", *about)


def place(parent: str, step: Place, content: str, owner: object) -> str:
    """`content`: digest of the files; `owner`: numbers."""
    about = [step.target, step.written, owner, step.mode, step.exclude, step.parents, step.unpacks]
    return _key(parent, "copy", content, *about)


def shown(layers: Sequence[str], patterns: Sequence[str], exclude: Sequence[str]) -> str:
    """Of files of another image, which is these layers: their digest need be found once."""
    return _key("", "shown", list(layers), list(patterns), list(exclude))


def packed(diff_id: str) -> str:
    """Of a layer that came without the archive it was shipped in."""
    return _key("", "packed", diff_id)


def make_directory(parent: str, step: MakeDirectory, owner: object) -> str:
    return _key(parent, "workdir", step.path, owner)


def _mount(mount: i.Mount) -> list[object]:
    """A cache's and a secret's content are no part of the result."""
    return [mount.kind, mount.target, mount.id, mount.stage, mount.source, mount.env]


def _key(parent: str, *words: object) -> str:
    text = json.dumps([_VERSION, parent, *words], separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
