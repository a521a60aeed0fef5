"""A service as asked, as scaled, or as it was before: what is written for it. Pure.

A new revision is made only when the template changes; versions of mounted configs and secrets count.
"""

from collections.abc import Sequence

import pydantic

from controlplane.api import admit_files, admit_outside, admit_ports, diff
from controlplane.api.draft import Draft
from controlplane.cluster import snapshot
from controlplane.controllers import wants
from controlplane.controllers.rollout import admission as possibility
from controlplane.store import codec, keys
from orch import wire
from orch.manifest import check, document
from orch.model.config import Config, Secret
from orch.model.container import ContainerSpec, FileMount
from orch.model.names import ObjectName, ServiceName
from orch.model.service import (
    ALL_STEPS,
    Mode,
    Revision,
    RolloutOrders,
    Service,
    ServiceSpec,
    TaskTemplate,
)
from orch.v1 import control_pb2 as pb


def apply(draft: Draft, wanted: document.ServiceDocument) -> None:
    """Create or change a service, or say what is wrong with it."""
    known = living(draft.cluster, wanted.name)
    spec = _sound(draft, wanted.name, wanted.spec, known)
    if spec is None:
        return
    spec = spec.model_copy(update={"template": pinned(draft, spec.template, wanted.name)})
    _check_against(draft, wanted.name, spec, known)
    change(draft, wanted.name, spec, labels=wanted.labels, tries_again=True)


def change(
    draft: Draft,
    name: ServiceName,
    spec: ServiceSpec,
    *,
    labels: dict[str, str] | None = None,
    orders: RolloutOrders | None = None,
    why: str = "",
    tries_again: bool = False,
    skips_canary: bool = False,
) -> None:
    """Write the service with this spec; `labels` and `orders` stay as they are unless given.

    With `tries_again`, a revision that was given up is tried again, as a new one. What was paused stays so.
    """
    before = draft.cluster.service(name)
    known = living(draft.cluster, name)
    labels = (known.labels if known else {}) if labels is None else labels
    changes = diff.changes(known.spec if known else None, spec)
    number, is_new = _revision(draft.cluster, known, before, name, spec, tries_again=tries_again)
    kept_orders = known.orders if known is not None else RolloutOrders()
    if is_new:
        kept_orders = RolloutOrders(paused=kept_orders.paused)
    if skips_canary:
        kept_orders = RolloutOrders(promoted_revision=number, promoted_steps=ALL_STEPS)
    new = Service(
        name,
        spec,
        labels=labels,
        generation=(before.generation if before else 0) + 1,
        revision=number,
        birth=known.birth if known else _new_birth(draft.cluster, name, before),
        created_at=known.created_at if known else draft.now,
        updated_at=draft.now,
        updated_by=draft.by,
        orders=kept_orders if orders is None else orders,
    )
    draft.look_at(keys.service(name))
    is_same = (
        known is not None
        and not is_new
        and (known.spec, known.labels, known.orders) == (spec, labels, new.orders)
    )
    if is_same and known is not None:
        _tell(draft, known, "unchanged", ())
        return
    admit_ports.claim(draft, name, spec)
    admit_outside.take_turn(draft, name, spec, known)
    draft.write(codec.Save(new))
    draft.services.add(name)
    if is_new:
        words = why or (diff.summary(changes) if known else "created") or "again"
        draft.write(codec.Save(Revision(name, number, spec.template, draft.now, draft.by, words)))
    _tell(draft, new, "changed" if known else "created", changes)


def remount(draft: Draft) -> None:
    """Services, not named here, that mount a config or secret which gets a new version here."""
    written = [edit.value for edit in draft.edits.values() if isinstance(edit, codec.Save)]
    namespaces = {each.name.namespace for each in written if isinstance(each, Config | Secret)}
    for name, service in sorted(draft.cluster.services.items()):
        if name.namespace not in namespaces or service.deleted or keys.service(name) in draft.edits:
            continue
        template = pinned(draft, service.spec.template, name)
        if template != service.spec.template:
            spec = service.spec.model_copy(update={"template": template})
            change(draft, name, spec, why="config or secret changed")


def living(cluster: snapshot.Cluster, name: ServiceName) -> Service | None:
    """The service, unless it is deleted and only waits for its tasks to go."""
    found = cluster.service(name)
    return None if found is None or found.deleted else found


def pinned(draft: Draft, template: TaskTemplate, name: ServiceName) -> TaskTemplate:
    """With the present version, and the entry, of every config and secret that it mounts."""
    update = {
        field: tuple(_pinned_container(draft, each, name) for each in getattr(template, field))
        for field in ("containers", "init_containers")
    }
    return template.model_copy(update=update)


def _pinned_container(draft: Draft, container: ContainerSpec, name: ServiceName) -> ContainerSpec:
    if not container.configs and not container.secrets:
        return container
    return container.model_copy(
        update={
            "configs": tuple(_pinned_mount(draft, each, name, is_secret=False) for each in container.configs),
            "secrets": tuple(_pinned_mount(draft, each, name, is_secret=True) for each in container.secrets),
        }
    )


def _pinned_mount(draft: Draft, mount: FileMount, name: ServiceName, *, is_secret: bool) -> FileMount:
    kind = "secret" if is_secret else "config"
    found = admit_files.entries(draft, is_secret=is_secret, name=ObjectName(name.namespace, mount.source))
    if found is None:
        draft.refuse_service(
            name, f"the {kind} {mount.source} does not exist: apply it first, or in the same file"
        )
        return mount
    version, entries = found
    if not mount.key and len(entries) != 1:
        names = ", ".join(sorted(entries))
        draft.refuse_service(
            name, f"the {kind} {mount.source} has several entries, say which: key: one of {names}"
        )
    elif mount.key and mount.key not in entries:
        names = ", ".join(sorted(entries))
        draft.refuse_service(name, f"the {kind} {mount.source} has no entry {mount.key}; it has {names}")
    key = mount.key or next(iter(entries), "")
    return mount.model_copy(update={"version": version, "key": key})


def _sound(draft: Draft, name: ServiceName, spec: ServiceSpec, known: Service | None) -> ServiceSpec | None:
    """The spec after every check that needs no cluster, with the live number of instances if it has none."""
    try:
        spec = wire.validated(spec)
    except pydantic.ValidationError as error:
        for each in error.errors(include_url=False, include_context=False, include_input=False):
            draft.refuse_service(name, f"{'.'.join(map(str, each['loc']))}: {each['msg']}")
        return None
    if spec.mode is Mode.REPLICATED and spec.replicas is None:
        live = known.spec.replicas if known is not None and known.spec.mode is Mode.REPLICATED else None
        spec = spec.model_copy(update={"replicas": 1 if live is None else live})
    problems = check.check(name, spec, spec.replicas)
    for problem in problems:
        draft.refuse(str(problem))
    return None if problems else spec


def _check_against(draft: Draft, name: ServiceName, spec: ServiceSpec, known: Service | None) -> None:
    """What the cluster, as it is, has against it."""
    if known is not None and known.spec.mode is not spec.mode:
        draft.refuse_service(name, f"it is {known.spec.mode} and cannot become {spec.mode}: delete it first")
    would_roll = known is not None and known.spec.template != spec.template
    for problem in possibility.problems(draft.cluster, spec, spec.replicas or 0):
        if would_roll:
            draft.refuse_service(name, problem)
        else:
            draft.warnings.append(f"service {name}: the next change of it would be refused: {problem}")
    draft.warnings.extend(admit_ports.shared(draft, name, spec))


def _revision(
    cluster: snapshot.Cluster,
    known: Service | None,
    before: Service | None,
    name: ServiceName,
    spec: ServiceSpec,
    *,
    tries_again: bool,
) -> tuple[int, bool]:
    """Number, and whether it is new."""
    numbers = (before.revision if before else 0, *cluster.revisions_of(name))
    if known is None or cluster.template(name, known.revision) != spec.template:
        return max(numbers) + 1, True
    rollout = cluster.rollout(name)
    if tries_again and rollout is not None and wants.is_given_up(rollout, known.revision):
        return max(numbers) + 1, True
    return known.revision, False


def _new_birth(cluster: snapshot.Cluster, name: ServiceName, before: Service | None) -> int:
    """One that begins anew over its own tombstone is born when that was last written; else the store says."""
    return 0 if before is None else cluster.modified[keys.service(name)]


def _tell(draft: Draft, service: Service, action: str, changes: Sequence[pb.FieldChange]) -> None:
    draft.tell(
        "service",
        *service.name,
        action,
        generation=service.generation,
        target_revision=service.revision,
        changes=changes,
    )
