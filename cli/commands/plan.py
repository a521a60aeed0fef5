"""orchctl plan: what apply would change, and where tasks would go."""

import sys
from collections.abc import Sequence

import click

from cli import options, session
from cli.exits import NOT_SO, OK, Wrong


@click.command()
@options.FILES
@click.option("--prune", is_flag=True, help="As apply --prune would.")
@click.option("--set", "set_name", default="", metavar="NAME", help="As in apply.")
@session.connected
def command(session_: session.Session, files: Sequence[str], prune: bool, set_name: str) -> int:
    """Say what apply would change, and where tasks would go.

    Exit code 0: no changes, 1: changes, 2 or more: an error.
    """
    return told(session_, files, prune=prune, set_name=set_name, shows_decisions=True)


def told(
    session_: session.Session, files: Sequence[str], *, prune: bool, set_name: str, shows_decisions: bool
) -> int:
    """Prints the changes; 1 when there are any."""
    from cli import files as read
    from cli import requests
    from cli.render import changes

    if not files:
        raise Wrong("say what to compare: -f web.yaml")
    documents = read.documents(files, session_.namespace)
    if set_name:
        documents = [requests.in_set(each, set_name) for each in documents]
    reply = session_.client.call("Apply", requests.apply(documents, dry_run=True, prune=prune))
    if not shows_decisions:
        for each in reply.objects:
            each.ClearField("decisions")
    for warning in reply.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    sys.stdout.write(changes.planned(reply))
    return NOT_SO if changes.has_changes(reply) else OK
