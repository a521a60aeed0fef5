"""orchrun beside runc and crun: the same calls, the same answers."""

import array
import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.linux import constants as c
from agent.linux import syscalls
from tests.kernel import orchrun_bench
from tests.kernel.orchrun_bench import Bundles, Done, Runtime

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return orchrun_bench.unpack_busybox(tmp_path_factory.mktemp("rootfs"))


@pytest.fixture
def bundles(rootfs: Path, tmp_path: Path) -> Iterator[Bundles]:
    with orchrun_bench.bundles_in(tmp_path / "bundles", rootfs) as made:
        yield made


@pytest.fixture
def orchrun(bundles: Bundles, tmp_path: Path) -> Iterator[Runtime]:
    made = Runtime("orchrun", tmp_path)
    yield made
    made.clean()


@pytest.fixture(params=["runc", "crun"])
def oracle(bundles: Bundles, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Runtime]:
    orchrun_bench.need(request.param)
    made = Runtime(request.param, tmp_path)
    yield made
    made.clean()


@pytest.fixture
def runc(bundles: Bundles, tmp_path: Path) -> Iterator[Runtime]:
    orchrun_bench.need("runc")
    made = Runtime("runc", tmp_path)
    yield made
    made.clean()


def wait_until(what: Any) -> None:
    deadline = time.monotonic() + 20 * orchrun_bench.PATIENCE
    while not what():
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.01)


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


# -- exec ---------------------------------------------------------------------------------------------


def _started(runtime: Runtime, bundles: Bundles, **changes: Any) -> str:
    name, done = runtime.create(bundles.new("sleep", "1000", **changes))
    assert done.code == 0, done.err
    assert runtime("start", name).code == 0
    return name


def _both(
    orchrun: Runtime, oracle: Runtime, bundles: Bundles, *words: str, **changes: Any
) -> tuple[Done, Done]:
    names = {one: _started(one, bundles, **changes) for one in (orchrun, oracle)}
    options, command = list(words), []
    if "--" in options:
        place = options.index("--")
        options, command = options[:place], options[place + 1 :]
    ours, theirs = (one("exec", *options, name, *command) for one, name in names.items())
    return ours, theirs


_SEEN = "id; pwd; env | sort; grep -E 'Cap|NoNew' /proc/self/status; umask; echo err >&2; exit 3"


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--user", "1000:1000"],
        ["-u", "1000"],
        ["--cwd", "/tmp"],
        ["--env", "COLOUR=blue", "--env", "SIZE=9"],
        ["--no-new-privs"],
        ["--user", "1000:1000", "--cap", "CAP_KILL"],
        ["--user", "1000:1000", "--additional-gids", "7"],
    ],
    ids=" ".join,
)
def test_exec_runs_with_what_the_options_say(
    orchrun: Runtime, runc: Runtime, bundles: Bundles, options: list[str]
) -> None:
    ours, theirs = _both(orchrun, runc, bundles, *options, "--", "sh", "-c", _SEEN)

    assert (ours.code, ours.err) == (theirs.code, theirs.err) == (3, "err\n")
    assert ours.out == theirs.out


def test_exec_takes_a_process_of_the_specification(
    orchrun: Runtime, oracle: Runtime, bundles: Bundles, tmp_path: Path
) -> None:
    process = {
        "args": ["sh", "-c", _SEEN],
        "env": ["PATH=/bin", "A=1"],
        "cwd": "/srv",
        "user": {"uid": 1000, "gid": 1000, "additionalGids": [5]},
        "capabilities": {kind: ["CAP_CHOWN"] for kind in ("bounding", "effective", "permitted")},
        "rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}],
        "noNewPrivileges": True,
    }
    (tmp_path / "process.json").write_text(json.dumps(process))

    ours, theirs = _both(orchrun, oracle, bundles, "--process", str(tmp_path / "process.json"))

    assert (ours.code, ours.out) == (theirs.code, theirs.out)
    assert ours.code == 3


def test_the_end_of_an_exec_is_told_as_shells_do(orchrun: Runtime, runc: Runtime, bundles: Bundles) -> None:
    names = {one: _started(one, bundles) for one in (orchrun, runc)}
    for words, code in (
        (["sh", "-c", "kill -9 $$"], 137),
        (["sh", "-c", "exit 255"], 255),
        (["nosuch"], 255),
        (["/bin"], 255),
        (["true"], 0),
    ):
        ours, theirs = (one("exec", name, *words) for one, name in names.items())
        assert ours.code == theirs.code == code, words


def test_a_failed_exec_does_not_keep_the_container_from_ending(orchrun: Runtime, bundles: Bundles) -> None:
    """Its first process is over only when all of the others are reaped, and whoever adopts them may not hurry."""
    syscalls.prctl(c.PR_SET_CHILD_SUBREAPER, 1)
    try:
        name = _started(orchrun, bundles)
        assert orchrun("exec", name, "nosuch").code == 255

        orchrun("kill", name, "KILL")

        wait_until(lambda: orchrun.state(name) == "stopped")
    finally:
        syscalls.prctl(c.PR_SET_CHILD_SUBREAPER, 0)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                continue


def test_a_detached_exec_goes_on(orchrun: Runtime, bundles: Bundles, tmp_path: Path) -> None:
    name, where = _started(orchrun, bundles), tmp_path / "pid"
    words = ["exec", "--detach", "--pid-file", str(where), name, "sleep", "999"]

    subprocess.run([*orchrun.command, *words], check=True, stdout=subprocess.DEVNULL)

    pid = int(where.read_text())
    assert (Path("/proc") / str(pid) / "cmdline").read_bytes() == b"sleep\x00999\x00"
    assert pid in orchrun("ps", "-f", "json", name).json()
    os.kill(pid, signal.SIGKILL)


# -- terminals and descriptors ------------------------------------------------------------------------


def _listen(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(str(path))
    sock.listen(1)
    sock.settimeout(30 * orchrun_bench.PATIENCE)
    return sock


def _master(listener: socket.socket) -> tuple[int, str]:
    connection, _ = listener.accept()
    with connection:
        name, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(4))
    fds = array.array("i")
    fds.frombytes(ancillary[0][2][:4])
    return fds[0], name.decode()


def _read_until(master: int, text: bytes) -> bytes:
    said = b""
    while text not in said:
        assert select.select([master], [], [], 30 * orchrun_bench.PATIENCE)[0], said
        said += os.read(master, 4096)
    return said


def test_a_console_socket_gets_the_terminal_of_the_container(
    orchrun: Runtime, oracle: Runtime, bundles: Bundles, tmp_path: Path
) -> None:
    script = "tty; stty size; test -c /dev/console && echo console; read line; echo got $line"
    bundle = bundles.new("sh", "-c", script, process__terminal=True)
    said = []
    for runtime in (orchrun, oracle):
        with _listen(tmp_path / f"{runtime.name}.sock") as listener:
            where = str(tmp_path / f"{runtime.name}.sock")
            name, done = runtime.create(bundle, "--console-socket", where)
            assert done.code == 0, done.err
            master, _ = _master(listener)
        assert runtime("start", name).code == 0
        first = _read_until(master, b"console")
        os.write(master, b"hello\n")
        said.append(first + _read_until(master, b"got hello"))
        os.close(master)

    assert said[0] == said[1]


def test_exec_has_a_terminal_where_it_is_asked_for(
    orchrun: Runtime, bundles: Bundles, tmp_path: Path
) -> None:
    name = _started(orchrun, bundles)
    with _listen(tmp_path / "c.sock") as listener:
        words = ["exec", "-d", "-t", "--console-socket", str(tmp_path / "c.sock"), name]
        running = orchrun.open(*words, "sh", "-c", "tty; exec sleep 99")
        master, path = _master(listener)
        assert running.wait(30) == 0

    assert path.startswith("/dev/pts/")
    assert path.encode() in _read_until(master, b"\n")
    os.close(master)


def test_in_the_foreground_our_own_terminal_is_the_containers(orchrun: Runtime, bundles: Bundles) -> None:
    """Its size too, and what is typed; the code comes back, and our terminal is as it was."""
    name = _started(orchrun, bundles)
    pid, master = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 111, 0, 0))
        script = "stty size; read line; echo got $line; exit 5"
        os.execv(orchrun.command[0], [*orchrun.command, "exec", "-t", name, "sh", "-c", script])
    _read_until(master, b"33 111")
    os.write(master, b"typed\n")
    said = _read_until(master, b"got typed")

    assert b"got typed" in said
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
    os.close(master)


def test_a_terminal_without_anybody_to_take_it_is_refused(orchrun: Runtime, bundles: Bundles) -> None:
    _, done = orchrun.create(bundles.new("sh", process__terminal=True))

    assert done.code == 1
    assert "console socket" in done.err


def test_descriptors_go_along_only_when_told(
    orchrun: Runtime, oracle: Runtime, bundles: Bundles, tmp_path: Path
) -> None:
    (tmp_path / "passed").write_text("through")
    bundle = bundles.new("sh", "-c", "ls /proc/self/fd; cat <&3")
    for count, expected in (("0", ["0", "1", "2", "3"]), ("1", ["0", "1", "2", "3", "4"])):
        seen = []
        for runtime in (orchrun, oracle):
            words = ["run", "--preserve-fds", count, "--bundle", str(bundle), runtime.new()]
            opened = ["sh", "-c", 'exec 3<"$0"; exec "$@"', str(tmp_path / "passed"), *runtime.command]
            done = subprocess.run(
                [*opened, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
            )
            seen.append(done.stdout)
        assert seen[0] == seen[1]
        assert seen[0].split()[: len(expected)] == expected
        assert ("through" in seen[0]) == (count == "1")


def test_a_descriptor_that_is_not_open_is_named(orchrun: Runtime, bundles: Bundles) -> None:
    done = orchrun("run", "--preserve-fds", "40", "--bundle", str(bundles.new("true")), orchrun.new())

    assert done.code == 1
    assert "is not open" in done.err
