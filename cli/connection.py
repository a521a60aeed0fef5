"""Addresses and certificates → a client of the control plane. The only file of orchctl that opens a channel.

Calls go to the first address that answers; a call that fails because its control plane is away, or does not
lead, is made again at the next (every change carries a request id, so that it happens once).
"""

import itertools
import os
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import grpc

from orch.v1 import control_pb2_grpc

CONNECT_SECONDS = 2.5
"""In all, over all addresses: a dead control plane must be told within 3 s."""
CALL_SECONDS = 30.0
_OPTIONS = [
    ("grpc.max_receive_message_length", 64 * 2**20),
    ("grpc.keepalive_time_ms", 20_000),
    # Without it a hung server is noticed only after a minute: the keepalive timeout itself is not enforced.
    ("grpc.http2.ping_timeout_ms", 3_000),
    ("grpc.enable_retries", 0),
]


class Unreachable(Exception):
    """No control plane answers; says which addresses were tried, and why each failed."""


class Refused(Exception):
    """The control plane said no."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        """As gRPC names it: NOT_FOUND, INVALID_ARGUMENT …"""


class Client:
    """Calls of the service Control."""

    def __init__(
        self, addresses: Sequence[str], credentials: grpc.ChannelCredentials, server_name: str
    ) -> None:
        self._addresses = list(addresses)
        self._credentials = credentials
        self._options = [*_OPTIONS, ("grpc.ssl_target_name_override", server_name)]
        self._channel: grpc.Channel | None = None
        self._address = ""
        self._stub: Any = None
        self._failures: dict[str, str] = {}

    def call(self, method: str, request: Any, *, timeout: float = CALL_SECONDS) -> Any:
        """One request, one reply. Raises Unreachable, Refused."""
        for attempt in itertools.count(1):
            stub = self._connected()
            try:
                return getattr(stub, method)(request, timeout=timeout)
            except grpc.RpcError as error:
                if not self._may_try_next(error, attempt):
                    raise self._meaning(error) from None
                self._drop()
        raise AssertionError("the loop ends by return or raise")

    def stream(self, method: str, request: Any, *, timeout: float | None = None) -> Iterator[Any]:
        """One request, many replies. A `timeout` that passes ends it quietly. Raises Unreachable, Refused."""
        replies = getattr(self._connected(), method)(request, timeout=timeout)
        try:
            yield from replies
        except grpc.RpcError as error:
            if timeout is not None and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                return
            meaning = self._meaning(error)
            self._drop()
            raise meaning from None
        finally:
            replies.cancel()

    def converse(self, method: str, requests: Iterable[Any]) -> Iterator[Any]:
        """Many requests, many replies. Raises Unreachable, Refused."""
        replies = getattr(self._connected(), method)(iter(requests))
        try:
            yield from replies
        except grpc.RpcError as error:
            raise self._meaning(error) from None
        finally:
            replies.cancel()

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connected(self) -> Any:
        if self._stub is None:
            self._connect()
        return self._stub

    def _connect(self) -> None:
        deadline = time.monotonic() + CONNECT_SECONDS
        for index, address in enumerate(self._addresses):
            share = (deadline - time.monotonic()) / (len(self._addresses) - index)
            channel = grpc.secure_channel(address, self._credentials, self._options)
            if _is_ready(channel, share):
                self._channel, self._address = channel, address
                self._stub = control_pb2_grpc.ControlStub(channel)
                return
            self._failures[address] = _why(channel)
            channel.close()
        raise Unreachable(self._sentence())

    def _drop(self) -> None:
        """The address that failed is asked last from now on."""
        self.close()
        self._stub = None
        self._addresses.remove(self._address)
        self._addresses.append(self._address)

    def _may_try_next(self, error: grpc.RpcError, attempt: int) -> bool:
        self._failures[self._address] = str(error.details())
        return error.code() is grpc.StatusCode.UNAVAILABLE and attempt < len(self._addresses)

    def _meaning(self, error: grpc.RpcError) -> Exception:
        code, details = error.code(), str(error.details())
        if code is grpc.StatusCode.UNAVAILABLE and _is_transport(details):
            self._failures[self._address] = _in_short(details)
            return Unreachable(self._sentence())
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return Refused(
                code.name,
                f"{self._address} did not answer in time; the change may have been made: look first",
            )
        return Refused(code.name, details)

    def _sentence(self) -> str:
        tried = "; ".join(f"{address}: {why}" for address, why in self._failures.items())
        return f"no control plane answers ({tried})"


def open_client(addresses: Sequence[str], ca: Path, certificate: Path, key: Path, server_name: str) -> Client:
    """Reads the certificates; dials at the first call. Raises Unreachable when they cannot be read."""
    try:
        credentials = grpc.ssl_channel_credentials(
            ca.read_bytes(), key.read_bytes(), certificate.read_bytes()
        )
    except OSError as error:
        what = f"cannot read {error.filename} ({error.strerror}), which the context names"
        raise Unreachable(f"{what}; was the cluster taken down?") from None
    return Client(addresses, credentials, server_name)


def new_request_id() -> str:
    """Of a change: the same request sent twice happens once."""
    return uuid.uuid4().hex


def _is_ready(channel: grpc.Channel, seconds: float) -> bool:
    """Waits until the connection stands or has failed once."""
    known = threading.Event()
    states: list[grpc.ChannelConnectivity] = []

    def note(state: grpc.ChannelConnectivity) -> None:
        states.append(state)
        if state in (grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.TRANSIENT_FAILURE):
            known.set()

    channel.subscribe(note, try_to_connect=True)
    known.wait(max(seconds, 0.1))
    channel.unsubscribe(note)
    return grpc.ChannelConnectivity.READY in states


def _why(channel: grpc.Channel) -> str:
    """A call that does not wait tells why the connection failed."""
    try:
        channel.unary_unary("/orch.v1.Control/Version")(b"", timeout=0.2)
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return "no answer"
        return _in_short(str(error.details()))
    return "it answered too late"


_KNOWN = (
    ("Connection refused", "connection refused"),
    ("No route to host", "no route to host"),
    ("Network is unreachable", "network is unreachable"),
    ("Connection reset", "the connection was reset"),
    ("Socket closed", "the connection was closed"),
    ("DNS", "no such host"),
    ("Domain name", "no such host"),
    ("CERTIFICATE_VERIFY_FAILED", "its certificate is not of the CA that the context names"),
    ("CERTIFICATE_EXPIRED", "it says that our certificate has expired"),
    ("certificate", "the certificates do not fit together"),
    ("andshake", "the TLS handshake failed"),
)


def _in_short(details: str) -> str:
    return next(
        (words for sign, words in _KNOWN if sign in details),
        details.splitlines()[0] if details else "unknown",
    )


def _is_transport(details: str) -> bool:
    """The library's own words, not the control plane's."""
    return any(
        sign in details
        for sign in (
            "failed to connect",
            "Socket closed",
            "recvmsg",
            "GOAWAY",
            "ping timeout",
            "keepalive",
            "Connection",
            "handshake",
        )
    )


# The library's own words on stderr would come before ours.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
