"""Connections to the members of an etcd cluster: one channel per endpoint, the next one when one fails.

gRPC would balance over endpoints by itself, but then nobody could say which member answered, TLS would check
the wrong name, and a member cut off from its peers would keep its share of the calls.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import message
from grpc import aio

from controlplane.store import etcd_errors, port
from orch.etcd import rpc_pb2, rpc_pb2_grpc

CALL_TIMEOUT_SECONDS = 5.0
LOGIN_TIMEOUT_SECONDS = 5.0

_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.keepalive_time_ms", 6_000),  # etcd answers pings faster than 5 s with GOAWAY
    ("grpc.keepalive_timeout_ms", 3_000),
    (
        "grpc.http2.ping_timeout_ms",
        3_000,
    ),  # the one that is enforced: a hung server is noticed after 9 s at most
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 2_000),  # also the time one attempt to connect may take
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # a channel opened anew really connects anew
    ("grpc.enable_http_proxy", 0),
)

Method = Callable[["Endpoint"], Any]
"""Picks the call off a member's stubs; grpc has no types that would say more."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Where etcd is and how to be let in."""

    endpoints: tuple[str, ...]
    """`https://host:2379`, `http://host:2379` or `unix:/path`; tried in this order."""
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    user: str = ""
    password: str = ""


class Endpoint:
    """One member: its channel and the stubs on it."""

    def __init__(self, url: str, connection: Connection) -> None:
        self.url = url
        self.channel = _open(url, connection)
        self.kv = rpc_pb2_grpc.KVStub(self.channel)
        self.watch = rpc_pb2_grpc.WatchStub(self.channel)
        self.lease = rpc_pb2_grpc.LeaseStub(self.channel)
        self.maintenance = rpc_pb2_grpc.MaintenanceStub(self.channel)
        self.auth = rpc_pb2_grpc.AuthStub(self.channel)


class Channels:
    """All members; calls go to the current one until it fails."""

    def __init__(self, connection: Connection) -> None:
        if not connection.endpoints:
            raise ValueError("no etcd endpoint was given")
        self._connection = connection
        self._endpoints = [Endpoint(url, connection) for url in connection.endpoints]
        self._current = 0
        self._token: str | None = None
        self.closed = False

    @property
    def current(self) -> Endpoint:
        """The member to ask next. Raises Unavailable once closed."""
        if self.closed:
            raise port.Unavailable("this connection to etcd was closed")
        return self._endpoints[self._current]

    def failed(self, endpoint: Endpoint) -> None:
        """Ask another member from now on, unless somebody has already turned away from this one."""
        if endpoint is self._endpoints[self._current]:
            self._current = (self._current + 1) % len(self._endpoints)

    async def read(self, method: Method, request: message.Message) -> Any:
        """A call that may be made again; every member is tried, and a single one twice. Raises StoreError."""
        attempts = max(2, len(self._endpoints))
        for attempt in range(1, attempts + 1):
            endpoint = self.current
            try:
                return await self._call(endpoint, method, request)
            except aio.AioRpcError as error:
                if attempt == attempts or not etcd_errors.is_worth_another_endpoint(error):
                    raise etcd_errors.of_read(error, endpoint.url) from error
                self.failed(endpoint)
            except asyncio.CancelledError:
                if self.ended_by_close():
                    raise port.Unavailable("the connection to etcd was closed during a call") from None
                raise
        raise AssertionError("unreachable")

    async def write(self, method: Method, request: message.Message) -> Any:
        """A call made once; again only where the first provably came to nothing. Raises StoreError."""
        for attempt in range(1, len(self._endpoints) + 1):
            endpoint = self.current
            try:
                return await self._call(endpoint, method, request)
            except aio.AioRpcError as error:
                if etcd_errors.is_worth_another_endpoint(error):
                    self.failed(endpoint)
                if attempt == len(self._endpoints) or not etcd_errors.was_never_proposed(error):
                    raise etcd_errors.of_write(error, endpoint.url) from error
            except asyncio.CancelledError:
                if self.ended_by_close():
                    raise port.OutcomeUnknown("the connection to etcd was closed during a commit") from None
                raise
        raise AssertionError("unreachable")

    def ended_by_close(self) -> bool:
        """Whether the CancelledError at hand is gRPC's word for `close`, and not meant for our task."""
        task = asyncio.current_task()
        return self.closed and not (task is not None and task.cancelling())

    async def metadata(self, endpoint: Endpoint) -> tuple[tuple[str, str], ...]:
        """What goes with every call: no answer from a member without a leader, and who we are."""
        demand = (("hasleader", "true"),)
        if not self._connection.user:
            return demand
        if self._token is None:
            self._token = await self._log_in(endpoint)
        return (*demand, ("token", self._token))

    def forget_token(self) -> None:
        """Log in again before the next call."""
        self._token = None

    async def close(self) -> None:
        """Drop all connections; calls under way end."""
        self.closed = True
        for endpoint in self._endpoints:
            await endpoint.channel.close()

    async def _call(self, endpoint: Endpoint, method: Method, request: message.Message) -> Any:
        try:
            metadata = await self.metadata(endpoint)
            return await method(endpoint)(request, timeout=CALL_TIMEOUT_SECONDS, metadata=metadata)
        except aio.AioRpcError as error:
            if not (self._connection.user and etcd_errors.token_is_stale(error)):
                raise
        self.forget_token()
        metadata = await self.metadata(endpoint)
        return await method(endpoint)(request, timeout=CALL_TIMEOUT_SECONDS, metadata=metadata)

    async def _log_in(self, endpoint: Endpoint) -> str:
        who = rpc_pb2.AuthenticateRequest(name=self._connection.user, password=self._connection.password)
        try:
            answer: rpc_pb2.AuthenticateResponse = await endpoint.auth.Authenticate(
                who, timeout=LOGIN_TIMEOUT_SECONDS
            )
        except aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                raise port.Refused(
                    f"{etcd_errors.explain(error, endpoint.url)} (user {self._connection.user!r})"
                ) from error
            raise
        else:
            return answer.token


def target(url: str) -> tuple[str, bool]:
    """What gRPC calls the endpoint, and whether TLS is spoken there."""
    scheme, found, rest = url.partition("://")
    if not found:
        scheme, _, rest = url.partition(":")
    match scheme:
        case "https":
            return rest.rstrip("/"), True
        case "http":
            return rest.rstrip("/"), False
        case "unix":
            return f"unix:{rest}", False
        case _:
            raise ValueError(f"etcd endpoint {url!r}: begin with https://, http:// or unix:")


def open_blocking(url: str, connection: Connection) -> grpc.Channel:
    """A channel for synchronous calls, to the same place in the same way."""
    address, is_secure = target(url)
    if is_secure:
        return grpc.secure_channel(address, credentials(connection), options=_OPTIONS)
    return grpc.insecure_channel(address, options=_OPTIONS)


def credentials(connection: Connection) -> grpc.ChannelCredentials:
    """The TLS files as they are on disk now. Raises OSError."""
    return grpc.ssl_channel_credentials(
        *_contents((connection.ca_file, connection.key_file, connection.cert_file))
    )


def _contents(files: Sequence[Path | None]) -> list[bytes | None]:
    return [file.read_bytes() if file else None for file in files]


def _open(url: str, connection: Connection) -> aio.Channel:
    address, is_secure = target(url)
    if is_secure:
        return aio.secure_channel(address, credentials(connection), options=_OPTIONS)
    return aio.insecure_channel(address, options=_OPTIONS)
