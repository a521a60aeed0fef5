"""Small pictures for the loop's and the API's tests."""

from controlplane.cluster import editing, snapshot
from orch.model.cluster import ClusterIdentity
from orch.model.node import Condition, Facts, NodeSpec, NodeStatus


def a_picture(*nodes: str) -> snapshot.Cluster:
    """A cluster with these nodes, ready and roomy, and nothing else."""
    cluster = editing.with_identity(snapshot.Cluster(revision=1), ClusterIdentity("c1"))
    for index, name in enumerate(nodes):
        facts = Facts(address=f"192.0.2.{index + 1}", cpu=4_000, memory=8 << 30, architecture="amd64")
        cluster = editing.with_node_spec(cluster, NodeSpec(name))
        cluster = editing.with_node_status(
            cluster,
            NodeStatus(
                name, Condition.READY, facts=facts, subnets=(f"10.208.{4 * index}.0/22",), index=index
            ),
        )
    return cluster
