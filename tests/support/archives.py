"""Tar archives, honest and hostile."""

import io
import tarfile
from collections.abc import Iterable
from typing import Any


def member(name: str, content: bytes = b"", **properties: Any) -> tuple[tarfile.TarInfo, bytes]:
    """A file, unless `type` says otherwise; `pax` holds extended headers."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    info.mode = properties.pop("mode", 0o644)
    info.pax_headers = properties.pop("pax", {})
    for key, value in properties.items():
        setattr(info, key, value)
    return info, content


def directory(name: str, **properties: Any) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.DIRTYPE, mode=properties.pop("mode", 0o755), **properties)


def symlink(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.SYMTYPE, linkname=target)


def hard_link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.LNKTYPE, linkname=target)


def archive(members: Iterable[tuple[tarfile.TarInfo, bytes]], kind: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content) if content else None)
    return out.getvalue()
