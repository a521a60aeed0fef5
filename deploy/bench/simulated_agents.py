"""Tasks per second from apply to told: a real control plane on its real etcd (fsync on), simulated agents.

    python deploy/bench/simulated_agents.py --nodes 20 --services 30 --tasks 50

Prints a table; with --json FILE also writes the rows as `make bench` collects them. The agents live in this
process, so what they need of the processor is part of the figures.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grpc import aio, ssl_channel_credentials

from orch import wire
from orch.identity import request as requests
from orch.identity import roles
from orch.model.container import ContainerSpec
from orch.model.names import ObjectName
from orch.model.policy import RolloutPolicy
from orch.model.service import ServiceSpec, TaskTemplate
from orch.v1 import control_pb2, control_pb2_grpc, sessions_pb2, sessions_pb2_grpc, values_pb2

GOAL_TASKS_PER_SECOND = 1_500
READY_WITHIN_SECONDS = 60.0
TOLD_WITHIN_SECONDS = 120.0
OPTIONS = (("grpc.ssl_target_name_override", roles.SERVER_NAME),)


@dataclass
class Told:
    """Which tasks some agent has been told of, and when the last of them was."""

    wanted: int
    tasks: set[tuple[str, int, int, int]] = field(default_factory=set)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    at: float = 0.0

    def hear(self, section: Any) -> None:
        """A section came."""
        self.tasks.update(
            (task.id.service, task.id.birth, task.id.slot, task.id.attempt) for task in section.tasks
        )
        if len(self.tasks) >= self.wanted:
            self.at = self.at or time.monotonic()
            self.done.set()


async def main() -> int:
    """One run."""
    given = _arguments()
    with tempfile.TemporaryDirectory(prefix="orch-bench-") as directory:
        data = Path(directory) / "data"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "controlplane", "--data", str(data),
            "--listen", "127.0.0.1:0", "--join-listen", "127.0.0.1:0", "--advertise", "127.0.0.1:0",
            stdout=asyncio.subprocess.PIPE, stderr=None if given.verbose else asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            ready = await asyncio.wait_for(process.stdout.readline(), READY_WITHIN_SECONDS)
            words = ready.decode().split()
            rows = await _measure(given, data, words[2].rstrip(";"), words[-1], process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            await process.wait()
    for row in rows:
        print(f"{row['name']:<52} {row['value']:>10} {row['unit']:<8} goal {row['goal']}")
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))
    return 0


async def _measure(
    given: argparse.Namespace, data: Path, address: str, join: str, pid: int
) -> list[dict[str, Any]]:
    admin = _credentials(data / "ca.crt", data / "admin.key", data / "admin.crt")
    async with aio.secure_channel(address, admin, options=OPTIONS) as channel:
        stub: Any = control_pb2_grpc.ControlStub(channel)  # type: ignore[no-untyped-call,unused-ignore]
        total = given.services * given.tasks
        told = Told(total)
        agents = [
            asyncio.create_task(_agent(f"node-{number}", address, join, data, told, replies=given.replies))
            for number in range(1, given.nodes + 1)
        ]
        for agent in agents:
            agent.add_done_callback(_complain)
        await _until_ready(stub, given.nodes)
        before = _cpu_seconds(pid)
        began = time.monotonic()
        applies = [stub.Apply(_request(number, given.tasks)) for number in range(given.services)]
        await asyncio.gather(*applies)
        accepted = time.monotonic()
        await asyncio.wait_for(told.done.wait(), TOLD_WITHIN_SECONDS)
        rate = total / (told.at - began)
        rows = [
            _row(
                f"simulated: {total} tasks on {given.nodes} nodes, apply → told",
                rate,
                "tasks/s",
                GOAL_TASKS_PER_SECOND,
            ),
            _row("simulated: all applies accepted", accepted - began, "s", None),
            _row(
                "simulated: control plane's processor per task",
                (_cpu_seconds(pid) - before) / total * 1000,
                "ms",
                None,
            ),
        ]
        if given.replies:
            await _until_serving(stub, given.services)
            rows.append(
                _row("simulated: apply → all ready", total / (time.monotonic() - began), "tasks/s", None)
            )
        rows.append(_row("simulated: control plane and etcd, PSS", _pss_bytes(pid) / 2**20, "MiB", 120))
        for agent in agents:
            agent.cancel()
        await asyncio.gather(*agents, return_exceptions=True)
        return rows


async def _agent(name: str, address: str, join: str, data: Path, told: Told, *, replies: bool) -> None:
    key = requests.new_key()
    authority = (data / "ca.crt").read_bytes()
    async with aio.secure_channel(join, ssl_channel_credentials(authority), options=OPTIONS) as channel:
        stub: Any = sessions_pb2_grpc.JoinStub(channel)  # type: ignore[no-untyped-call,unused-ignore]
        token = (data / "join-token").read_text().strip()
        reply = await stub.Join(
            sessions_pb2.JoinRequest(token=token, node=name, request=requests.make(key, name))
        )
    credentials = ssl_channel_credentials(authority, key, reply.certificate)
    options = (*OPTIONS, ("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))
    async with aio.secure_channel(address, credentials, options=options) as channel:
        stub = sessions_pb2_grpc.SessionsStub(channel)  # type: ignore[no-untyped-call,unused-ignore]
        call = stub.Session()
        hello = sessions_pb2.Hello(node=name, incarnation=1)
        hello.facts.cpu, hello.facts.memory, hello.facts.address = 10_000_000, 1 << 42, "192.0.2.1"
        await call.write(sessions_pb2.SessionUp(hello=hello))
        beating = asyncio.create_task(_beat(call))
        known: set[bytes] = set()
        try:
            async for message in call:
                if message.WhichOneof("kind") == "tasks":
                    told.hear(message.tasks)
                    if replies:
                        await _reply(call, name, message.tasks, known)
        finally:
            beating.cancel()


def _complain(agent: asyncio.Task[None]) -> None:
    if not agent.cancelled():
        print(f"an agent ended: {agent.exception()}", file=sys.stderr)


async def _reply(call: Any, name: str, section: Any, known: set[bytes]) -> None:
    """Every new task runs and is ready."""
    fresh = []
    for task in section.tasks:
        key = task.id.SerializeToString()
        if key not in known:
            known.add(key)
            fresh.append(
                values_pb2.TaskStatus(
                    id=task.id,
                    node=name,
                    state=values_pb2.RUNNING,
                    incarnation=1,
                    sequence=1,
                    ready=True,
                    ready_since=1.0,
                    addresses=["10.208.0.2"],
                )
            )
    if fresh:
        batch = sessions_pb2.StatusBatch(sequence=len(known), statuses=fresh)
        await call.write(sessions_pb2.SessionUp(statuses=batch))


async def _beat(call: Any) -> None:
    while True:
        await asyncio.sleep(1.0)
        await call.write(sessions_pb2.SessionUp(heartbeat=sessions_pb2.Heartbeat()))


async def _until_ready(stub: Any, nodes: int) -> None:
    seen: set[str] = set()
    async for reply in stub.Watch(control_pb2.GetRequest(kinds=["nodes"])):
        seen.update(each.node.spec.name for each in reply.changed if each.node.status.condition == "ready")
        if len(seen) == nodes:
            return


async def _until_serving(stub: Any, services: int) -> None:
    ready: dict[str, bool] = {}
    async for reply in stub.Watch(control_pb2.GetRequest(kinds=["services"])):
        for each in reply.changed:
            ready[each.service.service.name.name] = each.service.ready == each.service.desired > 0
        if sum(ready.values()) == services:
            return


def _request(number: int, tasks: int) -> Any:
    name = ObjectName("default", f"bench-{number}")
    template = TaskTemplate(containers=(ContainerSpec(image="bench:1"),))
    spec = ServiceSpec(replicas=tasks, template=template, rollout=RolloutPolicy(min_ready=0.0))
    service = control_pb2.ServiceDocument(name=wire.to_wire(name), spec=wire.to_wire(spec))
    return control_pb2.ApplyRequest(documents=[control_pb2.Document(source="bench", service=service)])


def _credentials(ca: Path, key: Path, certificate: Path) -> Any:
    return ssl_channel_credentials(ca.read_bytes(), key.read_bytes(), certificate.read_bytes())


def _row(name: str, value: float, unit: str, goal: float | None) -> dict[str, Any]:
    rounded = round(value, 3 if value < 10 else 0)
    return {
        "name": name,
        "value": rounded,
        "unit": unit,
        "goal": goal,
        "min": rounded,
        "max": rounded,
        "n": 1,
    }


def _cpu_seconds(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _pss_bytes(pid: int) -> int:
    """Of the process and its children."""
    total = 0
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for each in (str(pid), *children):
        for line in Path(f"/proc/{each}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=20)
    parser.add_argument("--services", type=int, default=30)
    parser.add_argument("--tasks", type=int, default=50, help="of each service")
    parser.add_argument("--replies", action="store_true", help="agents answer that every task is ready")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--verbose", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
