"""Containers whose root is nobody of the host's: ids, files, volumes, networks, and second processes."""

# ruff: noqa: ASYNC240, PTH115  /proc, /sys and small files do not block

import os
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.root
FIRST = 0x7000_0000


async def test_root_inside_is_nobody_outside(bench: Any) -> None:
    running = await bench.launch("sh", "-c", "id -u; exec sleep 60", first_id=FIRST)

    await bench.heard(running.container, "0")
    assert Path(f"/proc/{running.pid}").stat().st_uid == FIRST
    status = Path(f"/proc/{running.pid}/status").read_text()
    assert f"Uid:\t{FIRST}\t{FIRST}\t{FIRST}\t{FIRST}" in status
    assert f"Gid:\t{FIRST}\t{FIRST}\t{FIRST}\t{FIRST}" in status


async def test_namespaces_belong_to_it(bench: Any) -> None:
    running = await bench.launch("sleep", "60", first_id=FIRST)

    for kind in ("user", "mnt", "pid", "net", "uts", "ipc", "cgroup"):
        theirs = os.readlink(f"/proc/{running.pid}/ns/{kind}")
        assert theirs != os.readlink(f"/proc/self/ns/{kind}"), kind


async def test_the_image_belongs_to_its_root_and_the_layer_stays_untouched(bench: Any) -> None:
    script = """
    stat -c '%u %g %n' / /bin/busybox /etc /tmp
    touch /new /etc/new; stat -c '%u %g %n' /new /etc/new
    chmod 700 /bin/busybox; stat -c '%u %a' /bin/busybox
    """
    exited, said = await bench.run(script, first_id=FIRST)

    assert exited.exit_code == 0
    lines = said.splitlines()
    assert lines[:6] == [
        *("0 0 /", "0 0 /bin/busybox", "0 0 /etc", "0 0 /tmp"),
        *("0 0 /new", "0 0 /etc/new"),
    ]
    assert lines[6] == "0 700"
    assert (bench.layer / "bin" / "busybox").stat().st_mode & 0o777 != 0o700


async def test_what_it_writes_is_stored_under_ids_that_are_nobody_s_on_the_host(bench: Any) -> None:
    running = await bench.launch("sh", "-c", "touch /tmp/x; echo done; exec sleep 60", first_id=FIRST)

    await bench.heard(running.container, "done")
    upper = bench.directory / "state" / "roots" / running.container / "upper"
    assert (upper / "tmp" / "x").stat().st_uid == FIRST
