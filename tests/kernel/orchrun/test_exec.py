"""orchrun's exec beside runc's and crun's: what a second process is given, and how its end is told."""

import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from agent.linux import constants as c
from agent.linux import syscalls
from tests.kernel.orchrun_bench import Bundles, Done, Runtime, sleeping, wait_until

pytestmark = pytest.mark.root


def _both(
    orchrun: Runtime, oracle: Runtime, bundles: Bundles, *words: str, **changes: Any
) -> tuple[Done, Done]:
    names = {one: sleeping(one, bundles, **changes) for one in (orchrun, oracle)}
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
    names = {one: sleeping(one, bundles) for one in (orchrun, runc)}
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
        name = sleeping(orchrun, bundles)
        assert orchrun("exec", name, "nosuch").code == 255

        orchrun("kill", name, "KILL")

        wait_until(lambda: orchrun.state(name) == "stopped")
    finally:
        syscalls.prctl(c.PR_SET_CHILD_SUBREAPER, 0)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                continue


def test_a_detached_exec_goes_on(orchrun: Runtime, bundles: Bundles, tmp_path: Path) -> None:
    name, where = sleeping(orchrun, bundles), tmp_path / "pid"
    words = ["exec", "--detach", "--pid-file", str(where), name, "sleep", "999"]

    subprocess.run([*orchrun.command, *words], check=True, stdout=subprocess.DEVNULL)

    pid = int(where.read_text())
    assert (Path("/proc") / str(pid) / "cmdline").read_bytes() == b"sleep\x00999\x00"
    assert pid in orchrun("ps", "-f", "json", name).json()
    os.kill(pid, signal.SIGKILL)
