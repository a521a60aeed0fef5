"""A follower hands on what only the leader can answer: it has the nodes' sessions, and in memory why tasks wait."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from grpc import aio

from controlplane.api import datadir, errors
from controlplane.store import leadership
from orch.identity import roles
from orch.v1 import control_pb2_grpc

_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.ssl_target_name_override", roles.SERVER_NAME),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 3_000),
    ("grpc.enable_http_proxy", 0),
)


class Forwarding:
    """Knows whether another leads, and how to call it: as a server of the cluster."""

    def __init__(self, leader: leadership.Leadership, credentials: Callable[[], datadir.Credentials]) -> None:
        self._leader = leader
        self._credentials = credentials

    @property
    def is_needed(self) -> bool:
        """Another control plane leads, or nobody does."""
        return self._leader.epoch is None

    @asynccontextmanager
    async def leader(self) -> AsyncIterator[Any]:
        """A `Control` stub of the leader. Raises Unreachable."""
        known = self._leader.leader
        if known is None:
            raise errors.Unreachable("no control plane leads at the moment: try again")
        held = self._credentials()
        own = held.server
        credentials = grpc.ssl_channel_credentials(held.ca.certificate, own.key, own.certificate)
        address = known.value.decode()
        async with aio.secure_channel(address, credentials, options=_OPTIONS) as channel:
            try:
                yield control_pb2_grpc.ControlStub(channel)
            except aio.AioRpcError as error:
                raise errors.Passed(error.code(), error.details() or f"{address} did not answer") from error
