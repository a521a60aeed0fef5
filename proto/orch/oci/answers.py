"""What a registry answers, read within bounds, and refused with a sentence where it is not what was wanted."""

from typing import TYPE_CHECKING

from orch.oci.failure import ImageFailure, Reason, bad_image
from orch.oci.pool import CHUNK_BYTES
from orch.oci.reference import Reference

if TYPE_CHECKING:
    import aiohttp


async def expect(answer: "aiohttp.ClientResponse", ref: Reference, *wanted: int) -> None:
    """Raises ImageFailure for another status."""
    if answer.status in wanted:
        return
    text = (await answer.content.read(300)).decode(errors="replace").strip()
    busy = answer.status == 429 or answer.status >= 500
    raise ImageFailure(
        Reason.REGISTRY_UNREACHABLE if busy else Reason.BAD_IMAGE,
        f"registry {ref.registry} answered {answer.status} for {ref.familiar}: {text or answer.reason}",
    )


async def read(answer: "aiohttp.ClientResponse", most: int, what: str) -> bytes:
    """At most `most` bytes. Raises ImageFailure."""
    parts, size = [], 0
    async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
        size += len(chunk)
        if size > most:
            raise bad_image(f"{what} is larger than {most >> 20} MiB")
        parts.append(chunk)
    return b"".join(parts)
