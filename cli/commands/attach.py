"""orchctl attach: the main process of a container, watched and typed into."""

import contextlib
import sys
from collections.abc import Callable
from typing import Any

import click

from cli import completing, conversing, one_object, references, session
from cli.exits import NotSo, Wrong

_DETACH = b"\x10\x11"
"""Ctrl-P Ctrl-Q, as Docker has it."""


@click.command(cls=one_object.OneObject)
@click.option(
    "-i",
    "--interactive",
    is_flag=True,
    help="Write to its standard input (stdin or tty: true in its manifest).",
)
@click.option(
    "-t", "--terminal", "--tty", is_flag=True, help="Hand over this terminal, key by key (tty: true)."
)
@click.option("-c", "--container", default="", help="Which container.  [default: the first]")
@click.argument("name", shell_complete=completing.names("tasks", "services"), metavar="TASK | SERVICE")
@session.connected
def command(session_: session.Session, interactive: bool, terminal: bool, container: str, name: str) -> int:
    """Show what a container's main process says from now on; the exit code is the process's.

    Leave with Ctrl-P Ctrl-Q when typing into it, with Ctrl-C otherwise: the process goes on.

    \b
    orchctl attach web.2
    orchctl attach -it console
    echo hello | orchctl attach -i inbox
    """
    from cli import terminal as user_terminal
    from orch.v1 import control_pb2 as pb

    if terminal and not interactive:
        raise Wrong("-t alone does nothing: -it types into the process, without both it is watched")
    start = pb.AttachStart(
        namespace=session_.in_namespace(),
        task=references.name_of(name, references.TASK, references.SERVICE)[1],
        container=container,
        interactive=interactive,
    )
    outgoing = _Watchful(session_.client.close)
    is_terminal = terminal and user_terminal.is_terminal()
    if is_terminal:
        start.size.rows, start.size.columns = user_terminal.size()
        user_terminal.watch_size(outgoing)
    if interactive:
        user_terminal.read_into(outgoing)
    with user_terminal.raw() if is_terminal else contextlib.nullcontext():
        replies = session_.client.converse("Exec", outgoing.requests(attach=start))
        try:
            end = conversing.hear(replies, _writer(sys.stdout), _writer(sys.stderr))
        except Exception:
            if not outgoing.has_detached:
                raise
            end = None
    if end is None:
        sys.stderr.write(f"detached from {name}; it goes on\n")
        return 0
    if end.problem:
        raise NotSo(f"error: {end.problem}")
    return int(end.exit_code)


class _Watchful(conversing.Outgoing):
    """Ends the call when the keys that mean it are typed one after the other."""

    def __init__(self, hang_up: Callable[[], None]) -> None:
        super().__init__()
        self.has_detached = False
        self._hang_up = hang_up
        self._last = b""

    def put(self, chunk: bytes | None) -> None:
        if chunk is None:
            return  # the end of our input is not the end of the process's
        if _DETACH in self._last + chunk:
            self.has_detached = True
            self._hang_up()
            return
        self._last = chunk[-1:]
        super().put(chunk)


def _writer(out: Any) -> Any:
    def write(data: bytes) -> None:
        out.buffer.write(data)
        out.buffer.flush()

    return write
