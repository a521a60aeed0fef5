"""All that one node needs to know: four sections, each whole at its version."""

from dataclasses import dataclass, field

from orch.model.cluster import Stamp
from orch.model.names import ObjectName, ServiceName, TaskId
from orch.model.network import NetworkSpec, RouteSpec
from orch.model.policy import PortSpec
from orch.model.service import TaskTemplate
from orch.model.task import Wanted

OPEN = NetworkSpec()


@dataclass(frozen=True, slots=True)
class AssignedTask:
    """A task of this node, and whether it is to run."""

    id: TaskId
    revision: int
    wanted: Wanted
    drained: bool = False
    """Of one that is to stop: no node leads anybody to it any more, so its drain delay may begin."""


@dataclass(frozen=True, slots=True)
class AssignedTemplate:
    """The template of one revision, sent once for all tasks of it."""

    service: ServiceName
    birth: int
    revision: int
    template: TaskTemplate


@dataclass(frozen=True, slots=True)
class TaskSection:
    """The tasks of the node. A task that is not in it must not be there."""

    stamp: Stamp
    version: int = 0
    tasks: tuple[AssignedTask, ...] = ()
    templates: tuple[AssignedTemplate, ...] = ()
    kept_images: tuple[str, ...] = ()
    """Images of the revisions to which the services of these tasks may go back."""


@dataclass(frozen=True, slots=True)
class File:
    """One version of a config or secret that some task of the node mounts."""

    name: ObjectName
    version: int
    secret: bool = False
    data: dict[str, bytes] = field(default_factory=dict)
    type: str = ""
    """Of a secret: `registry` holds credentials that the node shows when it pulls."""


@dataclass(frozen=True, slots=True)
class FileSection:
    """Configs and secrets, by reference and version."""

    stamp: Stamp
    version: int = 0
    files: tuple[File, ...] = ()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A task of a service that has an address. Connections are led to it only while it is ready."""

    task: TaskId
    node: str
    addresses: tuple[str, ...]
    ready: bool = True
    revision: int = 0
    targets: tuple[int, ...] = ()
    """Its ports, in the order of the service's, where its revision differs from that; 0 has none."""


@dataclass(frozen=True, slots=True)
class RevisionShare:
    """How much of the requests by routes goes to the endpoints of one revision, against those of the others."""

    revision: int
    weight: int


@dataclass(frozen=True, slots=True)
class ServiceEndpoints:
    """One service: where it is reached, who may, and what is behind it."""

    service: ServiceName
    endpoints: tuple[Endpoint, ...] = ()
    virtual_addresses: tuple[str, ...] = ()
    ports: tuple[PortSpec, ...] = ()
    network: NetworkSpec = OPEN
    routes: tuple[RouteSpec, ...] = ()
    shares: tuple[RevisionShare, ...] = ()
    """Of the requests by routes; without them each endpoint has as much as another."""


@dataclass(frozen=True, slots=True)
class EndpointSection:
    """All services, by name, and what is behind them; on the wire also what is different from an earlier one."""

    stamp: Stamp
    version: int = 0
    services: tuple[ServiceEndpoints, ...] = ()
    base: int = 0
    """The version that this is the difference to; 0: it is whole."""
    gone: tuple[ObjectName, ...] = ()
    """Of a difference: services that are there no more."""


@dataclass(frozen=True, slots=True)
class PeerNode:
    """Another node of the cluster, and the addresses behind it."""

    name: str
    address: str
    subnets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PeerSection:
    """The node's own ranges, and the other nodes."""

    stamp: Stamp
    version: int = 0
    subnets: tuple[str, ...] = ()
    """This node's own."""
    task_range: str = ""
    service_range: str = ""
    peers: tuple[PeerNode, ...] = ()


Section = TaskSection | FileSection | EndpointSection | PeerSection
