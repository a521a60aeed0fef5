"""Which nodes are heard from. In memory only: a heartbeat never reaches the store.

Our own delays are not held against the nodes: while this process stood still nobody could have been heard.
"""

import asyncio
from collections.abc import Mapping

from controlplane.loop import clock

LOOK_SECONDS = 0.1
LONGEST_GAP_SECONDS = 0.25
"""A pause between two looks longer than this was our own standing still."""


class Liveness:
    """When each node was last heard from, on the steady clock, with our own delays added."""

    def __init__(self) -> None:
        self._heard: dict[str, float] = {}
        self._looked_at: float | None = None

    def hear(self, node: str, steady: float) -> bool:
        """The node has spoken; True when nothing was known of it."""
        is_news = node not in self._heard
        self._heard[node] = steady
        return is_news

    def begin(self, nodes: Mapping[str, object], steady: float) -> None:
        """We begin to lead: each node gets a full timeout from now."""
        self._heard = dict.fromkeys(nodes, steady)
        self._looked_at = steady

    def look(self, steady: float) -> None:
        """Called at least every LONGEST_GAP_SECONDS while the process is well."""
        before, self._looked_at = self._looked_at, steady
        if before is not None and (lost := steady - before - LONGEST_GAP_SECONDS) > 0:
            self._heard = {node: min(at + lost, steady) for node, at in self._heard.items()}

    async def run(self, time: clock.Clock) -> None:
        """For ever: notice when the whole process stands still."""
        while True:
            self.look(time.steady())
            await asyncio.sleep(LOOK_SECONDS)

    def forget(self, node: str) -> None:
        """The node is no longer part of the cluster."""
        self._heard.pop(node, None)

    def age(self, node: str, steady: float) -> float | None:
        """Seconds since the node was heard; None when it never was."""
        at = self._heard.get(node)
        return None if at is None else max(0.0, steady - at)

    def ages(self, steady: float) -> dict[str, float]:
        """Seconds since each node was heard."""
        return {node: max(0.0, steady - at) for node, at in self._heard.items()}
