"""A certificate with its key, as a Secret of type tls holds them: what is wrong with it, and for whom it is good."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from orch.model.config import TLS_CERTIFICATE, TLS_KEY

SOON_DAYS = 14


class NoPair(Exception):
    """It is none; the sentence says what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class Pair:
    hosts: tuple[str, ...]
    """In lower case, as the certificate says them: *.example.com is any one part before."""
    not_before: float
    """Seconds since 1970."""
    not_after: float

    def is_for(self, host: str) -> bool:
        """Browsers would take it for this host; for none in particular, always."""
        parent = "*." + host.partition(".")[2]
        return not host or host in self.hosts or parent in self.hosts

    def warning(self, now: float) -> str:
        """What is about its time; empty where it is well."""
        if now > self.not_after:
            return f"it has expired on {_day(self.not_after)}: clients refuse it"
        if now < self.not_before:
            return f"it is good from {_day(self.not_before)} only: until then clients refuse it"
        if now > self.not_after - SOON_DAYS * 86400:
            return f"it expires on {_day(self.not_after)}"
        return ""


def read(data: Mapping[str, bytes]) -> Pair:
    """Raises NoPair."""
    missing = [name for name in (TLS_CERTIFICATE, TLS_KEY) if name not in data]
    if missing:
        raise NoPair(
            f"a secret of type tls has the entries {TLS_CERTIFICATE} and {TLS_KEY}: {missing[0]} is missing"
        )
    try:
        chain = x509.load_pem_x509_certificates(data[TLS_CERTIFICATE])
    except ValueError:
        raise NoPair(f"{TLS_CERTIFICATE} holds no certificate (PEM: -----BEGIN CERTIFICATE-----)") from None
    try:
        key = serialization.load_pem_private_key(data[TLS_KEY], password=None)
    except TypeError:
        raise NoPair(f"{TLS_KEY} is locked with a password: store it without one (openssl pkey)") from None
    except ValueError:
        raise NoPair(f"{TLS_KEY} holds no private key (PEM: -----BEGIN PRIVATE KEY-----)") from None
    if _public(key.public_key()) != _public(chain[0].public_key()):
        whole = "the first certificate in it must be the service's own; those that signed it follow"
        raise NoPair(f"{TLS_KEY} is not the key of the certificate in {TLS_CERTIFICATE}: {whole}")
    own = chain[0]
    return Pair(_hosts(own), own.not_valid_before_utc.timestamp(), own.not_valid_after_utc.timestamp())


def _hosts(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(name.lower() for name in names.get_values_for_type(x509.DNSName))


def _public(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _day(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).date().isoformat()
