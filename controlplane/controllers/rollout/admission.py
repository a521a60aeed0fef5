"""What can never work, told when it is applied. Pure; the API asks."""

from collections.abc import Iterator

from controlplane.cluster import fitness
from controlplane.cluster.snapshot import Cluster
from controlplane.controllers import bounds
from controlplane.controllers.rollout import step
from orch.model.service import Mode, ServiceSpec


def problems(cluster: Cluster, spec: ServiceSpec, replicas: int) -> Iterator[str]:
    """One sentence each: what is impossible, and what to write instead. `replicas` as it will be."""
    eligible = sum(_could_run(spec, cluster, name) for name in cluster.nodes)
    wanted = eligible if spec.mode is Mode.GLOBAL else replicas
    policy = spec.rollout
    if policy.max_surge in {"0", "0%"} and policy.max_unavailable in {"0", "0%"}:
        yield "maxSurge 0 and maxUnavailable 0 let no instance be replaced: allow one of them"
    yield from _full_nodes(spec, wanted, eligible)
    yield from _canary(spec, wanted)


def _could_run(spec: ServiceSpec, cluster: Cluster, name: str) -> bool:
    node = cluster.nodes[name]
    placement = spec.template.placement
    return fitness.is_named_by(placement, node) and not fitness.untolerated(placement, node)


def _full_nodes(spec: ServiceSpec, wanted: int, eligible: int) -> Iterator[str]:
    """A successor needs a node on which the service still may have a task."""
    _, unavailable = bounds.amounts(spec, wanted)
    if unavailable or bounds.is_exclusive(spec) or not wanted or not eligible:
        return
    published = next((port.published for port in spec.template.ports if port.is_on_host), 0)
    per_node = 1 if published else spec.template.placement.max_per_node
    if not per_node or (spec.mode is not Mode.GLOBAL and wanted < eligible * per_node):
        return
    why = f"port {published} is published on the node" if published else f"maxPerNode is {per_node}"
    yield (
        f"maxUnavailable 0 cannot work: {why}, and {wanted} instances fill all {eligible} nodes "
        "that may run it, so that no successor has a place; set maxUnavailable 1, or run fewer instances"
    )


def _canary(spec: ServiceSpec, wanted: int) -> Iterator[str]:
    for number, each in enumerate(spec.rollout.canary.steps if spec.rollout.canary else (), 1):
        if not wanted or each.nodes or each.match_labels:
            continue
        count = each.count or step.rounded(each.percent, wanted)
        what = f"{each.percent}%" if each.percent else f"count {each.count}"
        if count == 0:
            yield f"canary step {number}: {what} of {wanted} instances is none; write count: 1"
        elif count >= wanted:
            yield f"canary step {number}: {what} of {wanted} instances is all of them; leave the step out"
