"""orchctl taint: keep tasks away from a node."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from cli import completing, nodes, session
from cli.exits import Wrong

if TYPE_CHECKING:
    from orch.v1 import values_pb2

_EFFECTS = ("NoSchedule", "NoExecute")


@click.command()
@click.argument(
    "words",
    nargs=-1,
    required=True,
    shell_complete=completing.names("nodes"),
    metavar="NODE… KEY[=VALUE]:EFFECT… KEY-…",
)
@session.connected
def command(session_: session.Session, words: Sequence[str]) -> None:
    """Set taints of nodes or remove them (KEY-). Tasks stay away that do not tolerate them.

    EFFECT is NoSchedule (nothing new comes) or NoExecute (what runs goes, too).

    \b
    orchctl taint node-3 gpu=yes:NoSchedule
    orchctl taint node-3 gpu-
    """
    names, changes = nodes.split_words(words)
    given = [_taint(word) for word in changes if not word.endswith("-")]
    removed = [word.removesuffix("-") for word in changes if word.endswith("-")]
    for name in names:
        node = nodes.change(session_, name, set_taints=given, remove_taints=removed)
        found = [
            f"{each.key}{'=' + each.value if each.value else ''}:{each.effect}" for each in node.spec.taints
        ]
        sys.stdout.write(f"node/{name} {','.join(found) or 'has no taints'}\n")


def _taint(word: str) -> "values_pb2.Taint":
    from orch.v1 import values_pb2

    head, colon, effect = word.partition(":")
    key, _, value = head.partition("=")
    if not colon or effect not in _EFFECTS:
        raise Wrong(f'"{word}" is not KEY[=VALUE]:EFFECT with EFFECT one of {", ".join(_EFFECTS)}')
    return values_pb2.Taint(key=key, value=value, effect=effect)
