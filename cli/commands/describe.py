"""orchctl describe: everything about one object."""

import sys
import time
from collections.abc import Sequence
from typing import Any

import click

from cli import completing, references, session
from cli.exits import Missing
from cli.render import details


@click.command()
@click.argument(
    "what",
    nargs=-1,
    required=True,
    shell_complete=completing.kinds_and_names("services"),
    metavar="KIND NAME | KIND/NAME | SERVICE",
)
@session.connected
def command(session_: session.Session, what: Sequence[str]) -> None:
    """What it is, how it does, why, and what happened to it.

    \b
    orchctl describe web
    orchctl describe task/web.2
    orchctl describe node node-1
    """
    groups = references.meant(what if "/" in what[0] or len(what) > 1 else [_guess(what[0])])
    parts = [_text(session_, kind, each) for kind, names in groups for each in _found(session_, kind, names)]
    sys.stdout.write("\n".join(parts))


def _guess(word: str) -> str:
    """`web.2` is a task, any other bare name a service."""
    return f"task/{word}" if "." in word else f"service/{word}"


def _found(session_: session.Session, kind: references.Kind, names: Sequence[str]) -> list[Any]:
    where = None if kind.has_namespace else ""
    found = session_.get([kind.plural], names, namespace=where, finished=kind is references.TASK)
    if not found:
        raise Missing(f"there is no {kind.singular} {' '.join(names)}; see: orchctl get {kind.plural} -A")
    if kind is references.TASK:
        found.sort(key=lambda each: (each.task.task.id.slot, -each.task.task.id.attempt))
        found = found[:1] if any("." in name for name in names) else found
    return found


def _text(session_: session.Session, kind: references.Kind, found: Any) -> str:
    now = time.time()
    match kind:
        case references.SERVICE:
            name = found.service.service.name
            tasks = session_.get(["tasks"], [name.name], namespace=name.namespace)
            events = _events(session_, name.namespace, f"service/{name.name}", f"task/{name.name}.")
            behind = session_.get(["endpoints"], [name.name], namespace=name.namespace)
            reached = behind[0].endpoints if behind else None
            return details.service(found.service, [each.task for each in tasks], events, now, reached)
        case references.TASK:
            task = found.task.task.id
            slot = f"task/{task.service}.{task.slot}"
            return details.task(found.task, _events(session_, task.namespace, slot, f"{slot}."), now)
        case references.NODE:
            node = found.node.spec.name
            tasks = [each.task for each in session_.get(["tasks"], namespace="")]
            here = [each for each in tasks if each.task.node == node]
            return details.node(found.node, here, _events(session_, "", f"node/{node}"), now)
        case references.EVENT | references.REVISION:
            return details.plain(found)
    return details.plain(found)


def _events(session_: session.Session, namespace: str, *about: str) -> list[Any]:
    found = [each.event for each in session_.get(["events"], namespace=namespace)]
    return [each for each in found if any(_is_about(each.object, word) for word in about)]


def _is_about(object_: str, word: str) -> bool:
    return object_.startswith(word) if word.endswith(".") else object_ == word
