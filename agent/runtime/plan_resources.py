"""The resources of an OCI configuration → what is written to the files of a cgroup, in which order.

Pure but for one question: what the cgroups of this machine can do, asked once where the caller does not say.
Also for programs that start an interpreter for each call: no heavy imports.

The process that writes gets rows, [controller, file, value, key]: `file` may name alternatives with | between
them (and as many values); a file that is missing is an error that names the key, and no error where the row
has no key. A file that begins with ? is read: it must hold no more than the value.
"""

from agent.runtime import cgroup, device_program, device_rules, limits_v1, limits_v2, refusals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any, TypeAlias

    from agent.runtime.cgroup import Cgroups, Limits

    Row: TypeAlias = list[str]

_WHERE = "linux.resources."


class World:
    """What the cgroups of a machine can do."""

    __slots__ = ("controllers", "has_programs", "version")

    def __init__(self, version: int, controllers: "Iterable[str]", *, has_programs: bool = True) -> None:
        self.version = version
        self.controllers = frozenset(controllers)
        self.has_programs = has_programs
        """There is a v2 hierarchy: device rules can be a program."""

    @classmethod
    def of(cls, cgroups: "Cgroups") -> "World":
        return cls(cgroups.version, cgroups.controllers(), has_programs=bool(cgroups.unified))


def limits(resources: "Mapping[str, Any] | None", world: "World | None" = None) -> "Limits":
    """What a new group is given; LaunchFailed names the key that is wrong, or that this machine cannot do."""
    resources = resources or {}
    world = world or _here()
    return {"rows": _rows(resources, world), **_devices(resources.get("devices") or (), world)}


def changes(resources: "Mapping[str, Any]", world: "World | None" = None) -> "Limits":
    """What a running group is given. Device rules stay as they are, as with runc."""
    return {"rows": _rows(resources, world or _here()), "devices": b""}


def _devices(entries: "Sequence[Mapping[str, Any]]", world: World) -> "Limits":
    """Without rules the usual devices and no others, as with runc; then a kernel that cannot is no error."""
    rules = device_rules.ordered(entries)
    if all(rule[0] for rule in rules):
        return {"devices": b""}
    made: Limits = {"devices": b"", "devices_asked": bool(entries)}
    if world.has_programs:
        made["devices"] = _usual_program() if not entries else device_program.program(rules)
    if "devices" in world.controllers:
        made["device_rows"] = list(device_rules.v1_rows(rules))
    elif entries and not world.has_programs:
        raise _missing("devices", f"{_WHERE}devices")
    return made


_kept: list[bytes] = []


def _usual_program() -> bytes:
    if not _kept:
        _kept.append(device_program.program(device_rules.ordered(())))
    return _kept[0]


_known: list[World] = []


def _here() -> World:
    if not _known:
        _known.append(World.of(cgroup.detect()))
    return _known[0]


def _rows(resources: "Mapping[str, Any]", world: World) -> "list[Row]":
    module = limits_v1 if world.version == 1 else limits_v2
    rows = list(module.rows(resources))
    for controller, _, _, key in rows:
        if key and controller and controller not in world.controllers:
            raise _missing(controller, key)
    return [row for row in rows if not row[0] or row[0] in world.controllers]


def _missing(controller: str, key: str) -> refusals.LaunchFailed:
    why = f"needs the cgroup controller {controller}, which this machine does not have or not hand out"
    return refusals.refused(key, f"{why}; take it out, or see /proc/cgroups and cgroup.controllers")
