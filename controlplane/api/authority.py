"""The cluster's certificate authority: makes itself once, then signs servers, nodes and users."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from orch.identity import request as requests
from orch.identity import roles
from orch.oci import peering

AUTHORITY_YEARS = 10
LEAF_DAYS = 90
CLOCKS_MAY_DIFFER = dt.timedelta(minutes=10)


class BadRequest(ValueError):
    """The certificate request cannot be signed; the message says why."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes


def found(cluster: str, now: float) -> Pair:
    """A new authority for the cluster."""
    key = requests.new_key()
    private = _private(key)
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "orch"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"orch cluster {cluster}"),
        ]
    )
    builder = _dated(x509.CertificateBuilder(), now, 365 * AUTHORITY_YEARS)
    certificate = (
        builder.subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .sign(private, hashes.SHA256())
    )
    return Pair(certificate.public_bytes(serialization.Encoding.PEM), key)


def sign(
    authority: Pair,
    request: bytes,
    who: roles.Caller,
    now: float,
    addresses: Sequence[str] = (),
    *,
    days: float = LEAF_DAYS,
) -> bytes:
    """A certificate (PEM) for the request's key; the subject is ours to say. Raises BadRequest."""
    wanted = _wanted(request, who)
    issuer = x509.load_pem_x509_certificate(authority.certificate)
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, who.role.value),
            x509.NameAttribute(NameOID.COMMON_NAME, who.name),
        ]
    )
    names: list[x509.GeneralName] = []
    if who.role is roles.Role.SERVER:
        names = [x509.DNSName(roles.SERVER_NAME), *_alternatives(addresses)]
    if who.role is roles.Role.NODE:  # nodes give blobs of images to each other
        names = [x509.DNSName(peering.server_name(who.name))]
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH] + ([ExtendedKeyUsageOID.SERVER_AUTH] if names else [])
    builder = (
        _dated(x509.CertificateBuilder(), now, days)
        .subject_name(name)
        .issuer_name(issuer.subject)
        .public_key(wanted.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(_private(authority.key), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def issue(authority: Pair, who: roles.Caller, now: float, addresses: Sequence[str] = ()) -> Pair:
    """A new key and its certificate: for ourselves, and for the first administrator."""
    key = requests.new_key()
    return Pair(sign(authority, requests.make(key, who.name), who, now, addresses), key)


def is_signed_by(certificate: bytes, authority: bytes) -> bool:
    """Whether this authority (PEM) signed the certificate (PEM); dates are not looked at."""
    try:
        x509.load_pem_x509_certificate(certificate).verify_directly_issued_by(
            x509.load_pem_x509_certificate(authority)
        )
    except Exception:
        return False
    return True


def _wanted(request: bytes, who: roles.Caller) -> x509.CertificateSigningRequest:
    try:
        wanted = x509.load_pem_x509_csr(request)
    except ValueError as error:
        raise BadRequest(f"the certificate request cannot be read: {error}") from error
    if not wanted.is_signature_valid:
        raise BadRequest("the certificate request is not signed by its own key")
    names = wanted.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if [each.value for each in names] != [who.name]:
        asked = ", ".join(str(each.value) for each in names) or "nobody"
        raise BadRequest(f"the certificate request is for {asked}, but {who.name} asks")
    if not isinstance(wanted.public_key(), ec.EllipticCurvePublicKey):
        raise BadRequest("the certificate request's key is not an elliptic-curve key")
    return wanted


def _dated(builder: x509.CertificateBuilder, now: float, days: float) -> x509.CertificateBuilder:
    at = dt.datetime.fromtimestamp(now, dt.UTC)
    return (
        builder.serial_number(x509.random_serial_number())
        .not_valid_before(at - CLOCKS_MAY_DIFFER)
        .not_valid_after(at + dt.timedelta(days=days))
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _alternatives(addresses: Sequence[str]) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = []
    for address in addresses:
        try:
            names.append(x509.IPAddress(ip_address(address)))
        except ValueError:
            names.append(x509.DNSName(address))
    return names


def _private(key: bytes) -> ec.EllipticCurvePrivateKey:
    loaded = serialization.load_pem_private_key(key, None)
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise BadRequest("the authority's key is not an elliptic-curve key")
    return loaded
