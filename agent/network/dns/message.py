"""DNS queries as far as orch-dns must understand them (RFC 1035, EDNS of RFC 6891).

What is forwarded passes as bytes; only its id and its question are looked at.
"""

import struct

A, SOA, PTR, AAAA, SRV, OPT, IXFR, AXFR, ANY = 1, 6, 12, 28, 33, 41, 251, 252, 255
NS, DS, DNSKEY = 2, 43, 48
IN = 1
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)
BADVERS = 16

UDP_BYTES_WITHOUT_EDNS = 512
UDP_BYTES = 1232
"""What passes any link without fragments (DNS flag day 2020)."""
TCP_BYTES = 65535

HEADER = struct.Struct("!HHHHHH")
RESPONSE, AUTHORITATIVE, TRUNCATED, RECURSION_WANTED, RECURSION_GIVEN = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080
DNSSEC_OK = 0x8000
_RECORD = struct.Struct("!HHIH")
_LONGEST_NAME = 255


class MalformedError(ValueError):
    """Not a DNS query."""


class Query:
    """One question."""

    __slots__ = (
        "data",
        "dnssec_ok",
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
        if len(data) < HEADER.size:
            raise MalformedError("shorter than a header")
        self.data = data
        self.id, flags, questions, answers, authorities, additional = HEADER.unpack_from(data)
        if flags & RESPONSE:
            raise MalformedError("a response")
        self.opcode = flags >> 11 & 15
        self.recursion = bool(flags & RECURSION_WANTED)
        if questions != 1 or answers or (authorities and not self.opcode):
            raise MalformedError("not exactly one question")
        self.name, at = read_name(data, HEADER.size)
        if at + 4 > len(data):
            raise MalformedError("cut off in the question")
        self.kind, self.klass = struct.unpack_from("!HH", data, at)
        self.question = data[HEADER.size : at + 4]
        self.edns_version: int | None = None
        self.udp_bytes = UDP_BYTES_WITHOUT_EDNS
        self.dnssec_ok = False
        if additional and not self.opcode:
            self._read_additional(at + 4, additional)

    def _read_additional(self, at: int, count: int) -> None:
        data = self.data
        for _ in range(count):
            owner = at
            at = _after_name(data, at)
            if at + _RECORD.size > len(data):
                raise MalformedError("cut off in the additional records")
            kind, size, extended, length = _RECORD.unpack_from(data, at)
            at += _RECORD.size + length
            if at > len(data):
                raise MalformedError("cut off in a record")
            if kind == OPT:
                if data[owner] or self.edns_version is not None:
                    raise MalformedError("more than one EDNS record, or one with a name")
                self.edns_version = extended >> 16 & 255
                self.udp_bytes = max(size, UDP_BYTES_WITHOUT_EDNS)
                self.dnssec_ok = bool(extended & DNSSEC_OK)

    @property
    def udp_limit(self) -> int:
        """How many bytes an answer in a datagram may have."""
        return min(self.udp_bytes, UDP_BYTES)


def read_name(data: bytes, at: int) -> tuple[str, int]:
    """A name in lower case without the last dot, and where it ends; a question's name has no pointers."""
    labels: list[str] = []
    start = at
    while at < len(data):
        length = data[at]
        at += 1
        if length == 0:
            return ".".join(labels).lower(), at
        if length > 63 or at + length > len(data) or at + length - start >= _LONGEST_NAME:
            break
        labels.append(data[at : at + length].decode("latin-1").replace(".", "\\."))
        at += length
    raise MalformedError("a name that does not end")


def malformed(data: bytes) -> bytes:
    """The answer to what could not be read; b"" where it has no id to answer to, or is itself a response."""
    if len(data) < HEADER.size or data[2] & 0x80:
        return b""
    return HEADER.pack(struct.unpack_from("!H", data)[0], RESPONSE | FORMERR, 0, 0, 0, 0)


def with_id(data: bytes, number: int) -> bytes:
    """The same message under another id."""
    return struct.pack("!H", number) + data[2:]


def for_asker(reply: bytes, query: Query) -> bytes:
    """A reply to the same question of somebody else, under this asker's id and in this asker's capitals."""
    end = HEADER.size + len(query.question)
    if reply[4:6] == b"\0\0":
        return with_id(reply, query.id)
    return struct.pack("!H", query.id) + reply[2 : HEADER.size] + query.question + reply[end:]


def answers_to(reply: bytes, number: int, query: Query) -> bool:
    """Whether the reply has that id and repeats that question; anything else may be forged."""
    if len(reply) < HEADER.size:
        return False
    found, flags, questions = struct.unpack_from("!HHH", reply)
    if found != number or not flags & RESPONSE:
        return False
    asked = reply[HEADER.size : HEADER.size + len(query.question)]
    return bool(questions == 0 or asked.lower() == query.question.lower())


def code_of(reply: bytes) -> int:
    """NOERROR, SERVFAIL and the like."""
    return reply[3] & 15


def _after_name(data: bytes, at: int) -> int:
    """Where a name ends that may end with a pointer; it is not followed, so it can lead nowhere."""
    start = at
    while at < len(data) and at - start <= _LONGEST_NAME:
        length = data[at]
        if length == 0:
            return at + 1
        if length >= 0xC0:
            return at + 2
        if length > 63:
            break
        at += 1 + length
    raise MalformedError("a name that does not end")
