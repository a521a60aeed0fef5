"""The node's place in its cluster: joins, renews its certificate, and joins again after a `node rm`."""

import asyncio
import logging

import grpc.aio

from agent import clock, identity
from agent.errors import CannotStart
from agent.settings import Settings

_log = logging.getLogger(__name__)

RENEWAL_LOOK_SECONDS = 3600.0


class Membership:
    """Who this node is to the cluster. Opened before anything else."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._vault = identity.Vault(settings.state_dir / "identity.json")
        self.credentials: identity.Credentials

    async def open(self) -> None:
        """With the credentials kept on disk, or new ones for the token."""
        settings = self._settings
        known = self._vault.load()
        if known is not None and not known.is_over(clock.now()):
            self.credentials = known
            return
        if not (settings.join and settings.token):
            raise CannotStart(
                f"{settings.name} has not joined a cluster (or its certificate has ended): "
                "run `orchctl node join-token` and start with --join HOST:PORT --token TOKEN, "
                "or write the token where --token-file says"
            )
        self._take(await identity.join(settings.name, settings.join, settings.token, known))

    def connect(self, address: str) -> grpc.aio.Channel:
        """With the credentials of the moment: they are renewed while we run."""
        return self.credentials.connect(address)

    async def keep_renewed(self) -> None:
        """The certificate, long before it ends; the next conversation uses it."""
        while True:
            if self.credentials.is_due_for_renewal(clock.now()):
                try:
                    self._take(await identity.renew(self._settings.name, self.credentials))
                except identity.CannotJoin as error:
                    _log.warning("the node's certificate could not be renewed: %s", error)
            await asyncio.sleep(RENEWAL_LOOK_SECONDS)

    async def join_again(self, expelled: asyncio.Event) -> None:
        """After a `node rm`: with the token we were started with, if that is still good."""
        settings = self._settings
        while True:
            await expelled.wait()
            expelled.clear()
            if not (settings.join and settings.token):
                _log.warning(
                    "start with --join HOST:PORT --token TOKEN (orchctl node join-token) to join again"
                )
                continue
            try:
                self._take(
                    await identity.join(settings.name, settings.join, settings.token, self.credentials)
                )
            except identity.CannotJoin as error:
                _log.warning("the node was removed and cannot join again: %s", error)

    def _take(self, credentials: identity.Credentials) -> None:
        self.credentials = credentials
        self._vault.save(credentials)
