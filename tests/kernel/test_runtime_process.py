"""What a configuration says of a process is what the process finds: user, limits, scheduling, terminal, place."""

# ruff: noqa: ASYNC240  /proc, /sys and small files do not block

import asyncio
import dataclasses
import fcntl
import os
import signal
import struct
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.runtime.container import Launch, LaunchFailed

pytestmark = pytest.mark.root

Edit = Callable[[dict[str, Any]], object]


def edited(bench: Any, edit: Edit, *args: str, name: str = "", **options: Any) -> Launch:
    launch: Launch = bench.launch_of(*args, name=name, **options)
    config: dict[str, Any] = dict(launch.config)
    edit(config)
    return dataclasses.replace(launch, config=config)


def in_user_namespace(config: dict[str, Any]) -> None:
    ids = [{"containerID": 0, "hostID": 700_000, "size": 65536}]
    config["linux"] |= {"uidMappings": ids, "gidMappings": ids}
    config["linux"]["namespaces"] = [*config["linux"]["namespaces"], {"type": "user"}]


async def said_by(bench: Any, edit: Edit, script: str, **options: Any) -> str:
    running = await bench.runtime.launch(edited(bench, edit, "sh", "-c", script, **options))
    await asyncio.wait_for(bench.runtime.wait(running.container), 10 * bench.patience)
    said: str = await bench.said(running.container)
    return said


async def test_scheduler_io_priority_and_oom_score_are_those_asked_for(bench: Any) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["process"] |= {
            "scheduler": {"policy": "SCHED_BATCH", "nice": 7},
            "ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 0},
            "oomScoreAdj": 321,
        }

    running = await bench.runtime.launch(edited(bench, edit, "sleep", "60"))

    assert os.sched_getscheduler(running.pid) == os.SCHED_BATCH
    assert os.getpriority(os.PRIO_PROCESS, running.pid) == 7
    assert _io_class(running.pid) == 3
    assert Path(f"/proc/{running.pid}/oom_score_adj").read_text().strip() == "321"


async def test_a_payload_takes_no_oom_score_from_those_who_start_it(bench: Any) -> None:
    own = Path("/proc/self/oom_score_adj")
    before = own.read_text()
    own.write_text("300")
    try:
        os.kill(bench.helper("shim"), signal.SIGKILL)  # the next one inherits ours
        running = await bench.launch("sleep", "60")
        entered = await bench.runtime.enter(running.container, args=["sleep", "60"])
    finally:
        own.write_text(before)

    assert Path(f"/proc/{bench.helper('shim')}/oom_score_adj").read_text().strip() == "300"
    for pid in (running.pid, entered.pid):
        assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "0"


async def test_a_deadline_process_may_be_made_although_it_could_not_fork(bench: Any) -> None:
    def edit(config: dict[str, Any]) -> None:
        deadline = {
            "policy": "SCHED_DEADLINE",
            "runtime": 1_000_000,
            "deadline": 50_000_000,
            "period": 50_000_000,
        }
        config["process"]["scheduler"] = deadline

    try:
        running = await bench.runtime.launch(edited(bench, edit, "sleep", "60"))
    except LaunchFailed as failed:  # a machine that has no time left to promise
        assert (failed.step, "SCHED_DEADLINE" in failed.message) == ("scheduler", True)
        return
    assert os.sched_getscheduler(running.pid) == 6


async def test_a_personality_is_that_of_every_process_of_a_container(bench: Any) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["linux"]["personality"] = {"domain": "LINUX32"}

    running = await bench.runtime.launch(
        edited(bench, edit, "sh", "-c", "cat /proc/self/personality; exec sleep 60")
    )
    await bench.heard(running.container, "00000008")
    reader, writer = os.pipe()
    entered = await bench.runtime.enter(
        running.container, args=["cat", "/proc/self/personality"], stdout=writer
    )
    os.close(writer)

    assert await entered.wait() == 0
    assert os.read(reader, 100).strip() == b"00000008"
    os.close(reader)


async def test_a_wrong_scheduler_is_a_sentence(bench: Any) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["process"]["scheduler"] = {"policy": "SCHED_FIFO", "priority": 1000}

    with pytest.raises(
        LaunchFailed, match="set the scheduler: Invalid argument; real-time policies need"
    ) as failed:
        await bench.runtime.launch(edited(bench, edit, "true"))

    assert failed.value.step == "scheduler"


async def test_limits_clocks_and_settings_hold_in_a_user_namespace_too(bench: Any) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["process"] |= {
            "oomScoreAdj": 77,
            "rlimits": [{"type": "RLIMIT_MEMLOCK", "soft": 4096, "hard": 8192}],
        }
        config["linux"]["namespaces"].append({"type": "time"})
        config["linux"]["timeOffsets"] = {"boottime": {"secs": 100_000_000}}
        config["linux"]["sysctl"] = {"net.ipv4.ip_unprivileged_port_start": "7", "kernel.msgmax": "4444"}

    script = "cat /proc/uptime; cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/msgmax"
    said = await said_by(bench, edit, f"{script}; cat /proc/self/oom_score_adj; ulimit -l")

    uptime, *others = said.splitlines()
    assert int(float(uptime.split()[0])) > 100_000_000
    assert others == ["7", "4444", "77", "4"]


async def test_umask_rlimits_and_groups_are_those_asked_for(bench: Any) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["process"]["user"] = {"uid": 7, "gid": 8, "additionalGids": [9, 10], "umask": 0o077}
        config["process"]["rlimits"] = [{"type": "RLIMIT_CORE", "soft": 5120, "hard": 10240}]

    said = await said_by(bench, edit, "umask; id -u; id -g; id -G; ulimit -c; ulimit -Hc")

    assert said.splitlines() == ["0077", "7", "8", "8 9 10", "10", "20"]


async def test_ambient_capabilities_reach_a_user_who_is_not_root(bench: Any) -> None:
    sets = ("bounding", "effective", "permitted", "inheritable", "ambient")

    def edit(config: dict[str, Any]) -> None:
        config["process"]["user"] = {"uid": 1000, "gid": 1000}
        config["process"]["capabilities"] = {name: ["CAP_NET_BIND_SERVICE"] for name in sets}

    said = await said_by(bench, edit, "grep ^Cap /proc/self/status")

    assert {line.split()[1] for line in said.splitlines()} == {"0000000000000400"}


async def test_what_is_effective_without_being_permitted_cannot_be_granted_and_is_left_out(
    bench: Any,
) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["process"]["capabilities"] = {
            "bounding": ["CAP_KILL"],
            "permitted": ["CAP_KILL"],
            "effective": ["CAP_KILL", "CAP_CHOWN"],
            "ambient": ["CAP_KILL"],
        }

    said = await said_by(bench, edit, "grep -E 'Cap(Eff|Amb)' /proc/self/status")

    assert [line.split()[1][-4:] for line in said.splitlines()] == ["0020", "0000"]


async def test_a_program_that_is_not_there_is_answered_with_its_nearest_names(bench: Any) -> None:
    with pytest.raises(LaunchFailed, match=r"exec /bin/slept: no such file in the image; /bin holds sleep, "):
        await bench.launch("/bin/slept")


async def test_home_is_that_of_the_images_list_of_users(bench: Any, tmp_path: Path) -> None:
    (bench.layer / "etc" / "passwd").write_text("root:x:0:0::/root:/bin/sh\nnine:x:9:9::/home/nine:/bin/sh\n")

    homes = [await said_by(bench, lambda _: None, "echo $HOME", uid=uid) for uid in (0, 9, 10)]
    kept = await said_by(bench, lambda _: None, "echo $HOME", env={"HOME": "/x", "PATH": "/bin"})

    assert [*homes, kept] == ["/root", "/home/nine", "/", "/x"]


async def test_a_working_directory_that_only_its_user_may_enter(bench: Any) -> None:
    (bench.layer / "private").mkdir(exist_ok=True)
    (bench.layer / "private").chmod(0o700)
    os.chown(bench.layer / "private", 1000, 1000)

    def edit(config: dict[str, Any]) -> None:
        config["process"]["capabilities"] = {}

    assert await said_by(bench, edit, "pwd", uid=1000, cwd="/private") == "/private"


@pytest.mark.parametrize("number", range(3, 13))
async def test_a_working_directory_outside_the_container_is_refused(bench: Any, number: int) -> None:
    """CVE-2024-21626: a descriptor of a host's directory that is open while the working directory is entered."""
    for init in (False, True):
        launch = bench.launch_of(
            "pwd", name=f"c{number}{init}".lower(), cwd=f"/proc/self/fd/{number}", init=init
        )
        with pytest.raises(LaunchFailed) as failed:
            await bench.runtime.launch(launch)
        assert failed.value.step == "cwd"


async def test_a_second_process_is_refused_a_working_directory_outside_the_container(bench: Any) -> None:
    running = await bench.launch("sleep", "60")
    refused = set()
    host = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    for number in range(13):
        reader, writer = os.pipe()
        try:
            entered = await bench.runtime.enter(
                running.container, args=["ls"], cwd=f"/proc/self/fd/{number}", stdin=host, stdout=writer
            )
            await entered.wait()
        except LaunchFailed as failed:
            refused.add(failed.message.partition(": ")[2])
        os.close(writer)
        assert b"proc" not in os.read(reader, 65536)
        os.close(reader)
    os.close(host)

    assert "it lies outside the container" in refused


async def test_an_apparmor_profile_or_selinux_label_is_refused_where_the_kernel_has_no_such_thing(
    bench: Any,
) -> None:
    has_apparmor = Path("/sys/module/apparmor/parameters/enabled")
    absent = ["selinuxLabel"] if not Path("/sys/fs/selinux/enforce").exists() else []
    if not has_apparmor.exists() or has_apparmor.read_text().strip() != "Y":
        absent.append("apparmorProfile")
    for key in absent:

        def edit(config: dict[str, Any], key: str = key) -> None:
            config["process"][key] = "some_profile"

        with pytest.raises(LaunchFailed, match=f"process.{key} some_profile: .* is not enabled on this node"):
            await bench.runtime.launch(edited(bench, edit, "true"))


@pytest.mark.parametrize("first_id", [0, 700_000])
async def test_a_main_process_may_have_a_terminal(bench: Any, first_id: int) -> None:
    def edit(config: dict[str, Any]) -> None:
        if first_id:
            in_user_namespace(config)
        config["process"] |= {"terminal": True, "consoleSize": {"height": 33, "width": 77}}

    script = "tty; stty size; ls -l /dev/console | wc -l; echo to-console > /dev/console; read word; echo got $word"
    running = await bench.runtime.launch(edited(bench, edit, "sh", "-c", f"{script}; read end"))
    terminal = await bench.runtime.terminal(running.container)
    await bench.heard(running.container, "to-console")
    os.write(terminal, b"typed\n")
    await bench.heard(running.container, "got typed")
    os.write(terminal, b"\n")
    await asyncio.wait_for(bench.runtime.wait(running.container), 10 * bench.patience)
    os.close(terminal)

    said = [line.strip() for line in (await bench.said(running.container)).splitlines()]
    assert said[:2] == ["/dev/pts/0", "33 77"]
    assert "to-console" in said


async def test_a_terminal_survives_shim_and_logger_one_after_the_other(bench: Any) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["process"]["terminal"] = True

    script = "while read word; do echo got $word; stty size; done; echo hung up"
    running = await bench.runtime.launch(edited(bench, edit, "sh", "-c", script))
    for helper in ("shim", "log", "shim"):
        os.kill(bench.helper(helper), signal.SIGKILL)
        await bench.runtime.containers()
        terminal = await _terminal(bench, running.container)
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 11, 22, 0, 0))
        os.write(terminal, f"after-{helper}\n".encode())
        os.close(terminal)
        await bench.heard(running.container, f"got after-{helper}")

    await bench.heard(running.container, "11 22")
    assert (await bench.runtime.containers())[running.container] == running


async def test_a_container_without_a_terminal_has_none_to_type_on(bench: Any) -> None:
    running = await bench.launch("sleep", "60")

    with pytest.raises(LaunchFailed, match="has none; start it with one"):
        await bench.runtime.terminal(running.container)


async def _terminal(bench: Any, container: str) -> int:
    fd: int = await bench.runtime.terminal(container)
    return fd


def _io_class(pid: int) -> int:
    import ctypes

    number = {"x86_64": 252, "aarch64": 31}[os.uname().machine]
    return int(ctypes.CDLL(None).syscall(number, 1, pid)) >> 13
