"""Lets users and nodes in: TLS with the cluster's certificates, and what each role may do."""

import asyncio
import logging
import secrets
import ssl
import time
from collections.abc import Collection
from pathlib import Path

from aiohttp import web
from obstore.store import LocalStore, ObjectStore, from_url

from controlplane.registry import listing
from controlplane.registry.blobs import Blobs
from controlplane.registry.collect import Pinned, collect
from controlplane.registry.refusal import CannotServe, Code, Refusal
from controlplane.registry.repositories import Repositories
from controlplane.registry.serving import Registry
from controlplane.registry.swarm import Peer, Swarm
from orch.identity import roles, tls
from orch.oci import peering, reference

COLLECTED_EVERY_SECONDS = 6 * 3600.0

_MAY_PUSH = frozenset({roles.Role.USER, roles.Role.ADMIN, roles.Role.SERVER})

log = logging.getLogger(__name__)


class Listener:
    """`start` it, `stop` it; `renew` it with each new certificate; `collect` now and then."""

    def __init__(self, store: ObjectStore) -> None:
        self._blobs = Blobs(store)
        self._repositories = Repositories(store, self._blobs)
        self._swarm = Swarm()
        self._grants: dict[str, tuple[frozenset[str], float]] = {}
        self._serving = Registry(self._blobs, self._repositories, self._admit, self._elsewhere)
        self._runner = web.AppRunner(self._serving.application(), access_log=None)
        self._tls: ssl.SSLContext | None = None
        self.address = ""

    async def start(self, listen: str, certificate: bytes, key: bytes, ca: bytes) -> None:
        """On host:port, as somebody with this certificate (all PEM). Raises CannotServe."""
        self._tls = tls.server(certificate, key, ca)
        await self._blobs.forget_uploads()
        await self._runner.setup()
        host, _, port = listen.rpartition(":")
        try:
            await web.TCPSite(self._runner, host.strip("[]"), int(port), ssl_context=self._tls).start()
        except OSError as error:
            raise CannotServe(f"the registry cannot listen on {listen}: {error.strerror}") from error
        self.address = f"{host}:{self._runner.addresses[0][1]}"

    def renew(self, certificate: bytes, key: bytes) -> None:
        """From the next handshake on."""
        if self._tls:
            tls.show(self._tls, certificate, key)

    async def collect_for_ever(self, pinned: Pinned) -> None:
        """Now and then, what nobody needs any more goes; `pinned` says what revisions run."""
        while True:
            await asyncio.sleep(COLLECTED_EVERY_SECONDS)
            try:
                await self._collect(pinned)
            except Exception:
                log.exception("the registry could not be tidied; it will be tried again")

    async def _collect(self, pinned: Pinned) -> None:
        if gone := await collect(self._blobs, self._repositories, pinned):
            log.info("the registry let %d manifests and blobs go that nobody needs", len(gone))

    @property
    def sent_bytes(self) -> int:
        """Of blobs, to whoever pulled, since the start."""
        return self._serving.sent_bytes

    async def digest(self, repository: str, tag: str) -> str:
        """What a tag stands for; empty when there is no such tag."""
        return await self._repositories.tagged(repository, tag)

    async def tags(self) -> list[listing.Tagged]:
        """All that it has, by name."""
        found = [one async for one in listing.tagged(self._repositories)]
        return sorted(found, key=lambda one: (one.repository, -one.at, one.tag))

    def grant(self, repositories: Collection[str], seconds: float) -> str:
        """A word that lets a node push to these repositories, for so long."""
        now = time.monotonic()
        self._grants = {word: grant for word, grant in self._grants.items() if grant[1] > now}
        word = secrets.token_urlsafe(24)
        self._grants[word] = (frozenset(repositories), now + seconds)
        return word

    def withdraw(self, word: str) -> None:
        """It lets nobody push any more; one that is not known is fine."""
        self._grants.pop(word, None)

    async def _admit(self, request: web.Request, name: str, changes: bool) -> None:
        caller = _caller(request)
        if caller is None:
            raise Refusal(Code.UNAUTHORIZED, "a certificate of this cluster is required")
        if changes and caller.role not in _MAY_PUSH and not self._is_granted(request, name):
            raise Refusal(Code.DENIED, f"{caller.name} ({caller.role}) may pull, and not change {name}")

    def _elsewhere(self, request: web.Request, digest: str, size: int) -> Peer | None:
        """Nodes that give to others what they get are sent to others too; all images are every node's to have."""
        caller = _caller(request)
        offer = request.headers.get(peering.OFFER, "")
        if caller is None or caller.role is not roles.Role.NODE or not reference.is_host(offer):
            return None
        if size < peering.SMALLEST_BYTES:
            return None
        failed = [name for name in request.headers.get(peering.FAILED, "").split(",") if name]
        return self._swarm.source(
            digest,
            Peer(caller.name, offer),
            time.monotonic(),
            failed=failed[: peering.MOST_PEERS],
            direct=peering.DIRECT in request.headers,
        )

    def _is_granted(self, request: web.Request, name: str) -> bool:
        word = request.headers.get("Authorization", "").removeprefix("Bearer ")
        repositories, until = self._grants.get(word, (frozenset[str](), 0.0))
        return name in repositories and time.monotonic() < until

    async def stop(self) -> None:
        await self._runner.cleanup()


def store_at(place: str) -> ObjectStore:
    """A directory, or the address of an object store (s3://bucket/prefix). Raises CannotServe.

    Keys and region of an object store come from the environment, as its own tools take them.
    """
    try:
        if "://" in place:
            return from_url(place)
        Path(place).mkdir(mode=0o700, parents=True, exist_ok=True)
        return LocalStore(place)
    except Exception as error:
        raise CannotServe(f"the registry cannot keep its images in {place}: {error}") from error


def _caller(request: web.Request) -> roles.Caller | None:
    """Who the certificate of the connection speaks of; None for nobody of ours."""
    connection = request.transport.get_extra_info("ssl_object") if request.transport else None
    shown = connection.getpeercert() if connection else None
    subject = {key: value for part in (shown or {}).get("subject", ()) for key, value in part}
    try:
        role = roles.Role(subject.get("organizationName", ""))
    except ValueError:
        return None
    name = subject.get("commonName", "")
    return roles.Caller(name, role) if name else None
