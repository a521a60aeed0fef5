"""Reading and writing the files of a cgroup. Imported by the shim: no heavy imports."""

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_MOST_BYTES = 65536


class Refused(OSError):
    """The kernel does not take a limit; `filename` holds the sentence that says which."""


def apply(rows: "Iterable[list[str]]", directory_of: "Callable[[str], str]") -> None:
    """Write all rows. Some depend on what others replace, so what is refused at first is tried once more."""
    later = []
    for row in rows:
        if row[1].startswith("?"):
            _check(row, directory_of(row[0]))
            continue
        try:
            _apply(row, directory_of(row[0]))
        except Refused as error:
            if error.errno not in {errno.EINVAL, errno.EBUSY}:
                raise
            later.append(row)
    for row in later:
        _apply(row, directory_of(row[0]))


def _apply(row: "list[str]", directory: str) -> None:
    _, files, values, key = row
    names = files.split("|")
    for name, value in zip(names, values.split("|") if len(names) > 1 else [values], strict=True):
        path = f"{directory}/{name}"
        try:
            write(path, value)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise Refused(error.errno, error.strerror, f"{key or name} {value!r} in {path}") from None
        return
    if key:
        raise Refused(errno.ENOENT, "missing", f"{key}: this kernel has no {' nor '.join(names)}")


def _check(row: "list[str]", directory: str) -> None:
    _, file, most, key = row
    used = number(f"{directory}/{file[1:]}")
    if used > int(most):
        raise Refused(errno.EBUSY, "in use", f"{key} {most} is below the {used} that are used already")


def read(path: str) -> str:
    """The content, or nothing: a group that is gone has no processes and uses nothing."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    try:
        found = os.read(fd, _MOST_BYTES)
        while len(found) >= _MOST_BYTES and (more := os.read(fd, _MOST_BYTES)):
            found += more
        return found.decode()
    except OSError:  # ENODEV: removed between open and read; EOPNOTSUPP: not for this group
        return ""
    finally:
        os.close(fd)


def write(path: str, value: "int | str") -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, str(value).encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        os.close(fd)


def number(path: str) -> int:
    """0 where there is none; -1 for "max"."""
    found = read(path).strip()
    return -1 if found == "max" else int(found or 0)


def field(path: str, name: str) -> int:
    """The number behind a name in a file of such lines."""
    for line in read(path).splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0


def pids(path: str) -> list[int]:
    return [int(line) for line in read(f"{path}/cgroup.procs").split()]


def tree(path: str) -> list[str]:
    """The group and all below it, each after the one that holds it; a container may nest them deep."""
    found = [path]
    for one in found:
        found += [f"{one}/{child}" for child in children(one)]
    return found


def tree_pids(path: str) -> list[int]:
    """Also of the groups below."""
    return [pid for one in tree(path) for pid in pids(one)]


def open_doors(paths: "Iterable[str]") -> list[int]:
    """Where who joins writes; all or none."""
    opened: list[int] = []
    try:
        for path in paths:
            opened.append(os.open(path, os.O_WRONLY | os.O_CLOEXEC))  # noqa: PERF401  what is open must be closed
    except OSError:
        for fd in opened:
            os.close(fd)
        raise
    return opened


def children(path: str) -> list[str]:
    try:
        return [entry.name for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def names(path: str) -> list[str]:
    """Of its files and groups; none of a group that is gone."""
    try:
        return os.listdir(path)
    except FileNotFoundError:
        return []


def mkdir(path: str) -> bool:
    """Whether it is new.

    Whatever our umask, others may pass: a container in a user namespace that mounts its own group is led
    there from the top with its own privileges.
    """
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        return False
    if os.stat(path).st_mode & 0o777 != 0o755:
        os.chmod(path, 0o755)
    return True


def makedirs(mount: str, group: str) -> None:
    """From below: usually only the last one or two are missing."""
    path = f"{mount}/{group}"
    try:
        mkdir(path)
    except FileNotFoundError:
        above, _, _ = group.rpartition("/")
        if not above:
            raise
        makedirs(mount, above)
        mkdir(path)


def rmdir(path: str) -> bool:
    """Whether it is gone; not while there are processes or groups in it."""
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in {errno.EBUSY, errno.ENOTEMPTY}:
            return False
        raise
    return True


def kill(path: str) -> None:
    """Every process in the group and below, also those being born."""
    if os.path.exists(f"{path}/cgroup.kill"):
        try:
            write(f"{path}/cgroup.kill", "1")
        except OSError as error:  # systemd may remove a group as soon as it is empty
            if error.errno not in {errno.ENOENT, errno.ENODEV}:
                raise
        return
    for one in reversed(tree(path)):
        _kill_members(one)


def _kill_members(path: str) -> None:
    for _ in range(100):  # a fork bomb is behind its pids limit; a hundred rounds are plenty
        found = pids(path)
        if not found:
            return
        for pid in found:
            try:
                os.kill(pid, 9)  # SIGKILL; the module signal would pull in enum
            except ProcessLookupError:
                continue
