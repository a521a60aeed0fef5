"""The kernel by its own names: where its answer is not yet one."""

import os
import subprocess
import sys
from pathlib import Path

from agent.linux import constants as c
from agent.linux import syscalls

_RENAMING = """
import os, sys
os.chdir(sys.argv[1])
print("begun", flush=True)
while True:
    os.rename("a", "b")
    os.rename("b", "a")
"""


def test_a_path_with_dots_is_found_while_others_rename(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "one" / "two").mkdir(parents=True)
    root = os.open(tmp_path / "one", os.O_PATH)
    command = [sys.executable, "-S", "-c", _RENAMING, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as renaming:
        try:
            assert renaming.stdout
            assert renaming.stdout.readline() == "begun\n"
            for _ in range(60_000):
                os.close(syscalls.openat2(root, "two/../two", os.O_PATH, c.RESOLVE_IN_ROOT))
        finally:
            renaming.kill()
            os.close(root)
