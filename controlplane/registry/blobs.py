"""Content by digest, each once for all repositories, and the uploads that become content.

blobs/<two digits>/<digest>     content
uploads/<id>                    not content yet; nobody goes on with it after the control plane has restarted
"""

import asyncio
import contextlib
import hashlib
import secrets
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import obstore
from obstore.store import LocalStore, ObjectStore

from controlplane.registry import durable
from controlplane.registry.refusal import Code, Refusal

CHUNK_BYTES = 1 << 20
PART_BYTES = 5 << 20
"""What an upload holds in memory, and once more on its way to an object store: the least that S3 takes."""
FILE_PART_BYTES = 1 << 20
"""The same for files."""

IDLE_UPLOAD_SECONDS = 3600.0
GIVEN_UP_SECONDS = 60.0
"""An upload that has been idle for so long makes room where there are too many."""
MOST_UPLOADS = 32
"""Bounds the memory of uploads to 64 MB over files and 320 MB over an object store."""
DEAD_UPLOAD_SECONDS = 86400.0
"""What lies in an object store for so long nobody goes on with: other control planes have uploads there too."""


@dataclass(slots=True)
class Upload:
    """Bytes on their way."""

    id: str
    repository: str
    writer: Any
    hasher: Any = field(default_factory=hashlib.sha256)
    size: int = 0
    touched: float = 0.0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Blobs:
    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._uploads: dict[str, Upload] = {}

    async def size(self, digest: str) -> int | None:
        """Bytes; None for a digest that is not here."""
        try:
            return int((await obstore.head_async(self._store, _place(digest)))["size"])
        except FileNotFoundError:
            return None

    async def read(self, digest: str, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to `end`. Raises FileNotFoundError."""
        if end <= start:
            return
        found = await obstore.get_async(self._store, _place(digest), options={"range": (start, end)})
        async for chunk in found.stream(min_chunk_size=CHUNK_BYTES):
            yield bytes(chunk)

    async def whole(self, digest: str) -> bytes:
        """A small one. Raises FileNotFoundError."""
        return bytes(await (await obstore.get_async(self._store, _place(digest))).bytes_async())

    async def put(self, digest: str, content: bytes) -> None:
        """A small one, whose digest is known to be right."""
        await obstore.put_async(self._store, _place(digest), content)
        await durable.flush(self._store, _place(digest))

    async def came(self, digest: str) -> float:
        """When it came last, in Unix seconds; 0 for a digest that is not here."""
        try:
            found = await obstore.head_async(self._store, _place(digest))
        except FileNotFoundError:
            return 0.0
        return float(found["last_modified"].timestamp())

    async def remove(self, digest: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            await obstore.delete_async(self._store, _place(digest))

    async def all(self) -> AsyncIterator[tuple[str, float]]:
        """(digest, when it came in Unix seconds) of every blob."""
        async for batch in obstore.list(self._store, "blobs"):
            for one in batch:
                yield f"sha256:{one['path'].rpartition('/')[2]}", one["last_modified"].timestamp()

    # Uploads

    async def begin(self, repository: str) -> Upload:
        await self._end_idle(IDLE_UPLOAD_SECONDS)
        if len(self._uploads) >= MOST_UPLOADS:
            await self._end_idle(GIVEN_UP_SECONDS)
        if len(self._uploads) >= MOST_UPLOADS:
            raise Refusal(
                Code.TOO_MANY, f"{MOST_UPLOADS} uploads are under way already: try again in a while"
            )
        identity = secrets.token_hex(16)
        part = FILE_PART_BYTES if isinstance(self._store, LocalStore) else PART_BYTES
        writer = obstore.open_writer_async(
            self._store, f"uploads/{identity}", buffer_size=part, max_concurrency=1
        )
        upload = Upload(identity, repository, await writer.__aenter__(), touched=time.monotonic())
        self._uploads[identity] = upload
        return upload

    def upload(self, repository: str, identity: str) -> Upload:
        found = self._uploads.get(identity)
        if found is None or found.repository != repository:
            raise Refusal(Code.BLOB_UPLOAD_UNKNOWN, "no such upload: it ended, or was idle for too long")
        return found

    async def append(self, upload: Upload, chunks: AsyncIterator[bytes]) -> None:
        async for chunk in chunks:
            try:
                await upload.writer.write(chunk)
            except BaseException:  # nobody knows how much of it was written: nothing can follow
                self._uploads.pop(upload.id, None)
                raise
            upload.hasher.update(chunk)
            upload.size += len(chunk)
            upload.touched = time.monotonic()

    async def finish(self, upload: Upload, digest: str) -> None:
        """The upload becomes the blob `digest`, if that is what it is; otherwise it is gone."""
        found = f"sha256:{upload.hasher.hexdigest()}"
        if found != digest:
            await self.cancel(upload)
            raise Refusal(Code.DIGEST_INVALID, f"the content has the digest {found}, not {digest}")
        del self._uploads[upload.id]
        await upload.writer.close()
        await obstore.rename_async(self._store, f"uploads/{upload.id}", _place(digest))
        await durable.flush(self._store, _place(digest))

    async def cancel(self, upload: Upload) -> None:
        self._uploads.pop(upload.id, None)
        await upload.writer.close()
        with contextlib.suppress(FileNotFoundError):
            await obstore.delete_async(self._store, f"uploads/{upload.id}")

    async def forget_uploads(self) -> None:
        """Those of a control plane before this one; of an object store, which others may use, those of yesterday."""
        if isinstance(self._store, LocalStore) and self._store.prefix:  # unfinished files are on no list
            await asyncio.to_thread(shutil.rmtree, Path(self._store.prefix) / "uploads", ignore_errors=True)
            return
        dead_before = time.time() - DEAD_UPLOAD_SECONDS
        async for batch in obstore.list(self._store, "uploads"):
            dead = [one["path"] for one in batch if one["last_modified"].timestamp() < dead_before]
            await obstore.delete_async(self._store, dead)

    async def _end_idle(self, seconds: float) -> None:
        now = time.monotonic()
        for upload in list(self._uploads.values()):
            if now - upload.touched > seconds and not upload.turn.locked():
                await self.cancel(upload)


def _place(digest: str) -> str:
    digits = digest.removeprefix("sha256:")
    return f"blobs/{digits[:2]}/{digits}"
