"""Views as the control plane shows them, with as few words as a test needs."""

from typing import Any

from orch import wire
from orch.model.assignment import Endpoint, ServiceEndpoints
from orch.model.config import Config
from orch.model.event import Event, EventType
from orch.model.names import ObjectName, TaskId
from orch.model.node import Condition, Facts, NodeSpec, NodeStatus, Taint
from orch.model.resources import Resources
from orch.model.rollout import Outcome, Phase, RevisionOutcome, Rollout
from orch.model.service import Revision, Service, ServiceSpec
from orch.model.task import ContainerState, ContainerStatus, Task, TaskState, TaskStatus
from orch.v1 import control_pb2 as pb

NOW = 1_800_000_000.0


def a_spec(image: str = "web:1", **more: Any) -> ServiceSpec:
    container = {
        "image": image,
        "readiness": {"http": {"path": "/healthz", "port": "http"}},
        "environment": {"LOG_LEVEL": "info"},
        "resources": {"limits": {"memory": "64Mi"}},
    }
    template = {"containers": [container], "ports": [{"name": "http", "target": 8080, "published": 30080}]}
    return ServiceSpec.model_validate({"replicas": 3, "template": template} | more)


def a_service(name: str = "web", **more: Any) -> pb.Object:
    """Running, three of three, revision 2; `more` replaces fields of the view, its service or its rollout."""
    service = Service(
        ObjectName(more.pop("namespace", "default"), name),
        more.pop("spec", a_spec()),
        more.pop("labels", {"team": "shop"}),
        generation=more.pop("generation", 2),
        revision=more.pop("revision", 2),
        birth=7,
        deleted=more.pop("deleted", False),
        created_at=NOW - 3600 * 26,
        updated_at=NOW - 90,
        updated_by="admin",
    )
    rollout = Rollout(
        service.name,
        stable=more.pop("stable", 2),
        target=more.pop("target", service.revision),
        phase=more.pop("phase", Phase.DONE),
        verdict=more.pop("verdict", ""),
        waiting=more.pop("waiting", ""),
        nodes=more.pop("nodes", ()),
        outcomes=more.pop("outcomes", ()),
        ready_since=more.pop("ready_since", 0.0),
        progressed_at=more.pop("progressed_at", 0.0),
    )
    counts = {"desired": 3, "updated": 3, "ready": 3, "running": 3, "status": "Running"} | more
    return pb.Object(
        service=pb.ServiceView(service=wire.to_wire(service), rollout=wire.to_wire(rollout), **counts)
    )


def endpoints(
    name: str = "web", *, ready: int = 1, out: dict[int, str] | None = None, **more: Any
) -> pb.Object:
    """Slots 1 to `ready` are led to; `out` says of further slots why they are not."""
    owner = ObjectName(more.pop("namespace", "default"), name)

    def at(slot: int) -> TaskId:
        return TaskId(owner.namespace, name, 7, slot, 1)

    behind = ServiceEndpoints(
        owner,
        tuple(Endpoint(at(slot), f"node-{slot}", (f"10.208.4.{slot}",)) for slot in range(1, ready + 1)),
        more.pop("virtual_addresses", ("10.224.7.7",)),
        more.pop("ports", ()),
    )
    left_out = [
        pb.OutOfService(task=wire.to_wire(at(slot)), node="node-3", reason=why)
        for slot, why in (out or {}).items()
    ]
    return pb.Object(endpoints=pb.EndpointsView(endpoints=wire.to_wire(behind), out=left_out))


def a_task(
    slot: int = 1, attempt: int = 1, *, service: str = "web", node: str = "node-1", **more: Any
) -> pb.Object:
    """Running and ready."""
    identity = TaskId(more.pop("namespace", "default"), service, 7, slot, attempt)
    revision = more.pop("revision", 2)
    state = more.pop("state", TaskState.RUNNING)
    ready = more.pop("ready", state is TaskState.RUNNING)
    container = ContainerStatus("main", ContainerState.RUNNING, pid=4242, started_at=NOW - 60, ready=ready)
    status = TaskStatus(
        identity,
        node,
        state,
        restarts=more.pop("restarts", 0),
        ready=ready,
        addresses=("10.208.0.5",),
        containers=more.pop("containers", (container,)),
        retry_at=more.pop("retry_at", 0.0),
        log_tail=more.pop("log_tail", ()),
        message=more.get("message", ""),
    )
    task = Task(identity, revision, node, created_at=NOW - 300, cause=more.pop("cause", "scale to 3"))
    view = pb.TaskView(task=wire.to_wire(task), state=int(state), ready=ready, image="web:1", **more)
    if state > TaskState.ASSIGNED:
        view.status.CopyFrom(wire.to_wire(status))
    return pb.Object(task=view)


def a_failed_container(code: int = 1) -> ContainerStatus:
    return ContainerStatus(
        "main", ContainerState.EXITED, exit_code=code, message="GET :8080/healthz answered 500"
    )


def a_node(name: str = "node-1", **more: Any) -> pb.Object:
    spec = NodeSpec(
        name, more.pop("labels", {"zone": "a"}), more.pop("taints", ()), joined_at=NOW - 86400 * 3
    )
    if "availability" in more:
        spec = NodeSpec(name, spec.labels, spec.taints, more.pop("availability"), spec.joined_at)
    facts = Facts(name, "10.0.0.1", "amd64", "linux", "6.1.0", 4000, 8 * 2**30, "0.1.0")
    condition = more.pop("condition", Condition.READY)
    status = NodeStatus(
        name, condition, since=NOW - 500, facts=facts, subnets=("10.208.0.0/22",), incarnation=2
    )
    counts = {"tasks": 2, "heartbeat_age": 0.4} | more
    allocated = wire.to_wire(Resources(1000, 2**30))
    return pb.Object(
        node=pb.NodeView(spec=wire.to_wire(spec), status=wire.to_wire(status), allocated=allocated, **counts)
    )


def an_event(
    object_: str, reason: str, message: str, *, ago: float = 10, warning: bool = False, count: int = 1
) -> pb.Object:
    kind = EventType.WARNING if warning else EventType.NORMAL
    namespace = "" if object_.startswith("node/") else "default"
    event = Event(
        kind, reason, object_, namespace, message, count, NOW - ago, NOW - ago, f"{int(NOW - ago)}-1"
    )
    return pb.Object(event=wire.to_wire(event))


def a_revision(
    number: int, image: str, outcome: str = "", reason: str = "", *, stable: bool = False
) -> pb.Object:
    revision = Revision(
        ObjectName("default", "web"),
        number,
        a_spec(image).template,
        NOW - 100 * (9 - number),
        "admin",
        f"image → {image}",
    )
    return pb.Object(
        revision=pb.RevisionView(
            revision=wire.to_wire(revision), outcome=outcome, reason=reason, is_stable=stable
        )
    )


def a_config(name: str = "web-config") -> pb.Object:
    config = Config(ObjectName("default", name), {"web.conf": b"a=b\n"}, 3, created_at=NOW - 60)
    return pb.Object(config=wire.to_wire(config))


def a_secret(name: str = "db") -> pb.Object:
    view = pb.SecretView(type="opaque", version=1, sizes={"password": 12}, created_at=NOW - 60)
    view.name.namespace, view.name.name = "default", name
    return pb.Object(secret=view)


def failed(revision: int, reason: str, at: float = NOW) -> RevisionOutcome:
    return RevisionOutcome(revision, Outcome.FAILED, at, reason)


def a_taint() -> Taint:
    return Taint("gpu", "yes")


def a_reply(action: str = "changed", revision: int = 2, **more: Any) -> pb.ApplyReply:
    """To whoever changes something of the service web."""
    change = pb.FieldChange(path="spec.template.containers[main].image", before="web:1", after="web:2")
    applied = pb.AppliedObject(
        reference=pb.Reference(kind="service", namespace="default", name="web"),
        action=action,
        generation=2,
        target_revision=revision,
        changes=[change] if action == "changed" else [],
        **more,
    )
    return pb.ApplyReply(objects=[applied], received_at=NOW)
