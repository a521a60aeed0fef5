"""orchctl node: which nodes there are, how one joins, how one is forgotten."""

import sys
import time

import click

from cli import completing, nodes, session
from cli.render import table, words


@click.group()
def command() -> None:
    """List nodes, let one join, forget one."""


@command.command("ls")
@click.option(
    "-o", "--output", default="table", type=click.Choice(["table", "wide"]), help="How to show them."
)
@session.connected
def list_(session_: session.Session, output: str) -> None:
    """List nodes."""
    found = [each.node for each in session_.get(["nodes"], namespace="")]
    sys.stdout.write(table.table("node", found, table.Style(time.time(), output == "wide")))


@command.command("join-token")
@click.option(
    "--valid-for", default="1h", metavar="DURATION", show_default=True, help="How long it can be used."
)
@session.connected
def join_token(session_: session.Session, valid_for: str) -> None:
    """Print a token with which a node may join once or more, until it expires."""
    from orch.v1 import control_pb2 as pb

    reply = session_.client.call("JoinToken", pb.JoinTokenRequest(valid_for=session.seconds_of(valid_for)))
    left = words.span(reply.expires_at - time.time())
    sys.stdout.write(reply.token + "\n")
    sys.stderr.write(
        f"on the new node, within {left}: orch-agent --join {reply.address or 'ADDRESS'} --token TOKEN\n"
    )


@command.command("rm")
@click.argument("names", nargs=-1, required=True, shell_complete=completing.names("nodes"), metavar="NODE…")
@session.connected
def remove(session_: session.Session, names: tuple[str, ...]) -> None:
    """Forget nodes that are down for good; their tasks go elsewhere."""
    for name in map(nodes.name_of, names):
        nodes.change(session_, name, remove=True)
        sys.stdout.write(f"node/{name} forgotten\n")
