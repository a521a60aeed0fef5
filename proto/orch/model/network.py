"""How a service is reached: by whom, at what names of the outside, and whether clients stay with one task."""

from typing import Annotated, Literal

from pydantic import Field

from orch.model.quantity import Duration
from orch.model.reach import ANYBODY, DEFAULT, Word
from orch.model.spec import Spec


class NetworkSpec(Spec):
    """Who may reach the service, whom it may reach, and whether clients stay with one of its tasks."""

    allow_from: tuple[Word, ...] = (DEFAULT,)
    """Who may connect: svc/web (of this namespace), svc/web.shop, ns/shop, a range such as 10.0.0.0/8, or *.

    default is as the namespace says: everybody, or its own services only where it is isolated.
    """
    egress: tuple[Word, ...] = (ANYBODY,)
    """Whom its tasks may connect to, in the same words. Names are always looked up."""
    session_affinity: Duration = 0.0
    """A client address comes back to the same task for this long after its last connection; 0 is never."""


class DnsSpec(Spec):
    """How short names are completed, after the cluster's own: default.orch and orch."""

    search: tuple[str, ...] = ()
    """Domains in place of the node's own search domains; "." is none."""
    options: tuple[str, ...] = ()
    """Options of resolv.conf in place of the node's own: ndots:2, timeout:1, single-request."""


class RouteSpec(Spec):
    """HTTP requests that come to any node and are led to the service."""

    host: str = ""
    """The name that is asked for: web.example.com, *.example.com, or empty for any."""
    path: str = "/"
    """What the path begins with, in whole parts: /api has /api and /api/x, not /apix. The longest wins."""
    port: str = ""
    """Name or number of one of the service's ports; empty is the first of TCP."""
    tls: str = ""
    """A Secret of type tls; with it the route is served by HTTPS, and HTTP leads there."""
    weight: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Its share of the requests where several services have the same host and path; each must then give one."""
    redirect: bool = True
    """With tls: whoever comes by HTTP is sent to HTTPS; otherwise served there too."""
    protocol: Literal["http", "h2c"] = "http"
    """What the containers speak: HTTP/1.1, or HTTP/2 without TLS, as gRPC needs it."""
    timeout: Duration = 60.0
    """How long the service may take to begin its answer. Upgraded connections (WebSocket) have an hour of silence."""
    slow_start: Duration = 0.0
    """A new instance has its full share of requests only after this long; before, less."""
    strip_path: bool = False
    """The service sees /x where /api/x was asked for and the route's path is /api."""
