"""Where the group of a container lies, by what its configuration says (pure)."""

from agent.runtime import refusals

_KEY = "linux.cgroupsPath"
_DEFAULT_SLICE = "system.slice"


def of(path: str, container: str, *, systemd: bool = False, prefix: str = "orchrun") -> str:
    """The group, below the mounts. Without a path it is one of the container's own.

    `systemd`: the path is slice:prefix:name, the words that podman and docker use with systemd.
    """
    if systemd:
        parent, name = unit(path, container, prefix=prefix)
        return "/".join([*_slices(parent), name])
    parts = [part for part in (path or f"{prefix}/{container}").split("/") if part not in {"", "."}]
    if not parts or ".." in parts or any(":" in part and part.count(":") == 2 for part in parts):
        hint = "; slice:prefix:name is understood with --systemd-cgroup" if ":" in path else ""
        raise refusals.refused(_KEY, f"{path} is no path of a group{hint}")
    return "/".join(parts)


def unit(path: str, container: str, *, prefix: str = "orchrun") -> tuple[str, str]:
    """The slice, and the unit in it, that slice:prefix:name means."""
    words = path.split(":") if path else [_DEFAULT_SLICE, prefix, container]
    if len(words) != 3 or "/" in path or not words[2]:
        raise refusals.refused(_KEY, f"{path} is not slice:prefix:name, as --systemd-cgroup wants it")
    parent, before, name = words
    made = name if name.endswith(".slice") else f"{before}-{name}.scope" if before else f"{name}.scope"
    return parent or _DEFAULT_SLICE, made


def _slices(name: str) -> list[str]:
    """a-b.slice lies in a.slice; -.slice is the root."""
    if name == "-.slice":
        return []
    stem = name.removesuffix(".slice")
    parts = stem.split("-")
    if stem == name or not all(parts):
        raise refusals.refused(_KEY, f"names the slice {name}; slices are written like a-b.slice")
    return [f"{'-'.join(parts[: place + 1])}.slice" for place in range(len(parts))]
