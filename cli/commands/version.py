"""orchctl version: of this program, and of the control plane."""

import importlib.metadata
import sys

import click

from cli import session


@click.command()
@click.option("--client", is_flag=True, help="Only of this program.")
@session.connected
def command(session_: session.Session, client: bool) -> None:
    """Versions of this program and of the control plane."""
    sys.stdout.write(f"orchctl        {importlib.metadata.version('orch')}\n")
    if client:
        return
    from orch.v1 import control_pb2 as pb

    reply = session_.client.call("Version", pb.VersionRequest())
    session_.warn_if_old(reply.store_age)
    leads = "leads" if reply.is_leader else f"follows {reply.leader_address or 'nobody at the moment'}"
    sys.stdout.write(f"control plane  {reply.version}, {leads}\ncluster        {reply.cluster}\n")
