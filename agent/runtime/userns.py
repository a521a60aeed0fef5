"""The user namespace of a container: made ahead, found by its path, and entered in the middle of a start.

It is entered late. Root, sources of volumes and the mounts that only the host may make are prepared with
the host's privileges as descriptors; everything after that, all of it that touches what an image or a volume
contains, is done with the privileges of the container's root at most.
"""

import fcntl
import os

from agent.linux import constants as c
from agent.linux import holder, syscalls
from agent.runtime import handshake, plan_userids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Plan = dict[str, Any]
    Ranges = Sequence[Sequence[int]]

_BORN_WITH = c.CLONE_NEWNS | c.CLONE_NEWPID
_AFTERWARDS = c.CLONE_NEWUTS | c.CLONE_NEWIPC
_HINT = "look at /proc/sys/user/max_user_namespaces and kernel.unprivileged_userns_clone"


def prepare(plan: "Plan") -> list[int]:
    """By the parent, before it clones: what the child needs to hold, also written into the plan."""
    users = plan["userns"]
    made: list[int] = []
    try:
        for mount in plan["mounts"]:
            if mount["uid"]:
                mount["users_fd"], _ = new(mount["uid"], mount["gid"])
                made.append(mount["users_fd"])
        if users and not users["path"]:
            network = bool(plan["clone"] & c.CLONE_NEWNET)
            plan["userns_fd"], plan["network_fd"] = pair = new(users["uid"], users["gid"], network=network)
            made += [fd for fd in pair if fd >= 0]
    except BaseException:
        for fd in made:
            os.close(fd)
        raise
    return made


def birth_flags(plan: "Plan", flags: int) -> int:
    """The namespaces that the child is born into; the others must belong to its user namespace."""
    if not plan["userns"]:
        return flags
    network = c.CLONE_NEWNET if plan["userns"]["path"] else 0
    return flags & (_BORN_WITH | network)


def new(uid: "Ranges", gid: "Ranges", *, network: bool = False) -> tuple[int, int]:
    """Descriptors of a new user namespace and, if asked, of a network namespace that belongs to it (else -1)."""
    try:
        held = holder.Holder(uid, gid, network=network)
    except OSError as error:
        what = f"make a user namespace: {error.filename}"
        raise handshake.failed("userns", what, error, _HINT) from None
    try:
        user = held.open("user")
        try:
            return user, held.open("net") if network else -1
        except BaseException:
            os.close(user)
            raise
    except OSError as error:
        raise handshake.failed("userns", f"open {error.filename}", error, _HINT) from None
    finally:
        held.close()


def hold(plan: "Plan") -> int:
    """By the child, while it still sees the host's files: the namespace to enter; -1 for the host's own."""
    users = plan["userns"]
    if not users:
        return -1
    if not users["path"]:
        if plan["network_fd"] >= 0:
            syscalls.setns(plan["network_fd"], c.CLONE_NEWNET)
        return int(plan["userns_fd"])
    return find(users["path"])


def find(path: str) -> int:
    """Of a file of a user namespace, that one; of another namespace, the one that owns it."""
    hint = "the namespace must be made before the start"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            if fcntl.ioctl(fd, c.NS_GET_NSTYPE) == c.CLONE_NEWUSER:
                return os.dup(fd)
            owner = int(fcntl.ioctl(fd, c.NS_GET_USERNS))
            os.set_inheritable(owner, False)
            return owner
        finally:
            os.close(fd)
    except OSError as error:
        raise handshake.failed("userns", f"find the user namespace of {path}", error, hint) from None


def enter(plan: "Plan", users: int) -> None:
    """From here on with the privileges of the container's own root, in a copy of our mounts that belongs to it."""
    try:
        syscalls.setns(users, c.CLONE_NEWUSER)
        syscalls.unshare(c.CLONE_NEWNS | plan["clone"] & _AFTERWARDS)
        become_root()
    except OSError as error:
        hint = "it may be the user namespace of the node itself" if error.errno == 22 else _HINT
        raise handshake.failed("userns", "enter the user namespace", error, hint) from None
    finally:
        os.close(users)


def outside(plan: "Plan", uid: int, gid: int) -> tuple[int, int]:
    """How the host knows a user and group of the container."""
    users = plan["userns"]
    if not users:
        return uid, gid
    return plan_userids.outside(users["uid"], uid), plan_userids.outside(users["gid"], gid)


def become_root() -> None:
    """Nobody of outside has a name in here: without this no file could be made."""
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
