"""How a container is asked whether it is well."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from orch.model.quantity import Duration
from orch.model.spec import Spec


class Health(StrEnum):
    """What the probes of a container say of it now."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


class HttpCheck(Spec):
    """Passes when GET answers with a status from 200 to 399."""

    path: str = "/"
    """Path and query to GET."""
    port: Annotated[int | str, Field(union_mode="left_to_right")]
    """The container's port: a number, or the name of an entry of ports."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Headers to send, for example {Host: shop.example.com}."""


class TcpCheck(Spec):
    """Passes when a connection is accepted."""

    port: Annotated[int | str, Field(union_mode="left_to_right")]
    """The container's port: a number, or the name of an entry of ports."""


class ProbeSpec(Spec):
    """One probe: exactly one of http, tcp and exec, and when to ask."""

    http: HttpCheck | None = None
    """GET a path; 200 to 399 passes."""
    tcp: TcpCheck | None = None
    """Connect to a port."""
    exec: tuple[str, ...] = ()
    """Run a command in the container; exit code 0 passes."""
    initial_delay: Duration = 0.0
    """How long after the start the first check is made."""
    period: Duration = 10.0
    """Time from one check to the next."""
    timeout: Duration = 1.0
    """A check that takes longer fails."""
    success_threshold: Annotated[int, Field(ge=1, le=100)] = 1
    """Passing checks in a row that make it healthy."""
    failure_threshold: Annotated[int, Field(ge=1, le=1000)] = 3
    """Failing checks in a row that make it unhealthy."""

    @model_validator(mode="after")
    def _exactly_one_check(self) -> Self:
        kinds = [name for name in ("http", "tcp", "exec") if getattr(self, name)]
        if len(kinds) != 1:
            found = "has " + " and ".join(kinds) if kinds else "has none"
            raise ValueError(f"a probe needs exactly one of http, tcp and exec; this one {found}")
        if self.period < 0.01 or self.timeout < 0.01:
            raise ValueError("period and timeout must be at least 10ms")
        return self
