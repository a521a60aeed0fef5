"""What each kind of document holds under its envelope, for `explain` and the JSON Schema."""

from dataclasses import dataclass, field
from typing import Any

from orch.manifest import shape
from orch.manifest.shape import Key, Shape
from orch.model.config import NETWORKS, OPEN
from orch.model.node import TaintEffect
from orch.model.spec import Spec


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of document."""

    name: str
    doc: str
    short: tuple[str, ...] = ()
    has_namespace: bool = True
    top: dict[str, Key] = field(default_factory=dict)
    """Keys beside metadata, other than spec."""
    spec: dict[str, Key] = field(default_factory=dict)


class _Taint(Spec):
    """Repels tasks that do not tolerate it."""

    key: str
    """For example gpu."""
    value: str = ""
    """For example yes."""
    effect: TaintEffect = TaintEffect.NO_SCHEDULE
    """NoSchedule: nothing new is placed; NoExecute: what runs is moved away too."""


def _key(name: str, form: Shape, doc: str, *, default: Any = None, also: str = "") -> Key:
    return Key(name, Spec, form, doc, is_required=False, default=default, also=also)


_TEXTS = Shape("map", "map of strings")
_DATA = _key("data", _TEXTS, "Entries as text; each can be mounted as a file.")
_BINARY = _key("binaryData", _TEXTS, "Entries that are no text, in base64.")
_TYPE = _key(
    "type",
    Shape("text", "string"),
    "A word of your own; registry: who nodes are at an image registry (keys host, user and password); "
    "tls: a certificate for routes (keys tls.crt and tls.key).",
    default="opaque",
)
_NETWORK = _key(
    "network",
    Shape("word", "open or isolated", choices=NETWORKS),
    "open: its services may be reached from every namespace; isolated: from this one only, unless a service says "
    "more (network.allowFrom).",
    default=OPEN,
)
_TAINTS = _key(
    "taints",
    Shape("list", "list of objects", item=Shape("object", "object", model=_Taint)),
    "Repel tasks that do not tolerate them.",
    also='"gpu=yes:NoSchedule"',
)

KINDS: dict[str, Kind] = {
    each.name.lower(): each
    for each in (
        Kind(
            "Service",
            "Tasks that are kept running: so many instances, or one on each node. The keys of its only "
            "container stand directly under spec; more than one are written under containers.",
            ("svc", "services"),
            spec=shape.service_keys(),
        ),
        Kind(
            "Config",
            "Small files for containers, readable by anyone who may read the cluster.",
            ("cm", "configs"),
            top={"data": _DATA, "binaryData": _BINARY},
        ),
        Kind(
            "Secret",
            "Small files for containers, encrypted in the store and held in memory on the nodes.",
            ("sec", "secrets"),
            top={"type": _TYPE, "data": _DATA, "binaryData": _BINARY},
        ),
        Kind(
            "Namespace",
            "A set of names.",
            ("ns", "namespaces"),
            has_namespace=False,
            spec={"network": _NETWORK},
        ),
        Kind(
            "Node",
            "Labels and taints of a node that has joined.",
            ("no", "nodes"),
            has_namespace=False,
            spec={"taints": _TAINTS},
        ),
    )
}


def find(word: str) -> Kind | None:
    """A kind by its name or a short form of it, in any case."""
    lower = word.lower()
    return KINDS.get(lower) or next((each for each in KINDS.values() if lower in each.short), None)
