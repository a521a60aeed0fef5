"""A store of another cluster is not served; one that went back in time makes nobody stop anything by itself."""

from pathlib import Path

import pytest

from agent import ledger
from controlplane.api import datadir
from controlplane.store import keys, memory, port
from orch import wire
from orch.model.cluster import Stamp
from tests.support import agents, planes


async def test_a_store_of_another_cluster_is_refused_before_any_node_hears_of_it(tmp_path: Path) -> None:
    ours, theirs = memory.MemoryStore.fresh(), memory.MemoryStore.fresh()
    for name, store in (("ours", ours), ("theirs", theirs)):
        await (await planes.start(tmp_path / name, store)).stop()
    before = (await theirs.list("/orch/")).entries

    with pytest.raises(datadir.BadDirectory, match="belongs to another cluster"):
        await planes.start(tmp_path / "ours", theirs)

    assert (await theirs.list("/orch/")).entries == before


async def test_a_restored_store_is_older_to_nodes_until_its_new_life_is_begun(tmp_path: Path) -> None:
    data, store = tmp_path / "data", memory.MemoryStore.fresh()
    running = await planes.start(data, store)
    agent = await running.agent("n1")
    snapshot = (await store.list("/orch/")).entries
    await running.stub.Apply(planes.applying(planes.a_service()))
    await agent.wait_until(lambda it: bool(it.tasks()))
    true = stamp_of(agent)
    await running.stop()

    old = await restored(snapshot)
    running = await planes.start(data, old)
    stale = stamp_of(await again(running, agent))
    await running.stop()
    assert "older" in ledger.refusal(true, true, stale), "nothing is stopped on its word"

    old = await restored(snapshot)
    running = await planes.start(data, old, restored=True)
    anew = stamp_of(await again(running, agent))
    await running.stop()
    assert (anew.cluster, anew.incarnation) == (true.cluster, true.incarnation + 1)
    assert ledger.refusal(true, true, anew) == ""
    assert ledger.refusal(anew, anew, true), "the life before is over"

    running = await planes.start(data, old)
    assert running.plane.picture.cluster.identity is not None
    assert running.plane.picture.cluster.identity.incarnation == anew.incarnation, "once is enough"
    await running.stop()


async def restored(entries: tuple[port.Entry, ...]) -> memory.MemoryStore:
    """A young store with the keys of an old one: its revisions are far behind."""
    store = memory.MemoryStore.fresh()
    kept = [entry for entry in entries if entry.key != keys.LEADER]
    await store.commit([], [port.Put(entry.key, entry.value) for entry in kept])
    return store


async def again(running: planes.Running, agent: agents.Agent) -> agents.Agent:
    """The node comes to this control plane with the certificate that it has."""
    back = await running.back(agent, incarnation=agent.incarnation + 1)
    await back.wait_until(lambda it: "tasks" in it.told)
    return back


def stamp_of(agent: agents.Agent) -> Stamp:
    return wire.from_wire(agent.told["tasks"].stamp, Stamp)
