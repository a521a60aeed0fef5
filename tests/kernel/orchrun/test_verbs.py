"""orchrun beside runc and crun: the same verbs in the same states, the same answers."""

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.kernel import orchrun_bench
from tests.kernel.orchrun_bench import Bundles, Runtime, wait_until

pytestmark = pytest.mark.root


def _life(runtime: Runtime, bundle: Path) -> list[tuple[str, Any]]:
    """Every verb in every state: what was called, and whether it went well; between them the state."""
    told: list[tuple[str, Any]] = []
    name, made = runtime.create(bundle)
    told.append(("create", made.code))

    def call(*words: str) -> None:
        done = runtime(*[name if word == "ID" else word for word in words])
        told.append((" ".join(words), done.code == 0))

    def state() -> None:
        told.append(("state", runtime.state(name)))

    state()
    for words in ("resume ID", "kill ID 0", "exec ID true", "pause ID"):
        call(*words.split())
    state()
    call("resume", "ID")
    call("start", "ID")
    state()
    for words in ("start ID", "resume ID", "exec ID true", "exec ID false", "exec ID nosuch", "delete ID"):
        call(*words.split())
    call("pause", "ID")
    state()
    for words in ("pause ID", "delete ID", "resume ID", "kill ID NOSUCH", "kill ID SIGCONT", "kill ID KILL"):
        call(*words.split())
    wait_until(lambda: runtime.state(name) == "stopped")
    for words in ("start ID", "kill ID TERM", "exec ID true", "pause ID", "resume ID"):
        call(*words.split())
    call("delete", "ID")
    for words in ("delete ID", "delete --force ID", "state ID", "kill ID TERM", "start ID", "ps ID"):
        call(*words.split())
    return told


def test_every_verb_in_every_state_does_as_runc_does(
    orchrun: Runtime, runc: Runtime, bundles: Bundles
) -> None:
    bundle = bundles.new("sleep", "100")

    assert _life(orchrun, bundle) == _life(runc, bundle)


_FAILURES = {
    "no such program": ({"process__args": ["nosuch"]}, "executable file not found in $PATH"),
    "no such path": ({"process__args": ["/nosuch"]}, "no such file or directory"),
    "a directory": ({"process__args": ["/bin"]}, "permission denied"),
    "no bundle": (None, "no such file or directory"),
    "no program at all": ({"process__args": []}, "args"),
    "a root that is not there": ({"root__path": "/nosuch"}, "/nosuch"),
    "a cwd that is no path": ({"process__cwd": "srv"}, "cwd"),
    "a namespace that is none": ({"linux__namespaces": [{"type": "nosuch"}]}, ""),
    "a namespace that is not there": ({"linux__namespaces": [{"type": "network", "path": "/nosuch"}]}, ""),
    "a hook that fails": ({"hooks": {"createRuntime": [{"path": "/bin/false"}]}}, "hook"),
    "a source that is not there": (
        {"mounts": [{"destination": "/x", "type": "bind", "source": "/nosuch", "options": ["rbind"]}]},
        "/nosuch",
    ),
    "a rlimit that is none": ({"process__rlimits": [{"type": "RLIMIT_NOSUCH", "soft": 1, "hard": 1}]}, ""),
}


@pytest.mark.parametrize("why", _FAILURES)
@pytest.mark.parametrize("verb", ["run", "create"])
def test_what_cannot_start_fails_as_with_runc_and_leaves_nothing(
    orchrun: Runtime, runc: Runtime, bundles: Bundles, why: str, verb: str
) -> None:
    changes, words = _FAILURES[why]
    bundle = bundles.new("true", **(changes or {}))
    if changes is None:
        bundle = bundle / "nosuch"

    ours = orchrun(verb, "--bundle", str(bundle), orchrun.new())
    left = [path for path in orchrun_bench.groups_below(bundles.parent) if path.name != bundles.parent]
    theirs = runc(verb, "--bundle", str(bundle), runc.new())

    assert (ours.code, theirs.code) == (1, 1), theirs.err
    assert words in ours.err
    assert len(ours.err.splitlines()) == 1, "one line, for callers that show the last one"
    assert orchrun("list", "--quiet").out == ""
    assert left == []


@pytest.mark.parametrize("room", [5, 7, 9, 12, 14, 20])
def test_where_descriptors_run_out_no_container_runs_outside_of_its_groups(
    orchrun: Runtime, bundles: Bundles, room: int
) -> None:
    """Its groups come as descriptors, of which the kernel silently passes on only as many as there is room for."""
    bundle = bundles.new(
        "sleep",
        "100",
        mounts=[],
        linux__maskedPaths=[],
        linux__readonlyPaths=[],
        hostname="",
        linux__namespaces=[{"type": "pid"}],
        linux__resources={"memory": {"limit": 64 << 20}},
        process__rlimits=[{"type": "RLIMIT_NOFILE", "soft": room, "hard": room}],
    )
    group = json.loads((bundle / "config.json").read_text())["linux"]["cgroupsPath"]

    name, done = orchrun.create(bundle)

    if done.code:
        assert "RLIMIT_NOFILE may be too low" in done.err or "too many open files" in done.err.lower()
        assert room < 20
        return
    groups = Path(f"/proc/{orchrun('state', name).json()['pid']}/cgroup").read_text().splitlines()
    assert [line for line in groups if not line.endswith(group)] == []


def test_a_capability_that_nobody_can_grant_is_a_warning(orchrun: Runtime, bundles: Bundles) -> None:
    """So says the specification; a newer caller asks for what an older kernel does not know."""
    names = ["CAP_CHOWN", "CAP_NOT_YET_THERE"]
    sets = dict.fromkeys(("bounding", "effective", "permitted"), names)
    bundle = bundles.new("grep", "CapEff", "/proc/self/status", process__capabilities=sets)

    done = orchrun("run", "--bundle", str(bundle), orchrun.new())

    assert (done.code, done.out.split()) == (0, ["CapEff:", "0000000000000001"])
    assert "CAP_NOT_YET_THERE" in done.err


def test_an_unknown_container_is_named_so_by_every_verb(orchrun: Runtime, runc: Runtime) -> None:
    """containerd looks for these words."""
    for verb in ("state", "start", "kill", "delete", "pause", "resume", "ps", "update", "events", "exec"):
        words = [verb, "nosuch", *(["true"] if verb == "exec" else [])]
        ours, theirs = orchrun(*words), runc(*words)
        assert ours.code == theirs.code != 0, verb
        assert "container does not exist" in ours.err, verb


def test_a_name_is_used_once(orchrun: Runtime, bundles: Bundles) -> None:
    bundle = bundles.new("sleep", "100")
    name, _ = orchrun.create(bundle)

    again = orchrun("create", "--bundle", str(bundle), name)

    assert again.code == 1
    assert "container with given ID already exists" in again.err
    assert orchrun.state(name) == "created"


def test_the_state_has_the_shape_of_runcs(orchrun: Runtime, runc: Runtime, bundles: Bundles) -> None:
    bundle = bundles.new("sleep", "100", annotations={"a.b/c": "d"})
    names = {runtime: runtime.create(bundle)[0] for runtime in (orchrun, runc)}

    ours, theirs = (runtime("state", name).json() for runtime, name in names.items())

    assert list(ours) == list(theirs)
    assert (Path("/proc") / str(ours["pid"])).is_dir()
    for key in ("id", "pid", "created", "ociVersion"):  # runc says its own version
        assert type(ours.pop(key)) is type(theirs.pop(key))
    assert ours == theirs
    listed = [runtime("list", "--format", "json").json() for runtime in names]
    assert [list(one) for one in listed[0]] == [list(one) for one in listed[1]]
    assert orchrun("list").out.split()[:6] == runc("list").out.split()[:6]
    assert orchrun("list", "-q").out.split() == [names[orchrun]]


def test_what_ended_has_no_pid(orchrun: Runtime, bundles: Bundles) -> None:
    name, _ = orchrun.create(bundles.new("true"))
    orchrun("start", name)
    wait_until(lambda: orchrun.state(name) == "stopped")

    assert orchrun("state", name).json()["pid"] == 0


def test_the_exit_code_of_run_is_the_programs(orchrun: Runtime, oracle: Runtime, bundles: Bundles) -> None:
    for script, code in (("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 0), ("exec sleep 0", 0)):
        bundle = bundles.new("sh", "-c", script)
        ours, theirs = (one("run", "--bundle", str(bundle), one.new()) for one in (orchrun, oracle))
        assert ours.code == theirs.code == code, (script, ours, theirs)


def test_a_program_that_is_killed_ends_run_with_128_and_the_signal(
    orchrun: Runtime, bundles: Bundles
) -> None:
    name = orchrun.new()
    running = orchrun.open("run", "--bundle", str(bundles.new("sleep", "100")), name)
    wait_until(lambda: orchrun("state", name).code == 0 and orchrun.state(name) == "running")

    orchrun("kill", name, "KILL")

    assert running.wait(30) == 137
    assert orchrun("state", name).code == 1, "run removes what it made"


def test_a_signal_to_run_goes_to_the_program(orchrun: Runtime, bundles: Bundles) -> None:
    script = "trap 'exit 42' TERM; echo ready; while true; do sleep 0.05; done"
    running = orchrun.open(
        "run", "--bundle", str(bundles.new("sh", "-c", script)), orchrun.new(), stdout=subprocess.PIPE
    )
    assert running.stdout
    assert running.stdout.readline() == b"ready\n"

    running.send_signal(signal.SIGTERM)

    assert running.wait(30) == 42


def test_run_passes_its_input_and_output_through(orchrun: Runtime, bundles: Bundles) -> None:
    done = orchrun("run", "--bundle", str(bundles.new("cat")), orchrun.new(), stdin="one\ntwo\n")

    assert (done.code, done.out) == (0, "one\ntwo\n")


def test_what_is_kept_is_there_until_it_is_deleted(orchrun: Runtime, bundles: Bundles) -> None:
    name = orchrun.new()

    assert orchrun("run", "--keep", "--bundle", str(bundles.new("true")), name).code == 0

    assert orchrun.state(name) == "stopped"
    assert orchrun("delete", name).code == 0


def test_a_detached_container_goes_on_and_has_a_pid_file(
    orchrun: Runtime, bundles: Bundles, tmp_path: Path
) -> None:
    bundle, where, name = bundles.new("sleep", "100"), tmp_path / "pid", orchrun.new()
    with (tmp_path / "said").open("w") as said:
        words = ["run", "--detach", "--pid-file", str(where), "--bundle", str(bundle), name]
        assert (
            subprocess.run([*orchrun.command, *words], stdout=said, stderr=said, check=False).returncode == 0
        )

    assert orchrun.state(name) == "running"
    assert int(where.read_text()) == orchrun("state", name).json()["pid"]
    assert orchrun("ps", "--format", "json", name).json() == [int(where.read_text())]


def test_ps_shows_what_the_hosts_ps_says_of_it(orchrun: Runtime, runc: Runtime, bundles: Bundles) -> None:
    for runtime in (orchrun, runc):
        name, _ = runtime.create(bundles.new("sleep", "1234"))
        runtime("start", name)
        pid = str(runtime("state", name).json()["pid"])
        head, line = runtime("ps", name).out.splitlines()
        assert head.split()[1] == "PID"
        assert line.split()[1] == pid
        assert line.endswith("sleep 1234")
        assert runtime("ps", name, "-o", "pid,comm").out.split() == ["PID", "COMMAND", pid, "sleep"]
