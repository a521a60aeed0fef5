"""The bytes of a blob, from wherever they come: a mirror, another node, the registry; resumed where they broke off.

The digest is for the reader to verify: only it sees all bytes in order. So nobody has to be believed who sends some.
"""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orch.oci import answers, door, peering, routes
from orch.oci.asking import Asking
from orch.oci.failure import ImageFailure, Reason, bad_image
from orch.oci.manifest import Descriptor
from orch.oci.pool import CHUNK_BYTES
from orch.oci.reference import Reference

if TYPE_CHECKING:
    import aiohttp

ATTEMPTS = 4
"""How often a broken download is taken up again where it stopped."""
_MOST_REMEMBERED = 200


class Downloads:
    def __init__(self, asking: Asking, routes_: routes.Routes) -> None:
        self._asking = asking
        self._routes = routes_
        self._came_from: dict[str, list[str]] = {}

    async def blob(
        self, ref: Reference, wanted: Descriptor, *, from_origin: bool = False
    ) -> AsyncIterator[bytes]:
        """`wanted.size` bytes.

        What a mirror or a node began the registry itself goes on with; a reader to whom one of them lied asks again
        `from_origin`.
        """
        received = 0
        for mirror in () if from_origin else self._routes.mirrors_of(ref):
            with contextlib.suppress(_MirrorFailed):
                async for chunk in self._of_mirror(mirror, wanted, received):
                    received += len(chunk)
                    if received > wanted.size:
                        raise _too_long(mirror, wanted)
                    yield chunk
            if received == wanted.size:
                return
        asked = _Asked(
            ref, wanted, from_origin, self._came_from.pop(wanted.digest, []) if from_origin else []
        )
        attempts = 0
        while attempts < ATTEMPTS:
            before = received
            try:
                async for chunk in self._from(asked, received):
                    received += len(chunk)
                    if received > wanted.size:
                        raise _too_long(ref, wanted)
                    yield chunk
            except _PeerFailed as failed:
                asked.failed.append(failed.peer)
                continue
            except ImageFailure as failure:
                broken_midway = failure.reason is Reason.REGISTRY_UNREACHABLE and received > before
                if not broken_midway or attempts + 1 == ATTEMPTS:
                    raise
            attempts += 1
            if received == wanted.size:
                return
        raise ImageFailure(
            Reason.REGISTRY_UNREACHABLE,
            f"registry {ref.registry} sent {received} of {wanted.size} bytes of {wanted.digest} and stopped",
        )

    async def _of_mirror(self, mirror: Reference, wanted: Descriptor, start: int) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._from(_Asked(mirror, wanted, True), start):
                yield chunk
        except ImageFailure as failure:
            self._routes.failed(mirror, failure)
            raise _MirrorFailed from failure

    async def _from(self, asked: "_Asked", start: int) -> AsyncIterator[bytes]:
        way = self._asking.door(asked.ref.registry)
        headers = {"Range": f"bytes={start}-"} if start else {}
        shares = asked.headers(way)
        what = f"blobs/{asked.wanted.digest}"
        async with self._asking.ask(
            "GET", asked.ref, what, headers=headers | shares, follow=not shares
        ) as answer:
            if not (shares and answer.status == 307):
                async for chunk in _content(answer, asked, start):
                    yield chunk
                return
            peer, address = answer.headers.get(peering.PEER, ""), answer.headers.get("Location", "")
        if not (way and peer and address.startswith("https://")):
            raise bad_image(f"registry {asked.ref.registry} sent us on to nowhere: {address:.200}")
        async for chunk in self._from_peer(asked, way, peer, address, start):
            yield chunk

    async def _from_peer(
        self, asked: "_Asked", way: door.Door, peer: str, address: str, start: int
    ) -> AsyncIterator[bytes]:
        headers = {"Range": f"bytes={start}-"} if start else {}
        name = peering.server_name(peer)
        received = start
        try:
            async with self._asking.ask_peer(way, address, name, headers) as answer:
                self._remember(asked.wanted.digest, peer)
                if answer.status not in {200, 206}:
                    raise _PeerFailed(peer)
                async for chunk in _content(answer, asked, start):
                    received += len(chunk)
                    yield chunk
        except ImageFailure as failure:
            raise _PeerFailed(peer) from failure
        if received < asked.wanted.size:
            raise _PeerFailed(peer)

    def _remember(self, digest: str, peer: str) -> None:
        """Whose bytes they are, should they be wrong."""
        while len(self._came_from) >= _MOST_REMEMBERED:
            del self._came_from[next(iter(self._came_from))]
        self._came_from.setdefault(digest, []).append(peer)


@dataclass(frozen=True, slots=True)
class _Asked:
    """One blob, and how that went so far."""

    ref: Reference
    wanted: Descriptor
    from_origin: bool
    failed: list[str] = field(default_factory=list)
    """Nodes that we were sent to and that did not help."""

    def headers(self, way: door.Door | None) -> dict[str, str]:
        """What the cluster's own registry must know to send us on to another node; empty where it must not."""
        if not (way and way.offer):
            return {}
        return peering.asking(
            way.offer, self.failed, direct=self.from_origin or len(self.failed) >= peering.MOST_PEERS
        )


async def _content(answer: "aiohttp.ClientResponse", asked: _Asked, start: int) -> AsyncIterator[bytes]:
    ref = asked.ref
    if answer.status == 404:
        raise bad_image(f"registry {ref.registry} has {ref.familiar} but not its part {asked.wanted.digest}")
    skip = start if answer.status == 200 else 0
    await answers.expect(answer, ref, 200, 206)
    async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
        if skip < len(chunk):
            yield chunk[skip:] if skip else chunk
        skip = max(0, skip - len(chunk))


class _MirrorFailed(Exception):
    """It did not help."""


class _PeerFailed(Exception):
    """It did not help."""

    def __init__(self, peer: str) -> None:
        super().__init__(peer)
        self.peer = peer


def _too_long(ref: Reference, wanted: Descriptor) -> ImageFailure:
    return ImageFailure(
        Reason.DIGEST_MISMATCH,
        f"{wanted.digest} of {ref.familiar} is longer than the {wanted.size} bytes promised",
    )
