"""Where other nodes get blobs: a listener that lets in nodes of this cluster and nobody else.

What is given is what came from the cluster's own registry, which every node may pull from: nothing of other registries.
"""

import asyncio
import importlib
import logging
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from agent.images.sharing import Gone, Sharing
from orch.identity import roles, tls
from orch.oci import reference

if TYPE_CHECKING:
    from aiohttp import web

MOST_AT_ONCE = 32
"""Readers: the registry sends two for each blob; whoever comes beyond that asks elsewhere."""

_log = logging.getLogger(__name__)

Identity = Callable[[], tuple[bytes, bytes, bytes]]
"""Certificate, key and authority (PEM), as they are now."""


class Giving:
    """`open` it before something is pulled; it listens from the first time on. Close it."""

    def __init__(self, sharing: Sharing, host: Callable[[], str], port: int, identity: Identity) -> None:
        """`host` is where other nodes reach this one."""
        self.sharing = sharing
        self._host = host
        self._port = port
        self._identity = identity
        self._runner: Any = None
        self._shown: tuple[bytes, bytes, bytes] | None = None
        self._tls: ssl.SSLContext | None = None
        self._opening = asyncio.Lock()
        self._at_once = 0
        self.offer = ""
        """host:port for others; empty while there is none."""

    async def open(self) -> None:
        """It listens, if it can. With each call the certificate is the one of now."""
        async with self._opening:
            try:
                self._show()
                if not self.offer and self._host():
                    self.offer = await self._listen()
            except (OSError, ValueError) as problem:
                _log.warning(
                    "blobs cannot be given to other nodes on port %d: %s (--share-port)", self._port, problem
                )

    async def close(self) -> None:
        self.offer = ""
        if self._runner:
            await self._runner.cleanup()
        self.sharing.close()

    async def _listen(self) -> str:
        web = await asyncio.to_thread(importlib.import_module, "aiohttp.web")
        application = web.Application()
        application.router.add_get("/v2/{name:.+}/blobs/{digest}", self._give)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        host = self._host()
        everywhere = "::" if ":" in host else "0.0.0.0"  # noqa: S104  nodes alone are let in
        await web.TCPSite(self._runner, everywhere, self._port, ssl_context=self._tls).start()
        port = self._runner.addresses[0][1]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def _show(self) -> None:
        now = self._identity()
        if now == self._shown:
            return
        if self._tls is None:
            self._tls = tls.server(*now)
        else:
            tls.show(self._tls, now[0], now[1])
        self._shown = now

    async def _give(self, request: "web.Request") -> "web.StreamResponse":
        from aiohttp import web

        if not _is_node(request):
            return web.Response(status=403, text="blobs are given to nodes of this cluster")
        digest = request.match_info["digest"]
        size = self.sharing.size(digest) if reference.is_digest(digest) else None
        if size is None or self._at_once >= MOST_AT_ONCE:
            return web.Response(status=404 if size is None else 503)
        start = _start(request.headers.get("Range", ""))
        if start is None or start >= size:
            return web.Response(status=416)
        response = web.StreamResponse(status=206 if start else 200)
        response.content_length = size - start
        if start:
            response.headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        self._at_once += 1
        try:
            await response.prepare(request)
            async for chunk in self.sharing.read(digest, start):
                await response.write(chunk)
            await response.write_eof()
        except Gone:
            _break_off(request)
        finally:
            self._at_once -= 1
        return response


def _is_node(request: "web.Request") -> bool:
    """Whether the certificate, which this cluster's authority has signed, is a node's."""
    connection = request.transport.get_extra_info("ssl_object") if request.transport else None
    shown = connection.getpeercert() if connection else None
    subject = {key: value for part in (shown or {}).get("subject", ()) for key, value in part}
    return bool(subject.get("organizationName") == roles.Role.NODE)


def _start(text: str) -> int | None:
    """Of `bytes=N-`, which is all that is asked for here."""
    if not text:
        return 0
    number = text.removeprefix("bytes=").removesuffix("-")
    return int(number) if number.isdecimal() else None


def _break_off(request: "web.Request") -> None:
    """Who reads must see that the rest does not come."""
    if request.transport:
        request.transport.abort()
