"""One document, as a tree → its value, or everything that is wrong with it.

The envelope (apiVersion, kind, metadata) is Kubernetes'; what stands under spec is in `shape`.
"""

import base64
import binascii
from collections.abc import Callable

from orch.manifest import check, short, validate
from orch.manifest.document import NodeDocument, PlainSecret, ServiceDocument, Value
from orch.manifest.labels import entry_fault, label_faults
from orch.manifest.problem import Place, Problem, did_you_mean
from orch.manifest.spell import Speller
from orch.manifest.tree import Entry, Mapping, Node, Scalar, Sequence, describe, place_of, walk
from orch.model.config import MOST_BYTES, NETWORKS, OPEN, Config, Namespace
from orch.model.names import ObjectName, check_name
from orch.model.node import Taint, TaintEffect
from orch.model.service import Mode, ServiceSpec

API_VERSION = "orch/v1"
_LATER = {"Job", "CronJob", "Volume"}
_NO_NAMESPACE = {"Namespace", "Node"}


class Reader:
    """Of one document: its value, or the problems that it has."""

    def __init__(self, namespace: str) -> None:
        self.problems: list[Problem] = []
        self._spell = Speller()
        self._spell.problems = self.problems
        self._namespace = namespace

    def read(self, node: Node) -> Value | None:
        if not isinstance(node, Mapping):
            self._say(node.place, f"a document must be a map with apiVersion and kind, not {describe(node)}")
            return None
        kind = self._kind(node)
        if kind is None:
            return None
        body_keys, read = _KINDS[kind]
        kept = self._spell.known_keys(
            node, dict.fromkeys(["apiVersion", "kind", "metadata", "status", *body_keys])
        )
        name, labels = self._metadata(kept, kind)
        return read(self, kept, name, labels)

    def service(self, node: Mapping, name: ObjectName, labels: dict[str, str]) -> ServiceDocument | None:
        body = self._section(node, "spec", required=True)
        if body is None:
            return None
        tree = self._spell.service(body)
        self._one_per_node(tree)
        spec, problems = validate.validate(tree, ServiceSpec)
        self.problems.extend(problems)
        if spec is None:
            return None
        for each in check.check(name, spec):
            if not _is_consequence(tree, each):
                self.problems.append(each.at(place_of(tree, each.path)))
        return ServiceDocument(name, spec, labels)

    def config(self, node: Mapping, name: ObjectName, labels: dict[str, str]) -> Config:
        return Config(name, self._data(node), labels=labels)

    def secret(self, node: Mapping, name: ObjectName, labels: dict[str, str]) -> PlainSecret:
        return PlainSecret(name, self._text(node, "type") or "opaque", self._data(node), labels)

    def namespace(self, node: Mapping, name: ObjectName, labels: dict[str, str]) -> Namespace:
        body = self._section(node, "spec")
        if body is None:
            return Namespace(name.name, labels)
        body = self._spell.known_keys(body, {"network": None})
        network = self._text(body, "network") or OPEN
        if network not in NETWORKS:
            place = body.entries["network"].node.place
            self._say(place, f'"network" must be {" or ".join(NETWORKS)}, not "{network}"')
        return Namespace(name.name, labels, network=network)

    def node(self, node: Mapping, name: ObjectName, labels: dict[str, str]) -> NodeDocument:
        body = self._section(node, "spec")
        if body is None:
            return NodeDocument(name.name, labels)
        entry = self._spell.known_keys(body, {"taints": None}).entries.get("taints")
        if entry and not isinstance(entry.node, Sequence):
            self._say(entry.node.place, f'"taints" must be a list, not {describe(entry.node)}')
        items = entry.node.items if entry and isinstance(entry.node, Sequence) else []
        return NodeDocument(name.name, labels, tuple(filter(None, map(self._taint, items))))

    def _kind(self, node: Mapping) -> str | None:
        if "kind" not in node.entries:
            hint = f"write apiVersion: {API_VERSION} and kind: Service"
            if "services" in node.entries:
                hint = "Compose files are not supported yet; " + hint
            self._say(node.place, '"kind" is missing', hint)
            return None
        version, kind = self._text(node, "apiVersion"), self._text(node, "kind")
        if version != API_VERSION:
            entry = node.entries.get("apiVersion")
            what = f'apiVersion "{version}" is not supported' if version else '"apiVersion" is missing'
            self._say(entry.node.place if entry else node.place, what, f"write apiVersion: {API_VERSION}")
        place = node.entries["kind"].node.place
        if kind in _LATER:
            self._say(place, f"kind {kind} is not supported yet")
        elif kind not in _KINDS:
            near = did_you_mean(kind, _KINDS) or f"known kinds: {', '.join(_KINDS)}"
            self._say(place, f'unknown kind "{kind}"', near)
        else:
            return kind if version == API_VERSION else None
        return None

    def _metadata(self, node: Mapping, kind: str) -> tuple[ObjectName, dict[str, str]]:
        nothing = ObjectName(self._namespace, "unnamed")
        body = self._section(node, "metadata", required=True)
        if body is None:
            return nothing, {}
        keys = ["name", "labels"] if kind in _NO_NAMESPACE else ["name", "namespace", "labels"]
        body = self._spell.known_keys(body, dict.fromkeys(keys), where="metadata")
        labels = self._labels(body)
        if "name" not in body.entries:
            if not body.is_incomplete:
                self._say(body.place, '"metadata.name" is missing')
            return nothing, labels
        name = self._name(body, "name")
        namespace = self._name(body, "namespace") if "namespace" in body.entries else self._namespace
        return ObjectName("" if kind in _NO_NAMESPACE else namespace, name), labels

    def _name(self, body: Mapping, key: str) -> str:
        text = self._text(body, key)
        try:
            return check_name(text) if text else "unnamed"
        except ValueError as error:
            self._say(body.entries[key].node.place, str(error))
            return "unnamed"

    def _labels(self, body: Mapping) -> dict[str, str]:
        entry = body.entries.get("labels")
        labels = self._spell.text_map("labels", entry.node) if entry else None
        if labels is None:
            return {}
        found = {key: self._text(labels, key) for key in labels.entries}
        for key, value in found.items():
            for what in label_faults(key, value):
                self._say(labels.entries[key].place, what)
        return found

    def _data(self, node: Mapping) -> dict[str, bytes]:
        data: dict[str, bytes] = {}
        for section in ("data", "binaryData"):
            entry = node.entries.get(section)
            found = self._spell.text_map(section, entry.node) if entry else None
            if found is None:
                continue
            for key in found.entries:
                place = found.entries[key].place
                if key in data:
                    self._say(place, f'"{key}" is already in data', "keep one of them")
                if what := entry_fault(key):
                    self._say(place, what)
                text = self._text(found, key)
                data[key] = text.encode() if section == "data" else self._decoded(found.entries[key], text)
        if not data and not self.problems:
            self._say(node.place, '"data" is missing', "give it at least one entry: data: {web.conf: …}")
        size = sum(map(len, data.values()))
        if size > MOST_BYTES:
            self._say(node.place, f"it holds {size} bytes; a config or secret may hold {MOST_BYTES}")
        return data

    def _decoded(self, entry: Entry, text: str) -> bytes:
        try:
            return base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError):
            self._say(entry.node.place, "this is not base64", "text goes under data, as it is")
            return b""

    def _taint(self, node: Node) -> Taint | None:
        node = short.taint(node)
        if not isinstance(node, Mapping):
            self._say(node.place, f'a taint must be a map or "key=value:NoSchedule", not {describe(node)}')
            return None
        body = self._spell.known_keys(node, dict.fromkeys(["key", "value", "effect"]))
        if not self._text(body, "key"):
            self._say(node.place, '"key" of the taint is missing')
            return None
        effect = body.entries.get("effect")
        if effect and isinstance(effect.node, Scalar) and effect.node.text not in set(TaintEffect):
            self.problems.append(validate.of_enum(effect.node, TaintEffect, "effect"))
            return None
        return Taint(
            self._text(body, "key"),
            self._text(body, "value"),
            TaintEffect(self._text(body, "effect") or "NoSchedule"),
        )

    def _one_per_node(self, tree: Mapping) -> None:
        """A global service has no room for a surge, so its defaults are the other way round."""
        mode = tree.entries.get("mode")
        if not (mode and isinstance(mode.node, Scalar) and mode.node.value == Mode.GLOBAL):
            return
        rollout = tree.entries.get("rollout")
        body = rollout.node if rollout and isinstance(rollout.node, Mapping) else Mapping(tree.place)
        surge = body.entries.get("maxSurge")
        if surge and isinstance(surge.node, Scalar) and surge.node.text not in {"0", "0%"}:
            self._say(
                surge.node.place,
                "a global service runs once on each node: maxSurge must be 0",
                "use maxUnavailable",
            )
        for key, amount in (("maxSurge", "0"), ("maxUnavailable", "1")):
            body.entries.setdefault(key, Entry(body.place, Scalar(amount, amount, body.place)))
        tree.entries["rollout"] = Entry(body.place, body)

    def _section(self, node: Mapping, key: str, *, required: bool = False) -> Mapping | None:
        entry = node.entries.get(key)
        if entry is None:
            if required and not node.is_incomplete:
                self._say(node.place, f'"{key}" is missing')
            return None
        if isinstance(entry.node, Mapping):
            return entry.node
        self._say(entry.node.place, f'"{key}" must be a map, not {describe(entry.node)}')
        return None

    def _text(self, body: Mapping, key: str) -> str:
        """The text at a key; empty where there is none."""
        entry = body.entries.get(key)
        if entry is None:
            return ""
        if isinstance(entry.node, Scalar):
            return entry.node.text
        self._say(entry.node.place, f'"{key}" must be text, not {describe(entry.node)}')
        return ""

    def _say(self, where: Place, what: str, hint: str = "") -> None:
        self.problems.append(Problem(where, what, hint))


def _is_consequence(tree: Mapping, problem: Problem) -> bool:
    """A probe's port may be declared by the very entry of ports that was refused."""
    ports = dict(walk(tree, ("template", "ports"))).get("ports")
    is_incomplete = ports is None or getattr(ports.node, "is_incomplete", False)
    template = tree.entries["template"].node
    lost = is_incomplete and isinstance(template, Mapping) and (ports is not None or template.is_incomplete)
    return lost and problem.path[-1:] == ("port",)


_KINDS: dict[
    str, tuple[tuple[str, ...], Callable[[Reader, Mapping, ObjectName, dict[str, str]], Value | None]]
] = {
    "Service": (("spec",), Reader.service),
    "Config": (("data", "binaryData"), Reader.config),
    "Secret": (("type", "data", "binaryData"), Reader.secret),
    "Namespace": (("spec",), Reader.namespace),
    "Node": (("spec",), Reader.node),
}
