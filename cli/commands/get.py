"""orchctl get: what there is."""

import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import click

from cli import completing, references, session
from cli.exits import Missing, Wrong
from cli.render import table

_FORMATS = "table|wide|json|yaml|name|jsonpath=…"


@click.command()
@click.argument(
    "what", nargs=-1, shell_complete=completing.kinds_and_names(), metavar="KIND [NAME…] | KIND/NAME…"
)
@click.option("-A", "--all-namespaces", is_flag=True, help="Of all namespaces.")
@click.option("-l", "--selector", default="", metavar="KEY=VALUE,…", help="Only with these labels.")
@click.option("-o", "--output", default="table", metavar=_FORMATS, help="How to show it.  [default: table]")
@click.option("-w", "--watch", is_flag=True, help="Go on and show every change.")
@click.option("-a", "--all", "finished", is_flag=True, help="Finished attempts of tasks, too.")
@click.option("--no-headers", is_flag=True, help="Only the rows.")
@session.connected
def command(
    session_: session.Session,
    what: Sequence[str],
    all_namespaces: bool,
    selector: str,
    output: str,
    watch: bool,
    finished: bool,
    no_headers: bool,
) -> None:
    """List services, tasks, endpoints, nodes, configs, secrets, namespaces, events or revisions.

    \b
    orchctl get services
    orchctl get tasks -o wide -w
    orchctl get svc/web -o yaml
    orchctl get nodes -o jsonpath='{.items[*].metadata.name}'
    """
    if output not in {"table", "wide", "json", "yaml", "name"} and not output.startswith("jsonpath="):
        raise Wrong(f'there is no output "{output}"; choose of {_FORMATS}')
    groups = references.meant(what)
    style = table.Style(
        time.time(), output == "wide", all_namespaces, shows_heading=not no_headers, attempts=finished
    )
    query = {
        "namespace": "" if all_namespaces else None,
        "selector": session.selector_of(selector),
        "finished": finished,
    }
    if watch:
        _watch(session_, groups, output, style, query)
    else:
        where = "" if all_namespaces else f" in namespace {session_.in_namespace()}"
        _show(_fetch(session_, groups, query), groups, output, style, where)


def _fetch(session_: session.Session, groups: Any, query: dict[str, Any]) -> list[Any]:
    found = []
    for kind, names in groups:
        some = session_.get([kind.plural], names, **query)
        if kind is references.TASK and not query["finished"]:
            some += _ended(session_, [name for name in names if not _is_there(name, some)], query)
        _complain_of_missing(kind, names, some)
        found += some
    return found


def _ended(session_: session.Session, names: Sequence[str], query: dict[str, Any]) -> list[Any]:
    """Tasks that are asked for by a name that nothing bears any more but what has ended."""
    return session_.get([references.TASK.plural], names, **query | {"finished": True}) if names else []


def _is_there(name: str, found: Sequence[Any]) -> bool:
    return any(_is_called(each, name) for each in found)


def _complain_of_missing(kind: references.Kind, names: Sequence[str], found: Sequence[Any]) -> None:
    for name in names:
        if not _is_there(name, found):
            raise Missing(f'there is no {kind.singular} "{name}" (orchctl get {kind.plural} -A shows all)')


def _is_called(object_: Any, name: str) -> bool:
    from cli.render import documents

    kind = object_.WhichOneof("kind")
    view = getattr(object_, kind)
    match kind:
        case "service":
            return bool(view.service.name.name == name)
        case "task":
            task = view.task.id
            return name in {task.service, f"{task.service}.{task.slot}"} or name == documents.name_of(
                kind, view
            )
        case "revision":
            return bool(view.revision.service.name == name)
        case "endpoints":
            return bool(view.endpoints.service.name == name)
        case "event":
            return True
        case "node":
            return bool(view.spec.name == name)
    return str(getattr(view.name, "name", view.name)) == name


def _show(found: list[Any], groups: Any, output: str, style: table.Style, where: str = "") -> None:
    if output in {"table", "wide"}:
        sys.stdout.write(_tables(found, groups, style, where))
        return
    from cli.render import documents

    if output == "name":
        for each in found:
            kind = each.WhichOneof("kind")
            sys.stdout.write(f"{kind}/{documents.name_of(kind, getattr(each, kind))}\n")
        return
    written = [documents.document(each) for each in found]
    is_list = len(written) != 1 or not groups[0][1]
    if output == "json":
        sys.stdout.write(documents.as_json(written, is_list=is_list))
    elif output == "yaml":
        sys.stdout.write(documents.as_yaml(written))
    else:
        from cli.render import jsonpath

        try:
            root = documents.one_or_list(written, is_list=is_list)
            sys.stdout.write(jsonpath.evaluate(output.removeprefix("jsonpath="), root) + "\n")
        except jsonpath.BadPath as error:
            raise Wrong(str(error)) from None


def _tables(found: Sequence[Any], groups: Any, style: table.Style, where: str) -> str:
    parts = []
    for kind, _ in groups:
        views = [getattr(each, kind.singular) for each in found if each.WhichOneof("kind") == kind.singular]
        if views:
            parts.append(table.table(kind.singular, views, style))
        else:
            sys.stderr.write(f"no {kind.plural}{where if kind.has_namespace else ''}\n")
    return "\n".join(parts)


def _watch(
    session_: session.Session, groups: Any, output: str, style: table.Style, query: dict[str, Any]
) -> None:
    if len(groups) != 1:
        raise Wrong("-w watches one kind at a time")
    ((kind, names),) = groups
    replies = session_.watch([kind.plural], names, **query)
    if output not in {"table", "wide"}:
        for reply in replies:
            _show(list(reply.changed), groups, output, style)
            sys.stdout.flush()
        return
    for line in watched_lines(kind.singular, replies, style):
        sys.stdout.write(line)
        sys.stdout.flush()


def watched_lines(kind: str, replies: Iterator[Any], style: table.Style) -> Iterator[str]:
    """The table as it is, then a row for every change, in the same columns."""
    first: list[Any] = []
    for reply in replies:
        first += [getattr(each, kind) for each in reply.changed]
        if reply.synced:
            break
    text = table.table(kind, first, style)
    yield text
    cells = table.cells_of(kind, style)
    rows = [list(cells)] + [[cell(view, style.now) for cell in cells.values()] for view in first]
    widths = [max(len(row[index]) for row in rows) for index in range(len(cells))]
    for reply in replies:
        for each in reply.changed:
            view = getattr(each, kind)
            row = [cell(view, time.time()) for cell in cells.values()]
            widths = [max(width, len(text)) for width, text in zip(widths, row, strict=True)]
            yield table.lay_out([row], widths)
        for gone in reply.removed:
            row = ["" for _ in cells]
            row[list(cells).index("NAME") if "NAME" in cells else 0] = gone.name
            yield table.lay_out([row], widths).rstrip("\n") + "  (gone)\n"
