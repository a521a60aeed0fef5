"""Another way to a registry than its name: how the cluster's own is reached, and whose certificates count there."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl


@dataclass(frozen=True, slots=True)
class Door:
    address: str
    """host:port."""
    tls: "ssl.SSLContext"
    server_name: str
    """That its certificate must show."""
    authorization: str = ""
    """Sent with every request, where it is not empty."""
    offer: str = ""
    """host:port where we give to other nodes what we get here; empty: nowhere, and we ask no other node."""


DoorOf = Callable[[str], Door | None]
"""By the registry's name; None: go by the name."""
