"""orchctl apply: what the file says becomes so."""

import sys
from collections.abc import Sequence

import click

from cli import options, session
from cli.exits import Wrong


@click.command()
@options.FILES
@click.option(
    "--dry-run",
    is_flag=False,
    flag_value="server",
    default="none",
    type=click.Choice(["none", "client", "server", "true", "false"]),
    metavar="[=true|false]",
    help="Only say what would change, and where tasks would go.",
)
@click.option("--prune", is_flag=True, help="Also delete what an earlier apply of the same --set named.")
@click.option(
    "--set", "set_name", default="", metavar="NAME", help="Label the objects as one set, for --prune."
)
@options.waiting
@session.connected
def command(
    session_: session.Session,
    files: Sequence[str],
    dry_run: str,
    prune: bool,
    set_name: str,
    wait: bool,
    timeout: float,
) -> int:
    """Create or change what files describe: all of it or nothing.

    Returns 0 only when the new version is serving, unless --wait=false.

    \b
    orchctl apply -f web.yaml
    orchctl apply -f manifests/ --wait=false
    cat web.yaml | orchctl apply -f -
    """
    from cli import files as read
    from cli import requests, watching
    from cli.render import changes

    if not files:
        raise Wrong("say what to apply: orchctl apply -f web.yaml")
    if prune and not set_name:
        raise Wrong("--prune needs --set NAME: only what was applied with the same set is deleted")
    documents = read.documents(files, session_.namespace)
    if set_name:
        documents = [requests.in_set(each, set_name) for each in documents]
    only_asks = dry_run not in {"none", "false"}  # the control plane is asked also where kubectl would not
    reply = session_.client.call("Apply", requests.apply(documents, dry_run=only_asks, prune=prune))
    for warning in reply.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    if only_asks:
        sys.stdout.write(changes.planned(reply))
        return 0
    sys.stdout.write(changes.applied(reply))
    sys.stdout.flush()
    return watching.until_serving(session_, watching.goals_of(reply), timeout) if wait else 0
