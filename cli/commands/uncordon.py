"""orchctl uncordon: place tasks on a node again."""

from collections.abc import Sequence

import click

from cli import completing, nodes, session


@click.command()
@click.argument("names", nargs=-1, required=True, shell_complete=completing.names("nodes"), metavar="NODE…")
@session.connected
def command(session_: session.Session, names: Sequence[str]) -> None:
    """Place tasks on a node again.

    Also after a drain.
    """
    nodes.set_availability(session_, names, "active", "takes tasks again")
