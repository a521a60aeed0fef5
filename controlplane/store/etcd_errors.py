"""What etcd's refusals mean in the words of the port.

The one hard question is whether a write that failed may have happened all the same. Only three failures
prove that it did not: the call never left this process, etcd's front door turned it away before proposing it,
or etcd answered that the request itself is not acceptable. Everything else is "outcome unknown".
"""

import grpc
from grpc import aio

from controlplane.store import port

_NEVER_SENT = "failed to connect to all addresses"
_TURNED_AWAY = ("etcdserver: no leader", "etcdserver: too many requests", "etcdserver: not capable")
_STALE_TOKEN = ("etcdserver: invalid auth token", "etcdserver: revision of auth store is old")


def explain(error: aio.AioRpcError, endpoint: str) -> str:
    """One line: where, and what etcd or gRPC said."""
    return f"etcd at {endpoint}: {error.details() or error.code().name}"


def token_is_stale(error: aio.AioRpcError) -> bool:
    """The login token is no longer good; the request was not looked at."""
    return any(words in (error.details() or "") for words in _STALE_TOKEN)


def is_worth_another_endpoint(error: aio.AioRpcError) -> bool:
    """Another member may answer what this one could not."""
    return error.code() in {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.CANCELLED,
    }


def was_never_proposed(error: aio.AioRpcError) -> bool:
    """The request cannot have been applied, now or later."""
    details = error.details() or ""
    return _NEVER_SENT in details or any(words in details for words in _TURNED_AWAY)


def of_read(error: aio.AioRpcError, endpoint: str) -> port.StoreError:
    """For requests that change nothing, or whose change harms nobody when it is lost."""
    return _refusal(error, endpoint) or port.Unavailable(explain(error, endpoint))


def of_write(error: aio.AioRpcError, endpoint: str) -> port.StoreError:
    """For requests that may have been applied although they failed."""
    if refusal := _refusal(error, endpoint):
        return refusal
    if was_never_proposed(error):
        return port.Unavailable(explain(error, endpoint))
    return port.OutcomeUnknown(f"{explain(error, endpoint)}; the write may have been applied")


def _refusal(error: aio.AioRpcError, endpoint: str) -> port.StoreError | None:
    said, details = explain(error, endpoint), error.details() or ""
    if "revision has been compacted" in details:
        return port.Compacted(0, said)
    if "requested lease not found" in details:
        return port.LeaseLost(said)
    if "request is too large" in details or "too many operations" in details:
        return port.TooLarge(f"{said}: make it a sequence, or the value smaller")
    if "database space exceeded" in details:
        return port.Refused(
            f"{said}: etcd's disk quota is used up and it accepts no writes; run "
            "`orchctl store compact`, then `orchctl store defrag`"
        )
    if error.code() in {
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
    }:
        return port.Refused(said)
    return None
