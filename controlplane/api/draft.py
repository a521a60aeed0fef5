"""A change in the making: what would be written, on what it rests, what is wrong, what to tell the user."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from controlplane.cluster import snapshot
from controlplane.store import codec, port
from orch.model.names import ServiceName
from orch.model.service import Service
from orch.v1 import control_pb2 as pb


@dataclass(slots=True)
class Draft:
    """Filled by the `admit_…` files; nothing is written before it is whole."""

    cluster: snapshot.Cluster
    versions: frozenset[str] = frozenset()
    """Keys of the versions of configs and secrets that are kept."""
    by: str = ""
    now: float = 0.0
    source: str = ""
    """The document under way, for messages."""
    sources: dict[ServiceName, str] = field(default_factory=dict)
    """Where each service is written, for messages of it whatever is under way."""
    edits: dict[str, codec.Edit] = field(default_factory=dict)
    looked_at: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    missing: set[str] = field(default_factory=set)
    """Those of the problems that say what is not there."""
    warnings: list[str] = field(default_factory=list)
    objects: list[pb.AppliedObject] = field(default_factory=list)
    services: set[ServiceName] = field(default_factory=set)
    """Services that are written."""

    def refuse(self, what: str) -> None:
        """One problem; the rest is still looked at."""
        self._refuse(self.source, what)

    def lack(self, what: str) -> None:
        """A problem of this kind: what the request names is not there."""
        self.refuse(what)
        self.missing.add(self.problems[-1])

    def refuse_service(self, name: ServiceName, what: str) -> None:
        """A problem of a service, told at its own document."""
        self._refuse(self.sources.get(name, ""), f"service {name}: {what}")

    def look_at(self, key: str) -> None:
        """The decision rests on this key: it must be the same when the change is written."""
        self.looked_at.add(key)

    def write(self, *edits: codec.Edit) -> None:
        """A later edit of a key replaces an earlier one."""
        self.edits.update({edit.key: edit for edit in edits})

    def tell(self, kind: str, namespace: str, name: str, action: str, **more: Any) -> None:
        """What became of one object."""
        reference = pb.Reference(kind=kind, namespace=namespace, name=name)
        self.objects.append(pb.AppliedObject(reference=reference, action=action, **more))

    def services_before(self) -> dict[ServiceName, Service]:
        """As they are, without those that are on their way out."""
        return {name: each for name, each in self.cluster.services.items() if not each.deleted}

    def services_after(self) -> dict[ServiceName, Service]:
        """As they are once the change is made, without those that are on their way out."""
        written = (edit.value for edit in self.edits.values() if isinstance(edit, codec.Save))
        services = dict(self.cluster.services)
        services |= {each.name: each for each in written if isinstance(each, Service)}
        return {name: each for name, each in services.items() if not each.deleted}

    def save_object(self, kind: str, namespace: str, name: str, known: Any, new: Any) -> None:
        """A whole object without revisions: created, changed or unchanged."""
        self.look_at(codec.key_of(new))
        action = "created" if known is None else "unchanged" if known == new else "changed"
        if action != "unchanged":
            self.write(codec.Save(new))
        self.tell(kind, namespace, name, action)

    def guards(self) -> list[port.Guard]:
        """Everything looked at or written is as the picture showed it."""
        seen = self.cluster.modified
        return [port.as_seen(key, seen.get(key)) for key in sorted(self.looked_at | set(self.edits))]

    def store_writes(self, more: Iterable[codec.Edit] = ()) -> list[port.Write]:
        """For the store."""
        return [codec.write(edit, self.cluster.newer) for edit in (*self.edits.values(), *more)]

    def _refuse(self, where: str, what: str) -> None:
        self.problems.append(f"{where}: {what}" if where else what)
