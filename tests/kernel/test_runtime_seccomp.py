"""Filters on a real kernel: what calls under them come to, and that containers have theirs."""

import asyncio
import errno
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.runtime import plan_seccomp
from agent.runtime.seccomp import compiler, default, machines
from tests.support import libseccomp

pytestmark = pytest.mark.root

_NUMBERS = machines.numbers(machines.native())
_NOTIFICATION_RECEIVE = 0xC0502100  # SECCOMP_IOCTL_NOTIF_RECV, 80 bytes
_NOTIFICATION_SEND = 0xC0182101  # SECCOMP_IOCTL_NOTIF_SEND, 24 bytes


def _probe(
    program: bytes, *calls: tuple[str, Any], flags: int = 0, foreign: bool = False
) -> tuple[int, dict[str, str]]:
    """How the prober ended, and what each call came to."""
    rows = [
        [name, _NUMBERS.get(name, -1) if not isinstance(number, int) else number] for name, number in calls
    ]
    asked = {"program": program.hex(), "flags": flags, "calls": rows, "foreign": foreign}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("syscall_probe.py"))],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    assert not done.stderr, done.stderr
    return done.returncode, dict(json.loads(line) for line in done.stdout.splitlines())


def _profile(action: str, *names: str, **others: Any) -> dict[str, Any]:
    rule = {"names": list(names), "action": action, **others}
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}


@pytest.mark.parametrize(
    ("action", "others", "ended", "outcome"),
    [
        ("SCMP_ACT_ALLOW", {}, 0, "done"),
        ("SCMP_ACT_LOG", {}, 0, "done"),
        ("SCMP_ACT_ERRNO", {}, 0, "Operation not permitted"),
        ("SCMP_ACT_ERRNO", {"errnoRet": errno.EXDEV}, 0, os.strerror(errno.EXDEV)),
        ("SCMP_ACT_TRACE", {}, 0, os.strerror(errno.ENOSYS)),  # nobody traces it
        ("SCMP_ACT_TRAP", {}, 0, "trapped"),
        ("SCMP_ACT_KILL_PROCESS", {}, -signal.SIGSYS, None),
        ("SCMP_ACT_KILL_THREAD", {}, -signal.SIGSYS, None),
    ],
)
def test_every_action_does_what_it_says(
    action: str, others: dict[str, Any], ended: int, outcome: str | None
) -> None:
    program = plan_seccomp.plan(_profile(action, "getppid", **others))["program"]

    code, found = _probe(program, ("getppid", None))

    assert (code, found.get("getppid")) == (ended, outcome)


def test_the_flags_are_taken_by_the_kernel() -> None:
    names = [f"SECCOMP_FILTER_FLAG_{name}" for name in ("TSYNC", "LOG", "SPEC_ALLOW")]
    made = plan_seccomp.plan(_profile("SCMP_ACT_ERRNO", "getppid") | {"flags": names})

    assert _probe(made["program"], ("getppid", None), flags=made["flags"])[1] == {
        "getppid": "Operation not permitted"
    }


def test_the_default_refuses_what_it_does_not_name_and_knows_nothing_newer() -> None:
    program = default.program([])

    code, found = _probe(program, ("getppid", None), ("add_key", None), ("keyctl", None), ("newer", 1000))

    assert code == 0
    assert found == {
        "getppid": "done",
        "add_key": "Operation not permitted",
        "keyctl": "Operation not permitted",
        "newer": "Function not implemented",
    }


@pytest.mark.skipif(machines.native() is not machines.X86_64, reason="needs x86-64")
def test_ways_round_the_numbers_are_shut() -> None:
    """x32's numbers, and the calls of 32-bit programs, which any program can make."""
    for program in (default.program([]), plan_seccomp.plan(_profile("SCMP_ACT_ERRNO", "getppid"))["program"]):
        code, found = _probe(program, ("x32", 0x40000000 | _NUMBERS["getpid"]), foreign=True)
        assert (code, found) == (-signal.SIGSYS, {"x32": "Function not implemented"})


@pytest.mark.skipif(machines.native() is not machines.X86_64, reason="libseccomp compiles for x86-64 here")
def test_the_kernel_answers_under_our_filter_as_under_libseccomps() -> None:
    config = default.of([], machines.native())
    harmless = ["getppid", "add_key", "keyctl", "bpf", "mount", "ptrace", "socket", "personality", "unshare"]
    harmless += [
        "io_uring_setup",
        "userfaultfd",
        "kexec_load",
        "setns",
        "clone3",
        "quotactl",
        "swapon",
        "chroot",
    ]
    calls = [(name, None) for name in harmless]

    ours = _probe(compiler.program(config), *calls)
    try:
        theirs = _probe(libseccomp.program(config), *calls)
    except libseccomp.Missing as missing:
        pytest.skip(str(missing))

    assert ours == theirs


async def test_a_container_and_what_is_run_in_it_are_filtered(bench: Any) -> None:
    running = await bench.launch("sleep", "60")
    read, write = os.pipe()
    try:
        command = ["sh", "-c", "grep -E '^(Seccomp|NoNewPrivs):' /proc/1/status /proc/self/status"]
        entered = await bench.runtime.enter(running.container, args=command, stdout=write)
        os.close(write)
        assert await entered.wait() == 0
        said = os.read(read, 1000).decode().split()
    finally:
        os.close(read)

    assert said[1::2] == ["1", "2"] * 2  # no_new_privs, and a filter


async def test_unconfined_is_no_filter(bench: Any) -> None:
    _, said = await bench.run("grep ^Seccomp: /proc/self/status", seccomp=b"")

    assert said.split() == ["Seccomp:", "0"]


async def test_a_user_without_no_new_privileges_is_filtered_too(bench: Any) -> None:
    _, said = await bench.run(
        "grep -hE '^(Seccomp|NoNewPrivs|CapEff):' /proc/self/status", uid=1000, no_new_privileges=False
    )

    assert said.split() == ["CapEff:", "0000000000000000", "NoNewPrivs:", "0", "Seccomp:", "2"]


async def test_a_profile_in_the_words_of_the_oci_holds_in_a_container(bench: Any) -> None:
    launch = bench.launch_of("sh", "-c", "mkdir /a 2> /dev/null; echo $?; touch /b; echo $?")
    launch.config["linux"]["seccomp"] = _profile("SCMP_ACT_ERRNO", "mkdir", "mkdirat", errnoRet=errno.EXDEV)

    running = await bench.runtime.launch(launch)

    assert (await bench.said(running.container)).splitlines() == ["1", "0"]


async def test_who_listens_gets_the_state_and_answers_for_the_kernel(bench: Any, tmp_path: Path) -> None:
    """A directory that the kernel never made: the listener said that it was done."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "seccomp.sock"))
        listener.listen()
        listener.settimeout(10 * bench.patience)
        launch = bench.launch_of("sh", "-c", "mkdir /made; echo $?; ls -d /made 2>&1; echo over")
        launch.config["linux"]["seccomp"] = _profile("SCMP_ACT_NOTIFY", "mkdir", "mkdirat") | {
            "listenerPath": str(tmp_path / "seccomp.sock"),
            "listenerMetadata": "mine",
        }
        answering = asyncio.create_task(asyncio.to_thread(_answer_one, listener))
        running = await bench.runtime.launch(launch)
        state = await answering

    assert state["fds"] == ["seccompFd"]
    assert (state["pid"], state["metadata"]) == (running.pid, "mine")
    assert state["state"]["pid"] == running.pid
    assert (await bench.said(running.container)).splitlines() == [
        "0",
        "ls: /made: No such file or directory",
        "over",
    ]


async def test_a_listener_that_is_not_there_is_named(bench: Any, tmp_path: Path) -> None:
    launch = bench.launch_of("true")
    path = str(tmp_path / "nobody.sock")
    launch.config["linux"]["seccomp"] = _profile("SCMP_ACT_NOTIFY", "mkdir") | {"listenerPath": path}

    with pytest.raises(Exception, match=rf"seccomp: connect to {path}"):
        await bench.runtime.launch(launch)


def _answer_one(listener: socket.socket) -> dict[str, Any]:
    """Take the state and the descriptor, and say to the first notification: done, it gave 0."""
    sock, _ = listener.accept()
    with sock:
        raw, (notifier,), _, _ = socket.recv_fds(sock, 65536, 4)
    try:
        notification = bytearray(80)
        fcntl.ioctl(notifier, _NOTIFICATION_RECEIVE, notification)
        (identity,) = struct.unpack_from("<Q", notification)
        fcntl.ioctl(notifier, _NOTIFICATION_SEND, struct.pack("<QqiI", identity, 0, 0, 0))
    finally:
        os.close(notifier)
    state: dict[str, Any] = json.loads(raw)
    return state
