"""One watch on etcd that outlives its connections.

The rules that keep it from missing or repeating anything: look at `canceled` before `created`; put fragments
of one answer together; go on from the last event, or from progress the server sent by itself, never from
progress that was asked for (on 3.4 it overtakes events); a server whose history ends before our start has
been put back in time.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import cast

from grpc import aio

from controlplane.store import etcd_channel, etcd_errors, etcd_values, port
from orch.etcd import kv_pb2, rpc_pb2

FIRST_PAUSE_SECONDS = 0.02
LONGEST_PAUSE_SECONDS = 1.0


async def watch(channels: etcd_channel.Channels, prefix: str, start: int) -> AsyncIterator[port.Batch]:
    """As `port.Store.watch`."""
    pause = FIRST_PAUSE_SECONDS
    while not channels.closed:
        endpoint = channels.current
        try:
            async with aclosing(_connected(channels, endpoint, prefix, start)) as batches:
                async for batch in batches:
                    pause = FIRST_PAUSE_SECONDS
                    start = max(start, batch.revision + 1)
                    yield batch
        except aio.AioRpcError as error:
            if etcd_errors.token_is_stale(error):
                channels.forget_token()
            elif not etcd_errors.is_worth_another_endpoint(error):
                raise etcd_errors.of_read(error, endpoint.url) from error
        except asyncio.CancelledError:
            if channels.ended_by_close():
                return
            raise
        channels.failed(endpoint)
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


async def _connected(
    channels: etcd_channel.Channels, endpoint: etcd_channel.Endpoint, prefix: str, start: int
) -> AsyncGenerator[port.Batch, None]:
    """Batches of one connection; ends when etcd asks us to come again."""
    call = endpoint.watch.Watch(metadata=await channels.metadata(endpoint))
    try:
        await call.write(_create(prefix, start))
        parts: list[kv_pb2.Event] = []
        while (answer := cast("rpc_pb2.WatchResponse", await call.read())) is not aio.EOF:
            if answer.canceled:
                _raise_unless_passing(answer, endpoint)
                return
            if answer.created:
                if answer.header.revision < start - 1:
                    await _raise_if_put_back(channels, start)
                continue
            parts.extend(answer.events)
            if answer.fragment:
                continue
            # With events the header's revision may be ahead of what this answer holds.
            yield port.Batch(
                revision=parts[-1].kv.mod_revision if parts else answer.header.revision,
                events=tuple(etcd_values.event(part) for part in parts),
            )
            parts = []
    finally:
        call.cancel()


def _create(prefix: str, start: int) -> rpc_pb2.WatchRequest:
    first, end = etcd_values.prefix_range(prefix)
    return rpc_pb2.WatchRequest(
        create_request=rpc_pb2.WatchCreateRequest(
            key=first, range_end=end, start_revision=start, progress_notify=True, fragment=True
        )
    )


def _raise_unless_passing(answer: rpc_pb2.WatchResponse, endpoint: etcd_channel.Endpoint) -> None:
    if answer.compact_revision:
        raise port.Compacted(answer.compact_revision)
    if "permission denied" in answer.cancel_reason.lower():
        raise port.Refused(f"etcd at {endpoint.url}: {answer.cancel_reason}")


async def _raise_if_put_back(channels: etcd_channel.Channels, start: int) -> None:
    """A member may lag; the cluster as a whole may not, unless it was restored from a snapshot."""
    answer: rpc_pb2.RangeResponse = await channels.read(
        lambda endpoint: endpoint.kv.Range, rpc_pb2.RangeRequest(key=b"\0")
    )
    if answer.header.revision < start - 1:
        raise port.Compacted(
            answer.header.revision,
            f"etcd is at revision {answer.header.revision}, before {start - 1} which was already seen: "
            "it was restored from a snapshot",
        )
