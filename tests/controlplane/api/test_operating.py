"""What operators ask of the store, through the API, of a real etcd."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode, aio

from controlplane.store import etcd, etcd_channel, port
from orch.v1 import control_pb2 as pb
from tests.support import etcd as etcd_support
from tests.support import planes

pytestmark = [pytest.mark.etcd, etcd_support.needs_etcd]


@dataclass
class Stage:
    """A control plane on an etcd of its own."""

    running: planes.Running
    store: etcd.EtcdStore

    async def ask(self, verb: str) -> list[Any]:
        return [reply async for reply in self.running.stub.Store(pb.StoreRequest(verb=verb))]


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with (
        etcd_support.running(tmp_path / "etcd") as server,
        etcd_support.connected(server.endpoint) as store,
    ):
        connection = etcd_channel.Connection((server.endpoint,))
        running = await planes.start(tmp_path / "data", store, etcd=connection)
        try:
            yield Stage(running, store)
        finally:
            await running.stop()


async def test_status_and_members_name_the_one_member(stage: Stage) -> None:
    (status,) = (await stage.ask("status"))[0].members
    (member,) = (await stage.ask("members"))[0].members
    assert status.is_leader
    assert status.version.startswith("3.")
    assert status.db_size > 0
    assert status.revision >= stage.running.plane.picture.cluster.revision
    assert not status.problem
    assert member.name


@pytest.mark.skipif(shutil.which("etcdctl") is None, reason="needs etcdctl: apt install etcd-client")
async def test_a_snapshot_is_a_whole_store(stage: Stage, tmp_path: Path) -> None:
    await stage.running.stub.Apply(planes.applying(planes.a_service("snapped")))
    chunks = [reply.snapshot_chunk for reply in await stage.ask("snapshot")]
    file = tmp_path / "snapshot.db"
    file.write_bytes(b"".join(chunks))

    restored = tmp_path / "restored"
    restored.mkdir(mode=0o700)
    command = ["etcdctl", "snapshot", "restore", str(file), "--data-dir", str(restored / "data")]
    done = await asyncio.to_thread(
        subprocess.run,
        command,
        env=os.environ | {"ETCDCTL_API": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    async with (
        etcd_support.running(restored) as server,
        etcd_support.connected(server.endpoint) as store,
    ):
        assert (await store.get("/orch/services/default/snapped"))[0] is not None


async def test_what_is_compacted_is_history_and_nothing_else(stage: Stage) -> None:
    await stage.running.stub.Apply(planes.applying(planes.a_service()))
    before = {entry.key for entry in (await stage.store.list("/orch/services/")).entries}

    (reply,) = await stage.ask("compact")

    assert "is forgotten" in reply.message
    assert {entry.key for entry in (await stage.store.list("/orch/services/")).entries} == before
    with pytest.raises(port.Compacted):
        async for _ in stage.store.watch("/orch/", 1):
            break
    await stage.running.stub.Apply(planes.applying(planes.a_service("another")))


async def test_a_defragmented_store_goes_on(stage: Stage) -> None:
    await stage.ask("compact")

    (reply,) = await stage.ask("defrag")

    assert reply.message == "defragmented"
    applied = await stage.running.stub.Apply(planes.applying(planes.a_service()))
    assert applied.objects[0].action == "created"


async def test_an_unknown_verb_is_answered_with_those_that_there_are(stage: Stage) -> None:
    with pytest.raises(aio.AioRpcError, match="status, members, snapshot, defrag, compact") as caught:
        await stage.ask("shrink")
    assert caught.value.code() is StatusCode.INVALID_ARGUMENT
