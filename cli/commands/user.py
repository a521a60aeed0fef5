"""orchctl user: let another person use the cluster, with a certificate that says what they may do."""

import os
import sys
import time
from pathlib import Path
from typing import IO

import click

from cli import session
from cli.exits import Wrong
from cli.render import words

_ROLES = {"view": "look at all, change nothing", "edit": "change all but nodes and users", "admin": "do all"}
_OUT = click.option(
    "--out",
    default=".",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to write.",
)


@click.group()
def command() -> None:
    """Let another person use the cluster."""


@command.command("add")
@click.argument("name")
@click.option(
    "--role",
    required=True,
    type=click.Choice(list(_ROLES)),
    help="; ".join(f"{role}: {meaning}" for role, meaning in _ROLES.items()),
)
@click.option(
    "--valid-for", default="90d", metavar="DURATION", show_default=True, help="Until it must be renewed."
)
@click.option(
    "--request",
    "request_file",
    type=click.File("rb"),
    help="From `orchctl user request`; without it, the key is made here.",
)
@_OUT
@session.connected
def add(
    session_: session.Session,
    name: str,
    role: str,
    valid_for: str,
    request_file: IO[bytes] | None,
    out: Path,
) -> None:
    """Make a certificate. The same again before it ends renews it."""
    from orch.identity import request as requests
    from orch.v1 import control_pb2 as pb

    key = b"" if request_file else requests.new_key()
    asked = request_file.read() if request_file else requests.make(key, name)
    wanted = pb.CertifyUserRequest(
        name=name, role=role, request=asked, valid_for=session.seconds_of(valid_for)
    )
    reply = session_.client.call("CertifyUser", wanted)
    _write(out / f"{name}.crt", reply.certificate)
    _write(out / f"{name}-ca.crt", reply.ca)
    if key:
        _write(out / f"{name}.key", key)
    left = words.span(reply.expires_at - time.time())
    sys.stderr.write(f"{name} may {_ROLES[role]}, for {left}. With these files, on their machine:\n")
    addresses = " ".join(f"--address {address}" for address in reply.addresses)
    sys.stdout.write(
        f"orchctl context add home {addresses} --ca {name}-ca.crt --cert {name}.crt --key {name}.key\n"
    )


@command.command("request")
@click.argument("name")
@_OUT
def request(name: str, out: Path) -> None:
    """Make a key that stays here, and a request that an administrator answers with `orchctl user add`."""
    from orch.identity import request as requests

    key_file = out / f"{name}.key"
    key = key_file.read_bytes() if key_file.exists() else requests.new_key()
    asked = requests.make(key, name)
    _write(key_file, key)
    _write(out / f"{name}.csr", asked)
    sys.stderr.write(
        f"for an administrator, with {name}.csr: orchctl user add {name} --role ROLE --request FILE\n"
    )
    sys.stdout.write(asked.decode())


def _write(path: Path, content: bytes) -> None:
    """A key can be read by its owner only, also while it is written."""
    mode = 0o600 if path.suffix == ".key" else 0o644
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
        beside.replace(path)
    except OSError as error:
        raise Wrong(f"cannot write {path}: {error.strerror}") from None
