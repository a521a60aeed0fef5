"""orchctl delete: away with it."""

import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

import click

from cli import completing, options, references, session
from cli.exits import INTERRUPTED, NotSo, Wrong


@click.command()
@click.argument(
    "what",
    nargs=-1,
    shell_complete=completing.kinds_and_names("services"),
    metavar="NAME… | KIND NAME… | KIND/NAME…",
)
@options.FILES
@click.option(
    "-l", "--selector", default="", metavar="KEY=VALUE,…", help="All of the kind with these labels."
)
@click.option("--all", "all_of_kind", is_flag=True, help="All of the kind in the namespace.")
@options.waiting
@session.connected
def command(
    session_: session.Session,
    what: Sequence[str],
    files: Sequence[str],
    selector: str,
    all_of_kind: bool,
    wait: bool,
    timeout: float,
) -> int:
    """Delete services, configs, secrets and namespaces; wait until nothing is left of them.

    \b
    orchctl delete web
    orchctl delete svc/web config/web-config
    orchctl delete -f web.yaml
    """
    from cli import connection
    from orch.v1 import control_pb2 as pb

    meant = list(_of_files(session_, files)) if files else _of_words(session_, what, selector, all_of_kind)
    if not meant:
        sys.stderr.write("nothing to delete\n")
        return 0
    named = [pb.Reference(kind=kind, namespace=where, name=name) for kind, where, name in meant]
    reply = session_.client.call(
        "Delete", pb.DeleteRequest(references=named, request_id=connection.new_request_id())
    )
    deleted = {(each.kind, each.name) for each in reply.deleted}
    for kind, _, name in meant:
        word = "deleted" if (kind, name) in deleted or not deleted else "was not there"
        sys.stdout.write(f"{kind}/{name} {word}\n")
    sys.stdout.flush()
    services = [(where, name) for kind, where, name in meant if kind == "service"]
    return _wait_until_gone(session_, services, timeout) if wait and services else 0


def _of_words(
    session_: session.Session, words: Sequence[str], selector: str, all_of_kind: bool
) -> list[tuple[str, str, str]]:
    if not words:
        raise Wrong("say what to delete: orchctl delete svc/web")
    groups = references.meant(words if _begins_with_kind(words) else ["services", *words])
    found = []
    for kind, given in groups:
        names = given
        where = session_.in_namespace() if kind.has_namespace else ""
        if kind in (references.TASK, references.EVENT, references.REVISION):
            raise Wrong(f"{kind.plural} are not deleted by hand; scale or delete their service")
        if kind is references.NODE:
            raise Wrong("a node that is down is forgotten with: orchctl node rm NAME")
        if selector or all_of_kind:
            named = session_.get([kind.plural], selector=session.selector_of(selector))
            names = tuple(_name(each) for each in named)
        elif not names:
            raise Wrong(f"say which {kind.plural}, or --all")
        found += [(kind.singular, where, name) for name in names]
    return found


def _begins_with_kind(words: Sequence[str]) -> bool:
    """A bare name means a service: `orchctl rm web`."""
    if "/" in words[0]:
        return True
    try:
        references.kind_of(words[0].split(",")[0])
    except Wrong:
        return False
    return True


def _of_files(session_: session.Session, paths: Sequence[str]) -> Iterable[tuple[str, str, str]]:
    from cli import files as read
    from orch.manifest.document import identity

    for each in read.documents(paths, session_.namespace):
        kind, name = identity(each.value)
        if kind != "Node":
            yield kind.lower(), name.namespace, name.name


def _name(object_: Any) -> str:
    kind = object_.WhichOneof("kind")
    view = getattr(object_, kind)
    name = view.service.name if kind == "service" else view.name
    return str(getattr(name, "name", name))


def _wait_until_gone(session_: session.Session, services: Sequence[tuple[str, str]], timeout: float) -> int:
    """A service is a tombstone until its tasks are gone."""
    left = set(services)
    deadline = time.monotonic() + timeout
    namespaces = {where for where, _ in left}
    namespace = namespaces.pop() if len(namespaces) == 1 else ""
    there: set[tuple[str, str]] = set()
    lost: set[str] = set()
    try:
        for reply in session_.watch(
            ["services", "tasks"],
            [name for _, name in services],
            namespace=namespace,
            seconds=deadline - time.monotonic(),
        ):
            there |= {
                (each.service.service.name.namespace, each.service.service.name.name)
                for each in reply.changed
                if each.HasField("service")
            }
            _tell_of_lost(reply, lost)
            gone = {(each.namespace, each.name) for each in reply.removed}
            left -= gone
            if reply.synced:
                left &= there
            if not left:
                return 0
    except KeyboardInterrupt:
        names = ", ".join(name for _, name in sorted(left))
        sys.stderr.write(f"\n{names}: the deletion goes on by itself; see: orchctl get tasks\n")
        return INTERRUPTED
    names = ", ".join(name for _, name in sorted(left))
    raise NotSo(f"{names}: not gone after {timeout:g} s; see: orchctl get tasks")


def _tell_of_lost(reply: Any, told: set[str]) -> None:
    """A node that is down cannot say that a task has ended: once for each node."""
    for each in reply.changed:
        if not each.HasField("task") or not each.task.unreachable or each.task.task.node in told:
            continue
        node = each.task.task.node
        told.add(node)
        task = f"{each.task.task.id.service}.{each.task.task.id.slot}"
        sys.stderr.write(
            f"{task} is on {node}, which is down: its deletion ends when {node} is back, or with "
            f"`orchctl node rm {node}` if it is gone for good\n"
        )
        sys.stderr.flush()
