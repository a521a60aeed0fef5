"""VXLAN is listened to from nodes of the cluster only: it says nothing of who sent it, and what is in it is believed.

A table of its own, for packets of our VNI from and to this node itself, and a set with the nodes, by difference. The
kernel follows the conversations of tasks, not also the packets that carry them, which would each be one more in its
table: they come from a port that is drawn from what is inside.
Blocking, in the calling thread's network namespace.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator
from ipaddress import ip_address

from agent.network import nfnetlink
from agent.network.peering import Underlay
from agent.network.services import kernel, messages

TABLES = ("ip orch-tunnel", "ip6 orch-tunnel")
_TABLE, _SET = "orch-tunnel", "nodes"
_FAMILIES = {4: 2, 6: 10}
"""As the kernel numbers them."""


class TunnelGuard:
    def __init__(self, node_address: str, underlay: Underlay) -> None:
        """Changes nothing yet."""
        self._address = node_address
        self._family = 6 if ":" in node_address else 4
        self._underlay = underlay

    def follow(self, nodes: Collection[str]) -> None:
        """These are the nodes, whoever they were before. Raises NetworkError, OSError."""
        if not self._address:
            return  # and no tunnel either
        wanted = {each.packed for each in map(ip_address, nodes) if each.version == self._family}
        with nfnetlink.Socket() as link:
            if self._mark() not in self._chains(link):
                kernel.run_nft(self._text())
            there = set(self._elements(link))
            wishes = (
                *messages.new_elements(_TABLE, _SET, ((each, b"") for each in sorted(wanted - there))),
                *messages.lost_elements(_TABLE, _SET, sorted(there - wanted)),
            )
            if wishes:
                family = _FAMILIES[self._family]
                link.transact(*messages.transaction([messages.of_family(each, family) for each in wishes]))

    def _mark(self) -> str:
        """A chain whose name says which rules these are."""
        return f"version-{hashlib.sha256(self._rules().encode()).hexdigest()[:12]}"

    def _chains(self, link: nfnetlink.Socket) -> Iterator[str]:
        for body in link.dump(messages.ask_chains(_FAMILIES[self._family])):
            table, name = messages.read_chain(body)
            if table == _TABLE:
                yield name

    def _elements(self, link: nfnetlink.Socket) -> Iterable[bytes]:
        for body in link.dump(
            messages.of_family(messages.ask_elements(_TABLE, _SET), _FAMILIES[self._family])
        ):
            yield from (key for key, _ in messages.read_elements(body))

    def _text(self) -> str:
        table = f"{self._word} {_TABLE}"
        return f"{removal((table,))}table {table} {{\n  chain {self._mark()} {{ }}\n{self._rules()}}}\n"

    def _rules(self) -> str:
        """The VNI lies 96 bits behind the beginning of UDP: others may have VXLAN on this port, too."""
        word, ours = self._word, f"udp dport {self._underlay.port} @th,96,24 {self._underlay.vni}"
        return f"""
  set {_SET} {{ type ipv{self._family}_addr; }}
  chain coming {{
    type filter hook prerouting priority raw; policy accept;
    {ours} {word} daddr {self._address} goto ours
  }}
  chain ours {{
    {word} saddr != @{_SET} counter drop
    notrack
  }}
  chain leaving {{
    type filter hook output priority raw; policy accept;
    {ours} {word} saddr {self._address} notrack
  }}
"""

    @property
    def _word(self) -> str:
        return "ip6" if self._family == 6 else "ip"


def remove() -> None:
    """Nothing of it stays. Raises NetworkError."""
    kernel.run_nft(removal(TABLES))


def removal(tables: Iterable[str]) -> str:
    """They need not be there."""
    return "".join(f"table {each}\ndelete table {each}\n" for each in tables)
