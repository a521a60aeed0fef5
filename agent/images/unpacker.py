"""The process that unpacks one layer: blob on stdin, verdict as JSON on stdout.

A process of its own, so that the agent's loop and memory never feel a layer, and confined: its
root is the layer's directory, and it holds no descriptor but its pipes. Imports next to nothing.
"""

import json
import os
import resource
import sys

from orch.oci.failure import ImageFailure, bad_image

from agent.images import layers
from agent.images.limits import Limits

_MEMORY = 1 << 30


def main() -> None:
    order = json.loads(sys.argv[1])
    limits = Limits(**order["limits"])
    expected = layers.Expected(order["size"], order["digest"], order["diff_id"])
    try:
        _confine(order["root"])
        found = layers.unpack(lambda count: os.read(0, count), "/", expected, limits)
    except (ImageFailure, MemoryError) as problem:
        failure = problem if isinstance(problem, ImageFailure) else bad_image("a layer needs too much memory")
        _answer({"reason": failure.reason, "message": failure.message})
    else:
        _answer(
            {"digest": found.digest, "diff_id": found.diff_id, "size": found.size, "entries": found.entries}
        )


def _confine(root: str) -> None:
    """The layer's directory becomes the root. Nothing may be imported from it: it is a stranger's."""
    os.umask(0)
    os.chroot(root)
    os.chdir("/")
    sys.path.clear()
    sys.meta_path.clear()
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))


def _answer(words: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(words))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
