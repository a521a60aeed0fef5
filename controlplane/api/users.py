"""CertifyUser: an administrator lets another person in, with a role, until a certificate ends.

The key is made where it will be used; only the request for a certificate comes here.
"""

import logging
from dataclasses import dataclass
from typing import Any

from controlplane.api import authority, errors
from controlplane.loop import clock
from orch.identity import roles
from orch.model import names
from orch.v1 import control_pb2 as pb

LARGEST_REQUEST_BYTES = 64 * 1024
DAY_SECONDS = 24 * 3600.0
LONGEST_DAYS = 366.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Users:
    """Handler for administrators."""

    authority: authority.Pair
    addresses: tuple[str, ...]
    clock: clock.Clock

    async def certify(self, request: pb.CertifyUserRequest, _context: Any) -> pb.CertifyUserReply:
        """A certificate for the key in the request. Raises Invalid."""
        role = roles.BY_WORD.get(request.role)
        if role is None:
            raise errors.Invalid(f"{request.role!r} is not a role: {', '.join(roles.BY_WORD)}")
        if len(request.request) > LARGEST_REQUEST_BYTES:
            raise errors.Invalid("the certificate request is too large")
        days = request.valid_for / DAY_SECONDS if request.valid_for else float(authority.LEAF_DAYS)
        if not 0 < days <= LONGEST_DAYS:
            raise errors.Invalid(f"a certificate is valid for at most {LONGEST_DAYS:g} days, not {days:g}")
        now = self.clock.now()
        try:
            names.check_name(request.name)
            who = roles.Caller(request.name, role)
            made = authority.sign(self.authority, request.request, who, now, days=days)
        except ValueError as error:
            raise errors.Invalid(str(error)) from error
        log.info("certified user %s for the role %s, for %g days", request.name, request.role, days)
        return pb.CertifyUserReply(
            certificate=made,
            ca=self.authority.certificate,
            addresses=self.addresses,
            expires_at=now + days * DAY_SECONDS,
        )
