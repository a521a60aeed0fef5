"""A control plane in this process, on any store, with real listeners and an administrator's connection."""

import asyncio
import shutil
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from grpc import StatusCode, aio

from controlplane import plane
from controlplane.loop import clock
from controlplane.settings import Settings
from controlplane.store import etcd_channel, memory, port
from orch import wire
from orch.model.container import ContainerSpec
from orch.model.names import ObjectName
from orch.model.service import ServiceSpec, TaskTemplate
from orch.v1 import control_pb2 as pb
from tests.support import agents

QUICK = {"min_ready": 0.0, "max_surge": "1", "max_unavailable": "0"}


@dataclass
class Running:
    """A control plane that is up."""

    plane: plane.Plane
    settings: Settings
    address: str
    join_address: str
    channel: Any
    stack: AsyncExitStack

    @property
    def stub(self) -> Any:
        return agents.control(self.channel)

    @property
    def ca(self) -> bytes:
        return (self.settings.data / "ca.crt").read_bytes()

    async def agent(self, name: str, **more: Any) -> agents.Agent:
        """A node that has joined and is welcome."""
        invitation = (self.settings.data / "join-token").read_text().strip()
        credential = await agents.join(self.join_address, self.ca, invitation, name)
        agent = agents.Agent(name, self.address, credential, **more)
        self.stack.push_async_callback(agent.stop)
        return await agent.start()

    async def back(self, agent: agents.Agent, **more: Any) -> agents.Agent:
        """The node comes once more, or from another control plane, with the certificate that it has."""
        back = agents.Agent(agent.name, self.address, agent.credential, **more)
        self.stack.push_async_callback(back.stop)
        return await back.start()

    async def wait_until(self, claim: Any) -> None:
        """Until the claim is true of the picture."""
        done = asyncio.get_running_loop().create_future()

        def look(*_: Any) -> None:
            if not done.done() and claim(self.plane.picture.cluster):
                done.set_result(None)

        stop = self.plane.picture.listen(look)
        look()
        try:
            await asyncio.wait_for(done, agents.WAIT_SECONDS)
        finally:
            stop()

    async def ready(self, tasks: int) -> None:
        """Until so many tasks are."""
        await self.wait_until(lambda cluster: sum(each.ready for each in cluster.statuses.values()) == tasks)

    async def stop(self) -> None:
        """Politely."""
        await self.stack.aclose()
        await self.channel.close()
        await self.plane.stop()


async def start(
    data: Path,
    store: port.Store | None = None,
    *,
    etcd: etcd_channel.Connection | None = None,
    time: clock.Clock | None = None,
    **changed: Any,
) -> Running:
    """One control plane; on a memory store unless another is given."""
    settings = Settings(
        data=data, listen=("127.0.0.1:0",), join_listen="127.0.0.1:0", advertise="127.0.0.1:1", name="test"
    )
    settings = replace(settings, **changed)
    data.mkdir(exist_ok=True)  # noqa: ASYNC240  a test waits for nobody else
    grounds = await plane.prepare(
        settings, store or memory.MemoryStore.fresh(), time or clock.SystemClock(), etcd
    )
    running = plane.Plane(grounds)
    await running.start()
    credential = agents.Credential(
        *(((data / name).read_bytes()) for name in ("admin.crt", "admin.key", "ca.crt"))
    )
    address = running.addresses[0]
    return Running(
        running, settings, address, running.join_address, credential.channel(address), AsyncExitStack()
    )


def share_keys(data: Path, other: Path) -> None:
    """What an operator copies to the directory of one more control plane."""
    other.mkdir()
    for name in ("ca.crt", "ca.key", "sealing.key"):
        shutil.copy(data / name, other / name)


def a_service(name: str = "web", *, image: str = "web:1", **fields: Any) -> Any:
    """A Document."""
    rollout = fields.pop("rollout", QUICK)
    container = fields.pop("container", {})
    template = TaskTemplate(
        containers=(ContainerSpec(image=image, **container),), **fields.pop("template", {})
    )
    spec = ServiceSpec(template=template, rollout=rollout, **fields)
    message = pb.ServiceDocument(name=wire.to_wire(ObjectName("default", name)), spec=wire.to_wire(spec))
    return pb.Document(source=f"{name}.yaml:1", service=message)


def applying(*documents: Any, **more: Any) -> Any:
    """An ApplyRequest."""
    return pb.ApplyRequest(documents=documents, **more)


async def refused(call: Any) -> tuple[StatusCode, str]:
    """With what, and the words."""
    try:
        await call
    except aio.AioRpcError as error:
        return error.code(), error.details() or ""
    raise AssertionError("it was not refused")


async def refusal(running: Running, *documents: Any) -> str:
    """What an apply of these is told is wrong with them."""
    code, words = await refused(running.stub.Apply(applying(*documents)))
    assert code is StatusCode.INVALID_ARGUMENT
    return words
