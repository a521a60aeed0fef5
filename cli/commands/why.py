"""orchctl why: both ways, why a task waits and why it runs where it does."""

import sys
import time

import click

from cli import completing, one_object, references, session


@click.command(cls=one_object.OneObject)
@click.argument(
    "name", shell_complete=completing.names("services", "tasks"), metavar="TASK | SERVICE | node/NAME"
)
@session.connected
def command(session_: session.Session, name: str) -> None:
    """Why a task waits, with the smallest change that would help; or why it runs where it does.

    \b
    orchctl why web.2
    orchctl why web
    """
    from cli.render import whys
    from orch.v1 import control_pb2 as pb

    _, meant = references.name_of(name, references.TASK, references.SERVICE, references.NODE)
    reply = session_.client.call("Why", pb.WhyRequest(namespace=session_.in_namespace(), name=meant))
    sys.stdout.write(whys.answer(reply, time.time()))
