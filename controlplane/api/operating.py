"""JoinToken, Store and Version: running the cluster itself."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controlplane.api import errors, tokens
from controlplane.loop import clock, picture
from controlplane.store import etcd_channel, leadership
from orch.v1 import control_pb2 as pb

CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Operating:
    """Handlers for operators."""

    tokens: tokens.Tokens
    join_address: str
    etcd: etcd_channel.Connection | None
    """None when the store is not etcd."""
    picture: picture.Picture
    leader: leadership.Leadership
    store_age: Callable[[], float]
    clock: clock.Clock
    version_name: str
    registry_address: str = ""
    """Of the cluster's own image registry; empty without one."""

    async def join_token(self, request: Any, _context: Any) -> pb.JoinTokenReply:
        """A new token. Raises StoreError."""
        made, expires_at = await self.tokens.make(request.valid_for, self.clock.now())
        return pb.JoinTokenReply(token=str(made), expires_at=expires_at, address=self.join_address)

    async def version(self, _request: Any, _context: Any) -> pb.VersionReply:
        """Who answers, and how fresh its knowledge is."""
        leader = self.leader.leader
        identity = self.picture.cluster.identity
        return pb.VersionReply(
            version=self.version_name,
            cluster=identity.id if identity is not None else "",
            is_leader=self.leader.epoch is not None,
            leader_address=leader.value.decode() if leader is not None else "",
            revision=self.picture.cluster.revision,
            store_age=self.store_age(),
            registry=self.registry_address,
        )

    async def store(self, request: Any, _context: Any) -> AsyncIterator[pb.StoreReply]:
        """status, members, snapshot, defrag, compact. Raises Invalid, NotPossible, StoreError."""
        if self.etcd is None:
            raise errors.NotPossible("the store of this control plane is not etcd")
        match request.verb:
            case "status":
                yield pb.StoreReply(members=await asyncio.to_thread(_status, self.etcd))
            case "members":
                yield pb.StoreReply(members=await asyncio.to_thread(_members, self.etcd))
            case "defrag":
                await asyncio.to_thread(_operator().defragment, self.etcd)
                yield pb.StoreReply(message="defragmented")
            case "compact":
                revision = await asyncio.to_thread(_operator().compact, self.etcd)
                yield pb.StoreReply(message=f"history before revision {revision} is forgotten")
            case "snapshot":
                async for chunk in _snapshot(self.etcd):
                    yield pb.StoreReply(snapshot_chunk=chunk)
            case _:
                raise errors.Invalid(
                    f"{request.verb!r} is not one of status, members, snapshot, defrag, compact"
                )


def _operator() -> Any:
    """Imported when it is first needed: the synchronous client costs memory that few control planes need."""
    from controlplane.store import operator

    return operator


def _status(connection: etcd_channel.Connection) -> list[pb.StoreMember]:
    return [
        pb.StoreMember(
            name=each.leader if len(connection.endpoints) == 1 else "",
            endpoint=each.endpoint,
            version=each.version,
            db_size=each.size_bytes,
            is_leader=bool(each.leader),
            revision=each.revision,
            problem=", ".join(each.alarms),
        )
        for each in _operator().status(connection)
    ]


def _members(connection: etcd_channel.Connection) -> list[pb.StoreMember]:
    return [
        pb.StoreMember(name=each.name, endpoint=",".join(each.client_urls))
        for each in _operator().members(connection)
    ]


async def _snapshot(connection: etcd_channel.Connection) -> AsyncIterator[bytes]:
    with tempfile.TemporaryDirectory(prefix="orch-snapshot-") as directory:
        path = Path(directory) / "snapshot.db"
        await asyncio.to_thread(_operator().snapshot, connection, path)
        with path.open("rb") as file:
            while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                yield chunk
