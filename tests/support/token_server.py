"""Gives tokens for a docker-registry, as GitLab and Docker Hub do: `token_server.py LISTEN DIRECTORY AUDIENCE`.

DIRECTORY has key.pem and cert.pem, and in `password` what the user ci must show; it is read at each request.
"""

import base64
import http.server
import json
import sys
import time
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

USER = "ci"
ISSUER = "test"
VALID_SECONDS = 300
READY = "gives tokens"


def token(directory: Path, audience: str, scopes: list[str]) -> str:
    """A JWT for these scopes (repository:shop/web:pull,push), signed with ES256."""
    key = serialization.load_pem_private_key((directory / "key.pem").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    certificate = x509.load_pem_x509_certificate((directory / "cert.pem").read_bytes())
    shown = base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()
    now = int(time.time())
    access = []
    for scope in scopes:
        kind, name, actions = scope.split(":")
        access.append({"type": kind, "name": name, "actions": actions.split(",")})
    says = {"iss": ISSUER, "sub": USER, "aud": audience, "jti": uuid.uuid4().hex, "access": access}
    says |= {"iat": now, "nbf": now - 60, "exp": now + VALID_SECONDS}
    signed = f"{_encoded({'typ': 'JWT', 'alg': 'ES256', 'x5c': [shown]})}.{_encoded(says)}"
    r, s = utils.decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{signed}.{_base64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _encoded(words: dict[str, Any]) -> str:
    return _base64(json.dumps(words).encode())


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class _Handler(http.server.BaseHTTPRequestHandler):
    directory: Path
    audience: str

    def do_GET(self) -> None:
        password = (self.directory / "password").read_text().strip()
        wanted = "Basic " + base64.b64encode(f"{USER}:{password}".encode()).decode()
        if self.headers.get("Authorization") != wanted:
            self.send_error(401)
            return
        scopes = parse_qs(urlsplit(self.path).query).get("scope", [])
        body = json.dumps({"token": token(self.directory, self.audience, scopes)}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


def main(listen: str, directory: str, audience: str) -> None:
    host, _, port = listen.rpartition(":")
    _Handler.directory, _Handler.audience = Path(directory), audience
    with http.server.ThreadingHTTPServer((host, int(port)), _Handler) as server:
        print(READY, flush=True)  # noqa: T201  to whoever started us
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
