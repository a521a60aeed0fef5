"""`orchctl attach`: the main process's output as it comes, and its terminal to type into."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time

import pytest

from tests.support import dev
from tests.support.dev import Dev

pytestmark = pytest.mark.cluster

SERVICE = """
apiVersion: orch/v1
kind: Service
metadata: {{name: {name}}}
spec:
  image: REGISTRY/web:1
  entrypoint: [/bin/sh]
  {body}
  restart: {{policy: never}}
  stop: {{drainDelay: 0s, gracePeriod: 1s}}
  rollout: {{minReady: 0s}}
"""


class Terminal:
    """orchctl with a user at a terminal."""

    def __init__(self, cluster: Dev, *arguments: str) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 31, 97, 0, 0))
        environment = os.environ | {"ORCH_CONFIG": str(cluster.config)}
        self.process = subprocess.Popen(
            [dev.ORCHCTL, *arguments],
            env=environment,
            preexec_fn=lambda: os.login_tty(slave),  # noqa: PLW1509
        )
        os.close(slave)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def expect(self, words: str) -> None:
        deadline = time.monotonic() + 30
        while words not in self.seen:
            ready, _, _ = select.select([self.master], [], [], max(deadline - time.monotonic(), 0))
            assert ready, f"{words!r} never came: {self.seen!r}"
            try:
                self.seen += os.read(self.master, 65536).decode(errors="replace")
            except OSError:
                raise AssertionError(f"it ended without {words!r}: {self.seen!r}") from None
        self.seen = self.seen[self.seen.index(words) + len(words) :]

    def end(self) -> int:
        try:
            return self.process.wait(timeout=20)
        finally:
            self.process.kill()
            os.close(self.master)


def test_a_shell_with_a_terminal_is_typed_into_left_and_found_again(cluster: Dev) -> None:
    cluster.apply(SERVICE.format(name="console", body="tty: true"))
    first = Terminal(cluster, "attach", "-it", "console")
    first.type("stty size; X=kept; echo $((40+2))\n")
    first.expect("31 97")
    first.expect("42")
    first.type("\x10\x11")
    first.expect("detached from console; it goes on")
    assert first.end() == 0

    again = Terminal(cluster, "attach", "-it", "task/console.1")
    again.type("echo $((1+1))nd; sleep 100\n")
    again.expect("2nd")
    time.sleep(0.3)  # a Ctrl-C that comes before the sleep would end nothing
    again.type("\x03")
    again.type("echo $X-$?\n")
    again.expect("kept-130")
    again.type("exit 7\n")
    assert again.end() == 7
    assert "a terminal" in cluster.orchctl("describe", "svc/console")


def test_a_process_without_a_terminal_is_watched_to_the_byte(cluster: Dev) -> None:
    script = "command: ['-c', 'while :; do printf tick.; printf tock. >&2; sleep 0.2; done']"
    cluster.apply(SERVICE.format(name="clock", body=script))
    environment = os.environ | {"ORCH_CONFIG": str(cluster.config)}
    process = subprocess.Popen(
        [dev.ORCHCTL, "attach", "clock"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.read(15) == b"tick.tick.tick."  # no line ever ends
    finally:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert said.startswith(b"tock.tock.")
    assert "set stdin: true (or tty: true) in its manifest" in cluster.orchctl(
        "attach", "-i", "clock", expect=1
    )
    assert "1/1" in cluster.orchctl("get", "svc", "clock"), "it goes on"


def test_a_process_that_keeps_its_input_open_is_written_to_by_one_after_the_other(cluster: Dev) -> None:
    """As `docker run -i`: who writes comes and goes, and the process never sees the end of its input."""
    script = (
        "command: ['-c', 'while read line; do echo got $line; [ $line != bye ] || exit 5; done; echo ended']"
    )
    cluster.apply(SERVICE.format(name="inbox", body=f"stdin: true\n  {script}"))
    environment = os.environ | {"ORCH_CONFIG": str(cluster.config)}

    def attached() -> subprocess.Popen[bytes]:
        command = [dev.ORCHCTL, "attach", "-i", "inbox"]
        return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    user = Terminal(cluster, "attach", "-it", "inbox")
    user.expect("has no terminal: set tty: true in its manifest, or leave out -t")
    assert user.end() == 1

    first = attached()
    try:
        assert first.stdin is not None
        assert first.stdout is not None
        first.stdin.write(b"one\n")
        first.stdin.close()  # the end of what we have is not the end of the process's input
        assert first.stdout.readline() == b"got one\n"
    finally:
        first.send_signal(signal.SIGINT)
        first.wait(20)
    second = attached()
    said, _ = second.communicate(b"bye\n", timeout=60)
    assert (said, second.returncode) == (b"got bye\n", 5)
    assert "an open standard input" in cluster.orchctl("describe", "svc/inbox")
