"""The node's packet rules that never change, as text for nft, and the doors of tasks.

One table of our own. All that comes and goes (published ports, virtual addresses, endpoints) are elements of maps,
and chains that draw one of N endpoints, which services/ makes; what is here is written once.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

FAMILY = "ip"
TABLES = ("orch", "orch-next")
"""One at a time; rules of another version are written beside the old ones, filled, and then take their place."""
_ANY, _AT = "published_any", "published_at"
DOOR_MAPS = (_ANY, _AT)
SERVICE_MAPS = (
    *("virtual", "virtual_ends", "virtual_memory"),
    *("doors_at", "doors_at_ends", "doors_at_memory"),
    *("doors", "doors_ends", "doors_memory"),
)
_PROTOCOLS = {"tcp": 6, "udp": 17}
DOUBTED_SECONDS = 5
"""A client tries again after 1 s; whoever is refused again within so long is refused."""


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


@dataclass(frozen=True, slots=True)
class Place:
    """Where the node stands; the rules follow from it."""

    bridge: str
    cluster_range: str
    """Of the tasks of all nodes."""
    service_range: str
    """Of the virtual addresses; "" where the cluster has none."""
    subnets: Sequence[str]
    """Of this node's tasks."""
    gateway: str
    """The node's own address towards its tasks: as which it speaks to tasks of other nodes for strangers."""


def whole(table: str, place: Place) -> str:
    """A table without elements, whatever was there before, in one transaction.

    Packets to 127.0.0.0/8 may only come out of loopback: route_localnet, which `curl localhost:PORT`
    needs for the answers, would otherwise open the node's own local services to its tasks and neighbours.
    """
    return f"{removal([table])}table {FAMILY} {table} {{{_text(place)}}}\n"


def mark(place: Place) -> str:
    """The chain that says which rules these are: a table that has it is whole, and need not be written."""
    return f"version-{hashlib.sha256(_text(place).encode()).hexdigest()[:12]}"


def _text(place: Place) -> str:
    own = "{ " + ", ".join(place.subnets) + " }"
    services = f"ip daddr {place.service_range}" if place.service_range else "ip daddr 255.255.255.255"
    any_door, at_door = "meta l4proto . th dport", "ip daddr . meta l4proto . th dport"
    drawn = "numgen random mod 65535"
    # before it is translated: where br_netfilter is loaded the kernel's reset is not translated back
    led_astray = "meta l4proto tcp ct status & dnat == dnat ct direction original ct reply ip saddr @gone"
    # by a task to which we led: it may have died a moment ago, and the client's second try is led to another
    refusal = f"tcp flags & (syn | rst) == rst ip saddr {place.cluster_range} ct direction reply"
    return f"""
  map {_ANY} {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}
  map {_AT} {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }}

  map virtual {{ type ipv4_addr : verdict; }}
  map virtual_ends {{ typeof ip daddr . {drawn} : ip daddr; }}
  map virtual_memory {{ type ipv4_addr : verdict; }}
  map doors_at {{ typeof {at_door} : verdict; }}
  map doors_at_ends {{ typeof {at_door} . {drawn} : ip daddr . th dport; }}
  map doors_at_memory {{ typeof {at_door} : verdict; }}
  map doors {{ typeof {any_door} : verdict; }}
  map doors_ends {{ typeof {any_door} . {drawn} : ip daddr . th dport; }}
  map doors_memory {{ typeof {any_door} : verdict; }}
  map clients {{
    typeof ip saddr . {at_door} : ip daddr . th dport
    size 262144; flags dynamic,timeout;
  }}

  set callers {{ typeof ip saddr . ip saddr; size 65535; flags dynamic,timeout; }}
  set gone {{ type ipv4_addr; flags timeout; }}
  set refused {{ typeof ip daddr . tcp dport; size 65535; flags dynamic,timeout; }}

  chain closed {{ accept; }}

  chain from_outside {{
    type nat hook prerouting priority dstnat; policy accept;
    ip saddr {own} update @callers {{ ip saddr . ip saddr timeout 60s }}
    {services} goto to_service
    fib daddr type local jump published
  }}
  chain from_here {{
    type nat hook output priority -100; policy accept;
    {services} goto to_service
    fib daddr type local jump published
  }}
  chain to_service {{
    {at_door} vmap @doors_at
    ip daddr vmap @virtual
  }}
  chain published {{
    meta l4proto != {{ tcp, udp }} return
    dnat ip to {at_door} map @{_AT}
    dnat ip to {any_door} map @{_ANY}
    {at_door} vmap @doors_at
    {any_door} vmap @doors
  }}
  chain leaving {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {own} ip daddr != {place.cluster_range} masquerade
    ct status & dnat == dnat ip daddr {place.cluster_range} goto led
  }}
  chain led {{
    jump remembering
    ip saddr 127.0.0.0/8 snat to {place.gateway}
    ip saddr . ip daddr @callers snat to {place.gateway}
    ip daddr != {own} ip saddr != {place.cluster_range} snat to {place.gateway}
  }}
  chain remembering {{ }}
  chain coming {{
    type filter hook prerouting priority mangle; policy accept;
    ip daddr 127.0.0.0/8 iif != "lo" drop
    {led_astray} reject with tcp reset
    {refusal} ct status & (dnat | assured) == dnat goto doubted
  }}
  chain doubted {{
    ip daddr . tcp dport @refused accept
    add @refused {{ ip daddr . tcp dport timeout {DOUBTED_SECONDS}s }} drop
  }}
  chain beginning {{
    type filter hook output priority mangle; policy accept;
    {led_astray} reject with tcp reset
  }}
  chain passing {{
    type filter hook forward priority filter - 10; policy accept;
    {services} goto refuse
  }}
  chain sending {{
    type filter hook output priority filter - 10; policy accept;
    {services} goto refuse
    icmp type redirect oifname "{place.bridge}" drop
  }}
  chain refuse {{
    meta l4proto tcp reject with tcp reset
    reject with icmp port-unreachable
  }}
"""


def removal(tables: Sequence[str] = TABLES) -> str:
    """They need not be there."""
    return "".join(f"table {FAMILY} {each}\ndelete table {FAMILY} {each}\n" for each in tables)


def elements(doors: Mapping[Door, Target]) -> Iterator[tuple[tuple[str, bytes], bytes | str]]:
    """The map and the key of each door, and where it leads, as the kernel holds them."""
    for door, target in doors.items():
        key = bytes((_PROTOCOLS[door.protocol], 0, 0, 0)) + _half(door.port)
        place = IPv4Address(door.host_ip).packed if door.host_ip else b""
        yield (_AT if place else _ANY, place + key), IPv4Address(target.address).packed + _half(target.port)


def overlapping(door: Door, others: Iterable[Door]) -> Door | None:
    """A door that would take the same packets."""
    for other in others:
        same_place = other.host_ip == door.host_ip or not other.host_ip or not door.host_ip
        if same_place and (other.protocol, other.port) == (door.protocol, door.port):
            return other
    return None


def _half(number: int) -> bytes:
    return number.to_bytes(2, "big") + b"\0\0"
