"""What the reconciler needs of the other rooms. The real ones fit as they are; tests bring small fakes."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from agent.images.image import Image
from agent.network.attachment import Attached, Published
from agent.probes.prober import Prober
from agent.reconciler.configuration import Mounted
from agent.reconciler.files import Files
from agent.reconciler.volumes import Volumes
from agent.runtime.container import Exited, Launch, Running
from agent.runtime.entered import Entered
from orch.oci.tokens import CredentialsOf


class Runtime(Protocol):
    """agent.runtime.client.Runtime."""

    async def launch(self, launch: Launch) -> Running: ...
    async def containers(self) -> dict[str, Running | Exited]: ...
    async def signal(self, container: str, signum: int) -> None: ...
    async def stop(self, container: str, *, signum: int, grace_seconds: float) -> Exited: ...
    async def kill(self, container: str) -> None: ...
    async def remove(self, container: str) -> None: ...
    async def remove_sandbox(self, sandbox: str) -> None: ...
    async def enter(self, container: str, *, args: list[str]) -> Entered: ...


class Images(Protocol):
    """agent.images.images.Images."""

    def find(self, reference_text: str) -> Image | None: ...
    async def pull(
        self,
        reference_text: str,
        *,
        policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent",
        on_progress: Callable[[int, int], None] | None = None,
        credentials: CredentialsOf | None = None,
    ) -> Image: ...


class Network(Protocol):
    """agent.network.network.Network."""

    def attached(self) -> dict[str, Attached]: ...
    async def attach(self, task: str) -> Attached: ...
    async def publish(self, task: str, published: Sequence[Published]) -> None: ...
    async def unpublish(self, task: str) -> None: ...
    async def detach(self, task: str) -> None: ...


@dataclass(slots=True)
class Rooms:
    """Where steps are carried out. The network opens when the node has its address range."""

    runtime: Runtime
    images: Images
    files: Files
    prober: Prober
    logs: Path
    volumes: Volumes
    network: Network | None = None
    prepared: dict[str, dict[str, tuple[Mounted, ...]]] = field(default_factory=dict)
    """What the containers of each task mount."""
    others: Collection[str] = ()
    """Keys of what has a place in the network without being a task: builds under way."""
