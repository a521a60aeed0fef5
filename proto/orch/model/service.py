"""A service: what the user asked for, its revisions, and what the user said of its rollout."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from orch.model.container import ContainerSpec
from orch.model.names import ServiceName
from orch.model.network import DnsSpec, NetworkSpec, RouteSpec
from orch.model.policy import OnNodeLoss, PlacementSpec, PortSpec, RestartPolicy, RolloutPolicy, StopPolicy
from orch.model.resources import Resources
from orch.model.spec import Spec


class Mode(StrEnum):
    """How many instances a service has."""

    REPLICATED = "replicated"
    GLOBAL = "global"


class TaskTemplate(Spec):
    """Everything that makes a task what it is. A change here, and only here, makes a new revision."""

    containers: Annotated[tuple[ContainerSpec, ...], Field(min_length=1)]
    """Run together; they share the task's network."""
    init_containers: tuple[ContainerSpec, ...] = ()
    """Run before, one after the other; each must end with 0."""
    ports: tuple[PortSpec, ...] = ()
    """Ports that the containers listen on."""
    placement: PlacementSpec = PlacementSpec()
    """Where tasks may run."""
    restart: RestartPolicy = RestartPolicy()
    """What the node does when a container ends."""
    stop: StopPolicy = StopPolicy()
    """How a task is ended."""
    on_node_loss: OnNodeLoss = OnNodeLoss()
    """What happens to a task whose node is gone."""
    annotations: dict[str, str] = Field(default_factory=dict)
    """Free words; `rollout restart` writes orch/restartedAt here."""
    hostname: str = ""
    """What the containers call their machine. Default: the task's name."""
    extra_hosts: dict[str, str] = Field(default_factory=dict)
    """Names for /etc/hosts: {db.example: 10.0.0.5}; the address host-gateway is the node's."""
    dns: DnsSpec = DnsSpec()
    """How short names are completed."""

    @property
    def drain_delay(self) -> float:
        """Seconds between leaving every table and the stop signal."""
        if self.stop.drain_delay is not None:
            return self.stop.drain_delay
        return 2.0 if self.ports else 0.0

    @property
    def requests(self) -> Resources:
        """What a node sets aside for one task: its containers run together, its init containers one by one."""
        together = Resources.sum_of(Resources.requested_by(each.resources) for each in self.containers)
        return together.at_least(Resources.requested_by(each.resources) for each in self.init_containers)


class ServiceSpec(Spec):
    """What the user asks for."""

    mode: Mode = Mode.REPLICATED
    """replicated, or global: one on each eligible node."""
    replicas: Annotated[int, Field(ge=0, le=10_000)] | None = None
    """How many instances. Left out: the live number stays, or 1 for a new service."""
    template: TaskTemplate
    """What an instance is."""
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    """Of two that wait for a place, the greater is placed first."""
    rollout: RolloutPolicy = RolloutPolicy()
    """How one revision replaces another."""
    network: NetworkSpec = NetworkSpec()
    """Who may reach it, and whom it may reach."""
    routes: tuple[RouteSpec, ...] = ()
    """HTTP requests that are led to it."""


ALL_STEPS = -1


@dataclass(frozen=True, slots=True)
class RolloutOrders:
    """What the user said of a rollout; each names the revision it was said of, 0 is none."""

    paused: bool = False
    promoted_revision: int = 0
    promoted_steps: int = 0
    """Canary steps of `promoted_revision` that the user let pass, or ALL_STEPS."""
    aborted_revision: int = 0


@dataclass(frozen=True, slots=True)
class Service:
    """A service as it is stored: the user's side of it."""

    name: ServiceName
    spec: ServiceSpec
    labels: dict[str, str] = field(default_factory=dict)
    generation: int = 1
    """Counts every accepted change."""
    revision: int = 1
    """The revision that the spec's template makes."""
    birth: int = 0
    """The store revision that began this life; 0 while it is being created (the store's create revision holds)."""
    deleted: bool = False
    """A tombstone: it goes when its tasks have gone."""
    created_at: float = 0.0
    updated_at: float = 0.0
    updated_by: str = ""
    orders: RolloutOrders = RolloutOrders()

    @property
    def replicas(self) -> int:
        """The wanted number of instances of a replicated service."""
        return 0 if self.deleted else (1 if self.spec.replicas is None else self.spec.replicas)


@dataclass(frozen=True, slots=True)
class Revision:
    """An immutable template of a service, who made it, when and why."""

    service: ServiceName
    number: int
    template: TaskTemplate
    created_at: float = 0.0
    created_by: str = ""
    change: str = ""
    """In a few words: `image web:1 → web:2`."""
