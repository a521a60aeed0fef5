"""The way to the cluster's own image registry: through the control plane, with the node's certificate."""

import ssl
from collections.abc import Callable

from agent.identity import Credentials
from orch.identity import roles, tls
from orch.oci.door import Door
from orch.oci.reference import CLUSTER


class OwnRegistry:
    def __init__(self, credentials: Callable[[], Credentials]) -> None:
        """`credentials` are asked each time: they are renewed while we run."""
        self._credentials = credentials
        self._address = ""
        self.offer: Callable[[], str] = str
        """host:port where other nodes get what we get there; empty: nowhere."""
        self._shown: tuple[Credentials, ssl.SSLContext] | None = None

    def is_at(self, address: str) -> None:
        """host:port, as the control plane says; empty when there is none."""
        self._address = address

    def door(self, registry: str, grant: str = "") -> Door | None:
        """None for every registry but our own, and while we do not know where that is.

        `grant` is a word of the control plane that lets us push.
        """
        if registry != CLUSTER or not self._address:
            return None
        authorization = f"Bearer {grant}" if grant else ""
        return Door(self._address, self._context(), roles.SERVER_NAME, authorization, self.offer())

    def _context(self) -> ssl.SSLContext:
        held = self._credentials()
        if self._shown is None or self._shown[0] is not held:
            self._shown = (held, tls.client(held.certificate, held.key, held.ca))
        return self._shown[1]
