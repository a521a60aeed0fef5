"""orchctl net: the network between nodes and containers."""

import sys
from typing import Any

import click

from cli import session
from cli.exits import NotSo

_CHECK_SECONDS = 60.0


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Look after the network between nodes and containers."""


@command.command("check")
@click.option(
    "--slow", default="50ms", metavar="DURATION", help="From when on an answer between nodes is slow.  [50ms]"
)
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", help="How to show it.")
@session.connected
def check(session_: session.Session, slow: str, output: str) -> None:
    """Let every node try to reach every other, and say what fails and why. The exit code is 1 when something does.

    Tried are the nodes themselves, containers (small packets, the largest that must pass, TCP), names, virtual
    addresses and published ports. It takes some seconds and disturbs nobody.

    \b
    orchctl net check
    orchctl net check -o json
    """
    from cli.render import net_matrix
    from orch.v1 import control_pb2 as pb

    request = pb.NetCheckRequest(slow=session.seconds_of(slow))
    reply = session_.client.call("NetCheck", request, timeout=_CHECK_SECONDS)
    sys.stdout.write(_json(reply) if output == "json" else net_matrix.matrix(reply))
    sys.stdout.flush()
    if output == "table":
        sys.stderr.write("".join(f"warning: {each}\n" for each in reply.warnings))
    if reply.problems:
        raise NotSo("\n".join(f"error: {each}" for each in reply.problems) if output == "table" else "")


def _json(reply: Any) -> str:
    import json

    from google.protobuf import json_format

    return (
        json.dumps(json_format.MessageToDict(reply, always_print_fields_with_no_presence=True), indent=2)
        + "\n"
    )
