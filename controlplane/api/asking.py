"""Why: the same reasoning that decided, asked again and shown."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from controlplane.api import catalog, errors, views
from controlplane.cluster import snapshot
from controlplane.scheduler import explain
from controlplane.scheduler.scores import Best
from orch import wire
from orch.model.event import Event
from orch.model.names import DEFAULT_NAMESPACE, ServiceName
from orch.model.node import Node
from orch.model.service import Service
from orch.model.task import Task
from orch.v1 import control_pb2 as pb

MOST_EVENTS = 20
MOST_NODES = 20


@dataclass(frozen=True, slots=True)
class Asking:
    """The handler of Why."""

    source: catalog.Source

    async def why(self, request: Any, _context: Any) -> pb.WhyReply:
        """Of a task, a slot, a service or a node. Raises NotFound."""
        namespace = request.namespace or DEFAULT_NAMESPACE
        cluster = self.source.picture.cluster
        service = cluster.service(ServiceName(namespace, request.name))
        if service is not None:
            return self._of_service(service)
        task = _newest(cluster, namespace, request.name)
        if task is not None:
            return self._of_task(task)
        node = cluster.node(request.name)
        if node is not None:
            return self._of_node(node)
        raise errors.NotFound(f"there is no task, service or node {request.name} in namespace {namespace}")

    def _of_task(self, task: Task) -> pb.WhyReply:
        cluster = self.source.picture.cluster
        reasons = self.source.reasons(task.id.owner)
        reply = pb.WhyReply(events=self._events("task", task.id.full_name, task.id.namespace))
        if not task.node and cluster.is_live(task):
            refused, left = explain.funnel(cluster, task)
            reply.summary = f"{task.id.full_name} waits: {reasons.get(task.id) or _would_go(cluster, task)}"
            reply.funnel.extend(_steps(len(cluster.nodes), refused))
            if not left:
                reply.suggestions.extend(_suggestions(reasons.get(task.id, "")))
            return reply
        reply.summary = _placed(cluster, task, reasons)
        reply.scores.extend(_score_row(task))
        if cluster.is_live(task):
            table, refused = explain.scores_without(cluster, task)
            reply.scores.extend(_rows_now(table))
            reply.funnel.extend(_steps(len(cluster.nodes), refused))
        return reply

    def _of_service(self, service: Service) -> pb.WhyReply:
        cluster = self.source.picture.cluster
        reasons = self.source.reasons(service.name)
        for task in cluster.pending(service.name):
            reply = self._of_task(task)
            reply.events.extend(self._events("service", service.name.name, service.name.namespace))
            return reply
        view = views.service_view(cluster, service, reasons)
        words = view.reason or (view.rollout.verdict if view.HasField("rollout") else "")
        summary = f"{service.name} is {view.status}: {view.ready} of {view.desired} ready" + (
            f"; {words}" if words else ""
        )
        return pb.WhyReply(
            summary=summary, events=self._events("service", service.name.name, service.name.namespace)
        )

    def _of_node(self, node: Node) -> pb.WhyReply:
        problems = "".join(f"; {problem}" for problem in node.status.problems)
        reason = f": {node.status.reason}" if node.status.reason else ""
        summary = f"{node.name} is {node.status.condition} and {node.spec.availability}{reason}{problems}"
        return pb.WhyReply(summary=summary, events=self._events("node", node.name, ""))

    def _events(self, kind: str, name: str, namespace: str) -> list[Any]:
        """Newest first; of a service also its tasks'."""

        def is_about(event: Event) -> bool:
            what, _, who = event.object.partition("/")
            if event.namespace != namespace:
                return False
            return (what, who) == (kind, name) or (
                kind == "service" and what == "task" and who.startswith(f"{name}.")
            )

        found = sorted(
            filter(is_about, self.source.picture.events.values()), key=lambda event: -event.last_at
        )
        return [wire.to_wire(event) for event in found[:MOST_EVENTS]]


def _newest(cluster: snapshot.Cluster, namespace: str, name: str) -> Task | None:
    """The live task of a slot, or its last one; or the very task, by full name or key."""
    found = [
        task
        for task in cluster.all_tasks()
        if task.id.namespace == namespace and name in {task.id.name, task.id.full_name, task.id.key}
    ]
    return max(found, key=lambda task: (cluster.is_live(task), task.id), default=None)


def _would_go(cluster: snapshot.Cluster, task: Task) -> str:
    table = explain.scores(cluster, task)
    return f"{table[0][0]} takes it next" if table else "no node takes it"


def _steps(total: int, refused: list[explain.Refused]) -> Iterator[pb.FunnelStep]:
    left = total
    merged: dict[str, dict[str, str]] = {}
    for each in refused:
        merged.setdefault(each.filter, {}).update(dict.fromkeys(each.nodes, each.reason))
    for name, nodes in merged.items():
        left -= len(nodes)
        yield pb.FunnelStep(filter=name, left=left, refused=nodes)


def _suggestions(reason: str) -> Iterator[str]:
    _, found, remedy = reason.rpartition("it would fit if you ")
    if found:
        yield remedy


def _placed(cluster: snapshot.Cluster, task: Task, reasons: views.Reasons) -> str:
    state = views.state_of(cluster, task)
    _, message = views.task_reason(cluster, task, reasons)
    where = f"is on {task.node}" if task.node else "has no node"
    words = f"{task.id.full_name} {where}, {state.name.lower()}"
    if task.cause:
        words += f"; {task.cause}"
    return f"{words}; {message}" if message and message != task.cause else words


def _score_row(task: Task) -> Iterator[pb.ScoreRow]:
    """The numbers that the winner won by, as kept with the task."""
    if not task.score:
        return
    numbers: dict[str, float] = {}
    for name, value in json.loads(task.score).items():
        numbers[name] = float(value[1] if isinstance(value, list) else value)
    yield pb.ScoreRow(node=task.node, scores=numbers, won=True)


def _rows_now(table: list[tuple[str, Best]]) -> Iterator[pb.ScoreRow]:
    """The same numbers of every node that would take it, as things are; the smaller the better."""
    for node, best in table[:MOST_NODES]:
        spread = {key: float(count) for key, _, count in best.spread}
        yield pb.ScoreRow(node=node, scores=spread | {"tasks": best.tasks, "allocated": best.share})
