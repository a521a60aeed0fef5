"""JSON Schema of the manifest, for editors: completion, hover and red lines while typing."""

from typing import Any

from orch.manifest import explain, kinds
from orch.manifest.reader import API_VERSION
from orch.manifest.shape import Key, Model, Shape, keys_of

_NUMBER_OR_TEXT = {"type": ["string", "number"]}
_OF_WORD: dict[str, dict[str, Any]] = {
    "duration": _NUMBER_OR_TEXT | {"examples": ["5s", "1m30s"]},
    "cpu": _NUMBER_OR_TEXT | {"examples": ["250m", 1]},
    "bytes": _NUMBER_OR_TEXT | {"examples": ["64Mi", "128M"]},
    "number or percentage": {"type": ["string", "integer"], "pattern": "^[0-9]+%?$", "examples": [1, "25%"]},
    "boolean": {"type": "boolean"},
    "integer": {"type": "integer"},
    "integer or string": {"type": ["integer", "string"]},
    "integer or unlimited": {"anyOf": [{"type": "integer", "minimum": 0}, {"const": "unlimited"}]},
}
_TEXTS = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}


def schema() -> dict[str, Any]:
    """Draft 2020-12, one branch for each kind."""
    definitions: dict[str, Any] = {}
    branches = [_kind(kind, definitions) for kind in kinds.KINDS.values()]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"orch manifest ({API_VERSION})",
        "type": "object",
        "required": ["apiVersion", "kind", "metadata"],
        "properties": {
            "apiVersion": {"const": API_VERSION},
            "kind": {"enum": [each.name for each in kinds.KINDS.values()]},
        },
        "oneOf": branches,
        "$defs": definitions,
    }


def _kind(kind: kinds.Kind, definitions: dict[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "apiVersion": {"const": API_VERSION},
        "kind": {"const": kind.name, "description": kind.doc},
        "metadata": _metadata(kind),
        "status": {"description": "What `get -o yaml` adds; not read."},
    }
    properties |= {name: _key(key, definitions) for name, key in kind.top.items()}
    required = ["apiVersion", "kind", "metadata"]
    if kind.spec:
        properties["spec"] = _closed({name: _key(key, definitions) for name, key in kind.spec.items()})
    if kind.name == "Service":
        properties["spec"]["anyOf"] = [{"required": ["image"]}, {"required": ["containers"]}]
        required.append("spec")
    return _closed(properties) | {"required": required}


def _metadata(kind: kinds.Kind) -> dict[str, Any]:
    name = {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"}
    properties = {"name": name} | ({"namespace": name} if kind.has_namespace else {}) | {"labels": _TEXTS}
    return _closed(properties) | {"required": ["name"]}


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _key(key: Key, definitions: dict[str, Any]) -> dict[str, Any]:
    found = _shape(key.shape, definitions)
    if key.name == "mode" and key.owner.__name__ == "FileMount":
        found = {"type": ["string", "integer"], "pattern": "^0o?[0-7]+$"}
    if key.also:
        found = {"anyOf": [found, *_other_forms(key)]}
    default = explain.default_text(key)
    return found | {"description": key.doc} | ({"default": default} if default else {})


def _other_forms(key: Key) -> list[dict[str, Any]]:
    """What a key takes beside its long form, as loosely as an editor needs it."""
    if key.name in {"nodes", "environment", "extraHosts"}:
        return (
            [{"type": "object"}] if key.name == "nodes" else [{"type": "array", "items": {"type": "string"}}]
        )
    if key.shape.form == "list" and key.shape.item and key.shape.item.form == "object":
        return [{"type": "array", "items": {"type": ["string", "integer", "object"]}}]
    return [{"type": "string"}]


def _shape(shape: Shape, definitions: dict[str, Any]) -> dict[str, Any]:
    match shape.form:
        case "text":
            return {"type": ["string", "number", "boolean"]}
        case "word":
            return {"enum": list(shape.choices)}
        case "map":
            return dict(_TEXTS)
        case "list":
            return {"type": "array"} | ({"items": _shape(shape.item, definitions)} if shape.item else {})
        case "object":
            return _reference(shape.model, definitions) if shape.model else {"type": "object"}
        case "value":
            return dict(_OF_WORD[shape.word])


def _reference(model: Model, definitions: dict[str, Any]) -> dict[str, Any]:
    name = model.__name__.strip("_")
    if name not in definitions:
        definitions[name] = {}
        keys = keys_of(model)
        definitions[name] = _closed({key.name: _key(key, definitions) for key in keys.values()})
        if required := [key.name for key in keys.values() if key.is_required]:
            definitions[name]["required"] = required
    return {"$ref": f"#/$defs/{name}"}
