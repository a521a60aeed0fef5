"""The rules of the policy's table as text for nft (pure).

The base chains and the two maps never change. Sets and chains come and go with the words that services use; who is
in them changes all the time, and goes through the kernel's own messages.

Only what begins a conversation is judged by who is who, but each of its packets is: a right that is taken away ends
connections that stand. Answers, and what the network says of a conversation (too big, unreachable), pass.

Who may not come is refused at once where that can be said: the kernel cannot send a refusal in the name of a door
that it has just led somewhere else. So virtual addresses are judged before one of their tasks is chosen.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_network

from agent.network.policy import limits
from agent.network.policy.limits import Chain, Way
from agent.network.policy.wanted import KNOWN, SELF, Element, Elements

FAMILY, TABLE = "ip", "orch-policy"
_DNS = 53


@dataclass(frozen=True, slots=True)
class Place:
    """Where the node stands."""

    bridge: str
    cluster_range: str
    """Of the tasks of all nodes."""
    subnet: str
    """Of this node's tasks. Other nodes' are as large, and each begins with the node's own address."""
    service_range: str = ""
    """Of virtual addresses; empty where the cluster has none."""


def whole(place: Place, chains: Mapping[str, Chain], elements: Elements) -> str:
    """The table anew, whatever was there before, in one transaction; dormant where it has nobody to judge."""
    sets = limits.sets_in(chains.values())
    return "\n".join(
        (
            f"table {FAMILY} {TABLE}",
            f"delete table {FAMILY} {TABLE}",
            f"table {FAMILY} {TABLE} {{",
            *(() if chains or elements else ("  flags dormant;",)),
            *(f"  set {name} {{ type ipv4_addr; }}" for name in sorted({*sets, KNOWN})),
            f"  set {SELF} {{ type ipv4_addr . ipv4_addr; }}",
            *(f"  map {way} {{ type ipv4_addr : verdict; }}" for way in Way),
            _base(place),
            *(_chain(place, each) for each in chains.values()),
            "}",
            _added(elements),
        )
    )


def change(
    place: Place,
    before: Mapping[str, Chain],
    after: Mapping[str, Chain],
    lost: Iterable[Element],
    new: Elements,
) -> str:
    """From one vocabulary to another, in one transaction."""
    sets_before, sets_after = limits.sets_in(before.values()), limits.sets_in(after.values())
    gone_sets = sets_before - sets_after
    lines = [f"add set {FAMILY} {TABLE} {name} {{ type ipv4_addr; }}" for name in sets_after - sets_before]
    chains = [_chain(place, each) for name, each in after.items() if name not in before]
    lines += [f"table {FAMILY} {TABLE} {{", *chains, "}"] if chains else []
    lines += [
        f"delete element {FAMILY} {TABLE} {name} {{ {_key(key)} }}"
        for name, key in lost
        if name not in gone_sets
    ]
    lines.append(_added(new))
    # nft refuses to remove a chain's rules and the sets that they ask unless the chain goes first
    lines += [f"flush chain {FAMILY} {TABLE} {name}" for name in before if name not in after]
    lines += [f"delete chain {FAMILY} {TABLE} {name}" for name in before if name not in after]
    lines += [f"delete set {FAMILY} {TABLE} {name}" for name in gone_sets]
    return "\n".join(lines)


def removal() -> str:
    """It need not be there."""
    return f"table {FAMILY} {TABLE}\ndelete table {FAMILY} {TABLE}\n"


def _base(place: Place) -> str:
    services = place.service_range or "255.255.255.255"
    return f"""
  chain choosing {{
    type filter hook prerouting priority -150; policy accept;
    iifname != "{place.bridge}" accept
    ip daddr != {services} accept
    ct direction reply accept
    ip saddr vmap @{Way.OUT_OF}
    ip daddr vmap @{Way.INTO}
  }}
  chain passing {{
    type filter hook forward priority filter; policy accept;
    ct direction reply accept
    ct state related accept
    ip saddr . ip daddr @{SELF} accept
    ip saddr vmap @{Way.OUT_OF}
    ip daddr vmap @{Way.INTO}
  }}
  chain arriving {{
    type filter hook input priority filter; policy accept;
    iifname != "{place.bridge}" accept
    ct direction reply accept
    ct state related accept
    meta l4proto {{ tcp, udp }} th dport {_DNS} accept
    ip saddr vmap @{Way.OUT_OF}
  }}
  chain {limits.UNKNOWN} {{
    counter drop
  }}
  chain refuse {{
    ip saddr {place.cluster_range} ip saddr != @{KNOWN} counter drop
    ct status & (dnat | confirmed) == dnat counter drop
    counter
    meta l4proto tcp reject with tcp reset
    reject with icmp admin-prohibited
  }}"""


def _chain(place: Place, chain: Chain) -> str:
    """Packets of other nodes, and of strangers who came through one, have the node's own address in its subnet."""
    field = "saddr" if chain.way is Way.INTO else "daddr"
    lines = [f"    ip {field} @{name} return" for name in chain.members]
    lines += [f"    ip {field} {addresses} return" for addresses in chain.ranges]
    if chain.way is Way.INTO:
        host = ip_network(place.subnet).hostmask
        lines.append(f"    ip saddr {place.cluster_range} ip saddr & {host} == 0.0.0.1 return")
        if not chain.ranges:
            lines.append(f"    ip saddr != {place.cluster_range} ct status & dnat == dnat return")
    return "\n".join((f"  chain {chain.name} {{", *lines, "    goto refuse", "  }"))


def _added(elements: Elements) -> str:
    several: dict[str, list[str]] = {}
    for (name, key), chain in elements.items():
        several.setdefault(name, []).append(f"{_key(key)} : jump {chain}" if chain else _key(key))
    return "\n".join(
        f"add element {FAMILY} {TABLE} {name} {{ {', '.join(each)} }}" for name, each in several.items()
    )


def _key(addresses: tuple[str, ...]) -> str:
    return " . ".join(addresses)
