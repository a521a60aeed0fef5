"""How the slots of a service stand: what replication asks before it does anything. Questions only."""

from controlplane.cluster.snapshot import Cluster
from controlplane.controllers import backoff, drain, node_loss
from controlplane.controllers.slots import Slot
from controlplane.controllers.wants import Want
from orch.model.service import Service, TaskTemplate
from orch.model.task import Task


class Standing:
    """At one instant. What is the same for all tasks of a revision on a node is asked once."""

    def __init__(self, cluster: Cluster, service: Service, now: float) -> None:
        self._cluster, self._service, self._now = cluster, service, now
        self._reasons_to_leave: dict[tuple[int, str], str] = {}

    # ── of a task ────────────────────────────────────────────────────────────────────────────────────────

    def is_available(self, task: Task) -> bool:
        return self._cluster.is_available(task, self._now)

    def unfit(self, task: Task, want: Want) -> str:
        """Why the task is not what the slot is to have; empty when it is."""
        if task.revision != want.revision:
            return f"revision {want.revision} replaces {task.revision}"
        if want.bound_to and task.node and task.node not in want.bound_to:
            return f"revision {task.revision} belongs on {', '.join(want.bound_to)}"
        if not task.node and task.bound_to != want.bound_to:
            return f"revision {task.revision} belongs on {', '.join(want.bound_to) or 'any node'}"
        return self.must_leave(task, want)

    def must_leave(self, task: Task, _want: Want) -> str:
        """Why the task cannot stay where it is, whatever its revision."""
        loss = node_loss.of(self._cluster, task)
        if loss is not None and self.is_gone(task):
            return loss.reason
        where = (task.revision, task.node)
        if where not in self._reasons_to_leave:
            self._reasons_to_leave[where] = drain.reason_to_leave(self._cluster, task)
        return self._reasons_to_leave[where]

    def is_gone(self, task: Task) -> bool:
        """Its node is lost, and the service's word allows a replacement now."""
        loss = node_loss.of(self._cluster, task)
        return loss is not None and loss.replaceable_at is not None and loss.replaceable_at <= self._now

    def may_run_still(self, task: Task) -> bool:
        if self._cluster.has_finished(task):
            return False
        loss = node_loss.of(self._cluster, task)
        return loss is None or not self.is_gone(task)

    # ── of a slot ────────────────────────────────────────────────────────────────────────────────────────

    def is_in_flight(self, slot: Slot, revision: int) -> bool:
        """Its task of the wanted revision is not there yet; a lost one tells nothing of the revision."""
        if len(slot.live) > 1:
            return True
        task = slot.latest
        if task is None or task.revision != revision or self._cluster.is_lost(task):
            return False
        if slot.live:
            return not self.is_available(slot.live[0])
        return not self.due(slot, revision).done

    def due(self, slot: Slot, revision: int) -> backoff.Due:
        """When the slot may get a task of the revision."""
        template = self._template(revision)
        return backoff.due(self._cluster, slot.past, revision, template) if template else backoff.NOW

    # ── of a revision ────────────────────────────────────────────────────────────────────────────────────

    def excludes_itself(self, revision: int) -> bool:
        """Two of its tasks cannot be on one node."""
        template = self._template(revision)
        if template is None:
            return False
        return template.placement.max_per_node == 1 or any(port.is_on_host for port in template.ports)

    def _template(self, revision: int) -> TaskTemplate | None:
        return self._cluster.template(self._service.name, revision)
