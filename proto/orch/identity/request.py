"""A key of one's own, the request to have it certified, and the proof of having had it before."""

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def new_key() -> bytes:
    """A private key, PEM; it never leaves the machine that made it."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def make(key: bytes, common_name: str) -> bytes:
    """A certificate request, PEM, for the key (PEM)."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(_load(key), hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


def prove(old_key: bytes, request: bytes) -> bytes:
    """A signature of the request by the key (PEM) that was certified before."""
    return _load(old_key).sign(request, ec.ECDSA(hashes.SHA256()))


def proves(old_certificate: bytes, request: bytes, proof: bytes) -> bool:
    """Whether the proof was made with the key of the old certificate (PEM)."""
    key = x509.load_pem_x509_certificate(old_certificate).public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return False
    try:
        key.verify(proof, request, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _load(key: bytes) -> ec.EllipticCurvePrivateKey:
    loaded = serialization.load_pem_private_key(key, None)
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise TypeError("the key is not an elliptic-curve key")
    return loaded
