"""HTTP routes of this node: the proxy, the certificates it needs, and what it says of requests."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

from agent.reconciler.files import Files
from agent.routes import process
from agent.routes.config import Places
from agent.routes.proxy import Proxy
from orch import wire
from orch.model.assignment import EndpointSection
from orch.model.config import TLS_CERTIFICATE, TLS_KEY, TLS_TYPE
from orch.model.names import ObjectName
from orch.v1 import sessions_pb2


class Routing:
    def __init__(self, run_dir: Path, files: Files, http_port: int, https_port: int) -> None:
        """Starts nothing yet: a node without routes has no proxy."""
        self._files = files
        self._places = places(run_dir, http_port, https_port)
        self._proxy: Proxy | None = None

    def open(self, settle: Callable[[int], None]) -> None:
        """`settle` is told the pid of each proxy, which is to outlive the agent."""
        self._proxy = Proxy(self._places, settle)

    async def set(self, section: EndpointSection) -> None:
        """Returns when requests are led as the section says."""
        if self._proxy is not None and (self._places.http_port or self._places.https_port):
            pems = await asyncio.to_thread(self._pems, section)
            await self._proxy.set(section, pems)

    def problems(self) -> list[str]:
        """What is wrong."""
        return self._proxy.problems() if self._proxy else []

    async def traffic(self) -> sessions_pb2.Traffic | None:
        """What is new of requests since this was asked before; None where nothing is."""
        if self._proxy is None:
            return None
        said = self._proxy.traffic()
        if not said:
            return None
        return sessions_pb2.Traffic(
            revisions=map(wire.to_wire, said), unmeasured=await self._proxy.unmeasured()
        )

    async def close(self) -> None:
        """The proxy goes on."""
        if self._proxy is not None:
            self._proxy.close()

    def _pems(self, section: EndpointSection) -> dict[ObjectName, str]:
        wanted = {
            ObjectName(service.service.namespace, route.tls)
            for service in section.services
            for route in service.routes
            if route.tls
        }
        found = self._files.secrets_of_type(TLS_TYPE) if wanted else {}
        return {name: pem(data) for name, data in found.items() if name in wanted}


def pem(data: Mapping[str, bytes]) -> str:
    """Certificate, chain and key, as HAProxy reads them."""
    parts = (data.get(TLS_CERTIFICATE, b""), data.get(TLS_KEY, b""))
    return "\n".join(part.decode(errors="replace").strip() for part in parts) + "\n"


def places(run_dir: Path, http_port: int, https_port: int) -> Places:
    """Keys lie in the tmpfs of root's that secrets lie in."""
    uid, gid = process.account()
    folder, keys = run_dir / "routes", run_dir / "secrets" / "routes"
    return Places(
        str(folder), str(keys), http_port, https_port, uid, gid, process.most_connections(), process.threads()
    )
