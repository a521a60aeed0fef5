"""What the proxy is to be: who is behind which host and path, and with which certificate (values, pure)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

NONE = "orch-none"
"""The backend that says: no route."""
REDIRECT = "orch-redirect"
"""The backend that sends to HTTPS."""
FULL_WEIGHT = 100
MOST_WEIGHT = 256


@dataclass(frozen=True, slots=True)
class Server:
    """One endpoint. Its name begins with its revision, so that every line of the log says it."""

    name: str
    address: str
    port: int
    weight: int = FULL_WEIGHT


@dataclass(frozen=True, slots=True)
class Manner:
    """How a service is spoken to."""

    timeout: float = 60.0
    slow_start: float = 0.0
    protocol: str = "http"
    strip: str = ""
    """A path that the service does not see."""
    sources: tuple[str, ...] = ()
    """Ranges of addresses from which alone requests are taken; none is everybody's."""


@dataclass(frozen=True, slots=True)
class Backend:
    """One port of a service, spoken to in one manner, and its ready endpoints."""

    name: str
    service: str
    """For people."""
    manner: Manner = Manner()
    servers: tuple[Server, ...] = ()


@dataclass(frozen=True, slots=True)
class Certificate:
    """For these hosts; where one of them is empty, also for whoever names none that is known."""

    name: str
    pem: str
    hosts: tuple[str, ...]

    @property
    def is_default(self) -> bool:
        """For whoever names no host that is known."""
        return "" in self.hosts


@dataclass(frozen=True, slots=True)
class Wanted:
    backends: tuple[Backend, ...] = ()
    http: Mapping[str, str] = field(default_factory=dict)
    """`HOST/PATH/` (`*` for any host) → a backend, or a split (`@…#`)."""
    https: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[str, str] = field(default_factory=dict)
    """A split and a number below a thousand → a backend."""
    certificates: tuple[Certificate, ...] = ()
    has_tls: bool = False
    problems: tuple[str, ...] = ()
    """What of it cannot be, and why."""

    @property
    def is_nothing(self) -> bool:
        """No route at all: no proxy is needed."""
        return not self.http
