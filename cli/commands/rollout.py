"""orchctl rollout: how one revision replaces another, and the user's word in it."""

import sys
import time
from typing import Any

import click

from cli import completing, one_object, options, references, session
from cli.exits import Missing
from cli.render import table


@click.group()
def command() -> None:
    """Watch, undo, pause, resume, restart, promote or abort a rollout."""


@command.command(cls=one_object.OneObject)
@click.argument("service", shell_complete=completing.names("services"))
@click.option("-w", "--watch", is_flag=True, help="Watch until it is over; fail when it fails.")
@click.option("--timeout", default=options.DEFAULT_WAIT, metavar="DURATION", help="How long to watch.")
@session.connected
def status(session_: session.Session, service: str, watch: bool, timeout: str) -> int:
    """Where a rollout stands: revision, step, verdict, deadline, and how each part does."""
    from cli.render import rollouts

    view = _view(session_, service)
    sys.stdout.write(rollouts.status(view, time.time()))
    sys.stdout.flush()
    if not watch:
        return 0
    from cli import watching
    from cli.render.progress import Goal

    name = view.service.name
    began = max(view.rollout.step_began_at, view.service.updated_at)
    goal = Goal(name.namespace, name.name, view.service.generation, view.service.revision, began)
    return watching.until_serving(session_, [goal], session.seconds_of(timeout))


@command.command(cls=one_object.OneObject)
@click.argument("service", shell_complete=completing.names("services"))
@session.connected
def history(session_: session.Session, service: str) -> None:
    """Revisions, who made them, what they changed, and how they ended; * marks the one that is stable."""
    _, name = references.name_of(service, references.SERVICE)
    found = [each.revision for each in session_.get(["revisions"], [name])]
    if not found:
        raise Missing(f'there is no service "{name}"')
    sys.stdout.write(table.table("revision", found, table.Style(time.time())))


@command.command(cls=one_object.OneObject)
@click.argument("service", shell_complete=completing.names("services"))
@click.option(
    "--to",
    "--to-revision",
    "to",
    default=0,
    metavar="REV",
    help="Which one.  [default: the last other one that did well]",
)
@click.option("--canary", is_flag=True, help="Through the steps of the canary.")
@options.waiting
@session.connected
def undo(session_: session.Session, service: str, to: int, canary: bool, wait: bool, timeout: float) -> int:
    """Go back to an older revision.

    One that did well before comes back at once: it has been through its canary. --canary asks for the steps
    again.
    """
    return _say(session_, service, "undo", to_revision=to, through_canary=canary, wait=wait, timeout=timeout)


@command.command(cls=one_object.OneObject)
@click.argument("service", shell_complete=completing.names("services"))
@options.waiting
@session.connected
def restart(session_: session.Session, service: str, wait: bool, timeout: float) -> int:
    """Replace every instance by a fresh one, as a rollout does."""
    return _say(session_, service, "restart", wait=wait, timeout=timeout)


@command.command(cls=one_object.OneObject)
@click.argument("service", shell_complete=completing.names("services"))
@click.option("--full", is_flag=True, help="All remaining steps, not just the present one.")
@options.waiting
@session.connected
def promote(session_: session.Session, service: str, full: bool, wait: bool, timeout: float) -> int:
    """Let the present canary step pass."""
    return _say(session_, service, "promote", full=full, wait=wait, timeout=timeout)


@command.command(cls=one_object.OneObject)
@click.argument("service", shell_complete=completing.names("services"))
@session.connected
def abort(session_: session.Session, service: str) -> int:
    """Give the new revision up; the stable one comes back."""
    return _say(session_, service, "abort")


@command.command(cls=one_object.OneObject)
@click.argument("service", shell_complete=completing.names("services"))
@session.connected
def pause(session_: session.Session, service: str) -> int:
    """Let nothing move until `resume`."""
    return _say(session_, service, "pause")


@command.command(cls=one_object.OneObject)
@click.argument("service", shell_complete=completing.names("services"))
@options.waiting
@session.connected
def resume(session_: session.Session, service: str, wait: bool, timeout: float) -> int:
    """Go on after `pause`."""
    return _say(session_, service, "resume", wait=wait, timeout=timeout)


_SAID = {
    "undo": "goes back",
    "restart": "is restarted",
    "promote": "is promoted",
    "abort": "gives the new revision up",
    "pause": "is paused; go on: orchctl rollout resume",
    "resume": "goes on",
}


def _say(
    session_: session.Session,
    service: str,
    verb: str,
    *,
    to_revision: int = 0,
    full: bool = False,
    through_canary: bool = False,
    wait: bool = False,
    timeout: float = 0.0,
) -> int:
    from cli import connection, watching
    from cli.render import changes
    from orch.v1 import control_pb2 as pb
    from orch.v1 import values_pb2

    _, name = references.name_of(service, references.SERVICE)
    request = pb.RolloutRequest(
        service=values_pb2.ObjectName(namespace=session_.in_namespace(), name=name),
        verb=verb,
        to_revision=to_revision,
        full=full,
        through_canary=through_canary,
        request_id=connection.new_request_id(),
    )
    reply = session_.client.call("Rollout", request)
    for warning in reply.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    for each in reply.objects:
        sys.stdout.write(
            f"{changes.reference(each.reference)} {_SAID[verb]} (revision {each.target_revision})\n"
        )
    sys.stdout.flush()
    return watching.until_serving(session_, watching.goals_of(reply), timeout) if wait else 0


def _view(session_: session.Session, service: str) -> Any:
    _, name = references.name_of(service, references.SERVICE)
    found = session_.get(["services"], [name])
    if not found:
        raise Missing(f'there is no service "{name}"')
    return found[0].service
