"""orchctl image ls: what the cluster's registry has, and what its nodes hold."""

import json
import sys
import time
from typing import Any

import click

from cli import session
from cli.render import table, words


@click.command("ls")
@click.option("--nodes", is_flag=True, help="What nodes hold, unpacked, in place of what the registry has.")
@click.option(
    "-o",
    "--output",
    default="table",
    type=click.Choice(["table", "wide", "name", "json"]),
    help="How to show them; wide: whole digests.",
)
@click.argument("names", nargs=-1, metavar="[REPOSITORY…]")
@session.connected
def ls(session_: session.Session, nodes: bool, output: str, names: tuple[str, ...]) -> None:
    """List the images of the cluster's registry, or of its nodes.

    SHARED is what other images of the node have too: removing the image would not free it.
    """
    from orch.v1 import control_pb2 as pb

    reply = session_.client.call("ListImages", pb.ListImagesRequest(nodes=nodes))
    rows = (
        [_of_node(each) for each in reply.on_nodes]
        if nodes
        else [_of_registry(each) for each in reply.images]
    )
    rows = [row for row in rows if not names or any(_is_meant(row, name) for name in names)]
    rows.sort(key=lambda row: (row["name"], row.get("node", "")))
    match output:
        case "json":
            sys.stdout.write(json.dumps({"items": rows}, indent=2) + "\n")
        case "name":
            sys.stdout.write("".join(f"{row['name']}\n" for row in rows))
        case _:
            cells = _node_cells if nodes else _registry_cells
            heading = _NODE_HEADING if nodes else _REGISTRY_HEADING
            now = time.time()
            sys.stdout.write(table.lay_out([heading, *(cells(row, now, output == "wide") for row in rows)]))
    for problem in reply.problems:
        sys.stderr.write(f"warning: {problem}\n")


_REGISTRY_HEADING = ["REPOSITORY", "TAG", "DIGEST", "SIZE", "AGE"]
_NODE_HEADING = ["NODE", "IMAGE", "DIGEST", "SIZE", "SHARED", "USED"]


def _of_registry(each: Any) -> dict[str, Any]:
    return {
        "name": f"{each.repository}:{each.tag}",
        "repository": each.repository,
        "tag": each.tag,
        "digest": each.digest,
        "size": each.size,
        "pushedAt": each.pushed_at,
    }


def _of_node(each: Any) -> dict[str, Any]:
    """Its best name: a tag where there is one."""
    known = sorted((name.removeprefix("registry.orch/") for name in each.names), key=lambda name: "@" in name)
    return {
        "name": known[0].partition("@")[0] if known else words.NOTHING,
        "names": known,
        "node": each.node,
        "digest": each.digest,
        "size": each.size,
        "shared": each.shared,
        "usedAt": each.used_at,
    }


def _registry_cells(row: dict[str, Any], now: float, is_wide: bool) -> list[str]:
    digest = _digest(row["digest"], is_wide)
    return [row["repository"], row["tag"], digest, words.size(row["size"]), words.age(row["pushedAt"], now)]


def _node_cells(row: dict[str, Any], now: float, is_wide: bool) -> list[str]:
    return [
        row["node"],
        row["name"],
        _digest(row["digest"], is_wide),
        words.size(row["size"]),
        words.size(row["shared"]),
        words.age(row["usedAt"], now),
    ]


def _digest(digest: str, is_wide: bool) -> str:
    return digest if is_wide else digest[:19]


def _is_meant(row: dict[str, Any], name: str) -> bool:
    return name in {
        row["name"],
        row.get("repository", ""),
        row["name"].rpartition(":")[0],
        row.get("node", ""),
    }
