"""What users see of the picture: counts, one word for the status, one sentence for the reason. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from controlplane.cluster import snapshot, traffic
from controlplane.controllers import backoff, slots
from controlplane.store import keys
from orch import wire
from orch.model.config import Secret
from orch.model.names import ServiceName, TaskId
from orch.model.node import Node
from orch.model.rollout import Outcome, Phase, Rollout
from orch.model.service import Revision, Service
from orch.model.task import Task, TaskState, Wanted
from orch.v1 import control_pb2 as pb

TRAFFIC_SECONDS = 60.0
"""Over which requests are told."""
Reasons = Mapping[TaskId | ServiceName, str]
"""Why something waits, as the loop last decided."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Of the service's present life."""

    desired: int
    updated: int
    ready: int
    running: int
    live: int
    complete: int
    """Slots that are empty because their task ended well, and is not to run again."""


def service_view(
    cluster: snapshot.Cluster,
    service: Service,
    reasons: Reasons,
    by_routes: Sequence[tuple[int, traffic.Window]] = (),
) -> pb.ServiceView:
    """One line of `get services`, and more."""
    rollout = cluster.rollout(service.name)
    counts = count(cluster, service)
    status = status_word(service, rollout, counts)
    settled = status in {"Running", "Complete"}
    return pb.ServiceView(
        service=wire.to_wire(service),
        rollout=wire.to_wire(rollout) if rollout else None,
        desired=counts.desired,
        updated=counts.updated,
        ready=counts.ready,
        running=counts.running,
        status=status,
        reason="" if settled else reason_of(cluster, service, rollout, reasons),
        rings=rings(cluster, service, rollout),
        mod_revision=cluster.modified.get(keys.service(service.name), 0),
        traffic=[traffic_view(revision, window) for revision, window in by_routes],
    )


def traffic_view(revision: int, window: traffic.Window) -> pb.TrafficView:
    """What came by HTTP routes, to one revision."""
    return pb.TrafficView(
        revision=revision,
        seconds=window.seconds,
        requests=window.requests,
        client_errors=window.client_errors,
        server_errors=window.server_errors,
        p50=window.within_ms(0.50),
        p95=window.within_ms(0.95),
        p99=window.within_ms(0.99),
    )


def count(cluster: snapshot.Cluster, service: Service) -> Counts:
    """A task counts while it is wanted and has not finished."""
    layout = slots.read(cluster, service)
    wanted = 0 if service.deleted else len(layout)
    target = service.revision
    live = [
        task
        for task in cluster.tasks_of(service.name)
        if cluster.is_live(task) and task.id.birth == service.birth
    ]
    running = sum(cluster.state(task.id) in _RUNNING and not cluster.is_lost(task) for task in live)
    return Counts(
        desired=wanted,
        updated=sum(task.revision == target for task in live),
        ready=sum(cluster.is_ready(task) for task in live),
        running=running,
        live=len(live),
        complete=sum(_is_complete(cluster, service, slot) for slot in layout),
    )


def _is_complete(cluster: snapshot.Cluster, service: Service, slot: slots.Slot) -> bool:
    template = cluster.template(service.name, service.revision)
    if template is None or template.restart.policy == "always" or slot.live:
        return False
    return backoff.due(cluster, slot.past, service.revision, template).done


def status_word(service: Service, rollout: Rollout | None, counts: Counts) -> str:
    """For the STATUS column."""
    if service.deleted:
        return "Deleting"
    if rollout is None:
        return "Waiting"
    match rollout.phase:
        case Phase.CANARY:
            return "Canary"
        case Phase.ROLLING | Phase.ROLLING_BACK:
            return "Rolling"
        case Phase.PAUSED:
            return "Paused"
    if counts.ready + counts.complete < counts.desired:
        return "Waiting"
    if _was_rolled_back(service, rollout):
        return "RolledBack"
    if rollout.target != service.revision:
        return "Rolling"
    return "Complete" if counts.complete and not counts.live else "Running"


def reason_of(cluster: snapshot.Cluster, service: Service, rollout: Rollout | None, reasons: Reasons) -> str:
    """Why it is not all it should be; the rollout's own word first, then the first task's that has one."""
    if rollout is not None:
        if rollout.waiting:
            return rollout.waiting
        if _was_rolled_back(service, rollout):
            outcome = next(each for each in reversed(rollout.outcomes) if each.revision == service.revision)
            return f"revision {service.revision} {outcome.outcome}: {outcome.reason}"
    for subject, reason in reasons.items():
        if not isinstance(subject, TaskId):
            return reason
    for task in cluster.tasks_of(service.name):
        if cluster.is_live(task) and not cluster.is_ready(task):
            reason, message = task_reason(cluster, task, reasons)
            if reason or (message and task.wanted is Wanted.RUN):
                return f"{task.id.full_name}: {message or reason}"
    if rollout is None:
        return "it was only just accepted"
    return "" if rollout.phase is Phase.DONE else rollout.verdict


def rings(cluster: snapshot.Cluster, service: Service, rollout: Rollout | None) -> list[pb.Ring]:
    """The canary step and the rest; one line while there is no canary."""
    tasks = [task for task in cluster.tasks_of(service.name) if cluster.is_live(task)]
    if rollout is None or not (rollout.nodes or rollout.slots):
        return [_ring(cluster, "all", (), tasks, service, len(tasks), rollout.verdict if rollout else "")]
    inside = [task for task in tasks if task.node in rollout.nodes or task.id.slot in rollout.slots]
    outside = [task for task in tasks if task not in inside]
    return [
        _ring(
            cluster,
            f"canary {rollout.step + 1}",
            rollout.nodes,
            inside,
            service,
            len(rollout.slots),
            rollout.verdict,
        ),
        _ring(cluster, "rest", (), outside, service, len(outside), ""),
    ]


def task_view(cluster: snapshot.Cluster, task: Task, reasons: Reasons) -> pb.TaskView:
    """One line of `get tasks`, and more."""
    status = cluster.status(task.id)
    template = cluster.template(task.id.owner, task.revision)
    reason, message = task_reason(cluster, task, reasons)
    return pb.TaskView(
        task=wire.to_wire(task),
        status=wire.to_wire(status) if status else None,
        state=int(state_of(cluster, task)),  # type: ignore[arg-type]  # the numbers are the same
        ready=cluster.is_ready(task),
        reason=reason,
        message=message,
        unreachable=cluster.is_lost(task) and not cluster.has_finished(task),
        image=template.containers[0].image if template else "",
        template=wire.to_wire(template) if template else None,
    )


def state_of(cluster: snapshot.Cluster, task: Task) -> TaskState:
    """A task that is to stop, and whose node has not said so yet, is stopping."""
    state = cluster.state(task.id)
    if task.wanted is Wanted.STOP and TaskState.ASSIGNED <= state < TaskState.STOPPING:
        return TaskState.STOPPING
    return state


def task_reason(cluster: snapshot.Cluster, task: Task, reasons: Reasons) -> tuple[str, str]:
    """One word and one sentence: why the task is not simply running."""
    status = cluster.status(task.id)
    if cluster.is_lost(task) and not cluster.has_finished(task):
        return "NodeDown", f"{task.node} is not heard from; this is its last word"
    if status is not None and (status.reason or status.message):
        return status.reason, status.message
    if task.id in reasons:
        return ("" if task.node else "Pending"), reasons[task.id]
    if not task.node and task.wanted is Wanted.RUN:
        return "Pending", "waits for a place"
    return "", task.cause if task.wanted is Wanted.STOP else ""


def node_view(cluster: snapshot.Cluster, node: Node, heartbeat_age: float) -> pb.NodeView:
    """One line of `get nodes`."""
    tasks = sum(not cluster.has_finished(task) for task in cluster.tasks_on(node.name))
    return pb.NodeView(
        spec=wire.to_wire(node.spec),
        status=wire.to_wire(node.status),
        tasks=tasks,
        allocated=wire.to_wire(cluster.allocated_on(node.name)),
        heartbeat_age=heartbeat_age,
    )


def secret_view(secret: Secret) -> pb.SecretView:
    """Names and sizes; never the content."""
    overhead = 1 + 4 + 12 + 16  # the envelope: format, key id, nonce, tag
    return pb.SecretView(
        name=wire.to_wire(secret.name),
        type=secret.type,
        version=secret.version,
        sizes={name: max(0, len(sealed) - overhead) for name, sealed in secret.sealed.items()},
        labels=secret.labels,
        created_at=secret.created_at,
        updated_at=secret.updated_at,
    )


def revision_view(cluster: snapshot.Cluster, revision: Revision) -> pb.RevisionView:
    """One line of `rollout history`."""
    rollout = cluster.rollout(revision.service)
    outcomes = [each for each in rollout.outcomes if each.revision == revision.number] if rollout else []
    return pb.RevisionView(
        revision=wire.to_wire(revision),
        outcome=str(outcomes[-1].outcome) if outcomes else "",
        reason=outcomes[-1].reason if outcomes else "",
        is_stable=rollout is not None and rollout.stable == revision.number,
        is_target=rollout is not None and rollout.target == revision.number,
    )


_RUNNING = {TaskState.STARTING, TaskState.RUNNING}


def _was_rolled_back(service: Service, rollout: Rollout) -> bool:
    if rollout.stable == service.revision or rollout.phase is not Phase.DONE:
        return False
    ended = [each.outcome for each in rollout.outcomes if each.revision == service.revision]
    return bool(ended) and ended[-1] in {Outcome.FAILED, Outcome.ABORTED}


def _ring(
    cluster: snapshot.Cluster,
    name: str,
    nodes: tuple[str, ...],
    tasks: list[Task],
    service: Service,
    desired: int,
    verdict: str,
) -> pb.Ring:
    places = nodes or tuple(sorted({task.node for task in tasks if task.node}))
    return pb.Ring(
        name=name,
        nodes=places,
        desired=desired,
        updated=sum(task.revision == service.revision for task in tasks),
        ready=sum(cluster.is_ready(task) for task in tasks),
        failed=sum(cluster.state(task.id) in {TaskState.BACKOFF, TaskState.FAILED} for task in tasks),
        verdict=verdict,
    )
