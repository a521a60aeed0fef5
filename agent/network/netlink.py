"""Links and their addresses as the kernel writes them: the only importer of pyroute2, which packs the messages."""

import errno
import functools
import importlib.util
import socket
import struct
import sys
import types
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from agent.network import kernel
from agent.network.kernel import HEADER, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, Message


def _skip_package_init(package: str) -> None:
    """Lets a package's modules be imported without everything that its __init__ pulls in.

    Importing any part of pyroute2 otherwise costs 0.27 s and 16 MB; its messages alone take 0.07 s and 5 MB.
    """
    spec = importlib.util.find_spec(package)
    if package in sys.modules or spec is None or spec.submodule_search_locations is None:
        return
    module = types.ModuleType(package)
    module.__path__ = list(spec.submodule_search_locations)
    sys.modules[package] = module


_skip_package_init("pyroute2")

from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg  # noqa: E402
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg  # noqa: E402

# linux/rtnetlink.h
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_GETADDR = 20, 22
IFF_UP = 1
IFA_F_NODAD, IFA_F_NOPREFIXROUTE = 2, 0x200


@dataclass(frozen=True, slots=True)
class Tunnel:
    """What makes a VXLAN device the one that it is: it cannot be changed, only made anew."""

    vni: int
    port: int
    local: str
    mac: str
    learning: bool = False


@dataclass(frozen=True, slots=True)
class Link:
    """A link that exists."""

    index: int
    name: str
    kind: str
    mtu: int
    master: int
    is_up: bool = False
    addresses: tuple[str, ...] = field(default=())
    tunnel: Tunnel | None = None


def links(conversation: kernel.Socket) -> list[Link]:
    """Every link of the namespace with its IPv4 and IPv6 addresses."""
    addresses: dict[int, list[str]] = {}
    for each in _list(conversation, RTM_GETADDR, ifaddrmsg, "addresses"):
        addresses.setdefault(each["index"], []).append(
            each.get_attr("IFA_LOCAL") or each.get_attr("IFA_ADDRESS")
        )
    return [_link(each, addresses) for each in _list(conversation, RTM_GETLINK, ifinfmsg, "links")]


def link(conversation: kernel.Socket, name: str) -> Link | None:
    """One of them, without its addresses."""
    question = Message(f"look at link {name}", _encode(_link_body(name=name), RTM_GETLINK, 0))
    (answer,) = conversation.answers([question])
    return _link(_read(ifinfmsg, RTM_NEWLINK, answer), {}) if answer else None


def bridge(name: str, *, mac: str, mtu: int) -> Message:
    """A bridge, up. Its address is fixed: else it changes with its ports, and neighbours are misled."""
    body = _link_body(name=name, up=True)
    info = {"attrs": [("IFLA_INFO_KIND", "bridge")]}
    body["attrs"] += [("IFLA_MTU", mtu), ("IFLA_ADDRESS", mac), ("IFLA_LINKINFO", info)]
    return _message(f"make bridge {name}", body, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, {errno.EEXIST})


def vxlan(name: str, tunnel: Tunnel, *, mtu: int) -> Message:
    """A device, down, that sends only where it is told to and learns nothing."""
    local = "IFLA_VXLAN_LOCAL6" if ":" in tunnel.local else "IFLA_VXLAN_LOCAL"
    data = [
        ("IFLA_VXLAN_ID", tunnel.vni),
        (local, tunnel.local),
        ("IFLA_VXLAN_PORT", tunnel.port),
        ("IFLA_VXLAN_LEARNING", int(tunnel.learning)),
        ("IFLA_VXLAN_AGEING", 0),
    ]
    info = {"attrs": [("IFLA_INFO_KIND", "vxlan"), ("IFLA_INFO_DATA", {"attrs": data})]}
    body = _link_body(name=name)
    body["attrs"] += [("IFLA_MTU", mtu), ("IFLA_ADDRESS", tunnel.mac), ("IFLA_LINKINFO", info)]
    return _message(f"make VXLAN device {name}", body, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL)


def resize(index: int, mtu: int) -> Message:
    """Another MTU for a link."""
    body = _link_body(index=index)
    body["attrs"] += [("IFLA_MTU", mtu)]
    return _message(f"give link {index} an MTU of {mtu}", body, RTM_NEWLINK, 0, {errno.ENODEV})


def resize_named(name: str, mtu: int) -> Message:
    """Another MTU for a link."""
    body = _link_body(name=name)
    body["attrs"] += [("IFLA_MTU", mtu)]
    return _message(f"give link {name} an MTU of {mtu}", body, RTM_NEWLINK, 0, {errno.ENODEV})


def veth(name: str, *, bridge_index: int, mtu: int, mac: str, namespace: int, inside: str) -> Message:
    """A pair: the outer end up and a port of the bridge, the inner end in that descriptor's namespace."""
    data = _veth_stencil(len(name), bridge_index, mtu, inside)
    for blank, value in (
        (_BLANK_NAME[: len(name)].encode(), name.encode()),
        (bytes.fromhex(_BLANK_MAC.replace(":", "")), bytes.fromhex(mac.replace(":", ""))),
        (struct.pack("i", _BLANK_DESCRIPTOR), struct.pack("i", namespace)),
    ):
        data = data.replace(blank, value)
    return Message(f"make link {name}", data)


_ONE_QUEUE = (("IFLA_NUM_TX_QUEUES", 1), ("IFLA_NUM_RX_QUEUES", 1))
"""All that a veth uses in any case. Unasked it is made with one for each processor, and while it gives up the others
the kernel waits twice for all its readers: a third of making a slot."""
_BLANK_NAME, _BLANK_MAC, _BLANK_DESCRIPTOR = "?" * 15, "0a:3f:3f:00:3f:3f", 0x3F003F01


@functools.cache
def _veth_stencil(name_length: int, bridge_index: int, mtu: int, inside: str) -> bytes:
    """Encoded once and then filled in: pyroute2 takes 0.4 ms for it, a quarter of making a whole slot."""
    peer = [
        ("IFLA_IFNAME", inside),
        ("IFLA_ADDRESS", _BLANK_MAC),
        ("IFLA_MTU", mtu),
        ("IFLA_NET_NS_FD", _BLANK_DESCRIPTOR),
        *_ONE_QUEUE,
    ]
    pair = {"attrs": [("VETH_INFO_PEER", {"index": INNER_INDEX, "attrs": peer})]}
    info = {"attrs": [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", pair)]}
    body = _link_body(name=_BLANK_NAME[:name_length], up=True)
    body["attrs"] += [("IFLA_MASTER", bridge_index), ("IFLA_MTU", mtu), *_ONE_QUEUE, ("IFLA_LINKINFO", info)]
    return _encode(body, RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL)


def reflecting_port(name: str) -> Message:
    """Lets the bridge send a packet back where it came from: a task may call its own published port.

    Needed where br_netfilter is loaded (Docker does it): the bridge itself then leads translated packets to their port.

    The port itself needs no IPv6 address; making one up, and telling everybody, is a fifth of what a burst of
    starts costs the kernel.
    """
    slave = {"attrs": [("IFLA_BRPORT_MODE", 1)]}
    info = {"attrs": [("IFLA_INFO_SLAVE_KIND", "bridge"), ("IFLA_INFO_SLAVE_DATA", slave)]}
    body = _link_body(name=name)
    body["attrs"] += [("IFLA_LINKINFO", info), _quiet()]
    return _message(f"set up bridge port {name}", body, RTM_NEWLINK, 0)


def _quiet() -> tuple[str, Any]:
    """Of a link that makes up no IPv6 address."""
    return ("IFLA_AF_SPEC", {"attrs": [("AF_INET6", {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", _NO_ADDRESS)]})]})


_NO_ADDRESS = 1  # IN6_ADDR_GEN_MODE_NONE of linux/if_link.h

LOOPBACK_INDEX, INNER_INDEX = 1, 2
"""In a namespace of ours: chosen by us, so that no look-up is needed between making and setting up."""


@functools.cache
def raise_link(index: int) -> Message:
    """Brings a link up."""
    return _message(f"bring link {index} up", _link_body(index=index, up=True), RTM_NEWLINK, 0)


def raise_quietly(name: str) -> list[Message]:
    """Brings a link up that makes up no IPv6 address; one message would bring it up first."""
    quiet = _link_body(name=name)
    quiet["attrs"] += [_quiet()]
    up = f"bring link {name} up"
    return [_message(up, quiet, RTM_NEWLINK, 0), _message(up, _link_body(name=name, up=True), RTM_NEWLINK, 0)]


def group_link(name: str, group: int) -> Message:
    """Puts a link in a group, to be removed with it."""
    body = _link_body(name=name)
    body["attrs"] += [("IFLA_GROUP", group)]
    return _message(f"group link {name}", body, RTM_NEWLINK, 0, {errno.ENODEV})


def remove_group(group: int) -> Message:
    """All links of a group at once: the kernel waits for its readers once, not once a link."""
    body = _link_body()
    body["attrs"] += [("IFLA_GROUP", group)]
    return _message("remove links", body, RTM_DELLINK, 0, {errno.ENODEV})


def remove_link(name: str) -> Message:
    """A link that is gone already counts as removed."""
    return _message(f"remove link {name}", _link_body(name=name), RTM_DELLINK, 0, {errno.ENODEV})


def address(interface: str, *, index: int, neighbours: bool = True) -> Message:
    """`interface` is an address with its prefix length. It is ours alone: IPv6 need not ask who else has it.

    Without `neighbours` there is no route to the rest of its subnet.
    """
    text, length = interface.split("/")
    body = ifaddrmsg()
    body["family"], body["prefixlen"], body["index"] = _family(text), int(length), index
    body["flags"] = IFA_F_NODAD if ":" in text else 0
    body["attrs"] = [("IFA_LOCAL", text), ("IFA_ADDRESS", text)]
    if not neighbours:
        body["attrs"] += [("IFA_FLAGS", body["flags"] | IFA_F_NOPREFIXROUTE)]
    flags = NLM_F_CREATE | NLM_F_REPLACE
    return _message(f"add address {interface}", body, RTM_NEWADDR, flags, {errno.EEXIST})


def _link_body(*, index: int = 0, name: str = "", up: bool = False) -> Any:
    body = ifinfmsg()
    body["index"], body["flags"], body["change"] = index, IFF_UP * up, IFF_UP * up
    body["attrs"] = [("IFLA_IFNAME", name)] if name else []
    return body


def _link(message: Any, addresses: dict[int, list[str]]) -> Link:
    info = message.get_attr("IFLA_LINKINFO")
    return Link(
        index=message["index"],
        name=message.get_attr("IFLA_IFNAME"),
        kind=(info.get_attr("IFLA_INFO_KIND") or "") if info else "",
        mtu=message.get_attr("IFLA_MTU"),
        master=message.get_attr("IFLA_MASTER") or 0,
        is_up=bool(message["flags"] & IFF_UP),
        addresses=tuple(addresses.get(message["index"], ())),
        tunnel=_tunnel(message, info),
    )


def _tunnel(message: Any, info: Any) -> Tunnel | None:
    if info is None or info.get_attr("IFLA_INFO_KIND") != "vxlan":
        return None
    data = info.get_attr("IFLA_INFO_DATA")
    return Tunnel(
        vni=data.get_attr("IFLA_VXLAN_ID"),
        port=data.get_attr("IFLA_VXLAN_PORT"),
        local=data.get_attr("IFLA_VXLAN_LOCAL") or data.get_attr("IFLA_VXLAN_LOCAL6") or "",
        mac=message.get_attr("IFLA_ADDRESS"),
        learning=bool(data.get_attr("IFLA_VXLAN_LEARNING")),
    )


def _read(shape: Any, kind: int, body: bytes) -> Any:
    message = shape(HEADER.pack(HEADER.size + len(body), kind, 0, 0, 0) + body)
    message.decode()
    return message


def _list(conversation: kernel.Socket, kind: int, shape: Any, what: str) -> Iterable[Any]:
    for reply, body in conversation.dump(kind, _body(shape()), what):
        yield _read(shape, reply, body)


def _message(what: str, body: Any, kind: int, flags: int, forgiven: Iterable[int] = ()) -> Message:
    return Message(what, _encode(body, kind, flags | NLM_F_ACK), frozenset(forgiven))


def _encode(body: Any, kind: int, flags: int) -> bytes:
    return kernel.packed(kind, flags, _body(body))


def _body(body: Any) -> bytes:
    body.encode()
    return bytes(body.data)[HEADER.size :]


def _family(text: str) -> int:
    return socket.AF_INET6 if ":" in text else socket.AF_INET
