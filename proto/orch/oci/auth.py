"""How a registry asks who is calling: the WWW-Authenticate challenge → what to answer (pure)."""

import base64
import re
from dataclasses import dataclass
from urllib.parse import urlencode

_PAIR = re.compile(r'([A-Za-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')


@dataclass(frozen=True, slots=True)
class Credentials:
    user: str
    password: str

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

    def url(self, fallback_scope: str) -> str:
        question = {"service": self.service, "scope": self.scope or fallback_scope}
        joint = "&" if "?" in self.realm else "?"
        return self.realm + joint + urlencode({k: v for k, v in question.items() if v})


@dataclass(frozen=True, slots=True)
class Basic:
    """Send user and password with every request."""


def challenge(header: str) -> Bearer | Basic | None:
    """What the registry wants; None if it speaks of nothing we know."""
    scheme, _, rest = header.strip().partition(" ")
    said = {name.lower(): quoted or bare for name, quoted, bare in _PAIR.findall(rest)}
    match scheme.lower():
        case "bearer" if said.get("realm", "").startswith(("http://", "https://")):
            return Bearer(said["realm"], said.get("service", ""), said.get("scope", ""))
        case "basic":
            return Basic()
        case _:
            return None
