"""One service as orch-dns knows it, read from the line in which the agent wrote it.

`web.default TAB [VIRTUAL, PORTS, ENDPOINTS]`, where PORTS are [name, protocol, port, target] and ENDPOINTS are
[slot, 1 if ready, addresses, ports if they differ from PORTS]. A line without a TAB says that the service is gone.
"""

import json
import socket


class Task:
    """Who holds a slot's name."""

    __slots__ = ("addresses", "is_ready", "targets")

    def __init__(self, is_ready: bool, addresses: list[bytes], targets: list[int]) -> None:
        self.is_ready = is_ready
        self.addresses = addresses
        self.targets = targets


class Entry:
    """Addresses are packed: four bytes or sixteen."""

    __slots__ = ("_all", "ports", "ready", "slots", "virtual")

    def __init__(self, line: bytes) -> None:
        """Raises ValueError for what the agent has not written."""
        virtual, ports, endpoints = json.loads(line)
        self.virtual = [packed(each) for each in virtual]
        self.ports = [
            (str(name), str(protocol), int(port), int(target)) for name, protocol, port, target in ports
        ]
        self.ready: list[bytes] = []
        self.slots: dict[int, Task] = {}
        self._all: list[bytes] = []
        for slot, is_ready, addresses, *targets in endpoints:
            self._add(
                slot,
                Task(bool(is_ready), [packed(each) for each in addresses], targets[0] if targets else []),
            )

    def _add(self, slot: int, task: Task) -> None:
        """Of an incumbent and its successor the ready one holds the name, of two alike the later one."""
        before = self.slots.get(slot)
        if before is None or task.is_ready or not before.is_ready:
            self.slots[slot] = task
        self._all += task.addresses
        if task.is_ready:
            self.ready += task.addresses

    def addresses(self) -> list[bytes]:
        """All, whether they are ready or not."""
        return [*self.virtual, *self._all]

    def numbers_of(self, name: str, protocol: str) -> tuple[int, int] | None:
        """Which of the ports it is, and its number on the virtual address."""
        for at, (its_name, its_protocol, port, _) in enumerate(self.ports):
            if its_name == name and its_protocol == protocol:
                return at, port
        return None

    def target(self, task: Task, at: int) -> int:
        """The number of a port in a task; 0 where the task has none."""
        return task.targets[at] if at < len(task.targets) else self.ports[at][3]


def packed(address: str) -> bytes:
    """Raises ValueError."""
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    except OSError as error:
        raise ValueError(f"no address: {address!r}") from error


def split(line: bytes) -> tuple[str, bytes]:
    """The service's name and what is said of it; nothing for one that is gone."""
    name, _, rest = line.partition(b"\t")
    return name.decode("ascii"), rest
