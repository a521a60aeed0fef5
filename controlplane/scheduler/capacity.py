"""A node's resources and ports less what is assigned to it, and less what is given away in this round."""

from collections.abc import Sequence

from controlplane.cluster.snapshot import Cluster
from orch.model.node import Node
from orch.model.policy import PortSpec
from orch.model.resources import Resources

ANY_ADDRESS = "0.0.0.0"  # noqa: S104  a word in a claim, nothing is bound here


class Capacity:
    """Lists by the node's place on the board; never negative for what was placed here."""

    def __init__(self, cluster: Cluster, nodes: Sequence[Node]) -> None:
        self._cluster = cluster
        self._nodes = nodes
        self.cpu: list[int] = []
        """Free, in thousandths of a core."""
        self.memory: list[int] = []
        """Free, in bytes."""
        self.share: list[float] = []
        """What part of the node is allocated: the mean of cpu and memory, 0 to 1."""
        self._totals: list[tuple[int, int]] = []
        self._ports: dict[int, dict[str, str]] = {}
        for node in nodes:
            free = node.capacity - cluster.allocated_on(node.spec.name)
            self.cpu.append(free.cpu)
            self.memory.append(free.memory)
            self._totals.append((node.status.facts.cpu or 1, node.status.facts.memory or 1))
            self.share.append(0.0)
            self._measure(len(self.share) - 1)

    def fits(self, i: int, asked: Resources) -> bool:
        """What asks for nothing fits everywhere, also where more was given away than there is."""
        enough_cpu = asked.cpu <= self.cpu[i] or not asked.cpu
        return enough_cpu and (asked.memory <= self.memory[i] or not asked.memory)

    def take(self, i: int, asked: Resources) -> None:
        self.cpu[i] -= asked.cpu
        self.memory[i] -= asked.memory
        self._measure(i)

    def port_holder(self, i: int, ports: Sequence[PortSpec]) -> str:
        """Who has one of the ports on the node: `port 80/tcp is taken by web.1.1`; empty if nobody."""
        held = self._ports_on(i)
        for port in ports:
            ip = port.host_ip or ANY_ADDRESS
            tail = f":{port.published}/{port.protocol}"
            for words, holder in held.items():
                if words.endswith(tail) and (ip == ANY_ADDRESS or words in {ip + tail, ANY_ADDRESS + tail}):
                    return f"port {port.published}/{port.protocol} is taken by {holder}"
        return ""

    def take_ports(self, i: int, ports: Sequence[PortSpec], holder: str) -> tuple[str, ...]:
        """The claims to make, as AssignTask has them: `node/host_ip:port/protocol`."""
        words = [f"{port.host_ip or ANY_ADDRESS}:{port.published}/{port.protocol}" for port in ports]
        self._ports_on(i).update(dict.fromkeys(words, holder))
        return tuple(f"{self._nodes[i].spec.name}/{each}" for each in words)

    def _ports_on(self, i: int) -> dict[str, str]:
        """Claims whose holder has not finished; the others may be taken over."""
        known = self._ports.get(i)
        if known is None:
            known = {}
            for words, holder in self._cluster.claims.get(self._nodes[i].spec.name, {}).items():
                task = self._cluster.task(holder)
                if task is not None and not self._cluster.has_finished(task):
                    known[words] = str(holder)
            self._ports[i] = known
        return known

    def _measure(self, i: int) -> None:
        cpu, memory = self._totals[i]
        self.share[i] = 1.0 - (self.cpu[i] / cpu + self.memory[i] / memory) / 2
