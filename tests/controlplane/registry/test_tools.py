"""Other people's tools and our own client speak with the cluster's registry."""

import asyncio
import shutil
from pathlib import Path

import pytest
from obstore.store import LocalStore

from orch.oci import build, reference, registry
from orch.oci.build import Item
from orch.oci.image_config import ImageConfig
from tests.support.our_registry import our_registry

pytestmark = pytest.mark.registry


async def run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode()


async def test_our_client_pushes_and_skopeo_copies(tmp_path: Path) -> None:
    if not shutil.which("skopeo"):
        pytest.skip("skopeo is not installed")
    (tmp_path / "store").mkdir()
    async with (
        our_registry(LocalStore(tmp_path / "store")) as host,
        registry.Registry(plain_http={host}) as ours,
    ):
        ref = reference.parse(f"{host}/shop/web:1")
        layers = [build.layer([Item("a", b"1" * 3_000_000)]), build.layer([Item("b", b"2")])]
        pushed = await build.push(ours, ref, build.image(layers, ImageConfig(command=("/a",))))

        copied = f"docker://{host}/other/web:2"
        plain = ("--src-tls-verify=false", "--dest-tls-verify=false")
        await run("skopeo", "copy", "-q", *plain, "--preserve-digests", f"docker://{ref}", copied)
        await run("skopeo", "copy", "-q", *plain, copied, f"oci:{tmp_path}/layout:2")
        await run("skopeo", "copy", "-q", *plain, f"oci:{tmp_path}/layout:2", f"docker://{host}/third:3")

        assert await ours.resolve(reference.parse(f"{host}/other/web:2")) == pushed
        assert await ours.tags(reference.parse(f"{host}/third")) == ("3",)
        blobs = [path for path in (tmp_path / "store" / "blobs").rglob("*") if path.is_file()]
        assert len({path.name for path in blobs}) == len(blobs)
        assert len([path for path in blobs if path.stat().st_size == len(layers[0].blob)]) == 1
        assert list((tmp_path / "store").glob("uploads/*")) == []
