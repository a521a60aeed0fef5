"""Containers whose root is nobody of the host's: ids, files, volumes, networks, and second processes."""

# ruff: noqa: ASYNC240, PTH115  /proc, /sys and small files do not block

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.linux import constants as c
from agent.linux import holder, syscalls
from agent.runtime import spec
from agent.runtime.container import LaunchFailed

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


@pytest.fixture
def place(tmp_path: Path) -> Iterator[str]:
    """A network namespace with a user namespace of its own, as the network makes them ahead."""
    file = tmp_path / "netns"
    file.touch()
    ids = [[0, FIRST, spec.IDS]]
    held = holder.Holder(ids, ids, network=True)
    try:
        syscalls.mount(held.path("net"), str(file), "", c.MS_BIND)
    finally:
        held.close()
    yield str(file)
    syscalls.umount(str(file), c.MNT_DETACH)


async def test_containers_of_a_task_share_the_user_namespace_of_their_network(bench: Any, place: str) -> None:
    one = await bench.launch("sleep", "60", network=place, first_id=FIRST)
    two = await bench.launch("sleep", "60", network=place, first_id=FIRST)

    for kind, same in (("user", True), ("net", True), ("mnt", False), ("ipc", False)):
        ours = {os.readlink(f"/proc/{running.pid}/ns/{kind}") for running in (one, two)}
        assert (len(ours) == 1) is same, kind


async def test_one_that_keeps_the_hosts_users_joins_the_same_network(bench: Any, place: str) -> None:
    running = await bench.launch("sh", "-c", "nc -l -p 80 & sleep 60", network=place)

    assert os.readlink(f"/proc/{running.pid}/ns/user") == os.readlink("/proc/self/ns/user")
    assert Path(f"/proc/{running.pid}").stat().st_uid == 0


async def test_low_ports_and_net_admin_are_powers_over_its_own_network(bench: Any, place: str) -> None:
    script = """
    echo 1024 > /proc/sys/net/ipv4/ip_unprivileged_port_start 2>/dev/null
    nc -l -p 80 &
    until grep -q ':0050 ' /proc/net/tcp /proc/net/tcp6; do kill -0 $! || exit 1; done
    echo bound; kill $!
    """
    _, said = await bench.run(script, network=place, first_id=FIRST)
    assert "bound" in said.splitlines()

    sysctl = {"net.ipv4.ip_forward": "1", "kernel.shmmax": "12345", "fs.mqueue.msg_max": "7"}
    script = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax /proc/sys/fs/mqueue/msg_max"
    _, said = await bench.run(script, network=place, first_id=FIRST, sysctl=sysctl)
    assert said.split() == ["1", "12345", "7"]


async def test_a_second_process_has_the_same_users(bench: Any) -> None:
    running = await bench.launch("sleep", "60", first_id=FIRST, uid=5, gid=6)
    reader, writer = os.pipe()

    entered = await bench.runtime.enter(
        running.container, args=["sh", "-c", "id -u; id -g; exec readlink /proc/self/ns/user"], stdout=writer
    )
    os.close(writer)
    code = await asyncio.wait_for(entered.wait(), 10 * bench.patience)
    with os.fdopen(reader) as said:
        lines = said.read().split()

    assert code == 0
    assert lines == ["5", "6", os.readlink(f"/proc/{running.pid}/ns/user")]


async def test_a_second_process_has_a_terminal_of_its_own(bench: Any) -> None:
    running = await bench.launch("sleep", "60", first_id=FIRST, uid=5)

    entered = await bench.runtime.enter(
        running.container, args=["sh", "-c", "test -t 0 && stat -c %u $(tty)"], terminal=True
    )
    assert entered.terminal is not None
    code = await asyncio.wait_for(entered.wait(), 10 * bench.patience)

    assert code == 0
    assert os.read(entered.terminal, 100).split() == [b"5"]
    os.close(entered.terminal)


async def test_a_plain_user_can_open_its_output_again(bench: Any) -> None:
    _, said = await bench.run("echo again > /dev/stdout; echo bad > /dev/stderr", first_id=FIRST, uid=1000)

    assert sorted(said.split()) == ["again", "bad"]


async def test_the_tiny_init_works_there_too(bench: Any) -> None:
    exited, said = await bench.run("echo $$; exit 4", first_id=FIRST, init=True)

    assert (exited.exit_code, said) == (4, "2")


@pytest.mark.parametrize("ids", [{"uid": 65536}, {"gid": 70000}, {"groups": [1 << 20]}])
async def test_a_user_above_the_range_is_refused_before_anything_starts(
    bench: Any, ids: dict[str, Any]
) -> None:
    with pytest.raises(LaunchFailed, match=r"not in the container's user namespace, which ends at 65535"):
        await bench.launch("true", first_id=FIRST, **ids)


async def test_a_file_of_an_owner_above_the_range_is_nobodys_and_can_be_read(bench: Any) -> None:
    file = bench.layer / "etc" / "far"
    file.write_text("far")
    os.chown(file, 70000, 70000)
    _, said = await bench.run("stat -c '%u %g' /etc/far; cat /etc/far; chown 0 /etc/far 2>&1", first_id=FIRST)

    lines = said.splitlines()
    assert lines[0] == "65534 65534"
    assert lines[1].startswith("far")
    assert "chown" in lines[1] + lines[-1]


async def test_root_inside_has_no_power_over_what_is_the_nodes(bench: Any, tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.write_text("the node's")
    private.chmod(0o600)
    mounts = [spec.bind(str(private), "/private")]
    _, said = await bench.run(
        "id -u; cat /private 2>&1; echo x > /private",
        mounts=mounts,
        first_id=FIRST,
        added_capabilities=["CAP_SYS_ADMIN"],
    )

    assert "0" in said.split()
    assert "Permission denied" in said
    assert private.read_text() == "the node's"


@pytest.mark.parametrize("first_id", [0, FIRST], ids=["host", "userns"])
async def test_a_network_of_its_own_has_a_loopback(bench: Any, first_id: int) -> None:
    _, said = await bench.run(
        "grep -c 00000000000000000000000000000001 /proc/net/if_inet6", first_id=first_id
    )

    assert said == "1"
