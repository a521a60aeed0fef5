"""How a service is reached: by whom, at what names of the outside, and whether clients stay with one task."""

from typing import Annotated

from pydantic import Field

from orch.model.quantity import Duration
from orch.model.spec import Spec

ANYBODY = "*"


class NetworkSpec(Spec):
    """Who may reach the service, whom it may reach, and whether clients stay with one of its tasks."""

    allow_from: tuple[str, ...] = (ANYBODY,)
    """Who may connect: svc/web (of this namespace), svc/web.shop, ns/shop, a range such as 10.0.0.0/8, or *."""
    egress: tuple[str, ...] = (ANYBODY,)
    """Whom its tasks may connect to, in the same words. Names are always looked up."""
    session_affinity: Duration = 0.0
    """A client address comes back to the same task for this long after its last connection; 0 is never."""


class RouteSpec(Spec):
    """HTTP requests that come to any node and are led to the service."""

    host: str = ""
    """The name that is asked for; empty is any."""
    path: str = "/"
    """What the path begins with."""
    port: str = ""
    """Name or number of one of the service's ports; empty is the first."""
    tls: str = ""
    """A Secret of type tls; with it the route is served by HTTPS."""
    weight: Annotated[int, Field(ge=0, le=1000)] = 100
    """Its share of the requests where several services have the same host and path."""
