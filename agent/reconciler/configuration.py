"""A container of a task and its image's wishes → OCI runtime configuration (pure)."""

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.reconciler import confinement
from agent.reconciler.accounts import Account
from agent.runtime import spec as oci
from orch.model.container import ContainerSpec, ResourceSpec
from orch.oci.image_config import ImageConfig

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_TMPFS_BYTES = 64 << 20
DEFAULT_PIDS = 4096
"""Without a limit of its own a fork bomb would take the node; Podman's default is 2048."""
_SHARES_PER_CORE = 1024


class NothingToRun(ValueError):
    """Neither image nor service says what to run."""


@dataclass(frozen=True, slots=True)
class Mounted:
    """A file or directory of the node, and where the container sees it."""

    source: str
    target: str


def configuration(
    spec: ContainerSpec,
    image: ImageConfig,
    account: Account,
    *,
    hostname: str,
    netns: str,
    files: Iterable[Mounted] = (),
    volumes: Iterable[Mounted] = (),
    ours: int = confinement.EVERY_CAPABILITY,
    devices: Iterable[Mapping[str, Any]] = (),
    first_id: int = 0,
) -> dict[str, Any]:
    """`volumes`: those that the image declares; `ours`: the agent's own capabilities, as bits.

    `devices`: those of the node, for who may have them.
    `first_id`: the host's id for root of the task's users. Raises NothingToRun, confinement.NotHeld.
    """
    return oci.config(
        arguments(spec, image),
        env=environment(spec, image, account, hostname),
        cwd=spec.working_dir or image.working_dir or "/",
        uid=account.uid,
        gid=account.gid,
        groups=account.groups,
        hostname=hostname,
        network=netns,
        mounts=[
            *_volumes(spec, volumes),
            *(oci.bind(each.source, each.target, readonly=True) for each in files),
        ],
        devices=[*devices] if spec.security.privileged else [],
        first_id=first_id if confinement.has_own_users(spec) else 0,
        **_limits(spec.resources),
        **confinement.of(spec, account, ours),
    )


def arguments(spec: ContainerSpec, image: ImageConfig) -> Sequence[str]:
    """As Docker: a new entrypoint also puts the image's command aside. Raises NothingToRun."""
    entrypoint = spec.entrypoint or image.entrypoint
    command = spec.command or (() if spec.entrypoint else image.command)
    if not (entrypoint or command):
        raise NothingToRun(
            f"container {spec.name}: neither image {spec.image} nor the service says what to run: set command"
        )
    return (*entrypoint, *command)


def environment(
    spec: ContainerSpec, image: ImageConfig, account: Account, hostname: str
) -> Mapping[str, str]:
    """The image's, then ours where it says nothing, then the service's, which always wins."""
    found = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname, "HOME": account.home or "/"}
    found.update(image.environment)
    found.update(spec.environment)
    return found


def _volumes(spec: ContainerSpec, of_image: Iterable[Mounted]) -> list[dict[str, Any]]:
    """A directory before what lies below it, as Docker does it: nothing hides another."""
    found = [
        oci.tmpfs(each.target, size_bytes=each.size or DEFAULT_TMPFS_BYTES)
        if each.type == "tmpfs"
        else oci.bind(each.source, each.target, readonly=each.read_only, idmap=True)
        for each in spec.volumes
    ]
    found += [oci.volume(each.source, each.target) for each in of_image]
    return sorted(found, key=lambda mount: posixpath.normpath(mount["destination"]).count("/"))


def _limits(resources: ResourceSpec) -> dict[str, Any]:
    limits, requests = resources.limits, resources.requests
    shares = requests.cpu or limits.cpu
    return {
        "memory_bytes": limits.memory or None,
        "cpu_cores": limits.cpu / 1000 if limits.cpu else None,
        "cpu_shares": max(shares * _SHARES_PER_CORE // 1000, 2) if shares else None,
        "pids": limits.pids or DEFAULT_PIDS,
    }
