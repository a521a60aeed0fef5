"""When a task whose node is gone may be replaced: the service's word, `onNodeLoss`."""

from dataclasses import dataclass
from typing import assert_never

from controlplane.cluster.snapshot import Cluster
from orch.model.policy import NodeLoss
from orch.model.service import TaskTemplate
from orch.model.task import Task

STOP_MARGIN_SECONDS = 10.0
"""Beyond stopAfter, drain delay and grace: for clocks that run apart and a kernel that is slow to kill."""


@dataclass(frozen=True, slots=True)
class Loss:
    """The node of a task is gone."""

    reason: str
    replaceable_at: float | None
    """From when on a replacement may be made; None is never, unless the node comes back or is removed."""


def of(cluster: Cluster, task: Task) -> Loss | None:
    """None while the task's node is heard from."""
    if not cluster.is_lost(task):
        return None
    node = cluster.node(task.node)
    if node is None:
        return Loss(f"{task.node} was removed", 0.0)
    template = cluster.template(task.id.owner, task.revision)
    return Loss(f"{task.node} is down", _replaceable_at(template, node.status.since))


def _replaceable_at(template: TaskTemplate | None, down_since: float) -> float | None:
    """The node counts from its last contact, which was before we called it down: we wait longer."""
    if template is None:
        return 0.0
    policy = template.on_node_loss
    match policy.action:
        case NodeLoss.REPLACE:
            return 0.0
        case NodeLoss.WAIT:
            return None
        case NodeLoss.STOP_AFTER:
            stopping = template.drain_delay + template.stop.grace_period
            return down_since + policy.stop_after + stopping + STOP_MARGIN_SECONDS
        case _:
            assert_never(policy.action)
