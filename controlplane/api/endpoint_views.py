"""Where a service is reached, what is behind it, and why a task of it is not. Pure."""

from collections.abc import Iterator

from controlplane.api import views
from controlplane.cluster import snapshot
from controlplane.controllers import endpoints
from orch import wire
from orch.model.names import ServiceName
from orch.model.task import Task, TaskState, Wanted
from orch.v1 import control_pb2 as pb

_STATES = {
    TaskState.ASSIGNED: "has not begun",
    TaskState.PREPARING: "is being prepared",
    TaskState.STARTING: "is starting",
    TaskState.RUNNING: "runs and is not ready",
    TaskState.BACKOFF: "waits to be started again",
    TaskState.STOPPING: "is stopping",
}


def view(cluster: snapshot.Cluster, name: ServiceName, reasons: views.Reasons) -> pb.EndpointsView:
    """Of a service that exists."""
    return pb.EndpointsView(
        endpoints=wire.to_wire(endpoints.of_service(cluster, name)), out=_out(cluster, name, reasons)
    )


def _out(cluster: snapshot.Cluster, name: ServiceName, reasons: views.Reasons) -> Iterator[pb.OutOfService]:
    for task in cluster.tasks_of(name):
        if not cluster.has_finished(task) and not cluster.is_ready(task):
            yield pb.OutOfService(
                task=wire.to_wire(task.id), node=task.node, reason=_why(cluster, task, reasons)
            )


def _why(cluster: snapshot.Cluster, task: Task, reasons: views.Reasons) -> str:
    if task.wanted is Wanted.STOP:
        return f"is leaving: {task.cause}" if task.cause else "is leaving"
    if cluster.is_lost(task):
        return f"{task.node} is not heard from"
    reason, message = views.task_reason(cluster, task, reasons)
    said = message or reason
    state = _STATES.get(cluster.state(task.id), "waits for a place")
    return f"{state}: {said}" if said else state
