"""Apply, Delete, Scale, Rollout, ChangeNode: what users change. Look, admit, write; on a conflict look again.

Any control plane may do this: the writes are guarded by what they were decided on, and need no leader.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from controlplane.api import (
    admission,
    admit_files,
    admit_service,
    catalog,
    deletion,
    door,
    errors,
    memory,
    orders,
    own_images,
    resolving,
    views,
    what_if,
)
from controlplane.api.draft import Draft
from controlplane.loop import clock, picture, pipeline
from controlplane.store import codec, keys, port
from orch import wire
from orch.manifest import document
from orch.model.config import Config, Namespace
from orch.model.names import DEFAULT_NAMESPACE, ObjectName
from orch.model.node import Condition, Taint
from orch.model.service import Mode
from orch.v1 import control_pb2 as pb

ATTEMPTS = 8

log = logging.getLogger(__name__)

_DOCUMENTS: dict[str, type] = {
    "service": document.ServiceDocument,
    "config": Config,
    "secret": document.PlainSecret,
    "namespace": Namespace,
    "node": document.NodeDocument,
}


@dataclass(frozen=True, slots=True)
class Changing:
    """Handlers of changes."""

    store: port.Store
    picture: picture.Picture
    requests: memory.Requests
    vault: admit_files.Vault
    pipeline: pipeline.Pipeline
    clock: clock.Clock
    source: catalog.Source
    forget_node: Callable[[str], None]
    own_digest: own_images.Digest
    resolver: resolving.Resolver
    line: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Where who has met a conflict stands, and who comes meanwhile: of many at once, each has its turn."""

    async def apply(self, request: Any, context: Any) -> pb.ApplyReply:
        """Everything in the request or nothing. Raises Invalid, StoreError."""
        received_at = self.clock.now()
        documents = [_document(each) for each in request.documents]
        if not documents:
            raise errors.Invalid("there is nothing to apply")
        documents = await own_images.pinned(documents, self.own_digest)
        documents, warnings = await self.resolver.resolved(documents, self.picture.cluster)

        def admit() -> Draft:
            asker = admission.Asker(door.caller(context).name, self.clock.now())
            cluster, versions = self.picture.cluster, self.picture.versions
            draft = admission.apply(cluster, versions, documents, asker, self.vault, prunes=request.prune)
            draft.warnings.extend(warnings)
            return draft

        if request.dry_run:
            return await self._dry_run(admit(), received_at)
        return await self._change(admit, request.request_id, received_at)

    async def delete(self, request: Any, context: Any) -> pb.DeleteReply:
        """All of them or none. Raises NotFound, NotPossible, StoreError."""
        received_at = self.clock.now()

        def admit() -> Draft:
            draft = self._draft(context)
            for each in sorted(request.references, key=_services_first):
                namespace = "" if each.kind == "namespace" else each.namespace or DEFAULT_NAMESPACE
                deletion.delete(draft, each.kind, ObjectName(namespace, each.name))
            if draft.problems:
                kind = errors.NotFound if draft.missing >= set(draft.problems) else errors.NotPossible
                raise kind("\n".join(draft.problems))
            return draft

        reply = await self._change(admit, request.request_id, received_at)
        deleted = [each.reference for each in reply.objects]
        return pb.DeleteReply(deleted=deleted, revision=reply.revision, received_at=received_at)

    async def scale(self, request: Any, context: Any) -> pb.ApplyReply:
        """Only the number of instances. Raises NotFound, NotPossible, Invalid."""
        received_at = self.clock.now()
        name = _name(request.service)

        def admit() -> Draft:
            draft = self._draft(context)
            service = admit_service.living(draft.cluster, name)
            if service is None:
                raise errors.NotFound(f"there is no service {name}")
            if service.spec.mode is Mode.GLOBAL:
                raise errors.NotPossible(f"{name} is global: it has one instance on each eligible node")
            if not 0 <= request.replicas <= 10_000:
                raise errors.Invalid("replicas: from 0 to 10,000")
            spec = service.spec.model_copy(update={"replicas": request.replicas})
            admit_service.change(draft, name, spec)
            return draft

        return await self._change(admit, request.request_id, received_at)

    async def rollout(self, request: Any, context: Any) -> pb.ApplyReply:
        """undo, pause, resume, restart, promote, abort. Raises NotFound, NotPossible, Invalid."""
        received_at = self.clock.now()
        order = orders.Order(request.verb, request.to_revision, request.full, request.through_canary)

        def admit() -> Draft:
            draft = self._draft(context)
            orders.give(draft, _name(request.service), order)
            return draft

        return await self._change(admit, request.request_id, received_at)

    async def change_node(self, request: Any, context: Any) -> pb.ChangeNodeReply:
        """cordon, uncordon, drain, label, taint, remove. Raises NotFound, NotPossible, Invalid."""
        wanted = admission.NodeChange(
            availability=request.availability,
            set_labels=dict(request.set_labels),
            remove_labels=tuple(request.remove_labels),
            set_taints=tuple(wire.from_wire(each, Taint) for each in request.set_taints),
            remove_taints=tuple(request.remove_taints),
        )

        def admit() -> Draft:
            draft = self._draft(context)
            node = draft.cluster.node(request.name)
            if node is None:
                raise errors.NotFound(f"there is no node {request.name}; `orchctl get nodes` lists them")
            if request.remove:
                _remove_node(draft, request.name)
            else:
                draft.save_object(
                    "node", "", request.name, node.spec, admission.changed_node(node.spec, wanted)
                )
            return draft

        before = self.picture.cluster.node(request.name)
        await self._change(admit, "", self.clock.now())
        if request.remove:
            self.forget_node(request.name)
        node = self.picture.cluster.node(request.name) or before
        if node is None:
            return pb.ChangeNodeReply()
        shown = views.node_view(self.picture.cluster, node, self.source.heartbeat_age(request.name))
        return pb.ChangeNodeReply(node=shown)

    # ── the one way in ───────────────────────────────────────────────────────────────────────────────────

    async def _change(self, admit: Callable[[], Draft], request_id: str, received_at: float) -> pb.ApplyReply:
        if not self.picture.is_whole_at(1):
            raise errors.Unreachable("the control plane has not read its store yet: try again")
        try:
            known = await self.requests.done(request_id)
        except ValueError as error:
            raise errors.Invalid(str(error)) from error
        if known is not None:
            return _remembered(*known)
        async with contextlib.AsyncExitStack() as turn:
            stands_in_line = False
            for attempt in range(1, ATTEMPTS + 1):
                if not stands_in_line and (attempt > 1 or self.line.locked()):
                    await turn.enter_async_context(self.line)
                    stands_in_line = True
                draft = admit()
                reply = pb.ApplyReply(objects=draft.objects, warnings=draft.warnings, received_at=received_at)
                if not draft.edits:
                    reply.revision = self.picture.cluster.revision
                    return reply
                try:
                    reply.revision = await self._commit(draft, request_id, reply)
                except (port.Conflict, port.OutcomeUnknown, port.LeaseLost) as failure:
                    if isinstance(failure, port.LeaseLost):
                        self.requests.forget_lease()
                    done = await self.requests.done(request_id)
                    if done is not None:
                        return _remembered(*done)
                    if attempt == ATTEMPTS or (isinstance(failure, port.OutcomeUnknown) and not request_id):
                        raise
                    await self.picture.wait_change()
                else:
                    return reply
        raise AssertionError("unreachable")

    async def _commit(self, draft: Draft, request_id: str, reply: pb.ApplyReply) -> int:
        guards, marks = await self.requests.remember(request_id, reply.SerializeToString())
        revision = await self.store.commit([*draft.guards(), *guards], draft.store_writes(marks))
        self.picture.committed(draft.edits.values(), revision)
        return revision

    async def _dry_run(self, draft: Draft, received_at: float) -> pb.ApplyReply:
        decided = await what_if.decisions(draft, self.pipeline)
        for each in draft.objects:
            name = catalog.object_name(each.reference)
            if each.reference.kind == "service":
                each.decisions.extend(decided.get(name, ()))
        revision = self.picture.cluster.revision
        return pb.ApplyReply(
            objects=draft.objects, warnings=draft.warnings, received_at=received_at, revision=revision
        )

    def _draft(self, context: Any) -> Draft:
        return Draft(
            self.picture.cluster,
            frozenset(self.picture.versions),
            door.caller(context).name,
            self.clock.now(),
        )


def _document(message: Any) -> document.Written:
    kind = message.WhichOneof("kind")
    if kind is None:
        raise errors.Invalid(
            f"{message.source or 'a document'}: it is empty, or of a kind this control plane is too old for"
        )
    return document.Written(message.source, wire.from_wire(getattr(message, kind), _DOCUMENTS[kind]))


def _name(message: Any) -> ObjectName:
    return ObjectName(message.namespace or DEFAULT_NAMESPACE, message.name)


def _remembered(answer: bytes, revision: int) -> pb.ApplyReply:
    """The same request again: what it answered the first time."""
    reply = pb.ApplyReply.FromString(answer)
    reply.revision = revision
    return reply


def _services_first(reference: Any) -> int:
    """What mounts goes before what is mounted, so that one request can delete both."""
    return deletion.KINDS.index(reference.kind) if reference.kind in deletion.KINDS else len(deletion.KINDS)


def _remove_node(draft: Draft, name: str) -> None:
    """A node that is down is forgotten, with its range and its right to come back without a token."""
    cluster = draft.cluster
    node = cluster.nodes[name]
    if node.status.condition is Condition.READY:
        raise errors.NotPossible(f"{name} is heard from: stop its agent first, or drain it to empty it")
    gone: Sequence[codec.Edit] = [
        codec.Drop(key)
        for key in (keys.node_spec(name), keys.node_status(name), keys.node_identity(name))
        if key in cluster.modified
    ]
    claims = [
        codec.Drop(keys.claim_subnet(index)) for index, holder in cluster.subnets.items() if holder == name
    ]
    draft.write(*gone, *claims)
    draft.tell("node", "", name, "deleted")
