"""Deleting: a service becomes a tombstone until its tasks are gone, the rest goes at once. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from controlplane.api import assignments
from controlplane.api.draft import Draft
from controlplane.cluster import snapshot
from controlplane.store import codec, keys
from orch.model.names import DEFAULT_NAMESPACE, ObjectName, ServiceName

KINDS = ("service", "config", "secret", "namespace")


def delete(draft: Draft, kind: str, name: ObjectName) -> None:
    """Raises nothing: what stands against it is a problem of the draft."""
    match kind:
        case "service":
            _service(draft, name)
        case "config" | "secret":
            _file(draft, name, is_secret=kind == "secret")
        case "namespace":
            _namespace(draft, name.name)
        case _:
            draft.refuse(
                f"a {kind or 'thing without a kind'} cannot be deleted; what can: {', '.join(KINDS)}"
            )


def labelled(cluster: snapshot.Cluster) -> Iterator[tuple[str, ObjectName, Mapping[str, str]]]:
    """Everything that can be deleted, with its labels."""
    for name, service in cluster.services.items():
        if not service.deleted:
            yield "service", name, service.labels
    for name, config in cluster.configs.items():
        yield "config", name, config.labels
    for name, secret in cluster.secrets.items():
        yield "secret", name, secret.labels


def _service(draft: Draft, name: ServiceName) -> None:
    known = draft.cluster.service(name)
    if known is None:
        draft.lack(f"there is no service {name}")
        return
    if not known.deleted:
        gone = replace(
            known, deleted=True, generation=known.generation + 1, updated_at=draft.now, updated_by=draft.by
        )
        draft.write(codec.Save(gone))
        draft.services.add(name)
    draft.tell("service", *name, "deleted")


def _file(draft: Draft, name: ObjectName, *, is_secret: bool) -> None:
    kind = "secret" if is_secret else "config"
    key = keys.secret(name) if is_secret else keys.config(name)
    if key not in draft.cluster.modified:
        draft.lack(f"there is no {kind} {name}")
        return
    users = [str(user) for user in _users(draft, name, is_secret=is_secret)]
    if users:
        draft.refuse(f"the {kind} {name} is used by {', '.join(users)}: delete or change those first")
        return
    draft.write(codec.Drop(key))
    prefix = keys.version(is_secret, name, 0)[: -len("00000000")]
    draft.write(*(codec.Drop(each) for each in draft.versions if each.startswith(prefix)))
    draft.tell(kind, *name, "deleted")


def _users(draft: Draft, name: ObjectName, *, is_secret: bool) -> Iterator[ServiceName]:
    """Services that mount it, or show it as a certificate, when this change is made."""
    for user, service in sorted(draft.services_after().items()):
        mounted = assignments.mounted(service.spec.template, user.namespace)
        shown = {route.tls for route in service.spec.routes} if is_secret else set()
        is_shown = user.namespace == name.namespace and name.name in shown
        if is_shown or any(file[:2] == (is_secret, name) for file in mounted):
            draft.look_at(keys.service(user))
            yield user


def _namespace(draft: Draft, name: str) -> None:
    if name not in draft.cluster.namespaces or name == DEFAULT_NAMESPACE:
        draft.lack(f"there is no namespace {name} that could be deleted")
        return
    cluster = draft.cluster
    left = [
        str(each)
        for each in (*cluster.services, *cluster.configs, *cluster.secrets)
        if each.namespace == name
    ]
    if left:
        draft.refuse(
            f"the namespace {name} still holds {', '.join(sorted(left)[:5])}: delete what is in it first"
        )
        return
    draft.write(codec.Drop(keys.namespace(name)))
    draft.tell("namespace", "", name, "deleted")
