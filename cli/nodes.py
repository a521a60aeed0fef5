"""What the commands about nodes share: one change of one node."""

import sys
from collections.abc import Sequence
from typing import Any

from cli import references, session
from cli.exits import Wrong


def name_of(word: str) -> str:
    """`node-1` and `node/node-1` mean the same."""
    return references.name_of(word, references.NODE)[1]


def change(session_: session.Session, name: str, **wanted: Any) -> Any:
    """The node as it is after the change."""
    from orch.v1 import control_pb2 as pb

    return session_.client.call("ChangeNode", pb.ChangeNodeRequest(name=name, **wanted)).node


def set_availability(session_: session.Session, words: Sequence[str], availability: str, said: str) -> None:
    """Of every node that is named."""
    for word in words:
        name = name_of(word)
        change(session_, name, availability=availability)
        sys.stdout.write(f"node/{name} {said}\n")
    sys.stdout.flush()


def split_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """`node n1 n2 a=b c-` → nodes, and what is to be done to them."""
    rest = list(words)
    if rest and rest[0] in {"node", "nodes", "no"}:
        rest = rest[1:]
    changes = [word for word in rest if _is_change(word)]
    names = [name_of(word) for word in rest if not _is_change(word)]
    if not names or not changes:
        raise Wrong("name nodes and changes, for example: node-3 ring=canary old-")
    return names, changes


def _is_change(word: str) -> bool:
    return "=" in word or word.endswith("-") or (":" in word and "/" not in word)
