"""How a registry asks who is calling: the WWW-Authenticate challenge → what to answer (pure)."""

import base64
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

_SCHEME = re.compile(r"(?:^|,)\s*(bearer|basic)(?:\s+|$)", re.IGNORECASE)
_PAIR = re.compile(r'([A-Za-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')


@dataclass(frozen=True, slots=True)
class Credentials:
    user: str
    password: str
    identity_token: str = ""
    """In place of a password, where somebody logged in before and got one (OAuth2's refresh token)."""

    def basic(self) -> str:
        pair = f"{self.user}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode()

    def __repr__(self) -> str:
        return f"Credentials(user={self.user!r}, password=…)"


@dataclass(frozen=True, slots=True)
class Bearer:
    """Fetch a token from `realm` first."""

    realm: str
    service: str
    scope: str

    def form(self, fallback_scope: str, identity_token: str) -> dict[str, str]:
        """To be posted, where there is an identity token (OAuth2)."""
        return {
            "grant_type": "refresh_token",
            "refresh_token": identity_token,
            "client_id": "orch",
            "service": self.service,
            "scope": self.scope or fallback_scope,
        }

    def url(self, fallback_scope: str) -> str:
        question = {"service": self.service, "scope": self.scope or fallback_scope}
        joint = "&" if "?" in self.realm else "?"
        return self.realm + joint + urlencode({k: v for k, v in question.items() if v})


@dataclass(frozen=True, slots=True)
class Basic:
    """Send user and password with every request."""


def challenge(headers: Sequence[str]) -> Bearer | Basic | None:
    """What the registry wants, a token rather than a password; None if it speaks of nothing we know.

    One header may hold several challenges, and there may be several headers.
    """
    found = [answer for header in headers for answer in _challenges(header)]
    tokens = [each for each in found if isinstance(each, Bearer)]
    return (tokens or found or [None])[0]


def _challenges(header: str) -> Iterator[Bearer | Basic]:
    begins = list(_SCHEME.finditer(header))
    for number, begin in enumerate(begins):
        end = begins[number + 1].start() if number + 1 < len(begins) else len(header)
        pairs = _PAIR.findall(header, begin.end(), end)
        said = {name.lower(): quoted or bare for name, quoted, bare in pairs}
        if begin[1].lower() == "basic":
            yield Basic()
        elif said.get("realm", "").startswith(("http://", "https://")):
            yield Bearer(said["realm"], said.get("service", ""), said.get("scope", ""))
