"""Short words for pictures of a cluster: `a_cluster(a_node("n1"), a_service("web", replicas=2))`."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from controlplane.cluster import editing
from controlplane.cluster.snapshot import Cluster
from orch.model.container import ContainerSpec, ResourceAmounts, ResourceSpec
from orch.model.names import ServiceName, TaskId
from orch.model.node import Availability, Condition, Facts, NodeSpec, NodeStatus, Taint
from orch.model.policy import CanaryPolicy, CanaryStep, PlacementSpec, PortSpec, RolloutPolicy
from orch.model.rollout import Phase, Rollout
from orch.model.service import Mode, Revision, RolloutOrders, Service, ServiceSpec, TaskTemplate
from orch.model.task import Task, TaskState, TaskStatus, Wanted

WEB = ServiceName("default", "web")
MEBIBYTE = 2**20
Part = NodeSpec | NodeStatus | Service | Revision | Rollout | Task | TaskStatus


def a_node(
    name: str,
    *,
    index: int | None = None,
    labels: dict[str, str] | None = None,
    taints: Iterable[Taint] = (),
    down: bool = False,
    drained: bool = False,
    cordoned: bool = False,
    cpu: int = 4000,
    memory: int = 4096 * MEBIBYTE,
    since: float = 0.0,
) -> tuple[Part, ...]:
    """Ready and empty; `n3` has the index 2."""
    availability = Availability.ACTIVE
    availability = Availability.CORDONED if cordoned else availability
    availability = Availability.DRAINED if drained else availability
    digits = "".join(letter for letter in name if letter.isdigit())
    return (
        NodeSpec(name, labels=labels or {}, taints=tuple(taints), availability=availability),
        NodeStatus(
            name,
            condition=Condition.DOWN if down else Condition.READY,
            since=since,
            facts=Facts(architecture="amd64", cpu=cpu, memory=memory),
            index=int(digits or 1) - 1 if index is None else index,
        ),
    )


def a_template(
    *,
    image: str = "web:1",
    cpu: int = 0,
    memory: int = 0,
    published: int = 0,
    placement: PlacementSpec | None = None,
    **more: Any,
) -> TaskTemplate:
    """One container."""
    requests = ResourceAmounts.model_construct(cpu=cpu, memory=memory, pids=0)
    container = ContainerSpec(image=image, resources=ResourceSpec(requests=requests))
    ports = (PortSpec(target=80, published=published, mode="host"),) if published else ()
    return TaskTemplate(containers=(container,), ports=ports, placement=placement or PlacementSpec(), **more)


def a_service(
    name: str = "web",
    *,
    replicas: int = 1,
    birth: int = 1,
    revision: int = 1,
    template: TaskTemplate | None = None,
    is_global: bool = False,
    priority: int = 0,
    deleted: bool = False,
    orders: RolloutOrders | None = None,
    canary: Iterable[CanaryStep] = (),
    promote: str = "auto",
    **rollout: Any,
) -> tuple[Part, ...]:
    """The service and its revision; rollout policy as keywords, with minReady 0 unless it is given."""
    template = template or a_template(image=f"{name}:{revision}")
    steps = tuple(canary)
    policy = RolloutPolicy(
        canary=CanaryPolicy(steps=steps, promote=promote) if steps else None,  # type: ignore[arg-type]
        **{"min_ready": 0, **rollout},
    )
    spec = ServiceSpec(
        mode=Mode.GLOBAL if is_global else Mode.REPLICATED,
        replicas=None if is_global else replicas,
        template=template,
        priority=priority,
        rollout=policy,
    )
    full_name = ServiceName("default", name)
    service = Service(
        full_name, spec, revision=revision, birth=birth, deleted=deleted, orders=orders or RolloutOrders()
    )
    return (Revision(full_name, revision, template), service)


def stable(name: str = "web", *, revision: int = 1, birth: int = 1, **more: Any) -> tuple[Part, ...]:
    """A rollout that is done."""
    words: dict[str, Any] = {"stable": revision, "target": revision, "phase": Phase.DONE, **more}
    return (Rollout(ServiceName("default", name), birth=birth, **words),)


def a_task(
    slot: int,
    attempt: int = 1,
    *,
    service: str = "web",
    birth: int = 1,
    revision: int = 1,
    node: str = "",
    state: TaskState | None = None,
    ready: bool | None = None,
    ready_since: float = 0.0,
    stopping: bool = False,
    bound_to: tuple[str, ...] = (),
    created_at: float = 0.0,
    **status: Any,
) -> tuple[Part, ...]:
    """With a node and no state it runs and is ready; without a node it is pending."""
    identity = TaskId("default", service, birth, slot, attempt)
    task = Task(
        identity,
        revision,
        node=node,
        wanted=Wanted.STOP if stopping else Wanted.RUN,
        bound_to=bound_to,
        created_at=created_at,
    )
    if not node:
        return (task,)
    state = TaskState.RUNNING if state is None else state
    is_ready = state is TaskState.RUNNING if ready is None else ready
    words = {"addresses": (f"10.208.0.{slot}",), **status}
    return (task, TaskStatus(identity, node, state, ready=is_ready, ready_since=ready_since, **words))


def a_cluster(*parts: Any, revision: int = 1) -> Cluster:
    """All parts in one picture, whatever their order and nesting."""
    cluster = Cluster(revision=revision)
    for each in sorted(_flat(parts), key=lambda part: isinstance(part, (Task, TaskStatus))):
        cluster = with_part(cluster, each)
    return cluster


def _flat(parts: Iterable[Any]) -> list[Part]:
    flat: list[Part] = []
    for part in parts:
        flat += _flat(part) if isinstance(part, (tuple, list)) else [part]
    return flat


def with_part(cluster: Cluster, part: Part) -> Cluster:
    """One more part, new or changed."""
    match part:
        case NodeSpec():
            return editing.with_node_spec(cluster, part)
        case NodeStatus():
            return editing.with_node_status(cluster, part)
        case Revision():
            return editing.with_revision(cluster, part)
        case Service():
            return editing.with_service(cluster, part)
        case Rollout():
            return editing.with_rollout(cluster, part)
        case Task():
            return editing.with_task(cluster, part)
        case TaskStatus():
            return editing.with_status(cluster, part)


def reported(cluster: Cluster, task: TaskId, state: TaskState, **words: Any) -> Cluster:
    """The node of a task says something of it."""
    known = cluster.status(task)
    desired = cluster.task(task)
    assert desired is not None
    before = known or TaskStatus(task, desired.node, state)
    ready = words.pop("ready", state is TaskState.RUNNING)
    return editing.with_status(
        cluster, replace(before, state=state, ready=ready, sequence=before.sequence + 1, **words)
    )
