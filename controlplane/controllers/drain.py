"""A node that is drained, or has a NoExecute taint, empties.

Drain asks; replication moves: first a successor elsewhere, then the incumbent goes, within surge and floor.
"""

from controlplane.cluster import fitness
from controlplane.cluster.snapshot import Cluster
from orch.model.task import Task


def reason_to_leave(cluster: Cluster, task: Task) -> str:
    """Why the task has to leave its node; empty when it may stay."""
    node = cluster.node(task.node) if task.node else None
    if node is None:
        return ""
    template = cluster.template(task.id.owner, task.revision)
    return fitness.reason_to_leave(template.placement, node) if template else ""
