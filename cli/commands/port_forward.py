"""orchctl port-forward: local ports that lead into a task, wherever it runs."""

import sys
from collections.abc import Sequence

import click

from cli import completing, one_object, references, session


@click.command(cls=one_object.OneObject)
@click.option(
    "--address",
    "addresses",
    default="localhost",
    metavar="ADDRESS[,ADDRESS…]",
    help="Listen here.  [localhost; 0.0.0.0 is everywhere]",
)
@click.argument("name", shell_complete=completing.names("services", "tasks"), metavar="SERVICE | TASK")
@click.argument("ports", nargs=-1, required=True, metavar="[LOCAL:]REMOTE…")
@session.connected
def command(session_: session.Session, addresses: str, name: str, ports: Sequence[str]) -> int:
    """Lead local ports into a task, through the control plane: no port of its node is open. Ctrl-C ends it.

    REMOTE is a number or the name of a port; without LOCAL it is the local port too, and :REMOTE takes any that
    is free. A service means one of its ready tasks, and another one when that is gone. What listens on 127.0.0.1
    of the task only is reached too.

    \b
    orchctl port-forward svc/web 8080:80
    orchctl port-forward web.2 :80 9090:metrics
    """
    import asyncio

    from cli import forwarded, forwarding
    from orch.v1 import control_pb2 as pb

    wanted = [forwarded.parse(each) for each in ports]
    start = pb.ForwardStart(
        namespace=session_.in_namespace(),
        name=references.name_of(name, references.SERVICE, references.TASK)[1],
    )

    def say(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    def complain(line: str) -> None:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()

    async def serve() -> None:
        work = forwarding.Forwarding(session_.client, start, say, complain)
        await work.serve(wanted, [each for each in addresses.split(",") if each])

    asyncio.run(serve())
    return 0
