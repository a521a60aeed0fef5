"""What the registry acknowledges was flushed before: as the kernel was asked, in the order it was asked."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PUSH = """
import asyncio, hashlib, os, sys
sys.path[:] = sys.argv[1].split("\\n")
from obstore.store import LocalStore
from controlplane.registry.blobs import Blobs
async def one(content):
    yield content
async def main():
    blobs = Blobs(LocalStore(sys.argv[2]))
    upload = await blobs.begin("shop/web")
    await blobs.append(upload, one(b"content"))
    await blobs.finish(upload, "sha256:" + hashlib.sha256(b"content").hexdigest())
    os.write(1, b"acknowledged")
asyncio.run(main())
"""


@pytest.mark.root
@pytest.mark.skipif(not shutil.which("strace"), reason="strace sees what the kernel is asked")
def test_a_blob_and_all_directories_above_it_are_flushed_before_it_is_acknowledged(tmp_path: Path) -> None:
    store, calls = tmp_path / "store", tmp_path / "calls"
    store.mkdir()
    paths = "\n".join(path for path in sys.path if path)

    seen = ("-e", "trace=fsync,fdatasync,write,rename,renameat2")
    subprocess.run(
        ["strace", "-f", "-y", "-o", str(calls), *seen, sys.executable, "-c", PUSH, paths, str(store)],
        check=True,
        stdout=subprocess.DEVNULL,
    )

    (blob,) = [each for each in (store / "blobs").rglob("*") if each.is_file()]
    before, _, _ = calls.read_text().partition("acknowledged")
    _, named, after = before.rpartition("rename")
    assert named and blob.name in after, "under its name first: a flush before would not keep that"
    for each in (blob, blob.parent, store / "blobs", store):
        assert re.search(rf"fsync\(\d+<{re.escape(str(each))}>\)", after), f"{each} was not flushed"
