"""The files of the data directory that say who we are: see `controlplane.settings` for the list."""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from controlplane.api import authority
from orch.identity import certificate, roles, token

ADMIN = roles.Caller("admin", roles.Role.ADMIN)


class BadDirectory(Exception):
    """What is wrong with the data directory, and what to do."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The authority, and our own certificate."""

    ca: authority.Pair
    server: authority.Pair


def lock(directory: Path) -> int:
    """A descriptor that holds the directory until it is closed. Raises BadDirectory."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BadDirectory(
            f"cannot keep data in {directory}: {error.strerror}; --data names another"
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise BadDirectory(f"{directory} is in use by another control plane: stop that one first") from None
    return descriptor


def authority_in(directory: Path) -> authority.Pair | None:
    """The authority as it lies there, if it does. Raises BadDirectory when only half of it does."""
    certificate_file, key_file = directory / "ca.crt", directory / "ca.key"
    if not certificate_file.exists() and not key_file.exists():
        return None
    try:
        return authority.Pair(certificate_file.read_bytes(), key_file.read_bytes())
    except OSError as error:
        raise BadDirectory(f"{directory} must hold both ca.crt and ca.key: {error}") from error


def check_same(directory: Path, ours: authority.Pair | None, clusters: bytes) -> authority.Pair:
    """Ours, when it is the cluster's. Raises BadDirectory."""
    if ours is None:
        raise BadDirectory(
            f"the store already belongs to a cluster, and {directory} has no ca.crt and ca.key: "
            "copy both from another control plane of it"
        )
    if certificate.digest(ours.certificate) != certificate.digest(clusters):
        raise BadDirectory(
            f"{directory}/ca.crt is not the authority of the cluster in the store: "
            "this directory belongs to another cluster"
        )
    return ours


def keep_authority(directory: Path, pair: authority.Pair) -> None:
    """Write the authority down."""
    write(directory / "ca.key", pair.key, 0o600)
    write(directory / "ca.crt", pair.certificate, 0o644)


def credentials(
    directory: Path, pair: authority.Pair, name: str, addresses: tuple[str, ...], now: float
) -> Credentials:
    """Ours and the administrator's, made or made anew where they are missing or due."""
    _keep(directory, "admin", pair, ADMIN, (), now)
    server = _keep(directory, "server", pair, roles.Caller(name, roles.Role.SERVER), addresses, now)
    return Credentials(pair, server)


def keep_token(directory: Path, made: token.JoinToken) -> None:
    """For `orch-agent --join` on this machine."""
    write(directory / "join-token", f"{made}\n".encode(), 0o600)


def write(path: Path, content: bytes, mode: int) -> None:
    """Whole or not at all, and never readable by more than `mode` says."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _keep(
    directory: Path,
    stem: str,
    pair: authority.Pair,
    who: roles.Caller,
    addresses: tuple[str, ...],
    now: float,
) -> authority.Pair:
    certificate_file, key_file = directory / f"{stem}.crt", directory / f"{stem}.key"
    if certificate_file.exists() and key_file.exists():
        held = authority.Pair(certificate_file.read_bytes(), key_file.read_bytes())
        facts = certificate.read(held.certificate)
        is_ours = facts.caller == who and authority.is_signed_by(held.certificate, pair.certificate)
        if is_ours and not facts.is_due_for_renewal(now):
            return held
    made = authority.issue(pair, who, now, addresses)
    write(key_file, made.key, 0o600)
    write(certificate_file, made.certificate, 0o644)
    return made
