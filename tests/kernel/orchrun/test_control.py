"""orchrun's limits, cgroups, hooks and state: what a caller steers, and what stays when calls are cut short."""

import json
import os
import platform
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.kernel import orchrun_bench, test_runtime_interpreter
from tests.kernel.orchrun_bench import Bundles, Runtime, started, wait_until

pytestmark = pytest.mark.root


def _limit(runtime: Runtime, name: str, file: str) -> str:
    """Of the process, on whichever version of cgroups it is."""
    pid = runtime("state", name).json()["pid"]
    mount = Path("/sys/fs/cgroup")
    for row in (Path("/proc") / str(pid) / "cgroup").read_text().splitlines():
        _, controllers, path = row.split(":")
        for place in (mount / controllers, mount / "unified", mount):
            if (place / path.lstrip("/") / file).exists():
                return (place / path.lstrip("/") / file).read_text().strip()
    return "no such file"


@pytest.mark.parametrize("by", ["options", "a file", "standard input"])
def test_update_changes_the_limits(orchrun: Runtime, bundles: Bundles, tmp_path: Path, by: str) -> None:
    name = started(orchrun, bundles.new("sleep", "100", linux__resources__pids={"limit": 10}))
    resources = {"pids": {"limit": 20}, "memory": {"limit": 64 << 20}}
    (tmp_path / "resources.json").write_text(json.dumps(resources))

    match by:
        case "options":
            done = orchrun("update", "--pids-limit", "20", "--memory", "64m", name)
        case "a file":
            done = orchrun("update", "--resources", str(tmp_path / "resources.json"), name)
        case _:
            done = orchrun("update", "-r", "-", name, stdin=json.dumps(resources))

    assert done.code == 0, done.err
    assert _limit(orchrun, name, "pids.max") == "20"
    assert str(64 << 20) in {_limit(orchrun, name, one) for one in ("memory.limit_in_bytes", "memory.max")}


def test_events_have_the_shape_of_runcs(orchrun: Runtime, runc: Runtime, bundles: Bundles) -> None:
    bundle = bundles.new("sleep", "100")
    ours, theirs = (
        one("events", "--stats", started(one, bundles.new("sleep", "100"))).json() for one in (orchrun, runc)
    )

    assert (ours["type"], list(ours)) == ("stats", list(theirs))
    for key in ("cpu", "memory", "pids"):
        assert set(theirs["data"][key]) <= set(ours["data"][key]) | {"percpu"}, key
    assert ours["data"]["pids"]["current"] == 1
    assert bundle


def test_a_container_out_of_memory_is_an_event(orchrun: Runtime, bundles: Bundles) -> None:
    script = "read line; x=a; while true; do x=$x$x; done"
    bundle = bundles.new(
        "sh", "-c", f"sh -c '{script}' < /gate; sleep 100", linux__resources__memory={"limit": 16 << 20}
    )
    config = json.loads((bundle / "config.json").read_text())
    os.mkfifo(bundle / "gate")
    config["mounts"].append(
        {"destination": "/gate", "type": "bind", "source": str(bundle / "gate"), "options": ["bind"]}
    )
    (bundle / "config.json").write_text(json.dumps(config))
    name = started(orchrun, bundle)
    following = orchrun.open("events", "--interval", "200ms", name, stdout=subprocess.PIPE)
    assert following.stdout
    assert json.loads(following.stdout.readline())["type"] == "stats", "it watches by now"

    (bundle / "gate").write_text("go\n")

    seen = {}
    while seen.get("type") != "oom":
        seen = json.loads(following.stdout.readline())
    assert seen["id"] == name
    orchrun("delete", "--force", name)
    assert following.wait(30) == 0, "it ends with the container"


def test_without_cgroups_it_stays_where_its_caller_is(orchrun: Runtime, bundles: Bundles) -> None:
    bundle = bundles.new("cat", "/proc/self/cgroup")
    before = orchrun_bench.groups_below(bundles.parent)

    done = orchrun("--cgroup-manager", "disabled", "run", "--bundle", str(bundle), orchrun.new())

    assert done.out == Path("/proc/self/cgroup").read_text()
    assert orchrun_bench.groups_below(bundles.parent) == before


@pytest.mark.parametrize("option", [["--systemd-cgroup"], ["--cgroup-manager", "systemd"]])
def test_systemds_cgroups_are_refused_by_name(orchrun: Runtime, bundles: Bundles, option: list[str]) -> None:
    done = orchrun(*option, "run", "--bundle", str(bundles.new("true")), orchrun.new())

    assert done.code == 1
    assert "systemd" in done.err
    assert "cgroupfs" in done.err, "and it says what to do"


def test_a_group_that_others_are_in_is_left_alone(orchrun: Runtime, bundles: Bundles) -> None:
    bundle = bundles.new("sleep", "100")
    first = started(orchrun, bundle)

    second = orchrun("run", "--bundle", str(bundle), orchrun.new())

    assert second.code == 1
    assert "not empty" in second.err
    assert orchrun.state(first) == "running"


def test_a_pid_file_that_cannot_be_written_takes_the_container_back(
    orchrun: Runtime, bundles: Bundles
) -> None:
    name, done = orchrun.create(bundles.new("sleep", "100"), "--pid-file", "/nosuch/pid")

    assert done.code == 1
    assert "/nosuch/pid" in done.err
    assert orchrun("state", name).code == 1


def test_a_root_without_pivot_is_refused(orchrun: Runtime, bundles: Bundles) -> None:
    assert (
        "--no-pivot" in orchrun("run", "--no-pivot", "--bundle", str(bundles.new("true")), orchrun.new()).err
    )


def test_hooks_run_in_their_order_and_are_told_the_state(
    orchrun: Runtime, runc: Runtime, bundles: Bundles, tmp_path: Path
) -> None:
    """Each notes its kind, the state that it was told, and in which mount namespace it runs."""
    kinds = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
    told = []
    host = Path("/proc/self/ns/mnt").readlink()
    for runtime in (orchrun, runc):
        notes = tmp_path / f"{runtime.name}.notes"
        notes.touch()
        note = (
            'read state; echo "$0 $(echo "$state" | sed -E \'s/.*"status":"([a-z]*)".*/\\1/\') '
            f'$([ $(readlink /proc/self/ns/mnt) = {host} ] && echo host || echo own)" >> $NOTES'
        )
        hooks = {
            kind: [
                {
                    "path": "/bin/sh",
                    "args": ["sh", "-c", note, kind],
                    "env": [f"NOTES={notes}", "PATH=/bin:/usr/bin"],
                }
            ]
            for kind in kinds
        }
        hooks["startContainer"][0]["env"] = ["NOTES=/notes", "PATH=/bin:/usr/bin"]
        bundle = bundles.new("sleep", "100", hooks=hooks)
        config = json.loads((bundle / "config.json").read_text())
        config["mounts"].append(
            {"destination": "/notes", "type": "bind", "source": str(notes), "options": ["bind"]}
        )
        (bundle / "config.json").write_text(json.dumps(config))
        name = started(runtime, bundle)
        wait_until(lambda: "poststart" in notes.read_text())  # noqa: B023
        runtime("kill", name, "KILL")
        wait_until(lambda: runtime.state(name) == "stopped")  # noqa: B023
        runtime("delete", name)
        told.append(notes.read_text().splitlines())

    assert [line.split()[0] for line in told[0]] == kinds
    assert told[0][3:5] == ["startContainer created own", "poststart running host"]
    # runc runs poststart beside startContainer, before the program is there.
    assert (told[0][:3], told[0][-1]) == (told[1][:3], told[1][-1])


def test_a_create_that_is_killed_leaves_what_delete_removes(orchrun: Runtime, bundles: Bundles) -> None:
    hooks = {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "1000"]}]}
    name = orchrun.new()
    creating = orchrun.open("create", "--bundle", str(bundles.new("true", hooks=hooks)), name)
    wait_until(lambda: orchrun("state", name).code == 0 and orchrun.state(name) == "creating")
    pid = orchrun("state", name).json()["pid"]

    creating.send_signal(signal.SIGKILL)
    creating.wait()

    wait_until(lambda: orchrun.state(name) == "stopped")
    assert orchrun("delete", "--force", name).code == 0
    assert not _runs(pid)
    assert [one for one in orchrun_bench.groups_below(bundles.parent) if one.name != bundles.parent] == []
    for process in Path("/proc").glob("[0-9]*"):  # the hook belongs to nobody now
        if _words(process) == ["sleep", "1000"] and _parent(process) == 1:
            os.kill(int(process.name), signal.SIGKILL)


def _runs(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _words(process: Path) -> list[str]:
    try:
        return (process / "cmdline").read_text().split("\0")[:-1]
    except (OSError, UnicodeDecodeError):
        return []


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0


def test_errors_go_to_the_log_as_callers_read_them(orchrun: Runtime, tmp_path: Path) -> None:
    for form in ("json", "text"):
        log = tmp_path / f"log.{form}"
        done = orchrun("--log", str(log), "--log-format", form, "state", "nosuch")
        assert done.code == 1
        line = log.read_text().splitlines()[-1]
        if form == "json":
            said: dict[str, Any] = json.loads(line)
            assert (said["level"], said["msg"]) == ("error", "container does not exist")
        else:
            assert 'level=error msg="container does not exist"' in line


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the attack is machine code for x86-64")
def test_an_image_that_runs_our_own_program_cannot_write_it(
    orchrun: Runtime, bundles: Bundles, tmp_path: Path
) -> None:
    """CVE-2019-5736, with powers that only somebody careless would give. It opens and writes nothing."""
    rootfs = orchrun_bench.unpack_busybox(tmp_path / "evil")
    test_runtime_interpreter._plant(rootfs)
    watch = """
    while true; do for p in /proc/[0-9]*; do case $(readlink $p/exe) in *python*)
      exec 4< $p/exe && echo holding
      ( exec 3>> $p/exe ) 2>&1; ( exec 3>> /proc/self/fd/4 ) 2>&1; exit;;
    esac; done; done
    """
    names = ["CAP_SYS_PTRACE", "CAP_SYS_ADMIN"]
    sets = dict.fromkeys(("bounding", "effective", "permitted"), names)
    bundle = bundles.new("sh", "-c", watch, root__path=str(rootfs), process__capabilities=sets)
    name = started(orchrun, bundle)

    entering = orchrun.open("exec", name, "/bin/evil", stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    wait_until(lambda: orchrun.state(name) == "stopped")
    entering.wait(30)
    said = (bundle / "said").read_text()
    assert "holding" in said, "the attack did not come as far as it should"
    assert said.count("Read-only file system") == 2


def test_spec_makes_a_bundle_that_runs(
    orchrun: Runtime, tmp_path: Path, rootfs: Path, bundles: Bundles
) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "rootfs").symlink_to(rootfs)
    assert orchrun("spec", "--bundle", str(tmp_path / "made")).code == 0
    config = json.loads((tmp_path / "made" / "config.json").read_text())
    config["process"] |= {"terminal": False, "args": ["hostname"]}
    config["linux"]["cgroupsPath"] = f"/{bundles.parent}/spec"
    (tmp_path / "made" / "config.json").write_text(json.dumps(config))

    done = orchrun("run", "--bundle", str(tmp_path / "made"), orchrun.new())

    assert (done.code, done.out) == (0, "orchrun\n"), done.err
    assert "exists" in orchrun("spec", "--bundle", str(tmp_path / "made")).err


def test_features_name_what_runc_names(orchrun: Runtime, runc: Runtime) -> None:
    ours, theirs = orchrun("features").json(), runc("features").json()

    assert set(theirs["hooks"]) == set(ours["hooks"])
    for kind in ("namespaces", "capabilities"):
        assert set(theirs["linux"][kind]) <= set(ours["linux"][kind])
    assert {"ro", "rbind", "rro", "tmpcopyup", "idmap"} <= set(ours["mountOptions"])


def test_version_and_help_are_there(orchrun: Runtime) -> None:
    assert orchrun("--version").out.startswith("orchrun version ")
    assert "COMMANDS" in orchrun("--help").out
    assert "--console-socket" in orchrun("create", "--help").out
    assert orchrun("nosuch").code != 0
