"""What a failed call proves about the write in it."""

import grpc
import pytest
from grpc import aio

from controlplane.store import etcd_errors, port

CODE = grpc.StatusCode


def failure(code: grpc.StatusCode, details: str) -> aio.AioRpcError:
    return aio.AioRpcError(code, aio.Metadata(), aio.Metadata(), details=details)


@pytest.mark.parametrize(
    ("code", "details"),
    [
        (CODE.UNAVAILABLE, "Socket closed"),
        (CODE.UNAVAILABLE, "etcdserver: request timed out"),
        (CODE.UNAVAILABLE, "etcdserver: leader changed"),
        (CODE.UNAVAILABLE, "etcdserver: server stopped"),
        (CODE.DEADLINE_EXCEEDED, "Deadline Exceeded"),
        (CODE.CANCELLED, "CANCELLED"),
        (CODE.INTERNAL, "RST_STREAM"),
        (CODE.UNKNOWN, "something new"),
    ],
)
def test_a_write_that_may_have_been_applied_is_never_called_unwritten(code, details):
    error = failure(code, details)

    assert isinstance(etcd_errors.of_write(error, "e"), port.OutcomeUnknown)
    assert isinstance(etcd_errors.of_read(error, "e"), port.Unavailable)


@pytest.mark.parametrize(
    "details",
    [
        "failed to connect to all addresses; last error: UNKNOWN: connection refused",
        "etcdserver: no leader",
        "etcdserver: too many requests",
    ],
)
def test_a_write_that_never_reached_the_log_may_be_tried_again(details):
    assert isinstance(etcd_errors.of_write(failure(CODE.UNAVAILABLE, details), "e"), port.Unavailable)


@pytest.mark.parametrize(
    ("code", "details", "meaning"),
    [
        (CODE.PERMISSION_DENIED, "etcdserver: permission denied", port.Refused),
        (CODE.UNAUTHENTICATED, "etcdserver: invalid auth token", port.Refused),
        (CODE.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded", port.Refused),
        (CODE.INVALID_ARGUMENT, "etcdserver: request is too large", port.TooLarge),
        (CODE.NOT_FOUND, "etcdserver: requested lease not found", port.LeaseLost),
        (CODE.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted", port.Compacted),
    ],
)
def test_what_etcd_says_clearly_is_passed_on(code, details, meaning):
    error = etcd_errors.of_write(failure(code, details), "https://10.0.0.1:2379")

    assert isinstance(error, meaning)
    assert "10.0.0.1" in str(error)


def test_a_full_quota_says_what_to_do():
    full = failure(CODE.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded")

    assert "orchctl store compact" in str(etcd_errors.of_write(full, "e"))
