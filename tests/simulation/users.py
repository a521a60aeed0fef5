"""What users say in a play, as requests of the API: `apply web replicas=3 image=web:2 canary=ring:canary bake=5s`."""

from typing import Any

from orch import wire
from orch.manifest import load, parse
from orch.manifest.document import ServiceDocument
from orch.model.names import ServiceName
from orch.v1 import control_pb2 as pb

USERS_VERBS = (
    "apply", "scale", "delete", "promote", "abort", "pause", "resume", "undo",
    "cordon", "uncordon", "drain", "label", "remove",
)  # fmt: skip


def named(name: str) -> ServiceName:
    return ServiceName("default", name)


def request(words: list[str]) -> tuple[str, Any]:
    """The method of `Changing`, and its request."""
    match words:
        case ["apply", name, *fields]:
            return "apply", pb.ApplyRequest(documents=[_document(name, fields)])
        case ["scale", name, number]:
            return "scale", pb.ScaleRequest(service=wire.to_wire(named(name)), replicas=int(number))
        case ["delete", name]:
            return "delete", pb.DeleteRequest(
                references=[pb.Reference(kind="service", namespace="default", name=name)]
            )
        case ["promote", name, "fully"]:
            return "rollout", pb.RolloutRequest(service=wire.to_wire(named(name)), verb="promote", full=True)
        case ["promote" | "abort" | "pause" | "resume" | "undo" as verb, name]:
            return "rollout", pb.RolloutRequest(service=wire.to_wire(named(name)), verb=verb)
        case ["cordon" | "uncordon" | "drain" as verb, name]:
            availability = {"cordon": "cordoned", "uncordon": "active", "drain": "drained"}[verb]
            return "change_node", pb.ChangeNodeRequest(name=name, availability=availability)
        case ["label", name, label]:
            key, _, value = label.partition("=")
            return "change_node", pb.ChangeNodeRequest(name=name, set_labels={key: value})
        case ["remove", name]:
            return "change_node", pb.ChangeNodeRequest(name=name, remove=True)
    raise ValueError("no such request")


def _document(name: str, fields: list[str]) -> pb.Document:
    """By way of a manifest, as `orchctl` does it."""
    (written,) = parse.parse_all(_manifest(name, dict(each.split("=", 1) for each in fields)), "play")
    value = written.value
    assert isinstance(value, ServiceDocument)
    document = pb.Document(source=written.source)
    document.service.name.CopyFrom(wire.to_wire(value.name))
    document.service.spec.CopyFrom(wire.to_wire(value.spec))
    return document


def _manifest(name: str, words: dict[str, str]) -> str:
    """What the short words stand for."""
    spec: dict[str, Any] = {"image": f"{name}:1"}
    step: dict[str, Any] = {}
    rollout: dict[str, Any] = {"minReady": "0s"}
    for word, value in words.items():
        match word:
            case "replicas":
                spec["replicas"] = int(value)
            case "image" | "priority":
                spec[word] = value
            case "mode":
                spec["mode"] = value
            case "port":
                spec["ports"] = [{"target": 80, "published": int(value)}]
            case "cpu" | "memory":
                spec.setdefault("resources", {}).setdefault("requests", {})[word] = value
            case "perNode":
                spec["placement"] = {"maxPerNode": int(value)}
            case "restarts":
                spec["restart"] = {"attempts": int(value)}
            case "grace":
                spec["stop"] = {"gracePeriod": value}
            case "onNodeLoss":
                action, _, time = value.partition(":")
                spec["onNodeLoss"] = {"stopAfter": time} if time else action
            case "surge":
                rollout["maxSurge"] = value
            case "unavailable":
                rollout["maxUnavailable"] = value
            case "minReady" | "onFailure":
                rollout[word] = value
            case "deadline":
                rollout["progressDeadline"] = value
            case "canary":
                step |= _step(value)
            case "bake":
                step["bake"] = value
            case "promote":
                rollout.setdefault("canary", {})["promote"] = value
            case _:
                raise ValueError(f"a service has no {word}")
    if step:
        rollout.setdefault("canary", {})["steps"] = [step]
    whole = {
        "apiVersion": "orch/v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": spec | {"rollout": rollout},
    }
    return load.dump(whole)


def _step(value: str) -> dict[str, Any]:
    key, _, wanted = value.partition(":")
    match key:
        case "count":
            return {"count": int(wanted)}
        case "percent":
            return {"percent": int(wanted)}
        case "nodes":
            return {"nodes": wanted.split(",")}
        case _:
            return {"nodes": {"matchLabels": {key: wanted}}}
