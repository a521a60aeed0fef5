"""Changes that come at the same time, on a store that is some way off."""

import asyncio
from pathlib import Path

from controlplane.store import keyspace
from orch.model.policy import PortSpec
from tests.simulation.distant_store import DistantStore
from tests.support import planes

AT_ONCE = 60


async def test_many_applies_at_once_of_ports_that_are_free_all_come_through(tmp_path: Path) -> None:
    store = DistantStore(keyspace.Keyspace(asyncio.get_running_loop()))
    running = await planes.start(tmp_path / "data", store)
    wanted = [
        planes.a_service(f"web-{n}", template={"ports": (PortSpec(target=80, published=30_000 + n),)})
        for n in range(AT_ONCE)
    ]
    try:
        await asyncio.gather(*(running.stub.Apply(planes.applying(each)) for each in wanted))

        assert len(running.plane.picture.cluster.services) == AT_ONCE
    finally:
        await running.stop()
