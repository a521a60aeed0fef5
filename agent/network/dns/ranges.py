"""Ranges of addresses; ipaddress takes a third of a megabyte for it."""

from agent.network.dns import entry


class Range:
    """10.208.4.1/22: every address that begins with the same 22 bits."""

    __slots__ = ("_first", "_length", "_rest")

    def __init__(self, text: str) -> None:
        """Raises ValueError."""
        address, _, prefix = text.partition("/")
        packed = entry.packed(address)
        self._length = len(packed)
        self._rest = len(packed) * 8 - int(prefix)
        self._first = int.from_bytes(packed, "big") >> self._rest

    def holds(self, packed: bytes) -> bool:
        """Whether the address, as four or sixteen bytes, is in it."""
        return len(packed) == self._length and int.from_bytes(packed, "big") >> self._rest == self._first
