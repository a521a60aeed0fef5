"""What a process sees once it is a container, and what a start that fails leaves behind."""

# ruff: noqa: ASYNC240, PTH115, PTH208  /proc, /sys and small files do not block

import asyncio
import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest

from agent.runtime import spec
from agent.runtime.container import LaunchFailed

pytestmark = pytest.mark.root


async def test_the_exit_code_of_the_payload_is_told(bench: Any) -> None:
    exited, said = await bench.run("echo hello; echo bad >&2; exit 3")

    assert (exited.exit_code, exited.signal, exited.oom_killed) == (3, None, False)
    assert sorted(said.split()) == ["bad", "hello"]
    assert bench.exits == [exited]


async def test_a_container_sees_only_itself(bench: Any) -> None:
    _, said = await bench.run("echo $$; ps -o pid | wc -l; hostname; ls /sys/class/net; pwd", hostname="web")

    lines = said.splitlines()
    assert lines[0] == "1"
    assert int(lines[1]) <= 4
    assert lines[2:] == ["web", "lo", "/"]


async def test_namespaces_are_its_own(bench: Any) -> None:
    running = await bench.launch("sleep", "60")

    for kind in ("mnt", "pid", "net", "uts", "ipc", "cgroup"):
        theirs = os.readlink(f"/proc/{running.pid}/ns/{kind}")
        assert theirs != os.readlink(f"/proc/self/ns/{kind}"), kind


async def test_the_host_sees_no_mount_of_it(bench: Any) -> None:
    await bench.launch("sleep", "60")

    assert str(bench.directory) not in Path("/proc/self/mounts").read_text()


async def test_environment_user_directory_and_umask_are_as_told(bench: Any) -> None:
    script = "id -u; id -g; id -G; pwd; echo $COLOUR; umask; touch /tmp/x 2>&1; echo again > /dev/stdout"
    _, said = await bench.run(
        script, env={"COLOUR": "green", "PATH": "/bin"}, uid=1000, gid=1001, groups=[1002], cwd="/srv/app"
    )

    lines = said.splitlines()
    assert lines[:6] == ["1000", "1001", "1001 1002", "/srv/app", "green", "0022"]
    assert lines[-1] == "again"


async def test_no_descriptor_but_its_own_is_open(bench: Any) -> None:
    running = await bench.launch("sleep", "60")

    assert sorted(os.listdir(f"/proc/{running.pid}/fd")) == ["0", "1", "2"]


async def test_capabilities_are_few_and_privileges_cannot_grow(bench: Any) -> None:
    _, said = await bench.run("grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status")

    values = dict(line.split(":\t") for line in said.splitlines())
    assert values == {"CapEff": "00000000a00405fb", "CapBnd": "00000000a00405fb", "NoNewPrivs": "1"}


async def test_signals_arrive_as_in_any_process(bench: Any) -> None:
    _, said = await bench.run("exec grep -E 'SigBlk|SigIgn' /proc/self/status")

    assert [line.split()[1].lstrip("0") for line in said.splitlines()] == ["", ""]


async def test_the_kernels_secrets_are_masked_and_its_switches_read_only(bench: Any) -> None:
    script = """
    cat /proc/kcore /proc/keys /proc/timer_list | wc -c
    ls /sys/firmware /proc/acpi 2>/dev/null | grep -v : | wc -w
    echo 1 > /proc/sys/kernel/panic || echo no
    echo b > /proc/sysrq-trigger || echo no
    touch /sys/x || echo no
    mount -t tmpfs x /tmp || echo no
    """
    _, said = await bench.run(script)

    lines = [line for line in said.splitlines() if line in {"no", "0"}]
    assert lines == ["0", "0", "no", "no", "no", "no"]


async def test_a_device_made_inside_cannot_be_opened(bench: Any) -> None:
    script = "for d in / /dev /tmp /dev/shm; do mknod $d/m c 1 1 && dd if=$d/m bs=1 count=1 2>&1; done"
    _, said = await bench.run(script, added_capabilities=["CAP_MKNOD"])

    assert said.count("Permission denied") == 4


async def test_devices_terminals_and_links_are_there(bench: Any) -> None:
    _, said = await bench.run("ls /dev; echo x > /dev/null; head -c 4 /dev/urandom | wc -c")

    words = said.split()
    assert {"null", "zero", "full", "random", "urandom", "tty", "fd", "stdin", "ptmx", "pts", "shm"} <= set(
        words
    )
    assert words[-1] == "4"


async def test_volumes_are_bound_read_only_when_asked(bench: Any, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "file").write_text("from the host")
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n")
    mounts = [
        spec.bind(str(data), "/data"),
        spec.bind(str(data), "/frozen/data", readonly=True),
        spec.bind(str(hosts), "/etc/hosts"),
        spec.tmpfs("/scratch", size_bytes=1 << 20),
    ]
    script = (
        "cat /data/file /etc/hosts; touch /data/new; touch /frozen/data/no 2>&1; touch /scratch/x && echo yes"
    )
    _, said = await bench.run(script, mounts=mounts)

    assert "from the host127.0.0.1 localhost" in said
    assert "Read-only" in said
    assert said.endswith("yes")
    assert (data / "new").exists()


async def test_a_read_only_root_cannot_be_written(bench: Any) -> None:
    _, said = await bench.run("touch /x 2>&1; touch /dev/shm/x && echo yes", readonly=True)

    assert "Read-only" in said
    assert said.endswith("yes")


async def test_an_upper_layer_hides_a_lower_one(bench: Any, tmp_path: Path) -> None:
    upper = tmp_path / "second"
    (upper / "etc").mkdir(parents=True)
    (upper / "etc" / "motd").write_text("second")
    (bench.layer / "etc" / "motd").write_text("first")
    launch = bench.launch_of("cat", "/etc/motd")
    launch = dataclasses.replace(launch, layers=(*launch.layers, str(upper)))

    await bench.runtime.launch(launch)

    assert await bench.said(launch.container) == "second"


async def test_two_hundred_layers_fit(bench: Any, tmp_path: Path) -> None:
    layers = []
    for number in range(100):
        layer = tmp_path / "layers" / f"sha256-{number:032d}"
        layer.mkdir(parents=True)
        layers.append(str(layer))
    launch = dataclasses.replace(bench.launch_of("true"), layers=(str(bench.layer), *layers))

    await bench.runtime.launch(launch)

    assert (await bench.runtime.wait(launch.container)).exit_code == 0


@pytest.mark.parametrize(
    ("args", "options", "step", "words"),
    [
        (["/bin/serve"], {}, "exec", "exec /bin/serve: no such file in the image; /bin holds"),
        (["serve"], {}, "exec", "exec serve: not found in PATH"),
        (["/etc"], {}, "exec", "permission denied"),
        (["/bin/broken"], {}, "exec", "not a program for this machine"),
        (
            ["sh"],
            {"network": "/run/netns/nowhere-at-all"},
            "network",
            "join /run/netns/nowhere-at-all: no such file",
        ),
        (["sh"], {"mounts": [spec.bind("/no/such/dir", "/data")]}, "mounts", "/no/such/dir: no such file"),
        (["sh"], {"memory_bytes": 4096}, "start", "memory limit 0.00390625Mi was used up"),
        (
            ["sh"],
            {"mounts": [{"type": "lustre", "destination": "/x"}]},
            "mounts",
            "mount a lustre: the kernel does not know",
        ),
        (["sh"], {"sysctl": {"net.no.such": "1"}}, "sysctl", "/proc/sys/net/no/such"),
    ],
)
async def test_a_failed_start_says_why_and_leaves_nothing(
    bench: Any, args: list[str], options: dict[str, Any], step: str, words: str
) -> None:
    broken = bench.layer / "bin" / "broken"
    broken.write_bytes(b"\0\0")
    broken.chmod(0o755)

    with pytest.raises(LaunchFailed) as failed:
        await bench.launch(*args, name="bad", **options)

    assert failed.value.step == step
    assert words in failed.value.message
    assert await bench.runtime.containers() == {}
    assert bench.groups() == []
    assert not list((bench.directory / "state" / "roots").iterdir())
    assert not list((bench.directory / "run" / "containers").iterdir())
    await bench.launch("true", name="bad")


async def test_many_start_side_by_side(bench: Any) -> None:
    running = await asyncio.gather(*(bench.launch("sleep", "60") for _ in range(20)))

    assert len({one.pid for one in running}) == 20
