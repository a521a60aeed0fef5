import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from agent.network import pool
from agent.network.addresses import Addresses, NoAddressLeftError, Subnet
from agent.network.topology import Slot
from agent.network.workbench import Workbench


class _Bench:
    """Makes and removes at once; the real one needs a kernel."""

    def __init__(self) -> None:
        self.workshop = self
        self.batches: list[list[str]] = []
        self.removed = asyncio.Event()
        self.meanwhile: Callable[[], None] = lambda: None

    async def do(self, work: Callable[..., None], *arguments: Any) -> None:
        work(*arguments)
        await asyncio.sleep(0)  # what it has told is heard before it is done, as with a thread

    def make(self, slots: Sequence[Slot], made: Callable[[Slot], None]) -> None:
        for slot in slots:
            made(slot)

    async def remove(self, names: Sequence[str]) -> None:
        self.batches.append(list(names))
        self.meanwhile()
        self.removed.set()


@pytest.fixture
def bench() -> _Bench:
    return _Bench()


@pytest.fixture
def addresses() -> Addresses:
    return Addresses([Subnet.parse("10.88.0.0/24")])


def _with_three_given(bench: _Bench, addresses: Addresses) -> tuple[pool.Pool, list[Slot]]:
    return pool.Pool(0, addresses, cast("Workbench", bench)), [Slot(addresses.take()) for _ in range(3)]


def _of_few_addresses(bench: _Bench, monkeypatch: pytest.MonkeyPatch, subnet: str) -> pool.Pool:
    """Nothing is made ahead, and no batch is ever full."""
    monkeypatch.setattr(pool, "REMOVE_AFTER_SECONDS", 3600.0)
    return pool.Pool(0, Addresses([Subnet.parse(subnet)]), cast("Workbench", bench))


async def test_what_is_given_back_within_a_moment_is_removed_together(
    bench: _Bench, addresses: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "REMOVE_AFTER_SECONDS", 0.01)
    slots_of, slots = _with_three_given(bench, addresses)
    for slot in slots:
        slots_of.give_back(slot)
    async with asyncio.timeout(10):
        await bench.removed.wait()
    assert bench.batches == [[slot.name for slot in slots]]


async def test_who_waits_until_all_is_gone_does_not_wait_for_the_batch_to_fill(
    bench: _Bench, addresses: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "REMOVE_AFTER_SECONDS", 3600.0)
    slots_of, slots = _with_three_given(bench, addresses)
    for slot in slots:
        slots_of.give_back(slot)
        async with asyncio.timeout(10):
            await slots_of.settle()
    assert bench.batches == [[slot.name] for slot in slots]


async def test_a_batch_that_was_waited_for_does_not_hurry_the_next_one(
    bench: _Bench, addresses: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "REMOVE_AFTER_SECONDS", 3600.0)
    slots_of, slots = _with_three_given(bench, addresses)
    slots_of.give_back(slots[0])
    await slots_of.settle()
    slots_of.give_back(slots[1])
    for _ in range(10):
        await asyncio.sleep(0)
    assert bench.batches == [[slots[0].name]]
    await slots_of.close()


async def test_where_addresses_run_out_those_on_their_way_back_are_waited_for(
    bench: _Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots_of = _of_few_addresses(bench, monkeypatch, "10.88.0.0/30")
    only = await slots_of.take()
    slots_of.give_back(only)
    async with asyncio.timeout(10):
        again = await slots_of.take()
    assert bench.batches == [[only.name]]
    assert again.addresses == only.addresses


async def test_where_addresses_have_run_out_it_is_said(
    bench: _Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots_of = _of_few_addresses(bench, monkeypatch, "10.88.0.0/30")
    await slots_of.take()
    with pytest.raises(NoAddressLeftError):
        await slots_of.take()


async def test_who_needs_an_address_waits_for_the_first_that_comes_back_not_for_all(
    bench: _Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots_of = _of_few_addresses(bench, monkeypatch, "10.88.0.0/29")
    *others, first = [await slots_of.take() for _ in range(5)]
    bench.meanwhile = lambda: slots_of.give_back(others.pop())
    slots_of.give_back(first)
    async with asyncio.timeout(10):
        again = await slots_of.take()
    assert again.addresses == first.addresses
    assert bench.batches == [[first.name]]


async def test_who_finds_none_ready_does_not_wait_for_the_time_to_refill(
    bench: _Bench, addresses: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots_of = pool.Pool(2, addresses, cast("Workbench", bench))
    await slots_of.take()
    monkeypatch.setattr(pool, "REFILL_AFTER_SECONDS", 3600.0)
    taken = []
    async with asyncio.timeout(10):
        for _ in range(5):
            taken.append(await slots_of.take())
            await asyncio.sleep(0)  # the refill sees that some are ready, and waits
    assert len({slot.name for slot in taken}) == 5
    await slots_of.close()
