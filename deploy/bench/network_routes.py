"""HTTP routes: the proxy as orch has it beside two others, and how soon a change is in it.

The bare one passes requests on and does nothing else. The one by hand does what ours does, as somebody would write it
who needs that: finds the service by host, says who asked, tries again elsewhere, keeps a log. All lead to the same two
servers (HAProxy again, answering by itself), one after the other in each round, on loopback. As in an agent, this
process reads what our proxy says of requests while it is measured.
"""

import asyncio
import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.routes import process
from agent.routes.config import Places
from agent.routes.proxy import Proxy
from deploy.bench import figures
from deploy.bench.figures import Figure
from orch.model.assignment import Endpoint, EndpointSection, ServiceEndpoints
from orch.model.cluster import Stamp
from orch.model.names import ObjectName, TaskId
from orch.model.network import RouteSpec
from orch.model.policy import PortSpec

SECONDS = 3
CONNECTIONS = 32
SERVICES = 100
CHANGES = 20
_BACKEND = """\
global
  maxconn 2000
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 5s
frontend answers
  bind 127.0.0.1:{port}
  http-request return status 200 content-type text/plain string "hello from a server of the bench, of a length\\n"
"""
_BARE = """\
global
  maxconn 2000
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 5s
  balance roundrobin
frontend in
  bind :{port}
  default_backend out
backend out
  server one 127.0.0.1:{one}
  server two 127.0.0.1:{two}
"""
_BY_HAND = """\
global
  maxconn 2000
  nbthread {threads}
  log stdout format raw local0 info
defaults
  mode http
  log global
  option httplog
  option forwardfor
  option redispatch 1
  retries 3
  retry-on conn-failure empty-response
  timeout client 60s
  timeout server 60s
  timeout connect 5s
  balance roundrobin
frontend in
  bind :{port}
  http-request set-header X-Forwarded-Proto http
  use_backend %[req.hdr(host),lower,map({hosts})]
backend out
  server one 127.0.0.1:{one}
  server two 127.0.0.1:{two}
"""


def measure(_lab: object, rounds: int) -> list[Figure]:
    """Needs Debian's haproxy, and its wrk or apache2-utils to make requests."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    return asyncio.run(_measure(rounds))


async def _measure(rounds: int) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="orch-bench-routes-") as made:
        folder = Path(made)
        one, two, bare, hand = (_free_port() for _ in range(4))
        hosts = folder / "hosts.map"
        hosts.write_text("h0.test out\n")
        by_hand = _BY_HAND.format(port=hand, one=one, two=two, hosts=hosts, threads=process.threads())
        with (
            _haproxy(folder / "one.cfg", _BACKEND.format(port=one)),
            _haproxy(folder / "two.cfg", _BACKEND.format(port=two)),
            _haproxy(folder / "bare.cfg", _BARE.format(port=bare, one=one, two=two)) as bare_pid,
            _haproxy(folder / "hand.cfg", by_hand) as hand_pid,
        ):
            async with _ours(folder, (one, two)) as ours:
                for port in (one, two, bare, hand, ours.port):
                    await _answers(port)
                compared = await _compare(
                    ours, {"bare": (bare, bare_pid), "by hand": (hand, hand_pid)}, rounds
                )
                return [*compared, *await _changes(ours, (one, two), rounds)]


@dataclass(frozen=True, slots=True)
class _Ours:
    proxy: Proxy
    places: Places

    @property
    def port(self) -> int:
        return self.places.http_port


async def _compare(ours: _Ours, others: Mapping[str, tuple[int, int]], rounds: int) -> list[Figure]:
    turns = {"a route": (ours.port, process.found(ours.places)[-1]), **others}
    rates: dict[str, list[float]] = {name: [] for name in turns}
    costs: dict[str, list[float]] = {name: [] for name in turns}
    for number in range(rounds):
        for name, (port, pid) in list(turns.items())[:: 1 if number % 2 else -1]:
            before = _cpu_seconds(pid)
            rate = await _requests_per_second(port)
            rates[name].append(rate)
            costs[name].append((_cpu_seconds(pid) - before) / (rate * SECONDS) * 1e6)
        ours.proxy.traffic()
    return [
        *(
            Figure(f"proxy: requests, {name}", "1/s", 0, tuple(each), more_is_better=True)
            for name, each in rates.items()
        ),
        *(
            Figure(
                f"proxy: requests, a route / {name}",
                "×",
                0.95,
                figures.ratios(rates["a route"], rates[name]),
                more_is_better=True,
            )
            for name in others
        ),
        *(Figure(f"proxy: cpu of a request, {name}", "µs", 0, tuple(each)) for name, each in costs.items()),
        Figure("proxy: memory", "MiB", 0, (_memory_mib(process.found(ours.places)[-1]),)),
    ]


async def _changes(ours: _Ours, ports: tuple[int, int], rounds: int) -> list[Figure]:
    """Of one service of many: an endpoint that goes and comes; and of the services themselves."""
    took: list[float] = []
    renewed: list[float] = []
    for number in range(rounds):
        began = time.perf_counter()
        await ours.proxy.set(_section(ports, SERVICES + number), {})
        renewed.append((time.perf_counter() - began) * 1000)
        for turn in range(CHANGES):
            some = ports[:1] if turn % 2 else ports
            began = time.perf_counter()
            await ours.proxy.set(_section(some, SERVICES + number), {})
            took.append((time.perf_counter() - began) * 1000)
    return [
        Figure("proxy: an endpoint changes, p99", "ms", 100, (figures.percentile(took, 99),)),
        Figure("proxy: an endpoint changes", "ms", 0, tuple(took)),
        Figure("proxy: a service more, a new process", "ms", 0, tuple(renewed)),
    ]


def _section(ports: tuple[int, ...], services: int) -> EndpointSection:
    """The first has these endpoints, the others two each."""
    found = []
    for number in range(services):
        name = ObjectName("default", f"web{number}")
        endpoints = tuple(
            Endpoint(TaskId(*name, port, 1, 1), "n", ("127.0.0.1",), revision=1, targets=(port,))
            for port in (ports if number == 0 else (1, 2))
        )
        routes = (RouteSpec(host=f"h{number}.test"),)
        found.append(ServiceEndpoints(name, endpoints, ports=(PortSpec(target=80),), routes=routes))
    return EndpointSection(Stamp("bench", 1, 1, 1), 1, tuple(found))


@contextlib.asynccontextmanager
async def _ours(folder: Path, ports: tuple[int, int]) -> AsyncIterator[_Ours]:
    uid, gid = process.account()
    where = str(folder / "routes")
    places = Places(
        where, f"{where}/keys", _free_port(), 0, uid, gid, process.most_connections(), process.threads()
    )
    proxy = Proxy(places)
    try:
        await proxy.set(_section(ports, SERVICES), {})
        if problems := proxy.problems():
            raise RuntimeError("; ".join(problems))
        yield _Ours(proxy, places)
    finally:
        proxy.close()
        await asyncio.to_thread(process.end, places)


@contextlib.contextmanager
def _haproxy(path: Path, text: str) -> Iterator[int]:
    path.write_text(text)
    running = subprocess.Popen(  # in a session of its own, as ours: the kernel shares out time by session
        [process.program(), "-db", "-q", "-f", str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield running.pid
    finally:
        running.kill()
        running.wait()


async def _requests_per_second(port: int) -> float:
    url, host = f"http://127.0.0.1:{port}/some/path", "Host: h0.test"
    if shutil.which("wrk"):
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-H", host, url]
        pattern = r"Requests/sec:\s+([\d.]+)"
    elif shutil.which("ab"):
        command = [
            "ab",
            "-q",
            "-k",
            "-c",
            str(CONNECTIONS),
            "-t",
            str(SECONDS),
            "-n",
            "9999999",
            "-H",
            host,
            url,
        ]
        pattern = r"Requests per second:\s+([\d.]+)"
    else:
        sys.exit("install wrk or apache2-utils (deploy/prepare.sh test): nothing here makes requests")
    running = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    said, _ = await running.communicate()
    text = said.decode()
    found = re.search(pattern, text)
    if found is None or "Non-2xx" in text:
        raise RuntimeError(f"{command[0]} says: {text}")
    return float(found[1])


async def _answers(port: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.02)
    raise TimeoutError(f"nobody listens on port {port}")


def _cpu_seconds(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _memory_mib(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
