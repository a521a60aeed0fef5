"""The child of a second process in a running container: exec, and exec probes.

The shim has already put it into the container's pid namespace; it joins the rest, takes the same
privileges as the container's own process, and executes.
"""

import os

from agent.linux import constants as c
from agent.linux import syscalls
from agent.runtime import handshake, init, labels, payload, privileges, seccomp_load, terminal, userns

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import NoReturn

    from agent.runtime.cgroup import Cgroups
    from agent.runtime.init import Plan


def become(
    plan: "Plan", sock: "_socket.socket", cgroups: "Cgroups", fds: list[int], last_capability: int
) -> "NoReturn":
    """Never returns: the process runs, or whoever is at the other end has been told why not."""
    try:
        preserved = range(3, 3 + plan["preserve_fds"])
        console = [plan["console_socket"]] if plan["console_socket"] >= 0 else []
        init.keep_only([sock.fileno(), plan["pidfd"], *fds, *console, *preserved])
        _become(plan, sock, cgroups, fds, last_capability)
    except handshake.StepFailed as failure:
        init.report(sock, failure.step, failure.message)
    except BaseException as error:
        init.report(sock, "enter", f"{type(error).__name__}: {error}")
    os._exit(255)


def _become(
    plan: "Plan", sock: "_socket.socket", cgroups: "Cgroups", fds: list[int], last_capability: int
) -> None:
    """What is looked up in /proc and /sys is looked up in the host's, before anything of the container's."""
    os.setsid()
    init.join_keyring(plan)
    _run_on(plan, "initial")
    privileges.limit(plan)
    labels.check(plan)
    proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    seccomp_load.reach(plan)
    try:
        if plan["group"]:
            init.join_groups(cgroups.doors(plan["group"], born=plan["born"]), plan["group"])
        syscalls.setns(plan["pidfd"], plan["namespaces"])
        if plan["namespaces"] & c.CLONE_NEWUSER:
            userns.become_root()
    except OSError as error:
        raise handshake.failed("enter", f"enter {plan['container']}", error, "it may have ended") from None
    _run_on(plan, "final")
    if plan["stdio"] == "terminal":
        terminal.attach(sock, plan["console_socket"], plan["uid"], plan["console_size"])
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
    init.find_home(plan)
    is_inside = init.enter_directory(plan["cwd"], is_made=False)
    init.filter_and_drop(plan, last_capability)
    if not is_inside:
        init.enter_directory(plan["cwd"], is_made=False, is_last=True)
    labels.write(plan, proc)
    payload.execute(plan, sock)


def _run_on(plan: "Plan", when: str) -> None:
    """CPUs before and after it is in the container's cgroup."""
    if cpus := plan["cpu_affinity"].get(when):
        try:
            os.sched_setaffinity(0, cpus)
        except OSError as error:
            raise handshake.failed("scheduler", f"run on CPUs {cpus}", error, "execCPUAffinity") from None
