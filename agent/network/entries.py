"""Routes, neighbours and forwarding entries as the kernel writes them.

Packed by hand: a cluster of a thousand nodes is three thousand of them, and pyroute2 takes 0.3 ms for each.
"""

import errno
import socket
import struct
from collections.abc import Iterator

from agent.network import kernel
from agent.network.kernel import NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, Message
from agent.network.peering import Changes, Entries, Forwarding, Neighbour, Route, Way

# linux/rtnetlink.h, linux/neighbour.h, linux/if_link.h, linux/if_arp.h
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RT_TABLE_MAIN, RTN_UNICAST, RTNH_F_ONLINK, RTM_F_FIB_MATCH = 254, 1, 4, 0x2000
RT_SCOPE_LINK = 253
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PREFSRC, RTA_METRICS, RTA_MULTIPATH, RTA_VIA = 1, 4, 5, 7, 8, 9, 18
RTAX_MTU = 2
NDA_DST, NDA_LLADDR, NDA_IFINDEX = 1, 2, 8
NUD_PERMANENT, NUD_NOARP, NTF_SELF, AF_BRIDGE = 0x80, 0x40, 2, 7
IFLA_IFNAME, IFLA_MTU, IFLA_MASTER = 3, 4, 10
RTM_GETADDR, IFA_ADDRESS, IFA_LOCAL = 22, 1, 2
ARPHRD_ETHER, IFF_LOOPBACK, IFF_NOARP, IFF_POINTOPOINT = 1, 0x8, 0x80, 0x10

OUR_PROTOCOL = 79
"""The routing protocol number that marks our routes, so that nobody else's are ever touched."""

_ROUTE = struct.Struct("8BI")
_NEIGHBOUR = struct.Struct("BxxxiHBB")
_LINK = struct.Struct("BxHiII")
_ADDRESS = struct.Struct("BBBBi")


def routes(conversation: kernel.Socket, tunnel: int) -> Iterator[Route]:
    """Ours; `tunnel` is the index of the VXLAN device."""
    for family in (socket.AF_INET, socket.AF_INET6):
        which = _ROUTE.pack(family, 0, 0, 0, RT_TABLE_MAIN, OUR_PROTOCOL, 0, 0, 0)
        for _, body in conversation.dump(RTM_GETROUTE, which, "routes"):
            _, length, _, _, table, protocol, *_ = _ROUTE.unpack_from(body)
            found = kernel.attributes(body, _ROUTE.size)
            if protocol == OUR_PROTOCOL and table == RT_TABLE_MAIN and RTA_GATEWAY in found:
                yield Route(
                    f"{_text(found[RTA_DST])}/{length}" if RTA_DST in found else _anywhere(family),
                    _text(found[RTA_GATEWAY]),
                    _text(found[RTA_PREFSRC]) if RTA_PREFSRC in found else "",
                    tunnel=bool(tunnel) and found.get(RTA_OIF) == struct.pack("i", tunnel),
                )


def entries(conversation: kernel.Socket, tunnel: int) -> Entries:
    """All of ours that exist; without a VXLAN device, `tunnel` 0, there are only routes."""
    found = frozenset(routes(conversation, tunnel))
    if not tunnel:
        return Entries(found)
    return Entries(
        found, frozenset(_neighbours(conversation, tunnel)), frozenset(_forwardings(conversation, tunnel))
    )


def messages(changes: Changes, tunnel: int) -> Iterator[Message]:
    """In an order in which no packet finds half of a passage: what leads there is made last and goes first."""
    yield from (forwarding(each, tunnel) for each in sorted(changes.add.forwardings))
    yield from (neighbour(each, tunnel) for each in sorted(changes.add.neighbours))
    for each in sorted(changes.add.routes):
        yield route(each.destination, each.gateway, source=each.source, onlink=tunnel if each.tunnel else 0)
    yield from (remove_route(each.destination, each.gateway) for each in sorted(changes.remove.routes))
    yield from (remove_neighbour(each, tunnel) for each in sorted(changes.remove.neighbours))
    yield from (remove_forwarding(each, tunnel) for each in sorted(changes.remove.forwardings))


def route(destination: str, gateway: str, *, index: int = 0, source: str = "", onlink: int = 0) -> Message:
    """A route of ours in the main table; one that exists gets the new gateway.

    It leaves by the link of that `index`, or by the link `onlink` though the gateway is on no subnet of that.
    """
    body = _route(destination, gateway, RTNH_F_ONLINK if onlink else 0)
    if source:
        body += kernel.attribute(RTA_PREFSRC, _packed(source))
    if index or onlink:
        body += kernel.attribute(RTA_OIF, struct.pack("i", index or onlink))
    what = f"route {destination} via {gateway}"
    return Message(what, kernel.packed(RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, body))


def on_link(destination: str, *, index: int, source: str = "") -> Message:
    """A route of ours without a gateway: all of it is behind that link."""
    address, _, length = destination.partition("/")
    packed = _packed(address)
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    head = (family, int(length), 0, 0, RT_TABLE_MAIN, OUR_PROTOCOL, RT_SCOPE_LINK, RTN_UNICAST, 0)
    body = _ROUTE.pack(*head) + kernel.attribute(RTA_DST, packed)
    body += kernel.attribute(RTA_OIF, struct.pack("i", index))
    if source:
        body += kernel.attribute(RTA_PREFSRC, _packed(source))
    data = kernel.packed(RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, body)
    return Message(f"route {destination} to link {index}", data)


def remove_route(destination: str, gateway: str) -> Message:
    """A route that is gone already counts as removed."""
    data = kernel.packed(RTM_DELROUTE, NLM_F_ACK, _route(destination, gateway, 0))
    return Message(f"remove route {destination} via {gateway}", data, frozenset({errno.ESRCH}))


def neighbour(entry: Neighbour, tunnel: int) -> Message:
    """One that is there gets the new hardware address."""
    body = _neighbour(entry.address, tunnel) + kernel.attribute(NDA_LLADDR, _mac(entry.mac))
    data = kernel.packed(RTM_NEWNEIGH, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, body)
    return Message(f"tell the neighbour {entry.address}", data)


def remove_neighbour(entry: Neighbour, tunnel: int) -> Message:
    """One that is gone already counts as removed."""
    data = kernel.packed(RTM_DELNEIGH, NLM_F_ACK, _neighbour(entry.address, tunnel))
    return Message(f"forget the neighbour {entry.address}", data, frozenset({errno.ENOENT}))


def forwarding(entry: Forwarding, tunnel: int) -> Message:
    """One that is there gets the new node."""
    data = kernel.packed(RTM_NEWNEIGH, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, _forwarding(entry, tunnel))
    return Message(f"forward {entry.mac} to {entry.node}", data)


def remove_forwarding(entry: Forwarding, tunnel: int) -> Message:
    """One that is gone already counts as removed."""
    data = kernel.packed(RTM_DELNEIGH, NLM_F_ACK, _forwarding(entry, tunnel))
    return Message(f"forward {entry.mac} no more", data, frozenset({errno.ENOENT}))


def way_question(address: str) -> Message:
    """How would you reach it? The answer is for `way`."""
    packed = _packed(address)
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    body = _ROUTE.pack(family, 8 * len(packed), 0, 0, 0, 0, 0, 0, RTM_F_FIB_MATCH)
    return Message(
        f"find {address}", kernel.packed(RTM_GETROUTE, 0, body + kernel.attribute(RTA_DST, packed))
    )


def link_question(index: int) -> Message:
    """What link is it? The answer is for `way`, `mtu` and `name`."""
    return Message(f"look at link {index}", kernel.packed(RTM_GETLINK, 0, _LINK.pack(0, 0, index, 0, 0)))


def leaves_by(answer: bytes) -> tuple[int, bool]:
    """The index of the link by which an address is reached, and whether there is a router between; 0: it is not."""
    if _ROUTE.unpack_from(answer)[7] != RTN_UNICAST:
        return 0, False
    found = kernel.attributes(answer, _ROUTE.size)
    if RTA_MULTIPATH in found:  # several routers: the first stands for all
        first = found[RTA_MULTIPATH]
        return int(struct.unpack_from("i", first, 4)[0]), True
    index = struct.unpack("i", found.get(RTA_OIF, bytes(4)))[0]
    return int(index), RTA_GATEWAY in found or RTA_VIA in found


def route_mtu(answer: bytes) -> int:
    """What the route itself says; 0 where it says nothing."""
    metrics = kernel.attributes(kernel.attributes(answer, _ROUTE.size).get(RTA_METRICS, b""), 0)
    return int(struct.unpack("I", metrics[RTAX_MTU])[0]) if RTAX_MTU in metrics else 0


def way(answer: bytes, link: bytes) -> Way:
    """The two answers together. A tunnel of somebody else's is no shared link: it passes only what it knows."""
    _, routed = leaves_by(answer)
    _, kind, _, flags, _ = _LINK.unpack_from(link)
    shared = kind == ARPHRD_ETHER and not flags & (IFF_NOARP | IFF_POINTOPOINT)
    return Way(shared and not routed, min(mtu(link), route_mtu(answer) or mtu(link)), name(link))


def addresses(conversation: kernel.Socket) -> Iterator[tuple[int, str]]:
    """All of the namespace, each with the index of its link."""
    for _, body in conversation.dump(RTM_GETADDR, _ADDRESS.pack(0, 0, 0, 0, 0), "addresses"):
        found = kernel.attributes(body, _ADDRESS.size)
        yield _ADDRESS.unpack_from(body)[4], _text(found.get(IFA_LOCAL) or found[IFA_ADDRESS])


def ports(conversation: kernel.Socket, bridge: int) -> Iterator[tuple[str, int]]:
    """The names and MTUs of the links on a bridge."""
    which = _LINK.pack(0, 0, 0, 0, 0) + kernel.attribute(IFLA_MASTER, struct.pack("i", bridge))
    for _, body in conversation.dump(RTM_GETLINK, which, "links"):
        if kernel.attributes(body, _LINK.size).get(IFLA_MASTER) == struct.pack("i", bridge):
            yield name(body), mtu(body)


def is_ours(route: bytes) -> bool:
    """Whether a route is one that we made."""
    return bool(_ROUTE.unpack_from(route)[5] == OUR_PROTOCOL)


def is_loopback(link: bytes) -> bool:
    """Whether packets never leave the machine by it."""
    return bool(_LINK.unpack_from(link)[3] & IFF_LOOPBACK)


def mtu(link: bytes) -> int:
    """Of a link."""
    return int(struct.unpack("I", kernel.attributes(link, _LINK.size)[IFLA_MTU])[0])


def name(link: bytes) -> str:
    """Of a link."""
    return next(kernel.each(link, _LINK.size, IFLA_IFNAME), b"").rstrip(b"\0").decode()


def _neighbours(conversation: kernel.Socket, tunnel: int) -> Iterator[Neighbour]:
    which = _NEIGHBOUR.pack(0, 0, 0, 0, 0) + kernel.attribute(NDA_IFINDEX, struct.pack("i", tunnel))
    for _, body in conversation.dump(RTM_GETNEIGH, which, "neighbours"):
        _, index, state, _, _ = _NEIGHBOUR.unpack_from(body)
        found = kernel.attributes(body, _NEIGHBOUR.size)
        if index == tunnel and not state & NUD_NOARP and NDA_DST in found:
            yield Neighbour(_text(found[NDA_DST]), _words(found.get(NDA_LLADDR, b"")))


def _forwardings(conversation: kernel.Socket, tunnel: int) -> Iterator[Forwarding]:
    which = _NEIGHBOUR.pack(AF_BRIDGE, tunnel, 0, 0, 0)
    for _, body in conversation.dump(RTM_GETNEIGH, which, "forwarding entries"):
        _, index, _, _, _ = _NEIGHBOUR.unpack_from(body)
        found = kernel.attributes(body, _NEIGHBOUR.size)
        if index == tunnel and NDA_DST in found:
            yield Forwarding(_words(found[NDA_LLADDR]), _text(found[NDA_DST]))


def _route(destination: str, gateway: str, flags: int) -> bytes:
    address, _, length = destination.partition("/")
    packed = _packed(address)
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    kind = RTN_UNICAST
    body = _ROUTE.pack(family, int(length), 0, 0, RT_TABLE_MAIN, OUR_PROTOCOL, 0, kind, flags)
    body += kernel.attribute(RTA_GATEWAY, _packed(gateway))
    return body + kernel.attribute(RTA_DST, packed) if int(length) else body


def _neighbour(address: str, tunnel: int) -> bytes:
    packed = _packed(address)
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    return _NEIGHBOUR.pack(family, tunnel, NUD_PERMANENT, 0, 0) + kernel.attribute(NDA_DST, packed)


def _forwarding(entry: Forwarding, tunnel: int) -> bytes:
    fixed = _NEIGHBOUR.pack(AF_BRIDGE, tunnel, NUD_PERMANENT, NTF_SELF, 0)
    mac = kernel.attribute(NDA_LLADDR, _mac(entry.mac))
    return fixed + mac + kernel.attribute(NDA_DST, _packed(entry.node))


def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def _text(packed: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def _mac(words: str) -> bytes:
    return bytes.fromhex(words.replace(":", ""))


def _words(mac: bytes) -> str:
    return ":".join(f"{byte:02x}" for byte in mac)


def _anywhere(family: int) -> str:
    return "0.0.0.0/0" if family == socket.AF_INET else "::/0"
