"""Tells each node what changed for it, as soon as it did: which sections are due, and their bytes.

A section is whole every time, and is sent only when its content differs from what was sent last. Parts that
many sections share (a template, the endpoints of a service) are encoded once.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from controlplane.api import assignments, conversation, endpoint_book, registry_secrets, route_secrets
from controlplane.loop import picture
from controlplane.store import leadership
from orch import wire
from orch.model.assignment import AssignedTask, AssignedTemplate
from orch.model.cluster import Stamp
from orch.model.config import Secret
from orch.model.names import ServiceName
from orch.v1 import sessions_pb2, values_pb2

REST_FACTOR = 2.0
"""After telling, others have the processor for so many times as long."""
ENDPOINTS_REST_FACTOR = 8.0


@dataclass(slots=True)
class _Told:
    """What was sent to one session last, by section."""

    content: dict[str, object] = field(default_factory=dict)
    tasks: dict[AssignedTask, values_pb2.AssignedTask] = field(default_factory=dict)
    """As they were encoded last."""


class Teller:
    """Listens to the picture; `begin` and `end` say which sessions there are."""

    def __init__(
        self,
        seen: picture.Picture,
        leader: leadership.Leadership,
        opened: Callable[[Secret], Mapping[str, bytes]],
        endpoints: endpoint_book.Endpoints,
    ) -> None:
        self._picture = seen
        self._leader = leader
        self._opened = opened
        self._book = endpoint_book.EndpointBook(endpoints)
        self._sessions: dict[str, conversation.Conversation] = {}
        self._told: dict[str, _Told] = {}
        self._version = 0
        self._due: set[str] = set()
        self._peers_due: set[str] = set()
        self._endpoints_due: set[str] = set()
        self._rest_until = 0.0
        self._endpoints_rest_until = 0.0
        self._endpoints_waiting = False
        self._scheduled = False
        self._templates: dict[tuple[ServiceName, int, int], values_pb2.AssignedTemplate] = {}
        self._patience: asyncio.TimerHandle | None = None
        self._credentials = registry_secrets.RegistrySecrets(opened)
        self._route_secrets = route_secrets.RouteSecrets()
        self._certificates: tuple[assignments.FileKey, ...] = ()
        seen.listen(self._on_touched)

    # ── sessions ─────────────────────────────────────────────────────────────────────────────────────────

    def begin(self, session: conversation.Conversation) -> None:
        """A node is there: it is told everything."""
        name = session.node
        self._sessions[name] = session
        self._told[name] = _Told()
        self._due.add(name)
        self._peers_due.add(name)
        self._endpoints_due.add(name)
        self._schedule()

    def end(self, session: conversation.Conversation) -> None:
        """A node is there no more, unless it has begun anew meanwhile."""
        if self._sessions.get(session.node) is session:
            del self._sessions[session.node], self._told[session.node]
            self._settle_leaving()

    def acknowledged(self, session: conversation.Conversation) -> None:
        """A node has taken over its endpoints: whoever left them may be told to end."""
        if self._sessions.get(session.node) is session:
            self._settle_leaving()

    def stamp(self, epoch: int) -> Stamp:
        """Which cluster, life, leader and revision speak."""
        cluster = self._picture.cluster
        assert cluster.identity is not None  # noqa: S101  the picture is whole
        return Stamp(cluster.identity.id, cluster.identity.incarnation, epoch, cluster.revision)

    def begin_endpoints_again(self, session: conversation.Conversation) -> None:
        """The node has not got what it was told the difference to."""
        if self._sessions.get(session.node) is session:
            session.endpoints_sent = 0
            self._told[session.node].content.pop("endpoints", None)
            self._endpoints_due.add(session.node)
            self._schedule()

    # ── what is due ──────────────────────────────────────────────────────────────────────────────────────

    def _on_touched(self, touched: picture.Touched) -> None:
        self._book.touch(touched.endpoints)
        if touched.nodes:  # their tasks can be reached again, or no longer
            for name in touched.nodes:
                self._book.touch(task.id.owner for task in self._picture.cluster.tasks_on(name))
            self._peers_due.update(self._sessions)
        self._due |= touched.assigned & self._sessions.keys()
        if any(map(registry_secrets.concerns, touched.keys)) or self._has_other_certificates(touched):
            self._due.update(self._sessions)
        if self._due or self._peers_due or self._book.is_stale():
            self._schedule()

    def _has_other_certificates(self, touched: picture.Touched) -> bool:
        if not any(map(route_secrets.concerns, touched.keys)):
            return False
        before = self._certificates
        self._certificates = self._route_secrets.at(self._picture.cluster)
        return self._certificates != before

    def _schedule(self) -> None:
        """At once after a quiet time; in a storm of changes, many of them together."""
        if not self._scheduled:
            self._scheduled = True
            loop = asyncio.get_running_loop()
            loop.call_at(self._rest_until, self._flush)

    def _flush(self) -> None:
        """Everything that is due, to everybody it is due to."""
        self._scheduled = False
        epoch = self._leader.epoch
        if epoch is None or not self._picture.is_whole_at(epoch) or self._picture.cluster.identity is None:
            return  # those who are told come back to the next leader
        loop = asyncio.get_running_loop()
        began = loop.time()
        stamp = wire.to_wire(self.stamp(epoch))
        if self._book.is_stale() or self._endpoints_due:
            self._flush_endpoints(stamp)
        due, self._due = self._due, set()
        mounts: assignments.Mounts = {}
        images: dict[ServiceName, frozenset[str]] = {}
        for name in due & self._sessions.keys():
            self._tell_tasks(name, stamp, mounts, images)
        peers, self._peers_due = self._peers_due, set()
        for name in peers & self._sessions.keys():
            self._tell_peers(name, stamp)
        self._rest_until = loop.time() + (loop.time() - began) * REST_FACTOR

    def _flush_endpoints(self, stamp: values_pb2.Stamp) -> None:
        """They go to everybody, so they rest longer."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        if began >= self._endpoints_rest_until:
            self._refresh_endpoints()
            self._tell_endpoints(stamp)
            self._settle_leaving()
            self._endpoints_rest_until = loop.time() + (loop.time() - began) * ENDPOINTS_REST_FACTOR
        elif not self._endpoints_waiting:
            self._endpoints_waiting = True
            loop.call_at(self._endpoints_rest_until, self._end_rest)

    def _end_rest(self) -> None:
        self._endpoints_waiting = False
        self._schedule()

    # ── the four sections ────────────────────────────────────────────────────────────────────────────────

    def _tell_tasks(
        self,
        name: str,
        stamp: values_pb2.Stamp,
        mounts: assignments.Mounts,
        images: dict[ServiceName, frozenset[str]],
    ) -> None:
        cluster = self._picture.cluster
        credentials = self._credentials.at(cluster.secrets)
        own = assignments.file_keys_for(cluster, name, mounts, credentials)
        files = tuple(sorted({*own, *self._route_secrets.at(cluster)}))
        if self._is_new(name, "files", files):
            found = assignments.files_for(files, self._picture.version_of, self._opened)
            message = values_pb2.FileSection(
                stamp=stamp, version=self._next(), files=map(wire.to_wire, found)
            )
            self._push(name, "files", sessions_pb2.SessionDown(files=message))
        tasks = assignments.tasks_for(cluster, name, self._book.is_drained)
        kept = assignments.kept_images_for(cluster, name, images)
        if self._is_new(name, "tasks", (tasks, kept)):
            templates = [self._template(each) for each in assignments.templates_for(cluster, name)]
            told = self._told[name]
            known = told.tasks
            told.tasks = {each: known.get(each) or wire.to_wire(each) for each in tasks}
            section = values_pb2.TaskSection(
                stamp=stamp,
                version=self._next(),
                tasks=told.tasks.values(),
                templates=templates,
                kept_images=kept,
            )
            self._push(name, "tasks", sessions_pb2.SessionDown(tasks=section))

    def _tell_peers(self, name: str, stamp: values_pb2.Stamp) -> None:
        cluster = self._picture.cluster
        assert cluster.identity is not None  # noqa: S101  the picture is whole
        peers = assignments.peers_for(cluster, name)
        subnets = assignments.subnets_of(cluster, name)
        if self._is_new(name, "peers", (peers, subnets)):
            section = values_pb2.PeerSection(
                stamp=stamp,
                version=self._next(),
                subnets=subnets,
                task_range=cluster.identity.task_range,
                service_range=cluster.identity.service_range,
                peers=map(wire.to_wire, peers),
            )
            self._push(name, "peers", sessions_pb2.SessionDown(peers=section))

    def _refresh_endpoints(self) -> None:
        before = self._book.version
        self._due |= self._book.refresh(self._picture.cluster, asyncio.get_running_loop().time())
        if self._book.version != before:
            self._endpoints_due.update(self._sessions)

    def _tell_endpoints(self, stamp: values_pb2.Stamp) -> None:
        due, self._endpoints_due = self._endpoints_due & self._sessions.keys(), set()
        due = {name for name in due if self._is_new(name, "endpoints", self._book.version)}
        if not due:
            return
        self._book.told(stamp, self._next())
        for name in due:
            session = self._sessions[name]
            session.push("endpoints", partial(self._book.message_for, session))

    def _settle_leaving(self) -> None:
        """Some may have been let go of by everybody, and may be told to end."""
        loop = asyncio.get_running_loop()
        acknowledged = {
            name: session.acknowledged.get("endpoints", 0) for name, session in self._sessions.items()
        }
        self._due |= self._book.let_go(self._picture.cluster, acknowledged, loop.time())
        if self._due:
            self._schedule()
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if (due := self._book.next_due()) is not None:
            self._patience = loop.call_at(due, self._settle_leaving)

    # ── small parts ──────────────────────────────────────────────────────────────────────────────────────

    def _is_new(self, name: str, section: str, content: object) -> bool:
        told = self._told[name].content
        if section in told and told[section] == content:
            return False
        told[section] = content
        return True

    def _next(self) -> int:
        """Greater than any before, also than those of earlier leaders: they began at older revisions."""
        self._version = max(self._version + 1, self._picture.cluster.revision)
        return self._version

    def _push(self, name: str, section: str, message: sessions_pb2.SessionDown) -> None:
        self._sessions[name].push(section, message.SerializeToString())

    def _template(self, each: AssignedTemplate) -> values_pb2.AssignedTemplate:
        key = (each.service, each.birth, each.revision)
        known = self._templates.get(key)
        if known is None:
            if len(self._templates) > 10_000:
                self._templates.clear()
            known = self._templates[key] = wire.to_wire(each)
        return known
