"""The listeners, and the one place where servers of this program are made."""

from collections.abc import Sequence
from typing import Any

import grpc
from grpc import aio

from controlplane.api import authority, datadir, door
from controlplane.api.asking import Asking
from controlplane.api.building import Building
from controlplane.api.changing import Changing
from controlplane.api.images import ListingImages
from controlplane.api.join import Joiner
from controlplane.api.net_check import NetCheck
from controlplane.api.operating import Operating
from controlplane.api.port_forwarding import PortForwarding
from controlplane.api.reading import Reading
from controlplane.api.sessions import Sessions
from controlplane.api.streaming import Streaming
from controlplane.api.top import Top
from controlplane.api.users import Users
from orch.v1 import control_pb2_grpc, sessions_pb2, sessions_pb2_grpc

LARGEST_MESSAGE_BYTES = 16 * 1024 * 1024
MOST_JOINS_AT_ONCE = 256
STOP_GRACE_SECONDS = 0.5

_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", LARGEST_MESSAGE_BYTES),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.http2.ping_timeout_ms", 3_000),  # the one that is enforced
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.max_concurrent_streams", 1_000),
    ("grpc.so_reuseport", 0),
)


class CannotListen(Exception):
    """The address cannot be had; says which and why."""


class Control:
    """The service `Control`: each method is a handler of the noun it belongs to."""

    def __init__(
        self,
        reading: Reading,
        changing: Changing,
        asking: Asking,
        streaming: Streaming,
        port_forwarding: PortForwarding,
        net_check: NetCheck,
        top: Top,
        building: Building,
        images: ListingImages,
        operating: Operating,
        users: Users,
    ) -> None:
        self.Get = reading.get
        self.Watch = reading.watch
        self.Apply = changing.apply
        self.Delete = changing.delete
        self.Scale = changing.scale
        self.Rollout = changing.rollout
        self.ChangeNode = changing.change_node
        self.Why = asking.why
        self.Logs = streaming.logs
        self.Exec = streaming.exec
        self.PortForward = port_forwarding.port_forward
        self.NetCheck = net_check.net_check
        self.Top = top.top
        self.Build = building.build
        self.ListImages = images.list_images
        self.JoinToken = operating.join_token
        self.CertifyUser = users.certify
        self.Store = operating.store
        self.Version = operating.version


class Listeners:
    """Both of them: the one for certificates, the one for tokens."""

    def __init__(
        self, control: Control, sessions: Sessions, joiner: Joiner, credentials: datadir.Credentials
    ) -> None:
        self.credentials = credentials
        self._main = aio.server(interceptors=(door.Door(),), options=_OPTIONS)
        control_pb2_grpc.add_ControlServicer_to_server(control, self._main)  # type: ignore[no-untyped-call,arg-type,unused-ignore]
        self._main.add_generic_rpc_handlers((_sessions_handler(sessions),))
        self._join = aio.server(options=_OPTIONS, maximum_concurrent_rpcs=MOST_JOINS_AT_ONCE)
        sessions_pb2_grpc.add_JoinServicer_to_server(joiner, self._join)  # type: ignore[no-untyped-call,arg-type,unused-ignore]

    async def start(self, listen: Sequence[str], join_listen: str) -> tuple[list[str], str]:
        """The addresses as they came to be (port 0 becomes a real one). Raises CannotListen."""
        found = [_bind(self._main, address, self._certified()) for address in listen]
        join = _bind(self._join, join_listen, self._open())
        await self._main.start()
        await self._join.start()
        return found, join

    def renew(self, credentials: datadir.Credentials) -> None:
        """From the next handshake on."""
        self.credentials = credentials

    async def stop(self) -> None:
        """No new calls; those under way get a moment to end."""
        await self._join.stop(0)
        await self._main.stop(STOP_GRACE_SECONDS)

    def _certified(self) -> grpc.ServerCredentials:
        """A certificate of ours is demanded."""
        return self._dynamic(with_clients=True)

    def _open(self) -> grpc.ServerCredentials:
        """Whoever comes has no certificate yet; the chain shows ours, authority included."""
        return self._dynamic(with_clients=False)

    def _dynamic(self, *, with_clients: bool) -> grpc.ServerCredentials:
        """Asked at every handshake; None is "as before".

        Giving a fresh one each time makes the library swap credentials under handshakes that run at the same
        moment, and that has crashed it.
        """
        given = self.credentials

        def changed() -> Any:
            nonlocal given
            if given is self.credentials:
                return None
            given = self.credentials
            return self._configuration(with_clients=with_clients)

        first = self._configuration(with_clients=with_clients)
        return grpc.dynamic_ssl_server_credentials(first, changed, require_client_authentication=with_clients)

    def _configuration(self, *, with_clients: bool) -> Any:
        server, ca = self.credentials.server, self.credentials.ca
        chain = authority.Pair(server.certificate + ca.certificate, server.key)
        clients = ca.certificate if with_clients else None
        return grpc.ssl_server_certificate_configuration([(chain.key, chain.certificate)], clients)


def _bind(server: aio.Server, address: str, credentials: grpc.ServerCredentials) -> str:
    try:
        port = server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise CannotListen(
            f"cannot listen on {address}: it is in use, or not an address of this machine"
        ) from error
    if address.startswith("unix:"):
        return address
    return f"{address.rpartition(':')[0]}:{port}"


def _sessions_handler(sessions: Sessions) -> grpc.GenericRpcHandler:
    """As generated, but what goes down is bytes already: a section is encoded once for many nodes."""
    return grpc.method_handlers_generic_handler(
        "orch.v1.Sessions",
        {
            "Session": grpc.stream_stream_rpc_method_handler(
                sessions.Session, sessions_pb2.SessionUp.FromString, bytes
            ),
            "Answer": grpc.stream_stream_rpc_method_handler(
                sessions.Answer, sessions_pb2.AnswerUp.FromString, sessions_pb2.AnswerDown.SerializeToString
            ),
        },
    )
