"""`-f FILE`, `-f DIRECTORY`, `-f -` → documents; or every problem of every file at once."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from cli.exits import Wrong
from orch.manifest import load
from orch.manifest.document import NodeDocument, Written, identity
from orch.manifest.parse import parse
from orch.manifest.problem import ManifestError, Place, Problem
from orch.model.config import Namespace
from orch.model.names import DEFAULT_NAMESPACE

_SUFFIXES = {".yaml", ".yml", ".json"}


def documents(paths: Sequence[str], namespace: str) -> list[Written]:
    """Everything that the files describe. Raises ManifestError, Wrong."""
    found: list[Written] = []
    problems: list[Problem] = []
    for name, data in _contents(paths):
        parsed = parse(data, name, namespace or DEFAULT_NAMESPACE)
        found += parsed.documents
        problems += parsed.problems
    problems += _in_another_namespace(found, namespace)
    problems += _twice(found)
    if problems:
        raise ManifestError(problems)
    if not found:
        raise Wrong(f"there is no document in {', '.join(paths)}")
    return found


def _contents(paths: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    for path in paths:
        if path == "-":
            yield "stdin", sys.stdin.buffer.read(load.MOST_FILE_BYTES + 1)
        elif Path(path).is_dir():
            files = sorted(each for each in Path(path).iterdir() if each.suffix in _SUFFIXES)
            if not files:
                raise Wrong(f"there is no .yaml file in {path}")
            for each in files:
                yield str(each), _read(each)
        else:
            yield path, _read(Path(path))


def _read(path: Path) -> bytes:
    try:
        load.check_size(path.stat().st_size, str(path))
        return path.read_bytes()
    except OSError as error:
        raise Wrong(f"cannot read {path}: {error.strerror}") from None


def _in_another_namespace(found: Sequence[Written], namespace: str) -> Iterator[Problem]:
    for each in found:
        if not namespace or isinstance(each.value, Namespace | NodeDocument):
            continue
        if each.value.name.namespace != namespace:
            what = f"{each.value.name} is in another namespace than -n {namespace}"
            yield Problem(Place(each.source), what, "leave out one of the two")


def _twice(found: Sequence[Written]) -> Iterator[Problem]:
    first: dict[object, str] = {}
    for each in found:
        kind, name = known = identity(each.value)
        if known in first and first[known].rpartition(":")[0] != each.source.rpartition(":")[0]:
            yield Problem(
                Place(each.source), f'{kind} "{name}" is already at {first[known]}', "keep one of them"
            )
        first.setdefault(known, each.source)
