"""A user's build on its way to a node, without a network."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from controlplane.api import building, relay
from orch.model.node import Facts
from orch.v1 import control_pb2 as pb
from orch.v1 import sessions_pb2
from tests.support.builders import a_cluster, a_node


class _Picture:
    cluster = a_cluster(a_node("n1"))


class _Leading:
    is_needed = False


class Desk:
    """Hands builds to one node; what was granted, and what taken back."""

    def __init__(self) -> None:
        self.granted: list[frozenset[str]] = []
        self.withdrawn: list[str] = []
        self._asked: asyncio.Queue[str] = asyncio.Queue()
        self.relay = relay.Relay(self._send)
        self.building = building.Building(
            _Picture(),  # type: ignore[arg-type]
            self.relay,
            _Leading(),  # type: ignore[arg-type]
            self._grant,
            self.withdrawn.append,
        )

    def _grant(self, repositories: frozenset[str], _seconds: float) -> str:
        self.granted.append(repositories)
        return "word"

    def _send(self, _node: str, message: Any) -> bool:
        if message.WhichOneof("kind") == "ask":
            self._asked.put_nowait(message.ask.id)
        return True

    async def node(self) -> relay.Stream:
        """The stream that the node is asked for, taken up."""
        stream = self.relay._streams[await self._asked.get()]
        stream.answered.set()
        return stream


async def requests() -> AsyncIterator[pb.BuildInput]:
    yield pb.BuildInput(start=pb.BuildStart(names=["shop/web:1"], dockerfile="FROM scratch"))


async def test_a_node_may_push_as_long_as_the_build_lasts() -> None:
    desk = Desk()
    outputs = desk.building.build(requests(), None)
    first = asyncio.ensure_future(anext(outputs))
    stream = await desk.node()
    end = pb.BuildOutput(end=pb.BuildEnd(digest="sha256:1"))
    await stream.take(sessions_pb2.AnswerUp(build=end))

    assert (await first) == end
    assert desk.granted == [frozenset({"shop/web"})]
    assert desk.withdrawn == []
    assert [one async for one in outputs] == []
    assert desk.withdrawn == ["word"]


async def test_who_ends_a_build_takes_the_nodes_leave_to_push_with_it() -> None:
    desk = Desk()
    outputs = desk.building.build(requests(), None)
    waiting = asyncio.ensure_future(anext(outputs))
    await desk.node()

    waiting.cancel()
    await asyncio.wait({waiting})

    assert desk.withdrawn == ["word"]
    assert not desk.relay._streams


def test_a_build_for_a_platform_goes_to_a_node_of_that_kind_where_there_is_one() -> None:
    nodes = [a_node(f"n{number}") for number in range(8)]
    spec, status = nodes[5]
    nodes[5] = (spec, replace(status, facts=Facts(architecture="arm64")))
    cluster = a_cluster(*nodes)

    for name in ("a:1", "b:1", "c:1"):
        assert building._node(cluster, pb.BuildStart(names=[name], platform="linux/arm64")) == "n5"
        assert building._node(cluster, pb.BuildStart(names=[name], platform="linux/s390x"))
