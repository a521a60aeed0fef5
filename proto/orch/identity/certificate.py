"""Reading certificates: whose, until when, and their fingerprints."""

import base64
import hashlib
import re
from dataclasses import dataclass

from orch.identity import roles

_BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a certificate says of its holder."""

    caller: roles.Caller | None
    not_before: float
    """Seconds since 1970."""
    not_after: float
    key_digest: str
    """SHA-256 of the public key (SubjectPublicKeyInfo), hexadecimal: the same for a renewed certificate."""

    def is_due_for_renewal(self, now: float) -> bool:
        """Two thirds of its life are over."""
        return now > self.not_before + (self.not_after - self.not_before) * 2 / 3


def der(pem: bytes) -> bytes:
    """The first certificate of the file. Raises ValueError."""
    found = _BLOCK.search(pem)
    if found is None:
        raise ValueError("there is no certificate (PEM) in it")
    return base64.b64decode(found[1])


def digest(pem: bytes) -> str:
    """SHA-256 of the first certificate of the file, hexadecimal. Raises ValueError."""
    return hashlib.sha256(der(pem)).hexdigest()


def read(pem: bytes) -> Facts:
    """Raises ValueError when it is not a certificate."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    found = x509.load_pem_x509_certificate(pem)
    key = found.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return Facts(
        caller=roles.caller_of_subject(found.subject.rfc4514_string()),
        not_before=found.not_valid_before_utc.timestamp(),
        not_after=found.not_valid_after_utc.timestamp(),
        key_digest=hashlib.sha256(key).hexdigest(),
    )
