"""Text → values, or every problem of every document at once."""

from dataclasses import dataclass

from orch.manifest import load
from orch.manifest.document import Written, identity
from orch.manifest.problem import ManifestError, Place, Problem
from orch.manifest.reader import Reader
from orch.model.names import DEFAULT_NAMESPACE, ObjectName

_FIRST = Place("")


@dataclass(frozen=True, slots=True)
class Parsed:
    """The documents that are right, and all that is wrong with the others."""

    documents: tuple[Written, ...]
    problems: tuple[Problem, ...]


def parse(data: bytes | str, file: str, namespace: str = DEFAULT_NAMESPACE) -> Parsed:
    """Documents that name no namespace are put into `namespace`."""
    nodes, problems = load.load(data, file)
    documents: list[Written] = []
    for node in nodes:
        reader = Reader(namespace)
        value = reader.read(node)
        problems.extend(reader.problems)
        if value is not None and not reader.problems:
            documents.append(Written(f"{file}:{node.place.line}", value))
    problems.extend(_named_twice(documents))
    in_order = sorted(
        dict.fromkeys(problems), key=lambda each: each.where if isinstance(each.where, Place) else _FIRST
    )
    return Parsed(tuple(documents), tuple(in_order))


def parse_all(data: bytes | str, file: str, namespace: str = DEFAULT_NAMESPACE) -> tuple[Written, ...]:
    """As `parse`; raises ManifestError when anything is wrong."""
    parsed = parse(data, file, namespace)
    if parsed.problems:
        raise ManifestError(parsed.problems)
    return parsed.documents


def _named_twice(documents: list[Written]) -> list[Problem]:
    first: dict[tuple[str, ObjectName], str] = {}
    problems = []
    for each in documents:
        kind, name = known = identity(each.value)
        if known in first:
            what = f'{kind} "{name}" is already at {first[known]}'
            problems.append(Problem(_source_place(each.source), what, "keep one of them"))
        first.setdefault(known, each.source)
    return problems


def _source_place(source: str) -> Place:
    file, _, line = source.rpartition(":")
    return Place(file, int(line), 1)
