"""What the cluster's names stand for.

[_http._tcp.] [tasks. | vip. | 3.] web . default . orch

A name that does not end with `orch` is looked up as the asking task would mean it, in its own namespace first; where
there is no such service it is somebody else's. So `tasks.web` and `web.shop` are found without search domains too.
"""

import os
import socket
from collections.abc import Callable, Iterable

from agent.network.dns import answer, entry, message
from agent.network.dns.answer import Answer
from agent.network.dns.entry import Entry
from agent.network.dns.message import Query
from agent.network.dns.table import Table

DOMAIN = "orch"
TASKS = "tasks"
VIRTUAL = "vip"
_OTHERS_KINDS = frozenset((message.NS, message.SOA, message.DS, message.DNSKEY))
"""Asked of a whole zone: a service that is called `com` must not become the top of all its names."""


class Zone:
    """The names of a table."""

    def __init__(self, table: Table, is_ours: Callable[[bytes], bool] = lambda _: False) -> None:
        """`is_ours` knows the addresses of whose owners nobody else could tell."""
        self.table = table
        self._is_ours = is_ours

    def reply(self, query: Query, asker: str = "") -> Answer | None:
        """None where somebody else must be asked. `asker` is the address of the task that asks."""
        if query.edns_version:
            return Answer(message.BADVERS)
        if query.opcode:
            return Answer(message.NOTIMP)
        if query.klass != message.IN or query.kind in (message.AXFR, message.IXFR):
            return Answer(message.REFUSED)
        if query.name.endswith((".in-addr.arpa", ".ip6.arpa")):
            return self._reply_reverse(query)
        if query.name == DOMAIN:
            is_asked_for_authority = query.kind in (message.SOA, message.ANY)
            return answer.found([answer.start_of_authority()] if is_asked_for_authority else [])
        if query.name.endswith("." + DOMAIN):
            return self._reply_absolute(query)
        return self._reply_relative(query, asker)

    def _reply_absolute(self, query: Query) -> Answer:
        name = query.name[: -len(DOMAIN) - 1]
        labels = name.split(".")
        if len(labels) == 1:
            return answer.found(()) if self.table.has_namespace(name) else answer.no_such_name()
        service = ".".join(labels[-2:])
        known = self.table.find(service)
        said = _say(query.kind, known, service, labels[:-2], own=True) if known is not None else None
        return said if said is not None else answer.no_such_name()

    def _reply_relative(self, query: Query, asker: str) -> Answer | None:
        if query.kind in _OTHERS_KINDS:
            return None
        labels = query.name.split(".")
        namespace = self._namespace(asker)
        for full in ([*labels, namespace] if namespace else []), labels:
            if len(full) < 2:
                continue
            service = ".".join(full[-2:])
            known = self.table.find(service)
            if known is None:
                continue
            said = _say(query.kind, known, service, full[:-2], own=False)
            if said is not None:
                return said
        return None

    def _namespace(self, asker: str) -> str:
        try:
            owner = self.table.owner(entry.packed(asker)) if asker else ""
        except ValueError:
            return ""
        return owner.rpartition(".")[2]

    def _reply_reverse(self, query: Query) -> Answer | None:
        address = _address_of(query.name)
        service = self.table.owner(address) if address else ""
        known = self.table.find(service) if service else None
        if known is None:
            return answer.no_such_name(own=False) if address and self._is_ours(address) else None
        names = _names_of(known, service, address)
        wanted = query.kind in (message.PTR, message.ANY)
        return answer.found(
            (answer.record(message.PTR, answer.name(each)) for each in names if wanted), own=False
        )


def _say(kind: int, known: Entry, service: str, before: list[str], *, own: bool) -> Answer | None:
    """What the labels before a service's name stand for; None for nothing."""
    if before and before[0].startswith("_"):
        port = before[:2]
        place = before[2:]
        if len(port) < 2 or not port[1].startswith("_"):
            return answer.found((), own=own) if before in (["_tcp"], ["_udp"]) and known.ports else None
        return _say_port(kind, known, service, (port[0][1:], port[1][1:]), place, own=own)
    addresses = _addresses(known, before)
    if addresses is None:
        return None
    return answer.found(_records(kind, addresses), own=own)


def _addresses(known: Entry, place: list[str]) -> list[bytes] | None:
    match place:
        case []:
            return known.virtual or known.ready
        case [word] if word == TASKS:
            return known.ready
        case [word] if word == VIRTUAL:
            return known.virtual
        case [word] if (slot := _slot(word)) in known.slots:
            return known.slots[slot].addresses
        case _:
            return None


def _say_port(
    kind: int, known: Entry, service: str, port: tuple[str, str], place: list[str], *, own: bool
) -> Answer | None:
    found = known.numbers_of(*port)
    if found is None or _addresses(known, place) is None:
        return None
    if kind not in (message.SRV, message.ANY):
        return answer.found((), own=own)
    at, number = found
    if place == [VIRTUAL]:
        target = answer.name(f"{service}.{DOMAIN}")
        records = [answer.service(0, 10, number, target)] if known.virtual else []
        return answer.found(records, (answer.address(each, target) for each in known.virtual), own=own)
    if place in ([], [TASKS]):
        slots = list(known.slots)
        first = _anywhere(len(slots))
        return _say_tasks(known, service, at, slots[first:] + slots[:first], every=False, own=own)
    return _say_tasks(known, service, at, [_slot(place[0])], every=True, own=own)


def _say_tasks(
    known: Entry, service: str, at: int, slots: Iterable[int], *, every: bool, own: bool
) -> Answer:
    """`every`: also a task that is not ready, for it was asked for by its number."""
    records, additional = [], []
    for slot in slots:
        task = known.slots[slot]
        number = known.target(task, at)
        if number and (task.is_ready or every):
            target = answer.name(f"{slot}.{service}.{DOMAIN}")
            records.append(answer.service(0, 10, number, target))
            additional += [answer.address(each, target) for each in task.addresses]
    return answer.found(records, additional, own=own)


def _records(kind: int, addresses: list[bytes]) -> list[bytes]:
    length = {message.A: 4, message.AAAA: 16}.get(kind, 0)
    if not length and kind != message.ANY:
        return []
    found = [each for each in addresses if len(each) == length or not length]
    first = _anywhere(len(found))
    return [answer.address(each) for each in found[first:] + found[:first]]


def _anywhere(count: int) -> int:
    """Where to begin, so that who takes the first one takes another one each time."""
    return int.from_bytes(os.urandom(4), "big") % count if count > 1 else 0


def _slot(word: str) -> int:
    """0, which no slot is, for what is not a number as we write it."""
    return int(word) if word.isascii() and word.isdigit() and len(word) < 10 and word[0] != "0" else 0


def _address_of(name: str) -> bytes:
    """What a name below in-addr.arpa or ip6.arpa asks for; b"" where that is no address."""
    labels = name.split(".")[:-2]
    text = ".".join(reversed(labels))
    if name.endswith(".ip6.arpa"):
        digits = "".join(reversed(labels))
        text = (
            ":".join(digits[at : at + 4] for at in range(0, 32, 4))
            if len(labels) == len(digits) == 32
            else ""
        )
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
    except (OSError, ValueError):
        return b""


def _names_of(known: Entry, service: str, address: bytes) -> list[str]:
    if address in known.virtual:
        return [f"{service}.{DOMAIN}"]
    return [f"{slot}.{service}.{DOMAIN}" for slot, task in known.slots.items() if address in task.addresses]
