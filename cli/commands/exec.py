"""orchctl exec: a command in a running container."""

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from cli import completing, conversing, one_object, references, session
from cli.exits import Wrong


@click.command(
    cls=one_object.OneObject,
    context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False},
)
@click.option("-i", "--interactive", is_flag=True, help="Pass stdin on.")
@click.option("-t", "--terminal", "--tty", is_flag=True, help="Give the command a terminal.")
@click.option("-c", "--container", default="", help="Which container.  [default: the first]")
@click.option("-e", "--env", "variables", multiple=True, metavar="KEY=VALUE", help="One more variable.")
@click.option("-u", "--user", default="", help="As which user.  [default: the container's]")
@click.option("-w", "--workdir", default="", help="In which directory.  [default: the container's]")
@click.argument("name", shell_complete=completing.names("tasks", "services"), metavar="TASK | SERVICE")
@click.argument("args", nargs=-1, required=True, metavar="COMMAND [ARG…]")
@session.connected
def command(
    session_: session.Session,
    interactive: bool,
    terminal: bool,
    container: str,
    variables: Sequence[str],
    user: str,
    workdir: str,
    name: str,
    args: Sequence[str],
) -> int:
    """Run a command in a container; the exit code is the command's, 127 or 126 when it cannot start.

    A service means its first running task.

    \b
    orchctl exec -it web.2 -- sh
    orchctl exec web -- cat /etc/hostname
    """
    from cli import terminal as user_terminal
    from orch.v1 import control_pb2 as pb

    if terminal and not user_terminal.is_terminal():
        raise Wrong("-t needs a terminal at both ends; leave it out in a pipe")
    outgoing = conversing.Outgoing()
    start = pb.ExecStart(
        namespace=session_.in_namespace(),
        task=references.name_of(name, references.TASK, references.SERVICE)[1],
        container=container,
        args=list(args)[1:] if args[0] == "--" else args,
        terminal=terminal,
        interactive=interactive,
        environment=({"TERM": os.environ.get("TERM") or "xterm"} if terminal else {})
        | _environment(variables),
        user=user,
        working_dir=workdir,
    )
    if terminal:
        start.size.rows, start.size.columns = user_terminal.size()
        user_terminal.watch_size(outgoing)
    if interactive:
        user_terminal.read_into(outgoing)
    with user_terminal.raw() if terminal and interactive else contextlib.nullcontext():
        replies = session_.client.converse("Exec", outgoing.requests(start=start))
        end = conversing.hear(replies, _writer(sys.stdout), _writer(sys.stderr))
    if end.problem:
        sys.stderr.write(f"error: {end.problem}\n")
        return int(end.exit_code) or conversing.NOT_STARTED
    return int(end.exit_code)


def _environment(words: Sequence[str]) -> dict[str, str]:
    wrong = [word for word in words if "=" not in word]
    if wrong:
        raise Wrong(f'"{wrong[0]}" is not KEY=VALUE')
    return dict(word.split("=", 1) for word in words)


def _writer(out: Any) -> Callable[[bytes], None]:
    def write(data: bytes) -> None:
        out.buffer.write(data)
        out.buffer.flush()

    return write
