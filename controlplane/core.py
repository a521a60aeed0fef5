"""All of a control plane but its listeners: it follows the store, decides, tells nodes, admits changes.

On its own it can be driven without a socket, on any clock: the simulation does so.
"""

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from controlplane.api import (
    admit_files,
    authority,
    catalog,
    changing,
    memory,
    registry,
    resolving,
    sessions,
    statuses,
    telling,
    views,
)
from controlplane.cluster import traffic
from controlplane.controllers import endpoints
from controlplane.loop import clock, driver, flow, liveness, picture, pipeline, recorder
from controlplane.settings import Settings
from controlplane.store import etcd_channel, keys, leadership, mirror, port, sealing
from orch.model.cluster import ClusterIdentity
from orch.model.config import Secret
from orch.model.names import ServiceName
from orch.oci import pool
from orch.oci import registry as image_registry

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


class Core:
    """`begin` it, `end` it."""

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
        self._deciders = pipeline.Pipeline(settings.node_timeout)
        self.driver = driver.Driver(
            store, self.picture, self.leadership, self.liveness, self.recorder, time, self._deciders
        )
        self.statuses = statuses.StatusWriter(store, self.picture, self.leadership, self.recorder.tell)
        self.flow = flow.Flow(time.steady())
        self.sessions = self._make_sessions()
        self.source = catalog.Source(
            self.picture, self.driver.waiting_of, self._heartbeat_age, self._traffic_of
        )
        self.images_of_others = image_registry.Registry(
            routes_=settings.registries, pool=pool.Pool(resolving.CONNECT_SECONDS)
        )
        self.changing = self._make_changing()
        self._tasks: list[asyncio.Task[None]] = []

    async def begin(self) -> None:
        """Returns when the picture has been whole once."""
        self._spawn("mirror", self.mirror.run())
        self._spawn("leadership", self.leadership.run())
        self._spawn("driver", self.driver.run())
        self._spawn("liveness", self.liveness.run(self._grounds.clock))
        self._spawn("statuses", self.statuses.run())
        self._spawn("recorder", self.recorder.run())
        await self.mirror.wait_revision(1)

    async def run(self) -> None:
        """Until a part fails for good; raises what it raised."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        names = ", ".join(task.get_name() for task in done)
        raise RuntimeError(f"{names} ended by itself")

    async def end(self) -> None:
        """Everything that goes on by itself ends; the lead is given back."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.images_of_others.close()

    def reasons_of(self, name: ServiceName) -> Any:
        """Why something of the service waits; for tests and measurements."""
        return self.driver.waiting_of(name)

    async def own_digest(self, _repository: str, _tag: str) -> str:
        """What a tag of the cluster's own registry stands for; empty when there is none."""
        return ""

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
            flow_=self.flow,
            images_at=grounds.settings.registry_address,
        )

    def _traffic_of(self, name: ServiceName) -> list[tuple[int, traffic.Window]]:
        return self.flow.windows(name, self._grounds.clock.steady(), views.TRAFFIC_SECONDS)

    def _make_changing(self) -> changing.Changing:
        grounds = self._grounds
        return changing.Changing(
            store=grounds.store,
            picture=self.picture,
            requests=memory.Requests(grounds.store, grounds.clock),
            vault=grounds.keyring,
            pipeline=self._deciders,
            clock=grounds.clock,
            source=self.source,
            forget_node=self.liveness.forget,
            own_digest=self.own_digest,
            resolver=resolving.Resolver(
                self.images_of_others,
                grounds.settings.resolve_seconds,
                self._open_secret,
                grounds.clock,
            ),
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

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work, name=name))
