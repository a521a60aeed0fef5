"""What several processors compress is one gzip stream, and the same one that a single processor makes."""

import io
import os
import random
import subprocess
import zlib

import pytest

from agent.builds import zipping
from agent.builds.zipping import BLOCK_BYTES, Zipping


def zipped(content: bytes, portion: int = 1 << 16, level: int = 6) -> bytes:
    target = io.BytesIO()
    zip_ = Zipping(target, level)
    for at in range(0, len(content), portion):
        zip_.write(content[at : at + portion])
    zip_.close()
    return target.getvalue()


def words(count: int) -> bytes:
    source = random.Random(count)
    return b" ".join(
        source.choice([b"layer", b"image", b"node", source.randbytes(9)]) for _ in range(count // 6 + 1)
    )[:count]


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 5 * BLOCK_BYTES + 7])
def test_gzip_itself_reads_it(size: int) -> None:
    content = words(size)

    found = subprocess.run(["gzip", "-dc"], input=zipped(content), capture_output=True, check=True)

    assert found.stdout == content
    assert len(content) == size


def test_neither_processors_nor_portions_change_a_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    content = words(4 * BLOCK_BYTES + 123)
    found = set()
    for processors in (1, 2, 7):
        monkeypatch.setattr(os, "cpu_count", lambda processors=processors: processors)
        found |= {zipped(content, 1000), zipped(content, 3 * BLOCK_BYTES), zipped(content)}

    assert len(found) == 1


def test_a_block_knows_what_came_before_it() -> None:
    """Not much larger than one stream, also where blocks repeat each other's ends."""
    content = words(zipping._WINDOW_BYTES) * 200

    assert len(zipped(content)) < 1.05 * len(zlib.compress(content, 6)) + 2000
