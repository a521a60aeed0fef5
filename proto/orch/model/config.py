"""Configs and secrets: small named files, versioned."""

from dataclasses import dataclass, field

from orch.model.names import ObjectName

TLS_TYPE = "tls"
TLS_CERTIFICATE = "tls.crt"
TLS_KEY = "tls.key"
"""A secret of type tls holds a certificate with its chain, and the key of it, both PEM."""
OPEN, ISOLATED = "open", "isolated"
MOST_BYTES = 1_000_000
"""The most that one config or secret may hold: it has to fit a transaction of the store (1.5 MiB)."""


@dataclass(frozen=True, slots=True)
class Config:
    """Named entries, readable by anyone who may read the cluster."""

    name: ObjectName
    data: dict[str, bytes] = field(default_factory=dict)
    version: int = 1
    labels: dict[str, str] = field(default_factory=dict)
    created_at: float = 0.0
    updated_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Secret:
    """Named entries, encrypted before they reach the store."""

    name: ObjectName
    sealed: dict[str, bytes] = field(default_factory=dict)
    """Each entry's ciphertext; only the control plane has the key."""
    type: str = "opaque"
    version: int = 1
    labels: dict[str, str] = field(default_factory=dict)
    created_at: float = 0.0
    updated_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Namespace:
    """A set of names."""

    name: str
    labels: dict[str, str] = field(default_factory=dict)
    created_at: float = 0.0
    network: str = OPEN
    """open: its services may be reached from every namespace; isolated: from this one, unless they say more."""


NETWORKS = (OPEN, ISOLATED)
