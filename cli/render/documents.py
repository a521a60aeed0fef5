"""Objects → documents: what a user would write for them, and what is true of them under `status`."""

import datetime as dt
import json
from collections.abc import Sequence
from typing import Any

from orch import wire
from orch.manifest import load, write
from orch.manifest.document import NodeDocument, ServiceDocument
from orch.model.config import Config, Namespace
from orch.model.names import ObjectName
from orch.model.node import NodeSpec
from orch.model.service import Service, ServiceSpec, TaskTemplate


def document(object_: Any) -> dict[str, Any]:
    """One message `Object`. All but secrets and tasks can be applied again as printed."""
    kind = object_.WhichOneof("kind")
    view = getattr(object_, kind)
    match kind:
        case "service":
            return _service(view)
        case "node":
            return _node(view)
        case "config":
            found = wire.from_wire(view, Config)
            return write.document(found) | {"status": _status(view, without={"name", "data", "labels"})}
        case "namespace":
            return write.document(wire.from_wire(view, Namespace))
        case "secret":
            return _secret(view)
        case "task":
            return _task(view)
        case "endpoints":
            return _endpoints(view)
    return _plain(kind, view)


def as_json(found: Sequence[dict[str, Any]], *, is_list: bool) -> str:
    """One document, or a List of them."""
    return json.dumps(_one_or_list(found, is_list=is_list), indent=2, ensure_ascii=False) + "\n"


def as_yaml(found: Sequence[dict[str, Any]]) -> str:
    """One after the other, parted by `---`, so that it can be applied."""
    return "---\n".join(load.dump(each) for each in found)


def _one_or_list(found: Sequence[dict[str, Any]], *, is_list: bool) -> Any:
    return {"apiVersion": "orch/v1", "kind": "List", "items": list(found)} if is_list else found[0]


def one_or_list(found: Sequence[dict[str, Any]], *, is_list: bool) -> Any:
    """What a jsonpath is asked of."""
    return _one_or_list(found, is_list=is_list)


def _service(view: Any) -> dict[str, Any]:
    service = wire.from_wire(view.service, Service)
    written = write.document(ServiceDocument(service.name, service.spec, service.labels))
    status = _status(view, without={"service"}) | _status(
        view.service, without={"name", "spec", "labels", "orders"}
    )
    return written | {"status": status}


def _node(view: Any) -> dict[str, Any]:
    spec = wire.from_wire(view.spec, NodeSpec)
    status = _status(view, without={"spec", "status"}) | _status(view.status, without={"name"})
    status |= {"availability": str(spec.availability), "joinedAt": _moment(spec.joined_at)}
    return write.document(NodeDocument(spec.name, spec.labels, spec.taints)) | {"status": status}


def _task(view: Any) -> dict[str, Any]:
    """Its part of what the user wrote for the service, and what is wanted of it and what its node says."""
    metadata = {"name": name_of("task", view), "namespace": view.task.id.namespace}
    status = _status(view.status, without={"id", "node", "state"}) | _status(
        view.task, without={"id", "score"}
    )
    status |= _status(view, without={"task", "status", "template"})
    written = {"apiVersion": "orch/v1", "kind": "Task", "metadata": metadata, "status": status}
    if view.HasField("template"):
        template = wire.from_wire(view.template, TaskTemplate)
        document = ServiceDocument(ObjectName("", ""), ServiceSpec(template=template), {})
        written["spec"] = write.document(document)["spec"]
    return {
        key: written[key] for key in ("apiVersion", "kind", "metadata", "spec", "status") if key in written
    }


def _secret(view: Any) -> dict[str, Any]:
    metadata = {"name": view.name.name, "namespace": view.name.namespace, "labels": dict(view.labels)}
    status = _status(view, without={"name", "labels"})
    return {"apiVersion": "orch/v1", "kind": "Secret", "metadata": metadata, "status": status}


def _plain(kind: str, view: Any) -> dict[str, Any]:
    """Events and revisions: nobody writes them, so all of them is status."""
    metadata = {"name": name_of(kind, view)}
    namespace = view.namespace if kind == "event" else view.revision.service.namespace
    return {
        "apiVersion": "orch/v1",
        "kind": kind.capitalize(),
        "metadata": metadata | ({"namespace": namespace} if namespace else {}),
        "status": _status(view, without=set()),
    }


def _endpoints(view: Any) -> dict[str, Any]:
    name = view.endpoints.service
    status = _status(view, without={"endpoints"}) | _status(view.endpoints, without={"service"})
    metadata = {"name": name.name, "namespace": name.namespace}
    return {"apiVersion": "orch/v1", "kind": "Endpoints", "metadata": metadata, "status": status}


def name_of(kind: str, view: Any) -> str:
    """What stands after the slash in `-o name`."""
    match kind:
        case "service":
            return str(view.service.name.name)
        case "task":
            return f"{view.task.id.service}.{view.task.id.slot}.{view.task.id.attempt}"
        case "node":
            return str(view.spec.name)
        case "event":
            return str(view.id)
        case "revision":
            return f"{view.revision.service.name}.{view.revision.number}"
        case "namespace":
            return str(view.name)
        case "endpoints":
            return str(view.endpoints.service.name)
    return str(view.name.name)


def _status(message: Any, without: set[str]) -> dict[str, Any]:
    """Every field of a message under its camelCase name; sections that are not there are left out."""
    found = {}
    for field in message.DESCRIPTOR.fields:
        if field.name in without or (field.has_presence and not message.HasField(field.name)):
            continue
        value = _value(field, getattr(message, field.name))
        if _is_moment(field):
            if not value:
                continue  # it has not come
            value = _moment(value)
        found[_camel(field.name)] = value
    return found


def _is_moment(field: Any) -> bool:
    is_double = bool(field.type == field.TYPE_DOUBLE)
    return is_double and (field.name == "at" or str(field.name).endswith(("_at", "since")))


def _moment(seconds: float) -> str:
    """As others write it: 2026-11-21T03:10:41.123456Z."""
    at = dt.datetime.fromtimestamp(seconds, dt.UTC)
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _value(field: Any, value: Any) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return {key: _scalar(field, each) for key, each in value.items()}
    if field.is_repeated:
        return [_scalar(field, each) for each in value]
    return _scalar(field, value)


def _scalar(field: Any, value: Any) -> Any:
    if hasattr(value, "DESCRIPTOR"):
        return _status(value, without=set())
    if field.enum_type is not None:
        return field.enum_type.values_by_number[value].name.capitalize()
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(each.capitalize() for each in rest)
