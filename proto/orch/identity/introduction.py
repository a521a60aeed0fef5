"""The first contact with a server that one holds a token for: its CA certificate, believed by digest only."""

import socket
import ssl

from orch.identity import token

CONNECT_TIMEOUT_SECONDS = 5.0


class WrongServer(Exception):
    """Whoever answers is not the cluster that the token speaks of."""


def fetch_ca(host: str, port: int, expected: token.JoinToken) -> bytes:
    """The CA certificate (PEM) that the server at the join address shows, once its digest is the token's.

    Blocking. Raises OSError when nobody answers, and WrongServer.
    """
    # Nothing is believed yet, so nothing is verified here: the digest below is the verification.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((host, port), CONNECT_TIMEOUT_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=None) as secure,
    ):
        for certificate in _shown(secure):
            if expected.trusts(certificate):
                return certificate
    raise WrongServer(
        f"{host}:{port} is not the cluster this token is for: its CA certificate has another digest. "
        "Check the address, or make a token on that cluster with `orchctl node join-token`"
    )


def _shown(secure: ssl.SSLSocket) -> list[bytes]:
    """All certificates the server sent, PEM. Python has a public name for it only since 3.13."""
    public = getattr(secure, "get_unverified_chain", None)
    if public is not None:
        return [ssl.DER_cert_to_PEM_cert(der).encode() for der in public()]
    chain = secure._sslobj.get_unverified_chain()  # type: ignore[attr-defined]  # noqa: SLF001  see above
    return [each.public_bytes().encode() for each in chain or ()]
