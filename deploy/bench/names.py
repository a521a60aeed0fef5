"""How fast a change of an endpoint is in orch-dns, how much memory it takes, and how fast it answers.

`python deploy/bench/names.py` prints one JSON object; make bench-network has it in its table. Needs root, for port 53
of an address of the loopback.
"""

import asyncio
import json
import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[2] / "proto")]

from agent import names as lines
from agent.network import names, names_process
from agent.network.dns import message
from orch.model.assignment import Endpoint, EndpointSection, ServiceEndpoints
from orch.model.cluster import Stamp
from orch.model.names import ServiceName, TaskId

CHANGES = 100
ASKED = 5_000


def a_service(number: int, endpoints: int) -> ServiceEndpoints:
    """Service `svc-NUMBER` with tasks of its own."""
    name = ServiceName("default", f"svc-{number}")
    tasks = tuple(
        Endpoint(TaskId(*name, 7, slot, 1), "node-1", (_address(number * endpoints + slot),))
        for slot in range(1, endpoints + 1)
    )
    return ServiceEndpoints(name, tasks, (f"10.224.{number // 250}.{number % 250 + 1}",))


async def measure(services: int, endpoints: int) -> dict[str, float]:
    """Milliseconds and KiB with so many services of so many endpoints each."""
    address = f"127.{os.getpid() % 200 + 20}.{services % 250}.53"
    with tempfile.TemporaryDirectory(prefix="orch-bench-") as folder:
        (Path(folder) / "resolv.conf").touch()
        told = names.Names(Path(folder) / "dns", [f"{address}/32"], [], Path(folder) / "resolv.conf")
        await told.start()
        try:
            return await _measured(told, Path(folder) / "dns", address, services, endpoints)
        finally:
            await told.end()


async def _measured(
    told: names.Names, folder: Path, address: str, services: int, endpoints: int
) -> dict[str, float]:
    said = lines.Lines()
    section = EndpointSection(Stamp(), 1, tuple(a_service(each, endpoints) for each in range(services)))
    first = await _seconds_to_answer(said, told, section, address, "1.svc-0.default.orch", _address(1))
    pauses: list[float] = []
    ending = threading.Event()
    asking = threading.Thread(target=_ask_on, args=(address, ending, pauses))
    asking.start()
    try:
        changes = []
        for turn in range(CHANGES):
            section, name, moved = _moved(section, turn)
            changes.append(await _seconds_to_answer(said, told, section, address, name, moved))
        quiet = max(pauses)
        pauses.clear()
        await names_process.say(folder, "reload", names_process.LONG_WORD_TIMEOUT_SECONDS)
        reloading = max(pauses, default=0.0)
    finally:
        ending.set()
        asking.join()
    return {
        "first_ms": first * 1000,
        "change_p50_ms": statistics.median(changes) * 1000,
        "change_p99_ms": sorted(changes)[-max(1, CHANGES // 100)] * 1000,
        "slowest_answer_meanwhile_ms": quiet * 1000,
        "slowest_answer_while_all_is_read_anew_ms": reloading * 1000,
        "answers_per_second": await asyncio.to_thread(_rate, address),
        "pss_kib": _pss_kib(int((folder / "lock").read_text())),
        "file_kib": (folder / "services").stat().st_size / 1024,
    }


async def _seconds_to_answer(
    said: lines.Lines, told: names.Names, section: EndpointSection, address: str, name: str, expected: str
) -> float:
    """From the section in the agent's hands to its address in an answer."""
    began = time.perf_counter()
    await told.set(said.of(section))
    answer = _ask(address, name)
    took = time.perf_counter() - began
    if socket.inet_aton(expected) not in answer:
        raise RuntimeError(f"{name} is not at {expected} although orch-dns was told")
    return took


def _moved(section: EndpointSection, turn: int) -> tuple[EndpointSection, str, str]:
    """One endpoint elsewhere; the other services are the very same."""
    at = turn * 7919 % len(section.services)
    service = section.services[at]
    moved = f"10.200.{turn // 250}.{turn % 250 + 1}"
    endpoints = (replace(service.endpoints[0], addresses=(moved,)), *service.endpoints[1:])
    changed = replace(service, endpoints=endpoints)
    services = (*section.services[:at], changed, *section.services[at + 1 :])
    return replace(section, services=services), f"1.{service.service.name}.default.orch", moved


def _question(name: str) -> bytes:
    labels = b"".join(bytes((len(each),)) + each.encode() for each in name.split("."))
    return os.urandom(2) + b"\1\0\0\1\0\0\0\0\0\0" + labels + b"\0" + message.A.to_bytes(2, "big") + b"\0\1"


def _ask(address: str, name: str) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(10)
        asker.sendto(_question(name), (address, 53))
        return asker.recv(4096)


def _ask_on(address: str, ending: threading.Event, pauses: list[float]) -> None:
    """How long each answer takes to somebody who asks all the time."""
    while not ending.wait(0.001):
        began = time.perf_counter()
        _ask(address, "svc-1.default.orch")
        pauses.append(time.perf_counter() - began)


def _rate(address: str) -> float:
    """Answers a second to one asker that has a few questions under way."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(10)
        asker.connect((address, 53))
        question = _question("svc-1.default.orch")
        began = time.perf_counter()
        for _ in range(8):
            asker.send(question)
        for _ in range(ASKED):
            asker.recv(4096)
            asker.send(question)
        return ASKED / (time.perf_counter() - began)


def _pss_kib(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))


def _address(number: int) -> str:
    return f"10.{192 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


if __name__ == "__main__":
    print(
        json.dumps(
            {
                f"{services} services of {endpoints}": {
                    key: round(value, 2) for key, value in asyncio.run(measure(services, endpoints)).items()
                }
                for services, endpoints in ((10, 3), (10_000, 10))
            },
            indent=2,
        )
    )
