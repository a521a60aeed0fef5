"""orchctl drain: everything moves away from a node."""

import sys
import time
from collections.abc import Sequence

import click

from cli import completing, nodes, options, session
from cli.exits import INTERRUPTED, NotSo


@click.command()
@click.argument("names", nargs=-1, required=True, shell_complete=completing.names("nodes"), metavar="NODE…")
@options.waiting
@session.connected
def command(session_: session.Session, names: Sequence[str], wait: bool, timeout: float) -> int:
    """Move everything away from a node, and wait until it is empty.

    Nothing new is placed there until: orchctl uncordon NODE.
    """
    nodes.set_availability(session_, names, "drained", "is being drained" if wait else "drained")
    deadline = time.monotonic() + timeout
    for name in map(nodes.name_of, names) if wait else ():
        try:
            _wait_until_empty(session_, name, deadline)
        except KeyboardInterrupt:
            sys.stderr.write(f"\n{name} goes on draining by itself; stop it: orchctl uncordon {name}\n")
            return INTERRUPTED
    return 0


def _wait_until_empty(session_: session.Session, name: str, deadline: float) -> None:
    said, left = "", 0
    for reply in session_.watch(["nodes"], [name], namespace="", seconds=deadline - time.monotonic()):
        for each in reply.changed:
            left = each.node.tasks
            line = f"{name}: {left} task{'s' if left != 1 else ''} left"
            if left and line != said:
                said = line
                sys.stdout.write(line + "\n")
                sys.stdout.flush()
        if reply.changed and not left:
            sys.stdout.write(f"{name} is empty\n")
            return
    raise NotSo(f"{name} is not empty in time: {left} left; what holds them: orchctl events node/{name}")
