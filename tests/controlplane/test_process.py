"""The program itself, with its own etcd: told in time, nothing lost when it is killed, one per directory."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode, aio

from orch import wire
from orch.model.names import TaskId
from orch.v1 import control_pb2 as pb
from tests.support import agents, planes

pytestmark = pytest.mark.etcd

READY_WITHIN_SECONDS = 60.0


@dataclass
class Process:
    """A control plane in a process of its own."""

    process: asyncio.subprocess.Process
    data: Path
    address: str
    join_address: str

    def credential(self) -> agents.Credential:
        names = ("admin.crt", "admin.key", "ca.crt")
        return agents.Credential(*((self.data / name).read_bytes() for name in names))

    async def join(self, node: str) -> agents.Credential:
        invitation = (self.data / "join-token").read_text()
        return await agents.join(self.join_address, self.credential().ca, invitation, node)


@asynccontextmanager
async def running(data: Path) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "controlplane", "--data", str(data), "--listen", "127.0.0.1:0",
        "--join-listen", "127.0.0.1:0", "--advertise", "127.0.0.1:1", stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), READY_WITHIN_SECONDS)).decode()
        assert line.startswith("ready on "), line
        words = line.split()
        yield Process(process, data, words[2].rstrip(";"), words[-1])
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 20) == 0


async def test_an_apply_is_told_and_survives_the_death_of_the_control_plane(tmp_path: Path) -> None:
    """P10: killed without a word, it comes back with all it had acknowledged; every task is the same."""
    async with running(tmp_path / "data") as first:
        agent = agents.Agent("n1", first.address, await first.join("n1"))
        await agent.start()
        async with first.credential().channel(first.address) as channel:
            await agents.control(channel).Apply(planes.applying(planes.a_service(replicas=20)))
        await agent.wait_until(lambda it: len(it.tasks()) == 20 and it.stored > 0)
        first.process.kill()
        await first.process.wait()
        await agent.stop()
    before = {wire.from_wire(task.id, TaskId) for task in agent.tasks()}
    async with running(tmp_path / "data") as second:
        returned = agents.Agent("n1", second.address, agent.credential, said=agent.said)
        await returned.start()
        await returned.wait_until(lambda it: "tasks" in it.told)
        assert {wire.from_wire(task.id, TaskId) for task in returned.tasks()} == before
        async with second.credential().channel(second.address) as channel:
            got = await agents.control(channel).Get(pb.GetRequest(kinds=["services"]))
            assert got.objects[0].service.desired == 20
            status = [reply async for reply in agents.control(channel).Store(pb.StoreRequest(verb="status"))]
            assert status[0].members[0].revision > 0
        assert returned.told["tasks"].stamp.epoch > agent.told["tasks"].stamp.epoch
        await returned.stop()


async def test_a_directory_serves_one_control_plane_and_its_keys_are_private(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as first:
        second = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "controlplane", "--data", str(first.data), "--listen", "127.0.0.1:0",
            stderr=subprocess.PIPE,
        )  # fmt: skip
        _, words = await second.communicate()
        assert second.returncode == 1
        assert b"in use by another control plane" in words
        for name in ("ca.key", "server.key", "admin.key", "join-token", "sealing.key"):
            assert (first.data / name).stat().st_mode & 0o077 == 0, name


async def test_one_replica_is_told_within_a_blink(tmp_path: Path) -> None:
    """No timer is on the way from apply to told: fsync and the machine decide, and half a second is ages."""
    async with running(tmp_path / "data") as up:
        agent = agents.Agent("n1", up.address, await up.join("n1"))
        await agent.start()
        took: list[float] = []
        async with up.credential().channel(up.address) as channel:
            stub: Any = agents.control(channel)
            for number in range(5):
                began = asyncio.get_running_loop().time()
                await stub.Apply(planes.applying(planes.a_service(f"web-{number}")))
                await agent.wait_until(lambda it, number=number: len(it.tasks()) == number + 1)
                took.append(asyncio.get_running_loop().time() - began)
        await agent.stop()
    assert sorted(took)[2] < 0.5, json.dumps(took)


async def test_everything_goes_on_when_etcd_is_killed(tmp_path: Path) -> None:
    """P12: the child comes back by itself; no task is touched meanwhile, and the next apply is told."""
    async with running(tmp_path / "data") as up:
        agent = agents.Agent("n1", up.address, await up.join("n1"))
        await agent.start()
        async with up.credential().channel(up.address) as channel:
            stub = agents.control(channel)
            await stub.Apply(planes.applying(planes.a_service(replicas=3)))
            await agent.wait_until(lambda it: len(it.tasks()) == 3 and it.stored > 0)
            os.kill(_child_of(up.process.pid), signal.SIGKILL)
            await _applied(stub, planes.applying(planes.a_service(replicas=5), request_id="again"))
            await agent.wait_until(lambda it: len(it.tasks()) == 5)
        assert all(task.wanted == "run" for task in agent.tasks())
        await agent.stop()


def _child_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


async def _applied(stub: Any, request: Any) -> None:
    """As `orchctl` does it: the same request again while the store is on its way back."""
    for _ in range(50):
        try:
            await stub.Apply(request)
        except aio.AioRpcError as error:
            assert error.code() in {StatusCode.UNAVAILABLE, StatusCode.UNKNOWN}, error.details()
            await asyncio.sleep(0.1)
        else:
            return
    raise TimeoutError
