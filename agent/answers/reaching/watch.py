"""Whether the network between this node and others is as it should be: a few packets now and then, unasked.

The kernel of the other node answers them, also while its agent restarts. What is found becomes a problem of this
node, in words that stay the same while it lasts; `orchctl net check` has the figures.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Protocol

from agent.answers.reaching import answering, echoes, place
from agent.network.attachment import NetworkError
from orch import diagnosis
from orch.diagnosis import Cause
from orch.model.assignment import PeerNode
from orch.v1 import control_pb2 as pb

_log = logging.getLogger(__name__)

EVERY_SECONDS = 60.0
MOST_PEERS = 16
"""Looked at each time; where there are more, they take turns."""
FEW, MANY = 5, 20
SLOW_SECONDS = 0.25
_BRIDGE = "orch0"
_WORDS = {
    Cause.APART: "{peer} is not reached any more",
    Cause.TUNNEL: "containers of {peer} are not reached, though the node is: UDP port 4789 (VXLAN) is blocked",
    Cause.FORWARDING: "containers of {peer} are not reached, though the node is",
    Cause.LOSS: "packets to {peer} are lost",
    Cause.DELAY: "answers of {peer} are slow",
    Cause.SIZE: "large packets to containers of {peer} do not arrive: the MTU on the way is too small",
    Cause.TCP: "connections to {peer} fail",
}


class Network(Protocol):
    """agent.network.network.Network."""

    async def verify_policy(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the node knows of itself and of others at the moment."""

    node: str
    address: str
    gateway: str
    peers: Sequence[PeerNode]
    network: Network


class Watch:
    """Of one node."""

    def __init__(self, look_up: Callable[[], Surroundings | None]) -> None:
        """`look_up`: None while the node has no network yet."""
        self._look_up = look_up
        self._found: dict[str, tuple[str, ...]] = {}
        """By peer."""
        self._own: tuple[str, ...] = ()
        self._has_answered: set[str] = set()
        self._next = 0

    def problems(self) -> tuple[str, ...]:
        """Sentences; none when all is well."""
        return (*self._own, *(each for _, found in sorted(self._found.items()) for each in found))

    async def keep(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            try:
                await self.look()
            except (OSError, NetworkError) as error:
                _log.warning("the network could not be looked at: %s", error)

    async def look(self) -> None:
        """Once."""
        count, most = place.conntrack()
        is_full = most and count >= most * answering.ALMOST_FULL
        self._own = (answering.conntrack_words(most),) if is_full else ()
        here = self._look_up()
        if here is None:
            return
        if not await here.network.verify_policy():
            _log.warning("somebody flushed the packet rules of the policy: they were written anew")
        others = [each for each in here.peers if each.name != here.node and gateway(each.subnets)]
        self._found = {each.name: self._found.get(each.name, ()) for each in others}
        chosen = [others[(self._next + at) % len(others)] for at in range(min(MOST_PEERS, len(others)))]
        self._next += len(chosen)
        for peer in chosen:
            causes = await self._causes(here, peer)
            self._found[peer.name] = tuple(
                f"{_WORDS[cause].format(peer=peer.name)}; orchctl net check says more" for cause in causes
            )

    async def _causes(self, here: Surroundings, peer: PeerNode) -> list[Cause]:
        """A second, longer look where the first finds something."""
        for count in (FEW, MANY):
            source, target, tried = await _tried(here, peer, count)
            causes = [cause for cause, _ in diagnosis.of_pair(source, target, tried, SLOW_SECONDS)]
            if any(each.received for each in tried.values()):
                self._has_answered.add(peer.name)
            if not causes:
                break
        # A machine that drops ICMP never answers, and need not be apart.
        return [each for each in causes if each is not Cause.APART or peer.name in self._has_answered]


async def _tried(
    here: Surroundings, peer: PeerNode, count: int
) -> tuple[pb.NetPlace, pb.NetPlace, dict[str, pb.NetResult]]:
    there = gateway(peer.subnets)
    with place.plain() as link:
        mtu = place.mtu_of(link, _BRIDGE) or 1500
        node_mtu = place.mtu_of(link, place.link_to(peer.address)) or 1500
    source = pb.NetPlace(
        node=here.node, address=here.gateway, node_address=here.address, mtu=mtu, node_mtu=node_mtu
    )
    target = pb.NetPlace(node=peer.name, address=there, node_address=peer.address, mtu=mtu)
    with echoes.Sender(_icmp()) as sender:
        nodes = await sender.send((peer.address, 0), {echoes.SMALL: count})
    with echoes.Sender(_icmp(here.gateway)) as sender:
        inside = await sender.send((there, 0), {echoes.SMALL: count})
        size = await sender.send((there, 0), {mtu: 2})
    way = place.way_to(there)
    rounds = {"nodes": nodes, "containers": inside, "size": size}
    return source, target, {what: echoes.result(what, peer.name, way, each) for what, each in rounds.items()}


def _icmp(source: str = "") -> socket.socket:
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    link = socket.socket(socket.AF_INET, kind, socket.IPPROTO_ICMP)
    try:
        if source:
            link.bind((source, 0))
    except OSError:
        link.close()
        raise
    return link


def gateway(subnets: Sequence[str]) -> str:
    """A node's own address in its IPv4 subnet; empty where it has none yet."""
    return next((str(ip_network(each)[1]) for each in subnets if ":" not in each), "")
