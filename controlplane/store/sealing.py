"""Secrets are encrypted before they reach the store, with a key the store never sees.

AES-256-GCM. An envelope says which key sealed it, so that keys can be changed one secret at a time; it is
bound to the place it was made for, so that one secret cannot be passed off as another.
"""

import base64
import binascii
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

FORMAT = b"\x01"
KEY_BYTES = 32
NONCE_BYTES = 12
ID_BYTES = 4


class Unsealable(Exception):
    """An envelope that cannot be opened: broken, moved to another place, or its key is not here."""


class BadKeyFile(Exception):
    """The key file is missing, readable by others or not what it should be."""


@dataclass(frozen=True, slots=True, repr=False)
class Keyring:
    """Keys by id; new envelopes are sealed with the newest."""

    keys: Mapping[bytes, bytes]
    newest: bytes

    def seal(self, plain: bytes, place: str) -> bytes:
        """The envelope for this place (the store key it is kept under)."""
        nonce = os.urandom(NONCE_BYTES)
        head = FORMAT + self.newest
        return head + nonce + AESGCM(self.keys[self.newest]).encrypt(nonce, plain, head + place.encode())

    def open(self, envelope: bytes, place: str) -> bytes:
        """What was sealed. Raises Unsealable."""
        head, rest = envelope[: 1 + ID_BYTES], envelope[1 + ID_BYTES :]
        key = self.keys.get(head[1:])
        if head[:1] != FORMAT or len(rest) < NONCE_BYTES:
            raise Unsealable(f"{place}: this is not a sealed value")
        if key is None:
            raise Unsealable(f"{place}: sealed with key {head[1:].hex()}, which is not in the key file")
        try:
            return AESGCM(key).decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], head + place.encode())
        except InvalidTag:
            raise Unsealable(f"{place}: the sealed value was changed, or made for another place") from None

    def is_current(self, envelope: bytes) -> bool:
        """Whether the newest key sealed it; if not, it should be sealed anew."""
        return envelope[1 : 1 + ID_BYTES] == self.newest


def load(path: Path) -> Keyring:
    """The keys in a file: one `id:key` a line, hexadecimal and base64, the newest last. Raises BadKeyFile."""
    try:
        mode = path.stat().st_mode
        lines = path.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        raise BadKeyFile(f"{path}: {error}") from error
    if stat.S_IMODE(mode) & 0o077:
        raise BadKeyFile(
            f"{path}: others than its owner may read it; chmod 600 {path}, and consider its keys known"
        )
    keys = dict(_parse(path, line) for line in lines)
    if not keys:
        raise BadKeyFile(f"{path}: there is no key in it; restore it from a backup")
    return Keyring(keys, next(reversed(keys)))


def load_or_create(path: Path) -> Keyring:
    """The keys in the file, which is made with a first key when there is none. Raises BadKeyFile."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, [_new_line()])
    return load(path)


def add_key(path: Path) -> Keyring:
    """Give the file a new newest key; older ones stay, to open what they sealed. Raises BadKeyFile."""
    load(path)
    _write(path, [*path.read_text(encoding="ascii").split(), _new_line()])
    return load(path)


def _parse(path: Path, line: str) -> tuple[bytes, bytes]:
    name, _, encoded = line.partition(":")
    try:
        identity, key = bytes.fromhex(name), base64.b64decode(encoded, validate=True)
    except (ValueError, binascii.Error):
        identity = key = b""
    if (len(identity), len(key)) != (ID_BYTES, KEY_BYTES):
        raise BadKeyFile(f"{path}: a line is not `id:key`, eight hexadecimal digits and 32 bytes in base64")
    return identity, key


def _new_line() -> str:
    return f"{os.urandom(ID_BYTES).hex()}:{base64.b64encode(os.urandom(KEY_BYTES)).decode()}"


def _write(path: Path, lines: list[str]) -> None:
    """Whole or not at all: a half-written key file is every secret lost."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
