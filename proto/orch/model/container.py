"""What runs: one container's image, process, mounts, limits and probes."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from orch.model.names import Name
from orch.model.probe import ProbeSpec
from orch.model.quantity import Bytes, Cpu
from orch.model.security import SecuritySpec
from orch.model.spec import Spec


class PullPolicy(StrEnum):
    """When a node asks the registry for the image."""

    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


class ResourceAmounts(Spec):
    """Amounts of what a node has. Zero means: not given."""

    cpu: Cpu = 0
    """Cores: "0.25", 2, or thousandths: 250m."""
    memory: Bytes = 0
    """Bytes: 64Mi, 128M, 1.5Gi."""
    pids: Annotated[int, Field(ge=0)] = 0
    """Processes and threads; only as a limit."""


class ResourceSpec(Spec):
    """What a container is promised, and what it may not exceed."""

    requests: ResourceAmounts = ResourceAmounts()
    """Set aside for the container when a node is chosen. A missing request is its limit."""
    limits: ResourceAmounts = ResourceAmounts()
    """Enforced by the kernel. More memory is an OOM kill, more cpu is throttled."""


class FileMount(Spec):
    """A config or secret as a file in the container."""

    source: Name
    """Name of the Config or Secret, in the service's namespace."""
    key: str = ""
    """Which entry of it; may be left out when it has only one."""
    target: str = ""
    """Absolute path in the container. Default: /KEY for a config, /run/secrets/KEY for a secret."""
    mode: Annotated[int, Field(ge=0, le=0o7777)] = 0
    """Permission bits. Default: 0444 for a config, 0400 for a secret."""
    version: Annotated[int, Field(ge=0)] = 0
    """Pinned by the control plane at apply; not written by users."""


class VolumeMount(Spec):
    """A directory of the host, or memory, in the container."""

    type: Literal["bind", "tmpfs"] = "bind"
    """bind: a path of the node; tmpfs: memory that ends with the container."""
    source: str = ""
    """bind: absolute path on the node."""
    target: str
    """Absolute path in the container."""
    read_only: bool = False
    """The container may not write to it."""
    size: Bytes = 0
    """tmpfs: the most it may hold; 0 is 64Mi."""


class ContainerSpec(Spec):
    """One container of a task."""

    name: Name = "main"
    """Unique among the service's containers."""
    image: str
    """Image reference: registry.example.com/web:1.4.2, or with @sha256:…"""
    pull_policy: PullPolicy = PullPolicy.IF_NOT_PRESENT
    """Always, IfNotPresent or Never."""
    entrypoint: tuple[str, ...] = ()
    """Replaces the image's ENTRYPOINT."""
    command: tuple[str, ...] = ()
    """Replaces the image's CMD."""
    environment: dict[str, str] = Field(default_factory=dict)
    """A map, or a list of KEY=VALUE. Added to the image's own."""
    user: str = ""
    """user, uid, user:group or uid:gid. Default: the image's."""
    working_dir: str = ""
    """Absolute path. Default: the image's."""
    configs: tuple[FileMount, ...] = ()
    """Configs as files."""
    secrets: tuple[FileMount, ...] = ()
    """Secrets as files, in memory only."""
    volumes: tuple[VolumeMount, ...] = ()
    """Host directories ("/srv/www:/www:ro") and tmpfs."""
    resources: ResourceSpec = ResourceSpec()
    """Requests and limits."""
    startup: ProbeSpec | None = None
    """Until it passes, the other probes wait; when it fails for good, the container is restarted."""
    readiness: ProbeSpec | None = None
    """While it fails, the task gets no traffic and does not count as available."""
    liveness: ProbeSpec | None = None
    """When it fails, the container is restarted."""
    init: bool = False
    """Run a tiny init as PID 1, which reaps zombies and forwards signals."""
    security: SecuritySpec = SecuritySpec()
    """What it may do beyond, or less than, the usual."""
    ulimits: dict[str, str] = Field(default_factory=dict)
    """Limits of each process: {nofile: 65536, memlock: unlimited, nproc: "1024:4096"} (soft, or soft:hard)."""
    shm_size: Bytes = 0
    """How much /dev/shm holds; 0 is 64Mi."""
    tty: bool = False
    """Its main process has a terminal, into which `orchctl attach -it` types."""
    stdin: bool = False
    """Its main process has a standard input that stays open, which `orchctl attach -i` writes to."""
