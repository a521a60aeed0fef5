"""HTTP requests of one revision over a stretch of time, as all nodes saw them together (a value)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from orch.model import traffic


@dataclass(frozen=True, slots=True)
class Window:
    """What a canary's verdict may rest on: it compares two of them."""

    seconds: float
    """How long it is; shorter than was asked for where the leader has not led for so long."""
    requests: int = 0
    client_errors: int = 0
    server_errors: int = 0
    latency: Mapping[int, int] = field(default_factory=dict)

    @property
    def per_second(self) -> float:
        """Requests."""
        return self.requests / self.seconds if self.seconds else 0.0

    @property
    def error_ratio(self) -> float:
        """Answers with 5xx among all requests, 0 to 1."""
        return self.server_errors / self.requests if self.requests else 0.0

    @property
    def client_error_ratio(self) -> float:
        """Answers with 4xx among all requests, 0 to 1."""
        return self.client_errors / self.requests if self.requests else 0.0

    def within_ms(self, part: float) -> float:
        """Milliseconds within which this part of the answers came: 0.95 for p95."""
        return traffic.quantile(self.latency, part)
