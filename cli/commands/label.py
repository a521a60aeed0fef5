"""orchctl label: words about a node, for constraints, spreading and canaries."""

import sys
from collections.abc import Sequence

import click

from cli import completing, nodes, session
from cli.render import words as rendered


@click.command()
@click.argument(
    "words",
    nargs=-1,
    required=True,
    shell_complete=completing.names("nodes"),
    metavar="NODE… KEY=VALUE… KEY-…",
)
@click.option("--overwrite", is_flag=True, hidden=True, help="Labels are always overwritten.")
@session.connected
def command(session_: session.Session, words: Sequence[str], overwrite: bool) -> None:  # noqa: ARG001
    """Set labels of nodes (KEY=VALUE) or remove them (KEY-).

    \b
    orchctl label node-3 ring=canary
    orchctl label node node-1 node-2 zone=a ring-
    """
    names, changes = nodes.split_words(words)
    given = dict(word.split("=", 1) for word in changes if "=" in word)
    removed = [word.removesuffix("-") for word in changes if "=" not in word]
    for name in names:
        node = nodes.change(session_, name, set_labels=given, remove_labels=removed)
        sys.stdout.write(f"node/{name} {rendered.labels(node.spec.labels)}\n")
