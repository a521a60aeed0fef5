"""Pulling, against Debian's docker-registry."""

import asyncio
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agent.images.image import Image
from agent.images.images import Images, PullFailed
from agent.images.limits import Limits
from orch.oci import auth, build, reference
from orch.oci.build import Built, Item
from orch.oci.failure import Reason
from orch.oci.image_config import ImageConfig
from orch.oci.manifest import Platform
from orch.oci.registry import Registry
from tests.support import archives
from tests.support import images as pictures
from tests.support.registry import RunningRegistry, running_registry

pytestmark = [pytest.mark.registry, pytest.mark.root]


@pytest.fixture(scope="module")
def registry() -> Iterator[RunningRegistry]:
    with running_registry() as running:
        yield running


@pytest.fixture
async def images(registry: RunningRegistry, tmp_path: Path) -> AsyncIterator[Images]:
    opened = await Images.open(tmp_path / "images", plain_http={registry.host})
    yield opened
    await opened.close()
    assert not list((tmp_path / "images/incoming").iterdir())


async def push(registry: RunningRegistry, name: str, built: Built) -> str:
    """Gives `built` the name `name` in the registry; answers the whole reference."""
    text = f"{registry.host}/{name}"
    async with Registry(plain_http={registry.host}) as client:
        await build.push(client, reference.parse(text), built)
    return text


def run(*command: object) -> bytes:
    return subprocess.run([str(word) for word in command], check=True, capture_output=True).stdout


async def refused(images: Images, name: str, reason: Reason, **how: object) -> str:
    with pytest.raises(PullFailed) as caught:
        await images.pull(name, **how)
    assert caught.value.reason is reason, caught.value.message
    return caught.value.message


def a_large_image(marker: str = "", megabytes: int = 8) -> Built:
    layers = [build.layer([Item(f"{marker}{i}", os.urandom(megabytes << 20))], level=0) for i in range(2)]
    return build.image(layers, ImageConfig())


async def test_a_pulled_image_is_there_to_run(registry: RunningRegistry, images: Images) -> None:
    name = await push(registry, "busybox:1", pictures.busybox())
    seen: list[tuple[int, int]] = []

    image = await images.pull(name, on_progress=lambda done, total: seen.append((done, total)))

    assert image.digest == pictures.busybox().digest
    assert image.config.command == ("sh",)
    (layer,) = map(Path, image.layers)
    assert (layer / "bin/busybox").read_bytes() == pictures.BUSYBOX.read_bytes()
    assert (layer / "bin/sh").readlink() == Path("busybox")
    assert seen[-1][0] == seen[-1][1] > 0
    assert images.find(name) == image
    assert run("chroot", layer, "/bin/sh", "-c", "echo $((6*7))") == b"42\n"


async def test_layers_are_shared_between_images(registry: RunningRegistry, images: Images) -> None:
    one = await images.pull(await push(registry, "web:1", pictures.web("1")))
    totals: list[int] = []
    two = await images.pull(
        await push(registry, "web:2", pictures.web("2")), on_progress=lambda _, total: totals.append(total)
    )

    assert one.layers[0] == two.layers[0]
    assert one.layers[1] != two.layers[1]
    assert max(totals) < 2000, "only the small layer was fetched"


async def test_an_index_gives_the_image_of_this_platform(registry: RunningRegistry, images: Images) -> None:
    built = pictures.multi_platform()
    name = await push(registry, "multi:1", built)

    image = await images.pull(name)

    assert (Path(image.layers[1]) / "marker").read_text() == "amd64"
    assert image.digest == built.members[0].digest
    pinned = f"{registry.host}/multi@{built.digest}"
    assert images.find(pinned).digest == image.digest
    assert (await images.pull(pinned, policy="Always")).digest == image.digest


async def test_an_image_for_another_platform_is_known_by_its_digest_only(
    registry: RunningRegistry, images: Images
) -> None:
    built = pictures.multi_platform()
    name = await push(registry, "multi:1", built)

    image = await images.pull(name, platform=Platform("linux", "arm64"))

    assert (Path(image.layers[1]) / "marker").read_text() == "arm64v8"
    assert image.digest == built.members[1].digest
    assert images.find(name) is None, "whoever wants to run it must not get this one"
    assert images.find(f"{registry.host}/multi@{built.digest}") is None
    assert await images.pull(name, platform=Platform("linux", "arm64")) == image
    assert (await images.pull(name)).digest == built.members[0].digest
    said = await refused(images, name, Reason.BAD_IMAGE, platform=Platform("linux", "s390x"))
    assert "not made for linux/s390x" in said


async def test_an_image_alone_is_not_taken_for_one_of_another_platform(
    registry: RunningRegistry, images: Images
) -> None:
    name = await push(registry, "web:only", pictures.web("only"))

    said = await refused(images, name, Reason.BAD_IMAGE, platform=Platform("linux", "arm64"))

    assert "it is made for linux/amd64" in said


async def test_policies(registry: RunningRegistry, images: Images) -> None:
    name = await push(registry, "moving:1", pictures.busybox(marker="old"))
    assert "pullPolicy is Never" in await refused(images, name, Reason.NOT_PRESENT, policy="Never")
    old = await images.pull(name)
    await push(registry, "moving:1", pictures.busybox(marker="new"))

    assert await images.pull(name) == old
    assert await images.pull(name, policy="Never") == old
    new = await images.pull(name, policy="Always")
    assert new.digest != old.digest
    assert images.find(name) == new
    assert images.find(f"{registry.host}/moving@{old.digest}").layers == old.layers


async def test_a_pinned_image_needs_no_registry_once_here(registry: RunningRegistry, tmp_path: Path) -> None:
    built = pictures.web("pinned")
    name = await push(registry, "web:pinned", built)
    images = await Images.open(tmp_path / "images", plain_http={registry.host})
    await images.pull(name)
    await images.close()

    again = await Images.open(tmp_path / "images")
    image = again.find(f"{registry.host}/web:pinned@{built.digest}")
    await again.close()

    assert image is not None
    assert image.config.exposed_ports == ("8080/tcp",)


async def test_two_pulls_of_one_layer_become_one(registry: RunningRegistry, images: Images) -> None:
    base = build.layer([Item("base", os.urandom(8 << 20))], level=0)
    names = [
        await push(
            registry,
            f"shared:{i}",
            build.image([base, build.layer([Item("own", str(i).encode())])], ImageConfig()),
        )
        for i in range(6)
    ]
    made = images._library.new_layer
    count = 0

    def counting() -> Path:
        nonlocal count
        count += 1
        return made()

    images._library.new_layer = counting

    pulled = await asyncio.gather(*(images.pull(name) for name in names * 5))

    assert count == 1 + len(names)
    assert len({image.layers[0] for image in pulled}) == 1


async def test_a_pull_that_nobody_waits_for_stops(registry: RunningRegistry, images: Images) -> None:
    name = await push(registry, "large:cancelled", a_large_image("c"))
    started = asyncio.Event()
    one = asyncio.create_task(images.pull(name, on_progress=lambda *_: started.set()))
    two = asyncio.create_task(images.pull(name))
    await started.wait()

    one.cancel()
    image = await two
    assert images.find(name) == image

    name = await push(registry, "large:cancelled2", a_large_image("d"))
    started.clear()
    three = asyncio.create_task(images.pull(name, on_progress=lambda *_: started.set()))
    await started.wait()
    three.cancel()
    with pytest.raises(asyncio.CancelledError):
        await three
    assert images.find(name) is None
    assert (await images.pull(name)).layers


async def test_the_loop_never_stands_still(registry: RunningRegistry, images: Images) -> None:
    name = await push(registry, "large:loop", a_large_image("l", 24))
    loop, gaps = asyncio.get_running_loop(), [0.0]

    async def watch() -> None:
        while True:
            before, waited = loop.time(), kept_waiting()
            await asyncio.sleep(0)
            gaps.append(loop.time() - before - (kept_waiting() - waited))

    watching = asyncio.create_task(watch())
    await images.pull(name)
    watching.cancel()

    assert max(gaps) < 0.1, "generous; alone it is 10 ms"


def kept_waiting() -> float:
    """Seconds for which this thread could have run, and others did."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9


async def test_every_refusal_is_a_sentence(registry: RunningRegistry, images: Images) -> None:
    await push(registry, "known:1", pictures.busybox())

    said = await refused(images, f"{registry.host}/known:nope", Reason.IMAGE_NOT_FOUND)
    assert said == f"image {registry.host}/known:nope not found in registry {registry.host} (tags: 1)"
    said = await refused(images, f"{registry.host}/unknown:1", Reason.IMAGE_NOT_FOUND)
    assert "there is no such repository" in said
    said = await refused(images, f"{registry.host}/known@sha256:{'0' * 64}", Reason.IMAGE_NOT_FOUND)
    assert "not found" in said
    said = await refused(images, "Known", Reason.INVALID_REFERENCE)
    assert "lower case" in said
    said = await refused(images, "127.0.0.1:1/x:1", Reason.REGISTRY_UNREACHABLE)
    assert said == "registry 127.0.0.1:1 does not answer (connection refused): is it running?"


async def test_plain_http_is_only_for_the_hosts_named(registry: RunningRegistry, tmp_path: Path) -> None:
    name = await push(registry, "plain:1", pictures.busybox())
    images = await Images.open(tmp_path / "images")

    said = await refused(images, name, Reason.REGISTRY_UNREACHABLE)
    await images.close()

    assert (
        "does not speak TLS: if it is meant to speak plain HTTP, allow it by name: --plain-http 127.0.0.1:"
        in said
    )


async def test_a_manifest_that_lies_is_refused(registry: RunningRegistry, images: Images) -> None:
    layer = build.layer([Item("f", b"x")])
    lying = build.Layer(layer.blob, "sha256:" + "1" * 64)
    name = await push(registry, "lying:1", build.image([lying], ImageConfig()))

    assert "1111" in await refused(images, name, Reason.DIGEST_MISMATCH)

    hostile = build.layer_of(archives.archive([archives.member("../../escaped", b"!")]))
    name = await push(registry, "lying:2", build.image([hostile], ImageConfig()))
    assert "climbs out" in await refused(images, name, Reason.BAD_IMAGE)

    windows = build.image([layer], ImageConfig(os="windows"))
    name = await push(registry, "lying:3", build.index([windows]))
    assert "it is made for windows/amd64" in await refused(images, name, Reason.BAD_IMAGE)
    assert not images.list()


async def test_a_corrupted_blob_is_refused(tmp_path: Path) -> None:
    layer = build.layer([Item("f", os.urandom(5000))])
    with running_registry() as registry:
        name = await push(registry, "corrupt:1", build.image([layer], ImageConfig()))
        digest = hashlib.sha256(layer.blob).hexdigest()
        stored = registry.directory / f"data/docker/registry/v2/blobs/sha256/{digest[:2]}/{digest}/data"
        damaged = bytearray(layer.blob)
        damaged[2000] ^= 1
        stored.write_bytes(damaged)
        images = await Images.open(tmp_path / "images", plain_http={registry.host})

        with pytest.raises(PullFailed) as caught:
            await images.pull(name)
        await images.close()

    assert caught.value.reason in {Reason.DIGEST_MISMATCH, Reason.BAD_IMAGE}
    assert not list((tmp_path / "images/layers").iterdir())


async def test_a_bomb_is_refused_and_leaves_nothing(registry: RunningRegistry, tmp_path: Path) -> None:
    bomb = build.layer([Item("zeros", bytes(64 << 20))])
    name = await push(registry, "bomb:1", build.image([bomb], ImageConfig()))
    images = await Images.open(
        tmp_path / "images", plain_http={registry.host}, limits=Limits(ratio_from=8 << 20)
    )

    assert "bomb" in await refused(images, name, Reason.BAD_IMAGE)
    await images.close()

    assert sum(path.stat().st_size for path in (tmp_path / "images").rglob("zeros")) == 0


async def test_a_full_disk_is_said_to_be_full(registry: RunningRegistry, tmp_path: Path) -> None:
    name = await push(registry, "large:full", a_large_image("f"))
    small = tmp_path / "small"
    small.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", small)
    try:
        images = await Images.open(small / "images", plain_http={registry.host})
        assert "the disk is full" in await refused(images, name, Reason.DISK_FULL)
        await images.close()
    finally:
        run("umount", "-l", small)


async def test_a_password_is_asked_for_and_sent(tmp_path: Path) -> None:
    bcrypt_of_secret = "me:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a"
    known = auth.Credentials("me", "secret")
    with running_registry(htpasswd=bcrypt_of_secret) as registry:
        text, allowed = f"{registry.host}/web:1", {registry.host}
        async with Registry(plain_http=allowed, credentials=lambda _: known) as client:
            await build.push(client, reference.parse(text), pictures.web("1"))

        stranger = await Images.open(tmp_path / "stranger", plain_http=allowed)
        assert "it wants credentials" in await refused(stranger, text, Reason.UNAUTHORIZED)
        await stranger.close()

        wrong = auth.Credentials("me", "guess")
        guesser = await Images.open(tmp_path / "guesser", plain_http=allowed, credentials=lambda _: wrong)
        assert "check its user and password" in await refused(guesser, text, Reason.UNAUTHORIZED)
        await guesser.close()

        friend = await Images.open(tmp_path / "friend", plain_http=allowed, credentials=lambda _: known)
        assert len((await friend.pull(text)).layers) == 2
        await friend.close()


PULL_AND_SAY = """
import asyncio, sys
from pathlib import Path
from agent.images.images import Images
async def main():
    images = await Images.open(Path(sys.argv[1]), plain_http={sys.argv[2].partition("/")[0]})
    await images.pull(sys.argv[2], on_progress=lambda done, total: print(done, flush=True))
asyncio.run(main())
"""


async def test_an_agent_killed_in_the_middle_leaves_no_half_layer(
    registry: RunningRegistry, tmp_path: Path
) -> None:
    name = await push(registry, "large:killed", a_large_image("k", 32))
    agent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PULL_AND_SAY, tmp_path / "images", name),
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    await agent.stdout.readline()
    agent.send_signal(signal.SIGKILL)
    await agent.wait()

    images = await Images.open(tmp_path / "images", plain_http={registry.host})
    assert images.find(name) is None
    image = await images.pull(name)
    await images.close()

    assert size_of(image) == 64 << 20
    assert not list((tmp_path / "images/incoming").iterdir())


def size_of(image: Image) -> int:
    return sum(file.stat().st_size for layer in image.layers for file in Path(layer).iterdir())


@pytest.mark.skipif(not shutil.which("umoci") or not shutil.which("skopeo"), reason="needs umoci and skopeo")
async def test_the_tree_is_the_one_umoci_makes(
    registry: RunningRegistry, images: Images, tmp_path: Path
) -> None:
    built = a_rich_image()
    name = await push(registry, "rich:1", built)
    image = await images.pull(name)
    layout = tmp_path / "layout"
    source = f"docker://{registry.host}/rich:1"
    run("skopeo", "copy", "-q", "--src-tls-verify=false", source, f"oci:{layout}:1")
    run("umoci", "unpack", "--image", f"{layout}:1", tmp_path / "bundle")

    merged = tmp_path / "merged"
    merged.mkdir()
    lower = ":".join(reversed(image.layers))
    run("mount", "-t", "overlay", "-o", f"ro,lowerdir={lower}", "overlay", merged)
    try:
        assert described(merged) == described(tmp_path / "bundle/rootfs")
    finally:
        run("umount", merged)


def a_rich_image() -> Built:
    """Three layers with everything a layer may hold."""
    directory, member, symlink, link = (
        archives.directory,
        archives.member,
        archives.symlink,
        archives.hard_link,
    )
    first = archives.archive(
        [
            directory("etc", mtime=1_000_000_000),
            member("etc/gone", b"1"),
            member("etc/kept", b"2", mtime=1_100_000_000),
            directory("var", mtime=1_000_000_001),
            member("var/hidden", b"3"),
            member("su", b"4", mode=0o6755, uid=7, gid=8),
            symlink("abs", "/etc/kept"),
            directory("replaced", mtime=1_000_000_002),
            member("replaced/in", b"5"),
        ]
    )
    second = archives.archive(
        [
            directory("etc", mode=0o711, mtime=1_200_000_000),
            member("etc/.wh.gone"),
            directory("var", mode=0o700, uid=9, mtime=1_200_000_001),
            member("var/.wh..wh..opq"),
            member("var/new", b"6", pax={"SCHILY.xattr.user.note": "hi"}),
            member("replaced", b"now a file", mtime=1_200_000_003),
            member("hard", b"7"),
            link("hard2", "hard"),
        ]
    )
    third = archives.archive(
        [member(".wh.replaced"), member("late", b"8"), member("tty", type=b"3", devmajor=5)]
    )
    layers = [build.layer_of(first), build.layer_of(second), build.layer_of(third, level=0)]
    return build.image(layers, ImageConfig())


def described(root: Path) -> dict[str, object]:
    """Everything about every file, except the root itself."""
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        attributes = {} if path.is_symlink() else {a: os.getxattr(path, a) for a in os.listxattr(path)}
        attributes.pop("trusted.overlay.opaque", None)
        found[str(path.relative_to(root))] = (
            *(oct(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns, status.st_rdev),
            *(content, {k: v for k, v in attributes.items() if not k.startswith("user.umoci")}),
        )
    return found
