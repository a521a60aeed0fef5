"""Leases on etcd: granted, kept alive and revoked."""

import math
from typing import cast

import grpc
from grpc import aio

from controlplane.store import etcd_channel, etcd_errors, port
from orch.etcd import rpc_pb2

KEEPALIVE_TIMEOUT_SECONDS = 1.0
"""Short, so that another member can be asked before the lease has run out."""


async def grant(channels: etcd_channel.Channels, ttl_seconds: float) -> port.Grant:
    """As `port.Store.grant`; etcd counts in whole seconds. A grant whose answer is lost expires by itself."""
    request = rpc_pb2.LeaseGrantRequest(TTL=max(1, math.ceil(ttl_seconds)))
    answer: rpc_pb2.LeaseGrantResponse = await channels.read(
        lambda endpoint: endpoint.lease.LeaseGrant, request
    )
    return port.Grant(answer.ID, float(answer.TTL))


async def keepalive(channels: etcd_channel.Channels, lease: int) -> float:
    """As `port.Store.keepalive`. A stream per call keeps no state between; they are seconds apart."""
    endpoint = channels.current
    try:
        answer = await _keepalive_once(channels, endpoint, lease)
    except aio.AioRpcError as error:
        if etcd_errors.token_is_stale(error):
            channels.forget_token()
        channels.failed(endpoint)
        raise etcd_errors.of_read(error, endpoint.url) from error
    if answer is None:
        channels.failed(endpoint)
        raise port.Unavailable(f"etcd at {endpoint.url} closed the stream that keeps lease {lease:x} alive")
    if answer.TTL <= 0:
        raise port.LeaseLost(f"etcd says lease {lease:x} has ended")
    return float(answer.TTL)


async def revoke(channels: etcd_channel.Channels, lease: int) -> None:
    """As `port.Store.revoke`."""
    try:
        await channels.read(lambda endpoint: endpoint.lease.LeaseRevoke, rpc_pb2.LeaseRevokeRequest(ID=lease))
    except port.LeaseLost:
        return


async def _keepalive_once(
    channels: etcd_channel.Channels, endpoint: etcd_channel.Endpoint, lease: int
) -> rpc_pb2.LeaseKeepAliveResponse | None:
    call = endpoint.lease.LeaseKeepAlive(
        timeout=KEEPALIVE_TIMEOUT_SECONDS, metadata=await channels.metadata(endpoint)
    )
    try:
        await call.write(rpc_pb2.LeaseKeepAliveRequest(ID=lease))
        answer = await call.read()
        return None if answer is aio.EOF else cast("rpc_pb2.LeaseKeepAliveResponse", answer)
    except aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            raise port.LeaseLost(etcd_errors.explain(error, endpoint.url)) from error
        raise
    finally:
        call.cancel()
