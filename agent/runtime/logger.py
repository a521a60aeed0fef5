"""orch-log: pumps the output of containers into files, and knows how they ended when the shim is away.

One thread, one epoll loop. Every ready stream gets one chunk a turn, so that a flood of one container
delays nobody else, and nothing is buffered here: what was not read waits in the kernel's pipe.
"""

import _socket
import fcntl
import gc
import os
import select
import time

from agent.linux import syscalls
from agent.runtime import cgroup, exits, logfile, packets, scratch
from agent.runtime.eventloop import Loop
from agent.runtime.logfile import LogFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Packet = dict[str, Any]

_CHUNK_BYTES = 64 << 10
_NICE = 5


class Output:
    """The two streams of one container, its file, and a pidfd to know its end by."""

    __slots__ = ("at", "fifos", "file", "name", "pid", "pidfd", "start_time", "status", "terminal")

    def __init__(self, packet: "Packet", pidfd: int, terminal: int, passed: list[int]) -> None:
        """`passed`: its FIFOs, which may have no names any more; a shim of an older version passes none."""
        self.name: str = packet["container"]
        self.pid: int = packet["pid"]
        self.start_time: int = packet["start_time"]
        self.pidfd = pidfd
        self.status: int | None = None
        self.at = 0.0
        self.file: LogFile | None = None
        self.fifos: dict[int, bytes] = {}
        self.terminal = terminal
        os.makedirs(packet["directory"], 0o750, exist_ok=True)
        path = f"{packet['directory']}/{self.name}.log"
        if packet["is_terminal"]:
            if terminal >= 0:
                os.set_blocking(terminal, False)
                self.fifos[terminal] = b"stdout"
        else:
            directory = packet["fifos"]
            places = [f"/proc/self/fd/{fd}" for fd in passed] or [
                f"{directory}/stdout",
                f"{directory}/stderr",
            ]
            for stream, place in zip((b"stdout", b"stderr"), places, strict=True):
                self.fifos[os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)] = stream
        self.file = LogFile(path, packet["max_bytes"], packet["files"])


class Logger:
    def __init__(self, listener: int, scratch_path: str) -> None:
        self.loop = Loop()
        self.scratch = scratch.Scratch(scratch_path)
        if was := self.scratch.interrupted():
            try:
                logfile.write_again(*was)
            except OSError as error:
                _complain(f"output is lost: {error}")
            self.scratch.done()
        self.outputs: dict[str, Output] = {}
        self.listener = _socket.socket(fileno=listener)
        self.loop.watch(self.listener.fileno(), self._welcome)

    def run(self) -> None:
        gc.freeze()
        self.loop.run()

    def _welcome(self, _: int) -> None:
        sock = packets.accept(self.listener)
        self.loop.watch(sock.fileno(), lambda _: self._hear(sock))

    def _hear(self, sock: "_socket.socket") -> None:
        try:
            heard = packets.receive(sock)
        except OSError:
            heard = None
        if heard is None:
            self.loop.forget(sock.fileno())
            sock.close()
            return
        packet, fds = heard
        match packet["op"]:
            case "attach":
                pidfd = fds.pop(0) if packet["has_pidfd"] else -1
                terminal = fds.pop(0) if packet["is_terminal"] and fds else -1
                self._attach(packet, pidfd, terminal, fds)
                for fd in fds:
                    os.close(fd)
            case "terminal":
                output = self.outputs.get(packet["container"])
                kept = output.terminal if output else -1
                packets.send(sock, {}, (kept,) if kept >= 0 else ())
            case "forget":
                self._forget(packet["container"])
            case "exits":
                seen = {name: [out.status, out.at] for name, out in self.outputs.items() if out.at}
                packets.send(sock, {"exits": seen})
            case "quit":
                packets.send(sock, {"id": packet["id"]})
                self.loop.stopped = True
            case _:
                return

    def _attach(self, packet: "Packet", pidfd: int, terminal: int, passed: list[int]) -> None:
        if packet["container"] in self.outputs:
            for fd in (pidfd, terminal):
                if fd >= 0:
                    os.close(fd)
            return
        try:
            output = Output(packet, pidfd, terminal, passed)
        except OSError as error:
            _complain(f"output of {packet['container']} is not written: {error}")
            for fd in (pidfd, terminal):
                if fd >= 0:
                    os.close(fd)
            return
        self.outputs[output.name] = output
        for fd in output.fifos:
            self._watch_stream(output, fd)
        if pidfd < 0:
            self._finish(output)
            return
        self.loop.watch(pidfd, lambda events: self._ended(output, events))

    def _watch_stream(self, output: Output, fd: int) -> None:
        def pump(_: int) -> None:
            self._pump(output, fd)

        self.loop.watch(fd, pump)

    def _pump(self, output: Output, fd: int) -> bool:
        """One chunk; whether there was one."""
        try:
            chunk = self._take(output, fd)
        except BlockingIOError:
            return False
        if not chunk:
            self.loop.forget(fd)  # every writer is gone; what ends the container is its pidfd
            return False
        if output.file:
            try:
                output.file.write(output.fifos[fd], chunk)
            except OSError as error:
                # A full disk must not stop the container: its output is lost, and that is said.
                _complain(f"output of {output.name} is lost: {error}")
            self.scratch.done()
        return True

    def _take(self, output: Output, fd: int) -> bytes:
        """Out of a pipe, so that a kill of this process loses nothing; out of a terminal that cannot be."""
        log = output.file
        if log and fd != output.terminal:
            try:
                log.make_room()
                return self.scratch.take(fd, _CHUNK_BYTES, log.path, log.size, output.fifos[fd])
            except BlockingIOError:
                raise
            except OSError as error:  # no memory for the file in between
                _complain(f"a kill would lose output of {output.name} now: {error}")
        try:
            return os.read(fd, _CHUNK_BYTES)
        except BlockingIOError:
            raise
        except OSError:  # how a terminal says that nobody is on its other side
            return b""

    def _ended(self, output: Output, events: int) -> None:
        status = exits.of_stranger(output.pidfd, output.pid, output.start_time)
        if not output.at:
            output.at = time.time()
            self._finish(output)
        output.status = status
        if status is None and events & select.EPOLLIN and not events & select.EPOLLHUP:
            self.loop.change(output.pidfd, 0)  # the kernel wakes us again when its parent has reaped it
            return
        self.loop.forget(output.pidfd)

    def _finish(self, output: Output) -> None:
        """Its processes are dead: what is in the pipes now is all there will ever be."""
        for fd in output.fifos:
            while self._pump(output, fd):
                pass
            self.loop.forget(fd)
            os.close(fd)
        output.fifos = {}
        output.terminal = -1
        if output.file:
            output.file.finish()
            output.file.close()
            output.file = None

    def _forget(self, name: str) -> None:
        output = self.outputs.pop(name, None)
        if output is None:
            return
        self._finish(output)
        if output.pidfd >= 0:
            self.loop.forget(output.pidfd)
            os.close(output.pidfd)


def main(arguments: list[str]) -> None:
    """Arguments: run directory, state directory, cgroup root, descriptor to listen on."""
    run_dir, _, cgroup_root, listener = arguments
    lock = os.open(f"{run_dir}/log.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.set_inheritable(int(listener), False)
    syscalls.name_process("orch-log")
    os.nice(_NICE)  # a flood is written when nobody else needs the processor
    cgroup.join_helpers(cgroup.detect(), cgroup_root)
    os.umask(0o027)  # not before: who has users of its own must be able to pass the groups above its own
    Logger(int(listener), f"{run_dir}/log.scratch").run()


def _complain(sentence: str) -> None:
    os.write(2, f"orch-log: {sentence}\n".encode())
