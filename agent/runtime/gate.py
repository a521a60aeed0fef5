"""Between create and start: a container that is ready waits here until somebody lets it go.

The gate is a listening socket at a path. Whoever creates a container listens and hands the socket to the
child; whoever starts it connects. A connection that is refused is a container that has ended.
"""

import _socket
import os

from agent.runtime import handshake, packets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def listen(path: str) -> "_socket.socket":
    """The gate; its descriptor is the plan's `gate`. Close it once the child is born."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    with _Near(path) as near:
        sock.bind(near)
        os.chmod(path, 0o600)
    sock.listen(1)
    return sock


def wait(listener: int) -> "_socket.socket":
    """In the child: until the word to go has come; the conversation that hears how exec goes."""
    with_errors = _socket.socket(fileno=os.dup(listener))
    while True:
        fd, _ = with_errors._accept()  # type: ignore[attr-defined]  # noqa: SLF001  what socket.accept calls
        sock = _socket.socket(fileno=fd)
        try:
            if sock.recv(len(handshake.GO)) == handshake.GO:
                with_errors.close()
                os.close(listener)
                return sock
        except OSError:
            pass
        sock.close()  # it went away before it had said a word


def open_(path: str) -> "list[Any]":
    """Let it go: step and message when the payload could not be executed, nothing when it runs.

    ConnectionRefusedError and FileNotFoundError: nobody waits there (it has ended, or was started).
    """
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    with _Near(path) as near:
        sock.connect(near)
    try:
        sock.send(handshake.GO)
        return _hear(sock)
    except (BrokenPipeError, ConnectionResetError):
        return ["start", "the process was killed before it was started"]
    finally:
        sock.close()


def _hear(sock: "_socket.socket") -> "list[Any]":
    is_ready = False
    while heard := packets.receive(sock):
        packet, _ = heard
        if "step" in packet:
            return [packet["step"], packet["message"]]
        is_ready = is_ready or bool(packet.get("ready"))
    return [] if is_ready else ["start", "the process was killed before it was started"]


class _Near:
    """A path of a socket has at most 107 bytes: through its directory's descriptor any path is short."""

    def __init__(self, path: str) -> None:
        self.directory, self.name = os.path.split(path)
        self.fd = -1

    def __enter__(self) -> str:
        self.fd = os.open(self.directory or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self.fd}/{self.name}"

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)
