"""The node's packet rules as text for nft.

One table of our own. Published ports are elements of two maps, so that a port comes and goes without
the rules being touched: one for ports of any address of the node, one for ports of a particular address.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

TABLE = "ip orch"
_ANY, _AT = "published_any", "published_at"


@dataclass(frozen=True, slots=True, order=True)
class Door:
    """What is reached from outside; host_ip "" is any address of the node."""

    host_ip: str
    protocol: str
    port: int


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """Where a door leads."""

    address: str
    port: int


def whole(doors: Mapping[Door, Target], *, bridge: str, cluster_range: str, subnets: Sequence[str]) -> str:
    """The table anew, whatever was there before, in one transaction.

    Packets to 127.0.0.0/8 may only come out of loopback: route_localnet, which `curl localhost:PORT`
    needs for the answers, would otherwise open the node's own local services to its containers.
    """
    own = ", ".join(subnets)
    return f"""
table {TABLE}
delete table {TABLE}
table {TABLE} {{
  map {_ANY} {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}
  map {_AT} {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }}
  chain guard {{
    type filter hook prerouting priority raw; policy accept;
    iifname != "lo" ip daddr 127.0.0.0/8 drop
  }}
  chain from_outside {{
    type nat hook prerouting priority dstnat; policy accept;
    fib daddr type local jump published
  }}
  chain from_here {{
    type nat hook output priority -100; policy accept;
    fib daddr type local jump published
  }}
  chain published {{
    meta l4proto {{ tcp, udp }} dnat ip to ip daddr . meta l4proto . th dport map @{_AT}
    meta l4proto {{ tcp, udp }} dnat ip to meta l4proto . th dport map @{_ANY}
  }}
  chain leaving {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {{ {own} }} ip daddr != {cluster_range} masquerade
    oifname "{bridge}" ip saddr 127.0.0.0/8 masquerade
    oifname "{bridge}" ct status dnat ip saddr {{ {own} }} masquerade
  }}
}}
{change(doors, {})}"""


def change(wanted: Mapping[Door, Target], present: Mapping[Door, Target]) -> str:
    """What leads from the elements that are present to those that are wanted; "" where nothing differs."""
    gone = [door for door in present if wanted.get(door) != present[door]]
    new = [door for door in wanted if wanted[door] != present.get(door)]
    lines = [f"delete element {TABLE} {_map(door)} {{ {_key(door)} }}" for door in sorted(gone)]
    lines += [
        f"add element {TABLE} {_map(door)} {{ {_key(door)} : {_value(wanted[door])} }}"
        for door in sorted(new)
    ]
    return "\n".join(lines)


def removal() -> str:
    """Nothing of ours stays; it need not be there."""
    return f"table {TABLE}\ndelete table {TABLE}"


def overlapping(door: Door, others: Iterable[Door]) -> Door | None:
    """A door that would take the same packets."""
    for other in others:
        same_place = other.host_ip == door.host_ip or not other.host_ip or not door.host_ip
        if same_place and (other.protocol, other.port) == (door.protocol, door.port):
            return other
    return None


def _map(door: Door) -> str:
    return _AT if door.host_ip else _ANY


def _key(door: Door) -> str:
    place = f"{door.host_ip} . " if door.host_ip else ""
    return f"{place}{door.protocol} . {door.port}"


def _value(target: Target) -> str:
    return f"{target.address} . {target.port}"
