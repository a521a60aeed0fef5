"""Where a container's cgroup lies: `linux.cgroupsPath` of a configuration, as a path below the mounts (pure)."""

from agent.runtime import refusals

_PARENT = "orchrun"


def of(path: str, container: str, *, systemd: bool = False) -> str:
    """A group, without a leading slash. A path that is not absolute lies below a parent of ours.

    In systemd's form, "slice:prefix:name", the slice is spelt out: "a-b.slice" lies in "a.slice".
    """
    if systemd:
        return _of_slice(path or f":orchrun:{container}", container)
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise refusals.refused("linux.cgroupsPath", f"{path} leads out of the hierarchy")
    if path and not parts:
        raise refusals.refused(
            "linux.cgroupsPath", f"{path} is the root of the hierarchy; name a group below it"
        )
    if not path.startswith("/"):
        parts = [_PARENT, *(parts or [container])]
    return "/".join(parts)


def _of_slice(path: str, container: str) -> str:
    fields = path.split(":")
    if len(fields) != 3 or any("/" in field or field in {".", ".."} for field in fields):
        why = f"{path} is not of the form slice:prefix:name, which systemd wants"
        raise refusals.refused("linux.cgroupsPath", why)
    slice_name, prefix, name = fields
    slice_name, name = slice_name or "system.slice", name or container
    unit = name if name.endswith(".slice") else f"{prefix}-{name}.scope" if prefix else f"{name}.scope"
    if slice_name == "-.slice":
        return unit
    parents: list[str] = []
    for word in slice_name.removesuffix(".slice").split("-"):
        parents.append(f"{parents[-1]}-{word}" if parents else word)
    return "/".join([*(f"{parent}.slice" for parent in parents), unit])
