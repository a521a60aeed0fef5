"""orchctl cordon: place nothing new on a node."""

from collections.abc import Sequence

import click

from cli import completing, nodes, session


@click.command()
@click.argument("names", nargs=-1, required=True, shell_complete=completing.names("nodes"), metavar="NODE…")
@session.connected
def command(session_: session.Session, names: Sequence[str]) -> None:
    """Place nothing new on a node.

    What it has stays. Undo: orchctl uncordon NODE.
    """
    nodes.set_availability(session_, names, "cordoned", "cordoned")
