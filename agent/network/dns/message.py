"""DNS messages as far as orch-dns must understand them (RFC 1035, EDNS of RFC 6891).

Queries are read; answers are made for the cluster's own names. What is forwarded passes as bytes.
"""

import struct
from collections.abc import Sequence
from ipaddress import ip_address

A, SOA, AAAA, OPT, ANY = 1, 6, 28, 41, 255
IN = 1
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)
BADVERS = 16

UDP_BYTES_WITHOUT_EDNS = 512
UDP_BYTES = 1232
"""What passes any link without fragments (DNS flag day 2020)."""

_HEADER = struct.Struct("!HHHHHH")
_RESPONSE, _AUTHORITATIVE, _TRUNCATED, _RECURSION_WANTED, _RECURSION_GIVEN = (
    0x8000,
    0x0400,
    0x0200,
    0x0100,
    0x0080,
)
_POINTER_TO_QUESTION = b"\xc0\x0c"


class MalformedError(ValueError):
    """Not a DNS query."""


class Query:
    """One question."""

    __slots__ = (
        "edns_version",
        "id",
        "kind",
        "klass",
        "name",
        "opcode",
        "question",
        "recursion",
        "udp_bytes",
    )

    def __init__(self, data: bytes) -> None:
        """Raises MalformedError; the id is worth an answer wherever there is one."""
        if len(data) < _HEADER.size:
            raise MalformedError("shorter than a header")
        self.id, flags, questions, answers, authorities, additional = _HEADER.unpack_from(data)
        if flags & _RESPONSE:
            raise MalformedError("a response")
        self.opcode = flags >> 11 & 15
        self.recursion = bool(flags & _RECURSION_WANTED)
        if questions != 1 or answers or (authorities and not self.opcode):
            raise MalformedError("not exactly one question")
        self.name, at = read_name(data, _HEADER.size)
        if at + 4 > len(data):
            raise MalformedError("cut off in the question")
        self.kind, self.klass = struct.unpack_from("!HH", data, at)
        self.question = data[_HEADER.size : at + 4]
        self.edns_version, self.udp_bytes = _edns(data, at + 4, additional)


def read_name(data: bytes, at: int) -> tuple[str, int]:
    """A name in lower case without the last dot, and where it ends; a question's name has no pointers."""
    labels: list[str] = []
    start = at
    while at < len(data):
        length = data[at]
        at += 1
        if length == 0:
            return ".".join(labels).lower(), at
        if length > 63 or at + length > len(data) or at + length - start > 254:
            break
        labels.append(data[at : at + length].decode("latin-1"))
        at += length
    raise MalformedError("a name that does not end")


def answer(query: Query, addresses: Sequence[str], *, ttl_seconds: int) -> bytes:
    """The addresses of the family that was asked for; none of them means that the name has others."""
    wanted = {A: (4,), AAAA: (6,), ANY: (4, 6)}.get(query.kind, ())
    found = [ip for ip in map(ip_address, addresses) if ip.version in wanted]
    records = [
        _POINTER_TO_QUESTION
        + struct.pack("!HHIH", A if ip.version == 4 else AAAA, IN, ttl_seconds, len(ip.packed))
        + ip.packed
        for ip in found
    ]
    return _reply(query, NOERROR, answers=records, authority=[] if records else [_soa(ttl_seconds)])


def no_such_name(query: Query, *, ttl_seconds: int) -> bytes:
    """May be remembered for that long."""
    return _reply(query, NXDOMAIN, authority=[_soa(ttl_seconds)])


def failure(query: Query, code: int) -> bytes:
    """SERVFAIL, NOTIMP, REFUSED, BADVERS."""
    return _reply(query, code)


def malformed(data: bytes) -> bytes:
    """The answer to what could not be read; b"" where it has no id to answer to, or is itself a response."""
    if len(data) < _HEADER.size or data[2] & 0x80:
        return b""
    return _HEADER.pack(struct.unpack_from("!H", data)[0], _RESPONSE | FORMERR, 0, 0, 0, 0)


def fitting(query: Query, reply: bytes) -> bytes:
    """As it goes over UDP: what does not fit says so, and the asker comes back over TCP."""
    limit = min(max(query.udp_bytes, UDP_BYTES_WITHOUT_EDNS), UDP_BYTES)
    if len(reply) <= limit:
        return reply
    number, flags, _, _, _, _ = _HEADER.unpack_from(reply)
    head = _HEADER.pack(number, flags | _TRUNCATED, 1, 0, 0, 1 if query.edns_version is not None else 0)
    return head + query.question + _opt(query, 0)


def with_id(data: bytes, number: int) -> bytes:
    """The same message under another id."""
    return struct.pack("!H", number) + data[2:]


def answers_to(reply: bytes, number: int, query: Query) -> bool:
    """Whether the reply has that id and repeats that question; anything else may be forged."""
    if len(reply) < _HEADER.size:
        return False
    found, flags, questions = struct.unpack_from("!HHH", reply)
    if found != number or not flags & _RESPONSE:
        return False
    asked = reply[_HEADER.size : _HEADER.size + len(query.question)]
    return questions == 0 or asked.lower() == query.question.lower()


def _reply(query: Query, code: int, answers: Sequence[bytes] = (), authority: Sequence[bytes] = ()) -> bytes:
    flags = _RESPONSE | _AUTHORITATIVE | _RECURSION_GIVEN | query.opcode << 11 | code & 15
    flags |= _RECURSION_WANTED if query.recursion else 0
    counts = (1, len(answers), len(authority), 0 if query.edns_version is None else 1)
    head = _HEADER.pack(query.id, flags, *counts)
    return head + query.question + b"".join(answers) + b"".join(authority) + _opt(query, code)


def _opt(query: Query, code: int) -> bytes:
    if query.edns_version is None:
        return b""
    return b"\0" + struct.pack("!HHBBHH", OPT, UDP_BYTES, code >> 4, 0, 0, 0)


def _soa(ttl_seconds: int) -> bytes:
    """Says how long the absence of a name may be remembered."""
    zone = b"\x04orch\0"
    data = b"\x02ns" + zone + b"\x05admin" + zone + struct.pack("!IIIII", 1, 60, 60, 60, ttl_seconds)
    return zone + struct.pack("!HHIH", SOA, IN, ttl_seconds, len(data)) + data


def _edns(data: bytes, at: int, additional: int) -> tuple[int | None, int]:
    """Version and the asker's UDP size; what cannot be read is taken as a query without EDNS."""
    for _ in range(additional):
        if at + 11 > len(data) or data[at] != 0:
            break
        kind, size, _, version, _, length = struct.unpack_from("!HHBBHH", data, at + 1)
        if kind == OPT:
            return version, size
        at += 11 + length
    return None, UDP_BYTES_WITHOUT_EDNS
