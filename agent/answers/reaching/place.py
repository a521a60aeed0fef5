"""A node's place in a `net check`: a network of its own on the bridge, with sockets in it and no process."""

import asyncio
import contextlib
import fcntl
import secrets
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

from agent.answers.reaching import echoes
from agent.network.attachment import Attached

PORT = 7
TUNNEL = "orch-vxlan"
_SIOCGIFMTU = 0x8921
_INSIDE = "eth0"


class Insides(Protocol):
    """agent.network.network.Network."""

    async def attach(self, task: str) -> Attached: ...
    async def detach(self, task: str) -> None: ...
    async def socket_inside(self, task: str, family: int, kind: int) -> socket.socket: ...
    async def verify_policy(self) -> bool: ...
    async def look_around(self) -> None: ...
    def problems(self) -> tuple[str, ...]: ...


class Place:
    """Made by `opened`."""

    def __init__(self, insides: Insides, key: str, attached: Attached, mtu: int) -> None:
        """`mtu`: of its link."""
        self._insides = insides
        self._key = key
        self.address = next(each for each in attached.addresses if ":" not in each)
        self.gateway = attached.gateway
        self.mtu = mtu

    async def socket(self, kind: int) -> socket.socket:
        """Of the place's own network; it never blocks."""
        return await self._insides.socket_inside(self._key, socket.AF_INET, kind)


@contextlib.asynccontextmanager
async def opened(insides: Insides, keys: set[str]) -> AsyncIterator[Place]:
    """Answers on TCP and UDP until it is left. `keys` are of what has a place without being a task."""
    key = f"net-check-{secrets.token_hex(4)}"
    keys.add(key)
    loop = asyncio.get_running_loop()
    try:
        attached = await insides.attach(key)
        async with contextlib.AsyncExitStack() as stack:
            udp = await insides.socket_inside(key, socket.AF_INET, socket.SOCK_DGRAM)
            stack.callback(udp.close)
            udp.bind(("", PORT))
            loop.add_reader(udp, echoes.answer, udp)
            stack.callback(loop.remove_reader, udp)
            tcp = await insides.socket_inside(key, socket.AF_INET, socket.SOCK_STREAM)
            stack.callback(tcp.close)
            tcp.bind(("", PORT))
            tcp.listen(128)
            server = await asyncio.start_server(_echo, sock=tcp)
            stack.callback(server.close)
            yield Place(insides, key, attached, mtu_of(udp, _INSIDE))
    finally:
        await asyncio.shield(insides.detach(key))
        keys.discard(key)


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


def plain() -> socket.socket:
    """Of the node's own network, to ask about links."""
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)


def mtu_of(link: socket.socket, name: str) -> int:
    """Of a link of the socket's network; 0 where there is none of that name."""
    try:
        found = fcntl.ioctl(link, _SIOCGIFMTU, struct.pack("16s16x", name.encode()))
    except OSError:
        return 0
    return int(struct.unpack_from("i", found, 16)[0])


def link_to(address: str) -> str:
    """By which link the node sends to an IPv4 address; empty where it does not know how."""
    wanted = int.from_bytes(socket.inet_aton(address), "little")
    best, found = -1, ""
    for line in Path("/proc/thread-self/net/route").read_text(encoding="ascii").splitlines()[1:]:
        name, network, _, flags, _, _, _, mask, *_ = line.split()
        bits = int(mask, 16)
        if int(flags, 16) & 1 and wanted & bits == int(network, 16) and bits.bit_count() > best:
            best, found = bits.bit_count(), name
    return found


def way_to(address: str) -> str:
    """By vxlan or route."""
    return "vxlan" if link_to(address) == TUNNEL else "route"


def own_link(address: str) -> str:
    """The link that has an address of this node."""
    for _, name in socket.if_nameindex():
        with plain() as link:
            try:
                found = fcntl.ioctl(link, 0x8915, struct.pack("16s16x", name.encode()))  # SIOCGIFADDR
            except OSError:
                continue
        if socket.inet_ntoa(found[20:24]) == address:
            return name
    return ""


def conntrack() -> tuple[int, int]:
    """Connections that the kernel follows, and how many it may; zeros where it does not say."""
    numbers = []
    for name in ("count", "max"):
        try:
            numbers.append(int(Path(f"/proc/sys/net/netfilter/nf_conntrack_{name}").read_text()))
        except (OSError, ValueError):
            return 0, 0
    return numbers[0], numbers[1]
