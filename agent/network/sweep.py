"""Removes what outlives a node's network namespace: for a node that is gone, of which only folders are left.

Links, routes and packet rules went with the namespace. Blocking.
"""

from pathlib import Path

from agent.network import names_process, namespaces, records


def sweep(run_dir: Path, state_dir: Path) -> None:
    """Mounts, orch-dns and records of a Network whose process ended without `cleanup`; idempotent."""
    names_process.remove_folder(run_dir / "dns", patience_seconds=0)
    namespaces.remove_folder(run_dir / "netns")
    records.Records(state_dir / "network").remove()
