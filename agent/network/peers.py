"""Leads to the other nodes of the cluster, as the cluster's node list says, by difference from what the kernel has."""

import asyncio
import logging
from collections.abc import Sequence

from agent.network import peering
from agent.network.attachment import NetworkError, Peer
from agent.network.overlay import Overlay
from agent.network.peering import Plan, Underlay
from agent.network.watch import Watch
from agent.network.workbench import Workbench

LOOK_AGAIN_AFTER_SECONDS = 0.2
"""What happens to links happens in bursts."""

_log = logging.getLogger(__name__)


class Peers:
    """One at a time: what is asked for last holds, also when others take parts of it away."""

    def __init__(self, workbench: Workbench, overlay: Overlay, underlay: Underlay) -> None:
        """Changes nothing yet."""
        self._workbench = workbench
        self._overlay = overlay
        self._mode = underlay.mode
        self._peers: Sequence[Peer] | None = None
        """None until somebody says; what leads to nodes from before stays until then."""
        self._faults: tuple[str, ...] = ()
        """Whom we do not reach, and why."""
        self._turn = asyncio.Lock()
        self._watch: Watch | None = None
        self._looking: asyncio.Task[None] | None = None
        self._has_heard = False
        self._unguarded = ""
        """Why the tunnel is open to strangers."""

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong."""
        return (*self._faults, *filter(None, [self._unguarded]))

    async def first_mtu(self) -> int:
        """Of bridge and tasks, as long as no other node is known."""
        own = await self._workbench.do(self._overlay.own)
        return peering.plan(own, (), self._mode, {}).mtu

    async def prepare(self) -> None:
        """What every node has, whomever it knows."""
        await self._prepare()
        self._watch = Watch(self._heard)

    async def set(self, peers: Sequence[Peer]) -> None:
        """Raises NetworkError naming those that cannot be reached; all others are."""
        self._peers = peers
        await self._apply()
        if self._faults:
            more = f" (and {len(self._faults) - 1} more such)" if len(self._faults) > 1 else ""
            raise NetworkError(self._faults[0] + more)

    async def look_again(self) -> None:
        """Mends what others have changed; who is not reached now is among the problems."""
        await self._mend(tunnel=True)

    async def close(self) -> None:
        """Leaves everything in place."""
        if self._watch is not None:
            self._watch.close()
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def remove(self) -> None:
        """Nothing leads to other nodes any more."""
        await self.close()
        async with self._turn:
            await self._workbench.do(self._overlay.remove)

    async def _mend(self, *, tunnel: bool) -> None:
        try:
            if tunnel:
                await self._prepare()
            if self._peers is not None:
                await self._apply()
        except NetworkError as error:
            _log.warning("what leads to other nodes cannot be looked after: %s", error)

    async def _prepare(self) -> None:
        async with self._turn:
            own = await self._workbench.do(self._overlay.own)
            first = peering.plan(own, (), self._mode, {})
            await self._workbench.do(self._overlay.prepare, first.tunnel_mtu)

    async def _apply(self) -> None:
        async with self._turn:
            peers = self._peers or ()
            nodes = list(peering.addresses(peers))
            own = await self._workbench.do(self._overlay.own)
            ways = await self._workbench.do(self._overlay.ways, nodes)
            plan = peering.plan(own, peers, self._mode, ways)
            await self._workbench.do(self._overlay.resize, plan.tunnel_mtu)
            await self._workbench.resize(plan.mtu)
            self._unguarded = await self._workbench.do(self._overlay.listen_to, nodes)
            refusals = await self._workbench.do(self._follow, plan)
            self._faults = (*plan.troubles, *refusals)

    def _follow(self, plan: Plan) -> list[str]:
        self._overlay.accept(plan.links)
        changes = peering.changes(plan.entries, self._overlay.seen())
        return self._overlay.apply(changes) if len(changes) else []

    def _heard(self) -> None:
        self._has_heard = True
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        try:
            while self._has_heard:
                await asyncio.sleep(LOOK_AGAIN_AFTER_SECONDS)
                self._has_heard = False
                # a device that cannot be is tried seldom: the attempt would itself be heard of
                await self._mend(tunnel=not self._overlay.trouble)
        finally:
            self._looking = None
