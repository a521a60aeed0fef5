"""The process that unpacks one layer: blob on stdin, verdict on stdout.

A process of its own, so that the agent's loop and memory never feel a layer, and confined: its
root is the layer's directory, and it holds no descriptor but its pipes. Imports next to nothing
(no json, which costs a third of its start).
"""

import os
import resource
import sys

from agent.images import layers
from agent.images.limits import Limits
from orch.oci.failure import ImageFailure, bad_image

_MEMORY = 1 << 30


def main() -> None:
    """The order comes as arguments, in the sequence `unpacking` writes them."""
    root, size, digest, diff_id, *bounds = sys.argv[1:]
    limits = Limits(*(int(bound) for bound in bounds))
    try:
        _confine(root)
        found = layers.unpack(
            lambda count: os.read(0, count), "/", layers.Expected(int(size), digest, diff_id), limits
        )
    except ImageFailure as failure:
        _answer(failure.reason, failure.message)
    except MemoryError:
        refused = bad_image("a layer needs too much memory to unpack")
        _answer(refused.reason, refused.message)
    else:
        _answer("done", str(found.size))


def _confine(root: str) -> None:
    """The layer's directory becomes the root. Nothing may be imported from it: it is a stranger's."""
    os.umask(0)
    os.chroot(root)
    os.chdir("/")
    sys.path.clear()
    sys.meta_path.clear()
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))


def _answer(word: str, rest: str) -> None:
    os.write(1, f"{word}\n{rest}".encode(errors="replace"))
