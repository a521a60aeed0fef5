"""Removes what a Network left whose ledger is lost, or whose network namespace is gone. Blocking."""

from pathlib import Path

from agent.network import entries, kernel, names_process, namespaces, netlink, records, tunnel_guard
from agent.network.peering import Changes, Entries
from agent.network.services.kernel import run_nft
from agent.network.topology import BRIDGE, TUNNEL, slot_of

_TABLES = ("ip orch", "ip orch-next", "ip orch-policy", "bridge orch-guard", *tunnel_guard.TABLES)


def sweep(run_dir: Path, state_dir: Path) -> None:
    """Mounts, orch-dns and records of a Network whose process ended without `cleanup`; idempotent."""
    names_process.remove_folder(run_dir / "dns", patience_seconds=0)
    namespaces.remove_folder(run_dir / "netns")
    records.Records(state_dir / "network").remove()


def is_left(run_dir: Path) -> bool:
    """Whether there was a Network of this run directory since the machine started."""
    return (run_dir / "netns").is_dir()


def clear() -> None:
    """Links, routes and packet rules of this network namespace, by their names: nobody knows what there was.

    Raises OSError, NetworkError.
    """
    with kernel.Socket() as conversation:
        tunnel = netlink.link(conversation, TUNNEL)
        index = tunnel.index if tunnel else 0
        gone = Changes(Entries(), entries.entries(conversation, index))
        conversation.ask(list(entries.messages(gone, index)))
        ours = [link.name for link in netlink.links(conversation) if _is_ours(link.name)]
        conversation.ask([netlink.remove_link(name) for name in ours])
    run_nft("".join(f"table {table}\ndelete table {table}\n" for table in _TABLES))


def _is_ours(link: str) -> bool:
    return link in {BRIDGE, TUNNEL} or bool(slot_of(link))
