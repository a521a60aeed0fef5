"""Pending tasks → a node each, or the reason why there is none.

Highest priority first; of one service those that are bound to nodes first. Nodes are filtered once for all
tasks that ask for the same.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby

from controlplane.cluster.change import AssignTask, Waiting
from controlplane.cluster.snapshot import Cluster
from controlplane.scheduler import explain, filters, request
from controlplane.scheduler.board import Board
from controlplane.scheduler.request import Request
from controlplane.scheduler.scores import Best, Candidates
from controlplane.scheduler.tally import Tally
from orch.model.names import ServiceName
from orch.model.task import Task

Placed = AssignTask | Waiting


def place(cluster: Cluster, tasks: Iterable[Task]) -> Iterator[Placed]:
    """One answer for each of the tasks, which must be pending."""
    board = Board(cluster)
    tallies: dict[ServiceName, Tally] = {}
    order = sorted(((_urgency(cluster, task), task) for task in tasks), key=lambda each: each[0])
    for _, alike in groupby((task for _, task in order), key=_likeness):
        group = list(alike)
        name = group[0].id.owner
        if name not in tallies:
            tallies[name] = Tally(cluster, name)
        asked = request.of(cluster, group[0], tallies[name])
        if asked is None:
            yield from (Waiting(task.id, f"revision {task.revision} is not known yet") for task in group)
        else:
            yield from _place_alike(board, asked, group)


def place_service(cluster: Cluster, name: ServiceName) -> list[Placed]:
    """All pending tasks of one service."""
    pending = cluster.pending(name)
    return list(place(cluster, pending)) if pending else []


def place_all(cluster: Cluster) -> list[Placed]:
    """All pending tasks of the cluster: when capacity was freed, the most urgent of all gets it."""
    return list(place(cluster, (task for name in cluster.tasks for task in cluster.pending(name))))


def _urgency(cluster: Cluster, task: Task) -> tuple[object, ...]:
    service = cluster.service(task.id.owner)
    priority = service.spec.priority if service else 0
    owner, bound = task.id.owner, task.bound_to
    return (-priority, owner, not bound, bound, task.revision, task.id.slot, task.id.attempt)


def _likeness(task: Task) -> tuple[object, ...]:
    return (task.id.owner, task.revision, task.bound_to)


def _place_alike(board: Board, asked: Request, group: list[Task]) -> Iterator[Placed]:
    capacity, resources = board.capacity, asked.resources
    nodes = [i for i in board.indexes(filters.static(board, asked)) if capacity.fits(i, resources)]
    candidates = Candidates(board, asked, nodes)
    for number, task in enumerate(group):
        best = _best_that_fits(board, asked, candidates)
        if best is None:
            reason = explain.why_nowhere(board, asked)
            yield from (Waiting(each.id, reason) for each in group[number:])
            return
        name = board.names[best.node]
        capacity.take(best.node, resources)
        asked.tally.add(asked.revision, name)
        ports = capacity.take_ports(best.node, asked.ports, str(task.id)) if asked.ports else ()
        yield AssignTask(task.id, name, explain.won_by(best, candidates.size), ports)
        if asked.ports:
            candidates.take_and_drop()
        else:
            candidates.take()


def _best_that_fits(board: Board, asked: Request, candidates: Candidates) -> Best | None:
    """What filled up on the way is dropped when it comes to the top: room only shrinks within a round."""
    while (best := candidates.best()) is not None:
        if _still_fits(board, asked, best.node):
            return best
        candidates.drop()
    return None


def _still_fits(board: Board, asked: Request, i: int) -> bool:
    most = asked.placement.max_per_node
    if most and asked.tally.all[board.names[i]] >= most:
        return False
    if not board.capacity.fits(i, asked.resources):
        return False
    return not (asked.ports and board.capacity.port_holder(i, asked.ports))
