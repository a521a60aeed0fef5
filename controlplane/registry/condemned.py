"""What is to go, told a while before it goes, so that several control planes over one store harm no push.

    condemned/<digits>   empty; its time is when nobody needed the content

A collection condemns, a later one removes. Whoever pushes something that names condemned content spares it; only who
did that looks once more, when a collection that had not seen it yet would be through.
"""

import contextlib

import obstore
from obstore.store import ObjectStore

SECOND_LOOK_SECONDS = 2.0
"""Between a collection's last look at the mark and the removal lies one call."""


class Condemned:
    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def all(self) -> dict[str, float]:
        """Digests, and since when, in Unix seconds."""
        return {
            f"sha256:{one['path'].rpartition('/')[2]}": one["last_modified"].timestamp()
            async for batch in obstore.list(self._store, "condemned")
            for one in batch
        }

    async def add(self, digest: str) -> None:
        await obstore.put_async(self._store, _place(digest), b"")

    async def is_in(self, digest: str) -> bool:
        try:
            await obstore.head_async(self._store, _place(digest))
        except FileNotFoundError:
            return False
        return True

    async def spare(self, digest: str) -> bool:
        """Whether it was condemned; it is not any more."""
        if not await self.is_in(digest):
            return False
        with contextlib.suppress(FileNotFoundError):
            await obstore.delete_async(self._store, _place(digest))
        return True


def _place(digest: str) -> str:
    return f"condemned/{digest.removeprefix('sha256:')}"
