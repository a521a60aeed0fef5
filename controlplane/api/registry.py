"""A node greets: it becomes part of the cluster, or is part of it again."""

import asyncio
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from controlplane.api import errors
from controlplane.cluster import snapshot
from controlplane.loop import clock, picture
from controlplane.store import codec, keys, leadership, port
from orch.model.cluster import ClusterIdentity
from orch.model.names import check_name
from orch.model.node import Condition, Facts, NodeSpec, NodeStatus

ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a Hello says of the node itself."""

    node: str
    incarnation: int
    facts: Facts
    labels: dict[str, str]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Registry:
    """Writes nodes."""

    store: port.Store
    picture: picture.Picture
    leader: leadership.Leadership
    clock: clock.Clock
    one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Nodes that greet together would all choose the same free range."""

    async def greet(self, said: Greeting) -> None:
        """It is READY, with its spec, range and facts. Raises StoreError, Invalid, NotPossible, Denied."""
        try:
            check_name(said.node)
        except ValueError as error:
            raise errors.Invalid(str(error)) from error
        await self._check_has_joined(said.node)
        await self._commit(lambda cluster: welcome(cluster, said, self.clock.now()))

    async def _check_has_joined(self, node: str) -> None:
        """A node that was removed still holds a certificate, and must not come back by it. Raises Denied."""
        key = keys.node_identity(node)
        if key in self.picture.cluster.modified:
            return
        entry, _ = await self.store.get(key)
        if entry is None:
            raise errors.Denied(f"{node} was removed from the cluster: join it again with a token")

    async def note_problems(self, node: str, problems: tuple[str, ...]) -> None:
        """What the node says is wrong with it has changed. Raises StoreError."""

        def edits(cluster: snapshot.Cluster) -> list[codec.Edit]:
            known = cluster.node(node)
            if known is None or known.status.problems == problems:
                return []
            return [codec.Save(replace(known.status, problems=problems))]

        await self._commit(edits)

    async def _commit(self, decide: Callable[[snapshot.Cluster], list[Any]]) -> None:
        """Look, decide, write; look again when somebody was faster."""
        async with self.one_at_a_time:
            await self._commit_alone(decide)

    async def _commit_alone(self, decide: Callable[[snapshot.Cluster], list[Any]]) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            cluster = self.picture.cluster
            edits = decide(cluster)
            if not edits:
                return
            guards = [self.leader.guard(), *(self.picture.guard(edit.key) for edit in edits)]
            try:
                writes = [codec.write(edit, cluster.newer) for edit in edits]
                revision = await self.store.commit(guards, writes)
            except (port.Conflict, port.OutcomeUnknown):
                if attempt == ATTEMPTS:
                    raise
                await self.picture.wait_change()
            else:
                self.picture.committed(edits, revision)
                return


def welcome(cluster: snapshot.Cluster, said: Greeting, now: float) -> list[codec.Edit]:
    """What has to be written for the greeting to be true; nothing when it already is. Raises NotPossible."""
    known = cluster.node(said.node)
    has_subnet = known is not None and bool(known.status.subnets)
    edits: list[codec.Edit] = []
    if known is None or keys.node_spec(said.node) not in cluster.modified:
        edits.append(codec.Save(NodeSpec(said.node, labels=said.labels, joined_at=now)))
    if has_subnet and known is not None:
        index, subnets = known.status.index, known.status.subnets
    else:
        index = free_index(cluster, said.node)
        subnets = (subnet(_identity(cluster), index),)
        edits.append(codec.Mark(keys.claim_subnet(index), said.node.encode()))
    was_ready = known is not None and known.is_ready
    status = NodeStatus(
        name=said.node,
        condition=Condition.READY,
        since=known.status.since if known is not None and was_ready else now,
        incarnation=said.incarnation,
        facts=said.facts,
        subnets=subnets,
        index=index,
        problems=said.problems,
    )
    if known is None or status != known.status:
        edits.append(codec.Save(status))
    return edits


def free_index(cluster: snapshot.Cluster, node: str) -> int:
    """The place the node has claimed before, or the lowest that is free. Raises NotPossible."""
    identity = _identity(cluster)
    for index, holder in cluster.subnets.items():
        if holder == node:
            return index
    places = 2 ** (identity.node_prefix - ipaddress.ip_network(identity.task_range).prefixlen)
    for index in range(places):
        if index not in cluster.subnets:
            return index
    raise errors.NotPossible(
        f"the range {identity.task_range} has room for {places} nodes, all taken: remove a node that is gone"
    )


def subnet(identity: ClusterIdentity, index: int) -> str:
    """The part of the cluster's range at this place."""
    whole = ipaddress.ip_network(identity.task_range)
    size = 2 ** (whole.max_prefixlen - identity.node_prefix)
    return f"{whole.network_address + index * size}/{identity.node_prefix}"


def _identity(cluster: snapshot.Cluster) -> ClusterIdentity:
    if cluster.identity is None:
        raise errors.Unreachable("the control plane has not read its store yet")
    return cluster.identity
