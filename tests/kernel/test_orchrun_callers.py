"""podman and docker with orchrun as their runtime: real images, ports, volumes, limits, terminals, health checks."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.kernel import orchrun_bench, orchrun_callers
from tests.kernel.orchrun_bench import PATIENCE
from tests.kernel.orchrun_callers import Caller

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

_PROGRAMS: dict[str, tuple[list[str], Callable[[Path], AbstractContextManager[Caller]]]] = {
    "podman": (["podman", "conmon"], orchrun_callers.podman),
    "docker": (["docker", "dockerd", "containerd", "iptables"], orchrun_callers.docker),
}


@pytest.fixture(scope="module", params=list(_PROGRAMS))
def caller(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    needed, make = _PROGRAMS[request.param]
    for program in needed:
        orchrun_bench.need(program)
    with make(tmp_path_factory.mktemp(request.param)) as made:
        yield made


@pytest.fixture
def box(caller: Caller) -> str:
    """The image, by the name that the caller gives it."""
    return "localhost/box:1" if "podman" in caller.command else "box:1"


@pytest.fixture
def remove(caller: Caller) -> Iterator[list[str]]:
    """Containers that are gone after the test."""
    names: list[str] = []
    yield names
    at_once = ["--time", "0"] if "podman" in caller.command else []
    for name in names:
        caller("rm", "--force", *at_once, name)


def _wait(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30 * PATIENCE
    while not what():
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.05)


def test_a_program_runs_and_its_code_and_output_come_back(caller: Caller, box: str) -> None:
    done = caller.run("--rm", box, "sh", "-c", "echo out; echo err >&2; exit 7")

    assert (done.code, done.out, done.err) == (7, "out\n", "err\n")


def test_what_is_typed_reaches_the_program(caller: Caller, box: str) -> None:
    assert caller.run("--rm", "--interactive", box, "cat", stdin="hello\n").out == "hello\n"


@pytest.mark.parametrize(("program", "code"), [("nosuch", 127), ("/nosuch", 127), ("/etc/passwd", 126)])
def test_a_program_that_cannot_run_has_the_code_that_scripts_look_for(
    caller: Caller, box: str, program: str, code: int
) -> None:
    done = caller.run("--rm", box, program)

    assert done.code == code
    assert program in done.err


def test_a_published_port_leads_to_the_container(caller: Caller, box: str, remove: list[str]) -> None:
    remove.append("web")
    started = caller.run(
        "--detach", "--name", "web", "--publish", "8080:80", box, "httpd", "-f", "-p", "80", "-h", "/www"
    )
    assert started.code == 0, started.err
    address = json.loads(caller("inspect", "web").out)[0]["NetworkSettings"]["IPAddress"]

    assert caller.network.fetch(f"http://{address}/index.html") == "served by orchrun\n"
    assert caller.network.fetch("http://127.0.0.1:8080/index.html") == "served by orchrun\n"


def test_volumes_and_temporary_file_systems_are_mounted(caller: Caller, box: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from the host\n")
    script = "cat /data/file; echo new > /data/new; touch /frozen/x 2>&1; touch /scratch/x && echo fine"
    done = caller.run(
        *("--rm", "--volume", f"{tmp_path}:/data", "--volume", f"{tmp_path}:/frozen:ro"),
        *("--tmpfs", "/scratch", box, "sh", "-c", script),
    )

    assert done.out == "from the host\ntouch: /frozen/x: Read-only file system\nfine\n"
    assert (tmp_path / "new").read_text() == "new\n"


def test_limits_are_the_kernels(caller: Caller, box: str, remove: list[str]) -> None:
    remove.append("small")
    words = ["--detach", "--name", "small", "--memory", "64m", "--pids-limit", "50", "--cpus", "0.5"]
    caller.run(*words, box, "sleep", "100")
    group = Path("/proc") / str(json.loads(caller("inspect", "small").out)[0]["State"]["Pid"]) / "cgroup"
    places = {row.split(":")[1]: row.split(":")[2] for row in group.read_text().splitlines()}

    def limit(controller: str, v1: str, v2: str) -> str:
        mount = Path("/sys/fs/cgroup")
        if controller in places:
            return (mount / controller / places[controller].lstrip("/") / v1).read_text().strip()
        return (mount / places[""].lstrip("/") / v2).read_text().strip()

    assert limit("memory", "memory.limit_in_bytes", "memory.max") == str(64 << 20)
    assert limit("pids", "pids.max", "pids.max") == "50"
    assert limit("cpu", "cpu.cfs_quota_us", "cpu.max").split()[0] == "50000"


def test_one_that_takes_too_much_memory_is_killed(caller: Caller, box: str) -> None:
    done = caller.run("--rm", "--memory", "16m", box, "sh", "-c", "x=a; while true; do x=$x$x; done")

    assert done.code == 137


def test_exec_runs_beside_the_program(caller: Caller, box: str, remove: list[str]) -> None:
    remove.append("host")
    caller.run("--detach", "--name", "host", "--env", "A=1", box, "sleep", "100")

    done = caller(
        "exec", "--env", "B=2", "--user", "1000:1000", "--workdir", "/tmp", "host", "sh", "-c", _SEEN
    )

    assert (done.code, done.err) == (5, "err\n")
    assert done.out.splitlines() == ["1000 1000 1 2 /tmp"]
    assert caller("exec", "--interactive", "host", "cat", stdin="typed").out == "typed"
    assert caller("exec", "host", "nosuch").code in {126, 127}
    assert "sleep" in caller("top", "host").out


_SEEN = "echo $(id -u) $(id -g) $A $B $PWD; echo err >&2; exit 5"


def test_terminals_have_a_size_and_a_code(caller: Caller, box: str, remove: list[str]) -> None:
    remove.append("seat")
    caller.run("--detach", "--name", "seat", box, "sleep", "100")
    script = "tty; test -t 0 && test -t 1 && echo seen; exit 9"

    ran = caller.in_terminal(
        "run", *caller.run_options, "--rm", "--interactive", "--tty", box, "sh", "-c", script
    )
    entered = caller.in_terminal("exec", "--interactive", "--tty", "seat", "sh", "-c", script)

    for done in (ran, entered):
        assert done.code == 9, done
        assert "/dev/pts/0" in done.out
        assert "seen" in done.out


def test_a_container_is_paused_stopped_started_and_removed(
    caller: Caller, box: str, remove: list[str]
) -> None:
    remove.append("life")

    def status() -> str:
        return str(json.loads(caller("inspect", "life").out)[0]["State"]["Status"])

    script = "trap 'exit 3' TERM; while true; do sleep 0.1; done"
    caller.run("--detach", "--name", "life", box, "sh", "-c", script)
    assert status() == "running"
    assert caller("pause", "life").code == 0
    assert status() == "paused"
    assert caller("unpause", "life").code == 0
    assert caller("stop", "--time", "10", "life").code == 0
    assert status() == "exited"
    assert json.loads(caller("inspect", "life").out)[0]["State"]["ExitCode"] == 3
    assert caller("start", "life").code == 0
    assert caller("kill", "life").code == 0
    _wait(lambda: status() == "exited")
    assert caller("rm", "life").code == 0
    assert caller("inspect", "life").code != 0


def test_a_health_check_tells_a_sick_container_from_a_well_one(
    caller: Caller, box: str, remove: list[str]
) -> None:
    remove.append("patient")
    words = ["--health-cmd", "test -e /well", "--health-interval", "1s", "--health-retries", "1"]
    caller.run("--detach", "--name", "patient", *words, box, "sleep", "100")
    if "podman" in caller.command:
        # Without systemd nobody calls it every second; the check itself is an exec.
        assert caller("healthcheck", "run", "patient").code == 1
        caller("exec", "patient", "touch", "/well", check=True)
        assert caller("healthcheck", "run", "patient").code == 0
        return

    def health() -> str:
        return str(json.loads(caller("inspect", "patient").out)[0]["State"]["Health"]["Status"])

    _wait(lambda: health() == "unhealthy")
    caller("exec", "patient", "touch", "/well", check=True)
    _wait(lambda: health() == "healthy")


def test_what_is_asked_of_a_running_container_changes(caller: Caller, box: str, remove: list[str]) -> None:
    if "podman" in caller.command:
        pytest.skip("needs podman 4.4's update; this machine has an older one")
    remove.append("grown")
    caller.run("--detach", "--name", "grown", "--pids-limit", "50", box, "sleep", "100")

    caller("update", "--pids-limit", "60", "--memory", "80m", "--memory-swap", "80m", "grown", check=True)

    assert caller("exec", "grown", "cat", "/sys/fs/cgroup/pids/pids.max").out == "60\n"


def test_security_options_hold(caller: Caller, box: str) -> None:
    script = "grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status; touch /x 2>&1; hostname"
    done = caller.run(
        *("--rm", "--cap-drop", "ALL", "--cap-add", "CHOWN", "--security-opt", "no-new-privileges"),
        *("--read-only", "--hostname", "hugo", box, "sh", "-c", script),
    )

    lines = done.out.splitlines()
    assert [line.split()[-1] for line in lines[:3]] == ["0000000000000001", "1", "2"]
    assert lines[3:] == ["touch: /x: Read-only file system", "hugo"]


def test_privileged_is_everything_that_this_machine_can_give(caller: Caller, box: str) -> None:
    done = caller.run("--rm", "--privileged", box, "sh", "-c", "mount -t tmpfs x /tmp && echo mounted")

    assert (done.code, done.out) == (0, "mounted\n"), done.err


def test_containers_share_namespaces(caller: Caller, box: str, remove: list[str]) -> None:
    remove += ["second", "first"]
    caller.run("--detach", "--name", "first", box, "sleep", "123")
    words = ["--detach", "--name", "second", "--network", "container:first", "--pid", "container:first"]

    assert caller.run(*words, box, "sleep", "456").code == 0

    seen = caller("exec", "second", "ps").out
    assert "sleep 123" in seen
    assert "sleep 456" in seen
