"""A control plane out of its parts, on any store: the core, and the listeners that let users and nodes in."""

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from controlplane import core
from controlplane.api import (
    asking,
    building,
    datadir,
    forwarding,
    founding,
    images,
    join,
    net_check,
    operating,
    own_images,
    port_forwarding,
    reading,
    server,
    streaming,
    tokens,
    top,
    users,
)
from controlplane.core import Grounds
from controlplane.loop import clock
from controlplane.settings import Settings
from controlplane.store import etcd_channel, keys, port, sealing

if TYPE_CHECKING:
    from controlplane.registry import listener

VERSION = "0.1.0"
OWN_TOKEN_SECONDS = 24 * 3600.0
RENEWAL_CHECK_SECONDS = 3600.0

log = logging.getLogger(__name__)


async def prepare(
    settings: Settings, store: port.Store, time: clock.Clock, etcd: etcd_channel.Connection | None = None
) -> Grounds:
    """Find the cluster in the store, or found it. Raises StoreError, BadDirectory, sealing.BadKeyFile."""
    entry, _ = await store.get(keys.CLUSTER)
    founding.check_sealing_key(settings, is_new=entry is None)
    identity, pair = await founding.found_or_find(store, settings, time.now())
    keyring = sealing.load_or_create(settings.data / founding.SEALING_KEY)
    return Grounds(settings, store, time, identity, pair, keyring, etcd)


class Plane(core.Core):
    """`start` it, `run` it, `stop` it."""

    def __init__(self, grounds: Grounds) -> None:
        super().__init__(grounds)
        self.tokens = tokens.Tokens(grounds.store, grounds.identity.id, grounds.identity.ca)
        self.listeners = server.Listeners(
            self._make_control(), self.sessions, self._make_joiner(), self._credentials()
        )
        self.registry: listener.Listener | None = None
        self.addresses: list[str] = []
        self.join_address = ""

    async def start(self) -> None:
        """Returns when somebody leads and users and nodes are served. Raises CannotListen, StoreError."""
        await self.begin()
        settings = self._grounds.settings
        self.addresses, self.join_address = await self.listeners.start(settings.listen, settings.join_listen)
        await self._start_registry()
        await self._keep_token()
        await self._wait_led()
        self._spawn("renewals", self._renew_for_ever())

    async def stop(self) -> None:
        """Sessions end, the lead is given back, the listeners close."""
        self.sessions.close()
        await self.listeners.stop()
        if self.registry:
            await self.registry.stop()
        await self.end()

    async def own_digest(self, repository: str, tag: str) -> str:
        return await self.registry.digest(repository, tag) if self.registry else ""

    def _grant(self, repositories: frozenset[str], seconds: float) -> str:
        return self.registry.grant(repositories, seconds) if self.registry else ""

    def _withdraw(self, grant: str) -> None:
        if self.registry:
            self.registry.withdraw(grant)

    async def _tags(self) -> Sequence[images.Tagged]:
        return await self.registry.tags() if self.registry else ()

    async def _start_registry(self) -> None:
        settings = self._grounds.settings
        if not settings.registry_listen:
            return
        from controlplane.registry import listener  # large, and not wanted everywhere

        self.registry = listener.Listener(listener.store_at(settings.registry_store))
        held = self.listeners.credentials
        await self.registry.start(
            settings.registry_listen, held.server.certificate, held.server.key, held.ca.certificate
        )
        self._spawn(
            "registry", self.registry.collect_for_ever(lambda: own_images.run_by(self.picture.cluster))
        )

    async def _wait_led(self) -> None:
        """Until this or another control plane leads: after a crash, as long as the leader's lease."""
        led = asyncio.Event()
        stop = self.leadership.listen(lambda: led.set() if self.leadership.leader is not None else None)
        try:
            if self.leadership.leader is None:
                await led.wait()
        finally:
            stop()

    # ── parts ────────────────────────────────────────────────────────────────────────────────────────────

    def _make_control(self) -> server.Control:
        grounds = self._grounds
        hands_on = forwarding.Forwarding(self.leadership, lambda: self.listeners.credentials)
        return server.Control(
            reading.Reading(self.source, self._store_age, grounds.clock, hands_on),
            self.changing,
            asking.Asking(self.source),
            streaming.Streaming(self.picture, self.sessions.relay, hands_on),
            port_forwarding.PortForwarding(self.picture, self.sessions.relay, hands_on),
            net_check.NetCheck(self.picture, self.sessions.relay, hands_on),
            top.Top(self.picture, self.sessions.relay, hands_on),
            building.Building(self.picture, self.sessions.relay, hands_on, self._grant, self._withdraw),
            images.ListingImages(self.picture, self.sessions.relay, hands_on, self._tags),
            operating.Operating(
                tokens=self.tokens,
                join_address=_public_join_address(grounds.settings),
                etcd=grounds.etcd,
                picture=self.picture,
                leader=self.leadership,
                store_age=self._store_age,
                clock=grounds.clock,
                version_name=VERSION,
                registry_address=grounds.settings.registry_address,
            ),
            users.Users(grounds.authority, (grounds.settings.advertise,), grounds.clock),
        )

    def _make_joiner(self) -> join.Joiner:
        grounds = self._grounds
        addresses = (grounds.settings.advertise,)
        return join.Joiner(grounds.store, self.tokens, grounds.authority, addresses, grounds.clock)

    def _credentials(self) -> datadir.Credentials:
        grounds = self._grounds
        settings = grounds.settings
        hosts = dict.fromkeys(_host(each) for each in (settings.advertise, *settings.listen, "localhost:0"))
        named = tuple(host for host in hosts if host and host not in {"0.0.0.0", "[::]"})  # noqa: S104  left out
        return datadir.credentials(
            settings.data, grounds.authority, settings.name, named, grounds.clock.now()
        )

    def _store_age(self) -> float:
        lag = self.mirror.lag_seconds
        return float("inf") if lag is None else lag

    # ── what goes on by itself ───────────────────────────────────────────────────────────────────────────

    async def _keep_token(self) -> None:
        made, _ = await self.tokens.make(OWN_TOKEN_SECONDS, self._grounds.clock.now())
        datadir.keep_token(self._grounds.settings.data, made)

    async def _renew_for_ever(self) -> None:
        checks = 0
        while True:
            await asyncio.sleep(RENEWAL_CHECK_SECONDS)
            checks += 1
            held = self._credentials()
            self.listeners.renew(held)
            if self.registry:
                self.registry.renew(held.server.certificate, held.server.key)
            if checks * RENEWAL_CHECK_SECONDS >= OWN_TOKEN_SECONDS / 2:
                checks = 0
                try:
                    await self._keep_token()
                except port.StoreError as error:
                    log.warning("the join token could not be renewed: %s", error)


def _host(address: str) -> str:
    return "" if address.startswith("unix:") else address.rpartition(":")[0]


def _public_join_address(settings: Settings) -> str:
    """The join port on the address that nodes reach us by."""
    return f"{_host(settings.advertise)}:{settings.join_listen.rpartition(':')[2]}"
