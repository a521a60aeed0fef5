"""Joins the cluster once and keeps the node's credentials."""

import asyncio
import json
import os
from dataclasses import dataclass
from pathlib import Path

import grpc.aio

from agent.session import channel
from orch.identity import certificate, introduction, token
from orch.v1 import sessions_pb2, sessions_pb2_grpc

JOIN_SECONDS = 15.0


class CannotJoin(Exception):
    """Why, and what to do."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who we are, whom we believe, and where sessions are held."""

    key: bytes
    certificate: bytes
    ca: bytes
    cluster: str
    addresses: tuple[str, ...]
    joined_at: str = ""
    """The address that certificates come from."""

    def connect(self, address: str) -> grpc.aio.Channel:
        """A channel to a control plane."""
        return channel.open_channel(address, ca=self.ca, key=self.key, certificate=self.certificate)

    def is_over(self, now: float) -> bool:
        """The certificate is not valid any more."""
        return certificate.read(self.certificate).not_after < now

    def is_due_for_renewal(self, now: float) -> bool:
        """Two thirds of the certificate's life are over."""
        return certificate.read(self.certificate).is_due_for_renewal(now)


class Vault:
    """The file with the credentials: a single one, so that key and certificate are always a pair."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Credentials | None:
        """None before the node has joined. Raises ValueError when the file is damaged."""
        try:
            found = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return None
        return Credentials(
            key=found["key"].encode(),
            certificate=found["certificate"].encode(),
            ca=found["ca"].encode(),
            cluster=found["cluster"],
            addresses=tuple(found["addresses"]),
            joined_at=found["joined_at"],
        )

    def save(self, credentials: Credentials) -> None:
        """On the disk when it returns."""
        about = {
            "cluster": credentials.cluster,
            "addresses": credentials.addresses,
            "joined_at": credentials.joined_at,
            "key": credentials.key.decode(),
            "certificate": credentials.certificate.decode(),
            "ca": credentials.ca.decode(),
        }
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(self._path, json.dumps(about, indent=1).encode())


async def join(node: str, address: str, token_text: str, known: Credentials | None = None) -> Credentials:
    """With a token, the first time; `known` proves that we had the name before. Raises CannotJoin."""
    try:
        given = token.JoinToken.parse(token_text)
        if known is not None and known.cluster != given.cluster:
            raise CannotJoin(
                f"this node belongs to cluster {known.cluster} and the token is of {given.cluster}: "
                "end its old life first with orch-agent --cleanup"
            )
        host, _, port = address.rpartition(":")
        ca = await asyncio.to_thread(introduction.fetch_ca, host.strip("[]"), int(port), given)
    except introduction.WrongServer as error:
        raise CannotJoin(str(error)) from error
    except OSError as error:
        raise CannotJoin(
            f"nobody answers at {address} ({error}): check the address given with --join"
        ) from error
    except ValueError as error:
        raise CannotJoin(f"cannot join at {address}: {error}") from error
    return await _ask(node, address, ca, token_text, known)


async def renew(node: str, known: Credentials) -> Credentials:
    """With the old key, before the certificate ends. Raises CannotJoin."""
    return await _ask(node, known.joined_at, known.ca, "", known)


async def _ask(node: str, address: str, ca: bytes, token_text: str, known: Credentials | None) -> Credentials:
    from orch.identity import request

    key = request.new_key()
    asking = request.make(key, node)
    message = sessions_pb2.JoinRequest(token=token_text, node=node, request=asking)
    if known is not None:
        message.previous_certificate = known.certificate
        message.proof = request.prove(known.key, asking)
    async with channel.open_channel(address, ca=ca) as to:
        try:
            reply = await sessions_pb2_grpc.JoinStub(to).Join(message, timeout=JOIN_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise CannotJoin(f"cannot join at {address}: {error.details()}") from error
    return Credentials(key, reply.certificate, reply.ca, reply.cluster, tuple(reply.addresses), address)


def _write(path: Path, data: bytes) -> None:
    half = path.with_suffix(".new")
    fd = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    half.replace(path)
