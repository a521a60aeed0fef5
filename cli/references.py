"""Words on the command line → which objects are meant: `svc/web`, `nodes`, `task/web.2`."""

from collections.abc import Sequence
from dataclasses import dataclass

from cli.exits import Wrong


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object that can be asked for."""

    singular: str
    plural: str
    """As the API says it."""
    short: tuple[str, ...] = ()
    has_namespace: bool = True


SERVICE = Kind("service", "services", ("svc",))
TASK = Kind("task", "tasks", ("po", "pod", "pods"))
NODE = Kind("node", "nodes", ("no",), has_namespace=False)
CONFIG = Kind("config", "configs", ("cm",))
SECRET = Kind("secret", "secrets", ("sec",))
NAMESPACE = Kind("namespace", "namespaces", ("ns",), has_namespace=False)
EVENT = Kind("event", "events", ("ev",))
REVISION = Kind("revision", "revisions", ("rev",))
ENDPOINTS = Kind("endpoints", "endpoints", ("ep", "endpoint"))

KINDS = (SERVICE, TASK, NODE, CONFIG, SECRET, NAMESPACE, EVENT, REVISION, ENDPOINTS)
_BY_WORD = {word: kind for kind in KINDS for word in (kind.singular, kind.plural, *kind.short)}
_LATER = {"job", "jobs", "cj", "cronjob", "cronjobs", "volume", "volumes", "vol"}


def kind_of(word: str) -> Kind:
    """The kind that a word names, in any of its forms. Raises Wrong."""
    found = _BY_WORD.get(word.lower())
    if found:
        return found
    if word.lower() in _LATER:
        raise Wrong(f"{word} is not supported yet")
    from orch.manifest.problem import did_you_mean

    near = did_you_mean(word, _BY_WORD) or f"there are {', '.join(kind.plural for kind in KINDS)}"
    raise Wrong(f'there is no kind "{word}" — {near}')


def is_kind(word: str) -> bool:
    """It names a kind, in any of its forms."""
    return word.lower() in _BY_WORD


def meant(words: Sequence[str]) -> list[tuple[Kind, tuple[str, ...]]]:
    """`svc web api`, `svc/web node/n1`, `svc,nodes` → kinds and names; no name is all of a kind."""
    if not words:
        raise Wrong(f"say what: {', '.join(kind.plural for kind in KINDS)}")
    if "/" not in words[0]:
        kinds = [SERVICE, TASK] if words[0] == "all" else [kind_of(word) for word in words[0].split(",")]
        mixed = [word for word in words[1:] if "/" in word]
        if mixed:
            raise Wrong(f"write either {words[0]} NAME … or KIND/NAME …, not both ({mixed[0]})")
        return [(kind, tuple(words[1:])) for kind in kinds]
    found: dict[Kind, list[str]] = {}
    for word in words:
        kind, name = _split(word)
        found.setdefault(kind, []).append(name)
    return [(kind, tuple(names)) for kind, names in found.items()]


def name_of(word: str, *kinds: Kind) -> tuple[Kind, str]:
    """One object of one of the kinds; a bare name means the first of them. Raises Wrong."""
    if "/" not in word:
        return kinds[0], word
    kind, name = _split(word)
    if kind not in kinds:
        raise Wrong(f"{word} is a {kind.singular}; this is for {' and '.join(each.plural for each in kinds)}")
    return kind, name


def _split(word: str) -> tuple[Kind, str]:
    kind, _, name = word.partition("/")
    if not kind or not name or "/" in name:
        raise Wrong(f'"{word}" is not KIND/NAME')
    return kind_of(kind), name
