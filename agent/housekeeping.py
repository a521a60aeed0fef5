"""The node's slow rounds: what a lost event missed is repaired, and what nobody needs is removed."""

import asyncio
import logging
from collections.abc import Callable

from agent.assignments import Assignments
from agent.images.care import Marks
from agent.images.images import Images
from agent.network.attachment import NetworkError
from agent.network.network import Network
from agent.reconciler.loop import Loop
from agent.runtime.client import RuntimeBroken
from orch.v1 import sessions_pb2

_log = logging.getLogger(__name__)

LOOK_AROUND_SECONDS = 60.0
LOOK_AT_NETWORK_SECONDS = 10.0
"""Nothing says that somebody flushed the host's packet rules or started a firewall."""


class Housekeeping:
    def __init__(
        self,
        loop: Loop,
        assignments: Assignments,
        images: Images,
        marks: Marks,
        network: Callable[[], Network | None],
    ) -> None:
        """`network`: None while the node has no address range."""
        self._loop = loop
        self._assignments = assignments
        self._images = images
        self._marks = marks
        self._network = network
        self._happened: list[sessions_pb2.NodeEvent] = []

    def happened(self) -> list[sessions_pb2.NodeEvent]:
        """What is to be told as events; told once."""
        told, self._happened = self._happened, []
        return told

    async def look_around(self) -> None:
        """At tasks and images, for ever."""
        while True:
            await asyncio.sleep(LOOK_AROUND_SECONDS)
            await self._tidy_images()
            try:
                await self._loop.look_around()
            except RuntimeBroken as error:
                _log.warning("looking around failed: %s", error)

    async def look_at_network(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(LOOK_AT_NETWORK_SECONDS)
            network = self._network()
            if network is None:
                continue
            try:
                await network.look_around()
            except (NetworkError, OSError) as error:
                _log.warning("looking at the network failed: %s", error)

    async def _tidy_images(self) -> None:
        """Room on the disk, without what tasks have or services may go back to."""
        digests, references = self._loop.images_in_use()
        references.update(self._assignments.kept_images())
        wanted = {image.digest for each in references if (image := self._images.find(each))}
        try:
            freed = await self._images.tidy(digests | wanted, self._marks)
        except OSError as error:
            _log.warning("unused images could not be removed: %s", error)
            return
        if freed.images:
            _log.info("%s", freed)
            self._happened.append(sessions_pb2.NodeEvent(reason="ImagesRemoved", message=str(freed)))
