"""OCI runtime configuration → the plan that a starting container carries out step by step (pure).

Everything is looked up here, so that the process on its way into the container only follows. What is not
supported is refused by its key, never ignored; what the specification does not know is ignored, as it says.
The parts stand in files of their own: plan_process, plan_namespaces, plan_hooks, plan_resources, plan_seccomp.
"""

from agent.runtime import (
    device_rules,
    plan_hooks,
    plan_mounts,
    plan_namespaces,
    plan_process,
    plan_resources,
    plan_seccomp,
    refusals,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from agent.runtime.container import Launch

    Plan = dict[str, Any]

_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-")
_MOST_NAME = 200


def plan(launch: "Launch") -> "Plan":
    """The plan of a launch by the agent: layers as its root, output into FIFOs; LaunchFailed names the key."""
    for name in (launch.container, launch.sandbox):
        if not 0 < len(name) <= _MOST_NAME or not set(name) <= _NAME or name[0] in ".-":
            raise refusals.refused("container", f"{name!r} is not a name; use [a-z0-9.-]")
    if not launch.layers:
        raise refusals.refused("layers", "a container needs at least one layer as its root")
    for layer in launch.layers:
        if "," in layer or ":" in layer:
            raise refusals.refused("layers", f"{layer}: the path of a layer holds no comma or colon")
    made = of_config(launch.config, container=launch.container)
    terminal = bool(launch.config["process"].get("terminal"))
    return made | {
        "sandbox": launch.sandbox,
        "logs": launch.logs,
        "log_max_bytes": launch.log_max_bytes,
        "log_max_files": launch.log_max_files,
        "init": launch.init,
        "stdin": launch.stdin and not terminal,
        "layers": list(launch.layers),
        "every_device": _has_every_device(launch.config),
        "stdio": "terminal" if terminal else "fifos",
    }


def _has_every_device(config: "Mapping[str, Any]") -> bool:
    """Then also those that it makes itself, wherever it makes them."""
    resources = (config.get("linux") or {}).get("resources") or {}
    rules = device_rules.ordered(resources.get("devices") or [])
    return all(
        device_rules.allows(rules, kind, device_rules.ANY, device_rules.ANY, device_rules.ALL)
        for kind in "bc"
    )


def of_config(config: "Mapping[str, Any]", *, container: str, root: str = "", bundle: str = "/") -> "Plan":
    """The plan of a bare configuration, with a directory as its root; LaunchFailed names the key.

    The caller adds `group` (of its cgroup driver), and chooses:
    `stdio`          "inherit": descriptors 0, 1, 2 as they are; "terminal": a pty of the container's devpts,
                     of `console_size`; "fifos": the paths `stdout` and `stderr`
    `console_socket` a connected socket that the pty's master is sent over with its name, as runc does;
                     -1: it is said on the handshake, and Birth.terminal holds it
    `preserve_fds`   so many descriptors from 3 on stay open in the payload
    `gate`           a listening socket (gate.listen) that the child waits at before exec; -1: none
    `init`           the tiny init as PID 1
    `root`           an empty directory with `upper` and `work`, where `layers` are given instead of a root
    """
    try:
        return _of_config(config, container, root, bundle)
    except KeyError as error:
        raise refusals.refused("config", f"lacks {error} where it is needed") from error
    except (TypeError, AttributeError, ValueError) as error:
        raise refusals.refused("config", f"has a value of the wrong shape: {error}") from error


def _of_config(config: "Mapping[str, Any]", container: str, root: str, bundle: str) -> "Plan":
    linux = config.get("linux") or {}
    refusals.unsupported(
        linux,
        "linux.",
        "cgroupsPath intelRdt memoryPolicy mountLabel netDevices",
    )
    version = config.get("ociVersion", "")
    state = {
        "ociVersion": version,
        "id": container,
        "bundle": bundle,
        "annotations": config.get("annotations") or {},
    }
    process = config.get("process") or {}
    made = {
        "container": container,
        "rootfs": root,
        "layers": [],
        "every_device": False,
        "root": "",
        "init": False,
        "limits": plan_resources.limits(linux.get("resources") or {}),
        "seccomp": plan_seccomp.plan(linux.get("seccomp")),
        "memory_limit": ((linux.get("resources") or {}).get("memory") or {}).get("limit") or 0,
        "hooks": plan_hooks.plan(config.get("hooks") or {}),
        "state": state,
        "stdio": "terminal" if process.get("terminal") else "inherit",
        "console_socket": -1,
        "preserve_fds": 0,
        "gate": -1,
        **plan_mounts.plan(config, bundle),
        **plan_namespaces.plan(config),
        **plan_process.plan(process),
        "personality": plan_process.personality(linux.get("personality") or {}),
        "warnings": plan_process.warnings(process),
    }
    plan_namespaces.check_mounts(made)
    return made
