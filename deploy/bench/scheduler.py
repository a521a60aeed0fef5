"""How many tasks the scheduler places in a second: `python deploy/bench/scheduler.py`.

200 services of 50 tasks, with constraints, spread and resources, onto 1,000 nodes in 10 zones of 10 racks.
Prints one line of JSON; the goal is 10,000 placements/s.
"""

import json
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "proto")]

from controlplane.cluster import editing
from controlplane.cluster.change import AssignTask
from controlplane.cluster.snapshot import Cluster
from controlplane.scheduler import place
from orch.model.container import ContainerSpec, ResourceSpec
from orch.model.names import ServiceName, TaskId
from orch.model.node import Condition, Facts, NodeSpec, NodeStatus
from orch.model.policy import PlacementSpec
from orch.model.service import Revision, Service, ServiceSpec, TaskTemplate
from orch.model.task import Task

SERVICES, TASKS, NODES, ROUNDS = 200, 50, 1000, 5
GOAL = 10_000


def the_cluster() -> Cluster:
    """All tasks pending, all nodes empty."""
    cluster = Cluster()
    for i in range(NODES):
        labels = {"zone": f"z{i % 10}", "rack": f"r{i % 100}", "disk": "ssd" if i % 2 else "hdd"}
        facts = Facts(architecture="amd64", cpu=16_000, memory=64 * 2**30)
        cluster = editing.with_node_spec(cluster, NodeSpec(f"node-{i:04}", labels=labels))
        cluster = editing.with_node_status(
            cluster, NodeStatus(f"node-{i:04}", condition=Condition.READY, facts=facts, index=i)
        )
    for number in range(SERVICES):
        cluster = _with_service(cluster, number)
    return cluster


def _with_service(cluster: Cluster, number: int) -> Cluster:
    name = ServiceName("default", f"service-{number}")
    placement = PlacementSpec(
        constraints=(
            f"node.labels.zone != z{number % 10}",
            "node.labels.disk in (ssd, hdd)",
            "node.os == linux",
        ),
        spread=("zone", "rack"),
    )
    resources = ResourceSpec.model_validate({"requests": {"cpu": "250m", "memory": "128Mi"}})
    template = TaskTemplate(
        containers=(ContainerSpec(image="web:1", resources=resources),), placement=placement
    )
    spec = ServiceSpec(replicas=TASKS, template=template, priority=number % 3)
    cluster = editing.with_revision(cluster, Revision(name, 1, template))
    cluster = editing.with_service(cluster, Service(name, spec, birth=1))
    for slot in range(1, TASKS + 1):
        cluster = editing.with_task(cluster, Task(TaskId("default", name.name, 1, slot, 1), 1))
    return cluster


def main() -> None:
    cluster = the_cluster()
    rates = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        placed = place.place_all(cluster)
        took = time.perf_counter() - began
        if sum(isinstance(each, AssignTask) for each in placed) != SERVICES * TASKS:
            sys.exit("not every task was placed")
        rates.append(len(placed) / took)
    row = {
        "name": "scheduler: 200 services × 50 tasks onto 1,000 nodes",
        "value": round(statistics.median(rates)),
        "unit": "placements/s",
        "goal": GOAL,
        "min": round(min(rates)),
        "max": round(max(rates)),
        "n": ROUNDS,
    }
    print(json.dumps(row, ensure_ascii=False))


if __name__ == "__main__":
    main()
