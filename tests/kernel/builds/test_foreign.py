"""RUN of a program for another machine, through an interpreter that Linux knows."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.builds import platforms
from tests.support.yard import Yard

pytestmark = pytest.mark.root

_IDENT = b"\x7fELF\x02\x01\x01" + bytes(9)
_KIND = b"\x02\x00\x02\x01"
"""A program, for LoongArch: hardly a machine has a handler for it already."""


@pytest.fixture
def handler() -> Iterator[None]:
    """busybox takes the path of what is to be executed for the name of what to do."""
    mounts = Path("/proc/self/mounts").read_text()
    if was_absent := f" {platforms.HANDLERS} binfmt_misc " not in mounts:
        done = subprocess.run(["mount", "-t", "binfmt_misc", "none", platforms.HANDLERS], check=False)
        if done.returncode:
            pytest.skip("this kernel has no binfmt_misc")
    name = f"orch-test-{os.getpid()}"
    magic, mask = (_escaped(each) for each in (_IDENT + _KIND, b"\xff" * 7 + bytes(9) + b"\xff" * 4))
    words = f":{name}:M::{magic}:{mask}:/bin/busybox:F"
    (platforms.HANDLERS / "register").write_text(words)
    try:
        yield
    finally:
        (platforms.HANDLERS / name).write_text("-1")
        if was_absent:
            subprocess.run(["umount", platforms.HANDLERS], check=True)


def _escaped(some: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in some)


async def test_a_command_of_another_platform_runs_where_linux_has_an_interpreter(
    yard: Yard, handler: None
) -> None:
    program = yard.context / "program"
    program.write_bytes(_IDENT + _KIND + bytes(100))
    program.chmod(0o755)

    image = await yard.build(
        """
        FROM scratch
        COPY program /bin/echo
        RUN ["/bin/echo", "said by another machine"]
        """,
        platform="linux/loong64",
    )

    assert yard.output == ["said by another machine"]
    assert image.config.platform.architecture == "loong64"
