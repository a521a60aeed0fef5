"""PortForward: one connection of a user to a port of a task; its node dials back for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from controlplane.api import errors, forwarding, relay
from controlplane.cluster import snapshot
from controlplane.loop import picture
from orch import wire
from orch.model.names import DEFAULT_NAMESPACE, ServiceName
from orch.model.policy import PortSpec
from orch.model.task import Task
from orch.v1 import control_pb2 as pb
from orch.v1 import sessions_pb2


@dataclass(frozen=True, slots=True)
class PortForwarding:
    """Handler of PortForward; only the leader holds sessions; a follower hands on."""

    picture: picture.Picture
    relay: relay.Relay
    forwarding: forwarding.Forwarding

    async def port_forward(self, requests: Any, _context: Any) -> AsyncIterator[pb.ForwardOutput]:
        """Raises Invalid, NotFound, NotPossible, Unreachable."""
        if self.forwarding.is_needed:
            async with self.forwarding.leader() as stub:
                async for output in stub.PortForward(requests):
                    yield output
            return
        messages = aiter(requests)
        first = await anext(messages, None)
        if first is None or first.WhichOneof("kind") != "start":
            raise errors.Invalid("a forwarded connection begins with where it is to lead")
        start = first.start
        task = chosen(self.picture.cluster, start)
        start.target = target(self.picture.cluster, task, start)
        if start.look:
            yield pb.ForwardOutput(opened=_opened(task, start.target))
            return
        ask = sessions_pb2.StreamAsk(task=wire.to_wire(task.id), forward=start)
        async with self.relay.ask(task.node, ask) as stream:
            feeding = asyncio.create_task(_feed(messages, stream))
            try:
                async for answer in stream.answers():
                    if answer.WhichOneof("kind") == "problem":
                        yield pb.ForwardOutput(broken=answer.problem)
                        return
                    if answer.forward.WhichOneof("kind") == "opened":
                        answer.forward.opened.CopyFrom(_opened(task, start.target))
                    yield answer.forward
            finally:
                feeding.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await feeding


def chosen(cluster: snapshot.Cluster, start: Any) -> Task:
    """The preferred task while it is ready, else a ready one, else one that lives. Raises NotFound, NotPossible."""
    namespace = start.namespace or DEFAULT_NAMESPACE
    names = {start.name}
    known = [
        task
        for task in cluster.all_tasks()
        if task.id.namespace == namespace
        and names & {task.id.service, task.id.name, task.id.full_name, task.id.key}
    ]
    if not known and cluster.service(ServiceName(namespace, start.name)) is None:
        raise errors.NotFound(f"there is no service or task {start.name} in namespace {namespace}")
    live = [task for task in known if task.node and cluster.is_live(task) and not cluster.is_lost(task)]
    if not live:
        raise errors.NotPossible(
            f"nothing of {start.name} runs on a node that answers; `orchctl why {start.name}` says why"
        )
    return min(live, key=lambda task: (not cluster.is_ready(task), task.id.key != start.task, task.id))


def target(cluster: snapshot.Cluster, task: Task, start: Any) -> int:
    """The port inside. Raises Invalid, NotFound."""
    template = cluster.template(task.id.owner, task.revision)
    ports = template.ports if template is not None else ()
    if start.port.isdecimal():
        number = int(start.port)
        if not 1 <= number <= 65535:
            raise errors.Invalid(f"port {start.port} does not exist: ports are 1 to 65535")
        if start.name != task.id.service:  # a task: its own ports
            return number
        return next((each.target for each in ports if _is_tcp(each) and each.port == number), number)
    found = next((each for each in ports if each.name == start.port), None)
    if found is None:
        names = ", ".join(each.name for each in ports if each.name) or "none"
        raise errors.NotFound(f"{start.name} has no port named {start.port}; it has {names}")
    if not _is_tcp(found):
        raise errors.Invalid(f"port {start.port} of {start.name} is udp: only tcp can be forwarded")
    return found.target


def _is_tcp(port: PortSpec) -> bool:
    return port.protocol == "tcp"


def _opened(task: Task, number: int) -> pb.ForwardOpened:
    return pb.ForwardOpened(task=task.id.key, name=task.id.full_name, node=task.node, target=number)


async def _feed(messages: Any, stream: relay.Stream) -> None:
    async for message in messages:
        await stream.send(message)
