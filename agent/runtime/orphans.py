"""Reaps processes of containers whose own parent is gone: they come to the shim, and would stay zombies.

They come from hooks, and from containers without a pid namespace of their own, whose pids limit counts
zombies too. Nobody else has any, so nothing is watched before there is one of those.
"""

import os

from agent.linux import syscalls
from agent.runtime import exits
from agent.runtime.eventloop import Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_SIGNAL_BYTES = 128


class Orphans:
    def __init__(self, loop: Loop, children: "Callable[[], set[int]]") -> None:
        self.loop = loop
        self.children = children
        """Pids of processes that others reap."""
        self.signals = -1

    def expect(self) -> None:
        """From now on there may be some."""
        if self.signals < 0:
            self.signals = syscalls.child_signals()
            self.loop.watch(self.signals, self._sweep)
            exits.reap_orphans(self.children())

    def _sweep(self, _: int) -> None:
        os.read(self.signals, _SIGNAL_BYTES)  # one stands for all that came meanwhile
        exits.reap_orphans(self.children())
