"""orchctl events: what happened, and why."""

import sys
import time
from collections.abc import Callable
from typing import Any

import click

from cli import completing, one_object, references, session
from cli.render import table


@click.command(cls=one_object.OneObject)
@click.argument(
    "of", required=False, shell_complete=completing.names("services", "tasks"), metavar="[NAME | KIND/NAME]"
)
@click.option("-A", "--all-namespaces", is_flag=True, help="Of all namespaces.")
@click.option("-w", "--watch", is_flag=True, help="Go on and show what happens.")
@click.option("--warnings", is_flag=True, help="Only what someone should look at.")
@click.option("--tail", default=0, metavar="N", help="Only the last N.")
@click.option(
    "-o", "--output", default="table", type=click.Choice(["table", "json", "yaml"]), help="How to show them."
)
@session.connected
def command(
    session_: session.Session,
    of: str | None,
    all_namespaces: bool,
    watch: bool,
    warnings: bool,
    tail: int,
    output: str,
) -> None:
    """What happened, the newest last.

    \b
    orchctl events
    orchctl events web            (the service and its tasks)
    orchctl events node/node-1
    """
    about = _about(of)
    style = table.Style(time.time(), shows_namespace=all_namespaces)
    # Events of nodes are in no namespace, and belong to every picture of what happened.
    spaces = () if all_namespaces else ("", session_.in_namespace())

    def is_meant(event: Any) -> bool:
        if warnings and event.type != "Warning":
            return False
        if spaces and event.namespace not in spaces:
            return False
        return not about or any(_is_about(event.object, each) for each in about)

    if watch:
        _watch(session_, is_meant, tail=tail, style=style)
        return
    found = [each for each in session_.get(["events"], namespace="") if is_meant(each.event)]
    if output != "table":
        from cli.render import documents

        written = [documents.document(each) for each in found[-tail:]]
        text = documents.as_json(written, is_list=True) if output == "json" else documents.as_yaml(written)
        sys.stdout.write(text)
        return
    events = table.in_order("event", [each.event for each in found])
    if not events:
        sys.stderr.write("no events\n")
        return
    sys.stdout.write(table.table("event", events[-tail:], style))


def _about(of: str | None) -> tuple[str, ...]:
    """Beginnings of what events call their object."""
    if not of:
        return ()
    kind, name = references.name_of(of, references.SERVICE, references.TASK, references.NODE)
    if kind is references.SERVICE:
        return (f"service/{name}", f"task/{name}.")
    return (f"{kind.singular}/{name}",)


def _is_about(object_: str, wanted: str) -> bool:
    """`task/web.2` is also about its attempts, `task/web.2.7`, but not about `task/web.21`."""
    if wanted.endswith("."):
        return object_.startswith(wanted)
    return object_ == wanted or object_.startswith(f"{wanted}.")


_WIDTHS = {"NAMESPACE": 10, "LAST-SEEN": 9, "TYPE": 7, "REASON": 16, "OBJECT": 16, "COUNT": 5, "MESSAGE": 7}
"""While watching nobody knows how long the cells to come will be."""


def _watch(
    session_: session.Session, is_meant: Callable[[Any], bool], *, tail: int, style: table.Style
) -> None:
    cells = table.cells_of("event", style)
    widths = [_WIDTHS[heading] for heading in cells]
    sys.stdout.write(table.lay_out([list(cells)], widths))
    before: list[Any] = []
    has_begun = False
    for reply in session_.watch(["events"], namespace=""):
        events = [each.event for each in reply.changed if is_meant(each.event)]
        if not has_begun:  # only what was there before is cut
            before += events
            has_begun = reply.synced
            events = table.in_order("event", before)[-tail:] if has_begun else []
        for event in table.in_order("event", events):
            row = [cell(event, time.time()) for cell in cells.values()]
            sys.stdout.write(table.lay_out([row], widths))
        sys.stdout.flush()
