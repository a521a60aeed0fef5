"""What a certificate lets its holder do: the organization says the role, the common name says who."""

from dataclasses import dataclass
from enum import StrEnum

SERVER_NAME = "orch-controlplane"
"""The name in every control plane's certificate; clients ask for it whatever address they dial."""


class Role(StrEnum):
    """As it stands in the certificate's organization (O=)."""

    SERVER = "orch:servers"
    NODE = "orch:nodes"
    ADMIN = "orch:admins"
    USER = "orch:users"
    VIEWER = "orch:viewers"


BY_WORD = {"view": Role.VIEWER, "edit": Role.USER, "admin": Role.ADMIN}
"""What people call the roles that they can be given."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is at the other end of a connection."""

    name: str
    role: Role


def caller_of_subject(subject: str) -> Caller | None:
    """`CN=node-1,O=orch:nodes` (RFC 2253, as gRPC gives it) → the caller; None when it is nobody of ours."""
    parts = dict(part.split("=", 1) for part in subject.split(",") if "=" in part)
    try:
        role = Role(parts.get("O", ""))
    except ValueError:
        return None
    name = parts.get("CN", "")
    return Caller(name, role) if name else None
