"""What a node tries in a `net check`: each thing a result, whatever happens, and all of it at once."""

import asyncio
import errno
import secrets
import socket
import struct
import time
from collections.abc import Awaitable, Iterator
from typing import Any

from agent.answers.reaching import echoes, place
from agent.answers.reaching.place import Place
from orch.v1 import control_pb2 as pb

TCP_BYTES = 1 << 18
CONNECT_SECONDS = 3.0
DNS_SECONDS = 3.0
AT_ONCE = 64
SIZES = (1400, 1280, 1000, 576)
"""Tried beside the full size, to say what passes."""
_NO_SUCH_NAME = "orch-net-check.default.orch"
_OUTSIDE_NAME = "example.com"


async def everything(own: Place, node: str, plan: pb.NetPlan) -> list[pb.NetResult]:
    """All results; it takes a few seconds, however many nodes there are."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(work: Awaitable[pb.NetResult]) -> pb.NetResult:
        async with turn:
            result = await work
        setattr(result, "from", node)
        return result

    return list(await asyncio.gather(*map(one, _works(own, node, plan))))


def _works(own: Place, node: str, plan: pb.NetPlan) -> Iterator[Awaitable[pb.NetResult]]:
    others = [other for other in plan.places if other.node != node]
    for other in others:
        yield _nodes(other)
        yield _containers(own, other)
        yield _size(own, other)
        yield _tcp(own, other)
    yield _dns(own, "dns", plan.targets[0].service if plan.targets else _NO_SUCH_NAME)
    yield _dns(own, "outside", _OUTSIDE_NAME)
    for target in plan.targets:
        if target.address:
            yield _virtual(own, target)
        if target.published:
            yield _published(target, node, "127.0.0.1")
            for other in others:
                yield _published(target, other.node, other.node_address)


async def _nodes(other: pb.NetPlace) -> pb.NetResult:
    """The machines themselves, by ICMP; and how large a packet passes between them."""
    result = pb.NetResult(what="nodes", to=other.node, way=place.way_to(other.address))
    try:
        link = socket.socket(
            socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, socket.IPPROTO_ICMP
        )
        mtu = min(place.mtu_of(link, place.link_to(other.node_address)) or 1500, other.node_mtu or 1500)
        with echoes.Sender(link) as sender:
            found = await sender.send((other.node_address, 0), {echoes.SMALL: echoes.COUNT, mtu: 2})
    except OSError as error:
        result.error = _words(error)
        return result
    return echoes.result(result.what, result.to, result.way, found)


async def _containers(own: Place, other: pb.NetPlace) -> pb.NetResult:
    """From place to place, small packets."""
    result = pb.NetResult(what="containers", to=other.node, way=place.way_to(other.address))
    try:
        with echoes.Sender(await own.socket(socket.SOCK_DGRAM)) as sender:
            found = await sender.send((other.address, place.PORT), {echoes.SMALL: echoes.COUNT})
    except OSError as error:
        result.error = _words(error)
        return result
    return echoes.result(result.what, result.to, result.way, found)


async def _size(own: Place, other: pb.NetPlace) -> pb.NetResult:
    """From place to place, the largest packets that both have room for, and smaller ones to know what passes."""
    full = min(own.mtu, other.mtu)
    result = pb.NetResult(what="size", to=other.node, way=place.way_to(other.address))
    try:
        with echoes.Sender(await own.socket(socket.SOCK_DGRAM)) as sender:
            sizes = {full: 5} | dict.fromkeys((each for each in SIZES if each < full), 2)
            found = await sender.send((other.address, place.PORT), sizes)
    except OSError as error:
        result.error = _words(error)
        return result
    result = echoes.result(result.what, result.to, result.way, found)
    if full not in found.sizes:
        result.error = f"packets of {full} bytes do not pass, of {result.bytes} do"
    return result


async def _tcp(own: Place, other: pb.NetPlace) -> pb.NetResult:
    """From place to place, a quarter of a megabyte there and back."""
    result = pb.NetResult(what="tcp", to=other.node, way=place.way_to(other.address))
    began = time.monotonic()
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            link = await own.socket(socket.SOCK_STREAM)
            try:
                await asyncio.get_running_loop().sock_connect(link, (other.address, place.PORT))
            except BaseException:
                link.close()
                raise
            reader, writer = await asyncio.open_connection(sock=link)
            try:
                writer.write(b"\0" * TCP_BYTES)
                await reader.readexactly(TCP_BYTES)
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        result.error = _words(error)
        return result
    result.sent = result.received = 1
    result.median = time.monotonic() - began
    return result


async def _dns(own: Place, what: str, name: str) -> pb.NetResult:
    """Asks orch-dns from inside, as a task does."""
    result = pb.NetResult(what=what, to=name, sent=1)
    began = time.monotonic()
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(DNS_SECONDS):
            link = await own.socket(socket.SOCK_DGRAM)
            with link:
                await loop.sock_connect(link, (own.gateway, 53))
                await loop.sock_sendall(link, _query(name))
                reply = await loop.sock_recv(link, 4096)
    except (OSError, TimeoutError) as error:
        result.error = _words(error)
        return result
    code = reply[3] & 15 if len(reply) > 3 else -1
    result.received, result.median = 1, time.monotonic() - began
    if code not in {0, 3}:
        result.error = f"the answer is error {code} of DNS"
    elif code == 3 and name != _NO_SUCH_NAME:
        result.error = "there is no such name"
    return result


async def _virtual(own: Place, target: pb.NetTarget) -> pb.NetResult:
    link = await own.socket(socket.SOCK_STREAM)
    return await _connected(
        pb.NetResult(what="virtual", to=target.service), link, (target.address, target.port)
    )


async def _published(target: pb.NetTarget, node: str, address: str) -> pb.NetResult:
    link = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    to = f"{target.service}:{target.published} at {'localhost' if address == '127.0.0.1' else node}"
    return await _connected(pb.NetResult(what="published", to=to), link, (address, target.published))


async def _connected(result: pb.NetResult, link: socket.socket, to: tuple[str, int]) -> pb.NetResult:
    began = time.monotonic()
    result.sent = 1
    try:
        with link:
            async with asyncio.timeout(CONNECT_SECONDS):
                await asyncio.get_running_loop().sock_connect(link, to)
    except (OSError, TimeoutError) as error:
        result.error = _words(error)
        return result
    result.received, result.median = 1, time.monotonic() - began
    return result


def _query(name: str) -> bytes:
    labels = b"".join(bytes((len(each),)) + each.encode() for each in name.split("."))
    return (
        struct.pack("!HHHHHH", secrets.randbits(16), 0x100, 1, 0, 0, 0)
        + labels
        + b"\0"
        + struct.pack("!HH", 1, 1)
    )


def _words(error: Any) -> str:
    if isinstance(error, TimeoutError) and not getattr(error, "errno", None):
        return "no answer"
    if isinstance(error, OSError) and error.errno == errno.ECONNREFUSED:
        return "refused"
    return str(getattr(error, "strerror", "") or error)
