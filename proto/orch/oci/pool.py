"""One pool of connections for all registries.

aiohttp is imported at the first request: it is large, and most processes never make one.
"""

import asyncio
import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import aiohttp

CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 30.0
"""A registry that sends nothing for this long is taken for dead."""

CHUNK_BYTES = 1 << 18


class Pool:
    """Opened when it is needed. Close it."""

    def __init__(self, connect_seconds: float = CONNECT_SECONDS) -> None:
        self._connect_seconds = connect_seconds
        self._session: aiohttp.ClientSession | None = None
        self._opening = asyncio.Lock()

    async def close(self) -> None:
        if self._session:
            await self._session.close()
            self._session = None

    async def opened(self) -> "aiohttp.ClientSession":
        async with self._opening:
            if self._session is None:
                # 0.2 s of import belong into a thread: the caller's loop has heartbeats to send.
                aiohttp = await asyncio.to_thread(importlib.import_module, "aiohttp")
                limits = aiohttp.ClientTimeout(
                    total=None, sock_connect=self._connect_seconds, sock_read=SILENCE_SECONDS
                )
                self._session = aiohttp.ClientSession(
                    timeout=limits,
                    auto_decompress=False,
                    read_bufsize=CHUNK_BYTES,
                    headers={"User-Agent": "orch"},
                )
            return self._session
