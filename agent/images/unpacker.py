"""The process that unpacks one layer: blob on descriptor 0, verdict on descriptor 1.

A process of its own, so that the agent's loop and memory never feel a layer, and confined: its
root is the layer's directory, it holds no descriptor but its pipes, and the kernel does for it
what unpacking needs (`confinement`) and nothing else. Born of the `nursery`.
"""

import os
import resource
import sys

from agent.images import confinement, layers, stream
from agent.images.ahead import Ahead
from agent.images.limits import Limits
from agent.images.order import Order
from agent.linux import constants as c
from agent.linux import syscalls
from orch.oci.failure import ImageFailure, bad_image

_MEMORY = 1 << 30
_DESCRIPTORS = 512
"""More than the deepest tree needs: a walk holds one for each level."""


def unpack(order: Order) -> None:
    """Does it, and says how it went."""
    blob = stream.Head(lambda count: os.read(0, count))
    try:
        blob.look()
        ahead = Ahead(stream.STAGES)
        _confine(order.root, order.limits)
        expected = layers.Expected(order.size, order.digest, order.diff_id)
        found = layers.unpack(blob.read, "/", expected, order.limits, ahead.of)
    except ImageFailure as failure:
        _answer(failure.reason, failure.message)
    except MemoryError:
        refused = bad_image("a layer needs too much memory to unpack")
        _answer(refused.reason, refused.message)
    else:
        _answer("done", str(found.size))


def _confine(root: str, limits: Limits) -> None:
    """The layer's directory becomes the root. Nothing may be imported from it: it is a stranger's."""
    os.umask(0)
    os.chroot(root)
    os.chdir("/")
    sys.path.clear()
    sys.meta_path.clear()
    for what, most in (
        (resource.RLIMIT_AS, _MEMORY),
        (resource.RLIMIT_NOFILE, _DESCRIPTORS),
        (resource.RLIMIT_FSIZE, limits.bytes),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    if filtered := confinement.program():
        threads = (
            c.SECCOMP_FILTER_FLAG_TSYNC | c.SECCOMP_FILTER_FLAG_TSYNC_ESRCH
        )  # all that there are, or none
        syscalls.seccomp_filter(filtered, threads)


def _answer(word: str, rest: str) -> None:
    os.write(1, f"{word}\n{rest}".encode(errors="replace"))
