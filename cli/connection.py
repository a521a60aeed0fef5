"""Addresses and certificates → a client of the control plane. The only file of orchctl that opens a channel.

Calls go to the first address that answers; a call that fails because its control plane is away, or does not
lead, is made again at the next (every change carries a request id, so that it happens once).
"""

import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import grpc

from orch.v1 import control_pb2, control_pb2_grpc

CONNECT_SECONDS = 2.0
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
        # A connection that does not stand by then has failed, and the call with it.
        most_milliseconds = int(CONNECT_SECONDS * 1000 / max(len(self._addresses), 1))
        self._options = [
            *_OPTIONS,
            ("grpc.ssl_target_name_override", server_name),
            ("grpc.min_reconnect_backoff_ms", most_milliseconds),
            ("grpc.initial_reconnect_backoff_ms", most_milliseconds),
        ]
        self._channel: grpc.Channel | None = None
        self._stub: Any = None
        self._failures: dict[str, str] = {}

    def call(self, method: str, request: Any, *, timeout: float = CALL_SECONDS) -> Any:
        """One request, one reply. Raises Unreachable, Refused."""
        for is_last in self._attempts():
            try:
                return getattr(self._connected(), method)(request, timeout=timeout)
            except grpc.RpcError as error:
                self._fail(error, is_last=is_last)
        raise Unreachable("the context names no address")

    def stream(self, method: str, request: Any, *, timeout: float | None = None) -> Iterator[Any]:
        """One request, many replies. A `timeout` that passes ends it quietly. Raises Unreachable, Refused."""
        for is_last in self._attempts():
            has_begun = False
            replies = getattr(self._connected(), method)(request, timeout=timeout)
            try:
                for reply in replies:
                    has_begun = True
                    yield reply
            except grpc.RpcError as error:
                if timeout is not None and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                    return
                self._fail(error, is_last=is_last or has_begun)
            else:
                return
            finally:
                replies.cancel()

    def converse(self, method: str, requests: Iterable[Any]) -> Iterator[Any]:
        """Many requests, many replies; never tried twice. Raises Unreachable, Refused."""
        if len(self._addresses) > 1:
            self.call("Version", control_pb2.VersionRequest())
        replies = getattr(self._connected(), method)(iter(requests))
        try:
            yield from replies
        except grpc.RpcError as error:
            self._fail(error, is_last=True)
        finally:
            replies.cancel()

    def find(self) -> None:
        """Which of the control planes answers now. Raises Unreachable."""
        self.call("Version", control_pb2.VersionRequest())

    def open_asynchronous(self) -> Any:
        """A channel of grpc.aio to the control plane that answered last."""
        from grpc import aio

        return aio.secure_channel(self._addresses[0], self._credentials, self._options)

    def meaning(self, error: grpc.RpcError) -> Exception:
        """Of a call on such a channel: Unreachable or Refused."""
        return self._meaning(error)

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _attempts(self) -> Iterator[bool]:
        """One for each address; whether it is the last."""
        for left in range(len(self._addresses), 0, -1):
            yield left == 1

    def _connected(self) -> Any:
        if self._stub is None:
            self._channel = grpc.secure_channel(self._addresses[0], self._credentials, self._options)
            self._stub = control_pb2_grpc.ControlStub(self._channel)
        return self._stub

    def _fail(self, error: grpc.RpcError, *, is_last: bool) -> None:
        """Goes on to the next address where that may help; raises what the error means where not."""
        meaning = self._meaning(error)
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            # The next call, of whoever watches on, begins with another address.
            self.close()
            self._stub = None
            self._addresses.append(self._addresses.pop(0))
            if not is_last:
                return
        raise meaning from None

    def _meaning(self, error: grpc.RpcError) -> Exception:
        code, details, address = error.code(), str(error.details()), self._addresses[0]
        if code is grpc.StatusCode.UNAVAILABLE and _is_transport(details):
            self._failures[address] = _in_short(details)
            return Unreachable(self._sentence())
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            words = f"{address} did not answer in time; the change may have been made: look first"
            return Refused(code.name, words)
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


_KNOWN = (
    ("Handshake timed out", "no answer"),
    ("Handshake read failed", "no answer to the TLS greeting"),
    ("imeout", "no answer"),
    ("imed out", "no answer"),
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
