"""The known ways out of a container, each closed. Every test was seen to fail with its defence taken out.

CVE-2019-5736 (the runtime's own program written from inside) is in test_runtime_interpreter.py.
"""

# ruff: noqa: ASYNC240  /proc, /sys and small files do not block

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.runtime import spec
from agent.runtime.container import LaunchFailed, Running

pytestmark = pytest.mark.root
FIRST = 0x7000_0000
BOTH = pytest.mark.parametrize("first_id", [0, FIRST], ids=["host", "userns"])
DESCRIPTORS = range(3, 16)
"""More than a process on its way into a container ever has open."""

SWAPPER = """
import ctypes, os, sys
exchange = ctypes.CDLL(None).renameat2
first, second = (name.encode() for name in sys.argv[1:])
print("swapping", flush=True)
while os.getppid() != 1:
    exchange(-100, first, -100, second, 2)
"""


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host that no start may touch."""
    place = tmp_path / "victim"
    place.mkdir()
    (place / "file").write_text("the host's")
    yield place
    assert sorted(path.name for path in place.rglob("*")) == ["file"], "something of the host was changed"
    assert (place / "file").read_text() == "the host's"


@contextlib.contextmanager
def swapping(first: Path, second: Path) -> Iterator[None]:
    """The two names change places as fast as a process can do it."""
    command = [sys.executable, "-c", SWAPPER, str(first), str(second)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


def layer_with(tmp_path: Path, **links: str) -> Path:
    """A layer of links, by the name of each."""
    layer = tmp_path / "hostile"
    layer.mkdir()
    for name, target in links.items():
        (layer / name).symlink_to(target)
    return layer


def on_top(bench: Any, layer: Path, *args: str, without: tuple[str, ...] = (), **options: Any) -> Any:
    """A launch with a hostile layer over the usual one, and without some of the usual mounts."""
    launch = bench.launch_of(*args, **options)
    mounts = launch.config["mounts"]
    launch.config["mounts"] = [
        one for one in mounts if one["type"] == "bind" or one["destination"] not in without
    ]
    return type(launch)(
        launch.container, launch.sandbox, launch.config, (*launch.layers, str(layer)), launch.logs
    )


async def started(bench: Any, launch: Any) -> Running | None:
    """None for one that was refused, which is as good."""
    try:
        running: Running = await bench.runtime.launch(launch)
    except LaunchFailed:
        return None
    return running


@BOTH
async def test_a_working_directory_is_never_a_descriptor_of_the_runtime(bench: Any, first_id: int) -> None:
    """CVE-2024-21626. Taken out: the check after chdir, with which /proc/self/fd/N was the host's /proc."""
    for number in DESCRIPTORS:
        launch = bench.launch_of("sleep", "60", cwd=f"/proc/self/fd/{number}", first_id=first_id)
        running = await started(bench, launch)
        if running:
            entered = Path(f"/proc/{running.pid}/cwd")
            assert Path(f"/proc/{running.pid}/root{entered.readlink()}").samefile(entered), number


@BOTH
async def test_nor_is_that_of_a_second_process(bench: Any, first_id: int) -> None:
    """CVE-2024-21626, by exec. Taken out: the same check."""
    running = await bench.launch("sleep", "60", first_id=first_id)
    for number in DESCRIPTORS:
        reader, writer = os.pipe()
        try:
            entered = await bench.runtime.enter(
                running.container,
                args=["sh", "-c", "ls -d bin; pwd"],
                cwd=f"/proc/self/fd/{number}",
                stdout=writer,
            )
        except LaunchFailed:
            continue
        finally:
            os.close(writer)
        await asyncio.wait_for(entered.wait(), 10 * bench.patience)
        with os.fdopen(reader) as said:
            assert said.read().split() == ["bin", "/"], number


@BOTH
async def test_a_mask_is_the_kernels_null_device_whatever_the_image_calls_so(
    bench: Any, tmp_path: Path, victim: Path, first_id: int
) -> None:
    """CVE-2025-31133. Taken out: masks made from what is at /dev/null inside, which showed the image's file."""
    dev = tmp_path / "dev"
    dev.mkdir()
    dev.chmod(0o755)
    (dev / "null").symlink_to("/etc/uncovered")
    (dev / "other").write_text("")
    (bench.layer / "etc" / "uncovered").write_text("shown in the place of a mask")
    (bench.layer / "etc" / "covered").write_text("to be covered")
    with swapping(dev / "null", dev / "other"):
        for _ in range(20):
            launch = on_top(
                bench,
                layer_with_nothing(tmp_path),
                *("cat", "/etc/covered"),
                without=("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"),
                mounts=[spec.bind(str(dev), "/dev", idmap=True)],
                first_id=first_id,
            )
            launch.config["linux"]["maskedPaths"].append("/etc/covered")
            if await started(bench, launch):
                await asyncio.wait_for(bench.runtime.wait(launch.container), 10 * bench.patience)
                assert await bench.said(launch.container) in {
                    "",
                    "cat: can't open '/etc/covered': Permission denied",
                }


def layer_with_nothing(tmp_path: Path) -> Path:
    layer = tmp_path / "nothing"
    layer.mkdir(exist_ok=True)
    return layer


@BOTH
async def test_a_console_is_put_on_no_link(bench: Any, tmp_path: Path, victim: Path, first_id: int) -> None:
    """CVE-2025-52565. Taken out: RESOLVE_NO_SYMLINKS for /dev/console, and the terminal covered another file."""
    layer = tmp_path / "hostile"
    (layer / "dev").mkdir(parents=True)
    (layer / "dev" / "console").symlink_to("/etc/target")
    (bench.layer / "etc" / "target").write_text("plain")
    launch = on_top(bench, layer, "sleep", "60", without=("/dev",), first_id=first_id)
    launch.config["process"]["terminal"] = True
    running = await started(bench, launch)

    assert running is None or Path(f"/proc/{running.pid}/root/etc/target").is_file()


@BOTH
async def test_kernel_settings_reach_the_kernel_whatever_lies_at_proc(
    bench: Any, victim: Path, first_id: int
) -> None:
    """CVE-2025-52881. Taken out: settings written by path after the mounts, which changed the host's file."""
    (victim / "ip_forward").symlink_to("file")
    mounts = [spec.bind(str(victim), "/proc/sys/net/ipv4", idmap=True)]
    launch = bench.launch_of(
        "cat",
        "/proc/sys/net/ipv4/ip_forward",
        mounts=mounts,
        first_id=first_id,
        sysctl={"net.ipv4.ip_forward": "1"},
    )
    launch.config["linux"]["readonlyPaths"] = []
    await started(bench, launch)
    (victim / "ip_forward").unlink()


@BOTH
@pytest.mark.parametrize("name", ["proc", "sys", "dev", "etc", "run"])
@pytest.mark.parametrize("climbing", ["", "../../../../../.."])
async def test_an_image_whose_directories_are_links_leads_nowhere(
    bench: Any, tmp_path: Path, victim: Path, first_id: int, name: str, climbing: str
) -> None:
    """Taken out: pivot_root before the mounts, with targets found by path below the new root."""
    launch = on_top(
        bench,
        layer_with(tmp_path, **{name: f"{climbing}{victim}"}),
        *("sleep", "60"),
        mounts=[
            spec.bind(str(bench.layer / "bin" / "sh"), "/etc/hosts"),
            spec.tmpfs("/run/x", size_bytes=4096),
        ],
        first_id=first_id,
    )
    running = await started(bench, launch)

    # Of /proc and /sys it must be known for certain what they are: they are refused behind a link.
    assert (running is None) == (name in {"proc", "sys"})


@BOTH
@pytest.mark.parametrize("kind", ["tmpfs", "device"])
async def test_directories_that_are_swapped_during_a_start_lead_nowhere(
    bench: Any, tmp_path: Path, victim: Path, first_id: int, kind: str
) -> None:
    """A volume in which somebody swaps a directory with a link to the host, all the time.

    Taken out: pivot_root before the mounts, with targets found by path below the new root.
    """
    volume = tmp_path / "volume"
    (volume / "honest").mkdir(parents=True)
    (volume / "honest" / "file").write_text("")
    (volume / "link").symlink_to(f"../../../../../../../..{victim}")
    with swapping(volume / "honest", volume / "link"):
        for _ in range(15):
            mounts = [spec.bind(str(volume), "/v", idmap=True)]
            if kind == "tmpfs":
                mounts.append(spec.tmpfs("/v/honest/made", size_bytes=4096))
            launch = bench.launch_of("sleep", "60", mounts=mounts, first_id=first_id)
            if kind == "device":
                rows = [{"type": "c", "path": "/v/honest/zero", "major": 1, "minor": 5}]
                launch.config["linux"]["devices"] = rows
            running = await started(bench, launch)
            if running:
                check_mounts(running, victim)
                await bench.runtime.remove(running.container)


def check_mounts(running: Running, victim: Path) -> None:
    """Nothing of the host's tree has been mounted, and nothing mounted on it."""
    inside = Path(f"/proc/{running.pid}/mountinfo").read_text().splitlines()
    assert not [line for line in inside if str(victim) in line.split()[3]]
    assert str(victim) not in Path("/proc/self/mountinfo").read_text()


async def test_the_hosts_names_of_mounts_are_not_shown_inside(bench: Any) -> None:
    """A container learns from /proc/mounts nothing of where its image lies. Taken out: layers by descriptor."""
    _, said = await bench.run("cat /proc/self/mounts", first_id=FIRST)

    assert str(bench.layer) not in said
