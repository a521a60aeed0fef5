"""orchctl top: what tasks and nodes use."""

import sys
from collections.abc import Sequence
from typing import Any

import click

from cli import completing, references, session
from cli.exits import NotSo, Wrong
from cli.render import usage

_CLEAR = "\x1b[H\x1b[2J\x1b[3J"


@click.command()
@click.argument(
    "what",
    nargs=-1,
    shell_complete=completing.kinds_and_names("tasks"),
    metavar="[tasks|nodes] [NAME…]",
)
@click.option("-A", "--all-namespaces", is_flag=True, help="Of all namespaces.")
@click.option("-w", "--watch", is_flag=True, help="Go on, and show it again and again.")
@click.option("--containers", is_flag=True, help="Each container of a task, too.")
@click.option(
    "--sort", "by", type=click.Choice(list(usage.SORTED_BY)), default="name", help="By what.  [name]"
)
@click.option("--interval", default="1s", metavar="DURATION", help="Over how long rates are measured.  [1s]")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", help="How to show it.")
@click.option("--no-headers", is_flag=True, help="Only the rows.")
@session.connected
def command(
    session_: session.Session,
    what: Sequence[str],
    all_namespaces: bool,
    watch: bool,
    containers: bool,
    by: str,
    interval: str,
    output: str,
    no_headers: bool,
) -> None:
    """Show cpu, memory, processes, input and output of tasks or nodes.

    CPU is in thousandths of a core, CPU% and MEM% are of the limit (of a node: of all it has). MEMORY is what
    could not be given back at once. WAITS says how much of the last 10 s something waited for cpu, memory or io.

    \b
    orchctl top
    orchctl top web --containers
    orchctl top nodes -w
    """
    from orch.v1 import control_pb2 as pb

    kind, names = _meant(what)
    request = pb.TopRequest(
        kind=kind.plural,
        namespace="" if all_namespaces else session_.in_namespace(),
        names=names,
        interval=session.seconds_of(interval),
    )
    while True:
        reply = session_.client.call("Top", request)
        if output == "json":
            text = _json(reply)
        else:
            text = usage.rows(
                kind.plural,
                reply.usages,
                by=by,
                with_containers=containers,
                with_namespace=all_namespaces,
                heading=not no_headers,
            )
        sys.stdout.write((_CLEAR if watch and sys.stdout.isatty() else "") + text)
        sys.stdout.flush()
        if not watch:
            break
        sys.stderr.write("".join(f"warning: {problem}\n" for problem in reply.problems))
    if reply.problems:
        raise NotSo("\n".join(f"error: {problem}" for problem in reply.problems))


def _meant(what: Sequence[str]) -> tuple[references.Kind, list[str]]:
    """`nodes n1`, `web.2`, `task/web.2 task/web.3`; nothing is all tasks."""
    if not what:
        return references.TASK, []
    if "/" not in what[0] and not references.is_kind(what[0]):
        return references.TASK, list(what)
    groups = references.meant(what)
    kinds = {kind for kind, _ in groups}
    if len(kinds) > 1 or not kinds <= {references.TASK, references.NODE, references.SERVICE}:
        raise Wrong("top is of tasks or of nodes: orchctl top nodes, orchctl top web.2")
    kind = kinds.pop()
    names = [name for _, found in groups for name in found]
    return (references.NODE if kind is references.NODE else references.TASK), names


def _json(reply: Any) -> str:
    import json

    from google.protobuf import json_format

    items = [
        json_format.MessageToDict(each, always_print_fields_with_no_presence=True) for each in reply.usages
    ]
    return json.dumps({"kind": "List", "items": items}, indent=2) + "\n"
