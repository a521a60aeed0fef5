"""orch-copy: a process of its own that reads or writes files of one container as a tar stream.

It joins the container's mounts (or removing a file that something is mounted on would take the mount away),
holds the root by descriptor and resolves every path below it in the kernel (openat2), so that no link of the
container, and no race for one, leads out. Where the container has users of its own, it becomes their root: what
it writes belongs to the container, and what the container's root may not, it may not. Once inside it imports
nothing any more.
"""

import os
import stat
import sys
from pathlib import Path
from typing import NoReturn

from agent.linux import constants as c
from agent.linux import syscalls
from agent.runtime import journal
from orch.archive import destination, pack, unpack
from orch.archive.failure import CopyFailed, of_system

_FAILED = 1
_INSIDE = c.RESOLVE_IN_ROOT | c.RESOLVE_NO_MAGICLINKS


def main(arguments: list[str]) -> None:
    """Arguments: pid, start time, `out` or `into`, path; for `into` also the words `as-is` and `contents`."""
    pid, start_time, way, path, *words = arguments
    try:
        root = _enter(int(pid), int(start_time))
        if way == "out":
            _send(root, path)
        else:
            _take(root, path, frozenset(words))
    except CopyFailed as failure:
        _end(str(failure))
    except BrokenPipeError:
        _end("the other side has gone")
    except OSError as error:
        _end(str(of_system(path, error)))


def _enter(pid: int, start_time: int) -> int:
    """A descriptor of the container's root, seen with its mounts; as its root user, where it has its own."""
    try:
        root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        mounts, users = (
            os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in ("mnt", "user")
        )
    except OSError:
        raise CopyFailed("the container has just ended") from None
    if journal.start_time(pid) != start_time:
        raise CopyFailed("the container has just ended")
    has_own_users = not os.path.samestat(os.fstat(users), Path("/proc/self/ns/user").stat())
    for searched in (sys.path, sys.meta_path, sys.path_hooks):
        searched.clear()  # what lies at those places now is the container's
    syscalls.setns(mounts, c.CLONE_NEWNS)
    if has_own_users:
        syscalls.setns(users, c.CLONE_NEWUSER)
        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    os.close(users)
    os.close(mounts)
    os.umask(0o022)
    return root


def _send(root: int, path: str) -> None:
    found = _open(root, path, os.O_PATH)
    kind = os.fstat(found).st_mode
    os.close(found)
    if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
        raise CopyFailed(f"{path}: neither a file nor a directory")
    source = _open(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    pack.pack(sys.stdout.buffer, source, destination.name_of(path), _warn)
    sys.stdout.buffer.flush()


def _take(root: int, path: str, words: frozenset[str]) -> None:
    goal = destination.goal(path, _there(root, path), contents="contents" in words, as_is="as-is" in words)
    try:
        directory = _open(root, goal.directory, os.O_RDONLY | os.O_DIRECTORY)
    except CopyFailed as failure:
        raise CopyFailed(f"{failure}: make the directory first") from None
    into = unpack.Into(directory, goal.rename, goal.takes_directory, goal.takes_file, path)
    unpack.unpack(sys.stdin.buffer, into, _warn)


def _open(root: int, path: str, flags: int) -> int:
    try:
        return syscalls.openat2(root, path, flags | os.O_CLOEXEC, _INSIDE)
    except OSError as error:
        raise of_system(path, error) from error


def _there(root: int, path: str) -> destination.There:
    try:
        fd = syscalls.openat2(root, path, os.O_PATH | os.O_CLOEXEC, _INSIDE)
    except FileNotFoundError:
        return "nothing"
    try:
        return "directory" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file"
    finally:
        os.close(fd)


def _warn(sentence: str) -> None:
    sys.stderr.write(f"warning: {sentence}\n")


def _end(sentence: str) -> NoReturn:
    sys.stderr.write(f"error: {sentence}\n")
    sys.stderr.flush()
    os._exit(_FAILED)  # nothing more is flushed into a stream that is over


if __name__ == "__main__":
    main(sys.argv[1:])
