"""orchctl diff: what apply would change."""

from collections.abc import Sequence

import click

from cli import options, session
from cli.commands import plan


@click.command()
@options.FILES
@click.option("--prune", is_flag=True, help="As apply --prune would.")
@click.option("--set", "set_name", default="", metavar="NAME", help="As in apply.")
@session.connected
def command(session_: session.Session, files: Sequence[str], prune: bool, set_name: str) -> int:
    """Say what apply would change, field by field.

    Exit code 0: no changes, 1: changes, 2 or more: an error.
    """
    return plan.told(session_, files, prune=prune, set_name=set_name, shows_decisions=False)
