"""Mounts, devices and covered paths as the OCI configuration words them, with and without a user namespace."""

# ruff: noqa: ASYNC240  /proc, /sys and small files do not block

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.linux import constants as c
from agent.linux import syscalls
from agent.runtime import spec
from agent.runtime.container import LaunchFailed

pytestmark = pytest.mark.root
FIRST = 0x7000_0000
BOTH = pytest.mark.parametrize("first_id", [0, FIRST], ids=["host", "userns"])

Change = Callable[[dict[str, Any]], None]


def no_change(_: dict[str, Any]) -> None:
    """The configuration as it is."""


async def say(bench: Any, script: str, change: Change = no_change, **options: Any) -> str:
    """All that a shell says in a container of a changed configuration."""
    launch = bench.launch_of("sh", "-c", script, **options)
    change(launch.config)
    await bench.runtime.launch(launch)
    await asyncio.wait_for(bench.runtime.wait(launch.container), 10 * bench.patience)
    said: str = await bench.said(launch.container)
    return said


def mounting(target: str, kind: str, *options: str, source: str = "", **more: Any) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": source or kind, "options": list(options), **more}


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host with a mount below it."""
    top = tmp_path / "volume"
    (top / "below").mkdir(parents=True)
    syscalls.mount("tmpfs", str(top / "below"), "tmpfs")
    (top / "file").write_text("top")
    (top / "below" / "deep").write_text("deep")
    yield top
    syscalls.umount(str(top / "below"), c.MNT_DETACH)


@BOTH
async def test_a_bind_takes_only_the_directory_and_an_rbind_what_is_mounted_below(
    bench: Any, tree: Path, first_id: int
) -> None:
    mounts = [
        mounting("/one", "bind", "bind", source=str(tree)),
        mounting("/all", "none", "rbind", source=str(tree)),
    ]
    said = await say(bench, "ls /one/below /all/below; cat /one/file", mounts=mounts, first_id=first_id)

    assert said.split() == ["/all/below:", "deep", "/one/below:", "top"]


@BOTH
async def test_ro_is_for_one_mount_and_rro_for_all_below(bench: Any, tree: Path, first_id: int) -> None:
    os.chmod(tree, 0o777)  # noqa: PTH101
    os.chmod(tree / "below", 0o777)  # noqa: PTH101
    mounts = [
        mounting("/ro", "bind", "rbind", "ro", source=str(tree)),
        mounting("/rro", "bind", "rbind", "rro", source=str(tree)),
    ]
    script = "for d in /ro /ro/below /rro /rro/below; do touch $d/x 2>/dev/null && echo $d; done"

    assert await say(bench, script, mounts=mounts, first_id=first_id) == "/ro/below"


@BOTH
async def test_recursive_options_reach_every_mount(bench: Any, tree: Path, first_id: int) -> None:
    mounts = [
        mounting("/v", "bind", "rbind", "rnosuid", "rnodev", "rnoexec", "rnoatime", source=str(tree)),
        mounting("/w", "bind", "rbind", "nosuid", "rnosymfollow", source=str(tree)),
    ]
    said = await say(bench, "grep -E ' /[vw]' /proc/self/mountinfo", mounts=mounts, first_id=first_id)

    found = {line.split()[4]: set(line.split()[5].split(",")) for line in said.splitlines()}
    assert found["/v"] >= {"nosuid", "nodev", "noexec", "noatime"} <= found["/v/below"]
    assert found["/w"] >= {"nosuid", "nosymfollow"}
    assert "nosuid" not in found["/w/below"]
    assert "nosymfollow" in found["/w/below"]


@BOTH
async def test_a_single_file_is_bound_and_its_place_made(bench: Any, tree: Path, first_id: int) -> None:
    mounts = [mounting("/deep/in/the/image.txt", "bind", "bind", source=str(tree / "file"))]

    assert await say(bench, "cat /deep/in/the/image.txt", mounts=mounts, first_id=first_id) == "top"


@BOTH
async def test_a_place_behind_a_dangling_link_is_made_inside(bench: Any, tree: Path, first_id: int) -> None:
    link = bench.layer / "etc" / "resolv.conf"
    link.symlink_to("../run/resolver/stub.conf")
    try:
        mounts = [mounting("/etc/resolv.conf", "bind", "bind", source=str(tree / "file"))]
        said = await say(
            bench, "cat /run/resolver/stub.conf /etc/resolv.conf", mounts=mounts, first_id=first_id
        )
    finally:
        link.unlink()

    assert said == "toptop"


@BOTH
async def test_file_systems_of_the_kernel(bench: Any, first_id: int) -> None:
    script = "for m in /proc /sys /dev /dev/pts /dev/shm /dev/mqueue /sys/fs/cgroup; do stat -f -c '%n %T' $m; done"
    said = await say(bench, script, first_id=first_id)

    kinds = dict(line.split(" ", 1) for line in said.splitlines())
    assert kinds["/proc"] == "proc"
    assert kinds["/sys"] == "sysfs"
    assert kinds["/dev"] == kinds["/dev/shm"] == "tmpfs"
    assert kinds["/dev/pts"] == "devpts"
    assert len(kinds) == 7


@BOTH
async def test_a_tmpfs_has_its_size_mode_and_a_copy_of_what_was_there(bench: Any, first_id: int) -> None:
    kept = bench.layer / "srv"
    (kept / "sub").mkdir(parents=True, exist_ok=True)
    (kept / "sub" / "a").write_text("from the image")
    (kept / "sub" / "a").chmod(0o640)
    (kept / "link").unlink(missing_ok=True)
    (kept / "link").symlink_to("sub/a")
    mounts = [
        mounting("/srv", "tmpfs", "size=1m", "mode=0750", "tmpcopyup"),
        mounting("/plain", "tmpfs", "size=64k", "mode=1777", "noexec"),
    ]
    script = "cat /srv/link; stat -c ' %a %u' /srv/sub/a; echo x > /srv/sub/a && stat -c %a /plain; df /plain"
    said = await say(bench, script, mounts=mounts, first_id=first_id)

    lines = said.splitlines()
    assert lines[0] == "from the image 640 0"
    assert lines[1] == "1777"
    assert lines[-1].split()[1] == "64"
    assert (kept / "sub" / "a").read_text() == "from the image"


async def test_a_bind_can_be_mounted_again_with_other_options(bench: Any, tree: Path) -> None:
    mounts = [
        mounting("/v", "bind", "rbind", source=str(tree)),
        mounting("/v", "bind", "remount", "bind", "ro"),
    ]

    assert "Read-only" in await say(bench, "touch /v/x 2>&1", mounts=mounts)


@pytest.mark.parametrize("word", ["rslave", "slave"])
async def test_what_the_host_mounts_later_reaches_a_slave_and_no_private(
    bench: Any, tree: Path, word: str
) -> None:
    syscalls.mount(str(tree), str(tree), "", c.MS_BIND)
    try:
        syscalls.mount("", str(tree), "", c.MS_SHARED)
        (tree / "late").mkdir()
        mounts = [
            mounting("/tied", "bind", "rbind", word, source=str(tree)),
            mounting("/alone", "bind", "rbind", "rprivate", source=str(tree)),
        ]
        script = "echo ready; while ! test -e /tmp/go; do sleep 0.05; done; ls /tied/late /alone/late"
        running = await bench.launch("sh", "-c", script, mounts=mounts)
        await bench.heard(running.container, "ready")
        syscalls.mount("tmpfs", str(tree / "late"), "tmpfs")
        (tree / "late" / "new").write_text("")
        Path(f"/proc/{running.pid}/root/tmp/go").write_text("")
        await asyncio.wait_for(bench.runtime.wait(running.container), 10 * bench.patience)
        said = await bench.said(running.container)
    finally:
        syscalls.umount(str(tree), c.MNT_DETACH)

    assert said.split() == ["ready", "/alone/late:", "/tied/late:", "new"]


async def test_root_propagation_is_as_asked(bench: Any) -> None:
    def unbindable(config: dict[str, Any]) -> None:
        config["linux"]["rootfsPropagation"] = "unbindable"

    said = await say(bench, "grep ' / / ' /proc/self/mountinfo", unbindable)

    assert " unbindable " in said


@BOTH
async def test_devices_are_those_that_were_asked_for(bench: Any, first_id: int) -> None:
    def with_devices(config: dict[str, Any]) -> None:
        config["linux"]["devices"] = [
            {
                "type": "c",
                "path": "/dev/fuse",
                "major": 10,
                "minor": 229,
                "fileMode": 0o660,
                "uid": 7,
                "gid": 8,
            },
            {"type": "c", "path": "/opt/dev/zero", "major": 1, "minor": 5},
            {"type": "p", "path": "/dev/pipe", "fileMode": 0o600},
        ]

    script = "stat -c '%F %t:%T %a %u %g' /dev/fuse /opt/dev/zero /dev/pipe; head -c 3 /opt/dev/zero | wc -c"
    said = await say(bench, script, with_devices, first_id=first_id)

    assert said.splitlines() == [
        "character special file a:e5 660 7 8",
        "character special file 1:5 666 0 0",
        "fifo 0:0 600 0 0",
        "3",
    ]


@BOTH
async def test_files_and_directories_are_masked_wherever_they_are(bench: Any, first_id: int) -> None:
    def masked(config: dict[str, Any]) -> None:
        config["linux"]["maskedPaths"] += ["/etc/secret", "/etc/hidden", "/no/such/file"]
        config["linux"]["readonlyPaths"] += ["/etc/fixed", "/nor/this"]

    (bench.layer / "etc" / "hidden").mkdir(exist_ok=True)
    (bench.layer / "etc" / "hidden" / "x").write_text("hidden")
    (bench.layer / "etc" / "secret").write_text("secret")
    (bench.layer / "etc" / "fixed").mkdir(exist_ok=True)
    script = "cat /etc/secret; ls /etc/hidden; touch /etc/fixed/x 2>&1; ls /proc/acpi 2>/dev/null; wc -c < /etc/secret"
    said = await say(bench, script, masked, first_id=first_id)

    assert "secret" not in said
    assert "hidden" not in said
    assert "Read-only" in said
    assert said.endswith("0")


async def test_files_of_a_mount_can_be_given_other_owners(bench: Any, tree: Path) -> None:
    ids = [{"containerID": 0, "hostID": 5000, "size": 1000}]
    mounts = [mounting("/v", "bind", "bind", source=str(tree), uidMappings=ids, gidMappings=ids)]

    assert await say(bench, "stat -c '%u %g' /v/file", mounts=mounts) == "5000 5000"


async def test_a_volume_belongs_to_the_containers_root(bench: Any, tmp_path: Path) -> None:
    volume = tmp_path / "plain"
    volume.mkdir()
    (volume / "file").write_text("")
    mounts = [spec.bind(str(volume), "/v", idmap=True)]
    said = await say(
        bench, "stat -c '%u %g' /v/file; touch /v/new && echo made", mounts=mounts, first_id=FIRST
    )

    assert said.splitlines() == ["0 0", "made"]
    assert (volume / "new").stat().st_uid == 0


async def test_so_does_what_is_mounted_below_it_or_the_start_says_why_not(bench: Any, tree: Path) -> None:
    mounts = [spec.bind(str(tree), "/v", idmap=True)]
    if [int(part) for part in os.uname().release.split(".")[:2]] >= [6, 3]:
        assert await say(bench, "stat -c '%u %g' /v/below/deep", mounts=mounts, first_id=FIRST) == "0 0"
        return
    with pytest.raises(
        LaunchFailed, match=r"tmpfs \(mounted on .*/below\) cannot show files under other owners"
    ):
        await bench.launch("true", mounts=mounts, first_id=FIRST)


async def test_a_volume_that_cannot_be_mapped_is_refused_by_its_file_system(bench: Any) -> None:
    with pytest.raises(LaunchFailed, match=r"map the owners of /proc.*proc \(mounted on /proc\).* cannot"):
        await bench.launch("true", mounts=[spec.bind("/proc", "/v", idmap=True)], first_id=FIRST)


async def test_shared_propagation_out_of_a_user_namespace_is_refused(bench: Any, tree: Path) -> None:
    with pytest.raises(LaunchFailed, match="shared would carry mounts out of a user namespace"):
        mounts = [mounting("/v", "bind", "rbind", "rshared", source=str(tree))]
        await bench.launch("true", mounts=mounts, first_id=FIRST)


@BOTH
async def test_without_a_cgroup_namespace_only_its_own_group_is_seen(bench: Any, first_id: int) -> None:
    def shared(config: dict[str, Any]) -> None:
        rows = config["linux"]["namespaces"]
        config["linux"]["namespaces"] = [row for row in rows if row["type"] != "cgroup"]

    said = await say(
        bench, "cat /sys/fs/cgroup/*/cgroup.procs /sys/fs/cgroup/cgroup.procs", shared, first_id=first_id
    )

    assert "1" in said.split()
    assert str(os.getpid()) not in said.split()


async def test_the_kernel_says_what_is_wrong_with_an_option(bench: Any) -> None:
    with pytest.raises(LaunchFailed, match=r"mount a tmpfs: .*size"):
        await bench.launch("true", mounts=[mounting("/x", "tmpfs", "size=lots")])


async def test_in_a_dev_of_its_own_devices_are_made_and_elsewhere_they_are_bound(
    bench: Any, tmp_path: Path
) -> None:
    """Neither a mount for each of a node's hundreds of devices, nor a node in anybody's volume."""
    volume = tmp_path / "volume"
    volume.mkdir()

    def with_devices(config: dict[str, Any]) -> None:
        dev = next(mount for mount in config["mounts"] if mount["destination"] == "/dev")
        dev["options"] = [option for option in dev["options"] if option != "nodev"]
        config["mounts"].append(spec.bind(str(volume), "/dev/mine"))
        config["linux"]["devices"] = [
            {
                "type": "c",
                "path": f"/dev/{path}",
                "major": 1,
                "minor": 5,
                "fileMode": 0o640,
                "uid": 7,
                "gid": 8,
            }
            for path in ("one", "deep/two", "mine/three")
        ]

    script = "cd /dev; for d in one deep/two mine/three; do stat -c '%t:%T %a %u %g' $d; head -c 3 $d | wc -c; done"
    said = await say(bench, f"{script}; cat /proc/mounts", with_devices)

    assert said.splitlines()[:6] == ["1:5 640 7 8", "3"] * 3
    assert not [line for line in said.splitlines() if " /dev/one " in line or " /dev/deep/two " in line]
    assert (volume / "three").is_file()
