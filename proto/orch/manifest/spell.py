"""A tree as the user wrote it → the same in the model's spelling: long forms, known keys, text as text.

Says everything that is wrong on the way and leaves it out, so that the rest can still be judged.
"""

from collections.abc import Mapping as AbstractMapping

from orch.manifest import short
from orch.manifest.problem import Problem
from orch.manifest.shape import (
    UNSUPPORTED,
    Key,
    Model,
    Shape,
    flat_keys,
    keys_of,
    service_keys,
    template_keys,
)
from orch.manifest.tree import Entry, Mapping, Node, Scalar, Sequence, describe
from orch.manifest.words import hint_for
from orch.model.container import ContainerSpec
from orch.model.policy import CanaryStep, OnNodeLoss
from orch.model.service import ServiceSpec

_MADE_BY_SHORT = {OnNodeLoss: {"action"}, CanaryStep: {"matchLabels"}}
"""Fields that only the written-out form has."""


class Speller:
    """Collects problems while it rewrites."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def service(self, body: Mapping) -> Mapping:
        """The flat body of a Service → {mode, replicas, template: {containers: […], ports, …}, …}."""
        unsupported = UNSUPPORTED[ServiceSpec] | UNSUPPORTED.get(ContainerSpec, frozenset())
        kept = self.known_keys(body, service_keys(), unsupported, "spec")
        flat = {key: entry for key, entry in kept.entries.items() if key in flat_keys()}
        template = Mapping(
            body.place, {key: kept.entries[key] for key in kept.entries if key in template_keys()}
        )
        template.is_incomplete = kept.is_incomplete
        if "containers" in template.entries:
            for key, entry in flat.items():
                hint = "move it into one of the containers"
                self._say(entry.node, f'"{key}" stands beside "containers"', hint, key=entry)
        else:
            main = Mapping(body.place, flat, kept.is_incomplete)
            template.entries["containers"] = Entry(body.place, Sequence([main], body.place))
        rest = {key: entry for key, entry in kept.entries.items() if key not in flat | template.entries}
        nested = Mapping(body.place, rest | {"template": Entry(body.place, template)}, kept.is_incomplete)
        return self.of_model(nested, ServiceSpec)

    def of_model(self, node: Mapping, model: Model) -> Mapping:
        """One object of the model, in long form, with only known keys."""
        keys = keys_of(model)
        kept = self.known_keys(
            node,
            keys,
            UNSUPPORTED.get(model, frozenset()),
            "",
            allowed=_MADE_BY_SHORT.get(model, frozenset()),
        )
        done = Mapping(kept.place, {}, kept.is_incomplete)
        for name, entry in kept.entries.items():
            if name not in keys:
                done.entries[name] = entry
                continue
            found = self._value(name, entry, keys[name])
            if found is None:
                done.is_incomplete = True
            else:
                done.entries[name] = Entry(entry.place, found)
        return done

    def known_keys(
        self,
        node: Mapping,
        keys: AbstractMapping[str, object],
        unsupported: frozenset[str] = frozenset(),
        where: str = "",
        *,
        allowed: set[str] | frozenset[str] = frozenset(),
    ) -> Mapping:
        """Without the keys that do not exist, or cannot be done yet, or have no value."""
        kept = Mapping(node.place, {}, node.is_incomplete)
        for name, entry in node.entries.items():
            if name in unsupported:
                self._say(entry.node, f'"{name}" is not supported yet', "remove it", key=entry)
            elif name not in keys and name not in allowed:
                under = f" in {where}" if where else ""
                self._say(entry.node, f'unknown key "{name}"{under}', hint_for(name, keys), key=entry)
            elif isinstance(entry.node, Scalar) and entry.node.value is None:
                self._say(
                    entry.node,
                    f'"{name}" has no value',
                    "give it one, or remove it for the default",
                    key=entry,
                )
            else:
                kept.entries[name] = entry
                continue
            kept.is_incomplete = True
        return kept

    def text_map(self, name: str, node: Node) -> Mapping | None:
        """A map of text to text, such as labels."""
        if not isinstance(node, Mapping):
            self._say(node, f'"{name}" must be a map, not {describe(node)}')
            return None
        done = Mapping(node.place)
        for key, entry in node.entries.items():
            if not isinstance(entry.node, Scalar):
                self._say(entry.node, f'"{key}" must be text, not {describe(entry.node)}')
            elif entry.node.value is None:
                self._say(entry.node, f'"{key}" has no value', f'write {key}: "" for an empty one', key=entry)
            else:
                done.entries[key] = Entry(entry.place, _as_text(entry.node))
        return done

    def _value(self, name: str, entry: Entry, key: Key) -> Node | None:
        node = self._long(short.OF_KEY.get((key.owner, name)), entry.node)
        return None if node is None else self._shaped(name, node, key.shape)

    def _shaped(self, name: str, node: Node, shape: Shape) -> Node | None:
        if shape.model:
            node_or_none = self._long(short.OF_MODEL.get(shape.model), node)
            if node_or_none is None:
                return None
            node = node_or_none
        match shape.form:
            case "list":
                return self._list(name, node, shape)
            case "map":
                return self.text_map(name, node)
            case "object":
                if isinstance(node, Mapping) and shape.model:
                    return self.of_model(node, shape.model)
                self._say(node, f'"{name}" must be a map, not {describe(node)}')
                return None
        if not isinstance(node, Scalar):
            self._say(node, f'"{name}" must be {_with_article(shape.word)}, not {describe(node)}')
            return None
        wants_text = shape.form != "value" or not isinstance(node.value, (int, float, bool))
        return _as_text(node) if wants_text else node

    def _list(self, name: str, node: Node, shape: Shape) -> Sequence | None:
        if not isinstance(node, Sequence) or not shape.item:
            self._say(node, f'"{name}" must be a list, not {describe(node)}')
            return None
        done = Sequence([], node.place, node.is_incomplete)
        for item in node.items:
            if isinstance(item, Scalar) and item.value is None:
                self._say(item, f'an entry of "{name}" has no value', "give it one, or remove it")
                found = None
            else:
                found = self._shaped(name, item, shape.item)
            if found is None:
                done.is_incomplete = True
            else:
                done.items.append(found)
        return done

    def _long(self, rule: short.Long | None, node: Node) -> Node | None:
        try:
            return rule(node) if rule else node
        except short.Refused as refused:
            self.problems.append(refused.problem)
            return None

    def _say(self, node: Node, what: str, hint: str = "", *, key: Entry | None = None) -> None:
        self.problems.append(Problem(key.place if key else node.place, what, hint))


def _as_text(node: Scalar) -> Scalar:
    return Scalar(node.text, node.text, node.place)


def _with_article(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"
