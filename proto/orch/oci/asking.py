"""One request to a registry: the way there, and who we are when it asks."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from orch.oci import door, routes, tokens
from orch.oci.failure import ImageFailure, Reason
from orch.oci.pool import Pool
from orch.oci.reaching import Reaching
from orch.oci.reference import CLUSTER, DOCKER_HUB, Reference

if TYPE_CHECKING:
    import aiohttp

PATIENCE = 5
"""So often a registry that says when to come back is asked again."""
LONGEST_PAUSE_SECONDS = 30

PEER_CONNECT_SECONDS = 2.0
PEER_SILENCE_SECONDS = 10.0
"""Of another node: there are others, and the registry itself."""


class Asking:
    """For one caller; what they were let in with is kept."""

    def __init__(
        self, routes_: routes.Routes, credentials: tokens.CredentialsOf, door_: door.DoorOf, pool: Pool
    ) -> None:
        self.door = door_
        self._routes = routes_
        self._pool = pool
        self._tokens = tokens.Tokens(routes_, credentials, pool)

    @asynccontextmanager
    async def ask(
        self,
        method: str,
        ref: Reference,
        what: str,
        *,
        pushing: bool = False,
        headers: dict[str, str] | None = None,
        data: Any = None,
        follow: bool = True,
    ) -> AsyncIterator["aiohttp.ClientResponse"]:
        """`what` is below the repository, or a whole address. A challenge is answered once."""
        way = self.door(ref.registry)
        if way is None and ref.registry == CLUSTER:
            raise ImageFailure(
                Reason.REGISTRY_UNREACHABLE, "the cluster's own registry is not known here (yet)"
            )
        key = tokens.key(ref, pushing=pushing)
        sent = dict(headers or {})
        if known := self._tokens.known(key):
            sent["Authorization"] = known
        if way and way.authorization:
            sent["Authorization"] = way.authorization
        with Reaching(ref.registry):
            options: dict[str, Any] = {"headers": sent, "data": data, "allow_redirects": follow}
            answer = await self._send(method, ref, what, way, options)
            for _ in range(PATIENCE if data is None else 0):
                if (seconds := _wanted_pause(answer)) is None:
                    break
                answer.release()
                await asyncio.sleep(seconds)
                answer = await self._send(method, ref, what, way, options)
            if answer.status == 401:
                challenges = answer.headers.getall("WWW-Authenticate", [])
                answer.release()
                sent["Authorization"] = await self._tokens.answer(
                    challenges, ref, key, sent.get("Authorization")
                )
                answer = await self._send(method, ref, what, way, options)
            async with answer:
                if answer.status in {401, 403}:
                    self._tokens.forget(key)
                    raise self._tokens.unauthorized(ref)
                yield answer

    @asynccontextmanager
    async def ask_peer(
        self, way: door.Door, address: str, server_name: str, headers: dict[str, str]
    ) -> AsyncIterator["aiohttp.ClientResponse"]:
        """GET from another node of the cluster, which must show a certificate with this name."""
        session = await self._pool.opened()
        import aiohttp

        with Reaching(server_name):
            tls: dict[str, Any] = {"ssl": way.tls, "server_hostname": server_name}
            limits = aiohttp.ClientTimeout(sock_connect=PEER_CONNECT_SECONDS, sock_read=PEER_SILENCE_SECONDS)
            async with session.get(
                address, headers=headers, allow_redirects=False, timeout=limits, **tls
            ) as answer:
                yield answer

    async def _send(
        self, method: str, ref: Reference, what: str, way: door.Door | None, options: dict[str, Any]
    ) -> "aiohttp.ClientResponse":
        import aiohttp

        session = await self._pool.opened()
        if way:
            url = _url(f"https://{way.address}", ref, what)
            return await session.request(method, url, ssl=way.tls, server_hostname=way.server_name, **options)
        tls = self._routes.tls(ref.registry)
        trusted: dict[str, Any] = {"ssl": tls} if tls else {}
        try:
            return await session.request(
                method, _url(self._base(ref.registry), ref, what), **trusted, **options
            )
        except aiohttp.ClientConnectorSSLError:
            if not self._routes.goes_on_plain(ref.registry):
                raise
        return await session.request(method, _url(self._base(ref.registry), ref, what), **options)

    def _base(self, registry: str) -> str:
        host = "registry-1.docker.io" if registry == DOCKER_HUB else registry
        return f"{'http' if self._routes.is_plain(registry) else 'https'}://{host}"


def _wanted_pause(answer: "aiohttp.ClientResponse") -> float | None:
    """Seconds until a registry that has too much to do wants to be asked again; None where it did not say, or hours."""
    said = answer.headers.get("Retry-After", "")
    if answer.status not in {429, 503} or not said.isdecimal() or int(said) > LONGEST_PAUSE_SECONDS:
        return None
    return float(said)


def _url(base: str, ref: Reference, what: str) -> str:
    return what if "://" in what else f"{base}/v2/{ref.repository}/{what}"
