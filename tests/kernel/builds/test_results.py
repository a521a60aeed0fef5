"""The image that comes out: the same everywhere, and readable to others."""

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from agent.builds import shipping
from agent.images.images import Images
from orch.oci import reference
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
