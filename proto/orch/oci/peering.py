"""What node and registry say to each other so that nodes give blobs to each other.

A node that asks the cluster's own registry for a blob says where it will give it to others (`Orch-Offer`). The
registry sends it the blob, or a 307 with the address of a node that has it, or is just getting it, and with that node's
name (`Orch-Peer`). Where that fails the node asks again and says whose fault it was (`Orch-Failed`); after a few, or
when what came was wrong, it says that it wants nobody else's (`Orch-Direct`).
"""

from collections.abc import Collection

OFFER = "Orch-Offer"
PEER = "Orch-Peer"
FAILED = "Orch-Failed"
DIRECT = "Orch-Direct"

SMALLEST_BYTES = 1 << 20
"""What is smaller comes sooner than a second connection."""
MOST_PEERS = 3
"""After so many nodes that did not help the registry itself is asked to."""


def server_name(node: str) -> str:
    """In the node's certificate, for those who get blobs from it."""
    return f"{node}.nodes.orch"


def asking(offer: str, failed: Collection[str], *, direct: bool) -> dict[str, str]:
    """The headers of a node that asks."""
    found = {OFFER: offer}
    if failed:
        found[FAILED] = ",".join(failed)
    if direct:
        found[DIRECT] = "1"
    return found
