"""orchctl store: the control plane's store, for operators."""

import os
import sys
from pathlib import Path
from typing import Any

import click

from cli import session
from cli.exits import Wrong
from cli.render import table, words


@click.group()
def command() -> None:
    """Look after the control plane's store."""


@command.command()
@session.connected
def status(session_: session.Session) -> None:
    """How each member does."""
    rows = [["NAME", "ENDPOINT", "VERSION", "SIZE", "LEADER", "REVISION", "PROBLEM"]]
    for reply in _replies(session_, "status"):
        rows += [_row(each) for each in reply.members]
        if reply.message:
            sys.stderr.write(reply.message + "\n")
    sys.stdout.write(table.lay_out(rows))


@command.command()
@session.connected
def members(session_: session.Session) -> None:
    """Which members there are."""
    rows = [["NAME", "ENDPOINT"]]
    rows += [[each.name, each.endpoint] for reply in _replies(session_, "members") for each in reply.members]
    sys.stdout.write(table.lay_out(rows))


@command.command()
@session.connected
def compact(session_: session.Session) -> None:
    """Forget old versions of every key."""
    _say(session_, "compact")


@command.command()
@session.connected
def defrag(session_: session.Session) -> None:
    """Give the space of what was forgotten back to the disk."""
    _say(session_, "defrag")


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@session.connected
def snapshot(session_: session.Session, file: Path) -> None:
    """Save everything in a file. It holds secrets only encrypted, and not the key to them."""
    if file.exists():
        raise Wrong(f"{file} exists already")
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    count = 0
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            for reply in _replies(session_, "snapshot"):
                count += out.write(reply.snapshot_chunk)
            os.fsync(out.fileno())
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
    sys.stdout.write(f"{file} ({words.size(count)})\n")


def _row(member: Any) -> list[str]:
    leads = "yes" if member.is_leader else "no"
    cells = [
        member.name,
        member.endpoint,
        member.version,
        words.size(member.db_size),
        leads,
        str(member.revision),
    ]
    return [cell or words.NOTHING for cell in (*cells, member.problem)]


def _say(session_: session.Session, verb: str) -> None:
    for reply in _replies(session_, verb):
        if reply.message:
            sys.stdout.write(reply.message + "\n")


def _replies(session_: session.Session, verb: str) -> Any:
    from orch.v1 import control_pb2 as pb

    return session_.client.stream("Store", pb.StoreRequest(verb=verb))
