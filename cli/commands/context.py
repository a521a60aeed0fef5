"""orchctl context: which clusters are known, and which one is meant."""

import sys

import click

from cli import context as contexts
from cli.render import table


@click.group()
def command() -> None:
    """Which clusters are known, and which one is meant."""


@command.command("ls")
def list_() -> None:
    """List them; * marks the one in use."""
    try:
        current = contexts.current().name
    except contexts.ContextError:
        current = ""
    known = map(contexts.load, contexts.names())
    rows = [["*" if each.name == current else "", each.name, ",".join(each.addresses)] for each in known]
    rows.insert(0, ["", "NAME", "ADDRESSES"])
    sys.stdout.write(table.lay_out(rows))


@command.command()
@click.argument("name")
def use(name: str) -> None:
    """Mean this one from now on."""
    contexts.use(name)
    sys.stdout.write(f"context {name} is in use\n")


@command.command()
@click.argument("name")
@click.option(
    "--address", "addresses", multiple=True, required=True, metavar="HOST:PORT", help="[repeatable]"
)
@click.option(
    "--ca", required=True, type=click.Path(exists=True, resolve_path=True), help="The cluster's CA."
)
@click.option(
    "--cert", required=True, type=click.Path(exists=True, resolve_path=True), help="Your certificate."
)
@click.option("--key", required=True, type=click.Path(exists=True, resolve_path=True), help="Your key.")
def add(name: str, addresses: tuple[str, ...], ca: str, cert: str, key: str) -> None:
    """Make a cluster known, and mean it from now on."""
    contexts.save(name, addresses, ca, cert, key)
    contexts.use(name)
    sys.stdout.write(f"context {name} is in use\n")


@command.command("rm")
@click.argument("name")
def remove(name: str) -> None:
    """Forget a cluster; its files of certificates stay."""
    contexts.load(name)
    contexts.remove(name)
    sys.stdout.write(f"context {name} is forgotten\n")
