"""Loads a compiled filter into the process that becomes the payload, and hands its listener over.

In the child. Whoever listens is reached while the host's files are still seen; what is sent is made ready
before the filter is there, so that after it the process makes one call: sendmsg.
"""

import _socket
import errno
import os

from agent.linux import constants as c
from agent.linux import syscalls
from agent.runtime import handshake, hooks, packets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Plan = dict[str, Any]

_SAID = "load the seccomp filter"


def reach(plan: "Plan") -> None:
    """Connect to the listener, where the profile has one."""
    path = plan["seccomp"] and plan["seccomp"]["listener"]
    if not path:
        return
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        sock.connect(path)
    except OSError as error:
        hint = "linux.seccomp.listenerPath: the agent that gets the notifications must listen there"
        raise handshake.failed("seccomp", f"connect to {path}", error, hint) from None
    pid = int(os.readlink("/proc/self"))  # as the host counts
    plan["seccomp"] |= {"socket": sock.detach(), "state": _state(plan, pid)}


def load(plan: "Plan") -> None:
    """From here on the kernel judges every call of this process."""
    filtered = plan["seccomp"]
    if not filtered:
        return
    try:
        listener = syscalls.seccomp_filter(filtered["program"], filtered["flags"])
    except OSError as error:
        raise handshake.failed("seccomp", _SAID, error, _hint(error, filtered["flags"])) from None
    if filtered["flags"] & c.SECCOMP_FILTER_FLAG_NEW_LISTENER:
        sock = _socket.socket(fileno=filtered["socket"])
        try:
            sock.sendmsg([filtered["state"]], [packets.rights((listener,))])
        except OSError as error:
            raise handshake.failed("seccomp", f"send to {filtered['listener']}", error) from None
        os.close(listener)
        sock.close()


def _state(plan: "Plan", pid: int) -> bytes:
    """What the OCI specification calls containerProcessState."""
    state = plan.get("state") or {"ociVersion": "1.0.2", "id": plan["container"]}
    head = {"ociVersion": state["ociVersion"], "pid": pid, "metadata": plan["seccomp"]["metadata"]}
    head["state"] = {"status": "creating", **state, "pid": pid}
    return hooks.encode(head)[:-1] + b',"fds":["seccompFd"]}'


def _hint(error: OSError, flags: int) -> str:
    if error.errno == errno.EINVAL and flags:
        return "this kernel may not know one of linux.seccomp.flags, or notifications"
    if error.errno == errno.EACCES:
        return "without noNewPrivileges that takes CAP_SYS_ADMIN"
    if error.errno == errno.EBUSY:
        return "a filter with a listener is there already, and only one can be"
    return ""
