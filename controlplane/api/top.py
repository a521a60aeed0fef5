"""What tasks and nodes use: every node that is concerned is asked at once, and what each says is put together."""

import asyncio
from dataclasses import dataclass
from typing import Any

from controlplane.api import catalog, errors, forwarding, relay
from controlplane.loop import picture
from orch import wire
from orch.model.task import Task
from orch.v1 import control_pb2 as pb
from orch.v1 import sessions_pb2

DEFAULT_SECONDS = 1.0
LONGEST_SECONDS = 30.0
ANSWER_SECONDS = 10.0
"""Beyond the interval, before a node that does not answer is left out."""


@dataclass(frozen=True, slots=True)
class Top:
    """Handler of Top; only the leader holds sessions; a follower hands on."""

    picture: picture.Picture
    relay: relay.Relay
    forwarding: forwarding.Forwarding

    async def top(self, request: Any, _context: Any) -> pb.TopReply:
        """Raises Invalid, NotFound."""
        if self.forwarding.is_needed:
            async with self.forwarding.leader() as stub:
                reply: pb.TopReply = await stub.Top(request)
                return reply
        interval = min(request.interval or DEFAULT_SECONDS, LONGEST_SECONDS)
        match request.kind:
            case "nodes":
                asks: dict[str, list[Task]] = {name: [] for name in self._nodes(request)}
            case "tasks":
                asks = self._tasks(request)
            case _:
                raise errors.Invalid("tasks and nodes use something; nothing else does")
        replies = await asyncio.gather(*(self._ask(node, tasks, interval) for node, tasks in asks.items()))
        return pb.TopReply(
            usages=[usage for reply in replies for usage in reply.usages],
            problems=[problem for reply in replies for problem in reply.problems],
        )

    def _nodes(self, request: Any) -> list[str]:
        known = sorted(self.picture.cluster.nodes)
        for name in request.names:
            if name not in known:
                raise errors.NotFound(f"there is no node {name}; `orchctl get nodes` lists them")
        return list(request.names) or known

    def _tasks(self, request: Any) -> dict[str, list[Task]]:
        """By node: those that live there."""
        cluster = self.picture.cluster
        found: dict[str, list[Task]] = {}
        for task in cluster.all_tasks():
            is_meant = request.namespace in {"", task.id.namespace} and catalog.task_is_named(
                task.id, request.names
            )
            if is_meant and task.node and not cluster.has_finished(task):
                found.setdefault(task.node, []).append(task)
        if request.names and not found:
            raise errors.NotFound(f"no task of {', '.join(request.names)} is on a node")
        return found

    async def _ask(self, node: str, tasks: list[Task], interval: float) -> pb.TopReply:
        """A node that cannot answer is a problem, not an end."""
        ask = sessions_pb2.StreamAsk(
            top=sessions_pb2.TopAsk(tasks=[wire.to_wire(task.id) for task in tasks], interval=interval)
        )
        try:
            async with (
                asyncio.timeout(interval + ANSWER_SECONDS),
                self.relay.ask(node, ask) as stream,
            ):
                async for answer in stream.answers():
                    if answer.WhichOneof("kind") == "problem":
                        return pb.TopReply(problems=[f"{node}: {answer.problem}"])
                    for usage in answer.top.usages:
                        usage.node = node
                    reply: pb.TopReply = answer.top
                    return reply
        except errors.Unreachable as error:
            return pb.TopReply(problems=[str(error)])
        except TimeoutError:
            pass
        return pb.TopReply(problems=[f"{node} did not say what it uses"])
