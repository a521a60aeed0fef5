"""The image that comes out: the same everywhere, and readable to others."""

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from agent.builds import shipping
from agent.builds.order import BuildFailed
from agent.images.images import Images
from orch.oci import build, reference
from orch.oci.build import Item
from orch.oci.image_config import ImageConfig
from orch.oci.registry import Registry
from tests.support.our_registry import our_registry
from tests.support.yard import BUSYBOX, Yard

pytestmark = pytest.mark.root


async def test_the_same_input_gives_the_same_digest(yard: Yard) -> None:
    yard.file("a/b", "1")
    dockerfile = f"FROM {BUSYBOX}\nCOPY a /a\nWORKDIR /w\nRUN echo 1 > /r\n"
    epoch = {"SOURCE_DATE_EPOCH": "1700000000"}
    first = await yard.build(dockerfile, arguments=epoch)
    again = await yard.build(dockerfile, arguments=epoch, use_cache=False)

    assert again.digest == first.digest
    times = {int(path.lstat().st_mtime) for path in yard.files(again).values() if path.name in {"r", "w"}}
    assert times == {1_700_000_000}


async def test_an_image_on_a_base_that_came_in_a_file_can_be_pushed(yard: Yard, tmp_path: Path) -> None:
    image = await yard.build(f"FROM {BUSYBOX}\nRUN echo x > /x\n")
    async with our_registry(MemoryStore()) as host, Registry(plain_http={host}) as registry:
        name = reference.parse(f"{host}/web:1")
        await shipping.push(image, name, yard.images, registry, yard.workshop.blobs, {})
        other = await Images.open(tmp_path / "other", plain_http={host})
        try:
            pulled = await other.pull(str(name))
        finally:
            await other.close()

    assert pulled.digest == image.digest
    assert yard.read(pulled, "x") == "x\n"
    ours, theirs = yard.files(image), yard.files(pulled)
    assert {name: path.lstat().st_mode for name, path in ours.items()} == {
        name: path.lstat().st_mode for name, path in theirs.items()
    }


@pytest.mark.skipif(not (shutil.which("skopeo") and shutil.which("umoci")), reason="needs skopeo and umoci")
async def test_umoci_unpacks_what_was_built_to_the_same_tree(yard: Yard, tmp_path: Path) -> None:
    yard.file("a/b", "1", 0o640)
    (yard.context / "a" / "link").symlink_to("b")
    image = await yard.build(f"""
    FROM {BUSYBOX}
    COPY --chown=7:8 a /a
    RUN mkdir -p /d/e && echo x > /d/e/f && ln /d/e/f /d/e/g && chmod 4755 /d/e/f && rm /etc/group && chown 5:6 /d
    RUN rm -r /d/e && mkdir /d/e && echo new > /d/e/new
    """)
    async with our_registry(MemoryStore()) as host, Registry(plain_http={host}) as registry:
        await shipping.push(
            image, reference.parse(f"{host}/web:1"), yard.images, registry, yard.workshop.blobs, {}
        )
        layout = f"{tmp_path}/layout:x"
        commands = (
            ["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{host}/web:1", f"oci:{layout}"],
            ["umoci", "unpack", "--image", layout, str(tmp_path / "bundle")],
        )
        for command in commands:
            await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)

    theirs = {
        str(path.relative_to(tmp_path / "bundle" / "rootfs")): about(path)
        for path in (tmp_path / "bundle" / "rootfs").rglob("*")
    }
    merged = tmp_path / "merged"
    merged.mkdir()
    lower = ":".join(reversed(image.layers))
    await asyncio.to_thread(
        subprocess.run,
        ["mount", "-t", "overlay", "overlay", "-o", f"lowerdir={lower}", str(merged)],
        check=True,
    )
    try:
        ours = {str(path.relative_to(merged)): about(path) for path in merged.rglob("*")}
    finally:
        await asyncio.to_thread(subprocess.run, ["umount", str(merged)], check=True)
    assert ours == theirs
    assert "d/e/new" in ours
    assert "d/e/f" not in ours


def about(path: Path) -> tuple[object, ...]:
    """All that a layer says of a path but its time, which a merged directory takes from whoever unpacks."""
    found = path.lstat()
    content = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
    return found.st_mode, found.st_uid, found.st_gid, content, 0 if path.is_dir() else int(found.st_mtime)


async def test_an_image_of_126_layers_runs_and_gets_one_more_and_no_second(
    yard: Yard, tmp_path: Path
) -> None:
    base = [build.layer([Item(f"f{number}", str(number).encode())]) for number in range(125)]
    shell = build.layer([Item("bin/busybox", Path("/bin/busybox"), 0o755), Item("bin/sh", target="busybox")])
    archive = tmp_path / "tall.tar"
    made = build.image([shell, *base], ImageConfig(environment=(("PATH", "/bin"),)))
    build.write_archive(archive, made, reference.parse("tall:1"))
    await yard.images.import_tar(archive)

    image = await yard.build("FROM tall:1\nRUN busybox cat /f0 /f124 > /joined\n")

    assert len(image.layers) == 127
    assert yard.read(image, "joined") == "0124"
    with pytest.raises(BuildFailed, match="the image has 128 layers, 127 is the most: join some RUNs"):
        await yard.build("FROM tall:1\nRUN busybox touch /one\nRUN busybox touch /two\n")


async def test_an_image_may_be_nothing_but_words(yard: Yard) -> None:
    image = await yard.build('FROM scratch\nLABEL only=words\nCMD ["/nothing"]\n')
    assert (image.layers, image.config.command) == ((), ("/nothing",))

    await asyncio.to_thread(yard.images.name, image.digest, [reference.parse("words:1")])
    image = await yard.build("FROM words:1\nCOPY . /here/\n")
    assert len(image.layers) <= 1
