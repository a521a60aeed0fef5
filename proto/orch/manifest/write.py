"""Values → the document that a user would write for them. Reading it again gives the same value.

What equals its default is left out, and a task with one container `main` is written flat.
"""

import base64
import enum
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from orch.manifest import check
from orch.manifest.document import NodeDocument, PlainSecret, ServiceDocument, Value
from orch.manifest.shape import keys_of
from orch.model.config import OPEN, Config, Namespace
from orch.model.container import FileMount
from orch.model.names import ObjectName
from orch.model.policy import CanaryStep, NodeLoss, OnNodeLoss
from orch.model.quantity import format_bytes, format_cpu, format_duration
from orch.model.service import Mode, ServiceSpec, TaskTemplate


def document(value: Value) -> dict[str, Any]:
    """The whole document, envelope and all, as plain dicts, lists and scalars."""
    match value:
        case ServiceDocument():
            return _envelope("Service", value.name, value.labels) | {"spec": spec(value.spec)}
        case Config():
            return _envelope("Config", value.name, value.labels) | _data(value.data)
        case PlainSecret():
            kind = {} if value.type == "opaque" else {"type": value.type}
            return _envelope("Secret", value.name, value.labels) | kind | _data(value.data)
        case Namespace():
            said: dict[str, Any] = {"spec": {"network": value.network}} if value.network != OPEN else {}
            return _envelope("Namespace", ObjectName("", value.name), value.labels) | said
        case NodeDocument():
            body = {"spec": {"taints": [str(each) for each in value.taints]}} if value.taints else {}
            return _envelope("Node", ObjectName("", value.name), value.labels) | body


def spec(value: ServiceSpec) -> dict[str, Any]:
    """The body of a Service."""
    written = _object(value)
    if value.mode is Mode.GLOBAL:
        _one_per_node(value, written)
    template = written.pop("template")
    last = {key: written.pop(key) for key in ("network", "routes", "priority", "rollout") if key in written}
    return written | _template(value.template, template) | last


def amount_text(value: Any, word: str) -> Any:
    """A duration, an amount of cpu or of bytes as users write it; anything else as it is."""
    return _AMOUNTS[word](value) if word in _AMOUNTS else value


def _envelope(kind: str, name: ObjectName, labels: dict[str, str]) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name.name}
    if name.namespace:
        metadata["namespace"] = name.namespace
    if labels:
        metadata["labels"] = dict(labels)
    return {"apiVersion": "orch/v1", "kind": kind, "metadata": metadata}


def _data(data: dict[str, bytes]) -> dict[str, Any]:
    """Text as text; what is no text as base64."""
    texts: dict[str, str] = {}
    binary: dict[str, str] = {}
    for key, content in data.items():
        try:
            text = content.decode()
        except UnicodeDecodeError:
            text = "\0"
        if text.isprintable() or all(each.isprintable() or each in "\n\t" for each in text):
            texts[key] = text
        else:
            binary[key] = base64.b64encode(content).decode()
    return ({"data": texts} if texts else {}) | ({"binaryData": binary} if binary else {})


def _one_per_node(value: ServiceSpec, written: dict[str, Any]) -> None:
    """A global service's defaults for surge and unavailability are the other way round."""
    rollout = {
        key: found
        for key, found in written.pop("rollout", {}).items()
        if key not in {"maxSurge", "maxUnavailable"}
    }
    if value.rollout.max_surge != "0":
        rollout["maxSurge"] = value.rollout.max_surge
    if value.rollout.max_unavailable != "1":
        rollout["maxUnavailable"] = value.rollout.max_unavailable
    if rollout:
        written["rollout"] = rollout


def _template(value: TaskTemplate, written: dict[str, Any]) -> dict[str, Any]:
    if not check.is_flat_template(value):
        for container, each in zip(value.containers, written["containers"], strict=True):
            each.update(
                {"name": container.name} | {key: each.pop(key) for key in list(each) if key != "name"}
            )
        return written
    main: dict[str, Any] = written.pop("containers")[0]
    main.pop("name", None)
    return main | written


def _object(value: BaseModel) -> dict[str, Any]:
    """Every key that does not equal its default, spelled as users spell it."""
    kind = type(value)
    written = {}
    for name, info in kind.model_fields.items():
        key = info.alias or name
        if key not in keys_of(kind):
            continue
        found = getattr(value, name)
        if info.is_required() or found != info.get_default(call_default_factory=True):
            written[key] = _value(found, keys_of(kind)[key].shape.word)
    return written


def _value(value: Any, word: str) -> Any:
    if value is None or word in _AMOUNTS:
        return value if value is None else _AMOUNTS[word](value)
    match value:
        case OnNodeLoss():
            is_word = value.action is not NodeLoss.STOP_AFTER
            return str(value.action) if is_word else {"stopAfter": format_duration(value.stop_after)}
        case CanaryStep() if value.match_labels:
            return {"nodes": {"matchLabels": dict(value.match_labels)}} | _object(value)
        case FileMount() if value.mode:
            return _object(value) | {"mode": f"0{value.mode:03o}"}
        case BaseModel():
            return _object(value)
        case tuple():
            return [_value(each, "") for each in value]
        case dict():
            return dict(value)
        case enum.Enum():
            return str(value)
    return value


def _amount(text: str) -> int | str:
    return int(text) if text.isdigit() else text


_AMOUNTS: dict[str, Callable[[Any], Any]] = {
    "duration": format_duration,
    "cpu": format_cpu,
    "bytes": format_bytes,
    "number or percentage": _amount,
}
