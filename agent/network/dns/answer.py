"""What orch-dns says itself, and how that is written: whole records only, as many as fit (RFC 1035, 2181, 2782)."""

import struct
from collections.abc import Iterable

from agent.network.dns import message
from agent.network.dns.message import Query

TTL_SECONDS = 2
"""Short: an address may leave a service at any moment."""
OUR_UDP_BYTES = message.UDP_BYTES
_QUESTION = b"\xc0\x0c"
"""A pointer to the question's name."""
_ZONE = b"\x04orch\0"
_SOA_DATA = b"\x02ns" + _ZONE + b"\x05admin" + _ZONE + struct.pack("!IIIII", 1, 60, 60, 60, TTL_SECONDS)


class Answer:
    """A code and records, each as bytes."""

    __slots__ = ("additional", "authority", "code", "records")

    def __init__(
        self, code: int = message.NOERROR, records: Iterable[bytes] = (), additional: Iterable[bytes] = ()
    ) -> None:
        self.code = code
        self.records = list(records)
        self.additional = list(additional)
        self.authority: list[bytes] = []


def found(records: Iterable[bytes], additional: Iterable[bytes] = (), *, own: bool = True) -> Answer:
    """These records; none of them means that the name has others."""
    answer = Answer(message.NOERROR, records, additional)
    if not answer.records:
        answer.authority = [_absence(own)]
    return answer


def no_such_name(*, own: bool = True) -> Answer:
    """May be remembered for TTL_SECONDS. `own`: the name ends with ours."""
    answer = Answer(message.NXDOMAIN)
    answer.authority = [_absence(own)]
    return answer


def address(packed: bytes, owner: bytes = _QUESTION) -> bytes:
    """An A or AAAA record."""
    return record(message.A if len(packed) == 4 else message.AAAA, packed, owner)


def service(priority: int, weight: int, port: int, target: bytes) -> bytes:
    """An SRV record."""
    return record(message.SRV, struct.pack("!HHH", priority, weight, port) + target)


def start_of_authority() -> bytes:
    """Of the zone `orch` itself."""
    return record(message.SOA, _SOA_DATA)


def record(kind: int, data: bytes, owner: bytes = _QUESTION) -> bytes:
    """Any record; the owner is the name of the question unless told."""
    return owner + struct.pack("!HHIH", kind, message.IN, TTL_SECONDS, len(data)) + data


def name(text: str) -> bytes:
    """A name as it is written in a message."""
    labels = [label.encode("latin-1") for label in text.split(".") if label]
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def write(query: Query, answer: Answer, limit: int) -> bytes:
    """The whole message. What does not fit is left out, and over UDP the asker is told to come back over TCP."""
    edns = _opt(query, answer.code)
    free = limit - message.HEADER.size - len(query.question) - len(edns)
    kept, free = _fitting(answer.records, free)
    is_cut = len(kept) < len(answer.records)
    authority, free = _fitting(answer.authority, free)
    additional, free = _fitting(() if is_cut else answer.additional, free)
    flags = message.RESPONSE | message.AUTHORITATIVE | message.RECURSION_GIVEN
    flags |= query.opcode << 11 | answer.code & 15
    flags |= message.RECURSION_WANTED if query.recursion else 0
    flags |= message.TRUNCATED if is_cut and limit < message.TCP_BYTES else 0
    head = message.HEADER.pack(
        query.id, flags, 1, len(kept), len(authority), len(additional) + (1 if edns else 0)
    )
    return b"".join((head, query.question, *kept, *authority, *additional, edns))


def _fitting(records: Iterable[bytes], free: int) -> tuple[list[bytes], int]:
    kept = []
    for each in records:
        if len(each) > free:
            break
        kept.append(each)
        free -= len(each)
    return kept, free


def _opt(query: Query, code: int) -> bytes:
    if query.edns_version is None:
        return b""
    extended = code >> 4 << 24 | (message.DNSSEC_OK if query.dnssec_ok else 0)
    return b"\0" + struct.pack("!HHIH", message.OPT, OUR_UDP_BYTES, extended, 0)


def _absence(own: bool) -> bytes:
    """Says how long the absence of a name may be remembered. Its owner must be above the name or be it."""
    return record(message.SOA, _SOA_DATA, _ZONE if own else _QUESTION)
