"""orchctl scale: how many instances."""

import sys

import click

from cli import completing, one_object, options, references, session
from cli.exits import Wrong


@click.command(cls=one_object.OneObject)
@click.argument("service", shell_complete=completing.names("services"))
@click.argument("count", required=False, type=click.IntRange(0, 10_000))
@click.option("--replicas", type=click.IntRange(0, 10_000), help="How many instances.")
@options.waiting
@session.connected
def command(
    session_: session.Session,
    service: str,
    count: int | None,
    replicas: int | None,
    wait: bool,
    timeout: float,
) -> int:
    """Change the number of instances, and nothing else.

    \b
    orchctl scale web --replicas 5
    orchctl scale web 5
    """
    from cli import connection, watching
    from cli.render import changes
    from orch.v1 import control_pb2 as pb
    from orch.v1 import values_pb2

    wanted = replicas if replicas is not None else count
    if wanted is None:
        raise Wrong(f"say how many: orchctl scale {service} --replicas 5")
    _, name = references.name_of(service, references.SERVICE)
    request = pb.ScaleRequest(
        service=values_pb2.ObjectName(namespace=session_.in_namespace(), name=name),
        replicas=wanted,
        request_id=connection.new_request_id(),
    )
    reply = session_.client.call("Scale", request)
    sys.stdout.write(changes.applied(reply))
    return watching.until_serving(session_, watching.goals_of(reply), timeout) if wait else 0
