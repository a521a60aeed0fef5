"""The transient scope in which systemd keeps a container: begun around its first process, changed, ended.

systemd and we write the same cgroup. What it has a property for is told to it, so that it does not undo it;
the files have the last word, as they know more (Delegate=yes: all below the scope is ours).
"""

from agent.orchrun import systemd, unit_properties
from agent.orchrun.errors import Failed
from agent.runtime import cgroup_files, cgroup_place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from agent.orchrun.call import Call
    from agent.orchrun.store import Record
    from agent.runtime.cgroup import Limits

_WITHOUT = (
    "systemd cgroup flag passed, but systemd does not run this machine (there is no /run/systemd/system); "
    "use --cgroup-manager cgroupfs (podman: cgroup_manager = cgroupfs in containers.conf; "
    "docker: native.cgroupdriver=cgroupfs in exec-opts)"
)


def named(path: str, container: str) -> tuple[str, str]:
    """Slice and unit of a container; refused where systemd is not there to keep it."""
    if not systemd.is_running():
        raise Failed(_WITHOUT)
    parent, unit = cgroup_place.unit(path, container)
    if unit.endswith(".slice"):
        raise Failed(f"linux.cgroupsPath: {unit} is a slice; systemd keeps processes in scopes: name one")
    return parent, unit


def begin(call: "Call", record: "Record", limits: "Limits") -> None:
    """Its first process is there, in its group, which systemd takes over; it has not been told to go on."""
    unit, group = record["unit"], record["group"]
    with systemd.Systemd() as manager:
        manager.start(
            unit,
            [
                ("Description", ("s", f"orchrun container {record['id']}")),
                ("Slice", ("s", record["slice"])),
                ("PIDs", ("au", [record["pid"]])),
                ("Delegate", ("b", True)),
                ("DefaultDependencies", ("b", False)),
                *((f"{kind}Accounting", ("b", True)) for kind in _accounted(call)),
                *unit_properties.of(limits["rows"], manager.version()),
                *_devices(call, limits),
                *unit_properties.of_annotations(record["annotations"]),
            ],
        )
    # Attached once already, the program for devices is not attached again.
    call.cgroups.create(group, {**limits, "devices": b""})
    call.cgroups.spread(group)
    call.cgroups.join(group, record["pid"])
    _check(record)


def change(call: "Call", record: "Record", limits: "Limits") -> None:
    """The files first: what the kernel refuses is not told to systemd; and last, as it rounds."""
    with systemd.Systemd() as manager:
        call.cgroups.update(record["group"], limits)
        properties = unit_properties.of(limits["rows"], manager.version())
        if properties:
            manager.change(record["unit"], properties)
            call.cgroups.update(record["group"], limits)


def end(record: "Record") -> None:
    """Its processes have ended; no unit of this name is left, not even as failed."""
    with systemd.Systemd() as manager:
        manager.stop(record["unit"])
        manager.forget(record["unit"])


def _accounted(call: "Call") -> tuple[str, ...]:
    return ("CPU", "Memory", "Tasks", "IO" if call.cgroups.version == 2 else "BlockIO")


def _devices(call: "Call", limits: "Limits") -> "list[unit_properties.Property]":
    """Only where they are rows of v1: systemd and we may both attach programs to a group, which all must agree."""
    if call.cgroups.version == 2 or call.cgroups.unified:
        return []
    return unit_properties.of_devices(limits.get("device_rows", []), cgroup_files.read("/proc/devices"))


def _check(record: "Record") -> None:
    """That systemd put it where its name says: it writes a few names of groups in another way."""
    lines = cgroup_files.read(f"/proc/{record['pid']}/cgroup").splitlines()
    if lines and not any(line.endswith(f":/{record['group']}") for line in lines):
        raise Failed(f"systemd put {record['unit']} into {lines[-1]}, and not into {record['group']}")
