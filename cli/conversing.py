"""What a user sends while a stream with a container is open: bounded, so that nothing piles up here."""

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

from cli.exits import NotSo

_MOST_WAITING = 16
NOT_STARTED = 126


class Outgoing:
    """Chunks of input from one thread, sizes of the terminal from a signal handler, read by a third one."""

    def __init__(self) -> None:
        self._chunks: queue.Queue[bytes | None] = queue.Queue(_MOST_WAITING)
        self._something = threading.Semaphore(0)
        self._size: tuple[int, int] | None = None

    def put(self, chunk: bytes | None) -> None:
        """None is the end. Waits while the other side does not take more."""
        self._chunks.put(chunk)
        self._something.release()

    def put_size(self, rows: int, columns: int) -> None:
        """Never waits: a newer size replaces one that was not sent yet."""
        self._size = (rows, columns)
        self._something.release()

    def requests(self, **start: Any) -> Iterator[Any]:
        """Messages ExecInput: the first as given, then all that comes."""
        from orch.v1 import control_pb2 as pb

        yield pb.ExecInput(**start)
        while True:
            self._something.acquire()
            size, self._size = self._size, None
            if size is not None:
                yield pb.ExecInput(resize=pb.TerminalSize(rows=size[0], columns=size[1]))
                continue
            try:
                chunk = self._chunks.get_nowait()
            except queue.Empty:
                continue  # a size that a newer one replaced
            yield pb.ExecInput(stdin_closed=True) if chunk is None else pb.ExecInput(stdin=chunk)


def hear(
    replies: Iterator[Any], on_stdout: Callable[[bytes], None], on_stderr: Callable[[bytes], None]
) -> Any:
    """Gives away what comes, and returns the ExecEnd. Raises NotSo when the connection ends before it."""
    for reply in replies:
        match reply.WhichOneof("kind"):
            case "stdout":
                on_stdout(reply.stdout)
            case "stderr":
                on_stderr(reply.stderr)
            case "end":
                return reply.end
    raise NotSo(
        "error: the node ended the connection (its agent restarts?) before the command did; "
        "what became of it is unknown"
    )
