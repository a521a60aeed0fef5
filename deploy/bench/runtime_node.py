"""Our side of `make bench-runtime`: the agent's runtime and network, without the rest of the agent."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

from agent.network.network import Network
from agent.runtime.client import Runtime
from agent.runtime.container import Exited, Launch
from deploy.bench import runtime_bundle

_SUBNET = "10.88.0.0/22"
_ADDRESS = "10.87.0.1"
_MARK = "orch-shim", "orch-log", "orch-dns"


class Node:
    """Lives of containers, in the order in which the agent has them."""

    def __init__(self, directory: Path, layer: Path) -> None:
        self.directory = directory
        self.layer = layer
        self._names = (f"b{number}" for number in range(1 << 30))
        self.runtime: Runtime
        self.network: Network

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, directory: Path, layer: Path) -> AsyncIterator["Node"]:
        node = cls(directory, layer)
        node.runtime = await Runtime.open(
            run_dir=directory / "run",
            state_dir=directory / "state",
            cgroup_root=f"orch-bench-{uuid.uuid4().hex[:8]}/node",
            on_exit=lambda _: None,
        )
        try:
            await node.open_network(16)
            try:
                yield node
            finally:
                await node.network.cleanup()
        finally:
            await node.runtime.shutdown()

    async def open_network(self, pool_size: int) -> None:
        (self.directory / "resolv.conf").touch()
        self.network = await Network.open(
            run_dir=self.directory / "run",
            state_dir=self.directory / "state",
            subnets=[_SUBNET],
            cluster_range="10.88.0.0/16",
            node_address=_ADDRESS,
            pool_size=pool_size,
            resolv_conf=self.directory / "resolv.conf",
        )

    async def resize_pool(self, size: int) -> None:
        """Of another size from now on; with 0, every task waits for its network to be made."""
        await self.network.close()
        await self.open_network(size)
        await asyncio.sleep(0.3)

    async def start(self, *args: str) -> str:
        """All that the agent does from the wish to the payload's exec; the image is there."""
        name = next(self._names)
        place = await self.network.attach(name)
        config = runtime_bundle.config(list(args), network=place.netns, first_id=place.first_id)
        logs = str(self.directory / "logs" / name)
        await self.runtime.launch(Launch(name, name, config, (str(self.layer),), logs))
        return name

    async def timed_life(self) -> float:
        """Milliseconds until exec; then all of it is taken down again."""
        began = time.perf_counter()
        name = await self.start("echo")
        took = (time.perf_counter() - began) * 1e3
        await self.end(name)
        return took

    async def end(self, name: str) -> Exited:
        """Wait for its end, and remove all of it."""
        exited = await self.runtime.wait(name)
        await self.runtime.remove(name)
        await self.runtime.remove_sandbox(name)
        await self.network.detach(name)
        return exited

    async def kill_and_end(self, name: str) -> None:
        await self.runtime.kill(name)
        await self.end(name)

    async def rate(self, lives: int, side_by_side: int) -> float:
        """Lives a second, until nothing is left of the last one."""
        began = time.perf_counter()

        async def worker(count: int) -> None:
            for _ in range(count):
                await self.timed_life()

        await asyncio.gather(*(worker(lives // side_by_side) for _ in range(side_by_side)))
        await self.network.settle()
        return lives // side_by_side * side_by_side / (time.perf_counter() - began)

    def memory(self) -> float:
        """PSS in MB of the helpers and of this very process, which stands for the agent."""
        return sum(map(_pss, (*self._helpers(), "self")))

    def _helpers(self) -> list[str]:
        """By the folder in their command line; none of its containers' processes knows it."""
        run_dir = f"{self.directory}/run".encode()
        found = []
        for process in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if process.name.isdigit() and run_dir in (process / "cmdline").read_bytes():
                    found.append(process.name)
        return found


def _pss(process: str) -> float:
    for line in (Path("/proc") / process / "smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0
