"""Logs and Exec: a user on one side, a node on the other, the relay between them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from controlplane.api import catalog, errors, following, forwarding, relay
from controlplane.cluster import snapshot
from controlplane.loop import picture
from orch import wire
from orch.model.names import DEFAULT_NAMESPACE, ServiceName
from orch.model.task import Task
from orch.v1 import control_pb2 as pb
from orch.v1 import sessions_pb2

LINES_BUFFERED = 64
MOST_SOURCES = 100


@dataclass(frozen=True, slots=True)
class Streaming:
    """Handlers of Logs and Exec; only the leader holds sessions; a follower hands on."""

    picture: picture.Picture
    relay: relay.Relay
    forwarding: forwarding.Forwarding

    async def logs(self, request: Any, _context: Any) -> AsyncIterator[pb.LogLine]:
        """Lines of one task, or of all tasks of a service, as they come; followed, also of later ones.

        Raises NotFound.
        """
        if self.forwarding.is_needed:
            async with self.forwarding.leader() as stub:
                async for line in stub.Logs(request):
                    yield line
            return
        lines: asyncio.Queue[pb.LogLine | None] = asyncio.Queue(LINES_BUFFERED)
        sources: list[asyncio.Task[None]] = []

        def begin(task: Task) -> None:
            sources.extend(
                asyncio.create_task(self._one_log(task, containers, request, lines))
                for containers in self._together(task, request)
            )

        tasks = self._tasks(request)
        for task in tasks:
            begin(task)
        if request.follow and request.name not in {tasks[0].id.full_name, tasks[0].id.key}:
            sources.append(asyncio.create_task(self._later_logs(request.name, tasks, begin, lines)))
        ended = 0
        try:
            while ended < len(sources):
                line = await lines.get()
                if line is None:
                    ended += 1
                else:
                    yield line
        finally:
            for source in sources:
                source.cancel()
            await asyncio.gather(*sources, return_exceptions=True)

    async def _later_logs(
        self,
        name: str,
        tasks: list[Task],
        begin: Callable[[Task], None],
        lines: "asyncio.Queue[pb.LogLine | None]",
    ) -> None:
        """Tasks that begin while their service or slot is followed are followed, too."""
        known = {task.id for task in tasks}
        async for task in following.later_tasks(self.picture, tasks[0].id.owner, name, known):
            begin(task)
        await lines.put(None)

    def _together(self, task: Task, request: Any) -> list[list[str]]:
        """Containers of which one is read after the other; those that are followed are read at once."""
        containers = _containers(self.picture.cluster, task, request)
        return [[each] for each in containers] if request.follow else [containers]

    async def _one_log(
        self, task: Task, containers: list[str], request: Any, lines: "asyncio.Queue[pb.LogLine | None]"
    ) -> None:
        """Into the queue until the node has no more; a node that cannot answer is a line that says so."""
        try:
            for container in containers:
                ask = sessions_pb2.StreamAsk(
                    task=wire.to_wire(task.id),
                    logs=sessions_pb2.TaskLogsAsk(
                        container=container,
                        follow=request.follow,
                        tail=request.tail,
                        since=request.since,
                        previous=request.previous,
                        stream=request.stream,
                    ),
                )
                async with self.relay.ask(task.node, ask) as stream:
                    async for answer in stream.answers():
                        await lines.put(_line(task, answer))
        except (errors.Unreachable, errors.NotPossible, errors.NotFound) as error:
            await lines.put(pb.LogLine(task=task.id.full_name, problem=str(error)))
        finally:
            with suppress(asyncio.CancelledError):
                await lines.put(None)

    async def exec(self, requests: Any, _context: Any) -> AsyncIterator[pb.ExecOutput]:
        """A command in a container. Raises Invalid, NotFound, NotPossible, Unreachable."""
        if self.forwarding.is_needed:
            async with self.forwarding.leader() as stub:
                async for output in stub.Exec(requests):
                    yield output
            return
        messages = aiter(requests)
        first = await anext(messages, None)
        task, ask = self._asked(first)
        async with self.relay.ask(task.node, ask) as stream:
            feeding = asyncio.create_task(_feed(messages, stream))
            try:
                async for answer in stream.answers():
                    if answer.WhichOneof("kind") == "problem":
                        yield pb.ExecOutput(end=pb.ExecEnd(exit_code=126, problem=answer.problem))
                        return
                    yield answer.exec
                    if answer.exec.WhichOneof("kind") == "end":
                        return
            finally:
                feeding.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await feeding

    def _asked(self, first: Any) -> tuple[Task, sessions_pb2.StreamAsk]:
        """Which task, and what of it. Raises Invalid, NotFound."""
        match kind := first.WhichOneof("kind") if first is not None else None:
            case "start" | "copy" | "attach":
                start = getattr(first, kind)
            case _:
                raise errors.Invalid("a command, a copy or an attachment begins with what is wanted")
        task = self._running(start)
        return task, sessions_pb2.StreamAsk(
            task=wire.to_wire(task.id), **{"exec" if kind == "start" else kind: start}
        )

    def _tasks(self, request: Any) -> list[Task]:
        """Those that were given to a node; of a service, only the live ones unless none lives."""
        cluster = self.picture.cluster
        namespace = request.namespace or DEFAULT_NAMESPACE
        known = [task for task in cluster.all_tasks() if task.id.namespace == namespace]
        named = [task for task in known if catalog.task_is_named(task.id, [request.name])]
        if not named:
            if cluster.service(ServiceName(namespace, request.name)) is not None:
                raise errors.NotPossible(
                    f"{request.name} has no tasks yet; `orchctl why {request.name}` says why"
                )
            raise errors.NotFound(f"there is no service or task {request.name} in namespace {namespace}")
        placed = [task for task in named if task.node]
        if not placed:
            raise errors.NotPossible(f"{request.name} has no node yet; `orchctl why {request.name}` says why")
        live = [task for task in placed if cluster.is_live(task)]
        chosen = live or [max(placed, key=lambda task: task.id)]
        return sorted(chosen, key=lambda task: task.id)[:MOST_SOURCES]

    def _running(self, start: Any) -> Task:
        cluster = self.picture.cluster
        namespace = start.namespace or DEFAULT_NAMESPACE
        found = [
            task
            for task in cluster.all_tasks()
            if task.id.namespace == namespace and task.node and catalog.task_is_named(task.id, [start.task])
        ]
        live = [task for task in found if cluster.is_live(task)]
        if not live:
            raise errors.NotFound(f"no task {start.task} is on a node in namespace {namespace}")
        chosen = min(live, key=lambda task: (not cluster.is_ready(task), task.id))
        if start.container:
            _check_container(cluster, chosen, start.container)
        return chosen


def _containers(cluster: snapshot.Cluster, task: Task, request: Any) -> list[str]:
    """The one that was asked for, or all, init containers first; of an earlier run, those that had one.

    Raises NotFound.
    """
    template = cluster.template(task.id.owner, task.revision)
    if template is None:
        return [request.container]
    names = [each.name for each in (*template.init_containers, *template.containers)]
    if request.container:
        _check_container(cluster, task, request.container)
        return [request.container]
    if not request.previous:
        return names
    status = cluster.status(task.id)
    again = {each.name for each in status.containers if each.restarts} if status else set()
    return [name for name in names if name in again] or [template.containers[0].name]


def _check_container(cluster: snapshot.Cluster, task: Task, name: str) -> None:
    template = cluster.template(task.id.owner, task.revision)
    if template is None:
        return
    names = [each.name for each in (*template.init_containers, *template.containers)]
    if name not in names:
        raise errors.NotFound(f"{task.id} has no container {name}; it has {', '.join(names)}")


def _line(task: Task, answer: Any) -> pb.LogLine:
    if answer.WhichOneof("kind") == "problem":
        return pb.LogLine(task=task.id.full_name, problem=answer.problem)
    line: pb.LogLine = answer.log
    line.task = line.task or task.id.full_name
    return line


async def _feed(messages: Any, stream: relay.Stream) -> None:
    async for message in messages:
        await stream.send(message)
