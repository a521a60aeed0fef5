"""Nodes that give each other what they got from the cluster's own registry."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from agent.images.giving import Giving
from agent.images.sharing import Gone, Sharing
from orch.identity.roles import Caller, Role
from orch.oci import build, peering
from orch.oci.image_config import ImageConfig
from orch.oci.reference import CLUSTER
from tests.support.sharing_nodes import Cluster, Node, a_cluster

pytestmark = pytest.mark.root

IMAGE = f"{CLUSTER}/web:1"
CONTENT = random.Random(7).randbytes(2 << 20)
SIZE = 1 << 20


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with a_cluster(tmp_path) as made:
        await made.push("web:1", an_image())
        yield made


def an_image(layers: int = 2) -> build.Built:
    items = [[build.Item(f"file-{n}", bytes([n]) + CONTENT)] for n in range(layers)]
    return build.image([build.layer(each) for each in items], ImageConfig(command=("/x",)))


def blob_of(node: Node) -> str:
    image = node.images.find(IMAGE)
    assert image
    return node.images.stored(image.digest).manifest.layers[0].digest


async def has_it(node: Node) -> bool:
    image = await node.images.pull(IMAGE)
    return [
        (Path(layer) / f"file-{n}").read_bytes()[1:] == CONTENT for n, layer in enumerate(image.layers)
    ] == [
        True,
        True,
    ]


async def test_eight_nodes_get_an_image_of_which_two_copies_leave_the_control_plane(cluster: Cluster) -> None:
    nodes = [await cluster.node(f"n{n}") for n in range(8)]

    assert all(await asyncio.gather(*(has_it(node) for node in nodes)))

    copies = cluster.listener.sent_bytes / (2 * len(CONTENT))
    assert 2.0 <= copies < 2.2


async def test_a_node_that_is_gone_is_asked_no_more_and_nobody_goes_without(cluster: Cluster) -> None:
    first = [await cluster.node(f"n{n}") for n in range(2)]
    for node in first:
        assert await has_it(node)
        await node.giving.close()

    assert await has_it(await cluster.node("late"))


class Lying(Giving):
    """Gives other bytes than it was asked for."""

    async def open(self) -> None:
        await super().open()
        self.sharing.__class__ = _Wrong


class _Wrong(Sharing):
    async def read(self, digest: str, start: int) -> AsyncIterator[bytes]:
        async for chunk in super().read(digest, start):
            yield bytes(byte ^ 1 for byte in chunk)


async def test_a_node_that_lies_is_found_out_and_asked_no_more(cluster: Cluster) -> None:
    liars = [await cluster.node(f"liar-{n}", Lying) for n in range(2)]
    for node in liars:
        assert await has_it(node)
    victim = await cluster.node("victim")
    before = cluster.listener.sent_bytes

    assert await has_it(victim)

    assert cluster.listener.sent_bytes - before >= 2 * len(CONTENT)
    members = cluster.listener._swarm._blobs[blob_of(victim)]
    assert "victim" in members
    assert len(members) == 2, "one of the liars was found out"


async def test_blobs_are_given_to_nodes_of_the_cluster_and_to_nobody_else(
    cluster: Cluster, tmp_path: Path
) -> None:
    node = await cluster.node("n1")
    assert await has_it(node)
    (tmp_path / "other").mkdir()
    async with a_cluster(tmp_path / "other") as other:
        callers = {
            "node": cluster.context_of(Caller("n2", Role.NODE)),
            "user": cluster.context_of(Caller("ann", Role.USER)),
            "stranger": other.context_of(Caller("n2", Role.NODE)),
        }
        for context in callers.values():
            context.check_hostname = False
            context.verify_mode = 0  # whom the server lets in is asked here
        found = {who: await _status(node, blob_of(node), context) for who, context in callers.items()}

    assert found == {"node": 200, "user": 403, "stranger": "refused"}


async def _status(node: Node, digest: str, context: object) -> int | str:
    address = f"https://{node.giving.offer}/v2/web/blobs/{digest}"
    async with aiohttp.ClientSession() as session:
        try:
            async with session.get(address, ssl=context) as answer:  # type: ignore[arg-type]
                await answer.read()
                return answer.status
        except aiohttp.ClientError:
            return "refused"


async def test_a_node_shows_others_a_certificate_with_its_name(cluster: Cluster) -> None:
    node = await cluster.node("n1")
    assert await has_it(node)
    address = f"https://{node.giving.offer}/v2/web/blobs/{blob_of(node)}"
    context = cluster.context_of(Caller("n2", Role.NODE))

    async with aiohttp.ClientSession() as session:
        async with session.get(address, ssl=context, server_hostname=peering.server_name("n1")) as answer:
            assert answer.status == 200
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await session.get(address, ssl=context, server_hostname=peering.server_name("n2"))


async def test_what_is_kept_is_read_while_it_grows(tmp_path: Path) -> None:
    sharing = Sharing(tmp_path)
    begun, more = asyncio.Event(), asyncio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        yield b"a" * SIZE
        begun.set()
        await more.wait()
        yield b"b" * SIZE

    async def keep() -> None:
        async for _ in sharing.keeping("sha256:x", 2 * SIZE, chunks()):
            pass

    keeping = asyncio.create_task(keep())
    await begun.wait()
    reading = sharing.read("sha256:x", SIZE // 2)
    first = await anext(reading)
    assert set(first) == set(b"a")
    more.set()

    rest = b"".join([chunk async for chunk in reading])

    await keeping
    assert len(first + rest) == 2 * SIZE - SIZE // 2
    assert rest.endswith(b"b" * SIZE)
    sharing.close()


async def test_who_reads_what_breaks_off_is_told(tmp_path: Path) -> None:
    sharing = Sharing(tmp_path)

    async def chunks() -> AsyncIterator[bytes]:
        yield b"a" * SIZE
        raise ConnectionError

    async def keep() -> None:
        async for _ in sharing.keeping("sha256:x", 2 * SIZE, chunks()):
            reading.append(asyncio.create_task(read()))
            await asyncio.sleep(0)

    async def read() -> None:
        async for _ in sharing.read("sha256:x", 0):
            pass

    reading: list[asyncio.Task[None]] = []
    with pytest.raises(ConnectionError):
        await keep()

    with pytest.raises(Gone):
        await reading[0]
    assert sharing.size("sha256:x") is None


async def test_copies_that_nobody_asks_for_go_and_leave_no_file(tmp_path: Path) -> None:
    sharing = Sharing(tmp_path, kept_seconds=-1.0)

    async def chunks() -> AsyncIterator[bytes]:
        yield b"a" * SIZE

    async for _ in sharing.keeping("sha256:x", SIZE, chunks()):
        sharing.tidy()
        assert sharing.size("sha256:x") == SIZE, "it is in use"
    sharing.tidy()

    assert sharing.size("sha256:x") is None
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240  a moment
