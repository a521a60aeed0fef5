"""The store on etcd: our own thin client over grpc.aio.

No maintained Python client resumes a watch, so this one does; the parts are `etcd_channel` (which member),
`etcd_watch`, `etcd_lease`, `etcd_values` (messages) and `etcd_errors` (what a failure proves).
"""

import logging
from collections.abc import AsyncIterator, Sequence

from controlplane.store import (
    etcd_channel,
    etcd_lease,
    etcd_values,
    etcd_version,
    etcd_watch,
    port,
)
from orch.etcd import rpc_pb2

PAGE_ENTRIES = 500
LIST_ATTEMPTS = 3

log = logging.getLogger(__name__)


class EtcdStore:
    """`port.Store` on an etcd cluster."""

    def __init__(self, channels: etcd_channel.Channels) -> None:
        self._channels = channels

    @classmethod
    async def connect(cls, connection: etcd_channel.Connection) -> "EtcdStore":
        """Connect and look at what answers.

        Raises Refused (unfit version, bad login), Unavailable (with the reason, TLS included), OSError.
        """
        store = cls(etcd_channel.Channels(connection))
        try:
            status: rpc_pb2.StatusResponse = await store._channels.read(
                lambda endpoint: endpoint.maintenance.Status, rpc_pb2.StatusRequest()
            )
            if warning := etcd_version.judge(status.version):
                log.warning(warning)
        except BaseException:
            await store.close()
            raise
        return store

    async def list(self, prefix: str, *, values: bool = True) -> port.Listing:
        """As the port says."""
        for attempt in range(1, LIST_ATTEMPTS + 1):
            try:
                return await self._list(prefix, values)
            except port.Compacted as gone:  # compaction overtook the pages: begin at a newer revision
                if attempt == LIST_ATTEMPTS:
                    raise port.Unavailable(f"listing {prefix} is slower than compaction") from gone
        raise AssertionError("unreachable")

    async def get(self, key: str) -> tuple[port.Entry | None, int]:
        """As the port says."""
        answer = await self._range(rpc_pb2.RangeRequest(key=key.encode()))
        return (etcd_values.entry(answer.kvs[0]) if answer.kvs else None), answer.header.revision

    async def commit(self, guards: Sequence[port.Guard], writes: Sequence[port.Write]) -> int:
        """As the port says."""
        port.check_size(guards, writes)
        answer: rpc_pb2.TxnResponse = await self._channels.write(
            lambda endpoint: endpoint.kv.Txn, etcd_values.transaction(guards, writes)
        )
        if not answer.succeeded:
            raise port.Conflict(await self._failed(guards))
        return answer.header.revision

    async def watch(self, prefix: str, start: int) -> AsyncIterator[port.Batch]:
        """As the port says."""
        async for batch in etcd_watch.watch(self._channels, prefix, start):
            yield batch

    async def grant(self, ttl_seconds: float) -> port.Grant:
        """As the port says."""
        return await etcd_lease.grant(self._channels, ttl_seconds)

    async def keepalive(self, lease: int) -> float:
        """As the port says."""
        return await etcd_lease.keepalive(self._channels, lease)

    async def revoke(self, lease: int) -> None:
        """As the port says."""
        await etcd_lease.revoke(self._channels, lease)

    async def compact(self, revision: int) -> None:
        """Forget history before the revision; not of the port, since etcd compacts by itself."""
        request = rpc_pb2.CompactionRequest(revision=revision)
        await self._channels.read(lambda endpoint: endpoint.kv.Compact, request)

    async def close(self) -> None:
        """As the port says."""
        await self._channels.close()

    async def _list(self, prefix: str, values: bool) -> port.Listing:
        first, end = etcd_values.prefix_range(prefix)
        entries: list[port.Entry] = []
        revision = 0
        while True:
            page = await self._range(
                rpc_pb2.RangeRequest(
                    key=first, range_end=end, limit=PAGE_ENTRIES, revision=revision, keys_only=not values
                )
            )
            revision = revision or page.header.revision
            entries.extend(etcd_values.entry(kv) for kv in page.kvs)
            if not page.more:
                return port.Listing(tuple(entries), revision)
            first = page.kvs[-1].key + b"\0"

    async def _range(self, request: rpc_pb2.RangeRequest) -> rpc_pb2.RangeResponse:
        answer: rpc_pb2.RangeResponse = await self._channels.read(lambda endpoint: endpoint.kv.Range, request)
        return answer

    async def _failed(self, guards: Sequence[port.Guard]) -> port.Guard | None:
        """Which guard it was, as far as one more look can tell."""
        try:
            answer: rpc_pb2.TxnResponse = await self._channels.read(
                lambda endpoint: endpoint.kv.Txn, etcd_values.guarded_keys(guards)
            )
        except port.StoreError:
            return None
        seen = zip(guards, etcd_values.entries(answer), strict=True)
        return next((guard for guard, entry in seen if not port.holds(guard, entry)), None)
