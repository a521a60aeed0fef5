"""etcd's messages to the port's values and back. Pure."""

from collections.abc import Sequence
from typing import assert_never

from controlplane.store import port
from orch.etcd import kv_pb2, rpc_pb2

_Compare = rpc_pb2.Compare


def prefix_range(prefix: str) -> tuple[bytes, bytes]:
    """First key and end (exclusive) of all keys that begin so."""
    first = prefix.encode()
    stem = first.rstrip(b"\xff")
    if not stem:
        return first or b"\0", b"\0"
    return first, stem[:-1] + bytes([stem[-1] + 1])


def entry(message: kv_pb2.KeyValue) -> port.Entry:
    """A key as etcd tells it."""
    return port.Entry(
        message.key.decode(),
        message.value,
        message.create_revision,
        message.mod_revision,
        message.version,
        message.lease,
    )


def event(message: kv_pb2.Event) -> port.Event:
    """What happened to one key."""
    if message.type == kv_pb2.Event.DELETE:
        return port.Removed(message.kv.key.decode(), message.kv.mod_revision)
    return port.Changed(entry(message.kv))


def transaction(guards: Sequence[port.Guard], writes: Sequence[port.Write]) -> rpc_pb2.TxnRequest:
    """All writes if all guards hold, else nothing."""
    return rpc_pb2.TxnRequest(
        compare=[_compare(guard) for guard in guards], success=[_operation(write) for write in writes]
    )


def guarded_keys(guards: Sequence[port.Guard]) -> rpc_pb2.TxnRequest:
    """Reads what the guards speak of, all at one revision."""
    reads = [
        rpc_pb2.RequestOp(request_range=rpc_pb2.RangeRequest(key=g.key.encode(), keys_only=True))
        for g in guards
    ]
    return rpc_pb2.TxnRequest(success=reads)


def entries(answer: rpc_pb2.TxnResponse) -> list[port.Entry | None]:
    """The answers to single-key reads, in their order."""
    found = [operation.response_range.kvs for operation in answer.responses]
    return [entry(kvs[0]) if kvs else None for kvs in found]


def _compare(guard: port.Guard) -> rpc_pb2.Compare:
    key = guard.key.encode()
    match guard:
        case port.Absent():
            return _Compare(key=key, target=_Compare.CREATE, result=_Compare.EQUAL, create_revision=0)
        case port.Present():
            return _Compare(key=key, target=_Compare.CREATE, result=_Compare.GREATER, create_revision=0)
        case port.Unchanged(modified=modified):
            return _Compare(key=key, target=_Compare.MOD, result=_Compare.EQUAL, mod_revision=modified)
        case port.CreatedAt(created=created):
            return _Compare(key=key, target=_Compare.CREATE, result=_Compare.EQUAL, create_revision=created)
        case _:
            assert_never(guard)


def _operation(write: port.Write) -> rpc_pb2.RequestOp:
    match write:
        case port.Put(key, value, lease):
            return rpc_pb2.RequestOp(
                request_put=rpc_pb2.PutRequest(key=key.encode(), value=value, lease=lease)
            )
        case port.Delete(key):
            return rpc_pb2.RequestOp(request_delete_range=rpc_pb2.DeleteRangeRequest(key=key.encode()))
        case _:
            assert_never(write)
