"""Short forms, written out: `30080:8080` becomes {published: 30080, target: 8080}.

Each function gets what was written and answers the long form, or raises `Refused`. A node that is in its long
form already is answered as it is.
"""

import re
import shlex
from collections.abc import Callable

from orch.manifest.problem import Place, Problem
from orch.manifest.tree import Entry, Mapping, Node, Scalar, Sequence, describe, mapping_of, scalar
from orch.model import container, policy, probe, service

_PORT = re.compile(
    r"(?:(?:(?P<ip>\[[0-9a-fA-F:.]+\]|[0-9.]+):)?(?P<published>\d+):)?(?P<target>\d+)(?:/(?P<protocol>\w+))?"
)
_PORT_RANGE = re.compile(r"[\d.:]*\d-\d[\d:-]*(/\w+)?")


class Refused(Exception):
    """What was written cannot be understood, or not yet be done."""

    def __init__(self, where: Place, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.problem = Problem(where, what, hint)


def words(node: Node) -> Node:
    """One string → the words a shell would make of it. Nothing is expanded."""
    if not isinstance(node, Scalar) or node.value is None:
        return node
    try:
        found = shlex.split(node.text)
    except ValueError as error:
        hint = 'or write a list: ["/web", "--port", "8080"]'
        raise Refused(node.place, f"cannot split {describe(node)}: {error}", hint) from None
    return Sequence([scalar(word, node.place) for word in found], node.place)


def environment(node: Node) -> Node:
    """A list of KEY=VALUE → a map."""
    if not isinstance(node, Sequence):
        return node
    found: dict[str, Entry] = {}
    for item in node.items:
        text = item.text if isinstance(item, Scalar) else ""
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise Refused(item.place, f"{describe(item)} is not KEY=VALUE")
        if key in found:
            raise Refused(item.place, f'"{key}" is given twice', "keep one of them")
        found[key] = Entry(item.place, scalar(value, item.place))
    return Mapping(node.place, found)


def extra_hosts(node: Node) -> Node:
    """A list of NAME:ADDRESS, as in Compose, or NAME=ADDRESS → a map."""
    if not isinstance(node, Sequence):
        return node
    found: dict[str, Entry] = {}
    for item in node.items:
        text = item.text if isinstance(item, Scalar) else ""
        name, sign, address = text.partition("=" if "=" in text else ":")
        if not sign or not name:
            raise Refused(item.place, f"{describe(item)} is not NAME:ADDRESS", 'for example "db:10.0.0.5"')
        if name in found:
            raise Refused(item.place, f'"{name}" is given twice', "keep one of them")
        found[name] = Entry(item.place, scalar(address.strip("[]"), item.place))
    return Mapping(node.place, found)


def file_mode(node: Node) -> Node:
    """Octal digits as everyone writes them, whatever YAML makes of a leading zero."""
    if not isinstance(node, Scalar):
        return node
    digits = node.text.removeprefix("0o")
    if not re.fullmatch(r"[0-7]{1,5}", digits):
        raise Refused(node.place, f"{describe(node)} is not a file mode", "write octal digits: 0444")
    if not node.text.startswith("0"):
        raise Refused(node.place, f"{describe(node)} could be octal or decimal", f"write 0{digits} for octal")
    return Scalar(int(digits, 8), node.text, node.place)


def port(node: Node) -> Node:
    """`8080`, `30080:8080`, `10.0.0.5:80:8080/tcp`."""
    if isinstance(node, Mapping):
        return node
    if not isinstance(node, Scalar):
        return node
    match = _PORT.fullmatch(node.text)
    if not match:
        if _PORT_RANGE.fullmatch(node.text):
            raise Refused(node.place, "port ranges are not supported yet", "write one entry for each port")
        hint = 'write "30080:8080", "10.0.0.5:80:8080/tcp" or 8080'
        raise Refused(node.place, f"{describe(node)} is not a port", hint)
    long = mapping_of(node.place, target=scalar(int(match["target"]), node.place))
    if match["published"]:
        if int(match["published"]) == 0:
            raise Refused(node.place, "port 0 cannot be published", "write a port from 1 to 65535")
        _set(long, "published", int(match["published"]))
    if match["ip"]:
        _set(long, "hostIp", match["ip"].strip("[]"))
    if match["protocol"]:
        _set(long, "protocol", match["protocol"].lower())
    return long


def volume(node: Node) -> Node:
    """`/srv/www:/www:ro`."""
    if isinstance(node, Mapping):
        kind = node.entries.get("type")
        if kind and isinstance(kind.node, Scalar) and kind.node.text == "volume":
            raise _named_volume(kind.node.place)
        return node
    if not isinstance(node, Scalar):
        return node
    source, *rest = node.text.split(":")
    if not source.startswith("/"):
        if source.startswith((".", "~")):
            raise Refused(
                node.place, f'"{source}" is not an absolute path', "write where it lies on the node: /srv/www"
            )
        raise _named_volume(node.place)
    if not rest:
        raise Refused(node.place, "volumes without a source are not supported yet", f"write {source}:/target")
    long = mapping_of(node.place, source=scalar(source, node.place), target=scalar(rest[0], node.place))
    options = rest[1].split(",") if len(rest) == 2 else []
    if len(rest) > 2 or any(option not in {"ro", "rw"} for option in options):
        raise Refused(
            node.place, f"{describe(node)} is not a volume", 'write "/srv/www:/www" or "/srv/www:/www:ro"'
        )
    if "ro" in options:
        _set(long, "readOnly", True)
    return long


def file_mount(node: Node) -> Node:
    """Just the name."""
    if isinstance(node, Scalar) and node.value is not None:
        return mapping_of(node.place, source=scalar(node.text, node.place))
    return node


def toleration(node: Node) -> Node:
    """`gpu` or `gpu=yes`."""
    if not isinstance(node, Scalar) or node.value is None:
        return node
    key, equals, value = node.text.partition("=")
    long = mapping_of(node.place, key=scalar(key, node.place))
    if equals:
        _set(long, "value", value)
    return long


def taint(node: Node) -> Node:
    """`gpu=yes:NoSchedule`, `gpu:NoExecute`, `gpu`."""
    if not isinstance(node, Scalar) or node.value is None:
        return node
    head, _, effect = node.text.partition(":")
    key, _, value = head.partition("=")
    long = mapping_of(node.place, key=scalar(key, node.place))
    if value:
        _set(long, "value", value)
    if effect:
        _set(long, "effect", effect)
    return long


def on_node_loss(node: Node) -> Node:
    """`replace`, `wait`, or {stopAfter: 60s}."""
    if isinstance(node, Scalar) and node.value is not None:
        if node.text not in {"replace", "wait"}:
            hint = "write replace, wait or {stopAfter: 60s}"
            raise Refused(node.place, f"{describe(node)} is not a way to meet the loss of a node", hint)
        return mapping_of(node.place, action=scalar(node.text, node.place))
    if isinstance(node, Mapping) and "stopAfter" in node.entries:
        action = Entry(node.place, scalar("stopAfter", node.place))
        return Mapping(node.place, {"action": action} | node.entries, node.is_incomplete)
    return node


def canary_step(node: Node) -> Node:
    """`nodes: {matchLabels: …}` is a choice of its own."""
    nodes = node.entries.get("nodes") if isinstance(node, Mapping) else None
    if not isinstance(node, Mapping) or not nodes or not isinstance(nodes.node, Mapping):
        return node
    for key, entry in nodes.node.entries.items():
        if key != "matchLabels":
            raise Refused(
                entry.place, f'unknown key "{key}"', "write nodes: [vm-3] or nodes: {matchLabels: {…}}"
            )
    rest = {key: entry for key, entry in node.entries.items() if key != "nodes"}
    return Mapping(node.place, nodes.node.entries | rest)


def _set(mapping: Mapping, key: str, value: str | int | bool) -> None:
    mapping.entries[key] = Entry(mapping.place, scalar(value, mapping.place))


def _named_volume(where: Place) -> Refused:
    return Refused(
        where, "named volumes are not supported yet", "write an absolute path of the node, or {type: tmpfs}"
    )


Long = Callable[[Node], Node]

OF_MODEL: dict[type, Long] = {
    policy.PortSpec: port,
    policy.Toleration: toleration,
    policy.OnNodeLoss: on_node_loss,
    policy.CanaryStep: canary_step,
    container.VolumeMount: volume,
    container.FileMount: file_mount,
}
OF_KEY: dict[tuple[type, str], Long] = {
    (container.ContainerSpec, "command"): words,
    (container.ContainerSpec, "entrypoint"): words,
    (probe.ProbeSpec, "exec"): words,
    (container.ContainerSpec, "environment"): environment,
    (container.FileMount, "mode"): file_mode,
    (service.TaskTemplate, "extraHosts"): extra_hosts,
}
