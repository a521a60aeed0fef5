"""ADD of an address: the file behind it, of bounded size, its time as the server says, its digest as demanded."""

import email.utils
import hashlib
import os
import posixpath
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from agent.builds.sources import CannotPlace

if TYPE_CHECKING:
    import aiohttp

LARGEST_BYTES = 4 << 30
CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 60.0
_CHUNK = 1 << 18
_MOST_REDIRECTS = 10


def is_address(source: str) -> bool:
    return "://" in source or source.startswith("git@")


def file_name(address: str) -> str:
    """What the file is called that comes from there. Raises CannotPlace."""
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or parts.path.endswith(".git"):
        raise CannotPlace(
            f"ADD {address}: only http and https are fetched; git clone in a RUN, or in the context"
        )
    name = unquote(posixpath.basename(parts.path))
    if not name or name in {".", ".."} or "/" in name or "\0" in name:
        raise CannotPlace(f"ADD {address}: the address names no file: say ADD {address} /a/whole/path")
    return name


def checked(checksum: str) -> str:
    """sha256:… as --checksum has it, or "". Raises CannotPlace."""
    kind, _, digits = checksum.partition(":")
    known = len(digits) == 64 and all(letter in "0123456789abcdef" for letter in digits)
    if checksum and not (kind == "sha256" and known):
        raise CannotPlace(f"--checksum={checksum}: write sha256: and 64 hexadecimal digits")
    return checksum


@dataclass(frozen=True, slots=True)
class Known:
    """What was behind an address when it was last asked."""

    digest: str
    at: int
    """Unix seconds, as the server says; 0 where it says nothing."""
    etag: str = ""
    modified: str = ""

    @property
    def conditions(self) -> dict[str, str]:
        """Headers that ask for the content only if it is another one."""
        said = {"If-None-Match": self.etag, "If-Modified-Since": self.modified}
        return {name: value for name, value in said.items() if value}


async def fetch(address: str, path: Path, known: Known | None = None, largest: int = LARGEST_BYTES) -> Known:
    """Into `path`, readable by its owner only; nothing is there when it is still what is known. Raises CannotPlace."""
    import aiohttp

    limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
    headers = {"User-Agent": "orch"} | (known.conditions if known else {})
    try:
        async with (
            aiohttp.ClientSession(timeout=limits, headers=headers, trust_env=True) as session,
            session.get(address, max_redirects=_MOST_REDIRECTS) as answer,
        ):
            if known and known.conditions and answer.status == 304:
                return known
            if answer.status != 200:
                raise CannotPlace(f"{address}: the server answered {answer.status} {answer.reason}")
            digest = await _save(answer, path, largest, lambda why: CannotPlace(f"{address}: {why}"))
            etag, modified = (answer.headers.get(name, "") for name in ("ETag", "Last-Modified"))
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise CannotPlace(f"{address} cannot be fetched: {error or 'no word in time'}") from error
    at = _last_modified(modified)
    os.utime(path, (at, at))
    return Known(digest, at, etag, modified)


async def fetch_exactly(address: str, path: Path, digest: str) -> None:
    """The same, and it must be what is demanded. Raises CannotPlace."""
    found = await fetch(address, path)
    if found.digest != digest:
        os.unlink(path)
        raise CannotPlace(f"{address} has the digest {found.digest}, not {digest}")


async def _save(
    answer: "aiohttp.ClientResponse", path: Path, largest: int, refuse: Callable[[str], CannotPlace]
) -> str:
    total = hashlib.sha256()
    size = 0
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        async for chunk in answer.content.iter_chunked(_CHUNK):
            size += len(chunk)
            if size > largest:
                raise refuse(f"it is larger than {largest >> 20} MiB")
            total.update(chunk)
            file.write(chunk)
    return f"sha256:{total.hexdigest()}"


def _last_modified(text: str) -> int:
    """Unix seconds; 0 where the server says nothing, so that the same file is the same layer."""
    try:
        return int(email.utils.parsedate_to_datetime(text).timestamp())
    except (ValueError, TypeError):
        return 0
