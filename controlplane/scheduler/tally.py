"""How many tasks of a service are on each node, by what counts for spreading and for limits."""

from collections import Counter

from controlplane.cluster.snapshot import Cluster
from orch.model.names import ServiceName
from orch.model.task import TaskState, Wanted


class Tally:
    """By node name; kept in step with what is placed in this round."""

    def __init__(self, cluster: Cluster, name: ServiceName) -> None:
        self.all: Counter[str] = Counter()
        """Everything that has not finished, also what is to stop: for maxPerNode."""
        self._staying: dict[int, Counter[str]] = {}
        self._failed: dict[int, Counter[str]] = {}
        slots: dict[tuple[int, int], str] = {}
        for task in reversed(cluster.tasks_of(name)):
            if not task.node:
                slots.setdefault((task.id.birth, task.id.slot), "")
                continue
            if cluster.has_finished(task):
                if task.wanted is Wanted.RUN and cluster.state(task.id) is not TaskState.COMPLETE:
                    self.failed(task.revision)[task.node] += 1
                continue
            self.all[task.node] += 1
            slot = (task.id.birth, task.id.slot)
            if task.wanted is Wanted.RUN and slot not in slots:
                slots[slot] = task.node
                self.staying(task.revision)[task.node] += 1

    def staying(self, revision: int) -> Counter[str]:
        """Tasks of the revision that will stay: of a slot with a successor, the successor. For spreading."""
        return self._staying.setdefault(revision, Counter())

    def failed(self, revision: int) -> Counter[str]:
        """Tasks of the revision that failed or were rejected there and are still known."""
        return self._failed.setdefault(revision, Counter())

    def add(self, revision: int, node: str) -> None:
        self.all[node] += 1
        self.staying(revision)[node] += 1
