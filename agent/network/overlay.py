"""The VXLAN device, and what leads to other nodes, in the kernel.

Blocking, and for the thread of the workbench, in the node's network namespace. The device is there in every mode:
a node that sends by plain route may be one that others, set up otherwise, reach through VXLAN.
"""

import errno
import logging
import socket
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from agent.network import entries, kernel, netlink, peering, tunnel_guard
from agent.network.addresses import Subnet
from agent.network.attachment import NetworkError
from agent.network.peering import Changes, Entries, Own, Underlay, Way
from agent.network.topology import TUNNEL

_log = logging.getLogger(__name__)
_MTU_WHERE_UNKNOWN = 1500
_FAR = {4: "192.0.2.255", 6: "2001:db8::1"}
"""Addresses that nobody has: the default route leads there."""
_STRICT, _LOOSE = 1, 2
_SETTINGS = Path("/proc/sys/net/ipv4/conf")
_NO_TUNNEL = frozenset({errno.EOPNOTSUPP, errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EEXIST})


class Overlay:
    """What of the kernel leads to other nodes."""

    def __init__(self, subnets: Sequence[Subnet], node_address: str, underlay: Underlay) -> None:
        """Opens in the calling thread's namespace."""
        self._kernel = kernel.Socket()
        self._subnets = subnets
        self._address = node_address
        self._underlay = underlay
        self._guard = tunnel_guard.TunnelGuard(node_address, underlay)
        self._index = 0
        self.trouble = ""
        """Why there is no VXLAN device."""

    def close(self) -> None:
        """Leaves everything in place."""
        self._kernel.close()

    def own(self) -> Own:
        """The node, as it is now."""
        return Own(
            self._address,
            tuple(subnet.gateway for subnet in self._subnets),
            tuple(str(subnet.network) for subnet in self._subnets),
            uplink_mtu(self._kernel, self._address),
            self.trouble,
        )

    def prepare(self, mtu: int) -> None:
        """The device; one that was made with other settings is made anew, one that is there keeps its size."""
        tunnel = netlink.Tunnel(
            vni=self._underlay.vni,
            port=self._underlay.port,
            local=self._address,
            mac=peering.tunnel_mac([str(subnet.network) for subnet in self._subnets]),
        )
        there = netlink.link(self._kernel, TUNNEL)
        if there is not None and there.tunnel == tunnel and there.is_up and there.index == self._index:
            return
        if there is not None and there.tunnel != tunnel:
            self._kernel.ask([netlink.remove_link(TUNNEL)])
            there = None
        wishes = netlink.raise_quietly(TUNNEL)
        if there is None:
            wishes.insert(0, netlink.vxlan(TUNNEL, tunnel, mtu=mtu))
        failures = self._kernel.try_all(wishes) if self._address else []
        before, self.trouble = self.trouble, self._why_not(failures)
        if self.trouble:
            self._kernel.ask([netlink.remove_link(TUNNEL)])
            self._index = 0
            if self.trouble != before:
                _log.warning("%s", self.trouble)
            return
        self._index = socket.if_nametoindex(TUNNEL)
        for subnet in self._subnets:
            whole = 32 if subnet.family == 4 else 128
            self._kernel.ask([netlink.address(f"{subnet.gateway}/{whole}", index=self._index)])
        _set(TUNNEL, "rp_filter", _LOOSE)

    def ways(self, addresses: Iterable[str]) -> dict[str, Way]:
        """How each of them is reached; who is not is not in it."""
        asked = list(dict.fromkeys(addresses))
        answers = self._kernel.answers([entries.way_question(each) for each in asked])
        found = {
            each: answer for each, answer in zip(asked, answers, strict=True) if answer and _index(answer)
        }
        indexes = sorted({_index(answer) for answer in found.values()})
        told = self._kernel.answers([entries.link_question(each) for each in indexes])
        links = {index: link for index, link in zip(indexes, told, strict=True) if link}
        return {
            each: entries.way(answer, links[_index(answer)])
            for each, answer in found.items()
            if _index(answer) in links
        }

    def accept(self, links: Iterable[str]) -> None:
        """What comes over these from other nodes by another way than ours to them."""
        for link in sorted(links):
            _accept_either_way(link)

    def listen_to(self, nodes: Collection[str]) -> str:
        """And to nobody else; a sentence where that cannot be: packets of nodes pass all the same."""
        try:
            self._guard.follow(nodes)
        except (NetworkError, OSError) as error:
            return f"packets that VXLAN brings are taken from everybody: {error}"
        return ""

    def seen(self) -> Entries:
        """What exists now."""
        return entries.entries(self._kernel, self._index)

    def apply(self, changes: Changes) -> list[str]:
        """All that can be done; a sentence for each refusal."""
        return [str(each) for each in self._kernel.try_all(list(entries.messages(changes, self._index)))]

    def resize(self, mtu: int) -> None:
        """Of the device."""
        for link in _links(self._kernel, [self._index] if self._index else []):
            if entries.mtu(link) != mtu:
                self._kernel.ask([netlink.resize(self._index, mtu)])

    def remove(self) -> None:
        """All of it."""
        seen = self.seen()
        self._kernel.ask(list(entries.messages(Changes(Entries(), seen), self._index)))
        self._kernel.ask([netlink.remove_link(TUNNEL)])
        tunnel_guard.remove()
        self._index = 0

    def _why_not(self, failures: Sequence[OSError]) -> str:
        if not self._address:
            return "no VXLAN without an address of this node: start the agent with --address"
        if not failures:
            return ""
        refusal = failures[0]
        if refusal.errno not in _NO_TUNNEL:
            raise refusal
        advice = {
            errno.EOPNOTSUPP: "its kernel has no VXLAN (modprobe vxlan), or use --network-mode route",
            errno.EADDRINUSE: f"UDP port {self._underlay.port} is taken; see: ss -lunp; another one for all nodes is "
            "--vxlan-port",
            errno.EADDRNOTAVAIL: f"{self._address} is no address of this machine; see: --address",
            errno.EEXIST: f"another device has VNI {self._underlay.vni} on port {self._underlay.port}; see: "
            "ip -d link show type vxlan; others for all nodes are --vxlan-port and --vxlan-vni",
        }
        return f"this node has no VXLAN device: {advice[refusal.errno or 0]}"


def uplink_mtu(conversation: kernel.Socket, node_address: str) -> int:
    """Of the link that carries the node's address; one on the loopback device is reached by the default route's."""
    indexes = [index for index, address in entries.addresses(conversation) if address == node_address]
    found = [link for link in _links(conversation, indexes) if not entries.is_loopback(link)]
    if not found:
        (answer,) = conversation.answers([entries.way_question(_FAR[6 if ":" in node_address else 4])])
        found = _links(conversation, [_index(answer)] if answer and _index(answer) else [])
    return min(map(entries.mtu, found), default=_MTU_WHERE_UNKNOWN)


def _links(conversation: kernel.Socket, indexes: Iterable[int]) -> list[bytes]:
    answers = conversation.answers([entries.link_question(each) for each in indexes])
    return [answer for answer in answers if answer]


def _index(answer: bytes) -> int:
    return entries.leaves_by(answer)[0]


def _accept_either_way(link: str) -> None:
    """Another node may send plainly what we send through VXLAN: a strict filter would take that for a forgery."""
    effective = max(_get("all"), _get(link))
    if effective == _STRICT:
        _log.info("%s accepts what comes by another way than the answer goes (rp_filter 2)", link)
        _set(link, "rp_filter", _LOOSE)


def _get(link: str) -> int:
    return int((_SETTINGS / link / "rp_filter").read_text())


def _set(link: str, setting: str, value: int) -> None:
    (_SETTINGS / link / setting).write_text(str(value), encoding="ascii")
