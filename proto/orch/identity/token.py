"""A join token: an invitation that also says which server may be believed.

`orch1.<cluster>.<sha256 of the CA certificate>.<id>.<secret>`; the server keeps only a digest of the secret.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from orch.identity import certificate

PREFIX = "orch1"
SECRET_BYTES = 24


class BadToken(ValueError):
    """What is wrong with the token, and how to get another."""


@dataclass(frozen=True, slots=True)
class JoinToken:
    """The parts of a token."""

    cluster: str
    ca_digest: str
    """SHA-256 of the CA certificate (DER), hexadecimal."""
    id: str
    secret: str

    @classmethod
    def fresh(cls, cluster: str, ca: bytes) -> "JoinToken":
        """A new one for the cluster with this CA certificate (PEM)."""
        return cls(cluster, certificate.digest(ca), secrets.token_hex(6), secrets.token_hex(SECRET_BYTES))

    @classmethod
    def parse(cls, text: str) -> "JoinToken":
        """Raises BadToken."""
        parts = text.strip().split(".")
        if len(parts) != 5 or parts[0] != PREFIX or not all(parts):
            raise BadToken(
                f"this is not a join token: one begins with {PREFIX}. and has five parts; "
                "`orchctl node join-token` makes one"
            )
        return cls(*parts[1:])

    @property
    def secret_digest(self) -> str:
        """What the server keeps."""
        return hashlib.sha256(self.secret.encode()).hexdigest()

    def proves(self, kept_digest: str) -> bool:
        """Whether the secret is the one whose digest the server kept."""
        return hmac.compare_digest(self.secret_digest, kept_digest)

    def trusts(self, ca: bytes) -> bool:
        """Whether this CA certificate (PEM) is the one the token speaks of."""
        return hmac.compare_digest(certificate.digest(ca), self.ca_digest)

    def __str__(self) -> str:
        return f"{PREFIX}.{self.cluster}.{self.ca_digest}.{self.id}.{self.secret}"
