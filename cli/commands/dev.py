"""orchctl dev: a whole cluster on this machine."""

import time

import click

from cli.dev import cluster as clusters
from cli.dev import life

_name = click.option("--name", default="dev", show_default=True, help="Which dev cluster.")


@click.group()
def command() -> None:
    """A whole cluster on this machine, each node in its own network namespace."""


@command.command()
@_name
@click.option("--nodes", default=3, show_default=True, type=click.IntRange(1, clusters.MOST_NODES))
@click.option(
    "--registry", is_flag=True, help="Also start Debian's docker-registry, which the nodes may pull from."
)
@click.option(
    "--network-mode",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "route", "vxlan"]),
    help="How packets of tasks go from node to node.",
)
@click.option(
    "--segments",
    default=1,
    show_default=True,
    type=click.IntRange(1, clusters.MOST_SEGMENTS),
    help="Deal the nodes out to so many links, with a router between them.",
)
def up(name: str, nodes: int, registry: bool, network_mode: str, segments: int) -> None:
    """Bring up etcd, a control plane and agents, and make them the current context."""
    began = time.monotonic()
    made = life.up(
        name, nodes, registry=registry, say=click.echo, segments=segments, network_mode=network_mode
    )
    if registry:
        click.echo(f"registry       {made.registry_address}")
    click.echo(f"dev cluster {name!r} is up after {time.monotonic() - began:.1f} s; try: orchctl get nodes")


@command.command()
@_name
def down(name: str) -> None:
    """Take it away, with everything it made."""
    if clusters.load(name) is None:
        known = ", ".join(each.name for each in clusters.load_all()) or "none"
        raise life.DevError(f"there is no dev cluster {name!r} (up: {known}): nothing to take down")
    life.down(_find(name))
    click.echo(f"dev cluster {name!r} is gone")


@command.command()
@click.option("--name", default="", help="Only this dev cluster.")
def status(name: str) -> None:
    """What runs, where, and where it logs."""
    found = [_find(name)] if name else clusters.load_all()
    if not found:
        click.echo("no dev cluster is up; try: orchctl dev up --nodes 3")
    for cluster in found:
        click.echo(f"{'CLUSTER':<12} {'PART':<10} {'ADDRESS':<18} {'PROCESSES':<10} LOG")
        for part in life.status(cluster):
            state = str(len(part.pids)) if part.pids else "down"
            log = life.log_of(cluster, part.part)
            click.echo(f"{cluster.name:<12} {part.part:<10} {part.address:<18} {state:<10} {log}")


@command.command()
@click.argument("node")
@_name
def kill(node: str, name: str) -> None:
    """Kill everything of a node at once, as if its machine lost power."""
    cluster = _find(name)
    life.kill_node(cluster, _node(cluster, node))
    of = "" if name == "dev" else f" --name {name}"
    click.echo(f"{node} is dead; start it again: orchctl dev start {node}{of}")


@command.command()
@click.argument("node")
@_name
def start(node: str, name: str) -> None:
    """Start a killed node again, with the state it had."""
    cluster = _find(name)
    life.start_node(cluster, _node(cluster, node))
    click.echo(f"{node} is back")


def _find(name: str) -> clusters.DevCluster:
    cluster = clusters.load(name)
    if cluster is None:
        known = ", ".join(each.name for each in clusters.load_all()) or "none"
        raise life.DevError(
            f"there is no dev cluster {name!r} (up: {known}); try: orchctl dev up --name {name}"
        )
    return cluster


def _node(cluster: clusters.DevCluster, name: str) -> clusters.DevNode:
    for node in cluster.all_nodes:
        if node.name == name:
            return node
    names = ", ".join(node.name for node in cluster.all_nodes)
    raise life.DevError(f"dev cluster {cluster.name!r} has no node {name!r}; it has {names}")
