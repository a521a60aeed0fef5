"""orchctl logs: what containers say."""

import datetime as dt
import sys
import time
from typing import Any

import click

from cli import completing, one_object, references, session
from cli.exits import NotSo, Wrong


@click.command(cls=one_object.OneObject)
@click.argument("name", shell_complete=completing.names("services", "tasks"), metavar="SERVICE | TASK")
@click.option("-f", "--follow", is_flag=True, help="Go on and print what comes.")
@click.option("--tail", default=-1, metavar="N", help="Only the last N lines.  [default: all]")
@click.option(
    "--since", default="", metavar="DURATION|TIME", help="Only of so long ago, 5m, or from a time on."
)
@click.option("-p", "--previous", is_flag=True, help="Of the container's run before this one.")
@click.option("-c", "--container", default="", help="Only this container.  [default: all]")
@click.option("-t", "--timestamps", is_flag=True, help="With the time at which each line was written.")
@click.option(
    "--stream", type=click.Choice(["stdout", "stderr"]), help="Only what was written there.  [default: both]"
)
@session.connected
def command(
    session_: session.Session,
    name: str,
    follow: bool,
    tail: int,
    since: str,
    previous: bool,
    container: str,
    timestamps: bool,
    stream: str | None,
) -> int:
    """Print the output of a service's tasks, or of one task.

    \b
    orchctl logs web -f --tail 20
    orchctl logs task/web.2 --previous
    """
    from orch.v1 import control_pb2 as pb

    kind, meant = references.name_of(name, references.SERVICE, references.TASK)
    request = pb.LogsRequest(
        namespace=session_.in_namespace(),
        name=meant,
        container=container,
        follow=follow,
        tail=tail,
        since=_moment(since) if since else 0.0,
        previous=previous,
        stream=stream or "",
    )
    is_many = kind is references.SERVICE and "." not in meant
    problems = 0
    for line in session_.client.stream("Logs", request):
        problems += bool(line.problem)
        _print(line, with_name=is_many, with_time=timestamps)
    if problems and not follow:
        raise NotSo("some of the output is missing, see above")
    return 0


def _moment(word: str) -> float:
    """5m, or 2026-11-20T10:00:00Z, or as long as it is clear: 2026-11-20."""
    if not word[:4].isdigit() or "-" not in word:
        return time.time() - session.seconds_of(word)
    try:
        at = dt.datetime.fromisoformat(word)
    except ValueError:
        raise Wrong(f'"{word}" is no time: write 5m, 2026-11-20 or 2026-11-20T10:00:00Z') from None
    return (at if at.tzinfo else at.replace(tzinfo=dt.UTC)).timestamp()


def _print(line: Any, *, with_name: bool, with_time: bool) -> None:
    """Lines of a container go where it wrote them; what is no line of a container goes to stderr."""
    if line.problem:
        sys.stderr.write(f"{line.task or 'logs'}: {line.problem}\n")
        return
    out = sys.stderr if line.stream == "stderr" else sys.stdout
    prefix = (
        f"[{line.task}{'/' + line.container if line.container not in ('', 'main') else ''}] "
        if with_name
        else ""
    )
    if with_time:
        prefix += (
            time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(line.at)) + f".{int(line.at % 1 * 1000):03d}Z "
        )
    out.buffer.write(prefix.encode() + line.text.rstrip(b"\n") + b"\n")
    out.buffer.flush()
