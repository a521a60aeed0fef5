"""A spelled-out tree → a value of the model; pydantic's findings in the user's words, at the user's lines."""

import enum
from collections.abc import Iterable
from typing import Any, TypeVar

import pydantic

from orch.manifest.problem import Path, Problem, did_you_mean
from orch.manifest.tree import Mapping, Node, Scalar, Sequence, describe, place_of, plain, walk

M = TypeVar("M", bound=pydantic.BaseModel)


def validate(tree: Mapping, model: type[M]) -> tuple[M | None, list[Problem]]:
    """The value, and every problem.

    Where there are problems, the value is made without the fields that have them, so that rules spanning
    fields can be asked of the rest; it is None when nothing whole is left. Those are pruned from the tree.
    """
    problems: list[Problem] = []
    while True:
        try:
            return model.model_validate(plain(tree)), problems
        except pydantic.ValidationError as error:
            found = error.errors(include_url=False)
        groups: dict[Path, list[Any]] = {}
        for each in filter(lambda one: not _is_consequence(one, found), found):
            groups.setdefault(_known_part(tree, each), []).append(each)
        problems += [problem for path, errors in groups.items() for problem in _problems(tree, path, errors)]
        faulty = _outermost({_present_part(tree, path) for path in groups})
        if () in faulty:
            return None, problems
        for path in sorted(faulty, key=_later_first, reverse=True):
            _prune(tree, path)


def _is_consequence(error: Any, found: list[Any]) -> bool:
    """Pydantic calls a list too short, too, when it is its entries that are wrong."""
    loc = error["loc"]
    return error["type"] == "too_short" and any(
        each["loc"][: len(loc)] == loc for each in found if each != error
    )


def _later_first(path: Path) -> list[tuple[bool, int, str]]:
    """Of a list, the last entries are taken out first, so that the others keep their places."""
    return [(isinstance(step, int), step if isinstance(step, int) else 0, str(step)) for step in path]


def _present_part(tree: Mapping, path: Path) -> Path:
    """Of something that is missing: what it is missing in."""
    return path[: len(list(walk(tree, path)))]


def _outermost(paths: set[Path]) -> set[Path]:
    """Without those that go with another one."""
    return {path for path in paths if not any(path[:length] in paths for length in range(len(path)))}


def _prune(tree: Mapping, path: Path) -> None:
    """Takes out one field, or one entry of a list."""
    steps = list(walk(tree, path))
    parent = steps[-2][1].node if len(steps) > 1 else tree
    match parent, steps[-1][0]:
        case Mapping() as mapping, str(key):
            del mapping.entries[key]
            mapping.is_incomplete = True
        case Sequence() as sequence, int(index):
            del sequence.items[index]
            sequence.is_incomplete = True


def _known_part(tree: Mapping, error: Any) -> Path:
    """Pydantic adds to a path which member of a union it tried; those steps exist in no tree."""
    path = tuple(step for step, _ in walk(tree, error["loc"]))
    return (*path, error["loc"][-1]) if error["type"] == "missing" else path


def _problems(tree: Mapping, path: Path, errors: list[Any]) -> Iterable[Problem]:
    place = place_of(tree, path)
    steps = list(walk(tree, path))
    node: Node = steps[-1][1].node if steps else tree
    if errors[0]["type"] == "missing":
        if not (isinstance(node, Mapping) and node.is_incomplete):
            yield Problem(place, f'"{path[-1]}" is missing', path=path)
        return
    if not isinstance(node, Scalar) and node.is_incomplete:
        return
    said = [each for each in errors if each["type"] == "value_error"]
    if said:
        yield Problem(place, _named(steps, str(said[0]["ctx"]["error"])), path=path)
        return
    wants = " or ".join(dict.fromkeys(_wanted(each) for each in errors))
    hint = ""
    if isinstance(node, Scalar):
        hint = did_you_mean(node.text, [choice for each in errors for choice in _choices(each)])
    yield Problem(place, f'"{_name(steps)}" must be {wants}, not {describe(node)}', hint, path=path)


def _name(steps: list[Any]) -> str:
    return str(next((step for step, _ in reversed(steps) if isinstance(step, str)), "spec"))


def _named(steps: list[Any], what: str) -> str:
    """A validator's sentence says what is wrong; the key before it says of what, where that is one value."""
    is_value = steps and isinstance(steps[-1][1].node, Scalar)
    return f"{_name(steps)}: {what}" if is_value else what


def _wanted(error: Any) -> str:
    context = error.get("ctx", {})
    match error["type"]:
        case "enum" | "literal_error":
            choices = _choices(error)
            return choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"
        case "int_parsing" | "int_type" | "int_from_float":
            return "a whole number"
        case "bool_parsing" | "bool_type":
            return "true or false"
        case "string_type":
            return "text"
        case "greater_than_equal":
            return f"at least {context['ge']}"
        case "less_than_equal":
            return f"at most {context['le']}"
        case "too_short":
            return f"a list of at least {context['min_length']}"
    return str(error["msg"]).removeprefix("Input should be ")


def _choices(error: Any) -> list[str]:
    if error["type"] not in {"enum", "literal_error"}:
        return []
    words = str(error["ctx"]["expected"]).replace(" or ", ", ").split(", ")
    return [word.strip("'") for word in words if word != "''"]


def of_enum(node: Scalar, kind: type[enum.StrEnum], name: str) -> Problem:
    """A word that is none of an enum's."""
    choices = [str(each.value) for each in kind]
    return Problem(
        node.place,
        f'"{name}" must be one of {", ".join(choices)}, not {describe(node)}',
        did_you_mean(node.text, choices),
    )
