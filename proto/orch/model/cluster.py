"""The cluster's own identity."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClusterIdentity:
    """Made once, at the first start; a restore gives a new incarnation."""

    id: str
    incarnation: int = 1
    task_range: str = "10.208.0.0/12"
    """Cut into one subnet per node."""
    node_prefix: int = 22
    service_range: str = "10.224.0.0/16"
    ca: bytes = b""
    """The cluster's CA certificate, PEM."""
    created_at: float = 0.0


@dataclass(frozen=True, slots=True, order=True)
class Stamp:
    """Which cluster, which life of it, which leader, and at which revision something was true."""

    cluster: str = ""
    incarnation: int = 0
    epoch: int = 0
    revision: int = 0
