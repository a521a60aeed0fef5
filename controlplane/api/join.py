"""How a node gets its certificate: with a token the first time, with its old key ever after.

A name belongs to the first key that joined under it, until an administrator removes the node.
"""

import hashlib
import json
import logging
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from controlplane.api import authority, errors, tokens
from controlplane.loop import clock
from controlplane.store import keys, port
from orch.identity import certificate, roles, token
from orch.identity import request as requests
from orch.model import names
from orch.v1 import sessions_pb2 as pb

KEYS_REMEMBERED = 2
LARGEST_REQUEST_BYTES = 64 * 1024

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Joiner:
    """The service `Join`."""

    store: port.Store
    tokens: tokens.Tokens
    authority: authority.Pair
    addresses: tuple[str, ...]
    clock: clock.Clock

    async def Join(self, request: Any, context: Any) -> Any:  # noqa: N802  the name in the .proto
        """A certificate, or why not."""
        try:
            certified = await self._join(request)
        except (tokens.Unknown, token.BadToken) as error:
            log.warning("join of %s refused: %s", request.node, error)
            await context.abort(*errors.status_of(errors.Denied(str(error))))
        except (ValueError, errors.Denied, port.StoreError) as error:
            log.warning("join of %s refused: %s", request.node, error)
            known = errors.Invalid(str(error)) if isinstance(error, ValueError) else error
            await context.abort(*errors.status_of(known))
        else:
            return pb.JoinReply(
                certificate=certified,
                ca=self.authority.certificate,
                addresses=self.addresses,
                cluster=self.tokens.cluster,
            )

    async def _join(self, request: Any) -> bytes:
        names.check_name(request.node)
        if len(request.request) > LARGEST_REQUEST_BYTES:
            raise ValueError("the certificate request is too large")
        now = self.clock.now()
        previous = self._previous(request)
        if request.token:
            await self.tokens.check(token.JoinToken.parse(request.token), now)
        elif previous is None or previous.not_after < now:
            raise errors.Denied(
                f"{request.node} shows neither a token nor a valid certificate: join again with a token"
            )
        who = roles.Caller(request.node, roles.Role.NODE)
        signed = authority.sign(self.authority, request.request, who, now)
        await self._claim_name(request.node, _key_digest(request.request), previous)
        log.info("%s has joined", request.node)
        return signed

    def _previous(self, request: Any) -> certificate.Facts | None:
        """What the old certificate says, if one was shown and its key proved. Raises Denied."""
        if not request.previous_certificate:
            return None
        old = request.previous_certificate
        facts = certificate.read(old)
        is_its_own = facts.caller == roles.Caller(request.node, roles.Role.NODE)
        if not is_its_own or not authority.is_signed_by(old, self.authority.certificate):
            raise errors.Denied(f"the old certificate is not one of this cluster for {request.node}")
        if not requests.proves(old, request.request, request.proof):
            raise errors.Denied(f"{request.node} does not hold the key of its old certificate")
        return facts

    async def _claim_name(self, node: str, key_digest: str, previous: certificate.Facts | None) -> None:
        """Record the key for the name. Raises Denied when the name is another's, StoreError."""
        key = keys.node_identity(node)
        entry, _ = await self.store.get(key)
        known: list[str] = json.loads(entry.value)["keys"] if entry else []
        if known and key_digest not in known and (previous is None or previous.key_digest not in known):
            raise errors.Denied(
                f"a node named {node} has joined before, with another key: use that, choose another name, "
                f"or remove it first with `orchctl node rm {node}`"
            )
        kept = list(dict.fromkeys([key_digest, *known]))[:KEYS_REMEMBERED]
        if kept != known:
            guard = port.as_seen(key, entry.modified if entry else None)
            await self.store.commit([guard], [port.Put(key, json.dumps({"keys": kept}).encode())])


def _key_digest(request: bytes) -> str:
    key = x509.load_pem_x509_csr(request).public_key()
    words = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(words).hexdigest()
