"""orchrun's terminals and descriptors: who gets them, and which go along."""

import array
import fcntl
import os
import pty
import select
import socket
import struct
import subprocess
import termios
from pathlib import Path

import pytest

from tests.kernel import orchrun_bench
from tests.kernel.orchrun_bench import Bundles, Runtime, sleeping

pytestmark = pytest.mark.root


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
    name = sleeping(orchrun, bundles)
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
    name = sleeping(orchrun, bundles)
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
