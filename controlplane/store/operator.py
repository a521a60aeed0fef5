"""What an operator does to etcd itself: status, members, snapshot, defragment, compact.

The only importer of `etcd3`, the synchronous client. Its own generated messages do not load on protobuf 4 and
later, so ours are registered in their place before it is imported; sharing one copy, both clients get along.
Never used of it: its watcher (dies with the connection and spins), its locks, and its range limit (ignored).
Everything here blocks; call it in a thread.
"""

import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from controlplane.store import etcd_channel, port
from orch.etcd import rpc_pb2, rpc_pb2_grpc

TIMEOUT_SECONDS = 30.0


def _with_our_messages() -> Any:
    messages: Any = types.ModuleType("etcd3.etcdrpc")
    messages.__dict__.update(
        vars(rpc_pb2) | vars(rpc_pb2_grpc) | {"__name__": "etcd3.etcdrpc", "__path__": []}
    )
    sys.modules.setdefault("etcd3.etcdrpc", messages)
    import etcd3

    return etcd3


etcd3: Any = _with_our_messages()


@dataclass(frozen=True, slots=True)
class Member:
    """A member of the etcd cluster."""

    id: int
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """What one member says of itself."""

    endpoint: str
    version: str
    size_bytes: int
    leader: str
    """Name of the member that leads, empty when there is none."""
    revision: int
    alarms: tuple[str, ...]


def status(connection: etcd_channel.Connection) -> tuple[Status, ...]:
    """Every endpoint's own word. Raises Unavailable, Refused."""
    return tuple(_status_of(url, connection) for url in connection.endpoints)


def members(connection: etcd_channel.Connection) -> tuple[Member, ...]:
    """Who belongs to the cluster. Raises Unavailable, Refused."""
    with client(connection) as etcd:
        return tuple(Member(m.id, m.name, tuple(m.peer_urls), tuple(m.client_urls)) for m in etcd.members)


def snapshot(connection: etcd_channel.Connection, path: Path) -> int:
    """Write the whole database to a new file, for `etcdctl snapshot restore`; returns its bytes.

    Raises Unavailable, Refused, OSError (FileExistsError too: a snapshot is never overwritten).
    """
    with path.open("xb") as file:
        path.chmod(0o600)  # it holds everything but the secrets' key
        try:
            with client(connection) as etcd:
                etcd.snapshot(file)
        except BaseException:
            path.unlink()
            raise
        return file.tell()


def defragment(connection: etcd_channel.Connection) -> None:
    """Give freed space back to the disk, one member after the other; each stands still meanwhile."""
    for url in connection.endpoints:
        with client(connection, url) as etcd:
            etcd.defragment()


def compact(connection: etcd_channel.Connection, revision: int = 0) -> int:
    """Forget history before the revision, the newest by default; returns it."""
    with client(connection) as etcd:
        revision = revision or etcd.get_response("/orch/").header.revision
        etcd.compact(revision, physical=True)
    return revision


@contextmanager
def client(connection: etcd_channel.Connection, url: str = "") -> Iterator[Any]:
    """An `etcd3` client of one member; its errors come out as the port's."""
    url = url or connection.endpoints[0]
    etcd = _client(connection, url)
    try:
        yield etcd
    except etcd3.Etcd3Exception as error:
        raise port.Unavailable(f"etcd at {url}: {type(error).__name__}") from error
    except grpc.RpcError as error:
        raise _explained(error, url) from error
    finally:
        with suppress(Exception):
            etcd.close()


def _explained(error: Any, url: str) -> port.StoreError:
    said = f"etcd at {url}: {error.details()}"
    if error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
        return port.Unavailable(said)
    return port.Refused(said)


class _Client(etcd3.Etcd3Client):  # type: ignore[misc]
    """`etcd3` on a channel of our making: it knows neither unix sockets nor our options by itself."""

    def __init__(self, channel: grpc.Channel, user: str, password: str) -> None:
        self.channel = channel
        self.timeout = TIMEOUT_SECONDS
        self.call_credentials = None
        self.metadata = None
        self.transactions = etcd3.Transactions()
        self.kvstub = rpc_pb2_grpc.KVStub(channel)
        self.clusterstub = rpc_pb2_grpc.ClusterStub(channel)
        self.leasestub = rpc_pb2_grpc.LeaseStub(channel)
        self.maintenancestub = rpc_pb2_grpc.MaintenanceStub(channel)
        if user:
            request = rpc_pb2.AuthenticateRequest(name=user, password=password)
            token = rpc_pb2_grpc.AuthStub(channel).Authenticate(request, timeout=TIMEOUT_SECONDS).token
            self.metadata = (("token", token),)


def _client(connection: etcd_channel.Connection, url: str) -> _Client:
    return _Client(etcd_channel.open_blocking(url, connection), connection.user, connection.password)


def _status_of(url: str, connection: etcd_channel.Connection) -> Status:
    with client(connection, url) as etcd:
        said = etcd.status()
        return Status(
            endpoint=url,
            version=said.version,
            size_bytes=said.db_size,
            leader=said.leader.name if said.leader else "",
            revision=etcd.get_response("/orch/").header.revision,
            alarms=tuple(rpc_pb2.AlarmType.Name(alarm.alarm_type) for alarm in etcd.list_alarms()),
        )
