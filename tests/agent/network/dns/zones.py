"""Zones for tests, and dnspython as whoever asks."""

import json

import dns.message
import dns.name
import dns.rrset

from agent.network.dns import answer, message
from agent.network.dns.table import Table
from agent.network.dns.zone import Zone

WEB = [
    ["10.224.0.5"],
    [["http", "tcp", 80, 8080], ["metrics", "tcp", 9100, 9100]],
    [
        [1, 1, ["10.208.4.7"]],
        [2, 1, ["10.208.8.9"], [8000, 0]],
        [3, 0, ["10.208.8.10"]],
    ],
]


def a_zone(**services: object) -> Zone:
    """Services by their name with `__` for the dot: web__default=[virtual, ports, endpoints]."""
    table = Table()
    for name, said in services.items():
        table.put(f"{name.replace('__', '.')}\t{json.dumps(said)}".encode())
    return Zone(table, lambda address: address.startswith(b"\x0a\xd0"))


def ask(
    zone: Zone, name: str, kind: str = "A", asker: str = "", limit: int = 0, **more: object
) -> dns.message.Message:
    """The answer as dnspython reads it; LookupError where it is somebody else's."""
    query = dns.message.make_query(name, kind, **more)
    return reply_to(zone, query, asker, limit)


def reply_to(zone: Zone, query: dns.message.Message, asker: str = "", limit: int = 0) -> dns.message.Message:
    ours = message.Query(query.to_wire())
    said = zone.reply(ours, asker)
    if said is None:
        raise LookupError("somebody else's")
    read = dns.message.from_wire(answer.write(ours, said, limit or ours.udp_limit))
    assert query.is_response(read)
    return read


def texts(section: list[dns.rrset.RRset]) -> list[str]:
    return sorted(item.to_text() for rrset in section for item in rrset)
