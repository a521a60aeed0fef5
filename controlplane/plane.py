"""A control plane out of its parts, on any store: the only place that knows them all."""

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from controlplane.api import (
    admit_files,
    asking,
    authority,
    catalog,
    changing,
    datadir,
    forwarding,
    founding,
    join,
    memory,
    operating,
    reading,
    registry,
    server,
    sessions,
    statuses,
    streaming,
    telling,
    tokens,
)
from controlplane.controllers import endpoints
from controlplane.loop import clock, driver, liveness, picture, pipeline, recorder
from controlplane.settings import Settings
from controlplane.store import etcd_channel, keys, leadership, mirror, port, sealing
from orch.model.cluster import ClusterIdentity
from orch.model.config import Secret
from orch.model.names import ServiceName

VERSION = "0.1.0"
OWN_TOKEN_SECONDS = 24 * 3600.0
RENEWAL_CHECK_SECONDS = 3600.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Grounds:
    """What a control plane stands on."""

    settings: Settings
    store: port.Store
    clock: clock.Clock
    identity: ClusterIdentity
    authority: authority.Pair
    keyring: sealing.Keyring
    etcd: etcd_channel.Connection | None = None


async def prepare(
    settings: Settings, store: port.Store, time: clock.Clock, etcd: etcd_channel.Connection | None = None
) -> Grounds:
    """Find the cluster in the store, or found it. Raises StoreError, BadDirectory, sealing.BadKeyFile."""
    entry, _ = await store.get(keys.CLUSTER)
    founding.check_sealing_key(settings, is_new=entry is None)
    identity, pair = await founding.found_or_find(store, settings, time.now())
    keyring = sealing.load_or_create(settings.data / founding.SEALING_KEY)
    return Grounds(settings, store, time, identity, pair, keyring, etcd)


class Plane:
    """`start` it, `run` it, `stop` it."""

    def __init__(self, grounds: Grounds) -> None:
        self._grounds = grounds
        settings, store, time = grounds.settings, grounds.store, grounds.clock
        self.picture = picture.Picture()
        self.mirror = mirror.Mirror(store, keys.ROOT, self.picture)
        self.leadership = leadership.Leadership(
            store, settings.advertise.encode(), ttl_seconds=settings.leader_ttl
        )
        self.liveness = liveness.Liveness()
        self.recorder = recorder.Recorder(store, self.picture, self.leadership, time)
        deciders = pipeline.Pipeline(settings.node_timeout)
        self.driver = driver.Driver(
            store, self.picture, self.leadership, self.liveness, self.recorder, time, deciders
        )
        self.statuses = statuses.StatusWriter(store, self.picture, self.leadership)
        self.sessions = self._make_sessions()
        self.tokens = tokens.Tokens(store, grounds.identity.id, grounds.identity.ca)
        self.listeners = server.Listeners(
            self._make_control(deciders), self.sessions, self._make_joiner(), self._credentials()
        )
        self._tasks: list[asyncio.Task[None]] = []
        self.addresses: list[str] = []
        self.join_address = ""

    async def start(self) -> None:
        """Returns when somebody leads and users and nodes are served. Raises CannotListen, StoreError."""
        self._spawn("mirror", self.mirror.run())
        self._spawn("leadership", self.leadership.run())
        self._spawn("driver", self.driver.run())
        self._spawn("liveness", self.liveness.run(self._grounds.clock))
        self._spawn("statuses", self.statuses.run())
        self._spawn("recorder", self.recorder.run())
        await self.mirror.wait_revision(1)
        settings = self._grounds.settings
        self.addresses, self.join_address = await self.listeners.start(settings.listen, settings.join_listen)
        await self._keep_token()
        await self._wait_led()
        self._spawn("renewals", self._renew_for_ever())

    async def run(self) -> None:
        """Until a part fails for good; raises what it raised."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        names = ", ".join(task.get_name() for task in done)
        raise RuntimeError(f"{names} ended by itself")

    async def stop(self) -> None:
        """Sessions end, the lead is given back, the listeners close."""
        self.sessions.close()
        await self.listeners.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

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

    def _make_sessions(self) -> sessions.Sessions:
        grounds = self._grounds
        timing = sessions.Timing(grounds.settings.heartbeat_interval, grounds.settings.node_timeout)
        teller = telling.Teller(self.picture, self.leadership, self._open_secret, endpoints.of_service)
        return sessions.Sessions(
            seen=self.picture,
            leader=self.leadership,
            nodes=registry.Registry(grounds.store, self.picture, self.leadership, grounds.clock),
            writer=self.statuses,
            teller=teller,
            heard=self.liveness,
            told=self.recorder,
            time=grounds.clock,
            timing=timing,
        )

    def _make_control(self, deciders: pipeline.Pipeline) -> server.Control:
        grounds = self._grounds
        source = catalog.Source(self.picture, self.driver.waiting_of, self._heartbeat_age)
        return server.Control(
            reading.Reading(source, self._store_age, grounds.clock),
            changing.Changing(
                store=grounds.store,
                picture=self.picture,
                requests=memory.Requests(grounds.store, grounds.clock),
                vault=grounds.keyring,
                pipeline=deciders,
                clock=grounds.clock,
                source=source,
                forget_node=self.liveness.forget,
            ),
            asking.Asking(source),
            streaming.Streaming(
                self.picture,
                self.sessions.relay,
                forwarding.Forwarding(self.leadership, lambda: self.listeners.credentials),
            ),
            operating.Operating(
                tokens=self.tokens,
                join_address=_public_join_address(grounds.settings),
                etcd=grounds.etcd,
                picture=self.picture,
                leader=self.leadership,
                store_age=self._store_age,
                clock=grounds.clock,
                version_name=VERSION,
            ),
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

    def _open_secret(self, secret: Secret) -> dict[str, bytes]:
        try:
            return admit_files.opened(secret, self._grounds.keyring)
        except sealing.Unsealable as error:
            log.error("secret %s is left out: %s", secret.name, error)  # noqa: TRY400  the sentence says it
            return {}

    def _heartbeat_age(self, node: str) -> float:
        if self.leadership.epoch is None:
            return -1.0
        age = self.liveness.age(node, self._grounds.clock.steady())
        return -1.0 if age is None else age

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
            self.listeners.renew(self._credentials())
            if checks * RENEWAL_CHECK_SECONDS >= OWN_TOKEN_SECONDS / 2:
                checks = 0
                try:
                    await self._keep_token()
                except port.StoreError as error:
                    log.warning("the join token could not be renewed: %s", error)

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work, name=name))

    def reasons_of(self, name: ServiceName) -> Any:
        """Why something of the service waits; for tests and measurements."""
        return self.driver.waiting_of(name)


def _host(address: str) -> str:
    return "" if address.startswith("unix:") else address.rpartition(":")[0]


def _public_join_address(settings: Settings) -> str:
    """The join port on the address that nodes reach us by."""
    return f"{_host(settings.advertise)}:{settings.join_listen.rpartition(':')[2]}"
