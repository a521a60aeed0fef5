"""May these documents be applied, and what would be written? Pure: a picture in, edits or problems out.

Everything or nothing: every problem of every document is found before anything is said.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

from controlplane.api import admit_files, admit_http, admit_routes, admit_service, deletion, errors
from controlplane.api.draft import Draft
from controlplane.cluster import snapshot
from controlplane.controllers import reach
from controlplane.store import codec, keys
from orch.manifest import check, document
from orch.model.config import Config, Namespace
from orch.model.names import DEFAULT_NAMESPACE, check_name
from orch.model.node import Availability, NodeSpec, Taint
from orch.model.service import Service

SET_LABEL = "orch/set"
"""Objects applied together carry the same value; `apply --prune` deletes those that are no longer named."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, and when."""

    name: str
    now: float


_ORDER = (Namespace, Config, document.PlainSecret, document.NodeDocument, document.ServiceDocument)


def apply(
    cluster: snapshot.Cluster,
    versions: Iterable[str],
    documents: Sequence[document.Written],
    asker: Asker,
    vault: admit_files.Vault,
    *,
    prunes: bool = False,
) -> Draft:
    """All documents as one change. `versions` are the keys of kept file versions. Raises Invalid.

    `prunes`: what an earlier apply of the same set named and this one does not is deleted in the same change.
    """
    draft = Draft(cluster, frozenset(versions), asker.name, asker.now)
    if prunes:
        _prune(draft, documents, {"service"})  # first: their ports, hosts and paths are free for the others
    for written in sorted(documents, key=lambda each: _ORDER.index(type(each.value))):
        draft.source = written.source
        _check_names(draft, written.value)
        match written.value:
            case Namespace():
                _namespace(draft, written.value)
            case Config():
                admit_files.config(draft, written.value)
            case document.PlainSecret():
                admit_files.secret(draft, written.value, vault)
            case document.NodeDocument():
                _node(draft, written.value)
            case document.ServiceDocument():
                draft.sources[written.value.name] = written.source
                admit_service.apply(draft, written.value)
            case _:
                assert_never(written.value)
    draft.source = ""
    if prunes:
        _prune(draft, documents, {"config", "secret"})  # last: nobody mounts them any more
        draft.objects.sort(key=lambda each: each.action == "deleted")
    admit_service.remount(draft)
    admit_routes.check(draft, lambda known: admit_files.opened(known, vault))
    admit_http.check(draft)
    draft.warnings.extend(_unknown_in_reach(draft))
    admit_files.forget_versions(draft)
    if draft.problems:
        raise errors.Invalid("\n".join(draft.problems))
    return draft


def _prune(draft: Draft, documents: Sequence[document.Written], kinds: Collection[str]) -> None:
    sets = {each.value.labels.get(SET_LABEL) for each in documents} - {None}
    identities = (document.identity(each.value) for each in documents)
    named = {(kind.lower(), name) for kind, name in identities}
    for kind, name, labels in deletion.labelled(draft.cluster):
        if kind in kinds and labels.get(SET_LABEL) in sets and (kind, name) not in named:
            deletion.delete(draft, kind, name)


def _unknown_in_reach(draft: Draft) -> Iterator[str]:
    """Who may reach a service may come later than the service."""
    written = [edit.value for edit in draft.edits.values() if isinstance(edit, codec.Save)]
    services = [each for each in written if isinstance(each, Service)]
    names = {each.name for each in services}.union(draft.cluster.services)
    namespaces = {each.name for each in written if isinstance(each, Namespace)}.union(
        draft.cluster.namespaces
    )
    for each in services:
        yield from reach.unknown(each, names, namespaces)


def _check_names(draft: Draft, value: document.Value) -> None:
    name = value.name
    parts = (name,) if isinstance(name, str) else name
    for part in parts:
        try:
            check_name(part)
        except ValueError as error:
            draft.refuse(str(error))
    for key, text in value.labels.items():
        for fault in check.label_faults(key, text):
            draft.refuse(fault)
    if not isinstance(name, str):
        _check_namespace(draft, name.namespace)


def _check_namespace(draft: Draft, namespace: str) -> None:
    key = keys.namespace(namespace)
    if (
        namespace != DEFAULT_NAMESPACE
        and namespace not in draft.cluster.namespaces
        and key not in draft.edits
    ):
        draft.refuse(
            f"the namespace {namespace} does not exist: apply it first, or in the same file (kind: Namespace)"
        )
    elif namespace != DEFAULT_NAMESPACE:
        draft.look_at(key)


def _namespace(draft: Draft, value: Namespace) -> None:
    known = draft.cluster.namespaces.get(value.name)
    new = replace(value, created_at=known.created_at if known else draft.now)
    draft.save_object("namespace", "", value.name, known, new)


def _node(draft: Draft, value: document.NodeDocument) -> None:
    known = draft.cluster.node(value.name)
    if known is None:
        draft.refuse(
            f"there is no node {value.name}: nodes join by themselves; `orchctl get nodes` lists them"
        )
        return
    new = replace(known.spec, labels=value.labels, taints=value.taints)
    draft.save_object("node", "", value.name, known.spec, new)


@dataclass(frozen=True, slots=True)
class NodeChange:
    """What `cordon`, `drain`, `label` and `taint` ask."""

    availability: str = ""
    set_labels: dict[str, str] = field(default_factory=dict)
    remove_labels: tuple[str, ...] = ()
    set_taints: tuple[Taint, ...] = ()
    remove_taints: tuple[str, ...] = ()


def changed_node(known: NodeSpec, wanted: NodeChange) -> NodeSpec:
    """The spec as asked. Raises Invalid."""
    faults = [fault for key, text in wanted.set_labels.items() for fault in check.label_faults(key, text)]
    if faults:
        raise errors.Invalid("\n".join(faults))
    try:
        availability = Availability(wanted.availability) if wanted.availability else known.availability
    except ValueError:
        raise errors.Invalid(f"{wanted.availability!r} is not active, cordoned or drained") from None
    labels = {key: text for key, text in known.labels.items() if key not in wanted.remove_labels}
    replaced = {(taint.key, taint.effect) for taint in wanted.set_taints}
    kept = (taint for taint in known.taints if taint.key not in wanted.remove_taints)
    taints = (*(taint for taint in kept if (taint.key, taint.effect) not in replaced), *wanted.set_taints)
    return replace(known, availability=availability, labels=labels | wanted.set_labels, taints=taints)
