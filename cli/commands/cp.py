"""orchctl cp: files between this machine and a container."""

import os
import stat
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from cli import conversing, references, session
from cli.exits import NotSo, Wrong

_STREAM = "-"
_CHUNK_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class _Place:
    """`web.1:/etc/hosts`, or a path here where `task` is empty."""

    task: str
    path: str


@click.command()
@click.option("-c", "--container", default="", help="Which container.  [default: the first]")
@click.argument("source", metavar="SOURCE")
@click.argument("target", metavar="TARGET")
@session.connected
def command(session_: session.Session, container: str, source: str, target: str) -> int:
    """Copy a file or a directory; one of SOURCE and TARGET is TASK:PATH or SERVICE:PATH.

    As `docker cp`: a directory goes into a target that exists, `dir/.` means what is in it, and `-` is a tar
    stream. The container needs neither tar nor a shell.

    \b
    orchctl cp web.2:/var/log/app.log .
    orchctl cp ./site web.2:/srv/
    orchctl cp web.2:/srv - | tar t
    """
    there, here = _place(source), _place(target)
    if bool(there.task) == bool(here.task):
        raise Wrong("one of SOURCE and TARGET is in a container: TASK:PATH (web.2:/etc/hosts)")
    if there.task:
        return _fetch(session_, there, container, here.path)
    return _bring(session_, source, here, container)


def _place(word: str) -> _Place:
    """A path here begins with / or ., or has no colon."""
    name, colon, path = word.partition(":")
    if not colon or word.startswith(("/", ".")) or not name:
        return _Place("", word)
    if not path:
        raise Wrong(f"{word} names no path: write {word}/path")
    return _Place(references.name_of(name, references.TASK, references.SERVICE)[1], path)


# -- out of the container -----------------------------------------------------------------------------


def _fetch(session_: session.Session, there: _Place, container: str, target: str) -> int:
    from orch.archive import destination
    from orch.v1 import control_pb2 as pb

    start = pb.CopyStart(
        namespace=session_.in_namespace(), task=there.task, container=container, path=there.path
    )
    outgoing = conversing.Outgoing()
    outgoing.put(None)
    replies = session_.client.converse("Exec", outgoing.requests(copy=start))
    if target == _STREAM:
        if sys.stdout.isatty():
            raise Wrong("a tar stream is nothing for a terminal: | tar t, or > FILE")
        return _over(conversing.hear(replies, _write_out, _say))
    receiver = _Receiver(target, contents=destination.source(there.path).contents)
    try:
        end = conversing.hear(replies, receiver.take, receiver.hold)
    finally:
        problem = receiver.end()
    if problem:
        raise NotSo(f"error: {problem}")
    sys.stderr.write(receiver.held)
    return _over(end)


class _Receiver:
    """Unpacks in a thread of its own what comes in chunks."""

    def __init__(self, target: str, *, contents: bool) -> None:
        reading, self._writing = os.pipe2(os.O_CLOEXEC)
        self._problem = ""
        self._has_any = False
        self.held = ""
        self._thread = threading.Thread(target=self._unpack, args=(reading, target, contents))
        self._thread.start()

    def take(self, chunk: bytes) -> None:
        self._has_any = True
        view = memoryview(chunk)
        while view:
            try:
                view = view[os.write(self._writing, view) :]
            except BrokenPipeError:
                raise NotSo(f"error: {self._problem or 'it could not be unpacked'}") from None

    def hold(self, words: bytes) -> None:
        """What the other side says of it, shown when it is over."""
        self.held += words.decode(errors="replace")

    def end(self) -> str:
        """What was wrong here; an empty stream is the other side's to explain."""
        os.close(self._writing)
        self._thread.join()
        return self._problem if self._has_any else ""

    def _unpack(self, reading: int, target: str, contents: bool) -> None:
        from orch.archive import destination, unpack
        from orch.archive.failure import CopyFailed, of_system

        with os.fdopen(reading, "rb") as stream:
            try:
                goal = destination.goal(target, _there(target), contents=contents, as_is=False)
                directory = os.open(goal.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    into = unpack.Into(directory, goal.rename, goal.takes_directory, goal.takes_file, target)
                    unpack.unpack(stream, into, _warn)
                finally:
                    os.close(directory)
                while stream.read(_CHUNK_BYTES):  # the padding after the end of the archive
                    pass
            except CopyFailed as failure:
                self._problem = str(failure)
            except OSError as error:
                self._problem = str(of_system(target, error))


# -- into the container -------------------------------------------------------------------------------


def _bring(session_: session.Session, source: str, there: _Place, container: str) -> int:
    from orch.archive import destination
    from orch.v1 import control_pb2 as pb

    outgoing = conversing.Outgoing()
    start = pb.CopyStart(
        namespace=session_.in_namespace(),
        task=there.task,
        container=container,
        path=there.path,
        into=True,
        as_is=source == _STREAM,
        contents=destination.source(source).contents,
    )
    sender = _Sender(outgoing, source)
    end = conversing.hear(session_.client.converse("Exec", outgoing.requests(copy=start)), _write_out, _say)
    if sender.problem:
        raise NotSo(f"error: {sender.problem}")
    return _over(end)


class _Sender:
    """Packs in a thread of its own, which waits while the node does not take more and ends with the program."""

    def __init__(self, outgoing: conversing.Outgoing, source: str) -> None:
        self.problem = ""
        self._outgoing = outgoing
        if source == _STREAM:
            if sys.stdin.isatty():
                raise Wrong("- reads a tar stream from stdin, and this is a terminal")
            run, arguments = self._pass_on, (sys.stdin.fileno(),)
        else:
            run, arguments = self._pack, (_open(source), source)  # type: ignore[assignment]
        threading.Thread(target=run, args=arguments, daemon=True).start()

    def write(self, chunk: bytes) -> int:
        """As a file, for the archive."""
        for begin in range(0, len(chunk), _CHUNK_BYTES):
            self._outgoing.put(bytes(chunk[begin : begin + _CHUNK_BYTES]))
        return len(chunk)

    def _pass_on(self, stdin: int) -> None:
        while chunk := os.read(stdin, _CHUNK_BYTES):
            self._outgoing.put(chunk)
        self._outgoing.put(None)

    def _pack(self, fd: int, source: str) -> None:
        from orch.archive import destination, pack
        from orch.archive.failure import CopyFailed

        try:
            pack.pack(self, fd, destination.name_of(str(Path(source).absolute())), _warn)
        except (CopyFailed, OSError) as error:
            self.problem = str(error)
        self._outgoing.put(None)


def _open(source: str) -> int:
    fd = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    kind = os.fstat(fd).st_mode
    if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
        raise Wrong(f"{source}: neither a file nor a directory")
    return fd


# -- both ways ----------------------------------------------------------------------------------------


def _there(path: str) -> Any:
    if Path(path).is_dir():
        return "directory"
    return "file" if os.path.lexists(path) else "nothing"


def _over(end: Any) -> int:
    if end.problem:
        raise NotSo(f"error: {end.problem}")
    return int(end.exit_code)


def _write_out(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _say(data: bytes) -> None:
    sys.stderr.write(data.decode(errors="replace"))


def _warn(sentence: str) -> None:
    sys.stderr.write(f"warning: {sentence}\n")
