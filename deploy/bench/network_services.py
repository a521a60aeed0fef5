"""Virtual addresses: what they cost a packet and a connection, and what many of them cost the kernel.

A connection through a virtual address and one to the task itself take turns, from one node to the next through
VXLAN, first with one service and then with ten thousand.
"""

import asyncio
import dataclasses
import random
import time
from contextlib import ExitStack
from ipaddress import IPv4Address
from pathlib import Path

from agent.network import rules
from agent.network.firewall import Firewall
from deploy.bench import figures, network_flows
from deploy.bench.figures import Figure
from deploy.bench.network_lab import Lab
from orch.model.assignment import Endpoint, EndpointSection, ServiceEndpoints
from orch.model.cluster import Stamp
from orch.model.names import ServiceName, TaskId
from orch.model.policy import PortSpec

SERVICES, ENDPOINTS = 10_000, 10
"""The endpoints are those of each service."""
_VIRTUAL = "10.224.0.1"
_FLOW_SECONDS = 1.0
_WORDS, _CONNECTIONS = 4000, 1500
_CHANGES = 100
_AT_MOST = 1.05
_AT_LEAST = 0.95
_UPDATE_MILLISECONDS = 100.0


def measure(lab: Lab, rounds: int) -> list[Figure]:
    """In the table's order: a packet, a connection, the tables."""
    node = lab.tunnelled[0]
    found: list[Figure] = []
    with ExitStack() as closing:
        netns, _ = node.attach("client")
        there, address = lab.tunnelled[1].attach("server")
        closing.enter_context(network_flows.sink(there, address))
        node.set_services(_section([_service(0, [address])]))
        found += _compared(netns, address, rounds)
        node.set_services(_section([_service(0, [address]), *_many(first=1)]))
        found += _connected(netns, address, rounds, f"among {SERVICES:,} services")
        node.set_services(_section([]))
    return found + asyncio.run(_programmed())


def _compared(netns: Path, address: str, rounds: int) -> list[Figure]:
    flows: dict[str, list[float]] = {address: [], _VIRTUAL: []}
    words: dict[str, list[float]] = {address: [], _VIRTUAL: []}
    for number in range(rounds):
        for host in _turned(list(flows), number):
            flows[host].append(network_flows.gigabits(netns, host, _FLOW_SECONDS))
            words[host].append(network_flows.microseconds(netns, host, _WORDS))
    return [
        Figure(
            "virtual address: throughput, of direct",
            "×",
            _AT_LEAST,
            figures.ratios(flows[_VIRTUAL], flows[address]),
            True,
        ),
        Figure(
            "virtual address: to and fro, of direct",
            "×",
            _AT_MOST,
            figures.ratios(words[_VIRTUAL], words[address]),
        ),
        *_connected(netns, address, rounds, "alone"),
    ]


def _connected(netns: Path, address: str, rounds: int, where: str) -> list[Figure]:
    times: dict[str, list[float]] = {address: [], _VIRTUAL: []}
    for number in range(rounds):
        for host in _turned(list(times), number):
            times[host].append(network_flows.microseconds_a_connection(netns, host, _CONNECTIONS))
    ratios = figures.ratios(times[_VIRTUAL], times[address])
    return [
        Figure(f"virtual address {where}: a connection", "µs", 0.0, tuple(times[_VIRTUAL])),
        Figure(f"virtual address {where}: a connection, of direct", "×", _AT_MOST, ratios),
    ]


async def _programmed() -> list[Figure]:
    """In the bench's own namespace: the tables of one node, without the time to read the message."""
    place = rules.Place("orch0", "10.208.0.0/12", "10.224.0.0/16", ("10.208.4.0/22",), "10.208.4.1")
    firewall = Firewall(place)
    try:
        await firewall.commit()
        services = _many()
        before = _available_kib()
        whole = await _timed(firewall, services)
        taken = before - _available_kib()
        chance = random.Random(5)
        changes = []
        for number in range(_CHANGES):
            chosen = chance.randrange(SERVICES)
            services[chosen] = _changed(services[chosen], number)
            changes.append(1000 * await _timed(firewall, services))
        firewall.close()
        again = await _timed(Firewall(place), services)
    finally:
        await firewall.remove()
    name = f"{SERVICES:,} services, {SERVICES * ENDPOINTS:,} endpoints"
    return [
        Figure(f"{name}: all into the kernel", "s", 0.0, (whole,)),
        Figure(f"{name}: memory, agent and kernel", "MiB", 0.0, (taken / 1024,)),
        Figure(f"{name}: found by an agent that returns", "s", 0.0, (again,)),
        Figure(f"{name}: one endpoint changes", "ms", 0.0, tuple(changes)),
        Figure(
            f"{name}: one endpoint changes, p99",
            "ms",
            _UPDATE_MILLISECONDS,
            (figures.percentile(changes, 99),),
        ),
    ]


async def _timed(firewall: Firewall, services: list[ServiceEndpoints]) -> float:
    section = _section(services)
    began = time.perf_counter()
    await firewall.set_services(section)
    return time.perf_counter() - began


def _many(first: int = 0) -> list[ServiceEndpoints]:
    base = IPv4Address("10.212.0.1")
    return [
        _service(number, [str(base + number * ENDPOINTS + slot) for slot in range(ENDPOINTS)])
        for number in range(first, SERVICES)
    ]


def _service(number: int, addresses: list[str]) -> ServiceEndpoints:
    name = f"service-{number}"
    endpoints = tuple(
        Endpoint(TaskId("bench", name, 1, slot, 1), "node", (address,))
        for slot, address in enumerate(addresses, 1)
    )
    virtual = str(IPv4Address(_VIRTUAL) + number)
    return ServiceEndpoints(ServiceName("bench", name), endpoints, (virtual,), (PortSpec(target=80),))


def _changed(service: ServiceEndpoints, number: int) -> ServiceEndpoints:
    """One endpoint goes, is replaced, or comes back."""
    first, *rest = service.endpoints
    match number % 3:
        case 0:
            return dataclasses.replace(service, endpoints=tuple(rest))
        case 1:
            new = dataclasses.replace(first, addresses=(str(IPv4Address("10.222.0.1") + number),))
            return dataclasses.replace(service, endpoints=(new, *rest))
        case _:
            return dataclasses.replace(service, endpoints=(dataclasses.replace(first, ready=False), *rest))


def _section(services: list[ServiceEndpoints]) -> EndpointSection:
    return EndpointSection(Stamp(), 1, tuple(services))


def _available_kib() -> int:
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))


def _turned(names: list[str], number: int) -> list[str]:
    first = number % len(names)
    return names[first:] + names[:first]
