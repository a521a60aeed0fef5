"""orchctl wait: until something is true."""

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import click

from cli import completing, references, session
from cli.exits import NotSo, Wrong

_ALSO = {"delete": "deleted", "ready": "ready", "available": "ready", "complete": "status=Complete"}
"""As kubectl says it."""

Condition = Callable[[Any], bool]
"""Of a message `Object`."""


@click.command()
@click.argument(
    "what",
    nargs=-1,
    required=True,
    shell_complete=completing.kinds_and_names("services"),
    metavar="KIND/NAME…",
)
@click.option(
    "--for",
    "condition",
    default="ready",
    metavar="CONDITION",
    help="ready, deleted, status=WORD or jsonpath={PATH}=VALUE.  [default: ready]",
)
@click.option("--timeout", default="5m", metavar="DURATION", help="How long.  [default: 5m]")
@session.connected
def command(session_: session.Session, what: Sequence[str], condition: str, timeout: str) -> None:
    """Wait until something is true of all that are named.

    \b
    orchctl wait svc/web
    orchctl wait node/node-3 --for ready --timeout 30s
    orchctl wait svc/web --for deleted
    orchctl wait svc/web --for jsonpath='{.status.ready}'=3
    """
    condition = _ALSO.get(condition.lower().removeprefix("condition="), condition)
    groups = references.meant(what if "/" in what[0] or len(what) > 1 else [f"svc/{what[0]}"])
    seconds = session.seconds_of(timeout)
    deadline = time.monotonic() + seconds
    for kind, names in groups:
        if not names:
            raise Wrong(f"say which {kind.plural}")
        for name in names:
            _wait(session_, kind, name, condition, deadline - time.monotonic(), seconds)


def _wait(
    session_: session.Session, kind: references.Kind, name: str, condition: str, left: float, whole: float
) -> None:
    is_so = condition_of(condition)
    is_there = False
    for reply in session_.watch(
        [kind.plural], [name], namespace=None if kind.has_namespace else "", seconds=max(left, 0.1)
    ):
        is_there = (is_there or bool(reply.changed)) and not _is_removed(reply, kind, name)
        is_known = is_there or reply.synced or bool(reply.removed)
        if condition == "deleted" and is_known and not is_there:
            sys.stdout.write(f"{kind.singular}/{name} is deleted\n")
            return
        if condition != "deleted" and any(is_so(each) for each in reply.changed):
            sys.stdout.write(f"{kind.singular}/{name} is {condition}\n")
            return
    what = f"{kind.singular}/{name} is not {condition} after {whole:g} s"
    raise NotSo(
        f"{what}; see: orchctl describe {kind.singular}/{name}" if is_there else f"{what}: it is not there"
    )


def _is_removed(reply: Any, kind: references.Kind, name: str) -> bool:
    """Of a task any attempt counts that bears the name."""
    names = [gone.name for gone in reply.removed]
    return any(each == name or (kind is references.TASK and each.startswith(f"{name}.")) for each in names)


def condition_of(text: str) -> Condition:
    """Raises Wrong."""
    if text in {"ready", "deleted"}:
        return _is_ready
    word, equals, value = text.partition("=")
    if word == "status" and equals:
        return lambda each: _status(each).lower() == value.lower()
    if word == "jsonpath" and "}=" in value:
        path, _, wanted = value.rpartition("}=")
        return lambda each: _value_at(path + "}", each) == wanted
    raise Wrong(
        f'cannot wait for "{text}"; write ready, deleted, status=Running or jsonpath={{.status.ready}}=3'
    )


def _is_ready(object_: Any) -> bool:
    match object_.WhichOneof("kind"):
        case "service":
            return bool(object_.service.status == "Running")
        case "task":
            return bool(object_.task.ready)
        case "node":
            return bool(object_.node.status.condition == "ready")
    return True


def _status(object_: Any) -> str:
    from cli.render import words

    match object_.WhichOneof("kind"):
        case "service":
            return str(object_.service.status)
        case "task":
            return words.state(object_.task)
        case "node":
            return str(object_.node.status.condition)
    return ""


def _value_at(path: str, object_: Any) -> str:
    from cli.render import documents, jsonpath

    try:
        return jsonpath.evaluate(path, documents.document(object_))
    except jsonpath.BadPath as error:
        raise Wrong(str(error)) from None
