"""The payload takes the place of the process that has become a container, or a sentence says why it cannot."""

import os

from agent.linux import constants as c
from agent.linux import syscalls
from agent.runtime import handshake, packets, seccomp_load

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import Any

    Plan = dict[str, Any]

_SIGPIPE = 13
_MOST_NAMES = 5
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def execute(plan: "Plan", sock: "_socket.socket") -> None:
    """Replace this process by the payload; on failure say which file was missing where."""
    packets.send(sock, handshake.READY)
    syscalls.default_signal(_SIGPIPE)  # Python ignores it, and a payload would inherit that
    syscalls.close_range(3 + plan["preserve_fds"], 0xFFFFFFFF, c.CLOSE_RANGE_CLOEXEC)
    if plan["no_new_privileges"]:
        seccomp_load.load(plan)
    args, env = plan["args"], plan["env"]
    denied = None
    for path in _candidates(args[0], env):
        try:
            os.execve(path, args, env)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            denied = handshake.failed("exec", f"exec {path}", error, "it must be a file with the x bit")
        except OSError as error:
            raise handshake.failed("exec", f"exec {path}", error) from None
    raise denied or _missing(args[0], env.get("PATH", _DEFAULT_PATH))


def _candidates(name: str, env: dict[str, str]) -> list[str]:
    if "/" in name:
        return [name]
    return [f"{part or '.'}/{name}" for part in env.get("PATH", _DEFAULT_PATH).split(":")]


def look_up(name: str, env: dict[str, str]) -> None:
    """What can be known before exec: so that create fails, and not only start."""
    there = [path for path in _candidates(name, env) if os.path.exists(path)]
    if not there:
        raise _missing(name, env.get("PATH", _DEFAULT_PATH))
    if not any(os.path.isfile(path) and os.access(path, os.X_OK) for path in there):
        why = "permission denied; it must be a file with the x bit"
        raise handshake.StepFailed("exec", f"exec {there[0]}: {why}")


def _missing(name: str, path: str) -> handshake.StepFailed:
    if "/" not in name:
        return handshake.StepFailed("exec", f"exec {name}: not found in PATH ({path}) of the image")
    if os.path.lexists(name):
        why = "its interpreter or the target of the link is missing in the image"
        return handshake.StepFailed("exec", f"exec {name}: the file is there, but {why}")
    directory = os.path.dirname(name)
    try:
        there = _nearest(os.path.basename(name), os.listdir(directory))
    except OSError:
        return handshake.StepFailed("exec", f"exec {name}: no such file in the image; nor is {directory}/")
    hint = f"{directory} holds {', '.join(there)}" if there else f"{directory} is empty"
    return handshake.StepFailed("exec", f"exec {name}: no such file in the image; {hint}")


def _nearest(wanted: str, names: list[str]) -> list[str]:
    """The few that begin most like it."""

    def distance(name: str) -> tuple[int, str]:
        return -len(os.path.commonprefix([wanted.lower(), name.lower()])), name  # noqa: RUF071  letters

    return sorted(names, key=distance)[:_MOST_NAMES]
