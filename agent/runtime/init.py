"""The child: from a fork of the shim to the payload, one step after the other.

It holds everything that it needs before it enters the container: no import, no look-up of a name, no
codec is loaded on the way. Whatever fails becomes a sentence on the handshake socket.
"""

import errno
import os

from agent.linux import constants as c
from agent.linux import syscalls
from agent.runtime import handshake, packets, privileges, rootfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import Any, NoReturn

    from agent.runtime.cgroup import Cgroups

    Plan = dict[str, Any]

_LAST_RESORT = 255
_SIGPIPE = 13
_MOST_DESCRIPTORS = 0x7FFFFFFF
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def last_capability() -> int:
    with open("/proc/sys/kernel/cap_last_cap", encoding="utf-8") as file:
        return int(file.read())


def become(
    plan: "Plan", sock: "_socket.socket", cgroups: "Cgroups", place: str, last_capability: int
) -> "NoReturn":
    """Never returns: the payload runs, or the shim has been told why not."""
    try:
        keep_only([sock.fileno(), *([plan["init_program"]] if plan["init"] else [])])
        _become(plan, sock, cgroups, place, last_capability)
    except handshake.StepFailed as failure:
        report(sock, failure.step, failure.message)
    except BaseException as error:
        report(sock, "start", f"{type(error).__name__}: {error}")
    os._exit(_LAST_RESORT)


def keep_only(fds: list[int]) -> None:
    """Nothing of the shim goes along: not its sockets, not the FIFOs of other containers."""
    first = 3
    for fd in sorted(fds):
        if fd > first:
            syscalls.close_range(first, fd - 1)
        first = max(first, fd + 1)
    syscalls.close_range(first, _MOST_DESCRIPTORS)


def report(sock: "_socket.socket", step: str, message: str) -> None:
    try:
        packets.send(sock, {"step": step, "message": message})
    except OSError:
        return  # the shim is gone; so are we


def _become(
    plan: "Plan", sock: "_socket.socket", cgroups: "Cgroups", place: str, last_capability: int
) -> None:
    os.setsid()
    doors, helper = _begin_to_join(cgroups, plan)
    _join_network(plan["network"])
    _redirect(plan["stdout"], plan["stderr"])
    privileges.limit(plan)
    rootfs.enter(plan, place, plan["root"])
    _finish_joining(doors, helper, plan["group"])
    if plan["clone"] & c.CLONE_NEWCGROUP:
        syscalls.unshare(c.CLONE_NEWCGROUP)  # after joining: the group becomes the root that it sees
    rootfs.mount_cgroups(plan)
    if plan["clone"] & c.CLONE_NEWUTS:
        _name(plan["hostname"], plan["domainname"])
    enter_directory(plan["cwd"], is_made=True)
    if plan["init"]:
        _fork_behind_init(plan, sock, last_capability)
    _wait_for_go(sock)
    privileges.drop(plan, last_capability)
    execute(plan, sock)


def execute(plan: "Plan", sock: "_socket.socket") -> None:
    """Replace this process by the payload; on failure say which file was missing where."""
    packets.send(sock, handshake.READY)
    syscalls.default_signal(_SIGPIPE)  # Python ignores it, and a payload would inherit that
    if plan["seccomp"]:
        syscalls.seccomp_filter(plan["seccomp"])
    syscalls.close_range(3, 0xFFFFFFFF, c.CLOSE_RANGE_CLOEXEC)
    args, env = plan["args"], plan["env"]
    name = args[0]
    if "/" in name:
        candidates = [name]
    else:
        candidates = [f"{part or '.'}/{name}" for part in env.get("PATH", _DEFAULT_PATH).split(":")]
    denied = None
    for path in candidates:
        try:
            os.execve(path, args, env)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            denied = handshake.failed("exec", f"exec {path}", error, "it must be a file with the x bit")
        except OSError as error:
            raise handshake.failed("exec", f"exec {path}", error) from None
    raise denied or _missing(name, env.get("PATH", _DEFAULT_PATH))


def _missing(name: str, path: str) -> handshake.StepFailed:
    if "/" not in name:
        return handshake.StepFailed("exec", f"exec {name}: not found in PATH ({path}) of the image")
    if os.path.lexists(name):
        why = "its interpreter or the target of the link is missing in the image"
        return handshake.StepFailed("exec", f"exec {name}: the file is there, but {why}")
    directory = os.path.dirname(name)
    try:
        there = sorted(os.listdir(directory))[:5]
    except OSError:
        return handshake.StepFailed("exec", f"exec {name}: no such file in the image; nor is {directory}/")
    hint = f"{directory} holds {', '.join(there)}" if there else f"{directory} is empty"
    return handshake.StepFailed("exec", f"exec {name}: no such file in the image; {hint}")


def _begin_to_join(cgroups: "Cgroups", plan: "Plan") -> tuple[list[int], int]:
    """Descriptors of the groups, and the process that moves us into them while we mount.

    A move waits for an RCU grace period, which can be ten milliseconds, unless there was one just now: so
    the helper is for a start that is alone. With the tiny init the payload must be PID 2, which rules it out.
    """
    try:
        doors = cgroups.doors(plan["group"])
    except OSError as error:
        raise handshake.failed("cgroup", f"join {error.filename}", error) from None
    if plan["init"] or not plan["alone"]:
        return doors, 0
    pid, pidfd = syscalls.clone(0)
    if pid == 0:
        try:
            for door in doors:
                os.write(door, b"1")
            os._exit(0)
        finally:
            os._exit(_LAST_RESORT)
    os.close(pidfd)
    return doors, pid


def _finish_joining(doors: list[int], helper: int, group: str) -> None:
    if helper and os.waitpid(helper, 0)[1] == 0:
        return
    try:
        for door in doors:
            os.write(door, b"0")
    except OSError as error:
        hint = "a limit may be below what the runtime needs to start" if error.errno == errno.ENOMEM else ""
        raise handshake.failed("cgroup", f"join {group}", error, hint) from None


def _join_network(path: str) -> None:
    if not path:
        return
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        syscalls.setns(fd, c.CLONE_NEWNET)
        os.close(fd)
    except OSError as error:
        hint = "the network namespace must be made before the start"
        raise handshake.failed("network", f"join {path}", error, hint) from None


def _redirect(stdout: str, stderr: str) -> None:
    """Read and write on purpose: a reader of its own keeps the payload from ever seeing SIGPIPE."""
    null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(null, 0)
    for path, number in ((stdout, 1), (stderr, 2)):
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        os.dup2(fd, number)
        os.close(fd)
    os.close(null)


def _name(hostname: str, domainname: str) -> None:
    try:
        if hostname:
            syscalls.sethostname(hostname)
        if domainname:
            syscalls.setdomainname(domainname)
    except OSError as error:
        raise handshake.failed("hostname", f"set {hostname}", error, "at most 64 characters") from None


def enter_directory(path: str, *, is_made: bool) -> None:
    try:
        if is_made:
            os.makedirs(path, 0o755, exist_ok=True)
        os.chdir(path)
        if not os.getcwd().startswith("/"):  # "(unreachable)": a directory outside the root
            raise handshake.StepFailed("cwd", f"enter {path}: it lies outside the container")
    except OSError as error:
        raise handshake.failed("cwd", f"enter {path}", error) from None


def _wait_for_go(sock: "_socket.socket") -> None:
    """The shim has written pid and start time to its journal; without that there is no container."""
    if sock.recv(len(handshake.GO)) != handshake.GO:
        os._exit(_LAST_RESORT)


def _fork_behind_init(plan: "Plan", sock: "_socket.socket", last_capability: int) -> None:
    """We stay PID 1 as the tiny init; the payload goes on as PID 2, which is all that it knows."""
    pid, pidfd = syscalls.clone(0)
    if pid == 0:
        os.setsid()
        return
    try:
        os.close(pidfd)
        sock.close()  # the child alone speaks, and its end alone closes
        privileges.drop(plan, last_capability)
        syscalls.block_signals()
        syscalls.close_range(3, _MOST_DESCRIPTORS, c.CLOSE_RANGE_CLOEXEC)
        os.execve(plan["init_program"], ["orch-init"], {})
    finally:
        os._exit(_LAST_RESORT)
