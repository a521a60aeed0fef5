"""Build: a user's context goes to a node, and what the node says comes back."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

from controlplane.api import errors, forwarding, relay
from controlplane.cluster import snapshot
from controlplane.loop import picture
from orch.model.node import Availability
from orch.oci import manifest, reference
from orch.oci.failure import ImageFailure
from orch.v1 import control_pb2 as pb
from orch.v1 import sessions_pb2

GRANT_SECONDS = 2 * 3600.0
"""The longest build that can push; a grant is withdrawn as soon as its build ends."""

Grant = Callable[[frozenset[str], float], str]
"""(repositories, seconds) → a word that lets a node push there; "" when the cluster has no registry."""


@dataclass(frozen=True, slots=True)
class Building:
    """Handler of Build; only the leader holds sessions; a follower hands on."""

    picture: picture.Picture
    relay: relay.Relay
    forwarding: forwarding.Forwarding
    grant: Grant
    withdraw: Callable[[str], None]

    async def build(self, requests: Any, _context: Any) -> AsyncIterator[pb.BuildOutput]:
        """Raises Invalid, NotFound, NotPossible, Unreachable."""
        if self.forwarding.is_needed:
            async with self.forwarding.leader() as stub:
                async for output in stub.Build(requests):
                    yield output
            return
        messages = aiter(requests)
        first = await anext(messages, None)
        if first is None or first.WhichOneof("kind") != "start":
            raise errors.Invalid("a build begins with what to build")
        start = first.start
        ours = _repositories(start.names)
        node = _node(self.picture.cluster, start)
        start.grant = self.grant(ours, GRANT_SECONDS) if ours else ""
        if ours and not start.grant:
            raise errors.NotPossible(
                "this cluster has no registry of its own (--registry-listen off): "
                "name the image for another one, HOST/NAME:TAG"
            )
        try:
            async with aclosing(self._carry_out(node, start, messages)) as outputs:
                async for output in outputs:
                    yield output
        finally:
            self.withdraw(start.grant)

    async def _carry_out(
        self, node: str, start: pb.BuildStart, messages: Any
    ) -> AsyncGenerator[pb.BuildOutput]:
        async with self.relay.ask(node, sessions_pb2.StreamAsk(build=start)) as stream:
            feeding = asyncio.create_task(_feed(messages, stream))
            try:
                async for answer in stream.answers():
                    if answer.WhichOneof("kind") == "problem":
                        yield pb.BuildOutput(end=pb.BuildEnd(problem=answer.problem, node=node))
                        return
                    yield answer.build
                    if answer.build.WhichOneof("kind") == "end":
                        return
            finally:
                feeding.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await feeding


def _repositories(names: Any) -> frozenset[str]:
    """Those of the cluster's own registry. Raises Invalid."""
    found = set()
    for name in names:
        try:
            ref = reference.of_own(name)
        except ImageFailure as failure:
            raise errors.Invalid(failure.message) from failure
        if ref.registry == reference.CLUSTER:
            found.add(ref.repository)
    return frozenset(found)


def _platform(text: str) -> manifest.Platform:
    """Raises Invalid."""
    try:
        return manifest.platform(text)
    except ImageFailure as failure:
        raise errors.Invalid(f"--platform: {failure.message}") from failure


def _node(cluster: snapshot.Cluster, start: Any) -> str:
    """The one asked for, or the same one for the same name: it has the layers already."""
    ready = {name for name, node in cluster.nodes.items() if node.is_ready}
    if start.node:
        if start.node not in cluster.nodes:
            raise errors.NotFound(f"there is no node {start.node}; `orchctl get nodes` lists them")
        if start.node not in ready:
            raise errors.NotPossible(f"{start.node} is not ready: build on another node")
        return str(start.node)
    open_ones = [name for name in ready if cluster.nodes[name].spec.availability is Availability.ACTIVE]
    if not open_ones:
        raise errors.NotPossible("no node is ready to build on; `orchctl get nodes` says why")
    if start.platform:  # one that can run its programs, where there is one
        wanted = _platform(start.platform).architecture
        alike = [name for name in open_ones if cluster.nodes[name].status.facts.architecture == wanted]
        open_ones = alike or open_ones
    what = reference.of_own(start.names[0]).repository if start.names else ""
    return max(open_ones, key=lambda name: hashlib.sha256(f"{name}/{what}".encode()).digest())


async def _feed(messages: Any, stream: relay.Stream) -> None:
    async for message in messages:
        await stream.send(message)
