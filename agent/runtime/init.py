"""The child: from a fork of the shim to the payload, one step after the other.

It holds everything that it needs before it enters the container: no import, no look-up of a name, no
codec is loaded on the way. Whatever fails becomes a sentence on the handshake socket.
"""

import errno
import os
import stat

from agent.linux import constants as c
from agent.linux import syscalls
from agent.runtime import (
    cgroupfs,
    gate,
    handshake,
    hooks,
    labels,
    namespaces,
    packets,
    payload,
    privileges,
    rootfs,
    seccomp_load,
    sysctl,
    terminal,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import Any, NoReturn

    Plan = dict[str, Any]

_LAST_RESORT = 255
_MOST_DESCRIPTORS = 0x7FFFFFFF
_MOST_USERS_BYTES = 1 << 20
_NULL_DEVICE = os.makedev(1, 3)


def last_capability() -> int:
    with open("/proc/sys/kernel/cap_last_cap", encoding="utf-8") as file:
        return int(file.read())


def become(plan: "Plan", sock: "_socket.socket", place: str, last_capability: int) -> "NoReturn":
    """Never returns: the payload runs, or whoever is at the other end of the socket has been told why not."""
    try:
        keep_only([sock.fileno(), *_kept(plan)])
        _become(plan, sock, place, last_capability)
    except handshake.StepFailed as failure:
        report(sock, failure.step, failure.message)
    except BaseException as error:
        report(sock, "start", f"{type(error).__name__}: {error}")
    os._exit(_LAST_RESORT)


def _kept(plan: "Plan") -> list[int]:
    """What of its parent's descriptors a container is given, or needs on its way."""
    special = [plan["console_socket"], plan["gate"], plan["init_program"] if plan["init"] else -1]
    return [*plan["held"], *(fd for fd in special if fd >= 0), *range(3, 3 + plan["preserve_fds"])]


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


def _become(plan: "Plan", sock: "_socket.socket", place: str, last_capability: int) -> None:
    os.setsid()
    join_keyring(plan)
    namespaces.join(plan["join"])
    if plan["clone"] & c.CLONE_NEWTIME:
        namespaces.make_time(plan["time_offsets"])
    if plan["stdio"] == "fifos":
        _redirect(plan["stdin"], plan["stdout"], plan["stderr"])
    privileges.limit(plan)
    labels.check(plan)
    proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)  # the host's
    seccomp_load.reach(plan)
    hooked = _Hooked(plan, sock)
    if _needs_group_first(plan):
        hooked.wait_for_go()
    if plan["clone"] & c.CLONE_NEWNS:
        rootfs.enter(plan, place, plan["root"], hooked.before_pivot)
    else:
        hooked.before_pivot()
        _change_root(plan["rootfs"])
    sysctl.apply(plan["sysctl"], proc)
    join_groups(hooked.wait_for_go(), plan["group"])
    if plan["clone"] & c.CLONE_NEWCGROUP:
        syscalls.unshare(c.CLONE_NEWCGROUP)  # after joining: the group becomes the root that it sees
    if plan["clone"] & c.CLONE_NEWNS:
        rootfs.mount_cgroups(plan)
    _name(plan["hostname"], plan["domainname"])
    if plan["stdio"] == "terminal":
        terminal.attach(sock, plan["console_socket"], plan["uid"], plan["console_size"])
        terminal.bind_console()
    find_home(plan)
    is_inside = enter_directory(plan["cwd"], is_made=True)
    if plan["init"]:
        _fork_behind_init(plan, sock, last_capability)
    filter_and_drop(plan, last_capability)
    if not is_inside:
        enter_directory(plan["cwd"], is_made=False, is_last=True)
    if plan["gate"] >= 0:
        sock = _wait_at_gate(plan, sock)
    _start(plan, sock, proc, hooked.pid)


def _needs_group_first(plan: "Plan") -> bool:
    """What changes more than this root, or looks for the group, is not begun while that can still be refused."""
    sees_group = any(mount["kind"] == "cgroup" for mount in plan["mounts"]) and not cgroupfs.is_own(plan)
    return sees_group or "createContainer" in plan["hooks"] or any(mount["fill"] for mount in plan["mounts"])


def _start(plan: "Plan", sock: "_socket.socket", proc: int, pid: int) -> None:
    try:
        hooks.run("startContainer", plan["hooks"], {**plan["state"], "status": "created", "pid": pid})
        labels.write(plan, proc)
        payload.execute(plan, sock)
    except handshake.StepFailed as failure:
        report(sock, failure.step, failure.message)
    os._exit(_LAST_RESORT)


class _Hooked:
    """Where a start waits for others: for the word of its parent, and for hooks."""

    def __init__(self, plan: "Plan", sock: "_socket.socket") -> None:
        self.plan = plan
        self.sock = sock
        self.doors: list[int] | None = None
        """Of its cgroups, once it has the word."""
        self.pid = int(os.readlink("/proc/self")) if plan["hooks"] else 0  # as the host counts
        """Host's /proc: inside its own it would be 1."""

    def before_pivot(self) -> None:
        hooked = self.plan["hooks"]
        if hooked.keys() & {"prestart", "createRuntime"}:
            self.wait_for_go()
            packets.send(self.sock, handshake.RUNTIME)
            if self.sock.recv(len(handshake.HOOKED)) != handshake.HOOKED:
                os._exit(_LAST_RESORT)
        hooks.run("createContainer", hooked, {**self.plan["state"], "status": "creating", "pid": self.pid})

    def wait_for_go(self) -> list[int]:
        """Our parent has written down pid and start time; without that there is no container."""
        if self.doors is None:
            try:
                word, doors = packets.receive_word(self.sock, len(handshake.GO))
            except OSError as error:
                hint = "RLIMIT_NOFILE may be too low to start"
                raise handshake.failed("cgroup", "open the groups of the container", error, hint) from None
            if word != handshake.GO:
                os._exit(_LAST_RESORT)
            self.doors = doors
        return self.doors


def _change_root(root: str) -> None:
    """Without a mount namespace of its own nothing is mounted for it, and nothing may be."""
    try:
        os.chroot(root)
        os.chdir("/")
    except OSError as error:
        raise handshake.failed("root", f"enter {root}", error) from None


def filter_and_drop(plan: "Plan", last_capability: int) -> None:
    """Without no_new_privileges only root may install a filter, so it comes before the drop, not after it."""
    if plan["stdio"] == "inherit":
        _own_standard_streams(plan["uid"])
    privileges.schedule(plan)
    privileges.persona(plan)
    if not plan["no_new_privileges"]:
        seccomp_load.load(plan)
    privileges.drop(plan, last_capability)


def _own_standard_streams(uid: int) -> None:
    """So that the payload's user may open /dev/stdout again; what cannot change hands stays as it is."""
    for fd in range(3):
        try:
            status = os.fstat(fd)
            if status.st_uid != uid and not stat.S_ISDIR(status.st_mode) and status.st_rdev != _NULL_DEVICE:
                os.fchown(fd, uid, -1)
        except OSError:
            continue


def _wait_at_gate(plan: "Plan", sock: "_socket.socket") -> "_socket.socket":
    """Created; what goes wrong from here on is heard by whoever starts it."""
    payload.look_up(plan["args"][0], plan["env"])
    packets.send(sock, handshake.CREATED)
    sock.close()
    return gate.wait(plan["gate"])


def join_keyring(plan: "Plan") -> None:
    """A session keyring of its own, where one is asked for: it must not read the keys of who started it."""
    if name := plan.get("keyring"):
        try:
            syscalls.join_session_keyring(name)
        except OSError as error:
            hint = "raise kernel.keys.maxkeys, or leave the keyring as it is (--no-new-keyring)"
            raise handshake.failed("keyring", f"make session keyring {name}", error, hint) from None


def join_groups(doors: list[int], group: str) -> None:
    try:
        for door in doors:
            os.write(door, b"0")
            os.close(door)
    except OSError as error:
        hint = "a limit may be below what the runtime needs to start" if error.errno == errno.ENOMEM else ""
        raise handshake.failed("cgroup", f"join {group}", error, hint) from None


def _redirect(stdin: str, stdout: str, stderr: str) -> None:
    """Read and write on purpose: a reader of its own keeps the payload from ever seeing SIGPIPE.

    And a writer of its own from ever seeing the end of its input: who writes comes and goes.
    """
    for path, number in ((stdin or "/dev/null", 0), (stdout, 1), (stderr, 2)):
        fd = os.open(path, (os.O_RDWR if path != "/dev/null" else os.O_RDONLY) | os.O_CLOEXEC)
        os.dup2(fd, number)
        os.close(fd)


def _name(hostname: str, domainname: str) -> None:
    try:
        if hostname:
            syscalls.sethostname(hostname)
        if domainname:
            syscalls.setdomainname(domainname)
    except OSError as error:
        raise handshake.failed("hostname", f"set {hostname}", error, "at most 64 characters") from None


def enter_directory(path: str, *, is_made: bool, is_last: bool = False) -> bool:
    """False for one that only its user may enter: to be tried again as that user."""
    try:
        try:
            os.chdir(path)
        except FileNotFoundError:
            if not is_made:
                raise
            os.makedirs(path, 0o755, exist_ok=True)
            os.chdir(path)
    except PermissionError as error:
        if not is_last:
            return False
        raise handshake.failed("cwd", f"enter {path}", error) from None
    except OSError as error:
        raise handshake.failed("cwd", f"enter {path}", error) from None
    try:
        if os.getcwd().startswith("/"):
            return True
    except OSError:  # how glibc says "(unreachable)": a directory outside the root (CVE-2024-21626)
        pass
    raise handshake.StepFailed("cwd", f"enter {path}: it lies outside the container")


def find_home(plan: "Plan") -> None:
    """HOME, where nobody has said it, is what the image's own list of users says."""
    if "HOME" in plan["env"]:
        return
    plan["env"]["HOME"] = "/"
    try:
        fd = os.open("/etc/passwd", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return
    rows = (line.split(b":") for line in os.read(fd, _MOST_USERS_BYTES).split(b"\n"))
    os.close(fd)
    uid = str(plan["uid"]).encode()
    for row in rows:
        if len(row) > 5 and row[2] == uid:
            plan["env"]["HOME"] = os.fsdecode(row[5]) or "/"
            return


def _fork_behind_init(plan: "Plan", sock: "_socket.socket", last_capability: int) -> None:
    """We stay PID 1 as the tiny init; the payload goes on as PID 2, which is all that it knows.

    Signals are blocked before there is a payload: to a PID 1 without a handler the kernel drops what is not blocked,
    and a payload may run, and be told to end, before we have become the init that passes signals on.
    """
    syscalls.block_signals()
    pid, pidfd = syscalls.clone(0)
    if pid == 0:
        syscalls.unblock_signals()
        os.setsid()
        return
    try:
        os.close(pidfd)
        sock.close()  # the child alone speaks, and its end alone closes
        privileges.drop(plan, last_capability)
        syscalls.close_range(3, _MOST_DESCRIPTORS, c.CLOSE_RANGE_CLOEXEC)
        os.execve(plan["init_program"], ["orch-init"], {})
    finally:
        os._exit(_LAST_RESORT)
