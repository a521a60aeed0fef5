"""NetCheck: every node is asked for a place, told of all others' places, and tries to reach them."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from controlplane.api import errors, forwarding, relay
from controlplane.cluster import snapshot
from controlplane.controllers import endpoints
from controlplane.loop import picture
from orch import diagnosis
from orch.model import reach
from orch.v1 import control_pb2 as pb
from orch.v1 import sessions_pb2

PLACE_SECONDS = 10.0
FINDINGS_SECONDS = 30.0
MOST_TARGETS = 20
SLOW_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class NetCheck:
    """Handler of NetCheck; only the leader holds sessions; a follower hands on."""

    picture: picture.Picture
    relay: relay.Relay
    forwarding: forwarding.Forwarding

    async def net_check(self, request: Any, _context: Any) -> pb.NetCheckReply:
        """Ends within 45 s, whatever does not answer."""
        if self.forwarding.is_needed:
            async with self.forwarding.leader() as stub:
                passed: pb.NetCheckReply = await stub.NetCheck(request)
                return passed
        nodes = sorted(self.picture.cluster.nodes)
        async with AsyncExitStack() as stack:
            checks = [_Check(node) for node in nodes]
            await asyncio.gather(*(each.open(self.relay, stack) for each in checks))
            plan = pb.NetPlan(
                places=[each.place for each in checks if each.place is not None],
                targets=list(_targets(self.picture.cluster))[:MOST_TARGETS],
            )
            await asyncio.gather(*(each.find(plan) for each in checks if each.place is not None))
        problems = {each.node: self._words(each) for each in checks if each.problem}
        results = [result for each in checks for result in each.results]
        said = diagnosis.diagnose(plan.places, results, problems, request.slow or SLOW_SECONDS)
        return pb.NetCheckReply(
            nodes=nodes,
            results=results,
            places=plan.places,
            problems=said.problems,
            warnings=said.warnings,
        )

    def _words(self, check: "_Check") -> str:
        """Why a node took no part; what it last said of itself may be the cause."""
        node = self.picture.cluster.node(check.node)
        known = "; ".join(node.status.problems) if node is not None else ""
        look = f"Look whether its agent runs: orchctl events node/{check.node}"
        return f"{check.problem}. {f'It had said: {known}' if known else look}"


class _Check:
    """One node's."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.place: pb.NetPlace | None = None
        self.results: Sequence[pb.NetResult] = ()
        self.problem = ""
        self._stream: relay.Stream | None = None
        self._answers: Any = None

    async def open(self, streams: relay.Relay, stack: AsyncExitStack) -> None:
        """The node makes its place, which lasts as long as the stream."""
        ask = sessions_pb2.StreamAsk(net_check=sessions_pb2.NetCheckAsk())
        try:
            async with asyncio.timeout(PLACE_SECONDS):
                self._stream = await stack.enter_async_context(streams.ask(self.node, ask))
                self._answers = self._stream.answers()
                answer = await anext(self._answers, None)
        except (errors.Unreachable, errors.NotPossible) as error:
            self.problem = str(error)
            return
        except TimeoutError:
            self.problem = f"{self.node} made no place within {PLACE_SECONDS:g} s"
            return
        if answer is None:
            self.problem = f"{self.node} ended the check before it began"
        elif answer.WhichOneof("kind") == "net_place":
            self.place = answer.net_place
        else:
            self.problem = f"{self.node}: {answer.problem}"

    async def find(self, plan: pb.NetPlan) -> None:
        """What it found."""
        if self._stream is None:
            return
        try:
            async with asyncio.timeout(FINDINGS_SECONDS):
                await self._stream.send(plan)
                answer = await anext(self._answers, None)
        except TimeoutError:
            self.problem = f"{self.node} did not say within {FINDINGS_SECONDS:g} s what it found"
            return
        if answer is not None and answer.WhichOneof("kind") == "net_findings":
            self.results = answer.net_findings.results
        else:
            self.problem = f"{self.node}: {answer.problem if answer is not None else 'its agent has ended'}"


def _targets(cluster: snapshot.Cluster) -> Iterator[pb.NetTarget]:
    """TCP ports behind which somebody is ready; those that let everybody in, since the check is no service."""
    for name in sorted(cluster.services):
        found = endpoints.of_service(cluster, name)
        if not any(each.ready for each in found.endpoints) or reach.ANYBODY not in found.network.allow_from:
            continue
        for port in found.ports:
            if port.protocol == "tcp":
                yield pb.NetTarget(
                    service=f"{name.name}.{name.namespace}.orch",
                    address=found.virtual_addresses[0] if found.virtual_addresses else "",
                    port=port.port or port.target,
                    published=port.published if port.is_ingress and not port.host_ip else 0,
                )
