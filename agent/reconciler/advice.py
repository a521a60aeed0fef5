"""A start that failed, once more in words that say what to do: from what the service asks for and the image has."""

import difflib
import os
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from agent.linux import constants as c
from agent.linux import syscalls
from agent.runtime.container import LaunchFailed
from orch.model.container import ContainerSpec
from orch.model.quantity import format_bytes

LEAST_MEMORY_BYTES = 2 << 20
"""Below this nothing starts; a shell takes several times as much."""
LEAST_PIDS = 2
_LIKELY = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/app", "/opt", "/")
_MOST_ENTRIES = 5000
_LIKE_ENOUGH = 0.5


def of(
    failure: LaunchFailed, spec: ContainerSpec, layers: Sequence[str], process: Mapping[str, Any]
) -> LaunchFailed:
    """The same failure, said better where more is known here than in the container. `process`: the OCI's."""
    match failure.step:
        case "exec" if _is_missing(failure.message):
            return _exec(failure, layers, process["args"][0])
        case "start" | "cgroup":
            return _limits(failure, spec)
        case "cwd":
            return _directory(failure, process["cwd"], layers)
        case "mounts" if failure.message.startswith("bind "):
            more = "make it there, or let placement choose a node that has it"
            return _said(failure, f"{failure.message}: {more}")
    return failure


def _is_missing(message: str) -> bool:
    return "no such file in the image" in message or "not found in PATH" in message


def _exec(failure: LaunchFailed, layers: Sequence[str], name: str) -> LaunchFailed:
    nearest = nearest_program(layers, name)
    if not nearest:
        return _said(failure, f"{failure.message}; set command or entrypoint to a file that the image has")
    what = failure.message.partition(";")[0]
    return _said(failure, f"{what}; the image has {nearest}: did you mean that?")


def nearest_program(layers: Sequence[str], name: str) -> str:
    """The file of the image that is most like it: the same name elsewhere, or nearly the same one; or nothing."""
    base = posixpath.basename(name)
    places = dict.fromkeys([posixpath.dirname(name) or "/bin", *_LIKELY])
    found = [posixpath.join(place, each) for place in places for each in sorted(_names_in(layers, place))]
    same = [path for path in found if posixpath.basename(path) == base and path != name]
    if same:
        return same[0]
    close = difflib.get_close_matches(base, {posixpath.basename(path) for path in found}, 1, _LIKE_ENOUGH)
    return next((path for path in found if close and posixpath.basename(path) == close[0]), "")


def _names_in(layers: Sequence[str], directory: str) -> set[str]:
    """What a directory of the image holds that could be run."""
    return {name for layer in layers for name in _runnable(layer, directory)}


def _runnable(layer: str, directory: str) -> Iterator[str]:
    """Links are followed inside this layer only: it is a stranger's."""
    root = os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        inside = c.RESOLVE_IN_ROOT | c.RESOLVE_NO_MAGICLINKS
        fd = syscalls.openat2(root, directory.lstrip("/") or ".", os.O_RDONLY | os.O_DIRECTORY, inside)
    except OSError:
        return
    finally:
        os.close(root)
    try:
        with os.scandir(fd) as entries:
            for entry in _first(entries, _MOST_ENTRIES):
                is_link = entry.is_symlink()
                if is_link or (entry.is_file(follow_symlinks=False) and entry.stat().st_mode & 0o111):
                    yield entry.name
    finally:
        os.close(fd)


def _first(entries: Iterable[os.DirEntry[str]], most: int) -> Iterator[os.DirEntry[str]]:
    yield from (entry for _, entry in zip(range(most), entries, strict=False))


def hopeless(spec: ContainerSpec) -> LaunchFailed | None:
    """Why it need not be tried: below this limit a start ends somewhere on its way, each time elsewhere."""
    memory = spec.resources.limits.memory
    if not memory or memory >= LEAST_MEMORY_BYTES:
        return None
    return LaunchFailed(
        "limits",
        f"memory limit {format_bytes(memory)} is below the {format_bytes(LEAST_MEMORY_BYTES)} that a "
        "start needs: raise resources.limits.memory (a shell alone takes some 6Mi)",
    )


def _limits(failure: LaunchFailed, spec: ContainerSpec) -> LaunchFailed:
    limits = spec.resources.limits
    if limits.pids and limits.pids < LEAST_PIDS:
        return LaunchFailed(
            "limits", f"pids limit {limits.pids} leaves nothing to start with: raise resources.limits.pids"
        )
    asked = [f"memory {format_bytes(limits.memory)}"] if limits.memory else []
    asked += [f"pids {limits.pids}"] if limits.pids else []
    return _said(failure, f"{failure.message} (limits: {', '.join(asked)})") if asked else failure


def _directory(failure: LaunchFailed, path: str, layers: Sequence[str]) -> LaunchFailed:
    if not _is_file(layers, path):
        return failure
    return _said(failure, f"workingDir {path}: it is a file in the image, and must be a directory")


def _is_file(layers: Sequence[str], path: str) -> bool:
    for layer in reversed(layers):
        root = os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            inside = c.RESOLVE_IN_ROOT | c.RESOLVE_NO_MAGICLINKS
            os.close(syscalls.openat2(root, path.lstrip("/"), os.O_PATH | os.O_DIRECTORY, inside))
        except NotADirectoryError:
            return True
        except OSError:
            continue
        else:
            return False
        finally:
            os.close(root)
    return False


def _said(failure: LaunchFailed, message: str) -> LaunchFailed:
    return LaunchFailed(failure.step, message)
