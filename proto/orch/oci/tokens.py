"""What to send along so that a registry lets us in: passwords, and tokens that end and are fetched anew."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

from orch.oci import answers, auth, routes
from orch.oci.failure import ImageFailure, Reason, bad_image
from orch.oci.pool import Pool
from orch.oci.reaching import Reaching
from orch.oci.reference import Reference

CredentialsOf = Callable[[str], auth.Credentials | None]
"""By the registry's name; None: we are nobody there."""

_LARGEST_TOKEN = 1 << 20

Key = tuple[str, str, str]
"""Registry, repository, actions: what an answer is good for."""


def key(ref: Reference, *, pushing: bool) -> Key:
    return (ref.registry, ref.repository, "pull,push" if pushing else "pull")


class Tokens:
    """For one caller: another's are not seen."""

    def __init__(self, routes_: routes.Routes, credentials: CredentialsOf, pool: Pool) -> None:
        self._routes = routes_
        self._credentials = credentials
        self._pool = pool
        self._answers: dict[Key, str] = {}
        self._answering = asyncio.Lock()

    def known(self, key: Key) -> str | None:
        """What let us in before."""
        return self._answers.get(key)

    def forget(self, key: Key) -> None:
        """It does not let us in any more."""
        self._answers.pop(key, None)

    async def answer(self, challenges: Sequence[str], ref: Reference, key: Key, refused: str | None) -> str:
        """What to send in place of what was refused: a token that has ended is fetched anew, once for all."""
        async with self._answering:
            known = self._answers.get(key)
            if known is None or known == refused:
                known = self._answers[key] = await self._answer_to(challenges, ref, key[2])
            return known

    async def _answer_to(self, challenges: Sequence[str], ref: Reference, actions: str) -> str:
        credentials = self._credentials(ref.registry)
        match auth.challenge(challenges):
            case auth.Basic() if credentials:
                return credentials.basic()
            case auth.Bearer() as bearer:
                if bearer.realm.startswith("http://") and not self._routes.may_be_plain(ref.registry):
                    raise bad_image(
                        f"registry {ref.registry} wants credentials sent to {bearer.realm} in clear: refused"
                    )
                return "Bearer " + await self._token(bearer, credentials, ref, actions)
            case _:
                raise self.unauthorized(ref)

    async def _token(
        self, bearer: auth.Bearer, credentials: auth.Credentials | None, ref: Reference, actions: str
    ) -> str:
        session = await self._pool.opened()
        scope = f"repository:{ref.repository}:{actions}"
        host = bearer.realm.partition("://")[2].partition("/")[0]
        tls = self._routes.tls(host if host in self._routes.authorities else ref.registry)
        way: dict[str, Any] = {"ssl": tls} if tls else {}
        with Reaching(host):
            if credentials and credentials.identity_token:
                form = bearer.form(scope, credentials.identity_token)
                asking = session.post(bearer.realm, data=form, **way)
            else:
                headers = {"Authorization": credentials.basic()} if credentials else {}
                asking = session.get(bearer.url(scope), headers=headers, **way)
            async with asking as answer:
                if answer.status == 429 or answer.status >= 500:
                    await answers.expect(answer, ref, 200)
                if answer.status != 200:
                    raise self.unauthorized(ref)
                said = _object(await answers.read(answer, _LARGEST_TOKEN, "the registry's token"))
        token = said.get("token") or said.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise bad_image(f"registry {ref.registry} answered without a token")
        return token

    def unauthorized(self, ref: Reference) -> ImageFailure:
        known = self._credentials(ref.registry) is not None
        hint = "check its user and password" if known else "it wants credentials, or there is no such image"
        return ImageFailure(
            Reason.UNAUTHORIZED, f"registry {ref.registry} refuses access to {ref.familiar}: {hint}"
        )


def _object(body: bytes) -> dict[str, Any]:
    """Empty where it is none."""
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
