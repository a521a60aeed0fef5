"""Three members, TLS, and passwords: what an external etcd is like."""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest

from controlplane.store import etcd, port
from tests.support import certificates, etcd_cluster
from tests.support import etcd as etcd_support

pytestmark = [pytest.mark.etcd, etcd_support.needs_etcd]
needs_etcdctl = pytest.mark.skipif(
    shutil.which("etcdctl") is None, reason="needs etcdctl: apt install etcd-client"
)

BOUND_SECONDS = 30.0


@pytest.fixture
async def cluster(tmp_path) -> AsyncIterator[etcd_cluster.Cluster]:
    async with etcd_cluster.running(tmp_path) as running:
        yield running


@asynccontextmanager
async def client(cluster, **changes) -> AsyncIterator[etcd.EtcdStore]:
    store = await etcd.EtcdStore.connect(cluster.connection(**changes))
    try:
        yield store
    finally:
        await store.close()


async def acknowledged(store, key: str) -> None:
    """Written for certain, however often that has to be tried; the guard makes trying again harmless."""
    async with asyncio.timeout(BOUND_SECONDS):
        while True:
            try:
                await store.commit([port.Absent(key)], [port.Put(key, b"")])
            except (port.Unavailable, port.OutcomeUnknown):
                await asyncio.sleep(0.02)
            except port.Conflict:
                return
            else:
                return


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
async def test_when_a_member_fails_the_next_one_serves_and_no_event_is_lost(cluster, blow):
    async with client(cluster) as store:
        seen: list[str] = []
        ready, done = asyncio.Event(), asyncio.Event()

        async def watch() -> None:
            async with aclosing(store.watch("/w/", 1)) as batches:
                async for batch in batches:
                    seen.extend(event.key for event in batch.events)
                    ready.set()
                    if seen[-1:] == ["/w/29"]:
                        done.set()

        watching = asyncio.create_task(watch())
        await acknowledged(store, "/w/00")
        await asyncio.wait_for(ready.wait(), BOUND_SECONDS)
        victim = cluster.members[0].process.pid
        os.kill(victim, blow)
        try:
            for number in range(1, 30):
                await acknowledged(store, f"/w/{number:02}")
            await asyncio.wait_for(done.wait(), BOUND_SECONDS)
        finally:
            if blow is signal.SIGSTOP:
                os.kill(victim, signal.SIGCONT)
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

        assert seen == [f"/w/{number:02}" for number in range(30)]


async def test_a_stranger_is_refused_with_a_reason(cluster, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    stranger = certificates.Authority(other, "somebody else")

    with pytest.raises(port.Unavailable, match=r"(?i)certificate|ssl|handshake"):
        async with client(cluster, ca_file=stranger.file):
            pass
    with pytest.raises(port.Unavailable):
        async with client(cluster, cert_file=None, key_file=None):
            pass


@needs_etcdctl
async def test_a_user_limited_to_a_prefix_works_there_and_nowhere_else(cluster):
    def etcdctl(*words: str, user: str = "") -> None:
        subprocess.run(
            [
                "etcdctl", f"--endpoints={cluster.urls[0]}", f"--cacert={cluster.authority.file}",
                f"--cert={cluster.client.cert}", f"--key={cluster.client.key}",
                *(["--user", user] if user else []), *words,
            ],
            env={**os.environ, "ETCDCTL_API": "3"}, check=True, capture_output=True,
        )  # fmt: skip

    def set_up() -> None:
        etcdctl("user", "add", "root:root")
        etcdctl("user", "grant-role", "root", "root")
        etcdctl("role", "add", "orch")
        etcdctl("role", "grant-permission", "orch", "--prefix=true", "readwrite", "/orch/")
        etcdctl("user", "add", "orch:secret")
        etcdctl("user", "grant-role", "orch", "orch")
        etcdctl("auth", "enable")

    await asyncio.to_thread(set_up)

    async with client(cluster, user="orch", password="secret") as store:
        revision = await store.commit([], [port.Put("/orch/x", b"1")])
        async with asyncio.timeout(BOUND_SECONDS), aclosing(store.watch("/orch/", revision)) as batches:
            assert (await anext(batches)).events[0].key == "/orch/x"
        grant = await store.grant(5.0)
        assert await store.keepalive(grant.id) == 5.0
        for forbidden in (store.get("/other"), store.list("/"), store.commit([], [port.Put("/other", b"")])):
            with pytest.raises(port.Refused):
                await forbidden
        with pytest.raises(port.Refused):
            async with asyncio.timeout(BOUND_SECONDS), aclosing(store.watch("/other", 1)) as batches:
                await anext(batches)
        # The token goes stale when permissions change; nobody should notice.
        await asyncio.to_thread(etcdctl, "role", "add", "another", user="root:root")
        await store.commit([], [port.Put("/orch/x", b"2")])
        assert await store.keepalive(grant.id) == 5.0
        async with asyncio.timeout(BOUND_SECONDS), aclosing(store.watch("/orch/", revision)) as batches:
            assert (await anext(batches)).events[0].key == "/orch/x"
    with pytest.raises(port.Refused, match="orch"):
        async with client(cluster, user="orch", password="wrong"):
            pass
