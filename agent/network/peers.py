"""Leads to the other nodes of the cluster, as the cluster's node list says, by difference from what the kernel has."""

import asyncio
import logging
from collections.abc import Sequence

from agent.network import peering
from agent.network.attachment import NetworkError, Peer
from agent.network.overlay import Overlay
from agent.network.peering import Plan, Underlay
from agent.network.workbench import Workbench

_log = logging.getLogger(__name__)


class Peers:
    """One at a time: what is asked for last holds."""

    def __init__(self, workbench: Workbench, overlay: Overlay, underlay: Underlay) -> None:
        """Changes nothing yet."""
        self._workbench = workbench
        self._overlay = overlay
        self._mode = underlay.mode
        self._peers: Sequence[Peer] = ()
        self._turn = asyncio.Lock()

    async def first_mtu(self) -> int:
        """Of bridge and tasks, as long as no other node is known."""
        own = await self._workbench.do(self._overlay.own)
        return peering.plan(own, (), self._mode, {}).mtu

    async def prepare(self) -> None:
        """What every node has, whomever it knows."""
        own = await self._workbench.do(self._overlay.own)
        await self._workbench.do(self._overlay.prepare, peering.plan(own, (), self._mode, {}).tunnel_mtu)

    async def remove(self) -> None:
        """Nothing leads to other nodes any more."""
        async with self._turn:
            await self._workbench.do(self._overlay.remove)

    async def set(self, peers: Sequence[Peer]) -> None:
        """Raises NetworkError naming those that cannot be reached; all others are."""
        self._peers = peers
        async with self._turn:
            plan = await self._plan()
            await self._workbench.do(self._overlay.resize, plan.tunnel_mtu)
            await self._workbench.resize(plan.mtu)
            refusals = await self._workbench.do(self._follow, plan)
        if troubles := [*plan.troubles, *refusals]:
            more = f" (and {len(troubles) - 1} more such)" if len(troubles) > 1 else ""
            raise NetworkError(troubles[0] + more)

    async def _plan(self) -> Plan:
        own = await self._workbench.do(self._overlay.own)
        ways = await self._workbench.do(self._overlay.ways, list(peering.addresses(self._peers)))
        return peering.plan(own, self._peers, self._mode, ways)

    def _follow(self, plan: Plan) -> list[str]:
        self._overlay.accept(plan.links)
        changes = peering.changes(plan.entries, self._overlay.seen())
        return self._overlay.apply(changes) if len(changes) else []
