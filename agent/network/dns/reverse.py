"""Whose an address is. An array: a hundred thousand addresses of IPv4 take a megabyte instead of ten."""

import bisect
from array import array
from collections.abc import Iterable

_SERVICE_BITS = 32
_SERVICE_MASK = (1 << _SERVICE_BITS) - 1


class Reverse:
    """Addresses are packed, owners are small numbers. An address may have several owners for a moment."""

    def __init__(self) -> None:
        self._sorted = array("Q")
        self._unsorted: list[int] | None = []
        self._long: dict[bytes, int] = {}

    def owner(self, address: bytes) -> int | None:
        """The number of the service that has the address."""
        if len(address) != 4:
            return self._long.get(address)
        least = int.from_bytes(address, "big") << _SERVICE_BITS
        at = bisect.bisect_left(self._sorted, least)
        if at < len(self._sorted) and self._sorted[at] >> _SERVICE_BITS == least >> _SERVICE_BITS:
            return self._sorted[at] & _SERVICE_MASK
        return None

    def settle(self) -> None:
        """The first, many additions are over: they are sorted once instead of one by one."""
        if self._unsorted is not None:
            self._sorted = array("Q", sorted(self._unsorted))
            self._unsorted = None

    def add(self, addresses: Iterable[bytes], owner: int) -> None:
        for each in addresses:
            if len(each) != 4:
                self._long[each] = owner
            elif self._unsorted is not None:
                self._unsorted.append(_key(each, owner))
            else:
                bisect.insort(self._sorted, _key(each, owner))

    def remove(self, addresses: Iterable[bytes], owner: int) -> None:
        """Those that are not the owner's stay."""
        self.settle()
        for each in addresses:
            if len(each) != 4:
                if self._long.get(each) == owner:
                    del self._long[each]
                continue
            key = _key(each, owner)
            at = bisect.bisect_left(self._sorted, key)
            if at < len(self._sorted) and self._sorted[at] == key:
                del self._sorted[at]


def _key(address: bytes, owner: int) -> int:
    return int.from_bytes(address, "big") << _SERVICE_BITS | owner
