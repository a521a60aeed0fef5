"""The cluster's own identity: made once, at the first start, by whoever comes first."""

import logging
import secrets
from dataclasses import replace

from controlplane.api import authority, datadir
from controlplane.settings import Settings
from controlplane.store import codec, keys, port
from orch import wire
from orch.model.cluster import ClusterIdentity
from orch.model.config import Namespace
from orch.model.names import DEFAULT_NAMESPACE

SEALING_KEY = "sealing.key"
log = logging.getLogger(__name__)


async def found_or_find(
    store: port.Store, settings: Settings, now: float
) -> tuple[ClusterIdentity, authority.Pair]:
    """The cluster in the store, and its authority. Raises StoreError, BadDirectory."""
    identity = await _find(store)
    if identity is None:
        identity = await _found(store, settings, now)
    pair = datadir.check_same(settings.data, datadir.authority_in(settings.data), identity.ca)
    if settings.restored:
        identity = await _begin_another_life(store)
    return identity, pair


async def _begin_another_life(store: port.Store) -> ClusterIdentity:
    """Its stamps are greater than all before, however far the store went back. Raises StoreError."""
    entry, _ = await store.get(keys.CLUSTER)
    if entry is None:
        raise port.Unavailable("the store has lost the cluster's identity")
    known = wire.decode(entry.value, ClusterIdentity)
    identity = replace(known, incarnation=known.incarnation + 1)
    unchanged = port.Unchanged(entry.key, entry.modified)
    await store.commit([unchanged], [port.Put(entry.key, wire.rewrite(identity, entry.value))])
    log.warning("incarnation %d of the cluster begins: the store was restored", identity.incarnation)
    return identity


async def _find(store: port.Store) -> ClusterIdentity | None:
    entry, _ = await store.get(keys.CLUSTER)
    return wire.decode(entry.value, ClusterIdentity) if entry is not None else None


async def _found(store: port.Store, settings: Settings, now: float) -> ClusterIdentity:
    cluster = secrets.token_hex(8)
    pair = datadir.authority_in(settings.data)
    if pair is None:
        pair = authority.found(cluster, now)
        datadir.keep_authority(settings.data, pair)
    identity = ClusterIdentity(
        id=cluster,
        task_range=settings.task_range,
        node_prefix=settings.node_prefix,
        service_range=settings.service_range,
        ca=pair.certificate,
        created_at=now,
    )
    first = [codec.Save(identity), codec.Save(Namespace(DEFAULT_NAMESPACE, created_at=now))]
    try:
        await store.commit([port.Absent(keys.CLUSTER)], [codec.write(edit) for edit in first])
    except (port.Conflict, port.OutcomeUnknown):
        known = await _find(store)
        if known is None:
            raise
        return known
    return identity


def check_sealing_key(settings: Settings, *, is_new: bool) -> None:
    """A cluster that exists has secrets that only its own key opens. Raises BadDirectory."""
    if not is_new and not (settings.data / SEALING_KEY).exists():
        raise datadir.BadDirectory(
            f"{settings.data} has no {SEALING_KEY}, and the cluster in the store has one: "
            "copy it from another control plane of the cluster, or from a backup"
        )
