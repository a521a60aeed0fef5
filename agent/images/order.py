"""What an unpacker is told: lines of text, in a message that carries its pipes."""

from typing import NamedTuple

from agent.images.limits import Limits


class Order(NamedTuple):
    """One layer to unpack. An empty digest was not promised."""

    root: str
    size: int
    """Bytes of the blob."""
    digest: str
    diff_id: str
    limits: Limits

    def written(self) -> bytes:
        return "\n".join(map(str, (self.root, self.size, self.digest, self.diff_id, *self.limits))).encode()


def read(text: bytes) -> Order:
    """What `written` wrote."""
    root, size, digest, diff_id, *bounds = text.decode().split("\n")
    return Order(root, int(size), digest, diff_id, Limits(*(int(bound) for bound in bounds)))
