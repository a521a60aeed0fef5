"""Streams asked of nodes, without a network."""

import asyncio
from typing import Any

import pytest

from controlplane.api import relay
from orch.v1 import sessions_pb2


@pytest.mark.parametrize("steps", range(5))
async def test_a_user_who_leaves_as_the_node_answers_is_gone(steps: int) -> None:
    """The answer and the cancellation come together, however many steps of the loop lie between."""
    asked: list[str] = []

    def send(_node: str, message: Any) -> bool:
        asked.append(message.ask.id)
        return True

    streams = relay.Relay(send)

    async def use() -> None:
        async with streams.ask("n1", sessions_pb2.StreamAsk()):
            await asyncio.Event().wait()

    user = asyncio.create_task(use())
    await asyncio.sleep(0)  # it has asked, and waits
    await asyncio.sleep(0)
    streams._streams[asked[0]].answered.set()
    for _ in range(steps):
        await asyncio.sleep(0)
    user.cancel()
    done, _ = await asyncio.wait({user}, timeout=2)
    forgotten = not done
    user.cancel()
    assert not forgotten, "the cancellation was forgotten"
    assert user.cancelled()
    assert not streams._streams
