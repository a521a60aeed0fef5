"""What is asked for: tasks that are alike in everything that decides where they may run."""

from dataclasses import dataclass

from controlplane.cluster.snapshot import Cluster
from controlplane.scheduler.tally import Tally
from orch.model.names import ServiceName
from orch.model.policy import PlacementSpec, PortSpec
from orch.model.resources import Resources
from orch.model.task import Task


@dataclass(frozen=True, slots=True)
class Request:
    """One service, one revision, one set of nodes it is bound to."""

    service: ServiceName
    revision: int
    placement: PlacementSpec
    resources: Resources
    ports: tuple[PortSpec, ...]
    """Those that are published on the node."""
    bound_to: tuple[str, ...]
    tally: Tally
    canary_nodes: tuple[str, ...]
    """Nodes of the service's canary step, if it is one by nodes."""
    is_canary: bool
    """The revision is the one that is tried on them."""


def of(cluster: Cluster, task: Task, tally: Tally) -> Request | None:
    """None when the task's revision is not known."""
    name = task.id.owner
    template = cluster.template(name, task.revision)
    if template is None:
        return None
    rollout = cluster.rollout(name)
    return Request(
        service=name,
        revision=task.revision,
        placement=template.placement,
        resources=cluster.requested_by(task),
        ports=tuple(port for port in template.ports if port.is_on_host),
        bound_to=task.bound_to,
        tally=tally,
        canary_nodes=rollout.nodes if rollout else (),
        is_canary=rollout is not None and task.revision == rollout.target != rollout.stable,
    )
