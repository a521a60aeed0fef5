"""YAML text → documents that remember lines and columns; and plain values → YAML text.

The only file that knows the YAML library. It reads the library's events, not its objects: so places are at
hand, duplicate keys are seen, and neither deep nesting nor a bomb of aliases can exhaust anything.
"""

from typing import Any

import yaml

from orch.manifest.problem import ManifestError, Place, Problem
from orch.manifest.scalar import resolve
from orch.manifest.tree import Entry, Mapping, Node, Scalar, Sequence

MOST_FILE_BYTES = 10_000_000
"""Of one manifest file."""
MOST_DEPTH = 64
"""Maps and lists inside one another."""
MOST_VALUES = 200_000
"""Values in one file, counting what an alias stands for each time."""
_STR_TAG = "tag:yaml.org,2002:str"


def load(data: bytes | str, file: str) -> tuple[list[Node], list[Problem]]:
    """Every document that could be read, and what is wrong with the text. Empty documents are left out."""
    try:
        text = _decoded(data, file)
    except ManifestError as error:
        return [], list(error.problems)
    builder = _Builder(file)
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        builder.problems.append(_syntax_problem(error, text, file))
    except (yaml.YAMLError, UnicodeError) as error:
        builder.problems.append(Problem(Place(file), f"this is not YAML: {_one_line(error)}"))
    except ManifestError as error:
        builder.problems.extend(error.problems)
    return builder.documents, builder.problems


def check_size(size: int, file: str) -> None:
    """Raises ManifestError for a file too large to be a manifest; ask before reading it."""
    if size > MOST_FILE_BYTES:
        raise ManifestError([_too_large(size, file)])


def dump(document: Any) -> str:
    """Plain dicts, lists and scalars as YAML that this module reads back as the same."""
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text


def _decoded(data: bytes | str, file: str) -> str:
    if len(data) > MOST_FILE_BYTES:
        raise ManifestError([_too_large(len(data), file)])
    if isinstance(data, str):
        return data.removeprefix("\ufeff")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise ManifestError([Problem(Place(file, line, column), "this is not text in UTF-8")]) from None


def _too_large(size: int, file: str) -> Problem:
    what = f"the file has {size / 1e6:.1f} MB; a manifest may have {MOST_FILE_BYTES / 1e6:.0f} MB"
    return Problem(Place(file), what, "put large data into an image or a volume")


class _Builder:
    """Events in, trees out. Keeps its own stack, so depth costs nothing."""

    def __init__(self, file: str) -> None:
        self.documents: list[Node] = []
        self.problems: list[Problem] = []
        self._file = file
        self._count = 0
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int] | None] = {}

    def take(self, event: Any) -> None:
        match event:
            case yaml.DocumentStartEvent():
                self._anchors = {}
            case yaml.ScalarEvent():
                self._place_node(self._scalar(event), event.anchor, self._counted(event))
            case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                self._begin(event)
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                done = self._open.pop()
                self._place_node(done.node, done.anchor, self._count - done.count_before)
            case yaml.AliasEvent():
                self._alias(event)

    def _begin(self, event: Any) -> None:
        if len(self._open) >= MOST_DEPTH:
            self._refuse(event, f"maps and lists lie more than {MOST_DEPTH} deep in one another")
        if event.tag:
            self._refuse(event, f'the tag "{event.tag}" is not supported')
        before = self._count
        self._counted(event)
        place = self._at(event)
        node = Mapping(place) if isinstance(event, yaml.MappingStartEvent) else Sequence([], place)
        if event.anchor:
            self._anchors[event.anchor] = None
        self._open.append(_Open(node, event.anchor, before))

    def _scalar(self, event: Any) -> Scalar:
        if event.tag not in (None, "!", _STR_TAG):
            self._refuse(event, f'the tag "{event.tag}" is not supported')
        is_plain = event.implicit[0] and not event.tag
        return Scalar(resolve(event.value) if is_plain else event.value, event.value, self._at(event))

    def _alias(self, event: Any) -> None:
        if event.anchor not in self._anchors:
            self._refuse(event, f'there is no anchor "&{event.anchor}" above')
        known = self._anchors[event.anchor]
        if known is None:
            self._refuse(event, f'"*{event.anchor}" stands inside what it names')
        else:
            node, size = known
            self._counted(event, size)
            self._place_node(node, None, size, self._at(event))

    def _place_node(self, node: Node, anchor: str | None, size: int, place: Place | None = None) -> None:
        if anchor:
            self._anchors[anchor] = (node, size)
        if not self._open:
            if not (isinstance(node, Scalar) and node.value is None):
                self.documents.append(node)
            return
        top = self._open[-1]
        if isinstance(top.node, Sequence):
            top.node.items.append(node)
        elif top.key is None:
            top.key = self._key(node, place or node.place)
        else:
            key, top.key = top.key, None
            self._put(top.node, key, node)

    def _put(self, mapping: Mapping, key: Scalar, node: Node) -> None:
        if key.text in mapping.entries:
            line = mapping.entries[key.text].place.line
            self.problems.append(
                Problem(key.place, f'the key "{key.text}" is already on line {line}', "keep one of them")
            )
        mapping.entries[key.text] = Entry(key.place, node)

    def _key(self, node: Node, place: Place) -> Scalar:
        if not isinstance(node, Scalar):
            raise ManifestError([Problem(place, "a key must be a single word, not a list or a map")])
        return Scalar(node.value, node.text, place)

    def _counted(self, event: Any, size: int = 1) -> int:
        self._count += size
        if self._count > MOST_VALUES:
            self._refuse(event, f"the file has more than {MOST_VALUES} values, aliases counted each time")
        return size

    def _at(self, event: Any) -> Place:
        return Place(self._file, event.start_mark.line + 1, event.start_mark.column + 1)

    def _refuse(self, event: Any, what: str) -> None:
        raise ManifestError([Problem(self._at(event), what)])


class _Open:
    """A list or map whose end has not come yet."""

    __slots__ = ("anchor", "count_before", "key", "node")

    def __init__(self, node: Mapping | Sequence, anchor: str | None, count_before: int) -> None:
        self.node = node
        self.anchor = anchor
        self.count_before = count_before
        self.key: Scalar | None = None


def _syntax_problem(error: yaml.MarkedYAMLError, text: str, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file)
    lines = text.splitlines()
    line = lines[mark.line] if mark and mark.line < len(lines) else ""
    hint = ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        hint = "this line is indented with a tab; use spaces"
    elif ": " in line and "mapping values are not allowed" in str(error.problem):
        hint = 'put text that holds ": " into quotes, and check the indentation'
    return Problem(place, f"this is not YAML: {error.problem or _one_line(error)}", hint)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


class _Dumper(yaml.SafeDumper):
    """Writes text so that both YAML 1.1 and 1.2 read it as text."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, indentless=False)


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    lines = text.split("\n")
    style = None
    if not all(line.isprintable() for line in lines):
        style = (
            '"'  # as escapes: the library would write some line breaks of Unicode as they are, and lose them
        )
    elif len(lines) > 1 and not any(line.endswith(" ") for line in lines):
        style = "|"
    elif not isinstance(resolve(text), str):
        style = '"'
    return dumper.represent_scalar(_STR_TAG, text, style=style)


_Dumper.add_representer(str, _represent_text)
