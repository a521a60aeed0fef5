"""Root, mounts and devices of an OCI configuration → what rootfs.py carries out (pure)."""

import os.path

from agent.linux import constants as c
from agent.runtime import mounts, plan_userids, refusals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Plan = dict[str, Any]

_PROPAGATION = {
    "": 0,
    "private": c.MS_PRIVATE,
    "slave": c.MS_SLAVE,
    "shared": c.MS_SHARED,
    "unbindable": c.MS_UNBINDABLE,
}
_DEVICES = {"c": c.S_IFCHR, "u": c.S_IFCHR, "b": c.S_IFBLK, "p": c.S_IFIFO}
_DEVICE_MODE = 0o666
_PLAIN_DIRECTORIES = {"proc", "sysfs"}
_PLAIN_KEYS = {"destination", "type", "source", "options"}
_MOST_KNOWN = 200
_known: "dict[tuple[Any, ...], Plan]" = {}
_CGROUPS = {"cgroup", "cgroup2"}


def plan(config: "Mapping[str, Any]", bundle: str = "/") -> "Plan":
    """`readonly mounts masked readonly_paths devices root_propagation userns` of a plan.

    `bundle`: where the source of a bind mount begins that is not absolute.
    """
    linux = config.get("linux") or {}
    made: Plan = {
        "readonly": bool((config.get("root") or {}).get("readonly")),
        "mounts": [_mount(number, entry, bundle) for number, entry in enumerate(config.get("mounts") or [])],
        "masked": _paths("linux.maskedPaths", linux.get("maskedPaths") or []),
        "readonly_paths": _paths("linux.readonlyPaths", linux.get("readonlyPaths") or []),
        "devices": [_device(number, entry) for number, entry in enumerate(linux.get("devices") or [])],
        "root_propagation": _root_propagation(linux.get("rootfsPropagation") or ""),
        "userns": plan_userids.plan(config),
    }
    for device in made["devices"]:
        device["is_made_inside"] = not made["userns"] and _is_fresh(made["mounts"], device["path"])
    if made["userns"]:
        _check_inside_user_namespace(made)
    return made


def _mount(number: int, entry: "Mapping[str, Any]", bundle: str) -> "Plan":
    """Most containers have the same few mounts besides their own binds: those are worked out once."""
    if entry.keys() - _PLAIN_KEYS:
        return _worked_out(number, entry, bundle)
    words = tuple(entry.get("options") or ())
    known = (number, entry.get("destination"), entry.get("type"), entry.get("source"), words, bundle)
    if known not in _known:
        if len(_known) == _MOST_KNOWN:
            _known.clear()
        _known[known] = _worked_out(number, entry, bundle)
    return {**_known[known]}


def _worked_out(number: int, entry: "Mapping[str, Any]", bundle: str) -> "Plan":
    where = f"mounts[{number}]"
    target = entry.get("destination") or ""
    if not target.startswith("/"):  # version 1.0 let it be relative to the root
        target = f"/{target}"
    if "\0" in target or ".." in target.split("/"):
        raise refusals.refused(f"{where}.destination", f"{target!r} is not a plain absolute path")
    options = mounts.options(entry.get("options") or [])
    kind = _kind(where, entry, options)
    uid = plan_userids.ranges(f"{where}.uidMappings", entry.get("uidMappings") or [])
    gid = plan_userids.ranges(f"{where}.gidMappings", entry.get("gidMappings") or [])
    if bool(uid) != bool(gid):
        raise refusals.refused(where, "has one of uidMappings and gidMappings; it needs both or none")
    if (uid or options["idmap"]) and kind != "bind":
        raise refusals.refused(f"{where}.options", f"a {kind} cannot have mapped ids; a bind mount can")
    source = entry.get("source") or ("" if kind == "bind" else kind)
    if kind == "bind" and not source and not options["remount"]:
        raise refusals.refused(f"{where}.source", "is empty; a bind mount needs one")
    return {
        **options,
        "kind": kind,
        "source": os.path.join(bundle, source) if kind == "bind" else source,
        "target": os.path.normpath(target).replace("//", "/"),
        "idmap": options["idmap"] or ("idmap" if uid else ""),
        "uid": uid,
        "gid": gid,
        "plain": kind in _PLAIN_DIRECTORIES,
    }


def _kind(where: str, entry: "Mapping[str, Any]", options: "Plan") -> str:
    kind = entry.get("type") or ""
    if options["bind"] or kind in {"bind", "rbind"}:
        options["recursive"] = options["recursive"] or kind == "rbind"
        if options["data"]:
            raise refusals.refused(
                f"{where}.options", f"{options['data'][0]} is not an option of a bind mount"
            )
        return "bind"
    if options["remount"]:
        return "bind"
    if not kind or kind == "none":
        raise refusals.refused(f"{where}.type", "is empty, and options have neither bind nor rbind")
    if options["fill"]:
        raise refusals.refused(
            f"{where}.options", f"{mounts.FILLED_ONCE} is for a bind mount, not for {kind}"
        )
    if options["copyup"] and kind != "tmpfs":
        raise refusals.refused(f"{where}.options", f"tmpcopyup is for a tmpfs, not for {kind}")
    return "cgroup" if kind in _CGROUPS else str(kind)


def _paths(key: str, entries: "list[str]") -> list[str]:
    for path in entries:
        if not path.startswith("/"):
            raise refusals.refused(key, f"{path} is not absolute")
    return list(entries)


def _device(number: int, entry: "Mapping[str, Any]") -> "Plan":
    where = f"linux.devices[{number}]"
    kind, path = entry.get("type"), entry.get("path") or ""
    if kind not in _DEVICES:
        raise refusals.refused(f"{where}.type", f"{kind} is not one of c, b, u, p")
    if not path.startswith("/") or path.endswith("/"):
        raise refusals.refused(f"{where}.path", f"{path!r} is not the absolute path of a file")
    if kind != "p" and ("major" not in entry or "minor" not in entry):
        raise refusals.refused(where, f"{path} needs major and minor")
    return {
        "path": path,
        "kind": _DEVICES[kind],
        "major": entry.get("major", 0),
        "minor": entry.get("minor", 0),
        "mode": _mode(entry.get("fileMode")),
        "uid": entry.get("uid") or 0,
        "gid": entry.get("gid") or 0,
    }


def _is_fresh(mounts_: "list[Plan]", path: str) -> bool:
    """In a /dev of the container's own a node can be made; anywhere else it is bound, and no volume gets one."""
    above = [mount for mount in mounts_ if path.startswith(f"{mount['target'].rstrip('/')}/")]
    nearest = max(above, key=lambda mount: len(mount["target"]), default=None)
    return (
        nearest is not None
        and nearest["target"] == "/dev"
        and nearest["kind"] == "tmpfs"
        and not nearest["copyup"]
        and not nearest["set"] & (c.MOUNT_ATTR_NODEV | c.MOUNT_ATTR_RDONLY)
    )


def _mode(given: int | None) -> int:
    return _DEVICE_MODE if given is None else given & 0o7777


def _root_propagation(word: str) -> "list[Any]":
    """The flag, and whether everything below the root follows."""
    kind = word.removeprefix("r")
    if kind not in _PROPAGATION:
        raise refusals.refused(
            "linux.rootfsPropagation", f"{word} is none of shared, slave, private, unbindable"
        )
    return [_PROPAGATION[kind], kind != word]


def _check_inside_user_namespace(made: "Plan") -> None:
    """What the kernel would refuse much later, and without a reason."""
    shared = made["root_propagation"][0] == c.MS_SHARED
    for number, mount in enumerate(made["mounts"]):
        shared = shared or any(flag == c.MS_SHARED for flag, _ in mount["propagation"])
        if shared:
            why = "shared would carry mounts out of a user namespace; use slave, or the host's user namespace"
            raise refusals.refused(f"mounts[{number}].options", why)
        if mount["idmap"] and not mount["uid"] and not made["userns"]["path"] and not made["userns"]["uid"]:
            raise refusals.refused(f"mounts[{number}].options", "idmap needs uidMappings and gidMappings")
