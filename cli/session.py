"""What a command works with: the cluster that is meant, the namespace, and the calls most commands make."""

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from cli import completing, context
from cli.exits import Wrong

if TYPE_CHECKING:
    from cli.connection import Client

OLD_SECONDS = 8.0
"""A control plane that has not heard from its store for longer may show what is no longer so."""


@dataclass(slots=True)
class Session:
    """Of one run of orchctl."""

    context_name: str = ""
    namespace: str = ""
    """As given with -n; empty when it was not."""
    _client: "Client | None" = None
    _has_warned: bool = field(default=False)

    @property
    def client(self) -> "Client":
        """Dials at its first call."""
        if self._client is None:
            from cli import connection

            known = context.current(self.context_name)
            self._client = connection.open_client(
                known.addresses, known.ca, known.certificate, known.key, known.server_name
            )
        return self._client

    def in_namespace(self) -> str:
        """The namespace that names without one are in."""
        return self.namespace or "default"

    def get(
        self,
        kinds: Sequence[str],
        names: Sequence[str] = (),
        *,
        namespace: str | None = None,
        selector: str = "",
        finished: bool = False,
    ) -> list[Any]:
        """Messages `Object`, as they are now. A namespace of "" is all of them."""
        from orch.v1 import control_pb2 as pb

        where = self.in_namespace() if namespace is None else namespace
        request = pb.GetRequest(kinds=kinds, namespace=where, names=names, selector=selector, all=finished)
        reply = self.client.call("Get", request)
        self.warn_if_old(reply.age)
        return list(reply.objects)

    def watch(
        self,
        kinds: Sequence[str],
        names: Sequence[str] = (),
        *,
        namespace: str | None = None,
        selector: str = "",
        finished: bool = False,
        seconds: float | None = None,
    ) -> Iterator[Any]:
        """Messages `WatchReply`: first what there is, then what changes."""
        from orch.v1 import control_pb2 as pb

        where = self.in_namespace() if namespace is None else namespace
        request = pb.GetRequest(kinds=kinds, namespace=where, names=names, selector=selector, all=finished)
        return self.client.stream("Watch", request, timeout=seconds)

    def warn_if_old(self, age: float) -> None:
        """Say once that what is shown may be old."""
        if age > OLD_SECONDS and not self._has_warned:
            self._has_warned = True
            message = (
                f"warning: the control plane last heard from its store {age:.0f} s ago; this may be old\n"
            )
            sys.stderr.write(message)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()


def connected(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command `--context` and `-n`, and as its first argument the Session they make."""

    @click.option(
        "--context",
        "context_name",
        default="",
        metavar="NAME",
        shell_complete=completing.contexts,
        help="Which cluster (orchctl context).",
    )
    @click.option(
        "-n",
        "--namespace",
        default="",
        metavar="NAME",
        shell_complete=completing.names("namespaces"),
        help="Which namespace.  [default: default]",
    )
    @functools.wraps(command)
    def wrapped(context_name: str, namespace: str, **arguments: Any) -> Any:
        given = click.get_current_context().obj
        session = given if isinstance(given, Session) else Session(context_name, namespace)
        try:
            return command(session, **arguments)
        finally:
            session.close()

    return wrapped


def selector_of(text: str) -> str:
    """What stands after -l, when it can be understood. Raises Wrong."""
    if text:
        from orch.model import selector

        try:
            selector.parse(text)
        except ValueError as error:
            raise Wrong(f"-l: {error}") from None
    return text


def seconds_of(text: str) -> float:
    """`5m`, `90s`, `90` → seconds. Raises Wrong."""
    from orch.model.quantity import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise Wrong(str(error)) from None
