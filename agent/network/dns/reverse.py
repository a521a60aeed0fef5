"""Whose an address is. Arrays: a hundred thousand addresses of IPv4 take a megabyte instead of ten."""

import bisect
from array import array
from collections.abc import Iterable

BLOCK = 2048
"""A full block is cut in two: to put something into a short array is quick, however many there are."""
_OWNER_BITS = 32
_OWNER_MASK = (1 << _OWNER_BITS) - 1


class Reverse:
    """Addresses are packed, owners are small numbers. An address may have several owners for a moment."""

    def __init__(self) -> None:
        """Nobody has an address."""
        self._blocks = [array("Q")]
        self._firsts = [0]
        """Of each block what it begins with, or less."""
        self._long: dict[bytes, int] = {}

    def owner(self, address: bytes) -> int | None:
        """The number of who has the address."""
        if len(address) != 4:
            return self._long.get(address)
        least = _key(address, 0)
        number = self._block_of(least)
        for block in self._blocks[number : number + 2]:
            at = bisect.bisect_left(block, least)
            if at < len(block):
                return block[at] & _OWNER_MASK if block[at] >> _OWNER_BITS == least >> _OWNER_BITS else None
        return None

    def add(self, addresses: Iterable[bytes], owner: int) -> None:
        """The owner has these too."""
        for each in addresses:
            if len(each) != 4:
                self._long[each] = owner
                continue
            key = _key(each, owner)
            number = self._block_of(key)
            bisect.insort(self._blocks[number], key)
            if len(self._blocks[number]) > BLOCK:
                self._cut(number)

    def remove(self, addresses: Iterable[bytes], owner: int) -> None:
        """Those that are not the owner's stay."""
        for each in addresses:
            if len(each) != 4:
                if self._long.get(each) == owner:
                    del self._long[each]
                continue
            key = _key(each, owner)
            number = self._block_of(key)
            block = self._blocks[number]
            at = bisect.bisect_left(block, key)
            if at < len(block) and block[at] == key:
                del block[at]
                if not block and number:
                    del self._blocks[number], self._firsts[number]

    def _block_of(self, key: int) -> int:
        return bisect.bisect_right(self._firsts, key) - 1

    def _cut(self, number: int) -> None:
        block = self._blocks[number]
        middle = len(block) // 2
        self._blocks[number : number + 1] = [block[:middle], block[middle:]]
        self._firsts.insert(number + 1, block[middle])


def _key(address: bytes, owner: int) -> int:
    return int.from_bytes(address, "big") << _OWNER_BITS | owner
