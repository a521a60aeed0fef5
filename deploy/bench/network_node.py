"""A node of the network's bench: the agent's network, opened in a namespace by a process of its own.

deploy/bench/network_node.py NETNS SETTINGS     obeys calls that arrive as lines of JSON: [name, arguments…]
"""

import asyncio
import base64
import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from agent.linux import constants, syscalls
from agent.network import attachment
from agent.network.network import Network
from agent.network.peering import Mode, Underlay
from orch import wire
from orch.model.assignment import EndpointSection


class Node:
    """The other process, as the bench sees it."""

    def __init__(
        self, netns: Path, folder: Path, subnet: str, address: str, mode: str, pool_size: int = 2
    ) -> None:
        """The network is open."""
        self.netns, self.subnet, self.address = netns, subnet, address
        settings = {
            "run_dir": str(folder / "run"),
            "state_dir": str(folder / "state"),
            "subnets": [subnet],
            "cluster_range": "10.208.0.0/12",
            "service_range": "10.224.0.0/16",
            "node_address": address,
            "pool_size": pool_size,
            "mode": mode,
        }
        folder.mkdir()
        command = [sys.executable, __file__, str(netns), json.dumps(settings)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def call(self, name: str, *arguments: object) -> Any:
        """What a method of Network returns, as JSON has it."""
        return self.timed(name, *arguments)[0]

    def timed(self, name: str, *arguments: object) -> tuple[Any, float]:
        """And the seconds it took, as measured beside it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([name, *arguments]) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def attach(self, task: str) -> tuple[Path, str]:
        """The namespace and the address of a task."""
        attached = self.call("attach", task)
        return Path(attached["netns"]), attached["addresses"][0]

    def set_peers(self, peers: "list[Node]") -> None:
        """All that lead to these."""
        self.call("set_peers", [peer.as_peer() for peer in peers if peer is not self])

    def set_services(self, section: EndpointSection) -> float:
        """The seconds it took, with reading the message."""
        return self.timed("set_services", base64.b64encode(wire.encode(section)).decode())[1]

    def as_peer(self) -> dict[str, object]:
        """For the `set_peers` of others."""
        return dataclasses.asdict(attachment.Peer(str(self.netns), self.address, (self.subnet,)))

    def close(self) -> None:
        """With all that it made."""
        self.call("cleanup")
        self._process.wait()

    def _answer(self) -> tuple[Any, float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the bench's node ended, see above")
        return tuple(json.loads(line))


async def _obey(network: Network, name: str, arguments: list[Any]) -> Any:
    if name == "set_peers":
        peers = [attachment.Peer(**each | {"subnets": tuple(each["subnets"])}) for each in arguments[0]]
        return await network.set_peers(peers)
    if name == "set_services":
        return await network.set_services(wire.decode(base64.b64decode(arguments[0]), EndpointSection))
    if name == "cycle":
        await asyncio.gather(*map(network.attach, arguments[0]))
        await asyncio.gather(*map(network.detach, arguments[0]))
        return None
    return await getattr(network, name)(*arguments)


async def _main(settings: dict[str, Any]) -> None:
    folders = {name: Path(settings.pop(name)) for name in ("run_dir", "state_dir")}
    underlay = Underlay(Mode(settings.pop("mode")))
    network = await Network.open(**folders, **settings, underlay=underlay, resolv_conf=Path("/dev/null"))
    print("[null, 0]", flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        name, *arguments = json.loads(line)
        began = time.perf_counter()
        found = await _obey(network, name, arguments)
        took = time.perf_counter() - began
        print(json.dumps([dataclasses.asdict(found) if found else None, took]), flush=True)
        if name == "cleanup":
            return


if __name__ == "__main__":
    namespace = os.open(sys.argv[1], os.O_RDONLY)
    syscalls.setns(namespace, constants.CLONE_NEWNET)
    os.close(namespace)
    asyncio.run(_main(json.loads(sys.argv[2])))
