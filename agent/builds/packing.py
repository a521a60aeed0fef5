"""One unpacked layer → its archive: the same tree gives the same bytes, on every machine.

What overlayfs writes into an upper directory is translated into the words of an image layer: a device 0:0 is a
whiteout, the opaque mark a `.wh..wh..opq`. Entries come in the order of their names, times in whole seconds, users
and groups by number.
"""

import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

from agent.builds.zipping import Zipping

_OPAQUE = "trusted.overlay.opaque"
_WHITEOUT = os.makedev(0, 0)
_CAPABILITY = "security.capability"
_KEPT = (_CAPABILITY, "user.")
"""Extended attributes that belong to a file wherever it lies."""

_LEVEL = 4
"""Half the time of 6, for 3 parts in a hundred more."""
_PORTION_BYTES = 1 << 18


class Packed(NamedTuple):
    digest: str
    diff_id: str
    size: int
    """Bytes of the compressed archive."""
    length: int
    """Bytes of the archive."""


def pack(directory: str, blob: IO[bytes], latest: int | None = None, first_id: int = 0) -> Packed:
    """The layer in `directory` as a compressed archive; no file is younger than `latest` (Unix seconds).

    `first_id` is the host's id of what the image calls root: not 0 for what a user namespace wrote.
    """
    compressed = _Counting(blob)
    zipped = Zipping(compressed, _LEVEL)
    plain = _Counting(zipped)
    with tarfile.open(fileobj=plain, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_PORTION_BYTES) as tar:
        tar.copybufsize = _PORTION_BYTES  # type: ignore[attr-defined]
        seen: dict[tuple[int, int], str] = {}
        for name, path in _entries(directory):
            _add(tar, name, path, seen, (latest, first_id))
    zipped.close()
    return Packed(compressed.digest, plain.digest, compressed.size, plain.size)


class _Counting(io.RawIOBase):
    """Writes on, and knows how much and what."""

    def __init__(self, target: IO[bytes] | Zipping) -> None:
        self._target = target
        self._hash = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._target.write(data)
        self._hash.update(data)
        self.size += len(data)
        return len(data)

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


def _entries(directory: str) -> Iterator[tuple[str, str]]:
    """(name in the archive, path) of everything, directories before what is in them."""
    pending = [("", directory)]
    while pending:
        above, where = pending.pop()
        with os.scandir(where) as found:
            members = sorted(found, key=lambda entry: entry.name, reverse=True)
        for entry in members:
            name = f"{above}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                pending.append((f"{name}/", entry.path))
        for entry in reversed(members):
            yield f"{above}{entry.name}", entry.path


def _add(
    tar: tarfile.TarFile,
    name: str,
    path: str,
    seen: dict[tuple[int, int], str],
    bounds: tuple[int | None, int],
) -> None:
    found = os.lstat(path)
    if stat.S_ISSOCK(found.st_mode):
        return
    entry = _entry(name, found, *bounds)
    if stat.S_ISCHR(found.st_mode) and found.st_rdev == _WHITEOUT:
        above, slash, hidden = name.rpartition("/")
        tar.addfile(_empty(f"{above}{slash}.wh.{hidden}", entry.mtime))
        return
    if stat.S_ISLNK(found.st_mode):
        entry.type, entry.linkname = tarfile.SYMTYPE, os.readlink(path)
    elif stat.S_ISDIR(found.st_mode):
        entry.type = tarfile.DIRTYPE
    elif stat.S_ISREG(found.st_mode):
        twin = (found.st_dev, found.st_ino)
        if found.st_nlink > 1 and twin in seen:
            entry.type, entry.linkname, entry.size = tarfile.LNKTYPE, seen[twin], 0
            tar.addfile(entry)
            return
        seen[twin] = name
        entry.size = found.st_size
    elif stat.S_ISFIFO(found.st_mode):
        entry.type = tarfile.FIFOTYPE
    else:
        entry.type = tarfile.CHRTYPE if stat.S_ISCHR(found.st_mode) else tarfile.BLKTYPE
        entry.devmajor, entry.devminor = os.major(found.st_rdev), os.minor(found.st_rdev)
    is_opaque = _take_attributes(entry, path)
    if entry.isreg():
        with open(path, "rb", buffering=0) as content:
            tar.addfile(entry, content)
    else:
        tar.addfile(entry)
    if is_opaque:
        tar.addfile(_empty(f"{name}/.wh..wh..opq", entry.mtime))


def _entry(name: str, found: os.stat_result, latest: int | None, first_id: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.mode = stat.S_IMODE(found.st_mode)
    entry.uid, entry.gid = max(found.st_uid - first_id, 0), max(found.st_gid - first_id, 0)
    entry.mtime = int(found.st_mtime) if latest is None else min(int(found.st_mtime), latest)
    return entry


def _empty(name: str, mtime: float) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.mode, entry.mtime = 0o600, mtime
    return entry


def _take_attributes(entry: tarfile.TarInfo, path: str) -> bool:
    """Those that are kept go into the entry; whether the directory is opaque."""
    is_opaque = False
    headers = {}
    for name in sorted(os.listxattr(path, follow_symlinks=False)):
        if name == _OPAQUE:
            is_opaque = os.getxattr(path, name, follow_symlinks=False) == b"y"
        elif name.startswith(_KEPT) and not name.startswith("user.overlay."):
            value = os.getxattr(path, name, follow_symlinks=False)
            if name == _CAPABILITY:
                value = _of_no_namespace(value)
            headers[f"SCHILY.xattr.{name}"] = value.decode("utf-8", "surrogateescape")
    if headers:
        entry.pax_headers = headers
    return is_opaque


def _of_no_namespace(value: bytes) -> bytes:
    """File capabilities of revision 3 name the user namespace's root; an image holds revision 2."""
    magic = int.from_bytes(value[:4], "little")
    if magic >> 24 != 3:
        return value
    return (magic & 0xFFFFFF | 2 << 24).to_bytes(4, "little") + value[4:20]
