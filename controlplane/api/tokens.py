"""Join tokens in the store: made, looked up, expired. Only a digest of the secret is kept."""

import json
from dataclasses import dataclass

from controlplane.store import keys, port
from orch.identity import token

DEFAULT_VALIDITY_SECONDS = 3600.0
LONGEST_VALIDITY_SECONDS = 365 * 24 * 3600.0


class Unknown(Exception):
    """The token is not, or no longer, valid."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """All tokens of one cluster."""

    store: port.Store
    cluster: str
    ca: bytes

    async def make(self, valid_for: float, now: float) -> tuple[token.JoinToken, float]:
        """A new token and when it ends; it leaves the store by itself then. Raises StoreError."""
        seconds = min(valid_for or DEFAULT_VALIDITY_SECONDS, LONGEST_VALIDITY_SECONDS)
        made = token.JoinToken.fresh(self.cluster, self.ca)
        expires_at = now + seconds
        kept = json.dumps({"secret": made.secret_digest, "expires_at": expires_at})
        lease = await self.store.grant(seconds)
        key = keys.token(made.id)
        await self.store.commit([port.Absent(key)], [port.Put(key, kept.encode(), lease.id)])
        return made, expires_at

    async def check(self, shown: token.JoinToken, now: float) -> None:
        """Raises Unknown, StoreError."""
        entry, _ = await self.store.get(keys.token(shown.id))
        kept = json.loads(entry.value) if entry else None
        is_ours = shown.cluster == self.cluster and shown.trusts(self.ca)
        if not is_ours or kept is None or not shown.proves(kept["secret"]) or now > kept["expires_at"]:
            raise Unknown(
                "the join token is unknown, expired or another cluster's: "
                "make a new one with `orchctl node join-token`"
            )
