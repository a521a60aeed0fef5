"""Rules that span the fields of one container: its words, mounts, amounts and probes."""

import posixpath
import re
from collections.abc import Iterable, Iterator

from orch.manifest.labels import entry_fault
from orch.manifest.problem import Path, did_you_mean
from orch.model.container import ContainerSpec, FileMount, VolumeMount
from orch.model.policy import PortSpec
from orch.model.probe import ProbeSpec
from orch.oci import reference
from orch.oci.failure import ImageFailure

_USER = re.compile(r"[^\s:]+(:[^\s:]+)?")

Found = Iterator[tuple[Path, str, str]]
"""Path, what is wrong, what to do."""


def of_container(container: ContainerSpec, at: Path) -> Found:
    try:
        reference.parse(container.image)
    except ImageFailure as failure:
        yield (*at, "image"), str(failure), ""
    for key in container.environment:
        if not key or "=" in key or "\0" in key:
            yield (*at, "environment", key), f'"{key}" cannot be the name of a variable', ""
    for field in ("entrypoint", "command"):
        words = getattr(container, field)
        if any("\0" in word for word in words):
            yield (*at, field), f'"{field}" holds a NUL character', ""
    if container.working_dir and not container.working_dir.startswith("/"):
        yield (*at, "workingDir"), f'"{container.working_dir}" is not an absolute path', ""
    if container.user and not _USER.fullmatch(container.user):
        yield (*at, "user"), f'"{container.user}" is not a user', "write user, uid, user:group or uid:gid"
    yield from _mounts(container, at)
    yield from _resources(container, at)


def _mounts(container: ContainerSpec, at: Path) -> Found:
    taken: dict[str, Path] = {}
    for path, mount in _all_mounts(container):
        here = (*at, *path)
        if isinstance(mount, VolumeMount):
            yield from _volume(mount, here)
        elif mount.key and (fault := entry_fault(mount.key)):
            yield (*here, "key"), fault, ""
            continue
        target = _target(mount, path[0] == "secrets")
        if not target:
            continue
        if not target.startswith("/") or ".." in target.split("/") or "\0" in target:
            yield (*here, "target"), f'"{target}" is not an absolute path without ".."', ""
        elif posixpath.normpath(target) == "/":
            yield (*here, "target"), "nothing can be mounted over /", "choose a directory in it"
        elif posixpath.normpath(target) in taken:
            yield (*here, "target"), f'"{target}" is mounted twice', "give each mount a target of its own"
        taken[posixpath.normpath(target)] = here


def _all_mounts(container: ContainerSpec) -> Iterator[tuple[Path, FileMount | VolumeMount]]:
    for field in ("configs", "secrets", "volumes"):
        for index, mount in enumerate(getattr(container, field)):
            yield (field, index), mount


def _target(mount: FileMount | VolumeMount, is_secret: bool) -> str:
    """Where it lies in the container; empty where only the control plane can know (the key is left out)."""
    if mount.target or isinstance(mount, VolumeMount) or not mount.key:
        return mount.target
    return f"/run/secrets/{mount.key}" if is_secret else f"/{mount.key}"


def _volume(mount: VolumeMount, at: Path) -> Found:
    if mount.type == "bind":
        if not mount.source:
            yield at, 'a bind volume needs "source"', "write where it lies on the node: /srv/www"
        elif not mount.source.startswith("/"):
            yield (
                (*at, "source"),
                f'"{mount.source}" is not an absolute path',
                "write where it lies on the node: /srv/www",
            )
        if mount.size:
            yield (*at, "size"), "only a tmpfs has a size", "remove it"
    elif mount.source:
        yield (*at, "source"), "a tmpfs has no source", "remove it"
    if not mount.target:
        yield (*at, "target"), "a volume needs a target", ""


def _resources(container: ContainerSpec, at: Path) -> Found:
    requests, limits = container.resources.requests, container.resources.limits
    for field in ("cpu", "memory"):
        asked, most = getattr(requests, field), getattr(limits, field)
        if most and asked > most:
            yield (
                (*at, "resources", "requests", field),
                f"the request for {field} is greater than its limit",
                "",
            )
    if requests.pids:
        yield (*at, "resources", "requests", "pids"), "pids can only be limited", "write it under limits"


def of_probe(probe: ProbeSpec, ports: Iterable[PortSpec], kind: str, at: Path) -> Found:
    check_kind = "http" if probe.http else "tcp"
    wanted = (probe.http or probe.tcp) and (probe.http or probe.tcp).port  # type: ignore[union-attr]
    named = {port.name: port for port in ports if port.name}
    here = (*at, check_kind, "port")
    if isinstance(wanted, str):
        if wanted not in named:
            near = did_you_mean(wanted, named)
            hint = near or f"add {{name: {wanted or 'http'}, target: …}} to ports, or write a number"
            yield here, f'the port "{wanted}" is not declared', hint
        elif named[wanted].protocol == "udp":
            yield here, f'the port "{wanted}" is udp; {check_kind} needs tcp', ""
    elif isinstance(wanted, int) and not 1 <= wanted <= 65535:
        yield here, f"{wanted} is not a port", "write a number from 1 to 65535"
    if probe.http and not probe.http.path.startswith("/"):
        yield (*at, "http", "path"), f'the path "{probe.http.path}" must begin with /', ""
    if kind != "readiness" and probe.success_threshold != 1:
        yield (*at, "successThreshold"), f"successThreshold of a {kind} probe must be 1", ""
