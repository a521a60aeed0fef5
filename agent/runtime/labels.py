"""AppArmor profile and SELinux label of a payload: asked for early, written last, in force from exec on.

Through the host's /proc, held open from before the container's root: at /proc/self/attr of a container
anything may lie (CVE-2025-52881). Asked for on a machine without that module it is an error, as for runc:
whoever asks relies on it.
"""

import os

from agent.runtime import handshake

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Plan = dict[str, Any]


def check(plan: "Plan") -> None:
    """Before the container's root: that the kernel knows such labels at all."""
    if plan["apparmor"] and _read("/sys/module/apparmor/parameters/enabled") != "Y":
        raise _absent("process.apparmorProfile", plan["apparmor"], "AppArmor")
    if plan["selinux"] and not os.path.exists("/sys/fs/selinux/enforce"):
        raise _absent("process.selinuxLabel", plan["selinux"], "SELinux")


def write(plan: "Plan", proc: int) -> None:
    """The last thing before exec, by the very process that executes; `proc`: a descriptor of the host's."""
    if plan["apparmor"]:
        names = ("self/attr/apparmor/exec", "self/attr/exec")  # the second: before Linux 5.8
        _write(proc, names, f"exec {plan['apparmor']}", "is that AppArmor profile loaded?")
    if plan["selinux"]:
        _write(proc, ("self/attr/exec",), plan["selinux"], "does the policy know that SELinux label?")


def _write(proc: int, names: "tuple[str, ...]", text: str, hint: str) -> None:
    for name in names:
        try:
            fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=proc)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise handshake.failed("label", f"set {text}", error) from None
        try:
            os.write(fd, text.encode())
        except OSError as error:
            raise handshake.failed("label", f"set {text}", error, hint) from None
        finally:
            os.close(fd)
        return
    raise handshake.StepFailed("label", f"set {text}: this kernel has no place for it below /proc/self/attr")


def _absent(key: str, value: str, module: str) -> handshake.StepFailed:
    why = f"{key} {value}: {module} is not enabled on this node; take the key out, or enable it"
    return handshake.StepFailed("label", why)


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
